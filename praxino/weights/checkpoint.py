"""Save and load models. A checkpoint remembers its model's name, options, clip spec and classes,
and of volumes the window that they were shown in.

Everything is safetensors and JSON, and nothing is ever unpickled.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from praxino.atomic import atomic_write
from praxino.checked_json import checked, parse_json
from praxino.did_you_mean import did_you_mean
from praxino.errors import EnvironmentFault
from praxino.models import MODELS, create_model, option_types
from praxino.shortened import printable, shortened
from praxino.video.clip_spec import ClipSpec
from praxino.video.decoding import Decoding, Window
from praxino.weights.fitting import State, check_fit, load_strict
from praxino.weights.safetensors_header import load_tensors, read_header
from praxino.weights.shapes_only import ShapesOnly

BEST, LAST = "best.safetensors", "last.safetensors"

# What a card may ask for: four times the largest in use, and no more than memory can hold.
LARGEST_SIZE = 2048  # pixels, of a clip's side
LARGEST_CLIP = 2**27  # pixels, of all its frames


@dataclasses.dataclass(frozen=True)
class Card:
    """What a checkpoint says about itself.

    Args:
        model: the name in the table of models.
        options: the keyword arguments it was built with.
        classes: names, in the order of the logits.
        clip_spec: what the model is fed.
        notes: facts for people: epoch, accuracy with its protocol, manifest hash.
        window: centre and width of what was shown of the volumes in training; None: no volumes, or
            no window.

    Raises:
        ValueError: a window without width.
    """

    model: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    clip_spec: ClipSpec
    notes: dict[str, Any]
    window: Window | None = None

    def __post_init__(self) -> None:
        Decoding(window=self.window)  # checks it


def save_model(path: str | Path, model: nn.Module, card: Card) -> None:
    """Write weights and card into one safetensors file, whole or not at all."""
    metadata = {"praxino": json.dumps(dataclasses.asdict(card))}
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_tensors(path, weights, metadata)


def load_model(path: str | Path, *, device: str | torch.device = "cpu") -> nn.Module:
    """Rebuild a trained model, ready to predict.

    Args:
        path: a checkpoint file, or a run folder (its best checkpoint, else its last).
        device: where to put it.

    Returns:
        The model in eval mode, with `model.classes` and `model.card` beside `model.clip_spec`.

    Raises:
        ValueError: nothing there, not a praxino checkpoint, damaged, or weights that do not fit.
    """
    path = find_checkpoint(path)
    card, promised = _read_card(path)
    where = printable(path)
    try:
        with ShapesOnly():  # whatever the card asks for costs nothing yet
            model = create_model(card.model, num_classes=len(card.classes), **card.options)
    except (ValueError, TypeError, ArithmeticError) as error:  # options out of range
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{where}: its card describes no model: {reason}") from None
    _check_clip(model.clip_spec, where)  # type: ignore[arg-type]
    check_fit(model, promised, where)
    # Cloned, because what is read is a view of the file, which may change while the model is used.
    weights = {name: tensor.clone() for name, tensor in load_tensors(path).items()}
    load_strict(model, weights, where, assign=True)
    model.clip_spec = card.clip_spec  # type: ignore[assignment]
    model.classes, model.card = card.classes, card  # type: ignore[assignment]
    return model.to(device).eval()


def save_tensors(
    path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write one safetensors file, whole or not at all.

    Raises:
        EnvironmentFault: the disk is full, or the folder cannot be written to.
    """
    with atomic_write(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # a full disk, in the library's own words
            raise EnvironmentFault(f"Cannot write {path}: {error}. Free some space.") from None


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint a user means by a file or a run folder."""
    path = Path(path)
    if path.is_file():
        return path
    for name in (BEST, LAST):
        if (path / name).is_file():
            return path / name
    if path.is_dir():
        raise ValueError(f"{path} holds no checkpoint ({BEST} or {LAST}). Train there first.")
    raise ValueError(f"There is no checkpoint or run folder at {path}.")


def read_card(path: str | Path) -> Card:
    """Read what a checkpoint says about itself, without its weights.

    Raises:
        ValueError: no whole safetensors file, no card in it, or a card that cannot be right; the
            setting is named.
    """
    return _read_card(path)[0]


def _read_card(path: str | Path) -> tuple[Card, State]:
    """The card, and the tensors that the file promises, on the meta device."""
    promised, metadata = read_header(path)
    where = printable(path)
    if "praxino" not in metadata:
        raise ValueError(
            f"{where} holds weights but no praxino model card. To start training from it, "
            f"pass it as --model.weights."
        )
    where = f"{where}, model card"
    card: Card = checked(Card, parse_json(metadata["praxino"], where), where)
    for name in card.classes:
        if name.strip() != name or not name or not name.isprintable():
            raise ValueError(f"{where}: {shortened(name)} is not a class name.")
    if not card.classes or len(set(card.classes)) < len(card.classes):
        what = "names a class twice" if card.classes else "names no classes"
        raise ValueError(f"{where}: it {what}.")
    if card.model not in MODELS:
        raise ValueError(
            f"{where}: There is no model named {shortened(card.model)}."
            f"{did_you_mean(card.model[:100], MODELS)}"
        )
    known = option_types(card.model)
    for name, value in card.options.items():
        if name not in known:
            raise ValueError(
                f"{where}: {card.model} has no option {shortened(name)}."
                f"{did_you_mean(name[:100], known)}"
            )
        checked(known[name], value, where, f"options.{name}")
    span = checked(float | None, card.notes.get("span_seconds"), where, "notes.span_seconds")
    if span is not None and span <= 0:
        raise ValueError(f"{where}: notes.span_seconds must be above 0, got {span}.")
    _check_clip(card.clip_spec, where)
    return card, promised


def _check_clip(spec: ClipSpec, where: str) -> None:
    """A card may not ask for clips that no memory holds."""
    if spec.resize_short > LARGEST_SIZE or spec.frames * spec.resize_short**2 > LARGEST_CLIP:
        raise ValueError(
            f"{where}: clips of {spec.frames} frames, {spec.resize_short} pixels on the short "
            f"side, are too large; the limits are {LARGEST_SIZE} pixels, and {LARGEST_CLIP:,} in "
            "all frames."
        )


def weights_hash(model: nn.Module) -> str:
    """The first 16 digits of the SHA-256 of all weights, to name a model in a result."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def classes_line(classes: Sequence[str], shown: int = 6) -> str:
    """The classes in one line, shortened: `kick, punch, wave (3 classes)`."""
    dots = ", ..." if len(classes) > shown else ""
    return f"{', '.join(classes[:shown])}{dots} ({len(classes)} classes)"
