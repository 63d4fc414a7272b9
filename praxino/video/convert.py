"""Decoded pictures to RGB arrays: colours, size and orientation, by swscale.

Resizing uses swscale's bilinear filter, which widens with the reduction and so averages what falls
under one pixel, as Pillow and torchvision (antialias) do. On 340 x 256 to 170 x 128 it is 1.0 grey
levels from Pillow on average; the "fast bilinear" one, which aliases, is 5.2 away and not faster.

Swscale has fast code for resizing within YUV and for YUV to RGB of one size, but not for both in
one go. The usual 4:2:0 pictures are therefore resized to small 4:2:2 ones first, in half the time,
which keeps all the colour there is: where the width is even, the direct way also gives each pair of
pixels in a row one colour.
"""

import math

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from praxino.errors import VideoError

MAX_SIDE = 8192  # pixels
MAX_PIXELS = 8192 * 4320  # 8K; a frame of this size takes 106 MB as RGB


def check_size(name: str, width: int, height: int) -> None:
    """Refuse a picture that would take too much memory.

    Raises:
        VideoError: `too_large`.
    """
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise VideoError(
            name,
            f"its frames of {width} x {height} pixels are above the limit of {MAX_SIDE} pixels "
            f"a side and {MAX_PIXELS / 1e6:.1f} million in all. Scale it down first.",
            code="too_large",
        )


def no_memory(name: str) -> VideoError:
    """The error for a picture that there is no room for."""
    message = "its decoding needs more memory than it may have. Decode it where there is more."
    return VideoError(name, message, code="memory")


class Converter:
    """Turns decoded frames into `(H, W, 3)` uint8 RGB arrays of one size, upright.

    Args:
        name: the video's name, for errors.
        first: the frame that sets size and orientation for all.
        short_side: of the result, in pixels; None keeps the size.

    Raises:
        VideoError: `too_large`, before or after resizing.
    """

    def __init__(self, name: str, first: av.VideoFrame, short_side: int | None) -> None:
        self._name = name
        self._stored = first.width, first.height
        self._resizer, self._reformatter = VideoReformatter(), VideoReformatter()
        self.rotation, self._transpose, self._flips, self.problem = _orientation(first)
        width, height = first.width, first.height
        check_size(name, width, height)
        if short_side is not None:
            width, height = resized(width, height, short_side)
            check_size(name, width, height)
        self._width, self._height = width, height
        self._by_422 = width % 2 == 0 and (width, height) != self._stored
        self.size = (width, height) if self._transpose else (height, width)

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Convert one frame.

        Raises:
            VideoError: `too_large` or `damaged`.
        """
        check_size(self._name, frame.width, frame.height)
        if (frame.width, frame.height) != self._stored and not self.problem:
            stored = f"{self._stored[0]} x {self._stored[1]}"
            self.problem = f"the pictures change their size; all are given as the first, {stored}"
        try:
            if self._by_422 and frame.format.name == "yuv420p":
                frame = self._reformat(self._resizer, frame, "yuv422p")
            picture: NDArray[np.uint8] = self._reformat(
                self._reformatter, frame, "rgb24"
            ).to_ndarray()  # type: ignore[assignment]
        except MemoryError:
            raise no_memory(self._name) from None
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                self._name,
                f"is damaged: a frame of {frame.width} x {frame.height} pixels in "
                f"{frame.format.name} cannot be converted ({error}). Write it anew.",
                code="damaged",
            ) from None
        if self._transpose:
            picture = picture.swapaxes(0, 1)
        picture = picture[self._flips]
        # Rows may be padded, which every reader of arrays can handle; torch reads no backward ones.
        return np.ascontiguousarray(picture) if min(picture.strides) < 0 else picture

    def _reformat(
        self, reformatter: VideoReformatter, frame: av.VideoFrame, to: str
    ) -> av.VideoFrame:
        return reformatter.reformat(
            frame, self._width, self._height, to, interpolation=Interpolation.BILINEAR, threads=1
        )


def resized(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and height in proportion; the long side is rounded down, as torchvision's Resize does.

    >>> resized(340, 256, 128)
    (170, 128)
    """
    if width <= height:
        return short_side, max(1, int(short_side * height / width))
    return max(1, int(short_side * width / height)), short_side


def _orientation(frame: av.VideoFrame) -> tuple[int, bool, tuple[slice, slice], str]:
    """Rotation in degrees counter-clockwise, and how to get there: transpose, then flip."""
    upright = (slice(None), slice(None))
    a, b, c, d = _display_matrix(frame)
    transpose = a == 0 and d == 0
    if not transpose and (b != 0 or c != 0):
        problem = f"its rotation of {frame.rotation} degrees is no multiple of 90 and not applied"
        return 0, False, upright, problem
    x_sign, y_sign = (c, b) if transpose else (a, d)
    flips = (slice(None, None, -1 if y_sign < 0 else 1), slice(None, None, -1 if x_sign < 0 else 1))
    return frame.rotation % 360, transpose, flips, ""


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The numbers of x' = a x + c y and y' = b x + d y, up to a positive factor."""
    try:
        if "DISPLAYMATRIX" not in frame.side_data:
            return 1, 0, 0, 1
        side_data = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]
    except ValueError:
        # PyAV has no name for something that came along (LCEVC, EXIF), and then shows nothing of
        # it all. It still tells the rotation, though not whether the picture is mirrored, too.
        turn = math.radians(frame.rotation)
        cosine, sine = round(1000 * math.cos(turn)), round(1000 * math.sin(turn))
        return cosine, -sine, sine, cosine
    matrix = np.frombuffer(bytes(side_data), np.int32)
    a, b, _, c, d = (int(value) for value in matrix[:5])
    return a, b, c, d
