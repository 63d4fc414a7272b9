"""Pictures of units: the frames of a video, and below them what of these excites a unit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from praxino.atomic import atomic_write, write_text
from praxino.datasets.clips import sampling_errors
from praxino.evaluate import motion_of, needs_flow, spec_of, window_of
from praxino.explain.animation import write_animation
from praxino.explain.projection import Projections, Unit
from praxino.video import sampling, transforms
from praxino.video.clip_spec import ClipSpec
from praxino.video.reader import open_video

SHOWN = 8  # frames in a row
SIDE, GAP = 112, 4  # pixels of a frame, and between two
FRAMES_PER_SECOND = 5
PAPER, INK = (250, 250, 250), (40, 44, 52)


def clip_of(model: nn.Module, video: str | Path, *, streams: bool = False) -> Tensor:
    """The clip in the middle of a video, as the model wants it: `(C, T, H, W)`.

    Args:
        model: says what it wants in its `clip_spec`.
        video: as `open_video` takes it.
        streams: also of other streams than colours; flow is computed as for the model's training.

    Raises:
        VideoError: the file cannot be read.
        ValueError: the model looks at something else than RGB, and not `streams`.
        EnvironmentFault: what computes flow is not installed.
    """
    spec = spec_of(model)
    if spec.inputs != ("rgb",) and not streams:
        raise ValueError(
            f"{type(model).__name__} looks at {' and '.join(spec.inputs)}, and a video file has "
            "rgb. Name another model."
        )
    window = window_of(model, None, [video])
    with open_video(video, short_side=spec.resize_short, window=window) as opened:
        with sampling_errors(str(video)):
            indices = sampling.test_clips(opened.timestamps, spec, 1)  # (1, T)
        pixels = opened.clips(indices).pixels[0]  # (T, H, W, 3)
    if needs_flow(spec):
        pixels = motion_of(model, None).add(pixels, spec.inputs, str(video), indices[0])
    return transforms.test_views(pixels, spec, 1)[0]


def draw_units(
    folder: str | Path, clip: Tensor, spec: ClipSpec, projections: Projections
) -> list[Path]:
    """Write a picture for each unit, one that plays for all of them, and their numbers.

    A projection is scaled by its largest values; grey is zero.

    Args:
        folder: for `LAYER-CHANNEL.png`, `LAYER.gif` and `LAYER.json`.
        clip: `(3, T, H, W)`, normalised as `spec` says.
        spec: of the model.
        projections: from `project_units`.

    Returns:
        The files.

    Raises:
        EnvironmentFault: the disk is full or not writable.
    """
    folder, layer = Path(folder), projections.layer
    frames = transforms.from_clip(transforms.denormalise(clip, spec.mean, spec.std))
    pictures = [_scaled(unit.projection) for unit in projections.units]
    files = []
    for unit, picture in zip(projections.units, pictures, strict=True):
        files.append(folder / f"{layer}-{unit.channel:04}.png")
        with atomic_write(files[-1]) as temporary:
            Image.fromarray(_strips(frames, picture, _title(layer, unit), unit)).save(temporary)
    files += [folder / f"{layer}.gif", folder / f"{layer}.json"]
    moving = [
        _beside(frames[now], [picture[now] for picture in pictures], projections)
        for now in range(len(frames))
    ]
    write_animation(files[-2], moving, FRAMES_PER_SECOND)
    write_text(files[-1], json.dumps(as_dict(projections), indent=2) + "\n")
    return files


def as_dict(projections: Projections) -> dict[str, Any]:
    """The numbers, for JSON."""
    return {
        "layer": projections.layer,
        "method": projections.method,
        "relus": projections.relus,
        "units": [
            {
                "channel": unit.channel,
                "position": unit.position,
                "activation": unit.activation,
                "share_of_frames": [round(share, 4) for share in unit.share_of_frames.tolist()],
            }
            for unit in projections.units
        ],
    }


def _title(layer: str, unit: Unit) -> str:
    place = ", ".join(map(str, unit.position))
    return f"{layer}, channel {unit.channel}: {unit.activation:.3g} at ({place})"


def _scaled(projection: Tensor) -> NDArray[np.uint8]:
    """`(T, H, W, 3)`; the largest of a thousand values are cut off, or the rest would be grey."""
    values = projection.permute(1, 2, 3, 0).double().numpy()
    largest = np.quantile(np.abs(values), 0.999)
    largest = largest if largest > 0 else max(np.abs(values).max(), 1e-30)
    return np.rint(127.5 + 127.5 * np.clip(values / largest, -1, 1)).astype(np.uint8)


def _strips(
    frames: NDArray[np.uint8], projection: NDArray[np.uint8], title: str, unit: Unit
) -> NDArray[np.uint8]:
    """Frames, below them the projection and how much of it lies there; 8 frames in a row."""
    count = len(frames)
    rows = -(-count // SHOWN)
    font, small = ImageFont.load_default(size=15), ImageFont.load_default(size=11)
    step, block, top = SIDE + GAP, 2 * (SIDE + GAP) + 18, 32
    width = max(min(count, SHOWN) * step - GAP, round(font.getlength(title))) + 16
    sheet = Image.new("RGB", (width, top + rows * block), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((8, 8), title, fill=INK, font=font)
    for number in range(count):
        row, column = divmod(number, SHOWN)
        left, above = 8 + column * step, top + row * block
        sheet.paste(_square(frames[number]), (left, above))
        sheet.paste(_square(projection[number]), (left, above + step))
        said = f"{number}: {float(unit.share_of_frames[number]):.0%}"
        middle = (left + SIDE / 2, above + 2 * step + 4)
        draw.text(middle, said, fill=INK, font=small, anchor="mm")
    return np.asarray(sheet)


def _beside(
    frame: NDArray[np.uint8], pictures: list[NDArray[np.uint8]], projections: Projections
) -> NDArray[np.uint8]:
    """One moment: the frame, and the projections of all units in a grid to its right."""
    columns = max(1, round(len(pictures) ** 0.5))
    rows = -(-len(pictures) // columns)
    step, top = SIDE + GAP + 14, 30
    title = f"{projections.layer}, {projections.method}"
    font, small = ImageFont.load_default(size=15), ImageFont.load_default(size=11)
    width = max(24 + step * (1 + columns), round(font.getlength(title)) + 16)
    sheet = Image.new("RGB", (width, top + rows * step), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((8, 8), title, fill=INK, font=font)
    sheet.paste(_square(frame), (8, top))
    draw.text((8, top + SIDE + 8), "the clip", fill=INK, font=small, anchor="lm")
    for number, (unit, picture) in enumerate(zip(projections.units, pictures, strict=True)):
        row, column = divmod(number, columns)
        left, above = 24 + (1 + column) * step, top + row * step
        sheet.paste(_square(picture), (left, above))
        said = f"channel {unit.channel}"
        draw.text((left, above + SIDE + 8), said, fill=INK, font=small, anchor="lm")
    return np.asarray(sheet)


def _square(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
