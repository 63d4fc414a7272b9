"""Which frames a Skip RNN uses: a strip of them, those that it leaves out grey."""

import typing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from praxino.atomic import atomic_write
from praxino.models import MODELS
from praxino.video import transforms
from praxino.video.clip_spec import ClipSpec

SHOWN = 10  # frames in a row
SIDE, GAP, BAR = 96, 4, 6  # pixels of a frame, between two, and of the bar below it
DIM = 0.35  # brightness that is left of a frame that is not used
PAPER, INK, USED, UNUSED = (250, 250, 250), (40, 44, 52), (47, 111, 222), (206, 210, 216)


def used_frames(model: nn.Module, clip: Tensor) -> NDArray[np.bool_]:
    """Which frames of a clip a model uses.

    Args:
        model: has a method `used_frames`, from clips `(B, C, T, H, W)` to `(B, T)` of 0 and 1.
        clip: `(C, T, H, W)`, normalised as `model.clip_spec` says.

    Returns:
        `(T,)`.

    Raises:
        ValueError: the model uses all frames; those that skip some are named.
    """
    choose: Any = getattr(model, "used_frames", None)
    if choose is None:
        raise ValueError(
            f"{type(model).__name__} uses every frame. These skip some: "
            f"{', '.join(models_that_skip())}."
        )
    model.eval()
    with torch.no_grad():
        used: NDArray[np.bool_] = choose(clip[None])[0].bool().cpu().numpy()
    return used


def models_that_skip() -> list[str]:
    """Names in the table of models that `used_frames` takes."""
    return [
        name
        for name, row in MODELS.items()
        if hasattr(typing.get_type_hints(row.build)["return"], "used_frames")
    ]


def draw_skips(path: str | Path, clip: Tensor, spec: ClipSpec, used: NDArray[np.bool_]) -> Path:
    """Write the frames in their order; unused ones are grey and dim, with a pale bar below.

    Args:
        path: the `.png` to write.
        clip: `(3, T, H, W)`, normalised as `spec` says.
        spec: of the model.
        used: from `used_frames`.

    Returns:
        `path`.

    Raises:
        EnvironmentFault: the disk is full or not writable.
    """
    frames = transforms.from_clip(transforms.denormalise(clip, spec.mean, spec.std))
    count = len(frames)
    title = f"{int(used.sum())} of {count} frames used"
    font = ImageFont.load_default(size=15)
    step, line, top = SIDE + GAP, SIDE + GAP + BAR + GAP, 32
    width = max(min(count, SHOWN) * step - GAP, round(font.getlength(title))) + 16
    sheet = Image.new("RGB", (width, top + -(-count // SHOWN) * line + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((8, 8), title, fill=INK, font=font)
    for number, (frame, looked_at) in enumerate(zip(frames, used, strict=True)):
        row, column = divmod(number, SHOWN)
        left, above = 8 + column * step, top + row * line
        picture = Image.fromarray(frame if looked_at else _dim(frame)).resize((SIDE, SIDE))
        sheet.paste(picture, (left, above))
        below = above + SIDE + GAP
        colour = USED if looked_at else UNUSED
        draw.rectangle((left, below, left + SIDE - 1, below + BAR - 1), fill=colour)
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="png")
    return Path(path)


def _dim(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = frame @ np.array([0.299, 0.587, 0.114])
    return np.rint(DIM * grey)[..., None].repeat(3, axis=2).astype(np.uint8)
