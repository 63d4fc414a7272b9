"""Where a network looks: its attention laid over the frames, as a picture and as a film."""

import json
import typing
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from praxino.atomic import atomic_write, write_text
from praxino.explain.animation import write_animation
from praxino.models import MODELS
from praxino.video import transforms
from praxino.video.clip_spec import CHANNELS, ClipSpec

SHOWN = 8  # frames in a row
SIDE, GAP = 112, 4  # pixels of a frame, and between two
FRAMES_PER_SECOND = 5
DARK = 0.2  # brightness that is left where nothing is looked at
PAPER, INK = (250, 250, 250), (40, 44, 52)


def attention_of(model: nn.Module, clip: Tensor) -> Tensor:
    """How much each place of each frame matters to a model.

    Args:
        model: has a method `attention`, from clips `(B, C, T, H, W)` to `(B, T, h, w)`.
        clip: `(C, T, H, W)`, normalised as `model.clip_spec` says.

    Returns:
        `(T, h, w)`.

    Raises:
        ValueError: the model has no attention; those that have are named.
    """
    look: Any = getattr(model, "attention", None)
    if look is None:
        raise ValueError(
            f"{type(model).__name__} has no attention to show. These have: "
            f"{', '.join(models_with_attention())}."
        )
    model.eval()
    with torch.no_grad():
        maps: Tensor = look(clip[None])[0]
    return maps


def models_with_attention() -> list[str]:
    """Names in the table of models that `attention_of` takes."""
    return [
        name
        for name, row in MODELS.items()
        if hasattr(typing.get_type_hints(row.build)["return"], "attention")
    ]


def overlay(frames: NDArray[np.uint8], maps: Tensor) -> NDArray[np.uint8]:
    """Frames that stay bright where they are looked at, and are dark elsewhere.

    Args:
        frames: `(T, H, W, 3)`.
        maps: `(T, h, w)`; the largest value of all frames is full brightness, what is below zero
            counts as zero.

    Returns:
        `(T, H, W, 3)`.
    """
    looked_at = maps.float().clamp(min=0)
    looked_at = looked_at / looked_at.max().clamp(min=torch.finfo(looked_at.dtype).tiny)
    size = frames.shape[1:3]
    grown = F.interpolate(looked_at[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    bright = (DARK + (1 - DARK) * grown).numpy()[..., None]
    return np.rint(frames * bright).astype(np.uint8)


def draw_attention(
    folder: str | Path, clip: Tensor, spec: ClipSpec, maps: Tensor, after: Tensor | None = None
) -> list[Path]:
    """Write `attention.png`, `attention.gif` and the numbers, `attention.json`.

    Args:
        folder: for the files.
        clip: `(C, T, H, W)`, normalised as `spec` says; its colours are shown.
        spec: of the model.
        maps: from `attention_of`.
        after: of another model on the same frames, shown beside the first: what has training, or a
            task more, changed?

    Returns:
        The files.

    Raises:
        ValueError: the clip has no colours, or the maps are of another number of frames.
        EnvironmentFault: the disk is full or not writable.
    """
    folder = Path(folder)
    frames = _colours(clip, spec)
    all_maps = [maps] if after is None else [maps, after]
    for one in all_maps:
        if len(one) != len(frames):
            raise ValueError(
                f"The clip has {len(frames)} frames and the attention {len(one)}. Compare models "
                "that take clips of the same length."
            )
    shown = [overlay(frames, one) for one in all_maps]
    files = [folder / f"attention.{suffix}" for suffix in ("png", "gif", "json")]
    with atomic_write(files[0]) as temporary:
        picture = _strips([frames, *shown], [shares(one) for one in all_maps])
        Image.fromarray(picture).save(temporary)
    write_animation(files[1], list(np.concatenate([frames, *shown], axis=2)), FRAMES_PER_SECOND)
    numbers = _numbers(maps) | ({} if after is None else {"after": _numbers(after)})
    write_text(files[2], json.dumps(numbers) + "\n")
    return files


def _numbers(maps: Tensor) -> dict[str, Any]:
    return {
        "share_of_frames": [round(share, 4) for share in shares(maps)],
        "maps": [[[round(v, 6) for v in row] for row in one] for one in maps.tolist()],
    }


def shares(maps: Tensor) -> list[float]:
    """How much of what is looked at lies in each frame; the sum is one."""
    each = maps.float().clamp(min=0).sum(dim=(1, 2))
    found: list[float] = (each / each.sum().clamp(min=torch.finfo(each.dtype).tiny)).tolist()
    return found


def _colours(clip: Tensor, spec: ClipSpec) -> NDArray[np.uint8]:
    if "rgb" not in spec.inputs:
        raise ValueError(
            f"The model looks at {' and '.join(spec.inputs)}, and attention is laid over colours: "
            "name a model of rgb."
        )
    first = sum(CHANNELS[name] for name in spec.inputs[: spec.inputs.index("rgb")])
    rgb = slice(first, first + 3)
    return transforms.from_clip(transforms.denormalise(clip[rgb], spec.mean[rgb], spec.std[rgb]))


def _strips(strips: list[NDArray[np.uint8]], share: list[list[float]]) -> NDArray[np.uint8]:
    """Frames, below them what is looked at, before and after; 8 in a row."""
    frames = strips[0]
    rows = -(-len(frames) // SHOWN)
    font = ImageFont.load_default(size=11)
    step, block = SIDE + GAP, len(strips) * (SIDE + GAP) + 18
    sheet = Image.new("RGB", (min(len(frames), SHOWN) * step + 12, rows * block + 8), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number in range(len(frames)):
        row, column = divmod(number, SHOWN)
        left, above = 8 + column * step, 8 + row * block
        for strip, pixels in enumerate(strips):
            picture = Image.fromarray(pixels[number]).resize(
                (SIDE, SIDE), Image.Resampling.BILINEAR
            )
            sheet.paste(picture, (left, above + strip * step))
        middle = (left + SIDE / 2, above + len(strips) * step + 4)
        said = ", ".join(f"{one[number]:.0%}" for one in share)
        draw.text(middle, f"{number}: {said}", fill=INK, font=font, anchor="mm")
    return np.asarray(sheet)
