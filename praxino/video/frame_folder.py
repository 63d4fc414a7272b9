"""A folder of numbered pictures as a video: `rgb0001.png`, `rgb0002.png`, or `img_00001.jpg`, ...

Pictures are JPEG or PNG by their content, of one size and of 8 bits a channel. Pictures of flow
(`flow_x_00001.jpg`) may lie beside them and are no frames. Pictures tell no rate: a file
`frames_per_second.txt` in the folder does, which holds a number; without it there are 25 frames in
a second. A number that is missing between two others is a frame that is lost, and keeps its time.
"""

import io
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from praxino.errors import VideoError
from praxino.video.convert import Converter, check_size
from praxino.video.decoder import SizedFile, open_regular
from praxino.video.frame_table import MAX_FRAMES, FrameTable
from praxino.video.video import Frame, Video

FRAMES_PER_SECOND = 25.0
RATE_FILE = "frames_per_second.txt"

_LONGEST_RATE = 32  # bytes of the file
_PICTURE = re.compile(
    r"(?!(?:flow_)?[xy]_?\d)(?P<kind>(?:[^.].*)?(?<!\d))(?P<number>\d{1,9})\.(?:jpe?g|png)",
    re.IGNORECASE,
)


def is_frame_folder(source: object) -> bool:
    """Whether this is a path of a folder that holds numbered pictures; hidden folders do not."""
    if not isinstance(source, str | os.PathLike):
        return False
    folder = Path(source)
    if not folder.is_dir() or folder.name.startswith("."):
        return False
    with os.scandir(folder) as entries:
        return any(_PICTURE.fullmatch(entry.name) for entry in entries)


def picture_paths(folder: str | os.PathLike[str]) -> list[Path]:
    """The frames of a folder in the order of their numbers.

    Raises:
        VideoError: pictures of two kinds.
    """
    return [path for _, path in _pictures(os.fspath(folder), Path(folder))]


class FrameFolderVideo(Video):
    """The pictures of a folder; made by `open_video`.

    Args:
        folder: `is_frame_folder` says yes to it.
        short_side: resize as `open_video` does.

    Raises:
        VideoError: `damaged`, `too_large`, `mixed` pictures, or `rate`.
    """

    def __init__(self, folder: str | os.PathLike[str], short_side: int | None) -> None:
        name = os.fspath(folder)
        self._pictures = _pictures(name, Path(folder))
        rate = rate_of(folder)
        numbers = np.array([number for number, _ in self._pictures])
        first = read_picture(name, self._pictures[0][1])
        super().__init__(name, self._pictures[0][1].suffix[1:].lower(), "pictures")
        self._stored = first.shape
        self._convert = Converter(name, _as_frame(first), short_side)
        self._size = self._convert.size
        self._table = FrameTable(
            seconds=(numbers - numbers[0]) / rate,
            last_seconds=1 / rate,
            expected=int(numbers[-1] - numbers[0]) + 1,
            key_frames=np.arange(len(numbers)),
        )

    def _scanned(self) -> FrameTable:
        return self._table

    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        path = self._pictures[index][1]
        pixels = read_picture(self.name, path)
        if pixels.shape != self._stored:
            raise VideoError(
                self.name,
                f"its pictures are not alike: {path.name} is {pixels.shape[1]} x "
                f"{pixels.shape[0]}, the first one {self._stored[1]} x {self._stored[0]}. Write "
                f"them in one size.",
                code="mixed",
            )
        return index, self._convert(_as_frame(pixels))

    def __iter__(self) -> Iterator[Frame]:
        for index, seconds in enumerate(self.timestamps):
            yield Frame(self._fetch(index)[1], float(seconds), index)

    def close(self) -> None:
        """Nothing to give back: no picture stays open."""


def _pictures(name: str, folder: Path) -> list[tuple[int, Path]]:
    """The pictures in the order of their numbers, all named alike."""
    found: dict[int, Path] = {}
    kinds: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            match = _PICTURE.fullmatch(entry.name)
            if match is None:
                continue
            kinds.setdefault(match["kind"], entry.name)
            if len(kinds) > 1 or int(match["number"]) in found:
                one = found.get(int(match["number"]), Path(next(iter(kinds.values()))))
                raise VideoError(
                    name,
                    f"holds {one.name} and {entry.name}, and nobody knows which is the frame. Keep "
                    "pictures of one kind in a folder.",
                    code="mixed",
                )
            found[int(match["number"])] = folder / entry.name
    if max(found) - min(found) >= MAX_FRAMES:
        raise VideoError(
            name,
            f"its pictures are numbered from {min(found):,} to {max(found):,}, above the limit of "
            f"{MAX_FRAMES:,} frames. Number them without holes.",
            code="too_large",
        )
    return sorted(found.items())


def rate_of(folder: str | os.PathLike[str]) -> float:
    """Frames per second of a folder of pictures.

    Raises:
        VideoError: `rate`: its file does not hold a number.
    """
    name, path = os.fspath(folder), Path(folder) / RATE_FILE
    if not path.exists():
        return FRAMES_PER_SECOND
    with io.BufferedReader(SizedFile(open_regular(name, path))) as file:
        said = file.read(_LONGEST_RATE + 1)
    try:
        rate = float(said.decode("ascii"))
    except ValueError:
        rate = math.nan
    if not 0 < rate <= 1000 or len(said) > _LONGEST_RATE:
        raise VideoError(
            name,
            f"its {RATE_FILE} says {said[:_LONGEST_RATE]!r}, not a number of frames per second up "
            f"to 1000. Write one, such as 15, or delete the file.",
            code="rate",
        )
    return rate


def read_picture(name: str, path: Path) -> NDArray[np.uint8]:
    """A JPEG or PNG picture: `(H, W, 3)` RGB.

    Args:
        name: the video that it belongs to, for errors.
        path: of the picture.

    Raises:
        VideoError: `damaged`, `too_deep`, `too_large` or `not_a_regular_file`.
    """
    try:
        with io.BufferedReader(SizedFile(open_regular(os.fspath(path), path))) as file:
            with Image.open(file, formats=("JPEG", "PNG")) as picture:
                check_size(os.fspath(path), *picture.size)
                if picture.mode.startswith(("I", "F")):
                    raise VideoError(
                        name,
                        f"{path.name} has more than 8 bits in a channel ({picture.mode}). Write "
                        "it with 8.",
                        code="too_deep",
                    )
                if picture.mode == "P":  # its transparency would be warned of
                    return np.asarray(picture.convert("RGBA").convert("RGB"))
                return np.asarray(picture.convert("RGB"))
    except VideoError:
        raise
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise VideoError(
            name,
            f"{path.name} is no whole JPEG or PNG ({error}). Copy it again, or leave it out.",
            code="damaged",
        ) from None


def _as_frame(pixels: NDArray[np.uint8]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
