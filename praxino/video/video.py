"""What every video can do, whatever decodes it: frames by index, by second, one after another."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray

from praxino.errors import VideoError
from praxino.video.convert import Converter
from praxino.video.decoder import Decoder
from praxino.video.frame_table import FrameTable


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
