"""Frames to a picture that plays: GIF, or MP4 for those who want to stop it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from praxino.atomic import atomic_write
from praxino.video.writer import write_video


def write_animation(
    path: str | Path, frames: Sequence[NDArray[np.uint8]], frames_per_second: float
) -> None:
    """Write frames as a GIF that plays for ever, or as MP4.

    Args:
        path: ends in `.gif` or `.mp4`.
        frames: at least one, each `(H, W, 3)` uint8, all of one size.
        frames_per_second: above 0; a GIF counts hundredths of a second.

    Raises:
        ValueError: another suffix, or no frame.
        EnvironmentFault: the disk is full or not writable.
    """
    path = Path(path)
    if path.suffix.lower() == ".mp4":
        write_video(path, frames, frames_per_second)
        return
    if path.suffix.lower() != ".gif":
        raise ValueError(f"Cannot write a picture that plays as {path.name!r}: use .gif or .mp4.")
    if not len(frames):
        raise ValueError(f"{path.name}: there is no frame to write.")
    # One palette for all frames: with one for each, colours that stand still would flicker.
    sheet = Image.fromarray(np.concatenate(list(frames)))
    palette = sheet.quantize(256, dither=Image.Dither.NONE)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    with atomic_write(path) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=round(100 / frames_per_second) * 10,  # milliseconds
            loop=0,
        )
