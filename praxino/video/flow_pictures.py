"""Flow that can be looked at: u and v in grey, direction as colour, arrows on the frame."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Flow = NDArray[np.floating[Any]]
Picture = NDArray[np.uint8]

_BACK, _TEXT, _ARROW = (18, 20, 26), (240, 242, 245), (255, 214, 10)
_PANEL_HEIGHT = 192  # pixels; smaller frames are enlarged to it, larger ones reduced
_CAPTION = 22  # pixels above each panel


def longest_of(flow: Flow) -> float:
    """A length in pixels that few vectors exceed, at least 1: the scale of a picture."""
    lengths = np.linalg.norm(flow, axis=-1)
    return max(1.0, float(np.quantile(lengths, 0.995)))


def flow_in_colour(flow: Flow, longest: float) -> Picture:
    """Direction as hue, length as saturation: white stands still, red goes right, cyan left.

    Args:
        flow: `(..., 2)` in pixels, u to the right and v down.
        longest: pixels that have the full colour; what is longer has, too.

    Returns:
        `(..., 3)` uint8 RGB.
    """
    hue = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) % 1
    saturation = np.minimum(np.linalg.norm(flow, axis=-1) / longest, 1)
    # HSV to RGB at full value: each channel falls from 1 by the saturation, away from its hue.
    channels = []
    for peak in (5, 3, 1):  # sixths of the circle at which red, green and blue are lowest, reversed
        place = (peak + 6 * hue) % 6
        channels.append(1 - saturation * np.clip(np.minimum(place, 4 - place), 0, 1))
    return np.rint(255 * np.stack(channels, axis=-1)).astype(np.uint8)


def colour_wheel(side: int) -> Picture:
    """The key to `flow_in_colour`: `(side, side, 3)` uint8, each place as flow that leads there."""
    ends = np.linspace(-1, 1, side)
    flow = np.stack(np.meshgrid(ends, ends), axis=-1)
    wheel = flow_in_colour(flow, 1.0)
    wheel[np.linalg.norm(flow, axis=-1) > 1] = _BACK
    return wheel


def flow_in_grey(component: Flow, longest: float) -> Picture:
    """One component, u or v, `(H, W)`, as grey pixels: middle grey stands still."""
    return np.rint(127.5 + 127.5 * np.clip(component / longest, -1, 1)).astype(np.uint8)


def draw_arrows(pixels: Picture, flow: Flow, longest: float, *, spacing: int = 12) -> Picture:
    """Arrows on a darkened frame; what moves by less than a twentieth of `longest` has none.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.
        flow: `(H, W, 2)` in pixels.
        longest: pixels of flow whose arrow is as long as the spacing.
        spacing: pixels between arrows.
    """
    sheet = Image.fromarray((pixels * 0.55).astype(np.uint8))
    draw = ImageDraw.Draw(sheet)
    height, width = flow.shape[:2]
    for y in range(spacing // 2, height, spacing):
        for x in range(spacing // 2, width, spacing):
            # The mean of a cell: one pixel may be noise.
            reach = spacing // 4
            cell = flow[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            u, v = cell.mean((0, 1)) / longest
            length = float(np.hypot(u, v))
            if length < 0.05:
                continue
            shown = spacing * min(1.0, length) / length
            end = np.array([x + u * shown, y + v * shown])
            draw.line((x, y, *end), fill=_ARROW, width=1)
            angle = np.arctan2(v, u)
            for turn in (2.6, -2.6):
                barb = np.array([np.cos(angle + turn), np.sin(angle + turn)])
                draw.line((*end, *(end + 0.35 * shown * length * barb)), fill=_ARROW, width=1)
    return np.asarray(sheet)


def draw_panels(
    pixels: Picture,
    flow: Flow,
    longest: float,
    what: str,
    confidence: NDArray[np.floating[Any]] | None = None,
) -> list[Picture]:
    """Pictures of one flow, with captions: arrows, colour with its key, u, v, confidence.

    Args:
        pixels: `(H, W, 3)` uint8 RGB, the frame that the flow starts from.
        flow: `(H, W, 2)` in pixels.
        longest: pixels of flow that are shown in full.
        what: the first caption, for example `frame 12`.
        confidence: `(H, W)`, at least 0, of methods that have one; shown by its root, so that an
            edge differs from nothing at all.

    Returns:
        Four or five pictures of one size, `(H', W', 3)` uint8.
    """
    height, width = flow.shape[:2]
    size = (max(1, round(width * _PANEL_HEIGHT / height)), _PANEL_HEIGHT)
    frame = np.asarray(Image.fromarray(pixels).resize(size))
    ratio = size[1] / height
    wide = np.stack(
        [
            np.asarray(Image.fromarray(np.float32(flow[..., axis])).resize(size, 2))
            for axis in (0, 1)
        ],
        axis=-1,
    )
    colour = flow_in_colour(wide, longest).copy()
    wheel = colour_wheel(_PANEL_HEIGHT // 4)
    colour[: len(wheel), -wheel.shape[1] :] = wheel
    scale = f"-{longest:.1f} to {longest:.1f} pixels"
    panels = [
        _captioned(what, draw_arrows(frame, wide * ratio, longest * ratio)),
        _captioned("direction and length", colour),
        _captioned(f"u, to the right: {scale}", flow_in_grey(wide[..., 0], longest)),
        _captioned(f"v, down: {scale}", flow_in_grey(wide[..., 1], longest)),
    ]
    if confidence is not None:
        root = np.sqrt(confidence)
        shown = np.minimum(root / max(float(np.quantile(root, 0.99)), 1e-6), 1)
        sure = Image.fromarray(np.rint(255 * shown).astype(np.uint8)).resize(size)
        panels.append(_captioned("confidence: smaller eigenvalue", np.asarray(sure)))
    return panels


def _captioned(text: str, picture: Picture) -> Picture:
    image = Image.fromarray(picture).convert("RGB")
    sheet = Image.new("RGB", (image.width + 4, image.height + _CAPTION + 2), _BACK)
    sheet.paste(image, (2, _CAPTION))
    font = ImageFont.load_default(size=12)
    ImageDraw.Draw(sheet).text((6, _CAPTION / 2), text, fill=_TEXT, font=font, anchor="lm")
    return np.asarray(sheet)
