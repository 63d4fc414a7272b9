"""Which frames of a video a model sees: timestamps in, frame indices out.

Time decides, not the frame count, so a video of variable frame rate is sampled at the rate it was
filmed: the frame for a moment is the one on screen then. Only `stride_frames` counts frames. The
arithmetic is in `timeline.py`.

A clip always begins on a frame of its span. It *fits* when its last moment is not after the span's
last frame. A span is `(start_seconds, end_seconds)`, half open; None leaves that side open. It owns
the frames that appear in it, so two spans that touch never share one.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxino.video.clip_spec import ClipSpec
from praxino.video.timeline import (
    Indices,
    Pad,
    Seconds,
    Span,
    Timeline,
    check_number,
    check_pad,
    clip_seconds,
)


def random_clip(
    timestamps: ArrayLike,
    spec: ClipSpec,
    rng: np.random.Generator,
    span: Span | None = None,
    *,
    pad: Pad = "repeat_last",
) -> Indices:
    """One clip from anywhere in the span; every second of it is as likely as another.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        spec: frames and their distance; not spread.
        rng: where the randomness comes from, usually `view_rng`.
        span: the seconds to stay in; None is the whole video.
        pad: what fills a clip that is longer than the span. "repeat_last" holds the last frame,
            the default because nothing is shown that did not happen; "loop" starts again, a jump
            back in time; "error" refuses.

    Returns:
        (T,) frame indices, never decreasing unless looped.

    Raises:
        ValueError: no frame in the span, or a clip that does not fit with pad="error".
    """
    timeline = Timeline(timestamps, span)
    _needs_spacing(spec, "random_clip")
    latest = timeline.latest_start(spec)
    if spec.stride_frames is not None:
        start = int(rng.integers(timeline.first, latest + 1))
    else:
        # Drawn by time: a screen recording may have most of its frames in one busy minute.
        moment = rng.uniform(timeline.begin, timeline.leaves_screen(latest))
        start = min(int(timeline.drawn(moment)), latest)
    return timeline.clips(np.array([start]), spec, pad)[0]


def uniform_clips(
    timestamps: ArrayLike,
    spec: ClipSpec,
    clips: int,
    span: Span | None = None,
    *,
    pad: Pad = "repeat_last",
) -> Indices:
    """Clips whose starts are evenly spread from the first to the last possible one, both included.

    One clip is the centre one. Fractions round down. mmaction2 1.x does the same (it rounds to the
    nearest); PySlowFast starts clip v at v / V of the way, so that its last one ends early, unless
    `USE_OFFSET_SAMPLING`. Both count a clip as T strides long, so their last possible start is up
    to one stride before ours, whose clip ends with the video's last frame.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        spec: frames and their distance; not spread.
        clips: V, how many.
        span: the seconds to stay in; None is the whole video.
        pad: as in `random_clip`. All clips of a span that is too short are the same.

    Returns:
        (V, T) frame indices.

    Raises:
        ValueError: no frame in the span, or a clip that does not fit with pad="error".
    """
    timeline = Timeline(timestamps, span)
    _needs_spacing(spec, "uniform_clips")
    _at_least_one("clips", clips)
    latest = timeline.latest_start(spec)
    # One clip sits halfway, V clips at 0, 1, .. V-1 of V-1 equal steps.
    steps, parts = (np.array([1]), 2) if clips == 1 else (np.arange(clips), clips - 1)
    if spec.stride_frames is not None:
        starts = timeline.first + (latest - timeline.first) * steps // parts
    else:
        reach = timeline.seconds[latest] - timeline.begin
        starts = timeline.on_screen(timeline.begin + reach * steps / parts)
    return timeline.clips(starts, spec, pad)


def dense_windows(
    timestamps: ArrayLike,
    spec: ClipSpec,
    hop_seconds: float | None = None,
    span: Span | None = None,
    *,
    hop_frames: int | None = None,
    causal: bool = False,
    pad: Pad = "repeat_last",
) -> Indices:
    """A window that slides over the span, from its first frame on, one hop at a time.

    Windows that do not fit are left out, so up to one hop of frames at the end is in no window; a
    span shorter than one window gives one padded window. C3D's features are
    `dense_windows(timestamps, ClipSpec(16, stride_frames=1), hop_frames=8)`.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        spec: frames and their distance; not spread.
        hop_seconds: from one window to the next, in seconds. Either this or `hop_frames`.
        span: the seconds to stay in; None is the whole video.
        hop_frames: from one window to the next, in frames of the video.
        causal: windows *end* at every hop instead, and hold only what was seen until then. The
            first ones reach back before the span and repeat its first frame, so nothing is left
            out and `pad` has no work.
        pad: as in `random_clip`.

    Returns:
        (V, T) frame indices.

    Raises:
        ValueError: no frame in the span, no hop or two, or too many windows.
    """
    _needs_spacing(spec, "dense_windows")
    _one_hop(hop_seconds, hop_frames)
    timeline = Timeline(timestamps, span)
    anchors = timeline.anchors(hop_seconds, hop_frames)
    if causal:
        return timeline.clips_until(anchors, spec)
    whole = anchors[timeline.fits(anchors, spec)]
    return timeline.clips(whole if len(whole) else anchors[:1], spec, pad)


def segments(
    timestamps: ArrayLike,
    count: int,
    rng: np.random.Generator | None = None,
    span: Span | None = None,
    *,
    even: bool = False,
    snippet: int = 1,
) -> Indices:
    """A snippet from each of `count` equally long parts of the span (TSN, Wang et al. 2016).

    The span ends where the last whole snippet begins, as in the authors' code.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        count: K, how many segments.
        rng: a random frame of each segment, for training; None takes the centre, for testing.
        span: the seconds to stay in; None is the whole video.
        even: the same random place in every segment, so that distances stay equal.
        snippet: L, how many frames in a row to take, which repeat the last one of a short span.

    Returns:
        (K * L,) frame indices. Frames repeat where there are fewer than segments.

    Raises:
        ValueError: no frame in the span.
    """
    if rng is None:
        return segment_clips(timestamps, count, 1, span, snippet=snippet)[0]
    timeline = Timeline(timestamps, span)
    _at_least_one("count", count)
    latest, seconds = _snippet_starts(timeline, snippet)
    positions = (np.arange(count) + (rng.random() if even else rng.random(count))) / count
    starts = np.minimum(timeline.drawn(timeline.begin + seconds * positions), latest)
    return _snippets(timeline, starts, snippet)


def segment_clips(
    timestamps: ArrayLike,
    count: int,
    clips: int,
    span: Span | None = None,
    *,
    snippet: int = 1,
) -> Indices:
    """Several different views of one span, each with a snippet from every segment.

    Each segment is cut into `clips` equal pieces; view v takes the centre of piece v.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        count: K, how many segments.
        clips: V, how many views.
        span: the seconds to stay in; None is the whole video.
        snippet: L, as in `segments`.

    Returns:
        (V, K * L) frame indices.

    Raises:
        ValueError: no frame in the span.
    """
    timeline = Timeline(timestamps, span)
    _at_least_one("count", count)
    _at_least_one("clips", clips)
    latest, seconds = _snippet_starts(timeline, snippet)
    # Counted in half pieces, whole numbers, so that no float error moves a centre.
    half_pieces = 2 * (np.arange(count) * clips + np.arange(clips)[:, None]) + 1  # (V, K)
    starts = timeline.on_screen(timeline.begin + seconds * half_pieces / (2 * clips * count))
    return np.stack([_snippets(timeline, row, snippet) for row in np.minimum(starts, latest)])


def _snippet_starts(timeline: Timeline, snippet: int) -> tuple[int, float]:
    """The last frame on which a snippet can begin, and how many seconds starts are spread over."""
    _at_least_one("snippet", snippet)
    latest = timeline.latest_start(ClipSpec(snippet, stride_frames=1))
    return latest, timeline.leaves_screen(latest) - timeline.begin


def _snippets(timeline: Timeline, starts: Indices, snippet: int) -> Indices:
    """Frames in a row from each of the starts on, one after the other: (K,) -> (K * L,)."""
    return timeline.clips(starts, ClipSpec(snippet, stride_frames=1), "repeat_last").reshape(-1)


def training_clip(
    timestamps: ArrayLike,
    spec: ClipSpec,
    rng: np.random.Generator,
    span: Span | None = None,
    *,
    pad: Pad = "repeat_last",
) -> Indices:
    """The random clip that `spec` asks for: `segments` if it is spread, else `random_clip`.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        spec: frames and their distance, or spread.
        rng: where the randomness comes from, usually `view_rng`.
        span: the seconds to stay in; None is the whole video.
        pad: as in `random_clip`; segments never need it.

    Returns:
        (T,) frame indices.
    """
    if spec.spread:
        count = spec.frames // spec.snippet
        return segments(timestamps, count, rng, span, even=spec.even, snippet=spec.snippet)
    return random_clip(timestamps, spec, rng, span, pad=pad)


def test_clips(
    timestamps: ArrayLike,
    spec: ClipSpec,
    clips: int,
    span: Span | None = None,  # noqa: PT028  (this tests a model)
    *,
    pad: Pad = "repeat_last",  # noqa: PT028
) -> Indices:
    """The fixed clips that `spec` asks for: `segment_clips` if it is spread, else `uniform_clips`.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        spec: frames and their distance, or spread.
        clips: V, how many.
        span: the seconds to stay in; None is the whole video.
        pad: as in `random_clip`; segments never need it.

    Returns:
        (V, T) frame indices.
    """
    if spec.spread:
        count = spec.frames // spec.snippet
        return segment_clips(timestamps, count, clips, span, snippet=spec.snippet)
    return uniform_clips(timestamps, spec, clips, span, pad=pad)


def view_rng(seed: int, epoch: int, video_id: str) -> np.random.Generator:
    """The generator of one example in one epoch, the same on every machine and for any workers.

    Args:
        seed: of the run.
        epoch: from 0.
        video_id: what names the example in the manifest; a span of a video needs its own.
    """
    name = json.dumps([int(seed), int(epoch), video_id])
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


class Window(NamedTuple):
    """One window of a stream: (T,) indices counted from its first frame, (T,) seconds, pixels."""

    indices: Indices
    seconds: Seconds
    pixels: NDArray[np.uint8]  # (T, H, W, C)


class _HeldFrame(NamedTuple):
    number: int
    seconds: float
    pixels: NDArray[np.uint8]


class StreamWindows:
    """The windows of `dense_windows` for a stream of unknown length, in flat memory.

    A window comes as soon as the frames seen settle it, with exactly the frames that
    `dense_windows` picks from the whole timeline. Kept are the frames of one window and one hop.

        stream = StreamWindows(model.clip_spec, hop_seconds=0.5)
        for frame in video:
            for window in stream.push(frame.pixels, frame.seconds):
                ...
        for window in stream.finish():
            ...

    Args:
        spec: frames and their distance; not spread.
        hop_seconds: from one window to the next, in seconds. Either this or `hop_frames`.
        hop_frames: from one window to the next, in frames of the stream.
        causal: as in `dense_windows`.
        pad: as in `random_clip`, for a stream shorter than one window.

    Raises:
        ValueError: no hop or two, or a spec without a fixed distance between frames.
    """

    def __init__(
        self,
        spec: ClipSpec,
        hop_seconds: float | None = None,
        *,
        hop_frames: int | None = None,
        causal: bool = False,
        pad: Pad = "repeat_last",
    ) -> None:
        _needs_spacing(spec, "StreamWindows")
        _one_hop(hop_seconds, hop_frames)
        check_pad(pad)
        self._spec, self._causal, self._pad = spec, causal, pad
        self._hop_seconds, self._hop_frames = hop_seconds, hop_frames
        self._held: deque[_HeldFrame] = deque()
        self._seen = 0  # frames
        self._given = 0  # windows
        self._begin = 0.0  # seconds of the first frame

    def push(self, pixels: NDArray[np.uint8], seconds: float) -> Iterator[Window]:
        """Take the next frame and give the windows that it settles.

        Windows are made as they are asked for; those not taken now come with the next frame.

        Args:
            pixels: (H, W, C), not to be overwritten afterwards: the frame is kept, not copied.
            seconds: its timestamp, later than the one before.

        Returns:
            Usually no window or one; several after a long gap.

        Raises:
            ValueError: time does not increase, or jumps further than `MAX_WINDOWS` hops.
        """
        if self._held and not seconds > self._held[-1].seconds:
            raise ValueError(
                f"Timestamps must increase: frame {self._seen} is at {seconds} s, the one before "
                f"it at {self._held[-1].seconds} s."
            )
        if self._seen == 0:
            self._begin = seconds
        if self._hop_seconds is not None:
            hops = (seconds - self._begin) / self._hop_seconds - self._given
            check_number(hops, f"A jump to {seconds} s")
        self._held.append(_HeldFrame(self._seen, seconds, pixels))
        self._seen += 1
        return self._settled(reach=seconds)

    def finish(self) -> Iterator[Window]:
        """Say that the stream has ended, and give the windows that waited for another frame.

        Returns:
            Windows as from `push`: the padded one of a stream that was too short for any other.
        """
        if not self._held:
            return iter(())
        # No frame can come any more to claim the moments just after the last one.
        return self._settled(reach=self._timeline().reach(), ended=True)

    def _settled(self, reach: float, ended: bool = False) -> Iterator[Window]:
        """The windows that the held frames settle, for moments up to `reach`."""
        while self._is_due(reach):
            timeline = self._timeline()
            if self._hop_frames is not None:
                anchors = np.array([self._given * self._hop_frames - self._held[0].number])
            else:
                anchors = timeline.on_screen(np.array([self._next_moment()]))
            if self._causal:
                positions = timeline.clips_until(anchors, self._spec)
            elif timeline.fits(anchors, self._spec, reach)[0]:
                positions = timeline.clips(anchors, self._spec, self._pad)
            else:
                break
            yield self._give(positions[0])
        if ended and self._given == 0:
            yield self._give(self._timeline().clips(np.array([0]), self._spec, self._pad)[0])
        self._forget()

    def _timeline(self) -> Timeline:
        return Timeline([frame.seconds for frame in self._held], None)

    def _next_moment(self) -> float:
        assert self._hop_seconds is not None
        return self._begin + self._given * self._hop_seconds

    def _is_due(self, reach: float) -> bool:
        """Whether the next window's anchor has been seen."""
        if self._hop_frames is not None:
            return self._given * self._hop_frames <= self._held[-1].number
        return self._next_moment() <= reach

    def _give(self, positions: Indices) -> Window:
        frames = [self._held[position] for position in positions]
        self._given += 1
        return Window(
            np.array([frame.number for frame in frames]),
            np.array([frame.seconds for frame in frames]),
            np.stack([frame.pixels for frame in frames]),
        )

    def _forget(self) -> None:
        """Let go of frames that no later window can want; two stay, for the gap between them."""
        while len(self._held) > 2 and self._is_enough_from(self._held[1]):
            self._held.popleft()

    def _is_enough_from(self, frame: _HeldFrame) -> bool:
        """Whether no later window reaches back before `frame`."""
        newest = self._held[-1]
        if not self._causal:
            if self._hop_frames is not None:
                return frame.number <= self._given * self._hop_frames
            return frame.seconds <= self._next_moment()
        # Every later causal window ends on the newest frame or after it.
        if self._spec.stride_frames is not None:
            reach = (self._spec.frames - 1) * self._spec.stride_frames
            return frame.number <= newest.number - reach
        return frame.seconds <= newest.seconds - clip_seconds(self._spec)


def _needs_spacing(spec: ClipSpec, function: str) -> None:
    if spec.spread:
        raise ValueError(
            f"{function} needs a distance between frames, and this ClipSpec spreads its "
            f"{spec.frames} frames over the span. Set frames_per_second or stride_frames, or use "
            "segments."
        )


def _one_hop(hop_seconds: float | None, hop_frames: int | None) -> None:
    if (hop_seconds is None) == (hop_frames is None):
        raise ValueError(
            f"Windows have one hop: got hop_seconds={hop_seconds} and hop_frames={hop_frames}. "
            "Set exactly one of them."
        )
    hop = hop_frames if hop_seconds is None else hop_seconds
    if hop is None or not hop > 0:
        raise ValueError(f"A hop must be above 0, got {hop}.")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
