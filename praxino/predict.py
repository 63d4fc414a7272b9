"""Video in, named actions out: the main job. The command line and every service call this file."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from praxino.computing import Computing, Engine, Precision
from praxino.datasets.clips import missing_frames, sampling_errors
from praxino.engines import Runner, running, settle
from praxino.evaluate import classify, motion_of, spec_of, window_of
from praxino.results import Recognition
from praxino.video import sampling, transforms
from praxino.video.clip_spec import ClipSpec
from praxino.video.decoding import Backend, Decoding, Window
from praxino.video.motion import Motion
from praxino.video.reader import ArrayVideo, Video, open_video
from praxino.weights.checkpoint import load_model

# A stream has no end to spread frames over. A model that wants them spread is given windows as long
# as the spans that it was trained on, or of this many seconds if its checkpoint does not say.
WINDOW_SECONDS = 3.0
CLIPS_AT_A_TIME = 32  # in memory

Source = str | Path | bytes | NDArray[np.uint8] | Iterable[NDArray[np.uint8]]


def predict(
    source: Source,
    model: nn.Module | str | Path,
    *,
    clips: int = 10,
    every_seconds: float | None = None,
    frames_per_second: float | None = None,
    device: str | None = None,
    batch_size: int = 8,
    precision: Precision = "auto",
    engine: Engine = "torch",
    backend: Backend = "pyav",
    untrusted: bool = False,
    window: Window | None = None,
    flow: str | None = None,
) -> Recognition:
    """Name the actions in one video.

    Args:
        source: a video file or a volume; a video's bytes; a `(T, H, W, 3)` uint8 array; or an
            iterator of `(H, W, 3)` uint8 frames, which may be endless in memory but not in time.
        model: a model from `load_model`, a checkpoint or a run folder.
        clips: how many clips, evenly spread, the answer is averaged over. A model that spreads its
            frames over the whole video is given clips as long as those it was trained on, where
            the video is twice as long or longer.
        every_seconds: look at the whole video instead, one clip at each multiple of this; memory
            stays flat however long the video is. Iterators are always read this way.
        frames_per_second: the rate of an array or iterator (default 25); not for files.
        device: `cpu`, `cuda`; None: the GPU if there is one.
        batch_size: clips in one pass through the model.
        precision: `fp32`, `bf16`, or `auto`: `bf16` where the processor has units for it.
        engine: what computes the model: `torch`, `compile` or `openvino`. The last two prepare it
            first, which takes seconds to minutes, and is done once for a model.
        backend: as in `open_video`; for files.
        untrusted: as in `open_video`; for files.
        window: as in `open_video`; for volumes; None: the window of the model's training.
        flow: the `source` of `Motion`, for models that want flow; None: the method of the model's
            training.

    Returns:
        Scores of the video and of each clip.

    Raises:
        VideoError: the file cannot be read.
        ValueError: frames of the wrong shape or type, settings out of range, or a model that the
            engine cannot take.
        EnvironmentFault: what the engine needs is not installed.
    """
    if not isinstance(model, nn.Module):
        model = load_model(model)
    decoding = Decoding(backend, untrusted, window)
    if not untrusted:
        decoding = dataclasses.replace(decoding, window=window_of(model, window, [source]))
    computing, where = settle(Computing(engine, precision), device)
    spec, motion = spec_of(model), motion_of(model, flow)
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}.")
    if every_seconds is not None and not 0.001 <= every_seconds < float("inf"):
        raise ValueError(
            f"every_seconds must be at least 0.001 s and not endless, got {every_seconds}."
        )
    rate = 25.0 if frames_per_second is None else frames_per_second
    if not 0 < rate < float("inf"):
        raise ValueError(f"frames_per_second must be above 0, got {frames_per_second}.")
    path: Path | None = None
    opened: Video
    if isinstance(source, str | Path | bytes):
        if frames_per_second is not None:
            raise ValueError(
                f"frames_per_second={frames_per_second} is for arrays and iterators; "
                f"a file has its own time."
            )
        path = None if isinstance(source, bytes) else Path(source)
        name = str(path) if path else "bytes"
        opened = open_video(source, short_side=spec.resize_short, **vars(decoding))
    elif isinstance(source, np.ndarray):
        name, opened = "array", ArrayVideo(source, rate, short_side=spec.resize_short)
    else:
        stream = _timed(source, rate)
        with running(model, where, computing, batch_size) as run:
            result = _windows(stream, run, model, spec, motion, every_seconds, batch_size, "frames")
        return dataclasses.replace(result, computing=computing)
    with opened as video, running(model, where, computing, batch_size) as run:
        if every_seconds is not None:
            frames = ((frame.pixels, frame.seconds) for frame in video)
            with sampling_errors(name):
                result = _windows(frames, run, model, spec, motion, every_seconds, batch_size, name)
            short = missing_frames(video)
            return dataclasses.replace(
                result, path=path, short=short, decoding=decoding, computing=computing
            )
        spec = _for_length(spec, model, video.end_seconds)
        with sampling_errors(name):
            indices = sampling.test_clips(video.timestamps, spec, clips)  # (V, T)
        scores = _scores(video, indices, run, spec, motion, name)
        seconds = video.timestamps[indices[:, [0, -1]]] + [0, _frame_seconds(video.timestamps)]
        short = missing_frames(video)
    return Recognition(
        video=name,
        classes=_classes(model, scores.shape[1]),
        scores=scores.mean(axis=0),
        clip_seconds=seconds,
        clip_scores=scores,
        protocol=f"mean over {len(scores)} clips, evenly spread, {spec.sampling}, {_crop(spec)}",
        path=path,
        short=short,
        decoding=decoding,
        computing=computing,
    )


def _scores(
    video: Video,
    indices: NDArray[np.int64],
    run: Runner,
    spec: ClipSpec,
    motion: Motion,
    name: str,
) -> NDArray[np.float64]:
    """`(V, K)` probabilities of `(V, T)` clips; the same clip is looked at once."""
    distinct, which = np.unique(indices, axis=0, return_inverse=True)
    scores = []
    for start in range(0, len(distinct), CLIPS_AT_A_TIME):
        some = distinct[start : start + CLIPS_AT_A_TIME]  # (v, T)
        clips = zip(video.clips(some).pixels, some, strict=True)
        frames = [motion.add(pixels, spec.inputs, name, places) for pixels, places in clips]
        views = torch.cat([transforms.test_views(clip, spec, 1) for clip in frames])
        scores.append(classify(run, views).double().numpy())
    every: NDArray[np.float64] = np.concatenate(scores)[which.reshape(-1)]
    return every


def _windows(
    frames: Iterable[tuple[NDArray[np.uint8], float]],
    run: Runner,
    model: nn.Module,
    spec: ClipSpec,
    motion: Motion,
    every_seconds: float | None,
    batch_size: int,
    name: str,
) -> Recognition:
    """Slide over a stream, keeping no more frames than one clip spans."""
    spec = _for_length(spec, model, float("inf"))
    hop = 1.0 if every_seconds is None else every_seconds
    stream = sampling.StreamWindows(spec, hop_seconds=hop)
    seconds: list[tuple[float, float]] = []
    scores: list[NDArray[np.float64]] = []
    waiting: list[torch.Tensor] = []

    def look() -> None:
        if waiting:
            scores.append(classify(run, torch.cat(waiting)).double().numpy())
            waiting.clear()

    for window in _all_windows(stream, frames):
        frames = motion.add(window.pixels, spec.inputs, name, window.indices)
        waiting.append(transforms.test_views(frames, spec, 1))
        seconds.append((window.seconds[0], window.seconds[-1]))
        if len(waiting) == batch_size:
            look()
    look()
    if not scores:
        raise ValueError(f"{name}: the stream holds no frame.")
    every = np.concatenate(scores)
    return Recognition(
        video=name,
        classes=_classes(model, every.shape[1]),
        scores=every.mean(axis=0),
        clip_seconds=np.array(seconds),
        clip_scores=every,
        protocol=(
            f"mean over {len(every)} clips, one every {hop:g} s, {spec.sampling}, {_crop(spec)}"
        ),
    )


def _for_length(spec: ClipSpec, model: nn.Module, seconds: float) -> ClipSpec:
    """The model's own spec; or, where frames spread over the whole video would be much further
    apart than those it was trained on, clips as long as the spans of its training. Frames in a row
    are as far apart as ever.
    """
    card = getattr(model, "card", None)
    seen = (card.notes.get("span_seconds") if card else None) or WINDOW_SECONDS
    if not spec.spread or spec.snippet > 1 or seconds < 2 * seen:
        return spec
    return dataclasses.replace(spec, frames_per_second=spec.frames / seen)


def _all_windows(
    stream: sampling.StreamWindows, frames: Iterable[tuple[NDArray[np.uint8], float]]
) -> Iterator[sampling.Window]:
    for pixels, seconds in frames:
        yield from stream.push(pixels, seconds)
    yield from stream.finish()


def _timed(
    frames: Iterable[NDArray[np.uint8]], rate: float
) -> Iterator[tuple[NDArray[np.uint8], float]]:
    shape = None
    for index, pixels in enumerate(frames):
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
            kind = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else pixels
            raise ValueError(f"Frame {index} must be a uint8 array (H, W, 3), got {kind!r}.")
        shape = shape or pixels.shape
        if pixels.shape != shape or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise ValueError(
                f"Frame {index} has the shape {pixels.shape}; frames are (H, W, 3) and all alike, "
                f"the first is {shape}."
            )
        # A copy: camera loops fill the same array again.
        yield pixels.copy(), index / rate


def _crop(spec: ClipSpec) -> str:
    return "centre crop" if spec.fit == "crop" else "whole picture"


def _frame_seconds(timestamps: NDArray[np.float64]) -> float:
    """How long one frame stays on screen, on average."""
    if len(timestamps) < 2:
        return 0.04
    return float((timestamps[-1] - timestamps[0]) / (len(timestamps) - 1))


def _classes(model: nn.Module, count: int) -> tuple[str, ...]:
    """The model's class names; a model that was never told them numbers its classes."""
    names = getattr(model, "classes", None)
    return tuple(names) if names is not None else tuple(f"class {k}" for k in range(count))
