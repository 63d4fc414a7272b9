"""A 2D convolution over time beside a 3D convolution: shapes, a film, what a shift in time does.

Both see several frames. The 2D one has weights for every frame of the clip, slides over x and y,
and leaves one map: the same motion a frame later meets other weights. The 3D one has weights for a
few frames, slides over t as well, and leaves a clip: what it says of a motion moves along with it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from praxino.explain.animation import write_animation

FRAMES, SIDE, KERNEL = 5, 5, 3  # of the clip that is drawn, in frames and cells, and of the kernel
FRAMES_PER_SECOND = 4
CELL = 20  # pixels
PAPER, INK, LINE = (250, 250, 250), (40, 44, 52), (150, 156, 168)
EMPTY, DONE, KERNEL_COLOUR, NOW = (255, 255, 255), (189, 215, 247), (255, 176, 77), (47, 111, 222)


def over_time(channels: int, filters: int, frames: int, kernel: int = KERNEL) -> nn.Conv2d:
    """A 2D convolution on frames stacked as channels, as in early fusion."""
    return nn.Conv2d(channels * frames, filters, kernel, padding=kernel // 2, bias=False)


def through_time(channels: int, filters: int, kernel: int = KERNEL) -> nn.Conv3d:
    """A 3D convolution."""
    return nn.Conv3d(channels, filters, kernel, padding=kernel // 2, bias=False)


def answer_to_a_shift(layer: nn.Conv2d | nn.Conv3d, clip: Tensor) -> float:
    """How much of what a layer says of a clip is lost when everything happens a frame later.

    The answer of a 3D convolution is taken a frame later too, away from the clip's ends; that of a
    2D convolution has no time.

    Args:
        layer: from `over_time` or `through_time`.
        clip: `(C, T, H, W)`; its last frame drops out.

    Returns:
        The length of the difference, in lengths of the answer: 0 is the same, about 1.4 is
        unrelated.
    """
    later = torch.cat([clip[:, :1], clip[:, :-1]], dim=1)
    with torch.no_grad():
        if isinstance(layer, nn.Conv2d):
            # Frame after frame, as early fusion stacks them.
            before, after = (layer(c.transpose(0, 1).flatten(0, 1)[None]) for c in (clip, later))
        else:
            margin = layer.kernel_size[0] // 2 + 1
            inside = slice(margin, clip.shape[1] - margin)
            before = layer(clip[None])[:, :, inside]
            after = layer(later[None]).roll(-1, dims=2)[:, :, inside]
    return float((after - before).norm() / before.norm())


def comparison(channels: int = 3, filters: int = 64, frames: int = 16) -> list[str]:
    """Both layers in a line each: weights, their shape, the result, and what a shift does."""
    generator = torch.Generator().manual_seed(0)
    clip = torch.randn(channels, frames, 16, 16, generator=generator)
    flat, deep = over_time(channels, filters, frames), through_time(channels, filters)
    for layer in (flat, deep):
        nn.init.normal_(layer.weight, generator=generator)
    flat_shape = (filters, channels, frames, *flat.kernel_size)
    rows = (
        ("2D over time", flat, flat_shape, f"{filters}×H×W", "y and x"),
        ("3D", deep, tuple(deep.weight.shape), f"{filters}×{frames}×H×W", "t, y and x"),
    )
    return [
        f"{name}: weights {'×'.join(map(str, shape))} = {layer.weight.numel():,}, slide over "
        f"{axes}, give {result}; a frame later the answer differs by "
        f"{answer_to_a_shift(layer, clip):.0%}"
        for name, layer, shape, result, axes in rows
    ]


def draw_sliding(path: str | Path) -> None:
    """Write the film: a kernel that slides over y and x above one that slides over t, y and x.

    Args:
        path: ends in `.gif` or `.mp4`.

    Raises:
        ValueError: another suffix.
        EnvironmentFault: the disk is full or not writable.
    """
    write_animation(path, list(sliding_frames()), FRAMES_PER_SECOND)


def sliding_frames() -> Iterator[NDArray[np.uint8]]:
    """The film's frames, `(H, W, 3)`, one for each place of the 3D kernel."""
    out = SIDE - KERNEL + 1
    times = FRAMES - KERNEL + 1
    for step in range(times * out * out):
        sheet = Image.new("RGB", (760, 490), PAPER)
        draw = ImageDraw.Draw(sheet)
        # The 2D kernel goes over its map again while the 3D one takes the next frames.
        _panel(draw, 12, step % (out * out), FRAMES)
        _panel(draw, 252, step, KERNEL)
        yield np.asarray(sheet)


def _panel(draw: ImageDraw.ImageDraw, top: int, step: int, depth: int) -> None:
    """The clip with the kernel on it, and what has come out so far."""
    out = SIDE - KERNEL + 1
    times = FRAMES - depth + 1
    t, rest = divmod(step, out * out)
    y, x = divmod(rest, out)
    flat = depth == FRAMES
    heading, note = ImageFont.load_default(size=17), ImageFont.load_default(size=13)
    title = "2D convolution over time" if flat else "3D convolution"
    depth_said, axes = ("T", "y and x") if flat else ("3", "t, y and x")
    draw.text((16, top), title, fill=INK, font=heading)
    # Pillow's own font has no multiplication sign.
    said = f"weights C_out x C_in x {depth_said} x 3 x 3, slide over {axes}"
    draw.text((16, top + 26), said, fill=INK, font=note)
    for frame in range(FRAMES):
        covered = {
            (row, column): KERNEL_COLOUR
            for row in range(y, y + KERNEL)
            for column in range(x, x + KERNEL)
            if t <= frame < t + depth
        }
        _grid(draw, 24 + frame * 82, top + 98, SIDE, covered)
    middle = top + 128
    draw.line((446, middle, 492, middle), fill=INK, width=2)
    draw.polygon([(492, middle - 6), (504, middle), (492, middle + 6)], fill=INK)
    for frame in range(times):
        done = {
            divmod(place, out): DONE
            for place in range(out * out)
            if frame * out * out + place < step
        }
        if frame == t:
            done[y, x] = NOW
        _grid(draw, 526 + frame * 76, top + 112, out, done)
    said = "C_out maps, no time left" if flat else "C_out clips: time is still there"
    draw.text((526, top + 192), said, fill=INK, font=note)
    draw.text((24, top + 210), "the clip: T frames", fill=INK, font=note)


def _grid(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    side: int,
    coloured: dict[tuple[int, int], tuple[int, int, int]],
) -> None:
    """A frame seen from the side: its rows go down, its columns away to the upper right."""
    across, up = 0.55 * CELL, -0.5 * CELL
    for row in range(side):
        for column in range(side):
            corner = (left + column * across, top + row * CELL + column * up)
            box = [
                corner,
                (corner[0] + across, corner[1] + up),
                (corner[0] + across, corner[1] + up + CELL),
                (corner[0], corner[1] + CELL),
            ]
            draw.polygon(box, fill=coloured.get((row, column), EMPTY), outline=LINE)
