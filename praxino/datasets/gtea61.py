"""GTEA61 (Fathi, Ren and Rehg, CVPR 2011): cooking seen by the cook, 61 actions of four people.

An action is a verb and its objects (`close_choco`, `stir_spoon,cup`). Everybody tests on the second
of the four people, S2, and trains on the other three. As Ego-RNN's authors prepare them, clips are
folders of pictures, `S1/close_choco/1/` or `S1/close_choco/1/rgb/`, in a folder `frames` or
`processed_frames2`, and their flow without the camera's motion lies beside it, in `flow_x` and
`flow_y` or `flow_x_processed` and `flow_y_processed`; or inside of each clip's folder. Maps of
motion (`mmaps`) are not read. From the original labels the same clips are spans of the recordings.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from praxino.datasets.folder import videos_by_stem
from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.tables import raise_problems
from praxino.errors import VideoError
from praxino.video.flow import BOUND
from praxino.video.flow_store import WARPED_SUFFIX, FlowRecord, write_flow
from praxino.video.frame_folder import (
    is_frame_folder,
    picture_paths,
    rate_of,
    read_picture,
)

NUM_CLASSES = 61
PEOPLE, TEST_PERSON = ("S1", "S2", "S3", "S4"), "S2"
FRAMES_PER_SECOND = 15.0  # of the recordings

FRAMES = (".", "frames", "processed_frames", "processed_frames2")
FLOWS = (("flow_x", "flow_y"), ("flow_x_processed", "flow_y_processed"))
# What the authors' preparation calls otherwise, and what it leaves out: too rare.
RENAMED, LEFT_OUT = {"stir_cup": "stir_spoon,cup"}, ("put_tea",)

_LABEL = re.compile(r"<(?P<verb>[^<>]+)><(?P<objects>[^<>]+)>\s*\((?P<first>\d+)-(?P<last>\d+)\)")
_PICTURE = re.compile(r".*?(\d{1,9})\.(?:png|jpe?g)", re.IGNORECASE)


def read_gtea61(
    annotations: str | Path | None, videos: str | Path, *, complete: bool = True
) -> Manifest:
    """Read the folders of pictures, or the original labels.

    Args:
        annotations: None reads the folders of the people in `videos`. Otherwise the folder of the
            label files (`S1_Cheese_C1.txt`, of lines `<take><bread> (100-150)` in frames counted
            from 1); `videos` then holds the recordings, or folders of their frames.
        videos: the folder that holds the pictures or the recordings.
        complete: refuse what has not all 61 actions.

    Returns:
        Rows in "train" (S1, S3, S4) and "test" (S2); the group is the person.

    Raises:
        ValueError: a folder is missing or is none of these, a line is not of the form above, or
            the actions are not 61.
    """
    videos = Path(videos)
    rows = list(_clips(videos) if annotations is None else _spans(Path(annotations), videos))
    classes = sorted({label for row in rows for label in row.labels})
    if complete and len(classes) != NUM_CLASSES:
        raise ValueError(
            f"GTEA61 has {NUM_CLASSES} actions, {videos} has {len(classes)}. Prepare the data set "
            "again, all of it."
        )
    return Manifest.from_rows(rows, videos, classes)


def pack_gtea61_flow(
    manifest: Manifest, to: str | Path, *, said: Callable[[int, int], None] = lambda done, all: None
) -> int:
    """Write the flow that comes with the clips into packed files, which `--flow FOLDER` reads.

    Clips that are packed already are passed over, so that a run that was stopped goes on.

    Args:
        manifest: of `read_gtea61(None, ...)`.
        to: the folder; the flow of a clip is written to `S1/close_choco/1.warped_flow.mkv`, or
            `S1/close_choco/1/rgb.warped_flow.mkv` where its frames lie in a folder `rgb`.
        said: called with clips done, and clips in all.

    Returns:
        How many clips were written.

    Raises:
        VideoError: `flow_missing`, or `flow_length` where a clip's frames, its flow along x and its
            flow along y do not belong together.
        EnvironmentFault: the disk is full or not writable.
    """
    written = 0
    for done, row in enumerate(manifest, start=1):
        parts = Path(row.video).parts
        name = Path(*parts[parts.index(row.group) :]).as_posix()
        path = Path(to, name + WARPED_SUFFIX)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _pack(manifest.root, row.video, path)
            written += 1
        said(done, len(manifest))
    return written


# --- folders of pictures --------------------------------------------------------------------------


def _clips(videos: Path) -> Iterator[Row]:
    """The clips in the folders of four people."""
    place = next((videos / name for name in FRAMES if (videos / name / PEOPLE[0]).is_dir()), None)
    if place is None:
        raise ValueError(
            f"There is no folder {PEOPLE[0]} in {videos} or its {', '.join(FRAMES[1:])}. Give the "
            "folder that GTEA61 was prepared in."
        )
    problems = []
    for person in PEOPLE:
        if not (place / person).is_dir():
            raise ValueError(f"There is no folder {person} in {place}; it belongs to GTEA61.")
        for action in _folders(place / person):
            if action.name in LEFT_OUT:
                continue
            for clip in sorted(_folders(action), key=lambda clip: (len(clip.name), clip.name)):
                pictures = clip / "rgb" if (clip / "rgb").is_dir() else clip
                if is_frame_folder(pictures):
                    yield _row(pictures.relative_to(videos).as_posix(), action.name, person)
                else:
                    problems.append((str(clip.relative_to(videos)), "holds no numbered pictures"))
    raise_problems(f"GTEA61 in {videos}", problems)


def _row(video: str, action: str, person: str, span: tuple[float, float] | None = None) -> Row:
    start, end = span or (None, None)
    split = "test" if person == TEST_PERSON else "train"
    label = RENAMED.get(action, action)
    return Row(video, (label,), start_seconds=start, end_seconds=end, group=person, split=split)


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


# --- labels of recordings -------------------------------------------------------------------------


def _spans(labels: Path, videos: Path) -> Iterator[Row]:
    files = sorted(labels.glob("S[1-4]_*.txt"))
    if not files:
        raise ValueError(f"There are no label files S1_....txt to S4_....txt in {labels}.")
    by_name = videos_by_stem(videos)
    problems = []
    for file in files:
        rate, video = FRAMES_PER_SECOND, by_name.get(file.stem, f"{file.stem}.mp4")
        if is_frame_folder(videos / file.stem):
            rate, video = rate_of(videos / file.stem), file.stem
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        for number, line in enumerate(lines, start=1):
            if "><" not in line:  # no action, or one without an object
                continue
            found = _LABEL.match(line.strip())
            if found is None or not 0 < int(found["first"]) <= int(found["last"]):
                problem = f"{line.strip()!r} is not <verb><objects> (first-last)"
                problems.append((f"{file.name}:{number}", problem))
                continue
            action = f"{found['verb']}_{found['objects']}"
            if action not in LEFT_OUT:
                span = (int(found["first"]) - 1) / rate, int(found["last"]) / rate
                yield _row(video, action, file.stem[:2], span)
    raise_problems(f"GTEA61 in {labels}", problems)


# --- flow -----------------------------------------------------------------------------------------


def _pack(root: Path, video: str, path: Path) -> None:
    frames = len(picture_paths(root / video))
    along_x, along_y = (_flow_pictures(root, video, axis) for axis in (0, 1))
    # Some programs write a flow for the last frame too, which leads nowhere.
    if len(along_x) != len(along_y) or not frames - 1 <= len(along_x) <= frames:
        raise VideoError(
            video,
            f"has {frames} frames, {len(along_x)} pictures of flow along x and {len(along_y)} "
            f"along y, which do not belong together: {frames - 1} lead from one frame to the next. "
            "Prepare this clip again.",
            code="flow_length",
        )
    pairs = zip(along_x[: frames - 1], along_y, strict=False)
    size = sum(picture.stat().st_size for picture in picture_paths(root / video))
    record = FlowRecord("tvl1", True, BOUND, video, size, frames)
    write_flow(path, record, (_flow(video, *pair) for pair in pairs))


def _flow_pictures(root: Path, video: str, axis: int) -> list[Path]:
    """The pictures of flow along an axis, in the order of their numbers."""
    clip = (root / video).parent if Path(video).name == "rgb" else root / video
    places = [clip / FLOWS[0][axis]]
    for name in FRAMES:
        above = (root / name).resolve()
        if clip.resolve().is_relative_to(above):
            inside = clip.resolve().relative_to(above)
            places += [root / names[axis] / inside for names in FLOWS]
    for place in places:
        if place.is_dir():
            found = {
                int(match[1]): one
                for one in place.iterdir()
                if (match := _PICTURE.fullmatch(one.name))
            }
            return [one for _, one in sorted(found.items())]
    raise VideoError(
        video,
        f"has no warped flow along {'xy'[axis]} in {', '.join(map(str, places[:3]))}. Put the "
        "pictures of flow there, or compute them with praxino flow --warped.",
        code="flow_missing",
    )


def _flow(video: str, along_x: Path, along_y: Path) -> NDArray[np.uint8]:
    """`(H, W, 2)` bytes."""
    u, v = (read_picture(video, path)[..., 0] for path in (along_x, along_y))
    if u.shape != v.shape:
        raise VideoError(
            video,
            f"its flow {along_x.name} is {u.shape[1]} x {u.shape[0]} and {along_y.name} is "
            f"{v.shape[1]} x {v.shape[0]}. Prepare this clip again.",
            code="damaged",
        )
    return np.stack([u, v], axis=-1)
