"""Pictures: scores drawn on the video (H.264, for browsers) or over time, confusion, curves."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from praxino.atomic import atomic_write
from praxino.video.reader import open_video
from praxino.video.writer import VideoWriter

if TYPE_CHECKING:
    from praxino.results import Recognition

SHOWN = 3  # actions at a time
SHORTEST_SIDE = 240  # text is unreadable on smaller frames, so they are enlarged
PANEL, TEXT, BAR, BAR_BACK = (18, 20, 26), (240, 242, 245), (64, 156, 255), (52, 56, 66)
RIGHT, WRONG = (60, 190, 100), (235, 84, 84)
TIMELINE_SHOWN = 8  # curves
TRAINING, VALIDATION = "#9aa3b2", "#2f6fde"


def draw_scores(result: "Recognition", path: str | Path, *, truth: str | None = None) -> Path:
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
    with (
        open_video(_file_of(result), **vars(result.decoding)) as video,
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
        draw.rectangle(
            (left, bar[1], left + (right - left) * float(scores[k]), bar[3]), fill=colour
        )
        middle = top + line / 2
        draw.text((left + margin, middle), classes[k], fill=TEXT, font=font, anchor="lm")
        draw.text((right - margin, middle), f"{scores[k]:.0%}", fill=TEXT, font=font, anchor="rm")
    return np.asarray(sheet)


def timeline(result: "Recognition", path: str | Path) -> Path:
    """Draw the score of the best actions over time, below a strip of frames.

    Args:
        result: what `predict` returned for a file, best with `every_seconds`.
        path: the `.png` to write.

    Returns:
        `path`.

    Raises:
        ValueError: the result does not come from a file.
    """
    with open_video(_file_of(result), short_side=96, **vars(result.decoding)) as video:
        height, width = video.info.height, video.info.width
        shown = max(3, min(14, round(14 * height / width)))
        indices = np.linspace(0, len(video) - 1, 2 * shown + 1).round().astype(int)[1::2]
        strip = np.concatenate(list(video.frames(indices).pixels), axis=1)
        start, end = float(video.timestamps[0]), float(video.timestamps[-1])
    figure = Figure(figsize=(10, 4), layout="constrained")
    above, below = figure.subplots(
        2, 1, sharex=True, height_ratios=(strip.shape[0] / strip.shape[1] * 10, 2.4)
    )
    above.imshow(strip, extent=(start, end, 0, 1), aspect="auto")
    above.axis("off")
    # A clip's score stands at its middle; before the first and after the last one nothing is known
    # but what these say.
    moments = np.array([start, *result.clip_seconds.mean(axis=1), end])
    scores = result.clip_scores[[0, *range(len(result.clip_scores)), -1]]
    for k in _worth_showing(scores):
        line = below.plot(moments, scores[:, k], label=result.classes[k], linewidth=2)
        below.fill_between(moments, scores[:, k], color=line[0].get_color(), alpha=0.12)
    below.set(xlim=(start, end), ylim=(0, 1.02), xlabel="seconds", ylabel="score")
    above.set_title(Path(result.video).name, loc="left", fontsize=11)
    below.spines[["top", "right"]].set_visible(False)
    below.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return Path(path)


def _worth_showing(scores: NDArray[np.float64]) -> list[int]:
    """Classes that lead at some moment, the longest first, and a few that come near; at most 8.

    In the order in which they happen, so that neighbours in the legend are neighbours in time.
    """
    leads = scores.argmax(axis=1)
    times = np.bincount(leads, minlength=scores.shape[1])
    order = sorted(range(scores.shape[1]), key=lambda k: (-times[k], -scores[:, k].max()))
    count = min(TIMELINE_SHOWN, max(3, int((times > 0).sum())))
    return sorted(order[:count], key=lambda k: (int(scores[:, k].argmax()), k))


def _file_of(result: "Recognition") -> Path:
    if result.path is None:
        raise ValueError(
            f"Cannot draw on {result.video!r}: it was not read from a file. Save as .json or .csv."
        )
    return result.path


def curves(history: list[dict[str, Any]]) -> bytes:
    """Loss and hit@1 over epochs, for training and validation, as PNG."""
    figure = Figure(figsize=(9, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    for axes, key, title in ((left, "loss", "loss"), (right, "hit_at_1", "hit@1")):
        axes.plot(
            epochs, [line[f"train_{key}"] for line in history], color=TRAINING, label="training"
        )
        if history[0].get(f"val_{key}") is not None:
            values = [line[f"val_{key}"] for line in history]
            axes.plot(epochs, values, color=VALIDATION, label="validation")
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    right.set_ylim(0, 1.02)
    return _png(figure)


def confusion(counts: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """A `(K, K)` confusion matrix as PNG: a row per true class, its shares, counts written in."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(16.0, max(4.0, 2.2 + 0.42 * len(classes)))
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(len(classes))
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= 60:
        axes.set_xticks(ticks, classes, rotation=90)
        axes.set_yticks(ticks, classes)
    if len(classes) <= 25:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    # The figure draws itself: no pyplot, no display, no global state.
    with matplotlib.rc_context({"font.size": 9}):
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=130)
    return file.getvalue()
