"""The filters of the first convolution, as clips: what a network looks for in pixels or in flow.

A filter of 3 x 7 x 7 x 7 is a clip of 7 frames of 7 x 7 pixels, in colour. Deeper filters have more
channels than eyes have; see `projection.py` for them.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import hsv_to_rgb
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from praxino.atomic import atomic_write
from praxino.did_you_mean import did_you_mean
from praxino.explain.animation import write_animation

MOST = 96  # filters in a picture, unless asked for more
FRAMES_PER_SECOND = 4
TILE, GAP = 40, 6  # pixels, at least, of a filter, and between two
PAPER, INK = (250, 250, 250), (40, 44, 52)


def first_convolutions(model: nn.Module) -> dict[str, Tensor]:
    """The filters that see the clip itself, by the layer's name.

    2D filters are clips of one frame. Where frames are stacked as channels, as in early fusion, a
    filter is a clip again.

    Args:
        model: with a `clip_spec`; SlowFast, for example, has a first convolution in each pathway.

    Returns:
        `(filters, C, T, H, W)` each, C being 1 (grey), 2 (flow) or 3 (RGB).

    Raises:
        ValueError: no convolution sees 1, 2 or 3 channels, or frames of them.
    """
    kinds = (nn.Conv2d, nn.Conv3d)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, kinds)}
    found = {
        name: layer.weight.detach() if isinstance(layer, nn.Conv3d) else layer.weight[:, :, None]
        for name, layer in layers.items()
        if layer.in_channels <= 3
    }
    if not found and layers:
        spec: Any = model.clip_spec
        name, layer = next(iter(layers.items()))
        channels = spec.channels
        if isinstance(layer, nn.Conv2d) and layer.in_channels == channels * spec.frames:
            # Frame after frame, as early fusion stacks them.
            found[name] = layer.weight.unflatten(1, (spec.frames, channels)).transpose(1, 2)
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no convolution that sees 1, 2 or 3 channels, so none of "
            "its filters is a picture. Try praxino explain units."
        )
    return {name: weight.detach().float().cpu() for name, weight in found.items()}


def choose_layer(found: dict[str, Tensor], layer: str | None = None) -> str:
    """The layer that was asked for, or the one whose filters span most frames.

    Raises:
        ValueError: no first convolution has that name.
    """
    if layer is None:
        return max(found, key=lambda name: found[name].shape[2])
    if layer not in found:
        raise ValueError(
            f"{layer!r} is no first convolution; there {'are' if len(found) > 1 else 'is'} "
            f"{', '.join(found)}.{did_you_mean(layer, found)}"
        )
    return layer


def draw_filters(path: str | Path, filters: Tensor, title: str, *, most: int = MOST) -> None:
    """Write filters as a grid: one that plays, or in a `.png` frame beside frame.

    Each filter is scaled by its largest weight. RGB and grey: weights of zero are grey, so that
    what excites is light or coloured and what inhibits is dark or of the opposite colour. Flow: the
    colour is the direction of motion that the filter looks for, white is none.

    Args:
        path: ends in `.gif`, `.mp4` or `.png`.
        filters: `(filters, C, T, H, W)`, from `first_convolutions`.
        title: above the grid.
        most: how many filters to show, the first ones.

    Raises:
        ValueError: another suffix, or `most` below 1.
        EnvironmentFault: the disk is full or not writable.
    """
    path = Path(path)
    if most < 1:
        raise ValueError(f"A picture shows at least 1 filter, got {most}.")
    if path.suffix.lower() not in (".gif", ".mp4", ".png"):
        raise ValueError(f"Cannot draw filters as {path.name!r}: use .gif or .mp4, or .png.")
    clips = colours(filters[:most])  # (filters, T, H, W, 3)
    flow = filters.shape[1] == 2
    if path.suffix.lower() == ".png":
        count, frames, height, width, _ = clips.shape
        strips = np.full((count, 1, height, frames * (width + 1) - 1, 3), PAPER, np.uint8)
        for number in range(frames):
            strips[:, 0, :, number * (width + 1) : (number + 1) * (width + 1) - 1] = clips[
                :, number
            ]
        (picture,) = _grids(strips, title, flow, still=True)
        with atomic_write(path) as temporary:
            Image.fromarray(picture).save(temporary)
    else:
        write_animation(path, list(_grids(clips, title, flow)), FRAMES_PER_SECOND)


def colours(filters: Tensor) -> NDArray[np.uint8]:
    """Weights as pixels, each filter scaled by its largest weight.

    Args:
        filters: `(filters, C, T, H, W)`, C of 1, 2 or 3.

    Returns:
        `(filters, T, H, W, 3)`.
    """
    weights = filters.permute(0, 2, 3, 4, 1).numpy().astype(np.float64)  # (filters, T, H, W, C)
    if weights.shape[-1] == 2:
        length = np.linalg.norm(weights, axis=-1)
        longest = length.max(axis=(1, 2, 3), keepdims=True)
        share = length / np.where(longest > 0, longest, 1)
        return _wheel(np.arctan2(weights[..., 1], weights[..., 0]), share)
    largest = np.abs(weights).max(axis=(1, 2, 3, 4), keepdims=True)
    grey = 0.5 + 0.5 * weights / np.where(largest > 0, largest, 1)
    levels = np.rint(255 * grey).astype(np.uint8)
    return np.broadcast_to(levels, (*levels.shape[:-1], 3))


def _wheel(angle: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A direction as a hue, its strength in [0, 1] as how far that is from white."""
    hue = angle / (2 * np.pi) % 1
    colour = hsv_to_rgb(np.stack([hue, length, np.ones_like(hue)], axis=-1))
    return np.rint(255 * colour).astype(np.uint8)


def _grids(
    clips: NDArray[np.uint8], title: str, flow: bool, *, still: bool = False
) -> Iterator[NDArray[np.uint8]]:
    """One picture for each frame of the filters: `(H, W, 3)`."""
    count, frames, height, width, _ = clips.shape
    scale = max(1, math.ceil(TILE / height))
    tall, wide = scale * height, scale * width
    apart = max(GAP, 3 * scale) if still else GAP  # within a strip, frames are one `scale` apart
    # Half as wide again as tall, as screens are.
    columns = min(count, max(1, round(math.sqrt(1.5 * count * (tall + GAP) / (wide + apart)))))
    rows = math.ceil(count / columns)
    font, small = ImageFont.load_default(size=15), ImageFont.load_default(size=11)
    left, top, bottom = 34, 34, 12 if still else 30
    legend = 58 if flow else 0
    grid = columns * (wide + apart)
    page = max(left + grid + 8, left + math.ceil(font.getlength(title)) + 8 + legend)
    top = max(top, legend + 8)
    for number in range(frames):
        sheet = Image.new("RGB", (page, top + rows * (tall + GAP) + bottom), PAPER)
        draw = ImageDraw.Draw(sheet)
        draw.text((left, 8), title, fill=INK, font=font)
        if flow:
            sheet.paste(Image.fromarray(_legend(legend - 10)), (page - legend, 4))
        for index in range(count):
            row, column = divmod(index, columns)
            place = (left + column * (wide + apart), top + row * (tall + GAP))
            tile = Image.fromarray(clips[index, number])
            sheet.paste(tile.resize((wide, tall), Image.Resampling.NEAREST), place)
            if column == 0:
                middle = (left - 6, place[1] + tall / 2)
                draw.text(middle, str(index), fill=INK, font=small, anchor="rm")
        if not still:
            foot = sheet.height - 16
            draw.text((left, foot), _position(number, frames), fill=INK, font=small, anchor="lm")
        yield np.asarray(sheet)


def _position(number: int, frames: int) -> str:
    return f"frame {number + 1} of {frames}" if frames > 1 else "filters of one frame"


def _legend(side: int) -> NDArray[np.uint8]:
    """The directions and their colours; y points down, as flow's does."""
    steps = np.linspace(-1, 1, side)
    x, y = np.meshgrid(steps, steps)
    wheel = _wheel(np.arctan2(y, x), np.minimum(np.hypot(x, y), 1))
    wheel[np.hypot(x, y) > 1] = PAPER
    return wheel


def describe(name: str, weight: Tensor, shown: int = MOST) -> str:
    """A layer's filters in a line: `conv1a: 64 filters of 3x3x3 x RGB`."""
    count, channels, frames, height, width = weight.shape
    kind = {1: "grey", 2: "flow", 3: "RGB"}[channels]
    some = f"{shown} of {count}" if shown < count else str(count)
    size = f"{frames} frame{'s' * (frames > 1)} of {height}x{width}"
    return f"{name}: {some} filters, {size}, {kind}"
