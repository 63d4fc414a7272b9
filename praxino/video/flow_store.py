"""Flow on disk: one packed file for each video, or denseflow's folders of JPEG pictures.

    praxino flow videos --output flows          # flows/kick/a.mp4.flow.mkv, ...
    FlowStore("flows").flow("kick/a.mp4", [0, 1, 2], (128, 171))    # (3, 128, 171, 2) uint8

A packed file is FFV1 in Matroska: one grey picture for each flow, u above v, lossless, in the bytes
of `flow_to_bytes`; its tags tell how it was made. A folder of pictures holds `flow_x_00000.jpg` and
`flow_y_00000.jpg`, numbered from 0 as denseflow does, or from 1 as TSN did; or there are two,
`u/a/frame000001.jpg` and `v/a/frame000001.jpg`, as Feichtenhofer published UCF101's and HMDB51's.
"""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from praxino.atomic import PART, disk_faults, fsync
from praxino.checked_json import checked, parse_json, read_json
from praxino.errors import VideoError
from praxino.video.decoder import GreyReader, check_source
from praxino.video.flow import BOUND, flow_from_bytes, flow_to_bytes
from praxino.video.frame_folder import read_picture
from praxino.video.writer import GreyWriter

FLOW_SUFFIX, WARPED_SUFFIX = ".flow.mkv", ".warped_flow.mkv"
_TAG, _RECORD = "PRAXINO_FLOW", "flow.json"  # where a record lies: in a file, in a folder
_JPEG_QUALITY = 95  # of OpenCV's writer, and so of denseflow's
_NUMBERED = re.compile(r"(?:flow_)?([xy])_?(\d{1,9})\.(?:jpe?g|png)", re.IGNORECASE)
_IN_TWO_FOLDERS = re.compile(r"frame_?(\d{1,9})\.(?:jpe?g|png)", re.IGNORECASE)


@dataclass(frozen=True)
class FlowRecord:
    """How a packed file was made.

    Args:
        method: one of `FLOW_METHODS`.
        warped: whether the camera's motion was taken out.
        bound: pixels; the bytes 0 and 255 are this far to either side.
        source: name of the video.
        source_bytes: size of its file.
        source_frames: N; the file holds N - 1 flows.
        short_side: to which the video was resized first; None: not at all.
    """

    method: str
    warped: bool
    bound: float
    source: str
    source_bytes: int
    source_frames: int
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.source_frames < 2:
            raise ValueError(f"source_frames must be at least 2, got {self.source_frames}.")


class FlowFile:
    """A packed file of flow, open; a context manager.

    Args:
        path: of the file.

    Raises:
        VideoError: `not_found` and the like, or `damaged`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._reader = GreyReader(check_source(path))
        self.name = os.fspath(path)
        try:
            self.record = _record(self.name, self._reader.tags)
            if self._reader.size[0] % 2:
                message = (
                    f"is damaged: {self._reader.size[0]} rows are no u above v. Write it anew."
                )
                raise VideoError(self.name, message, code="damaged")
        except BaseException:
            self._reader.close()
            raise
        self.size = (self._reader.size[0] // 2, self._reader.size[1])  # height, width

    def __len__(self) -> int:
        return self.record.source_frames - 1

    def flow(self, number: int) -> NDArray[np.uint8]:
        """The flow `(H, W, 2)` of this number, from 0, as bytes.

        Raises:
            VideoError: `damaged`.
        """
        picture = self._reader.picture(number)
        height = self.size[0]
        return np.stack([picture[:height], picture[height:]], axis=-1)

    def __enter__(self) -> "FlowFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def _record(name: str, tags: dict[str, str]) -> FlowRecord:
    if _TAG not in tags:
        raise VideoError(
            name,
            "is a video, not flow that praxino stored. Compute its flow with praxino flow.",
            code="not_flow",
        )
    try:
        record: FlowRecord = checked(FlowRecord, parse_json(tags[_TAG], "its tag"), "its tag")
    except ValueError as error:
        raise VideoError(name, f"is damaged: {error}", code="damaged") from None
    return record


def write_flow(path: str | Path, record: FlowRecord, flows: Iterable[NDArray[np.uint8]]) -> None:
    """Write a packed file, whole or not at all.

    Args:
        path: ends in `.mkv`.
        record: how it was made.
        flows: `source_frames - 1` flows, each `(H, W, 2)` uint8.

    Raises:
        ValueError: another number of flows, or another shape.
        EnvironmentFault: the disk is full or not writable.
    """
    with GreyWriter(path, {_TAG: _in_json(record)}) as writer:
        count = 0
        for flow in flows:
            writer.write(np.concatenate([flow[..., 0], flow[..., 1]]))
            count += 1
        _check_count(Path(path), record, count)


def _in_json(record: FlowRecord) -> str:
    return json.dumps(dataclasses.asdict(record), ensure_ascii=False)


def _check_count(path: Path, record: FlowRecord, count: int) -> None:
    if count != record.source_frames - 1:
        raise ValueError(
            f"{path.name}: {record.source_frames} frames have {record.source_frames - 1} flows, "
            f"got {count}."
        )


def write_flow_images(
    folder: str | Path,
    record: FlowRecord,
    flows: Iterable[NDArray[np.uint8]],
    *,
    first_number: int = 0,
) -> None:
    """Write flow as denseflow does: `flow_x_00000.jpg`, `flow_y_00000.jpg`; all of it or nothing.

    Args:
        folder: takes the place of a folder of flow of that name.
        record: how it was made; written beside the pictures, as `flow.json`.
        flows: `source_frames - 1` flows, each `(H, W, 2)` uint8.
        first_number: of the first file: 0, or 1 for programs that follow TSN.

    Raises:
        ValueError: another number of flows, or the folder holds something else.
        EnvironmentFault: the disk is full or not writable.
    """
    folder = Path(folder).resolve()
    _check_only_flow(folder)
    half = folder.parent / f"{PART}{folder.name}"
    with disk_faults(folder):
        shutil.rmtree(half, ignore_errors=True)  # of a process that was killed
        half.mkdir(parents=True)
        try:
            count = 0
            for number, flow in enumerate(flows, start=first_number):
                for axis, name in enumerate("xy"):
                    picture = Image.fromarray(np.ascontiguousarray(flow[..., axis]))
                    picture.save(half / f"flow_{name}_{number:05d}.jpg", quality=_JPEG_QUALITY)
                count += 1
            _check_count(folder, record, count)
            (half / _RECORD).write_text(_in_json(record), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(half, folder)
            fsync(folder.parent)
        finally:
            shutil.rmtree(half, ignore_errors=True)


def _check_only_flow(folder: Path) -> None:
    if not folder.exists():
        return
    others = [
        entry.name
        for entry in (folder.iterdir() if folder.is_dir() else [folder])
        if entry.name != _RECORD and not _NUMBERED.fullmatch(entry.name)
    ]
    if others:
        raise ValueError(
            f"{folder} would be replaced by a folder of flow, and holds {others[0]!r}. Name "
            "another folder, or move it away."
        )


def read_record(path: Path) -> FlowRecord | None:
    """How a packed file, or a folder of pictures, was made; None: by another program.

    Raises:
        VideoError: as `FlowFile`; `damaged` of a folder whose record is no record.
    """
    if path.is_dir():
        if not (path / _RECORD).is_file():
            return None
        try:
            record: FlowRecord = checked(FlowRecord, read_json(path / _RECORD), _RECORD)
        except ValueError as error:
            message = f"is damaged: {error} Compute the flow again."
            raise VideoError(os.fspath(path), message, code="damaged") from None
        return record
    with FlowFile(path) as file:
        return file.record


def is_whole(path: Path, record: FlowRecord) -> bool:
    """Whether all flow of a video is there, made as the record says.

    Args:
        path: a packed file, or a folder of pictures.
        record: its `source_frames` are not looked at: to know them, the video would be read.
    """
    try:
        found = read_record(path)
        if found is None:
            return False
        if dataclasses.replace(found, source_frames=record.source_frames) != record:
            return False
        last = found.source_frames - 2
        if path.is_dir():
            return len(_numbers(os.fspath(path), _Pictures(path, path))) == last + 1
        with FlowFile(path) as file:
            file.flow(last)
    except VideoError:
        return False
    return True


@dataclass(frozen=True)
class _Pictures:
    """The folders of a video's pictures; one and the same, unless they are called u and v."""

    along_x: Path
    along_y: Path


class FlowStore:
    """The flow of many videos, in a folder that lies like that of the videos.

    The flow of `kick/a.mp4` is found in `kick/a.mp4.flow.mkv`, or in pictures in `kick/a/` or
    `kick/a.mp4/`, or in `u/kick/a/` and `v/kick/a/`; and by shorter ends of the name,
    `a.mp4.flow.mkv` for example.

    Args:
        folder: that `praxino flow` or denseflow has filled.
        warped: whether to read the flow without the camera's motion, `kick/a.mp4.warped_flow.mkv`.
            Pictures of other programs do not tell, and are taken for what is asked for.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str], *, warped: bool = False) -> None:
        self.folder, self.warped = Path(folder), warped
        if not self.folder.is_dir():
            raise ValueError(f"There is no folder of flow {os.fspath(folder)!r}.")

    @cached_property
    def method(self) -> str | None:
        """What has computed the flow, by the first file found; None where it does not tell."""
        for place, folders, files in os.walk(self.folder):
            folders.sort()
            for name in sorted(files):
                packed = name.endswith((FLOW_SUFFIX, WARPED_SUFFIX)) and not name.startswith(PART)
                if _IN_TWO_FOLDERS.fullmatch(name):
                    return None
                if packed or _NUMBERED.fullmatch(name):
                    record = read_record(Path(place, name) if packed else Path(place))
                    return None if record is None else record.method
        return None

    def count(self, video: str | os.PathLike[str]) -> int:
        """How many flows are kept of a video: one less than it has frames.

        Raises:
            VideoError: as `flow`.
        """
        found = self._find(video)
        if isinstance(found, _Pictures):
            return len(_numbers(os.fspath(video), found))
        with FlowFile(found) as file:
            return len(file)

    def flow(
        self,
        video: str | os.PathLike[str],
        indices: Sequence[int] | NDArray[np.integer],
        size: tuple[int, int] | None = None,
    ) -> NDArray[np.uint8]:
        """The flow from these frames to the next ones.

        The last frame of a video has none, and gets that of the one before it.

        Args:
            video: its path, of which the end is its name here.
            indices: `(T,)` frames, from 0.
            size: height and width to which it is resized; what it says stays in pixels of the size
                at which it was computed, as two-stream networks are used to. None: as it is.

        Returns:
            `(T, H, W, 2)` uint8, u then v.

        Raises:
            VideoError: `flow_missing` if there is none, `flow_length` if the video has more frames
                than the one that it was computed from, or `damaged`.
            ValueError: an index below 0, or none.
        """
        name, wanted = os.fspath(video), np.asarray(indices)
        if wanted.ndim != 1 or not wanted.size or wanted.dtype.kind not in "iu" or min(wanted) < 0:
            raise ValueError(f"Frames are one row of whole numbers from 0, got {indices!r}.")
        found = self._find(video)
        if isinstance(found, _Pictures):
            flows = _read_images(name, found, wanted, size)
        else:
            with FlowFile(found) as file:
                flows = _read_packed(name, file, wanted, size)
        return np.stack([flows[int(index)] for index in wanted])

    def _find(self, video: str | os.PathLike[str]) -> "Path | _Pictures":
        parts = [part for part in Path(video).parts if part not in ("/", ".", "..")]
        suffix = WARPED_SUFFIX if self.warped else FLOW_SUFFIX
        for start in range(len(parts)):
            place = self.folder.joinpath(*parts[start:])
            packed = place.with_name(place.name + suffix)
            if packed.is_file():
                return packed
            for images in (place.with_suffix(""), place):
                if images.is_dir() and _any_file(images, _NUMBERED):
                    record = read_record(images)
                    if record is None or record.warped == self.warped:
                        return _Pictures(images, images)
                inside = images.relative_to(self.folder)
                pair = _Pictures(self.folder / "u" / inside, self.folder / "v" / inside)
                if pair.along_x.is_dir() and _any_file(pair.along_x, _IN_TWO_FOLDERS):
                    return pair
        raise VideoError(
            os.fspath(video),
            f"has no {'warped ' if self.warped else ''}flow in {self.folder}. Compute it: "
            f"praxino flow {Path(video).name} --output {self.folder}"
            f"{' --warped' if self.warped else ''}",
            code="flow_missing",
        )


def _of_frame(name: str, index: int, flows: int) -> int:
    """Which flow belongs to a frame."""
    if index > flows:
        raise VideoError(
            name,
            f"has a frame {index}, and its flow is of {flows + 1} frames. They belong to different "
            "videos: compute the flow again.",
            code="flow_length",
        )
    return min(index, flows - 1)


def _read_packed(
    name: str, file: FlowFile, wanted: NDArray[np.integer], size: tuple[int, int] | None
) -> dict[int, NDArray[np.uint8]]:
    flows: dict[int, NDArray[np.uint8]] = {}
    by_number: dict[int, NDArray[np.uint8]] = {}
    for index in map(int, np.unique(wanted)):
        number = _of_frame(name, index, len(file))
        if number not in by_number:
            flow = file.flow(number)
            if file.record.bound != BOUND:  # models are fed bytes of one kind
                flow = flow_to_bytes(flow_from_bytes(flow, file.record.bound))
            by_number[number] = _resized(flow, size)
        flows[index] = by_number[number]
    return flows


def _read_images(
    name: str, pictures: _Pictures, wanted: NDArray[np.integer], size: tuple[int, int] | None
) -> dict[int, NDArray[np.uint8]]:
    numbers = _numbers(name, pictures)
    flows: dict[int, NDArray[np.uint8]] = {}
    for index in map(int, np.unique(wanted)):
        pair = numbers[_of_frame(name, index, len(numbers))]
        u, v = (read_picture(name, path)[..., 0] for path in pair)  # grey: all channels are alike
        if u.shape != v.shape:
            raise VideoError(
                name,
                f"has flow of two sizes: {pair[0]} is {u.shape[1]} x {u.shape[0]}, {pair[1].name} "
                f"{v.shape[1]} x {v.shape[0]}. Write both anew.",
                code="damaged",
            )
        flows[index] = _resized(np.stack([u, v], axis=-1), size)
    sizes = {flow.shape for flow in flows.values()}
    if len(sizes) > 1:
        raise VideoError(
            name,
            f"has flow of {len(sizes)} sizes in {pictures.along_x}. Write it anew.",
            code="damaged",
        )
    return flows


def _any_file(folder: Path, kind: re.Pattern[str]) -> bool:
    with os.scandir(folder) as entries:
        return any(kind.fullmatch(entry.name) for entry in entries)


def _numbers(name: str, pictures: _Pictures) -> list[tuple[Path, Path]]:
    """The pictures of x and y in the order of their numbers, none missing."""
    found: dict[str, dict[int, Path]] = {"x": {}, "y": {}}
    folder = pictures.along_x
    if pictures.along_y == folder:
        for path in folder.iterdir():
            if match := _NUMBERED.fullmatch(path.name):
                found[match[1].lower()][int(match[2])] = path
    else:
        for axis, place in (("x", pictures.along_x), ("y", pictures.along_y)):
            for path in place.iterdir() if place.is_dir() else ():
                if match := _IN_TWO_FOLDERS.fullmatch(path.name):
                    found[axis][int(match[1])] = path
    along_x, along_y = found["x"], found["y"]
    numbers = sorted(along_x.keys() | along_y.keys())
    if not numbers:
        message = f"has no pictures of flow in {folder}. Compute it again."
        raise VideoError(name, message, code="flow_incomplete")
    first = min(numbers[0], 1)
    for number in range(first, max(numbers[-1] + 1, first)):
        for axis, there in found.items():
            if number not in there:
                raise VideoError(
                    name,
                    f"its flow in {folder} is half written: {axis} of flow {number} is missing, of "
                    f"{first} to {numbers[-1]}. Compute it again.",
                    code="flow_incomplete",
                )
    return [(along_x[number], along_y[number]) for number in numbers]


def _resized(flow: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    if size is None or flow.shape[:2] == tuple(size):
        return flow
    height, width = size
    # Pillow's bilinear filter widens with the reduction, as that of the frames does.
    axes = [
        Image.fromarray(np.ascontiguousarray(flow[..., axis])).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for axis in (0, 1)
    ]
    return np.stack([np.asarray(axis) for axis in axes], axis=-1)
