"""The page `docs/models.md`, made from the table of models.

`python -m praxino.model_page > docs/models.md` writes it; a test compares the two.
"""

import sys
from collections.abc import Iterator

from praxino.model_facts import facts_of
from praxino.model_tables import accuracy, clip, giga, millions, short_paper
from praxino.models import MODELS, published_weights
from praxino.models.row import FAMILIES


def model_page() -> str:
    """The whole page, as Markdown."""
    lines = [line for family in FAMILIES for line in _family(family)]
    return "\n".join([_HEAD.format(count=len(MODELS)), *lines])


_HEAD = """# Models

All {count} models of the table, by family. This page is made from the table
(`python -m praxino.model_page`); `praxino models --family fusion` prints a part of it,
`praxino models c3d` the layers of one, `praxino verify` the numbers that papers state beside ours.

* **Clip**: frames × side², what the model is fed unless told otherwise.
* **Multiply-adds**: of convolutions and matrix products, for one such clip. They are the best guess
  at speed that holds on any machine; measured times are in
  [inference.md](../benchmarks/inference.md).
* **Reads**: the toolkits whose checkpoints `praxino convert` and `create_model(name, weights=FILE)`
  turn into ours.
* **Weights**: names that `create_model(name, weights=...)` downloads. The accuracy is what their
  authors state, by the protocol beside it; licences are the authors' too. Options beside it are
  those of a network that these weights need; `create_model` takes them by itself.
"""


def _family(family: str) -> Iterator[str]:
    names = [name for name, row in MODELS.items() if row.family == family]
    if not names:
        return
    yield f"## {family.capitalize()}"
    yield ""
    sentence = FAMILIES[family]
    yield f"{sentence[0].upper()}{sentence[1:]}."
    yield ""
    yield "| model | paper | inputs | clip | parameters | multiply-adds | reads |"
    yield "|---|---|---|--:|--:|--:|---|"
    for name in names:
        row, facts = MODELS[name], facts_of(name)
        cells = (
            f"`{name}`",
            short_paper(row.paper, row.year),
            ", ".join(row.inputs),
            clip(facts),
            millions(facts.parameters),
            giga(facts.multiply_adds),
            ", ".join(row.layouts) or "-",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    lines = [line for name in names for line in _weights(name)]
    if lines:
        yield "| model | weights | trained on | top-1 / top-5 | protocol | licence |"
        yield "|---|---|---|--:|---|---|"
        yield from lines
        yield ""


def _weights(name: str) -> Iterator[str]:
    for key, weights in published_weights(name).items():
        options = [f"`{option}={value!r}`" for option, value in weights.options.items()]
        cells = (
            f"`{name}`",
            f"[{key}]({weights.url})",
            weights.trained_on,
            accuracy(weights) or "-",
            "; ".join([weights.protocol or "-", *options]),
            weights.licence,
        )
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(model_page())
