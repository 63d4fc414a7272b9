"""Scores drawn on the video they belong to, as an H.264 file that browsers play."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from praxino.results import Recognition
from praxino.video.reader import open_video
from praxino.video.writer import VideoWriter

SHOWN = 3  # actions at a time
SHORTEST_SIDE = 240  # text is unreadable on smaller frames, so they are enlarged
PANEL, TEXT, BAR, BAR_BACK = (18, 20, 26), (240, 242, 245), (64, 156, 255), (52, 56, 66)
RIGHT, WRONG = (60, 190, 100), (235, 84, 84)


def draw_scores(result: Recognition, path: str | Path, *, truth: str | None = None) -> Path:
    """Write the video with its best actions in a panel below, changing as they change.

    Args:
        result: what `predict` returned for a file; with `every_seconds` the bars follow time.
        path: the `.mp4` to write.
        truth: the true action if known; the best bar is then green when right, red when wrong.

    Returns:
        `path`.

    Raises:
        ValueError: the result does not come from a file, so there is nothing to draw on.
    """
    if result.path is None:
        raise ValueError(
            f"Cannot draw on {result.video!r}: it was not read from a file. Save as .json or .csv."
        )
    with (
        open_video(result.path) as video,
        VideoWriter(path, video.info.frames_per_second) as writer,
    ):
        for frame in video:
            scores = result.scores_at(frame.seconds)
            writer.write(annotate(frame.pixels, result.classes, scores, truth=truth))
    return Path(path)


def annotate(
    pixels: NDArray[np.uint8],
    classes: tuple[str, ...],
    scores: NDArray[np.float64],
    *,
    truth: str | None = None,
) -> NDArray[np.uint8]:
    """One frame with a panel of bars below it.

    Args:
        pixels: `(H, W, 3)`.
        classes: K names.
        scores: `(K,)` probabilities.
        truth: the true action, if known.

    Returns:
        `(H', W', 3)`: taller by the panel, and enlarged if it was too small to read text on.
    """
    image = Image.fromarray(pixels)
    scale = max(1.0, SHORTEST_SIDE / min(image.size))
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    line = max(18, image.height // 16)
    margin = line // 3
    font = ImageFont.load_default(size=line * 0.66)
    best = np.argsort(-scores, kind="stable")[: min(SHOWN, len(classes))]
    sheet = Image.new("RGB", (image.width, image.height + line * len(best) + 2 * margin), PANEL)
    sheet.paste(image)
    draw = ImageDraw.Draw(sheet)
    left, right = margin, image.width - margin
    for rank, k in enumerate(best):
        top = image.height + margin + rank * line
        colour = BAR
        if truth is not None and rank == 0:
            colour = RIGHT if classes[k] == truth else WRONG
        bar = (left, top + 1, right, top + line - 2)
        draw.rectangle(bar, fill=BAR_BACK)
        draw.rectangle((left, bar[1], left + (right - left) * float(scores[k]), bar[3]), fill=colour)
        middle = top + line / 2
        draw.text((left + margin, middle), classes[k], fill=TEXT, font=font, anchor="lm")
        draw.text((right - margin, middle), f"{scores[k]:.0%}", fill=TEXT, font=font, anchor="rm")
    return np.asarray(sheet)
