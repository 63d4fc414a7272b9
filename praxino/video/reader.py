"""Video files as NumPy frames, by index or by second, exactly.

    with open_video("kick.mp4", short_side=128) as video:
        clip = video.frames([0, 10, 20])       # clip.pixels: (3, 128, W, 3) uint8
        for frame in video: ...                # one after the other, flat memory

Frames are counted by a scan and never taken from the header, and each is checked by its own time
stamp when it is read. Conventions:

* **Seconds** count from the start of the container, as players do: second 0 is where its first
  stream starts, often the sound, so the first frame may be a little later. No frame is before 0.
* **Which frame at second t:** the last one whose time is not above t, the one on screen.
* **Size:** pixels as stored, turned as the file's rotation says. A sample aspect ratio other than
  1 is not applied (no published training pipeline does); `info.pixel_aspect` tells it.
* **Colour:** RGB by the matrix and range that the file names; BT.601 where it names none.
* **Resizing:** a triangle filter as wide as the reduction (swscale's bilinear), so that small
  pictures do not alias; the sizes are torchvision's `Resize(short_side)`.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from praxino.errors import VideoError
from praxino.video.decoder import Decoder, Source, check_size, check_source
from praxino.video.frame_table import Clock, FrameCounter, FrameTable, scan, watch

# Decoding on from the present frame is cheaper than a seek when the key frame is this near.
_SEEK_GAIN_FRAMES = 8


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.
        seconds: when it is shown.
        index: its number in the video, from 0.
    """

    pixels: np.ndarray
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

    pixels: np.ndarray
    seconds: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        return f"Frames(pixels {self.pixels.shape}, {self.seconds.min():.2f} to {self.seconds.max():.2f} s)"


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


class Video(ABC):
    """What `open_video` returns; a context manager."""

    name: str

    @property
    @abstractmethod
    def timestamps(self) -> np.ndarray:
        """`(N,)` float64 seconds at which the frames are shown, strictly increasing."""

    @property
    @abstractmethod
    def info(self) -> VideoInfo:
        """What the video is."""

    @property
    @abstractmethod
    def end_seconds(self) -> float:
        """When the last frame ends."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width of the frames that come out, in pixels; known before the scan."""

    @property
    def frames_expected(self) -> int | None:
        """Frames that the file promises; None where it does not say. For the ledger's `partial`."""
        return len(self)

    @property
    def frames_got(self) -> int:
        """Frames that decode, as far as is known by now."""
        return len(self)

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    @abstractmethod
    def _fetch(self, index: int) -> tuple[int, np.ndarray]:
        """One frame and the index it really has."""

    def __len__(self) -> int:
        return len(self.timestamps)

    def frames(self, indices: Sequence[int] | np.ndarray) -> Frames:
        """Read frames by number, in any order, with repetitions.

        A frame that the container promises but that does not decode is answered as on a screen, by
        the one before it; `Frames.indices`, `info.problems` and `frames_got` tell.

        Args:
            indices: `(T,)` whole numbers in `[0, len(video))`.

        Raises:
            VideoError: `out_of_range`, or `damaged` if nothing decodes.
            ValueError: `indices` is not one row of whole numbers.
        """
        return self._read(_whole_numbers(indices, 1))

    def clips(self, indices: Sequence[Sequence[int]] | np.ndarray) -> Frames:
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

    def frames_at(self, seconds: Sequence[float] | np.ndarray) -> Frames:
        """Read the frame that is on screen at each second.

        Args:
            seconds: `(T,)` in `[0, end_seconds)`; before the first frame the first one is given.

        Raises:
            VideoError: `out_of_range`, or `damaged` if nothing decodes.
        """
        times = np.asarray(seconds, dtype=np.float64)
        if times.ndim != 1 or times.size == 0:
            raise ValueError(f"frames_at takes one row of seconds, got shape {times.shape}.")
        wrong = times[~((times >= 0) & (times < self.end_seconds))]
        if wrong.size:
            raise VideoError(
                self.name,
                f"no frame at {wrong[0]:.2f} s, the video runs from 0 to {self.end_seconds:.2f} s. "
                "Ask for a second inside it.",
                code="out_of_range",
            )
        indices = np.searchsorted(self.timestamps, times, side="right") - 1
        return self._read(np.maximum(indices, 0))

    def _read(self, indices: np.ndarray) -> Frames:
        wrong = indices[(indices < 0) | (indices >= len(self))]
        if wrong.size:
            raise VideoError(
                self.name,
                f"no frame {wrong[0]}, the video has frames 0 to {len(self) - 1}. "
                "Use indices in that range.",
                code="out_of_range",
            )
        pixels = np.empty((*indices.shape, *self.size, 3), dtype=np.uint8)
        given = np.empty(indices.shape, dtype=np.int64)
        for index in np.unique(indices):
            wanted = indices == index
            given[wanted], pixels[wanted] = self._fetch(int(index))
        return Frames(pixels, self.timestamps[given], given)

    def close(self) -> None:
        """Give back what the video holds; the context manager calls it."""

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
    source: str | os.PathLike[str] | bytes, *, short_side: int | None = None, threads: int = 0
) -> Video:
    """Open a video file, or a video's bytes; the only door to a decoder.

    The first frame is decoded here, so that a video that opens has at least one.

    Args:
        source: path of a local regular file, or its content.
        short_side: resize so that the shorter side has this many pixels, in the decoder.
        threads: decoding threads; 0 takes as many as there are cores, at most 4. Use 1 in the
            workers of a data loader.

    Raises:
        VideoError: `not_found`, `not_a_regular_file`, `empty`, `unsupported_container`,
            `codec_not_allowed`, `no_video_stream`, `too_large` or `damaged`.
        ValueError: `short_side` or `threads` is out of range.
    """
    if short_side is not None and short_side < 1:
        raise ValueError(f"short_side must be at least 1 pixel, got {short_side}.")
    if threads < 0:
        raise ValueError(f"threads must be 0 (automatic) or more, got {threads}.")
    if threads == 0:
        threads = min(4, len(os.sched_getaffinity(0)))
    return FileVideo(check_source(source), short_side, threads)


class FileVideo(Video):
    """A video that is decoded from a file or from bytes; made by `open_video`."""

    def __init__(self, source: Source, short_side: int | None, threads: int) -> None:
        self.name = source.name
        self._source, self._threads = source, threads
        self._table: FrameTable | None = None
        self._lost: frozenset[int] | None = None
        self._open_reader()
        first = self._advance()
        if first is None:
            self.close()
            raise VideoError(
                self.name,
                "is damaged: not one frame of it decodes. Copy or download it again.",
                code="damaged",
            )
        self._first = first
        self._convert = Converter(self.name, first, short_side)

    @property
    def size(self) -> tuple[int, int]:
        return self._convert.size

    @property
    def timestamps(self) -> np.ndarray:
        return self._scanned().seconds

    @property
    def end_seconds(self) -> float:
        table = self._scanned()
        return float(table.seconds[-1]) + table.last_seconds

    @property
    def frames_expected(self) -> int | None:
        return self._scanned().expected

    @property
    def frames_got(self) -> int:
        return len(self) - len(self._lost or ())

    @property
    def info(self) -> VideoInfo:
        table = self._scanned()
        stream = self._decoder.stream
        problems = list(table.problems)
        if table.expected is not None and table.expected > len(self):
            problems.append(f"cut short: {len(self)} of {table.expected} frames are there")
        if self._lost:
            problems.append(f"{len(self._lost)} of {len(self)} frames do not decode")
        if self._decoder.video_streams > 1:
            problems.append(f"has {self._decoder.video_streams} video streams; the first is read")
        if self._convert.problem:
            problems.append(self._convert.problem)
        gaps = np.diff(table.seconds)
        tick = float(stream.time_base)
        height, width = self.size
        return VideoInfo(
            codec=self._decoder.codec,
            container=self._source.container,
            width=width,
            height=height,
            rotation=self._convert.rotation,
            pixel_aspect=float(stream.sample_aspect_ratio or 1),
            frames_per_second=1 / (float(np.mean(gaps)) if gaps.size else table.last_seconds),
            duration_seconds=self.end_seconds,
            frames_declared=stream.frames or None,
            frames=len(self),
            variable_rate=bool(
                gaps.size and np.ptp(gaps) > max(2.5 * tick, 0.01 * float(np.median(gaps)))
            ),
            problems=tuple(problems),
        )

    def __iter__(self) -> Iterator[Frame]:
        with closing(Decoder(self._source, self._threads)) as decoder:
            clock = Clock(decoder, self._first)
            counter = FrameCounter(decoder.counts_by_packets)
            for frame in watch(decoder, counter):
                yield Frame(self._convert(frame), clock.seconds(frame), counter.index(frame))

    def close(self) -> None:
        self._decoder.close()

    def _scanned(self) -> FrameTable:
        if self._table is None:
            self._table = scan(self._source, self._first, self._threads)
        return self._table

    def _open_reader(self) -> None:
        """Stand before the first frame."""
        if hasattr(self, "_decoder"):
            self._decoder.close()
        self._decoder = Decoder(self._source, self._threads)
        self._coming = self._decoder.frames()
        self._place = -1  # index of the last frame that came out
        self._current: av.VideoFrame | None = None

    def _advance(self) -> av.VideoFrame | None:
        self._current = next(self._coming, None)
        return self._current

    def _fetch(self, index: int) -> tuple[int, np.ndarray]:
        table = self._scanned()
        if table.kept is not None:
            return index, self._convert(table.kept[index])
        frame = self._find(index)
        if frame is None:
            # What the packets promise does not decode: find out what does, once and for all.
            if self._lost is None:
                self._lost = self._find_lost()
            if index not in self._lost:
                raise VideoError(
                    self.name,
                    f"is damaged: frame {index} does not decode the same way twice. "
                    "Write it anew with ffmpeg -i.",
                    code="damaged",
                )
            shown = [number for number in range(index) if number not in self._lost]
            index = shown[-1] if shown else min(set(range(len(self))) - self._lost)
            return self._fetch(index)
        return index, self._convert(frame)

    def _find(self, index: int) -> av.VideoFrame | None:
        """The frame with this index, by the shortest way that leads to it."""
        table = self._scanned()
        if self._place == index and self._current is not None:
            return self._current
        keys = [] if table.by_number else table.key_frames
        before = int(np.searchsorted(keys, index, side="right"))
        if self._place < index and (
            before == 0 or keys[before - 1] <= self._place + _SEEK_GAIN_FRAMES
        ):
            frame = self._run_to(index)
            if frame is not None:
                return frame
        # One key frame back, then two, four: pictures that follow a key frame in the file may be
        # shown before it and need the one before.
        step = 1
        while before - step >= 0 and keys[before - step] > _SEEK_GAIN_FRAMES:
            frame = self._run_from_key(int(keys[before - step]), index)
            if frame is not None:
                return frame
            step *= 2
        self._open_reader()
        return self._run_to(index)

    def _run_from_key(self, key: int, index: int) -> av.VideoFrame | None:
        table = self._scanned()
        if not self._decoder.seek(table.keys[key]):
            return None
        self._coming = self._decoder.frames()
        # Pictures that come before the key frame lack what they refer to.
        while (frame := self._advance()) is not None:
            if frame.key_frame and frame.pts in table.index_of:
                break
        if frame is None:
            return None
        self._place = table.index_of[frame.pts]
        if self._place > index:
            return None
        return frame if self._place == index else self._run_to(index)

    def _run_to(self, index: int) -> av.VideoFrame | None:
        """Decode on to this frame; None when it is not among those that come."""
        table = self._scanned()
        while self._place < index and (frame := self._advance()) is not None:
            if table.by_number:
                self._place += 1
            elif frame.pts in table.index_of:
                self._place = table.index_of[frame.pts]
        return self._current if self._place == index else None

    def _find_lost(self) -> frozenset[int]:
        table = self._scanned()
        with closing(Decoder(self._source, self._threads)) as decoder:
            found = {table.index_of.get(frame.pts) for frame in decoder.frames()}
        return frozenset(set(range(len(self))) - found)


class Converter:
    """Turns decoded frames into RGB arrays of one size, upright.

    Args:
        name: the video's name, for errors.
        first: the frame that sets the size for all.
        short_side: of the result, in pixels; None keeps the size.
    """

    def __init__(self, name: str, first: av.VideoFrame, short_side: int | None) -> None:
        self._name = name
        self._reformatter = VideoReformatter()
        self.problem = ""
        degrees = first.rotation
        if degrees % 90:
            self.problem = f"its rotation of {degrees} degrees is no multiple of 90 and not applied"
            degrees = 0
        self.rotation = degrees % 360
        width, height = first.width, first.height
        check_size(name, width, height)
        if short_side is not None:
            width, height = _resized(width, height, short_side)
            check_size(name, width, height)
        self._width, self._height = width, height
        self.size = (width, height) if self.rotation in (90, 270) else (height, width)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        check_size(self._name, frame.width, frame.height)
        try:
            picture = self._reformatter.reformat(
                frame,
                self._width,
                self._height,
                "rgb24",
                interpolation=Interpolation.BILINEAR,
                threads=1,
            ).to_ndarray()
        except (av.FFmpegError, OSError, ValueError) as error:
            message = f"is damaged: a frame cannot be converted ({error}). Write it anew."
            raise VideoError(self._name, message, code="damaged") from None
        return np.rot90(picture, self.rotation // 90) if self.rotation else picture


def _resized(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The long side in proportion, rounded down, as torchvision's Resize does."""
    if width <= height:
        return short_side, max(1, int(short_side * height / width))
    return max(1, int(short_side * width / height)), short_side


def _whole_numbers(indices: Sequence[object] | np.ndarray, dimensions: int) -> np.ndarray:
    numbers = np.asarray(indices)
    if numbers.ndim != dimensions or numbers.size == 0 or numbers.dtype.kind not in "iu":
        shape = "(T,)" if dimensions == 1 else "(V, T)"
        raise ValueError(
            f"Frame indices are whole numbers of shape {shape}, got {numbers.dtype} of shape "
            f"{numbers.shape}."
        )
    return numbers.astype(np.int64)


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
        pixels: np.ndarray,
        frames_per_second: float,
        *,
        short_side: int | None = None,
        name: str = "<array>",
    ) -> None:
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8:
            raise TypeError(
                f"Frames are uint8 RGB in 0 to 255, got {pixels.dtype}. Convert them first."
            )
        if pixels.ndim != 4 or pixels.shape[-1] != 3 or 0 in pixels.shape:
            raise ValueError(
                f"Frames have the shape (T, H, W, 3) with T, H and W above 0, got {pixels.shape}."
            )
        if not (frames_per_second > 0 and np.isfinite(frames_per_second)):
            raise ValueError(f"frames_per_second must be above 0, got {frames_per_second}.")
        if short_side is not None and short_side < 1:
            raise ValueError(f"short_side must be at least 1 pixel, got {short_side}.")
        self.name = name
        self._pixels, self._rate = pixels, frames_per_second
        self._convert = Converter(name, self._frame(0), short_side)
        self._timestamps = np.arange(len(pixels)) / frames_per_second

    def _frame(self, index: int) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(self._pixels[index]), "rgb24")

    @property
    def size(self) -> tuple[int, int]:
        return self._convert.size

    @property
    def timestamps(self) -> np.ndarray:
        return self._timestamps

    @property
    def end_seconds(self) -> float:
        return len(self) / self._rate

    @property
    def info(self) -> VideoInfo:
        height, width = self.size
        return VideoInfo(
            codec="none",
            container="array",
            width=width,
            height=height,
            rotation=0,
            pixel_aspect=1.0,
            frames_per_second=self._rate,
            duration_seconds=self.end_seconds,
            frames_declared=None,
            frames=len(self),
            variable_rate=False,
            problems=(),
        )

    def __iter__(self) -> Iterator[Frame]:
        for index, seconds in enumerate(self._timestamps):
            yield Frame(self._fetch(index)[1], float(seconds), index)

    def _fetch(self, index: int) -> tuple[int, np.ndarray]:
        return index, self._convert(self._frame(index))
