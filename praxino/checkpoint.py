"""Save and load models. A checkpoint remembers its model's name, options, clip spec and classes.

Everything is safetensors and JSON, and nothing is ever unpickled.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from praxino.atomic import atomic_write
from praxino.errors import EnvironmentFault
from praxino.models import create_model
from praxino.video.clip_spec import ClipSpec
from praxino.weights import load_strict

BEST, LAST = "best.safetensors", "last.safetensors"


@dataclasses.dataclass(frozen=True)
class Card:
    """What a checkpoint says about itself.

    Args:
        model: the name in the table of models.
        options: the keyword arguments it was built with.
        classes: names, in the order of the logits.
        clip_spec: what the model is fed.
        notes: facts for people: epoch, accuracy with its protocol, manifest hash.
    """

    model: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    clip_spec: ClipSpec
    notes: dict[str, Any]


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
    card = read_card(path)
    model = create_model(card.model, num_classes=len(card.classes), **card.options)
    load_strict(model, load_file(path), str(path))
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
    """Read what a checkpoint says about itself, without its weights."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}.") from None
    if "praxino" not in metadata:
        raise ValueError(
            f"{path} holds weights but no praxino model card. To start training from it, "
            f"pass it as --model.weights."
        )
    said = json.loads(metadata["praxino"])
    spec: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in said["clip_spec"].items()
    }
    return Card(
        said["model"], said["options"], tuple(said["classes"]), ClipSpec(**spec), said["notes"]
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
