"""Another toolkit's weights -> a checkpoint of ours, which says what it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from praxino.atomic import check_writable
from praxino.models import create_model, load_weights
from praxino.shortened import printable
from praxino.weights.checkpoint import Card, save_model

LARGEST_LIST = 1_000_000  # bytes; the names of Kinetics-700's classes take ten thousand


@dataclass(frozen=True)
class Conversion:
    """What was converted into what.

    Args:
        path: the new checkpoint.
        layout: whose names the file had; None: ours.
        tensors: how many it holds.
        parameters: how many numbers are in those that training changes.
        classes: the names of the classes, in the order of the logits.
    """

    path: Path
    layout: str | None
    tensors: int
    parameters: int
    classes: tuple[str, ...]


def convert(
    file: str | Path,
    model: str,
    *,
    source: str | None = None,
    num_classes: int | None = None,
    classes: str | Path | None = None,
    output: str | Path | None = None,
    **options: Any,
) -> Conversion:
    """Turn a file of weights into a checkpoint that `load_model` takes.

    Args:
        file: whatever `create_model(weights=...)` takes: `.safetensors`, `.pth` and the like,
            `.pkl` of Caffe2, a TensorFlow checkpoint.
        model: one of `list_models()`, which these weights must fit.
        source: the toolkit that wrote the file; None: found out by its names.
        num_classes: how many the file must know; None: as many as it knows.
        classes: a text file with the name of a class in each line, in the order of the logits;
            None: they are called `class 0`, `class 1` and so on.
        output: the checkpoint to write; None: beside the file, with the suffix `.safetensors`.
        **options: keyword arguments of the model's builder.

    Raises:
        ValueError: the file cannot be read or does not fit, or the output is there already and was
            not named, or is the file itself.
        TypeError: the model has no option of that name.
        EnvironmentFault: the output cannot be written.
    """
    file = Path(file)
    target = file.with_suffix(".safetensors") if output is None else Path(output)
    if target.resolve() == file.resolve():
        raise ValueError(f"{printable(target)} is the file to be read. Name another as the output.")
    if output is None and target.exists():
        raise ValueError(f"{printable(target)} is there already. Name the output.")
    check_writable(target)
    network = create_model(model, num_classes, **options)
    layout = load_weights(network, model, file, keep_head=True, layout=source)
    known: int = network.head.out_features  # type: ignore[union-attr, assignment]
    if num_classes not in (None, known):
        raise ValueError(f"{printable(file)} knows {known} classes, not {num_classes}.")
    names = tuple(f"class {number}" for number in range(known))
    if classes is not None:
        names = _read_classes(Path(classes))
        if len(names) != known:
            raise ValueError(
                f"{printable(classes)} names {len(names)} classes, {printable(file)} knows {known}."
            )
    notes = {"converted_from": file.name, "layout": layout}
    save_model(target, network, Card(model, options, names, network.clip_spec, notes))  # type: ignore[arg-type]
    return Conversion(
        target,
        layout,
        len(network.state_dict()),
        sum(parameter.numel() for parameter in network.parameters()),
        names,
    )


def _read_classes(path: Path) -> tuple[str, ...]:
    """The lines of a small text file, each a name that no other line has."""
    shown = printable(path)
    if not path.is_file():
        raise ValueError(f"There is no file {shown}.")
    with path.open("rb") as file:
        content = file.read(LARGEST_LIST + 1)
    if len(content) > LARGEST_LIST:
        raise ValueError(
            f"{shown} is larger than {LARGEST_LIST:,} bytes: it is no list of classes."
        )
    try:
        names = [line.strip() for line in content.decode("utf-8-sig").strip().split("\n")]
    except UnicodeDecodeError:
        raise ValueError(f"{shown} is not UTF-8. Save it as UTF-8.") from None
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable() or name in seen:
            what = "is there twice" if name in seen else "is no name"
            raise ValueError(f"{shown}, line {number}: {name[:100]!r} {what}.")
        seen.add(name)
    return tuple(names)
