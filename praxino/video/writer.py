"""Frames to an MP4 file that every browser plays, and numbers to a file that keeps them all.

MP4 is H.264 in yuv420p with the index at the front, colours tagged BT.709. The format needs even
sizes: an odd width or height grows by one pixel, a copy of the last column or row. Numbers, of flow
for example, are grey pictures in FFV1 and Matroska: without loss, each found by itself.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from numpy.typing import NDArray

from praxino.atomic import atomic_write
from praxino.errors import EnvironmentFault
from praxino.video.decoder import GREY_FRAMES_PER_SECOND

_KEY_FRAME_SECONDS = 2  # so that players and `Video.frames` can jump


class _Writer(ABC):
    """Writes one video file, frame by frame; nothing half-written is ever left at `path`."""

    _stream: av.video.stream.VideoStream

    def __init__(self, path: str | os.PathLike[str], frames_per_second: float | Fraction) -> None:
        self.path = Path(path)
        self._rate = Fraction(frames_per_second).limit_denominator(100_000)
        self._written = 0
        self._shape: tuple[int, ...] = ()
        self._container: av.container.OutputContainer | None = None
        self._inside = False

    @abstractmethod
    def _check(self, pixels: NDArray[np.uint8]) -> None:
        """Refuse what is no frame of this kind of file."""

    @abstractmethod
    def _open(self, height: int, width: int) -> av.container.OutputContainer:
        """Open the temporary file, and its stream as `self._stream`."""

    @abstractmethod
    def _prepared(self, pixels: NDArray[np.uint8]) -> av.VideoFrame:
        """A picture as the codec takes it."""

    def __enter__(self) -> Self:
        self._whole_file = atomic_write(self.path)
        self._temporary = self._whole_file.__enter__()
        self._inside = True
        return self

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append one frame.

        Args:
            pixels: uint8, `(H, W, 3)` RGB, or `(H, W)` grey in a file of grey pictures; of the same
                size as the frames before.

        Raises:
            TypeError: not uint8.
            ValueError: another shape, a size that changed, or outside the with block.
            EnvironmentFault: the disk is full or not writable.
        """
        if not self._inside:
            raise ValueError(f"{self.path.name}: write inside the writer's with block.")
        pixels = np.asarray(pixels)
        self._check(pixels)
        try:
            if self._container is None:
                self._shape = pixels.shape
                self._container = self._open(pixels.shape[0], pixels.shape[1])
            if pixels.shape != self._shape:
                raise ValueError(
                    f"{self.path.name}: frame {self._written} is {pixels.shape[1]} x "
                    f"{pixels.shape[0]} pixels, the first one {self._shape[1]} x {self._shape[0]}. "
                    "Resize the frames to one size first."
                )
            frame = self._prepared(pixels)
            frame.pts = self._written
            frame.time_base = 1 / self._rate
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise self._fault(error) from None
        self._written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside = False
        try:
            self._finish(failed=error is not None)
        except BaseException as fault:
            self._whole_file.__exit__(type(fault), fault, fault.__traceback__)
            raise
        self._whole_file.__exit__(kind, error, trace)

    def _finish(self, *, failed: bool) -> None:
        try:
            if self._container is not None:
                with closing(self._container):  # closing writes the index
                    if not failed:
                        self._container.mux(self._stream.encode(None))
        except (av.FFmpegError, OSError) as error:
            # After a failure the file is thrown away, and the first error is the one to tell.
            if not failed:
                raise self._fault(error) from None
        if not failed and self._written == 0:
            raise ValueError(f"{self.path.name}: no frame was written. Call write at least once.")

    def _fault(self, error: Exception) -> EnvironmentFault:
        reason = getattr(error, "strerror", None) or str(error)
        return EnvironmentFault(
            f"{self.path}: the video cannot be written ({reason}). Check the disk and try again."
        )


class VideoWriter(_Writer):
    """Writes one MP4 file, frame by frame; nothing half-written is ever left at `path`.

        with VideoWriter("out.mp4", frames_per_second=25) as writer:
            writer.write(pixels)

    Args:
        path: of the file, ending in `.mp4`.
        frames_per_second: above 0; give a `Fraction` such as 30000/1001 where it must be exact.
        quality: x264's constant rate factor, 0 (lossless in yuv420p) to 51; smaller is better.

    Raises:
        ValueError: the suffix, rate or quality is out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        frames_per_second: float | Fraction,
        *,
        quality: int = 18,
    ) -> None:
        name = Path(path).name
        if not name.lower().endswith(".mp4"):
            raise ValueError(f"Videos are written as .mp4, got {name!r}. Rename it.")
        if not 0 < frames_per_second <= 1000:
            raise ValueError(
                f"frames_per_second must be above 0 and at most 1000, got {frames_per_second}."
            )
        if not 0 <= quality <= 51:
            raise ValueError(f"quality is x264's crf, from 0 (best) to 51, got {quality}.")
        super().__init__(path, frames_per_second)
        self._quality = quality

    def _check(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.dtype != np.uint8:
            raise TypeError(f"Frames are uint8 RGB in 0 to 255, got {pixels.dtype}.")
        if pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
            raise ValueError(f"A frame has the shape (H, W, 3), got {pixels.shape}.")

    def _open(self, height: int, width: int) -> av.container.OutputContainer:
        container = av.open(
            str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"}
        )
        gop = max(1, round(_KEY_FRAME_SECONDS * self._rate))
        options = {"crf": str(self._quality), "g": str(gop)}
        stream = container.add_stream("libx264", rate=self._rate, options=options)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        stream.time_base = context.time_base = 1 / self._rate
        context.colorspace = 1  # BT.709, as H.264 counts matrices
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        context.color_range = ColorRange.MPEG
        self._stream, self._reformatter = stream, VideoReformatter()
        return container

    def _prepared(self, pixels: NDArray[np.uint8]) -> av.VideoFrame:
        height, width = self._stream.height, self._stream.width
        padding = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
        even = np.ascontiguousarray(np.pad(pixels, padding, mode="edge"))
        return self._reformatter.reformat(
            av.VideoFrame.from_ndarray(even, "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BILINEAR,
            threads=1,
        )


class GreyWriter(_Writer):
    """Writes one Matroska file of grey pictures that keeps every number, whole or not at all.

    FFV1 with checksums in every picture, each decoded by itself; `GreyReader` of
    `praxino.video.decoder` reads them.

    Args:
        path: of the file, ending in `.mkv`.
        tags: text that goes with it, by name.

    Raises:
        ValueError: the suffix is another one.
    """

    def __init__(self, path: str | os.PathLike[str], tags: Mapping[str, str]) -> None:
        super().__init__(path, GREY_FRAMES_PER_SECOND)
        if self.path.suffix.lower() != ".mkv":
            raise ValueError(f"Grey pictures are written as .mkv, got {self.path.name!r}.")
        self._tags = tags

    def _check(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.dtype != np.uint8:
            raise TypeError(f"Grey pictures are uint8, got {pixels.dtype}.")
        if pixels.ndim != 2 or 0 in pixels.shape:
            raise ValueError(f"A grey picture has the shape (H, W), got {pixels.shape}.")

    def _open(self, height: int, width: int) -> av.container.OutputContainer:
        container = av.open(str(self._temporary), "w", format="matroska")
        container.metadata.update(self._tags)
        # Version 3 has checksums; its range coder makes noise, as flow holds it, smallest.
        options = {"level": "3", "slicecrc": "1", "coder": "1", "context": "1", "g": "1"}
        stream = container.add_stream("ffv1", rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        stream.time_base = stream.codec_context.time_base = 1 / self._rate
        self._stream = stream
        return container

    def _prepared(self, pixels: NDArray[np.uint8]) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "gray")


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[NDArray[np.uint8]],
    frames_per_second: float | Fraction,
    *,
    quality: int = 18,
) -> None:
    """Write frames as one MP4 file.

    Args:
        path: of the file, ending in `.mp4`.
        frames: each `(H, W, 3)` uint8 RGB, all of one size; a `(T, H, W, 3)` array will do.
        frames_per_second: as in `VideoWriter`.
        quality: as in `VideoWriter`.

    Raises:
        ValueError: no frame, or as `VideoWriter`.
        EnvironmentFault: the disk is full or not writable.
    """
    with VideoWriter(path, frames_per_second, quality=quality) as writer:
        for pixels in frames:
            writer.write(pixels)
