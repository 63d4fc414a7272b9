"""The two tables of `praxino models`: all models, and the layers of one."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from praxino.layer_table import layer_table
from praxino.litmus import QUESTIONS, LitmusResult
from praxino.model_facts import ModelFacts, facts_of
from praxino.models import MODELS, create_model, options_of, published_weights
from praxino.models.row import FAMILIES
from praxino.verify import Comparison
from praxino.video.clip_spec import ClipSpec
from praxino.weights.published import Weights
from praxino.weights.shapes_only import ShapesOnly


def print_models(console: Console, names: Sequence[str]) -> None:
    """One line for each model, by family; parameters and multiply-adds at its own clip size."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("paper")
    table.add_column("inputs")
    table.add_column("clip", no_wrap=True)
    table.add_column("params", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("weights: published top-1 / top-5")
    for family in FAMILIES:
        members = [name for name in names if MODELS[name].family == family]
        if members:
            table.add_row(Text(family, "bold"))
        for name in members:
            row, facts = MODELS[name], facts_of(name)
            table.add_row(
                name,
                short_paper(row.paper, row.year),
                ", ".join(row.inputs),
                clip(facts),
                millions(facts.parameters),
                giga(facts.multiply_adds),
                _weights(name),
            )
        if members:
            table.add_section()
    console.print(table)


def _weights(name: str) -> str:
    said = [
        f"{key}: {accuracy(weights) or 'not stated'}"
        for key, weights in published_weights(name).items()
    ]
    return "; ".join(said) or "-"


def short_paper(paper: str, year: int) -> str:
    """`Karpathy et al., CVPR 2014` of `Karpathy et al., <title>, CVPR 2014`."""
    authors, _, rest = paper.partition(", ")
    venue = rest.rpartition(", ")[2]
    return f"{authors}, {venue}" if str(year) in venue else f"{authors}, {year}"


def accuracy(weights: Weights) -> str:
    """What published weights reached, `75.3 / 92.1`; nothing where it is not stated."""
    return " / ".join(f"{value:.1f}" for value in weights.accuracy.values())


def clip(facts: ModelFacts) -> str:
    """What a model is fed, `16×112²`."""
    return f"{facts.frames}×{facts.size}²"


def giga(count: int) -> str:
    """`40.7 G`, in three digits."""
    return f"{count / 1e9:#.3g}".removesuffix(".") + " G"


def millions(number: int) -> str:
    """`33.37 M`; small numbers in full."""
    return f"{number / 1e6:.2f} M" if number >= 10_000 else f"{number:,}"


def print_layers(
    console: Console,
    name: str,
    *,
    frames: int | None = None,
    size: int | None = None,
    classes: int | None = None,
) -> None:
    """The layers of one model: size, receptive field, multiply-adds, parameters.

    Args:
        console: where to print.
        name: of the model.
        frames: T; None: as the model is meant to be fed. Models built for a number of frames are
            built for this one.
        size: height and width; None likewise.
        classes: K; None: the builder's default.
    """
    options: dict[str, Any] = {
        key: value
        for key, value in (("frames", frames), ("size", size))
        if value is not None and key in options_of(name)
    }
    with ShapesOnly():
        model = create_model(name, num_classes=classes, **options)
    spec: ClipSpec = model.clip_spec  # type: ignore[assignment]
    spec = dataclasses.replace(
        spec,
        frames=frames or spec.frames,
        size=size or spec.size,
        resize_short=max(size or spec.size, spec.resize_short),
    )
    shape = (spec.channels, spec.frames, spec.size, spec.size)
    rows = layer_table(model, shape)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("layer", "operation", "size\nC×T×H×W", "receptive\nfield T×H×W"):
        table.add_column(title, no_wrap=True)
    for title in ("multiply-\nadds", "para-\nmeters"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            row.kind,
            "×".join(map(str, row.size)),
            "×".join(map(str, row.receptive_field)),
            _count(row.multiply_adds),
            _count(row.parameters),
        )
    table.add_section()
    total = sum(row.multiply_adds for row in rows)
    table.add_row("total", "", "", "", _count(total), _count(sum(row.parameters for row in rows)))
    console.print(table)


def print_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Published, ours and verdict, a line for each number; what is wrong, and a sum, at the end."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    table.add_column("what", overflow="fold")
    table.add_column("published", justify="right")
    table.add_column("ours", justify="right")
    table.add_column("verdict")
    table.add_column("source", overflow="fold")
    styles = {"equal": "green", "differs": "bold red", "erratum": "yellow", "not at hand": "dim"}
    said = ""
    for row in comparisons:
        table.add_row(
            row.model if row.model != said else "",
            row.what,
            row.published,
            row.ours,
            Text(row.verdict, styles[row.verdict]),
            row.source,
        )
        said = row.model
    console.print(table)
    reasons = [(row.verdict, row.source, row.why) for row in comparisons if row.why]
    for verdict, source, why in dict.fromkeys(reasons):
        console.print(f"{verdict}: {source}: {why}", highlight=False, markup=False)
    counts = Counter[str](row.verdict for row in comparisons)
    console.print(
        ", ".join(f"{counts[verdict]} {verdict}" for verdict in styles if counts[verdict]),
        highlight=False,
    )


def _count(number: int) -> str:
    """Four digits are enough to compare with a paper's table: `1.040 G`."""
    for unit, size in (("G", 10**9), ("M", 10**6)):
        if number >= size:
            digits = max(0, 3 - len(str(number // size)) + 1)
            return f"{number / size:.{digits}f} {unit}"
    return f"{number:,}" if number else ""


def print_litmus(console: Console, results: Sequence[LitmusResult]) -> None:
    """What each model answered, beside chance and what its design predicts."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    for title in (*QUESTIONS, "seconds"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for result in results:
        scores = [f"{result.answers[question].accuracy:.2f}" for question in QUESTIONS]
        table.add_row(result.model, *scores, f"{result.seconds:.0f}", result.verdict)
    table.add_section()
    chances = results[0].answers
    table.add_row("chance", *(f"{chances[question].chance:.2f}" for question in QUESTIONS))
    console.print(table)
