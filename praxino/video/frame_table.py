"""Which frames a video has, when each is shown, where decoding can start: counted, not believed.

Packets are counted without decoding where one packet is one picture and every packet has its own
time (MP4, Matroska, MPEG-TS, FLV, GIF); everything else is decoded once from end to end.

A loss is told by every promise that a file makes, and by nothing else:

* a count of frames in the header, or the duration there, which the frames do not reach;
* a constant rate, kept by three frames in four, with holes of whole frames in between (but MP4
  may leave time out, and AVI and GIF say so themselves);
* the lengths in the file, which do not lead from one part to the next (`structure`), and packets
  that the demuxer marks as cut or as following a gap;
* packets that do not decode, or that decode to a picture with patched parts.

What is missing without a trace in any of these, such as the end of an MPEG-TS that was cut between
two pictures, leaves a legal, shorter video, and nobody can know.
"""

import math
from array import array
from bisect import bisect_left
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from praxino.errors import VideoError
from praxino.video.decoder import Decoder, Source, nothing_decodes
from praxino.video.structure import structure_problems

MAX_FRAMES = 10_000_000  # 46 hours at 60 frames per second
KEEP_BYTES = 64 * 2**20  # decoded frames that a decoding scan may keep for the reads after it

# Here a hole in a constant rate is a loss; MP4 may give any frame any time, as do AVI and GIF.
_RATE_IS_A_PROMISE = ("matroska", "mpegts", "mpeg", "flv", "ogg")
_MAX_HOLE_SECONDS = 10.0  # a longer one is a jump of the clock rather than lost frames

_UNDECODED = "packets do not decode"
_CORRUPT = "packets are marked as corrupt or cut short"
_STOPPED = "reading stopped at an error, before the end of the file"

# What frames are lost by, though nothing may tell how many.
DAMAGE_WITHOUT_COUNT = (_UNDECODED, _CORRUPT, _STOPPED)

_MPEG_WRAP = 2**33  # ticks after which the clock of MPEG-TS and MPEG-PS starts again


@dataclass
class FrameTable:
    """The frames of a video in order of display.

    Args:
        seconds: `(N,)` float64, strictly increasing.
        last_seconds: how long the last frame is shown.
        expected: frames that the file promises; None where it does not say.
        problems: what is wrong with the file, in words.
        ticks: the time stamp by which each frame is known when it leaves the decoder; empty where
            time stamps do not tell frames apart, then reading starts at the first frame and counts.
        key_frames: indices at which decoding can start, increasing.
        recovery_points: those of `key_frames` that only the encoder's word says to be any.
        seek_ticks: time stamp of a key frame -> what to seek for, where these differ.
        by_packets: whether packets were counted rather than frames that were decoded.
        kept: all frames as they left the decoder, if the scan had to decode and they are few.
        patched: indices of frames that the decoder marked as damaged, if the scan had to decode.
    """

    seconds: NDArray[np.float64]
    last_seconds: float
    expected: int | None = None
    problems: list[str] = field(default_factory=list)
    ticks: "array[int]" = field(default_factory=lambda: array("q"))
    key_frames: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    recovery_points: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    seek_ticks: dict[int, int] = field(default_factory=dict)
    by_packets: bool = False
    kept: list[av.VideoFrame] | None = None
    patched: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        # Not a dictionary, which would take 100 bytes for each frame of a day's recording.
        self._order = np.argsort(self.ticks, kind="stable")
        self._sorted = array("q", np.asarray(self.ticks)[self._order].tobytes())
        self.seconds.flags.writeable = False

    def index_of(self, ticks: int | None) -> int | None:
        """The frame that leaves the decoder with this time stamp; None where there is none."""
        place = len(self._sorted) if ticks is None else bisect_left(self._sorted, ticks)
        if place == len(self._sorted) or self._sorted[place] != ticks:
            return None
        return int(self._order[place])


class Clock:
    """Turns the time stamps that leave a decoder into seconds, one frame after the other.

    AVI holds no display times, only the slot of each chunk, and PyAV's guess at them goes back and
    forth; the slots in which frames leave the decoder are what players show. Elsewhere a time
    that is missing or does not increase is put one frame after the one before, and later times move
    with it.
    """

    def __init__(self, decoder: Decoder, first: av.VideoFrame) -> None:
        self._name = decoder.source.name
        stream, tick = decoder.stream, decoder.tick
        rate = stream.average_rate or stream.guessed_rate
        self.period = 1 / Fraction(rate) if rate else Fraction(1, 25)
        self._slots = decoder.source.container == "avi"
        self.repaired = 0  # time stamps that were missing before others, or did not increase
        self._put_in = 0
        self._missing = 0
        first_time = (self._stamp(first) or 0) * tick
        # A video's second 0 is the start of its container (the sound may start first), but no
        # frame is ever before it.
        start = Fraction(0)
        if not self._slots and decoder.container_start_seconds > 0:
            start = Fraction(decoder.container_start_seconds).limit_denominator(10**6)
        own_start = stream.start_time
        if own_start is not None and abs(own_start * tick - start) < Fraction(1, 10**5):
            start = own_start * tick  # the container's start is rounded to microseconds
        zero = first_time if self._slots else min(start, first_time)
        # Times are counted in whole parts of a second that tick, zero and period all divide into:
        # exact, as fractions would be, and a tenth of their cost.
        self._parts = math.lcm(tick.denominator, zero.denominator, self.period.denominator)
        self._tick, self._zero = int(tick * self._parts), int(zero * self._parts)
        self._period = int(self.period * self._parts)
        # MPEG's clock starts again after 26 hours; elsewhere this is 0.
        self._wrap = int(_MPEG_WRAP * tick * self._parts) if decoder.is_mpeg else 0
        self._previous: int | None = None
        self._shift = 0

    def _stamp(self, frame: av.VideoFrame) -> int | None:
        return frame.dts if self._slots else frame.pts

    @property
    def put_in_seconds(self) -> float:
        """Time by which repairs have moved the frames that come now."""
        return self._put_in / self._parts

    def of_ticks(self, ticks: int) -> float:
        """The second of a trusted time stamp."""
        return (ticks * self._tick - self._zero) / self._parts

    def seconds(self, frame: av.VideoFrame) -> float:
        """The second at which the next frame is shown.

        Raises:
            VideoError: `damaged`, if that cannot be told from the one before.
        """
        stamp = self._stamp(frame)
        if stamp is None:
            # The last frames leave the decoder without a stamp in some containers; that is usual.
            self._missing += 1
            time = 0 if self._previous is None else self._previous + self._period
        else:
            time = stamp * self._tick - self._zero + self._shift
            self.repaired += self._missing
            self._missing = 0
            if self._wrap and self._previous is not None:
                # The turn of the clock that is nearest: FFmpeg guesses one turn at most, and takes
                # a recording that starts anew for it.
                turns = round((self._previous - time) / self._wrap)
                self._shift += turns * self._wrap
                time += turns * self._wrap
            if self._previous is not None and time <= self._previous:
                self._shift += self._previous + self._period - time
                self._put_in += self._previous + self._period - time
                time = self._previous + self._period
                self.repaired += 1
        seconds = time / self._parts
        if self._previous is not None and seconds <= self._previous / self._parts:
            raise _times_too_large(self._name, seconds)
        self._previous = time
        return seconds


class FrameCounter:
    """Numbers frames while a video is read from its start, as the table of all frames does.

    A packet that gives no frame (damage) keeps its number, so that the frames after it are not
    renumbered. Memory is bound by the reordering depth, not by the length of the video.

    Args:
        name: the video's name, for errors.
        by_packets: whether packets tell the frames.
    """

    def __init__(self, name: str, by_packets: bool) -> None:
        self._name, self._by_packets = name, by_packets
        self._packets = 0
        self._waiting: list[int] = []
        self._last_decoded: int | None = None
        self._next = 0
        self._started = False
        self._lost: list[int] = []  # numbers whose packets gave no frame

    def packet(self, packet: av.Packet) -> None:
        """Take note of a packet before it is decoded.

        Raises:
            VideoError: `too_large`, as the scan says of so many.
        """
        self._packets += 1
        _check_count(self._name, self._packets)
        if not self._by_packets or packet.is_discard:
            return
        shown, decoded = packet.pts, packet.dts
        last = self._last_decoded
        out_of_order = last is not None and (decoded is None or decoded < last)
        # All of them wait if nothing decodes any more, so that they are not to be gone through.
        place = 0 if shown is None else bisect_left(self._waiting, shown)
        if shown is None or out_of_order or self._waiting[place : place + 1] == [shown]:
            self._by_packets = False  # as the scan decides for such a file
            return
        self._last_decoded = decoded
        self._waiting.insert(place, shown)

    def index(self, frame: av.VideoFrame) -> int | None:
        """The number of the frame that has just left the decoder; None if it is one too many.

        Out of damaged packets a decoder may make a frame twice, or one that is not due any more.

        Raises:
            VideoError: `too_large`, as the scan says of so many.
        """
        if self._by_packets and frame.pts is not None:
            place = bisect_left(self._waiting, frame.pts)
            if self._waiting[place : place + 1] != [frame.pts]:
                return None
            # Pictures before the first one that decodes have no key frame and are not counted.
            if self._started:
                self._lost.extend(range(self._next, self._next + place))
                self._next += place
            del self._waiting[: place + 1]
        self._started = True
        self._next += 1
        _check_count(self._name, self._next)
        return self._next - 1

    def end(self) -> frozenset[int]:
        """All numbers that were lost, once no more frames come."""
        waiting = len(self._waiting) if self._by_packets else 0
        return frozenset((*self._lost, *range(self._next, self._next + waiting)))


def _times_too_large(name: str, seconds: float) -> VideoError:
    # A float of 53 bits does not hold a hundredth of a second after some million years.
    return VideoError(
        name,
        f"is damaged: two frames share the time {seconds:.4g} s, which is too large to tell "
        "them apart. Write it anew with ffmpeg -i.",
        code="damaged",
    )


def scan(source: Source, first: av.VideoFrame, threads: int) -> FrameTable:
    """Count the frames of a video, in a pass of its own.

    Args:
        source: the video.
        first: the first frame that decodes, which proves where the video starts.
        threads: decoding threads, if it must be decoded.

    Raises:
        VideoError: `damaged` if nothing decodes or times are too large to tell frames apart,
            `too_large` above `MAX_FRAMES`.
    """
    problems = structure_problems(source)
    with closing(Decoder(source, threads)) as decoder:
        table = _scan_packets(decoder, first, problems) if decoder.counts_by_packets else None
    if table is None:
        with closing(Decoder(source, threads)) as decoder:
            table = _scan_by_decoding(decoder, first, problems)
    return table


def _scan_packets(
    decoder: Decoder, first: av.VideoFrame, structure_problems: list[str]
) -> FrameTable | None:
    """Count packets; None where their time stamps cannot be trusted."""
    times, durations, keys, points = array("q"), array("q"), array("q"), array("q")
    seek_ticks: dict[int, int] = {}
    count = 0
    previous: int | None = None
    for packet in decoder.packets():
        count += 1
        _check_count(decoder.source.name, count)
        if packet.pts is None:
            return None
        if packet.dts is not None:
            leap = 0 if previous is None else packet.dts - previous
            if leap < 0 or (decoder.is_mpeg and leap > _MPEG_WRAP // 2):
                return None
            previous = packet.dts
        elif previous is not None:  # Matroska has none: FFmpeg finds them after the first packets
            return None
        if packet.is_discard:  # an edit list hides it; the decoder drops it
            continue
        times.append(packet.pts)
        durations.append(packet.duration or 0)
        if packet.is_keyframe:
            keys.append(packet.pts)
            if decoder.is_recovery_point(packet):
                points.append(packet.pts)
            if decoder.is_mpeg and packet.dts is not None:
                seek_ticks[packet.pts] = packet.dts
    order = np.argsort(times, kind="stable")
    stamps = np.asarray(times)[order]
    skipped = bisect_left(stamps, first.pts) if first.pts is not None else len(stamps)
    if (np.diff(stamps) == 0).any() or first.pts not in stamps[skipped : skipped + 1]:
        return None
    clock = Clock(decoder, first)
    problems = list(structure_problems)
    if skipped:
        problems.append(f"the first {skipped} pictures have no key frame to decode them from")
    times = array("q", stamps[skipped:].tobytes())
    seconds = np.fromiter((clock.of_ticks(ticks) for ticks in times), np.float64, len(times))
    if (same := np.flatnonzero(np.diff(seconds) <= 0)).size:
        raise _times_too_large(decoder.source.name, float(seconds[same[0]]))
    declared_last = durations[order[-1]] * float(decoder.tick)
    if np.median(durations) > 2 * np.median(np.diff(stamps, prepend=stamps[0] - durations[0])):
        declared_last = 0.0  # frames that outlast the next one by far: a header's lie about all
    last_seconds = _last_seconds(declared_last, seconds, float(clock.period))
    if decoder.corrupt_packets:
        problems.append(f"{decoder.corrupt_packets} {_CORRUPT}")
    if decoder.errors:
        problems.append(_STOPPED)
    if declared := _declared_frames(decoder, problems):
        expected: int | None = len(times) + skipped + max(0, declared - count)
        _left_out(decoder, seconds, problems)
    else:
        expected = _expected(decoder, seconds, last_seconds, problems)
    return FrameTable(
        seconds,
        last_seconds,
        expected,
        problems,
        ticks=times,
        key_frames=np.searchsorted(times, sorted(key for key in keys if key >= times[0])),
        recovery_points=np.searchsorted(times, sorted(key for key in points if key >= times[0])),
        seek_ticks=seek_ticks,
        by_packets=True,
    )


def _scan_by_decoding(
    decoder: Decoder, first: av.VideoFrame, structure_problems: list[str]
) -> FrameTable:
    clock = Clock(decoder, first)
    stamps: list[int | None] = []
    seconds: list[float] = []
    keys: list[int] = []
    patched: list[int] = []
    points: set[int] = set()
    seek_ticks: dict[int, int] = {}
    kept: list[av.VideoFrame] | None = []
    room = KEEP_BYTES

    def note_key_frame(packet: av.Packet) -> None:
        if not packet.is_keyframe or packet.pts is None:
            return
        if decoder.is_recovery_point(packet):
            points.add(packet.pts)
        if decoder.is_mpeg and packet.dts is not None:
            seek_ticks[packet.pts] = packet.dts

    for frame in decoder.frames(note_key_frame):
        _check_count(decoder.source.name, len(stamps) + 1)
        if frame.key_frame:
            keys.append(len(stamps))
        if frame.is_corrupt:
            patched.append(len(stamps))
        stamps.append(frame.pts)
        seconds.append(clock.seconds(frame))
        room -= sum(plane.buffer_size for plane in frame.planes)
        if room < 0:
            kept = None
        elif kept is not None:
            kept.append(frame)
    if not stamps:
        raise nothing_decodes(decoder.source.name)
    problems = list(structure_problems)
    if clock.repaired:
        problems.append(
            f"{clock.repaired} of {len(stamps)} time stamps are missing or do not increase; "
            "those frames are placed one frame period after the one before"
        )
    if decoder.corrupt_packets:
        problems.append(f"{decoder.corrupt_packets} {_CORRUPT}")
    if decoder.errors:
        problems.append(f"{decoder.errors} {_UNDECODED}")
    times = np.array(seconds)
    last_seconds = _usual_gap(times, float(clock.period))
    if decoder.source.container == "avi" and (declared := _declared_frames(decoder, problems)):
        # The header counts slots, and the ones that a delayed encoder left empty.
        missing = max(0, declared - decoder.packets_seen)
        expected: int | None = max(len(stamps), decoder.pictures_seen) + missing
    else:
        expected = _expected(decoder, times, last_seconds, problems, clock.put_in_seconds)
        told_apart = decoder.a_packet_is_a_picture and decoder.source.container != "ogg"
        if told_apart and (silent := decoder.packets_seen - len(stamps)) > 0:
            problems.append(f"{silent} packets give no picture")
            expected = max(expected or 0, len(stamps) + silent)
    ticks = [stamp for stamp in stamps if stamp is not None]
    known = len(set(ticks)) == len(stamps)
    return FrameTable(
        times,
        last_seconds,
        expected,
        problems,
        ticks=array("q", ticks if known else []),
        key_frames=np.array(keys if known else [], dtype=np.int64),
        recovery_points=np.array(
            [index for index in keys if stamps[index] in points] if known else [], dtype=np.int64
        ),
        seek_ticks=seek_ticks,
        kept=kept,
        patched=frozenset(patched),
    )


def _usual_gap(seconds: NDArray[np.float64], period: float) -> float:
    return float(np.median(np.diff(seconds))) if len(seconds) > 1 else period


def _last_seconds(declared: float, seconds: NDArray[np.float64], period: float) -> float:
    """How long the last frame is shown: as declared, where that is within reason.

    FFmpeg gives a frame of VP9 in MP4 one tick, and a lying header gives it years.
    """
    gaps = np.diff(seconds)
    if not gaps.size:
        return declared or period
    if gaps.min() / 2 <= declared <= max(_MAX_HOLE_SECONDS, 10 * gaps.max()):
        return declared
    return _usual_gap(seconds, period)


def _declared_frames(decoder: Decoder, problems: list[str]) -> int | None:
    """The header's number of frames, unless no video has that many; then `problems` tells."""
    declared = decoder.declared_frames
    if declared is None or declared <= MAX_FRAMES:
        return declared
    problems.append(f"its header promises {declared:,} frames, which no video has")
    return None


def _expected(
    decoder: Decoder,
    seconds: NDArray[np.float64],
    last_seconds: float,
    problems: list[str],
    put_in_seconds: float = 0.0,
) -> int | None:
    """Frames promised by a header without a count that one could trust: by duration and rate.

    Problems that are found on the way are added to `problems`. Time that was put in where time
    stamps go back, and out of which they come by a hole, is none in which frames are missing.
    """
    usual = _usual_gap(seconds, last_seconds)
    # Headers round, and count the empty chunks of a delayed encoder; not so in a file that is
    # damaged anyway.
    tolerance = 0.6 * usual if problems else max(0.5, 2 * usual)
    if len(seconds) > 1 and _constant_gap(decoder, np.diff(seconds)) is None:
        tolerance += float(np.diff(seconds).max())  # the last may stay as long
    left_out = _left_out(decoder, seconds, problems)
    left_out = max(0, left_out - round(put_in_seconds / usual))
    missing_at_end = 0
    if decoder.declared_seconds is not None:
        missing = decoder.declared_seconds - float(seconds[-1]) - last_seconds + put_in_seconds
        missing_at_end = round(missing / usual) if missing > tolerance else 0
        if missing_at_end > MAX_FRAMES:
            problems.append(
                f"its header promises {decoder.declared_seconds:,.0f} seconds, which no video has"
            )
            missing_at_end = 0
    elif not left_out:
        return None
    return len(seconds) + left_out + missing_at_end


def _constant_gap(decoder: Decoder, gaps: NDArray[np.float64]) -> float | None:
    """The distance that three in four frames keep; None at a variable rate."""
    regular = np.abs(gaps - np.median(gaps)) < 1.5 * float(decoder.tick) + 1e-6
    return float(gaps[regular].mean()) if 4 * regular.sum() >= 3 * len(gaps) else None


def _left_out(decoder: Decoder, seconds: NDArray[np.float64], problems: list[str]) -> int:
    """Frames that are missing in the middle, by the holes in a rate that is constant otherwise."""
    gaps = np.diff(seconds)
    if len(gaps) < 4 or decoder.source.container in ("avi", "gif"):
        return 0
    period = _constant_gap(decoder, gaps)
    if period is None:
        return 0
    holes = np.flatnonzero((gaps > 1.5 * period) & (gaps < _MAX_HOLE_SECONDS))
    lost = int(np.round(gaps[holes] / period - 1).sum())
    if not lost:
        return 0
    problems.append(
        f"{lost} frames are left out of its otherwise constant rate, "
        f"the first after {seconds[holes[0]]:.2f} s"
    )
    return lost if decoder.source.container in _RATE_IS_A_PROMISE else 0


def _check_count(name: str, count: int) -> None:
    if count > MAX_FRAMES:
        raise VideoError(
            name,
            f"has more than {MAX_FRAMES:,} frames, the limit. Cut it into shorter files.",
            code="too_large",
        )
