"""From manifest rows to what a model is fed: training clips and test views.

Which clip and which augmentation an example gets depends only on (seed, epoch, video), never on the
number of workers or on what came before: a run can stop anywhere and go on to the same numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from praxino.datasets.manifest import Manifest, Row
from praxino.errors import VideoError
from praxino.video import sampling, transforms
from praxino.video.augmentation import Augmentation
from praxino.video.clip_spec import ClipSpec
from praxino.video.decoding import Decoding
from praxino.video.motion import Motion
from praxino.video.reader import Video, open_video

WHOLE_ENOUGH = 0.9  # the share of a video's frames that must be there to train on it


@dataclass(frozen=True)
class Clip:
    """One training example.

    Args:
        row: its place in the manifest.
        clip: `(C, T, H, W)`, normalised; None if the video cannot be read.
        label: the class index.
        error: why the video cannot be read.
        seconds: how long the labelled span is.
        short: frames got and frames expected, if the file holds fewer than it promises.
    """

    row: int
    clip: Tensor | None
    label: int
    error: VideoError | None = None
    seconds: float = 0.0
    short: tuple[int, int] | None = None


@dataclass(frozen=True)
class Views:
    """All views of one test video.

    Args:
        row: its place in the manifest.
        views: `(V, C, T, H, W)`, clips first, then crops; None if the video cannot be read.
        label: the class index.
        error: why the video cannot be read.
        short: frames got and frames expected, if the file holds fewer than it promises.
    """

    row: int
    views: Tensor | None
    label: int
    error: VideoError | None = None
    short: tuple[int, int] | None = None


class TrainingClips(Dataset[Clip]):
    """Random, augmented clips of a manifest's videos, asked for as `dataset[epoch, draw, row]`."""

    def __init__(
        self,
        manifest: Manifest,
        spec: ClipSpec,
        augmentation: Augmentation,
        *,
        seed: int,
        decoding: Decoding = Decoding(),
        motion: Motion = Motion(),
    ) -> None:
        self.manifest, self.spec, self.augmentation, self.seed = manifest, spec, augmentation, seed
        self.decoding, self.motion = decoding, motion
        self.labels = single_labels(manifest)
        # "turn left" seen in a mirror is "turn right".
        self.mirrored = transforms.FlipPairs.from_names(manifest.classes).labels_after(
            manifest.classes
        )

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, key: tuple[int, int, int]) -> Clip:
        epoch, draw, index = key
        row = self.manifest.rows[index]
        rng = sampling.view_rng(self.seed, epoch, f"{example_name(row)}#{draw}")
        try:
            path, short_side = self.manifest.path(row), self.spec.resize_short
            with open_video(path, short_side=short_side, threads=1, **vars(self.decoding)) as video:
                with sampling_errors(row.video):
                    span = (row.start_seconds, row.end_seconds)
                    indices = sampling.training_clip(video.timestamps, self.spec, rng, span)
                pixels = video.frames(indices).pixels
                start, end = row.start_seconds or 0.0, video.end_seconds
                end = end if row.end_seconds is None else min(end, row.end_seconds)
                short = missing_frames(video)
            if short is not None and short[0] < WHOLE_ENOUGH * short[1]:
                raise VideoError(
                    row.video,
                    f"holds {short[0]} of {short[1]} frames; training takes no video of which less "
                    f"than {WHOLE_ENOUGH:.0%} are there. Copy it again, or leave it out.",
                    code="short",
                )
            pixels = self.motion.add(pixels, self.spec.inputs, row.video, indices)
        except VideoError as error:
            return Clip(index, None, self.labels[index], error)
        flip = bool(rng.random() < self.augmentation.flip_probability)
        clip = transforms.train_transform(pixels, self.spec, rng, self.augmentation, flip=flip)
        label = self.labels[index]
        label = int(self.mirrored[label]) if flip else label
        return Clip(index, clip, label, seconds=end - start, short=short)


class TestViews(Dataset[Views]):
    """The views of a manifest's videos, each video decoded once for all its clips and crops."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    def __init__(
        self,
        manifest: Manifest,
        spec: ClipSpec,
        *,
        clips: int,
        crops: int,
        decoding: Decoding = Decoding(),
        motion: Motion = Motion(),
    ) -> None:
        self.manifest, self.spec, self.clips, self.crops = manifest, spec, clips, crops
        self.decoding, self.motion = decoding, motion
        self.labels = single_labels(manifest)

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> Views:
        row = self.manifest.rows[index]
        try:
            path, short_side = self.manifest.path(row), self.spec.resize_short
            with open_video(path, short_side=short_side, threads=1, **vars(self.decoding)) as video:
                with sampling_errors(row.video):
                    span = (row.start_seconds, row.end_seconds)
                    indices = sampling.test_clips(video.timestamps, self.spec, self.clips, span)
                pixels = video.clips(indices).pixels  # (clips, T, H, W, 3)
                short = missing_frames(video)
            clips = [
                self.motion.add(clip, self.spec.inputs, row.video, places)
                for clip, places in zip(pixels, indices, strict=True)
            ]
        except VideoError as error:
            return Views(index, None, self.labels[index], error)
        views = [transforms.test_views(clip, self.spec, self.crops) for clip in clips]
        return Views(index, torch.cat(views), self.labels[index], short=short)


class EpochOrder(Sampler[tuple[int, int, int]]):
    """Shuffles the rows anew in each epoch, and can begin in the middle of one.

    Yields `(epoch, draw, row)`, so that workers need to be told nothing else. Each row comes
    `draws` times in an epoch.
    """

    def __init__(self, rows: int, *, seed: int, draws: int = 1) -> None:
        self.rows, self.seed, self.draws = rows, seed, draws
        self.epoch, self.skip = 0, 0

    def __len__(self) -> int:
        return self.rows * self.draws - self.skip

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for position in self.positions(self.epoch)[self.skip :]:
            draw, row = divmod(int(position), self.rows)
            yield self.epoch, draw, row

    def positions(self, epoch: int) -> NDArray[np.int64]:
        """The order of an epoch, as `(draws * rows,)` numbers; the row is a number modulo rows."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.rows * self.draws)


def example_name(row: Row) -> str:
    """What tells one labelled span from another: the video, and where in it."""
    if row.start_seconds is None and row.end_seconds is None:
        return row.video
    start, end = (repr(x) if x is not None else "" for x in (row.start_seconds, row.end_seconds))
    return f"{row.video}@{start}-{end}"


@contextmanager
def sampling_errors(video: str) -> Iterator[None]:
    """Turn "no frame in the span" and its like into errors of the one video they are about."""
    try:
        yield
    except VideoError:  # the video's own, from reading its time stamps
        raise
    except ValueError as error:
        raise VideoError(video, str(error), code="out_of_range") from None


def missing_frames(video: Video) -> tuple[int, int] | None:
    """Frames got and frames expected, where what was read so far fell short."""
    expected = video.frames_expected
    if expected is None or video.frames_got >= expected:
        return None
    return video.frames_got, expected


def single_labels(manifest: Manifest) -> list[int]:
    """The class index of every row.

    Raises:
        ValueError: a row with no label or several.
    """
    index = {name: number for number, name in enumerate(manifest.classes)}
    labels = []
    for number, row in enumerate(manifest.rows):
        if len(row.labels) != 1:
            raise ValueError(
                f"Row {number + 1} ({row.video}) has {len(row.labels)} labels; "
                f"classification needs exactly one for each row."
            )
        labels.append(index[row.labels[0]])
    return labels
