"""Which frames of a video a model sees: timestamps in, frame indices out.

Time decides, not the frame count, so a video of variable frame rate is sampled at the rate it was
filmed: the frame for a moment is the one on screen then. Only `stride_frames` counts frames.

A clip always begins on a frame of its span. It *fits* when its last moment is not after the span's
last frame. A span is `(start_seconds, end_seconds)`, half open; None leaves that side open. It owns
the frames that appear in it, so two spans that touch never share one.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxino.video.clip_spec import ClipSpec

Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]
Span = tuple[float | None, float | None]
Pad = Literal["repeat_last", "loop", "error"]

# Matroska and FLV store whole milliseconds: frame 2 of 30 fps says 0.067 s, just after 2/30 s. A
# frame therefore counts as on screen this much early, though never by more than a quarter of the
# gap before it. This also swallows the last bit of a float, as in 3 * (1 / 25) against 0.12.
TOLERANCE_SECONDS = 0.001

# A week in steps of half a second. One lying timestamp, say 2**31 s, would ask for far more.
MAX_WINDOWS = 1_209_600


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
    timeline = _Timeline(timestamps, span)
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
    timeline = _Timeline(timestamps, span)
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
    timeline = _Timeline(timestamps, span)
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
) -> Indices:
    """One frame from each of `count` equally long parts of the span (TSN, Wang et al. 2016).

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        count: T, how many segments.
        rng: a random frame of each segment, for training; None takes the centre, for testing.
        span: the seconds to stay in; None is the whole video.

    Returns:
        (T,) frame indices, never decreasing. Frames repeat where there are fewer than segments.

    Raises:
        ValueError: no frame in the span.
    """
    if rng is None:
        return segment_clips(timestamps, count, 1, span)[0]
    timeline = _Timeline(timestamps, span)
    _at_least_one("count", count)
    positions = (np.arange(count) + rng.random(count)) / count
    return timeline.drawn(timeline.begin + timeline.length() * positions)


def segment_clips(
    timestamps: ArrayLike, count: int, clips: int, span: Span | None = None
) -> Indices:
    """Several different views of one span, each with a frame from every segment.

    Each segment is cut into `clips` equal pieces; view v takes the centre of piece v.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        count: T, how many segments.
        clips: V, how many views.
        span: the seconds to stay in; None is the whole video.

    Returns:
        (V, T) frame indices; each row never decreases.

    Raises:
        ValueError: no frame in the span.
    """
    timeline = _Timeline(timestamps, span)
    _at_least_one("count", count)
    _at_least_one("clips", clips)
    # Counted in half pieces, whole numbers, so that no float error moves a centre.
    half_pieces = 2 * (np.arange(count) * clips + np.arange(clips)[:, None]) + 1  # (V, T)
    return timeline.on_screen(
        timeline.begin + timeline.length() * half_pieces / (2 * clips * count)
    )


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
        return segments(timestamps, spec.frames, rng, span)
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
        return segment_clips(timestamps, spec.frames, clips, span)
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
        _known_pad(pad)
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
            _check_number(hops, f"A jump to {seconds} s")
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

    def _timeline(self) -> "_Timeline":
        return _Timeline([frame.seconds for frame in self._held], None)

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
        return frame.seconds <= newest.seconds - _length(self._spec)


class _Timeline:
    """The frames of one span, and when each is on screen.

    Attributes:
        seconds: (N,) of the whole video.
        slack: (N,) seconds that a frame counts as on screen before its timestamp.
        first, last: the span's frames, both included.
        begin: seconds at which the first frame appears.
    """

    def __init__(self, timestamps: ArrayLike, span: Span | None) -> None:
        self.seconds = _checked(timestamps)
        self.slack = _slack(self.seconds)
        gaps = np.diff(self.seconds)
        self.usual_gap = float(np.median(gaps)) if len(gaps) else 1.0  # a lone picture's is free
        start, end = _checked_span(span)
        self.first, self.last = self._first_from(start), self._first_from(end) - 1
        if self.first > self.last:
            raise ValueError(
                f"No frame in the span from {start} s to {end} s: the video's {len(self.seconds)} "
                f"frames lie between {self.seconds[0]:.3f} s and {self.seconds[-1]:.3f} s, "
                f"{self.usual_gap:.3f} s apart. Use a span that holds one."
            )
        self.begin = float(self.seconds[self.first])
        self.end = end

    def _first_from(self, cut: float) -> int:
        """The first frame of a span that starts at `cut`, in seconds."""
        frame = int(np.searchsorted(self.seconds, cut))
        if frame > 0:
            before, after = self.seconds[frame - 1], np.append(self.seconds, np.inf)[frame]
            if cut - before <= min(TOLERANCE_SECONDS, (after - before) / 4):
                return frame - 1
        return frame

    def on_screen(self, moments: ArrayLike) -> Indices:
        """The span's frame on screen at each moment: the last one that has appeared by then."""
        appeared = np.searchsorted(self.seconds - self.slack, moments, side="right") - 1
        return np.clip(appeared, self.first, self.last)

    def drawn(self, moments: ArrayLike) -> Indices:
        """As `on_screen`, for random moments: without slack, each frame gets its fair share."""
        appeared = np.searchsorted(self.seconds, moments, side="right") - 1
        return np.clip(appeared, self.first, self.last)

    def leaves_screen(self, frame: int) -> float:
        """Seconds at which the next frame appears, or the span ends."""
        if frame + 1 < len(self.seconds):
            return min(float(self.seconds[frame + 1]), self.end)
        return min(float(self.seconds[frame]) + self.usual_gap, self.end)

    def length(self) -> float:
        """Seconds from the first frame's appearance until the last one leaves the screen."""
        return self.leaves_screen(self.last) - self.begin

    def reach(self) -> float:
        """The last moment for which the span has a frame."""
        return float(self.seconds[self.last] + self.slack[self.last])

    def fits(
        self, starts: Indices, spec: ClipSpec, reach: float | None = None
    ) -> NDArray[np.bool_]:
        """Whether a clip that begins on each frame ends by `reach`, in seconds."""
        if spec.stride_frames is not None:
            return starts + (spec.frames - 1) * spec.stride_frames <= self.last
        return self.seconds[starts] + _length(spec) <= (self.reach() if reach is None else reach)

    def latest_start(self, spec: ClipSpec) -> int:
        """The last frame on which a clip can begin and still fit, or the first if none can."""
        fits = self.fits(np.arange(self.first, self.last + 1), spec)
        return self.first + max(int(np.count_nonzero(fits)) - 1, 0)

    def anchors(self, hop_seconds: float | None, hop_frames: int | None) -> Indices:
        """Frames one hop apart, from the first one on: (V,)."""
        if hop_seconds is None:
            return np.arange(self.first, self.last + 1, hop_frames)
        number = (self.reach() - self.begin) / hop_seconds
        _check_number(number, f"hop_seconds={hop_seconds}")
        moments = self.begin + np.arange(int(number) + 2) * hop_seconds
        return self.on_screen(moments[moments <= self.reach()])

    def clips(self, starts: Indices, spec: ClipSpec, pad: Pad) -> Indices:
        """Clips that begin on the frames `starts`: (V,) -> (V, T)."""
        _known_pad(pad)
        whole = self.fits(starts, spec)
        if pad == "error" and not whole.all():
            raise ValueError(self._too_short(spec))
        looped = ~whole[:, None] & (pad == "loop")
        if spec.stride_frames is not None:
            offsets = starts[:, None] - self.first + np.arange(spec.frames) * spec.stride_frames
            count = self.last - self.first + 1
            return self.first + np.where(looped, offsets % count, np.minimum(offsets, count - 1))
        seconds = self.seconds[starts][:, None] - self.begin + _offsets(spec)
        # Shifted by the tolerance, for a whole number of rounds may come out a bit below it.
        early = min(TOLERANCE_SECONDS, self.usual_gap / 4)
        seconds = np.where(looped, (seconds + early) % self.length() - early, seconds)
        return self.on_screen(self.begin + seconds)

    def clips_until(self, ends: Indices, spec: ClipSpec) -> Indices:
        """Clips that end on the frames `ends`, the span's first frame before it: (V,) -> (V, T)."""
        if spec.stride_frames is not None:
            back = np.arange(spec.frames)[::-1] * spec.stride_frames
            return np.maximum(ends[:, None] - back, self.first)
        return self.on_screen(self.seconds[ends][:, None] - _offsets(spec)[::-1])

    def _too_short(self, spec: ClipSpec) -> str:
        count = self.last - self.first + 1
        held = f"{count} frames in {self.seconds[self.last] - self.begin:.3f} s"
        if spec.stride_frames is not None:
            wanted = f"{(spec.frames - 1) * spec.stride_frames + 1} frames in a row"
        else:
            wanted = f"{_length(spec):.3f} s from its first frame to its last"
        return (
            f"A clip of {spec.frames} frames needs {wanted}, the span holds {held}. "
            'Use a shorter clip or pad="repeat_last".'
        )


def _slack(seconds: Seconds) -> Seconds:
    # The first frame needs none: nothing comes before it.
    slack = np.zeros_like(seconds)
    slack[1:] = np.minimum(TOLERANCE_SECONDS, np.diff(seconds) / 4)
    return slack


def _offsets(spec: ClipSpec) -> Seconds:
    # Divided, not multiplied by 1 / rate, so that the error does not grow along the clip.
    assert spec.frames_per_second is not None
    return np.arange(spec.frames) / spec.frames_per_second


def _length(spec: ClipSpec) -> float:
    """Seconds from a clip's first frame to its last."""
    return float(_offsets(spec)[-1])


def _checked(timestamps: ArrayLike) -> Seconds:
    seconds = np.asarray(timestamps, dtype=np.float64)
    if seconds.ndim != 1 or len(seconds) == 0:
        raise ValueError(
            f"timestamps must hold the seconds of at least one frame, shape (N,), "
            f"got shape {seconds.shape}."
        )
    wrong = np.flatnonzero(~(np.diff(seconds) > 0)) if np.isfinite(seconds[0]) else [-1]
    if len(wrong) or not np.isfinite(seconds[-1]):
        frame = int(wrong[0]) + 1 if len(wrong) else len(seconds) - 1
        before = f", the one before it at {seconds[frame - 1]} s" if frame else ""
        raise ValueError(
            f"Timestamps must be finite and increase: frame {frame} is at {seconds[frame]} s"
            f"{before}."
        )
    return seconds


def _checked_span(span: Span | None) -> tuple[float, float]:
    start, end = span or (None, None)
    start = -np.inf if start is None else float(start)
    end = np.inf if end is None else float(end)
    if not start < end:
        raise ValueError(f"A span must end after it starts, got {start} s to {end} s.")
    return start, end


def _check_number(windows: float, asked: str) -> None:
    if windows > MAX_WINDOWS:
        raise ValueError(
            f"{asked} would give {windows:.0f} windows, the limit is {MAX_WINDOWS}. Use a longer "
            "hop, or a shorter span if a timestamp is wrong."
        )


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


def _known_pad(pad: str) -> None:
    if pad not in get_args(Pad):
        raise ValueError(f"There is no pad={pad!r}; the choices are {', '.join(get_args(Pad))}.")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
