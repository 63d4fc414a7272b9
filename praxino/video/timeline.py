"""Which frame is on screen when: the arithmetic under `sampling`."""

from typing import Literal, get_args

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


class Timeline:
    """The frames of one span, and when each is on screen.

    Args:
        timestamps: (N,) seconds of every frame of the video, strictly increasing.
        span: (start, end) in seconds, half open; None leaves a side, or both, open.

    Raises:
        ValueError: timestamps that do not increase, or no frame in the span.

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
        """Whether a clip that begins on each frame ends by `reach`, or by the span's own reach."""
        if spec.stride_frames is not None:
            return starts + (spec.frames - 1) * spec.stride_frames <= self.last
        ends = self.seconds[starts] + clip_seconds(spec)
        return ends <= (self.reach() if reach is None else reach)

    def latest_start(self, spec: ClipSpec) -> int:
        """The last frame on which a clip can begin and still fit, or the first if none can."""
        fits = self.fits(np.arange(self.first, self.last + 1), spec)
        return self.first + max(int(np.count_nonzero(fits)) - 1, 0)

    def anchors(self, hop_seconds: float | None, hop_frames: int | None) -> Indices:
        """Frames one hop apart, from the first one on: (V,)."""
        if hop_seconds is None:
            return np.arange(self.first, self.last + 1, hop_frames)
        number = (self.reach() - self.begin) / hop_seconds
        check_number(number, f"hop_seconds={hop_seconds}")
        moments = self.begin + np.arange(int(number) + 2) * hop_seconds
        return self.on_screen(moments[moments <= self.reach()])

    def clips(self, starts: Indices, spec: ClipSpec, pad: Pad) -> Indices:
        """Clips that begin on the frames `starts`: (V,) -> (V, T)."""
        check_pad(pad)
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
            wanted = f"{clip_seconds(spec):.3f} s from its first frame to its last"
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


def clip_seconds(spec: ClipSpec) -> float:
    """Seconds from a clip's first frame to its last."""
    return float(_offsets(spec)[-1])


def _checked(timestamps: ArrayLike) -> Seconds:
    seconds = np.asarray(timestamps, dtype=np.float64)
    if seconds.ndim != 1 or len(seconds) == 0:
        raise ValueError(
            f"timestamps must hold the seconds of at least one frame, shape (N,), "
            f"got shape {seconds.shape}."
        )
    wrong = ~np.isfinite(seconds)
    wrong[1:] |= seconds[1:] <= seconds[:-1]
    if wrong.any():
        frame = int(np.argmax(wrong))
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


def check_number(windows: float, asked: str) -> None:
    """Raise ValueError for more than `MAX_WINDOWS` windows; `asked` says what wants them."""
    if windows > MAX_WINDOWS:
        raise ValueError(
            f"{asked} would give {windows:.0f} windows, the limit is {MAX_WINDOWS}. Use a longer "
            "hop, or a shorter span if a timestamp is wrong."
        )


def check_pad(pad: str) -> None:
    """Raise ValueError for a padding that is none of `Pad`."""
    if pad not in get_args(Pad):
        raise ValueError(f"There is no pad={pad!r}; the choices are {', '.join(get_args(Pad))}.")
