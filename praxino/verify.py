"""Every number that papers and model zoos state of our architectures, beside our own.

Neither videos nor weights nor a network are needed: models are built on the meta device, where
tensors have shapes but no numbers.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from praxino.layer_table import LayerRow, count_parameters, layer_table
from praxino.models import create_model
from praxino.models.row import Published
from praxino.models.table import PUBLISHED
from praxino.weights.shapes_only import ShapesOnly

TOLERANCE = 0.01  # of multiply-adds: some count biases, some one operation of a norm
Verdict = Literal["equal", "differs", "erratum", "not at hand"]
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Comparison:
    """One published number beside ours.

    Args:
        model: a name in the table, with the options that it was built with.
        what: "parameters", "multiply-adds", or a layer's, for example "size of stage4".
        published: as it is printed there.
        ours: in the same unit.
        verdict: "erratum" where the number differs, and the source is known to be wrong; "not at
            hand" where what it is a number of is elsewhere.
        source: who states it.
        why: of an erratum, or of what is not at hand.
    """

    model: str
    what: str
    published: str
    ours: str
    verdict: Verdict
    source: str
    why: str = ""


def verify(models: Collection[str] = ()) -> Iterator[Comparison]:
    """Compare what is published with what we have, one number after the other.

    Args:
        models: names in the table; none: all that something is published of.
    """
    for claim in PUBLISHED:
        names = claim.model.split(" + ")
        if not models or not set(models).isdisjoint(names):
            yield from _compare(claim)


def _compare(claim: Published) -> Iterator[Comparison]:
    with ShapesOnly():
        built = [create_model(name, **claim.options) for name in claim.model.split(" + ")]
    options = ", ".join(f"{key}={value}" for key, value in claim.options.items())
    model = f"{claim.model} ({options})" if options else claim.model

    def comparison(what: str, published: str, ours: str, equal: bool) -> Comparison:
        # A source that is known to be wrong and agrees with us is as suspicious as a right one
        # that does not.
        expected = claim.erratum is None
        verdict: Verdict = "differs" if equal != expected else "equal" if expected else "erratum"
        return Comparison(model, what, published, ours, verdict, claim.source, claim.erratum or "")

    if claim.parameters is not None:
        found = sum(map(count_parameters, built))
        ours = written_like(claim.parameters, found)
        yield comparison("parameters", claim.parameters, ours, ours == claim.parameters)
    needed = (claim.multiply_adds, claim.sizes, claim.receptive_fields, claim.layer_multiply_adds)
    if not any(needed):
        return
    rows = layer_table(built[0], claim.clip, receptive_fields=bool(claim.receptive_fields))
    if claim.multiply_adds is not None:
        found = sum(row.multiply_adds for row in rows)
        yield comparison("multiply-adds", *_about(claim.multiply_adds, found))
    for layer, count in claim.layer_multiply_adds.items():
        found = sum(row.multiply_adds for row in _inside(rows, layer))
        yield comparison(f"multiply-adds of {layer}", *_about(count, found))
    by_name = {row.name: row for row in rows}
    for layer, size in claim.sizes.items():
        yield comparison(f"size of {layer}", *_same(size, _row(by_name, layer, claim).size))
    for layer, field in claim.receptive_fields.items():
        seen = _row(by_name, layer, claim).receptive_field
        yield comparison(f"receptive field of {layer}", *_same(field, seen))


def _inside(rows: Iterable[LayerRow], layer: str) -> list[LayerRow]:
    return [row for row in rows if row.name == layer or row.name.startswith(f"{layer}.")]


def _row(by_name: dict[str, LayerRow], layer: str, claim: Published) -> LayerRow:
    if layer not in by_name:
        raise ValueError(
            f"{claim.source} speaks of a layer {layer!r}, and {claim.model} has none in its layer "
            f"table. `praxino models {claim.model}` prints it."
        )
    return by_name[layer]


def _about(published: str, found: int) -> tuple[str, str, bool]:
    wanted = number(published)
    ours = written_like(published, found)
    return published, ours, ours == published or abs(found - wanted) <= TOLERANCE * wanted


def _same(published: tuple[int, ...], found: tuple[int, ...]) -> tuple[str, str, bool]:
    printed, ours = ("×".join(map(str, sizes)) for sizes in (published, found))
    return printed, ours, printed == ours


def number(printed: str) -> float:
    """The number in `"28.0 M"` or `"33,371,472"`.

    Raises:
        ValueError: there is none.
    """
    value, _, unit = _parts(printed)
    return value * _UNITS[unit]


def written_like(printed: str, value: int) -> str:
    """A number with as many decimals, and in the unit, of another: 28_043_472 as `"28.0 M"`."""
    _, decimals, unit = _parts(printed)
    return f"{value / _UNITS[unit]:,.{decimals}f} {unit}".rstrip()


def _parts(printed: str) -> tuple[float, int, str]:
    """Value, decimals and unit."""
    match = re.fullmatch(r"([\d,]+)(?:\.(\d+))?(?: ([KMGT]))?", printed)
    if match is None:
        raise ValueError(f"{printed!r} is no number such as '28.0 M' or '33,371,472'.")
    digits, decimals, unit = match[1].replace(",", ""), match[2] or "", match[3] or ""
    return float(f"{digits}.{decimals or 0}"), len(decimals), unit
