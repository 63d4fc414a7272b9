"""Video files as NumPy frames, by index or by second, exactly.

    with open_video("kick.mp4", short_side=128) as video:
        clip = video.frames([0, 10, 20])       # clip.pixels: (3, 128, W, 3) uint8
        for frame in video: ...                # one after the other, flat memory

Frames are counted by a scan and never taken from the header, and each is checked by its own time
stamp when it is read. Conventions:

* **Seconds** count from the start of the container, as players do: second 0 is where its first
  stream starts, often the sound, so the first frame may be a little later. No frame is before 0.
* **Which frame at second t:** the last one whose time is not above t, the one on screen. The last
  frame stays as long as the file says; as long as is usual there, if that is beyond reason (under
  half the shortest distance, or over 10 seconds and ten times the longest).
* **Which stream:** the first video stream that is no cover picture; `info.problems` tells others.
* **Size:** pixels as stored, turned as the file's rotation says. A sample aspect ratio other than
  1 is not applied (no published training pipeline does); `info.pixel_aspect` tells it.
* **Interlaced** pictures come with both fields woven, as stored.
* **Colour:** RGB by the matrix and range that the file names; BT.601 and limited range where it
  names none. High dynamic range is not tone mapped, more than 8 bits are rounded to 8, grey is
  given three times, and transparent pixels show the colour that they hide.
* **Resizing:** a triangle filter as wide as the reduction (swscale's bilinear), so that small
  pictures do not alias; the sizes are torchvision's `Resize(short_side)`.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self
from zlib import crc32

import av
import numpy as np
from numpy.typing import NDArray

from praxino.devices import cores
from praxino.errors import VideoError
from praxino.video.convert import Converter
from praxino.video.decoder import Decoder, Source, check_source, nothing_decodes
from praxino.video.decoding import Backend, Decoding
from praxino.video.frame_table import Clock, FrameCounter, FrameTable, scan

if TYPE_CHECKING:
    from praxino.video.child import Limits

# Decoding on from the present frame is cheaper than a seek when the key frame is this near.
_SEEK_GAIN_FRAMES = 8

# After a recovery point so many frames at most are compared with those of a longer run-up.
_CHECKED_FRAMES = 100


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.
        seconds: when it is shown.
        index: its number in the video, from 0.
    """

    pixels: NDArray[np.uint8]
    seconds: float
    index: int


@dataclass(frozen=True)
class Frames:
    """Frames as they were asked for; `clips` puts a V before each shape.

    Args:
        pixels: `(T, H, W, 3)` uint8 RGB.
        seconds: `(T,)` float64, when each is shown.
        indices: `(T,)` int64, the number of each in the video.
    """

    pixels: NDArray[np.uint8]
    seconds: NDArray[np.float64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        first, last = self.seconds.min(), self.seconds.max()
        return f"Frames(pixels {self.pixels.shape}, {first:.2f} to {last:.2f} s)"


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, measured where it can be.

    Args:
        codec: FFmpeg's name, for example `h264`.
        container: FFmpeg's name of the container, for example `mov`.
        width: of the frames that come out, in pixels, after rotation and resizing.
        height: the same.
        rotation: degrees counter-clockwise that the stored picture is turned: 0, 90, 180 or 270.
        pixel_aspect: width of a stored pixel over its height; told, not applied.
        frames_per_second: measured mean.
        duration_seconds: when the last frame ends.
        frames_declared: by the header; None where it does not say.
        frames: counted.
        variable_rate: whether the distances between frames differ by more than rounding.
        problems: what is wrong with the file, one sentence each.
        profile: of the codec, for example `High`; empty where it has none.
        pixel_format: of the stored pictures, FFmpeg's name, for example `yuv420p`.
        key_frames: indices at which decoding can start; empty where time stamps do not tell them.
        other_streams: what the file holds beside the video, for example `audio aac, 44100 Hz`.
    """

    codec: str
    container: str
    width: int
    height: int
    rotation: int
    pixel_aspect: float
    frames_per_second: float
    duration_seconds: float
    frames_declared: int | None
    frames: int
    variable_rate: bool
    problems: tuple[str, ...]
    profile: str = ""
    pixel_format: str = "rgb24"
    key_frames: tuple[int, ...] = ()
    other_streams: tuple[str, ...] = ()


class Video(ABC):
    """What `open_video` returns; a context manager.

    Args:
        name: what errors call it.
        codec: FFmpeg's name of the codec.
        container: FFmpeg's name of the container.
    """

    _size: tuple[int, int]  # height, width
    _rotation = 0
    _pixel_aspect = 1.0
    _frames_declared: int | None = None
    _profile = ""
    _pixel_format = "rgb24"
    _other_streams: tuple[str, ...] = ()
    _tick = 0.0  # seconds; 0 where times are exact
    _video_streams = 1
    _convert: Converter  # not of a video that another process decodes
    _lost: frozenset[int] | None = None  # frames that do not decode; None while that is not known

    def __init__(self, name: str, codec: str, container: str) -> None:
        self.name = name
        self._codec, self._container = codec, container
        self._patched: set[int] = set()  # frames that the decoder marks as damaged, as far as read

    @abstractmethod
    def _scanned(self) -> FrameTable:
        """All frames and their times, counted at the first call."""

    @abstractmethod
    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        """One frame's pixels, and the index it really has."""

    def _fetch_all(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """What `_fetch` says to each of these, which increase."""
        return (self._fetch(int(index)) for index in indices)

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Frame after frame, from the start, in flat memory and without a scan."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the video holds; the context manager calls it."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames that come out, in pixels; needs no scan."""
        return self._size

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """`(N,)` seconds at which the frames are shown, strictly increasing; read-only."""
        return self._scanned().seconds

    @property
    def end_seconds(self) -> float:
        """When the last frame ends."""
        return float(self.timestamps[-1]) + self._scanned().last_seconds

    @property
    def frames_expected(self) -> int | None:
        """Frames that the file promises; None where it does not say and none there is damaged."""
        expected = self._scanned().expected
        return len(self) if expected is None and self.frames_got < len(self) else expected

    @property
    def frames_got(self) -> int:
        """Frames that are there and decode, as far as has been read; for the ledger's `partial`.

        A picture that the decoder patched is given, and not counted here: it is not the one that
        was recorded.
        """
        return len(self) - len(self._patched.union(self._lost or ()))

    @property
    def info(self) -> VideoInfo:
        """What the video is."""
        table = self._scanned()
        seconds = table.seconds
        gaps = np.diff(seconds)
        height, width = self.size
        return VideoInfo(
            codec=self._codec,
            container=self._container,
            width=width,
            height=height,
            rotation=self._rotation,
            pixel_aspect=self._pixel_aspect,
            frames_per_second=float(
                len(gaps) / (seconds[-1] - seconds[0]) if gaps.size else 1 / table.last_seconds
            ),
            duration_seconds=self.end_seconds,
            frames_declared=self._frames_declared,
            frames=len(self),
            variable_rate=bool(
                gaps.size and np.ptp(gaps) > max(2.5 * self._tick, 0.01 * float(np.median(gaps)))
            ),
            problems=tuple(self._problems(table)),
            profile=self._profile,
            pixel_format=self._pixel_format,
            key_frames=tuple(map(int, table.key_frames)),
            other_streams=self._other_streams,
        )

    def _problems(self, table: FrameTable) -> list[str]:
        problems = list(table.problems)
        if table.expected is not None and table.expected > len(self):
            problems.append(f"cut short: {len(self)} of {table.expected} frames are there")
        if self._lost:
            problems.append(f"{len(self._lost)} of {len(self)} frames do not decode")
        if self._patched:
            problems.append(
                f"{len(self._patched)} of {len(self)} frames are damaged and were patched by the "
                "decoder; frames that build on them may show it"
            )
        if self._video_streams > 1:
            problems.append(f"has {self._video_streams} video streams; the first is read")
        if self._convert.problem:
            problems.append(self._convert.problem)
        return problems

    def _describe(self, decoder: Decoder, first: av.VideoFrame, convert: Converter) -> None:
        """Note what the stream is, and its first picture; for those who decode."""
        self._convert, self._size, self._rotation = convert, convert.size, convert.rotation
        self._pixel_aspect = float(decoder.stream.sample_aspect_ratio or 1)
        self._frames_declared = decoder.declared_frames
        self._profile = decoder.stream.codec_context.profile or ""
        self._pixel_format = first.format.name
        self._other_streams = decoder.other_streams
        self._video_streams = decoder.video_streams
        self._tick = float(decoder.tick)

    def _on_screen(self, index: int) -> int:
        """The frame that a player shows in the time of this one."""
        lost = self._lost or frozenset()
        while index in lost and index > 0:
            index -= 1
        return index

    def _not_twice(self, index: int) -> VideoError:
        return VideoError(
            self.name,
            f"is damaged: frame {index} does not decode the same way twice. "
            "Write it anew with ffmpeg -i.",
            code="damaged",
        )

    def __len__(self) -> int:
        return len(self.timestamps)

    def frames(self, indices: Sequence[int] | NDArray[np.integer]) -> Frames:
        """Read frames by number, in any order, with repetitions.

        A frame that the container promises but that does not decode is answered as on a screen, by
        the one before it; `Frames.indices`, `info.problems` and `frames_got` tell.

        Args:
            indices: `(T,)` whole numbers in `[0, len(video))`.

        Raises:
            VideoError: `out_of_range`, or `damaged`.
            ValueError: `indices` is not one row of whole numbers.
        """
        return self._read(_whole_numbers(indices, 1))

    def clips(self, indices: Sequence[Sequence[int]] | NDArray[np.integer]) -> Frames:
        """Read several clips in one pass; a frame shared by clips is decoded once.

        Args:
            indices: `(V, T)` whole numbers in `[0, len(video))`.

        Returns:
            Pixels `(V, T, H, W, 3)`, seconds and indices `(V, T)`.

        Raises:
            VideoError: as `frames`.
            ValueError: `indices` is not a table of whole numbers.
        """
        return self._read(_whole_numbers(indices, 2))

    def frames_at(self, seconds: Sequence[float] | NDArray[np.floating]) -> Frames:
        """Read the frame that is on screen at each second.

        Args:
            seconds: `(T,)` in `[0, end_seconds)`; before the first frame the first one is given.

        Raises:
            VideoError: `out_of_range`, or `damaged`.
            ValueError: `seconds` is not one row of numbers.
        """
        times = np.asarray(seconds, dtype=np.float64)
        if times.ndim != 1 or times.size == 0:
            raise ValueError(f"frames_at takes one row of seconds, got shape {times.shape}.")
        wrong = times[~((times >= 0) & (times < self.end_seconds))]
        if wrong.size:
            raise VideoError(
                self.name,
                f"no frame at {wrong[0]:.2f} s, the video ends at {self.end_seconds:.2f} s. "
                'Ask for a second in between, or use a shorter clip or pad="repeat_last".',
                code="out_of_range",
            )
        indices = np.searchsorted(self.timestamps, times, side="right") - 1
        return self._read(np.maximum(indices, 0))

    def _read(self, indices: NDArray[np.int64]) -> Frames:
        wrong = indices[(indices < 0) | (indices >= len(self))]
        if wrong.size:
            raise VideoError(
                self.name,
                f"no frame {wrong[0]}, the video has frames 0 to {len(self) - 1}. "
                'Use indices in that range, or a shorter clip or pad="repeat_last".',
                code="out_of_range",
            )
        wanted = indices.reshape(-1)
        pixels = np.empty((wanted.size, *self.size, 3), dtype=np.uint8)
        given = np.empty(wanted.size, dtype=np.int64)
        found = self._fetch_all(np.unique(wanted))
        previous = None
        for place in np.argsort(wanted, kind="stable"):
            if wanted[place] != previous:
                (shown, picture), previous = next(found), wanted[place]
            given[place], pixels[place] = shown, picture
        return Frames(
            pixels.reshape(*indices.shape, *self.size, 3),
            self.timestamps[given].reshape(indices.shape),
            given.reshape(indices.shape),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_video(
    source: str | os.PathLike[str] | bytes,
    *,
    short_side: int | None = None,
    threads: int = 0,
    backend: Backend = "pyav",
    untrusted: bool = False,
    limits: "Limits | None" = None,
) -> Video:
    """Open a video file, or a video's bytes; the only door to a decoder.

    The first frame is decoded here, so that a video that opens has at least one.

    Args:
        source: path of a local regular file, or its content.
        short_side: resize so that the shorter side has this many pixels, in the decoder.
        threads: decoding threads; 0 takes as many as there are cores, at most 4. Use 1 in the
            workers of a data loader.
        backend: `torchcodec` shows the same frames, where it is installed and can read the file.
        untrusted: decode in a process of its own, which is bounded in memory and time and can
            reach neither files nor the network: for videos from strangers.
        limits: those bounds, if not the usual ones.

    Raises:
        VideoError: `not_found`, `not_a_regular_file`, `empty`, `unsupported_container`,
            `codec_not_allowed`, `no_video_stream`, `too_large` or `damaged`; `backend` from
            torchcodec; `decoder_crash`, `memory` or `timeout` from an untrusted video.
        ValueError: `short_side` or `threads` is out of range, or the backend cannot do that.
        EnvironmentFault: torchcodec does not load, or no process can be started.
    """
    _check_short_side(short_side)
    if threads < 0:
        raise ValueError(f"threads must be 0 (automatic) or more, got {threads}.")
    Decoding(backend, untrusted)  # checks them
    if limits is not None and not untrusted:
        raise ValueError("limits are for untrusted videos; pass untrusted=True with them.")
    checked, threads = check_source(source), threads or min(4, cores())
    if untrusted:
        from praxino.video import child

        return child.ChildVideo(checked, short_side, threads, limits or child.Limits())
    if backend == "torchcodec":
        from praxino.video.torchcodec_video import TorchcodecVideo  # brings torch

        return TorchcodecVideo(checked, short_side, threads)
    return FileVideo(checked, short_side, threads)


class FileVideo(Video):
    """A video that is decoded from a file or from bytes; made by `open_video`."""

    def __init__(self, source: Source, short_side: int | None, threads: int) -> None:
        self._source, self._threads = source, threads
        self._table: FrameTable | None = None
        self._current: av.VideoFrame | None
        self._points_checked = False
        self._wanted: set[int] = set()  # time stamps of the frames that the read at hand asks for
        self._need_all()
        self._decoder = Decoder(source, threads)
        self._start()
        try:
            first = self._advance()
            if first is None:
                raise nothing_decodes(source.name)
            convert = Converter(source.name, first, short_side)
        except BaseException:
            self.close()
            raise
        self._first, self._place = first, 0
        super().__init__(source.name, self._decoder.codec, source.container)
        self._describe(self._decoder, first, convert)

    def _scanned(self) -> FrameTable:
        self._check_open()
        if self._table is None:
            self._table = scan(self._source, self._first, self._threads)
            if not self._table.by_packets:  # then the scan decoded all of them
                self._lost, self._patched = None, set(self._table.patched)
        return self._table

    def __iter__(self) -> Iterator[Frame]:
        self._check_open()
        with closing(Decoder(self._source, self._threads)) as decoder:
            clock = Clock(decoder, self._first)
            table = self._table
            by_packets = table.by_packets if table else decoder.counts_by_packets
            counter = FrameCounter(self.name, by_packets)
            for frame in decoder.frames(counter.packet):
                index = counter.index(frame)
                if index is not None:
                    self._note_damage(frame, index)
                    yield Frame(self._convert(frame), clock.seconds(frame), index)
            # Reached when the caller takes all frames: then this is known for certain.
            if self._table is None or self._table.by_packets:
                self._lost = counter.end()

    def close(self) -> None:
        """Give back memory, decoding threads and the file."""
        self._decoder.close()
        self._coming.close()  # it knows this video, and would keep it until the next collection
        self._current, self._table = None, None

    def _check_open(self) -> None:
        if self._decoder.closed:
            raise ValueError(f"{self.name} is closed. Read it inside its with block.")

    def _start(self) -> None:
        """Note that the decoder stands before the first frame."""
        self._coming = self._decoder.frames(unneeded=self._unneeded)
        self._place = -1  # index of the last frame that came out
        self._current = None

    def _advance(self) -> av.VideoFrame | None:
        self._current = next(self._coming, None)
        return self._current

    def _unneeded(self, packet: av.Packet) -> bool:
        """Whether a picture was not asked for; those after the last one may be asked for next."""
        return (
            packet.pts is not None
            and packet.pts < self._last_wanted
            and packet.pts not in self._wanted
        )

    def _fetch_all(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        table = self._scanned()
        # Where some frames are lost, others are shown in their place.
        if table.by_packets and not self._lost:
            self._wanted = {table.ticks[index] for index in indices}
            self._last_wanted = table.ticks[indices[-1]]
        yield from super()._fetch_all(indices)
        self._need_all()

    def _need_all(self) -> None:
        self._wanted = set()
        self._last_wanted = -(2**63)

    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        table = self._scanned()
        if table.kept is not None:
            return index, self._convert(table.kept[index])
        shown = self._on_screen(index)
        frame = self._find(shown)
        if frame is None and (self._threads > 1 or (self._lost is None and table.by_packets)):
            if self._lost is None and table.by_packets:
                # A packet does not decode: find all of these at once, by decoding from the start.
                self._lost = self._find_lost()
            self._threads = 1  # several give up at the last packets when one of these is damaged
            self._reopen()
            shown = self._on_screen(index)
            frame = self._find(shown)
        if frame is None:
            raise self._not_twice(shown)
        return shown, self._convert(frame)

    def _find_lost(self) -> frozenset[int]:
        table = self._scanned()
        with closing(Decoder(self._source, self._threads)) as decoder:
            found = {table.index_of(frame.pts) for frame in decoder.frames()}
        return frozenset(index for index in range(len(self)) if index not in found)

    def _find(self, index: int) -> av.VideoFrame | None:
        """The frame with this index, by the shortest way that leads to it."""
        keys = self._scanned().key_frames
        before = int(np.searchsorted(keys, index, side="right"))  # key frames up to this one
        if self._place == index and self._current is not None:
            return self._current
        near = before == 0 or keys[before - 1] <= self._place + _SEEK_GAIN_FRAMES
        if self._place < index and near and (frame := self._run_to(index)) is not None:
            return frame
        if not self._points_checked:
            self._check_recovery_points()
            return self._find(index)
        # One key frame back, then two, four: pictures that follow a key frame in the file may be
        # shown before it, and containers call pictures key frames that are none.
        step = 1
        while step <= before and keys[before - step] > _SEEK_GAIN_FRAMES:
            frame = self._run_from_key(int(keys[before - step]), index)
            if frame is not None:
                return frame
            step *= 2
        self._reopen()
        return self._run_to(index)

    def _reopen(self) -> None:
        self._decoder.close()
        self._decoder = Decoder(self._source, self._threads)
        self._need_all()
        self._start()

    def _check_recovery_points(self) -> None:
        """Use them no more if decoding from the first gives other pictures than from before it.

        Some encoders put the note on every I-picture, and let later ones refer to earlier ones.
        """
        self._points_checked = True
        table = self._scanned()
        points = table.recovery_points[table.recovery_points > 0]
        if not points.size:
            return
        point = int(points[0])
        sure = np.setdiff1d(table.key_frames, table.recovery_points)
        before = int(sure[sure < point][-1]) if (sure < point).any() else 0
        after = table.key_frames[table.key_frames > point]
        end = min(point + _CHECKED_FRAMES, int(after[0]) if after.size else len(self))
        expected = self._checksums(before, point, end)
        found = self._checksums(point, point, end)
        lies = any(found.get(index, checksum) != checksum for index, checksum in expected.items())
        if lies:
            table.problems.append("its recovery points are none; reads start at IDR pictures")
        if lies or not found:  # nothing comes out where pictures are refreshed bit by bit
            table.key_frames = sure

    def _checksums(self, key: int, first: int, end: int) -> dict[int, int]:
        """Of the frames `first` to `end - 1`, by index, as they come when decoding from a key."""
        table, found = self._scanned(), {}
        with closing(Decoder(self._source, self._threads)) as decoder:
            if key > 0:
                decoder.seek(table.seek_ticks.get(table.ticks[key], table.ticks[key]))
            started = key == 0
            for frame in decoder.frames():
                started = started or frame.key_frame
                index = table.index_of(frame.pts)
                if index is None or not started:
                    continue
                if index >= end:
                    break
                if index >= first:
                    found[index] = crc32(self._convert(frame).tobytes())
        return found

    def _run_from_key(self, key: int, index: int) -> av.VideoFrame | None:
        table = self._scanned()
        self._decoder.seek(table.seek_ticks.get(table.ticks[key], table.ticks[key]))
        self._start()
        # What comes before a real key frame lacks the pictures it refers to.
        while (frame := self._advance()) is not None:
            place = table.index_of(frame.pts) if frame.key_frame else None
            if place is not None:
                self._place = place
                self._note_damage(frame, place)
                return self._run_to(index) if place <= index else None
        return None

    def _run_to(self, index: int) -> av.VideoFrame | None:
        """Decode on to this frame; None when it is not among those that come."""
        table = self._scanned()
        while self._place < index and (frame := self._advance()) is not None:
            if not table.ticks:
                self._place += 1
            elif (place := table.index_of(frame.pts)) is not None:
                self._place = place
            self._note_damage(frame, self._place)
        return self._current if self._place == index else None

    def _note_damage(self, frame: av.VideoFrame, index: int) -> None:
        if frame.is_corrupt:
            self._patched.add(index)


class ArrayVideo(Video):
    """Frames in memory behind the interface of a video file.

    Args:
        pixels: `(T, H, W, 3)` uint8 RGB, T at least 1.
        frames_per_second: above 0.
        short_side: resize as `open_video` does.
        name: what errors call it.

    Raises:
        TypeError: `pixels` is not uint8.
        ValueError: another shape, or no rate.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        frames_per_second: float,
        *,
        short_side: int | None = None,
        name: str = "<array>",
    ) -> None:
        super().__init__(name, "none", "array")
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8:
            raise TypeError(
                f"Frames are uint8 RGB in 0 to 255, got {pixels.dtype}. Convert them first."
            )
        if pixels.ndim != 4 or pixels.shape[-1] != 3 or 0 in pixels.shape:
            raise ValueError(
                f"Frames have the shape (T, H, W, 3) with T, H and W above 0, got {pixels.shape}."
            )
        if not 0 < frames_per_second < float("inf"):
            raise ValueError(f"frames_per_second must be above 0, got {frames_per_second}.")
        _check_short_side(short_side)
        self._pixels = pixels
        self._convert = Converter(name, self._frame(0), short_side)
        self._size = self._convert.size
        self._table = FrameTable(
            seconds=np.arange(len(pixels)) / frames_per_second,
            last_seconds=1 / frames_per_second,
            expected=len(pixels),
        )

    def _scanned(self) -> FrameTable:
        return self._table

    def _frame(self, index: int) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(self._pixels[index]), "rgb24")

    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        return index, self._convert(self._frame(index))

    def __iter__(self) -> Iterator[Frame]:
        for index, seconds in enumerate(self.timestamps):
            yield Frame(self._fetch(index)[1], float(seconds), index)

    def close(self) -> None:
        """Nothing to give back: the array is the caller's."""


def _check_short_side(short_side: int | None) -> None:
    if short_side is not None and short_side < 1:
        raise ValueError(f"short_side must be at least 1 pixel, got {short_side}.")


def _whole_numbers(
    indices: Sequence[int] | Sequence[Sequence[int]] | NDArray[np.integer], dimensions: int
) -> NDArray[np.int64]:
    numbers = np.asarray(indices)
    if numbers.ndim != dimensions or numbers.size == 0 or numbers.dtype.kind not in "iu":
        shape = "(T,)" if dimensions == 1 else "(V, T)"
        raise ValueError(
            f"Frame indices are whole numbers of shape {shape}, at least one; got "
            f"{numbers.dtype} of shape {numbers.shape}."
        )
    return numbers.astype(np.int64)
