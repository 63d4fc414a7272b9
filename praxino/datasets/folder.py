"""Data sets that are folders of class folders: `videos/kick/a.mp4` or `videos/train/kick/a.mp4`."""

from pathlib import Path

from praxino.datasets.manifest import Manifest, Row
from praxino.video.frame_folder import is_frame_folder
from praxino.video.volume import VOLUME_SUFFIXES, is_dicom_series

# The containers that praxino.video.reader opens; it looks at the content, here only names count.
VIDEO_SUFFIXES = tuple(
    ".3gp .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm".split()
)
UNREADABLE_SUFFIXES = (".asf", ".rm", ".rmvb", ".wmv")  # videos, but not for praxino
SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def read_folder(path: str | Path) -> Manifest:
    """Read a folder in which every class has a folder with its videos.

    The folders may lie inside `train`, `val` and `test` folders; otherwise the rows have no split
    and `praxino.datasets.splits` makes one. Videos are recognised by their suffix
    (`VIDEO_SUFFIXES`, in upper or lower case), and so are volumes (`VOLUME_SUFFIXES`); a folder of
    DICOM files inside a class folder is one volume. Where a class folder has none of these, its
    folders of numbered pictures are videos. Hidden files and folders are ignored, and so are files
    of other kinds, but not videos that praxino cannot open (`UNREADABLE_SUFFIXES`). Symbolic
    links to videos and class folders are followed. Class names are folder names, in alphabetical
    order.

    Args:
        path: the folder that holds the class folders or the split folders.

    Raises:
        ValueError: the folder is missing, flat, nested too deeply, has fewer than two classes, a
            class folder without videos, a video that cannot be opened, or a class that occurs in
            val or test but not in train.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"There is no folder {root}.")
    _refuse_loose_videos(root)
    folders = _folders(root)
    split_folders = [folder for folder in folders if folder.name.lower() in SPLIT_FOLDERS]
    if not split_folders:
        rows = _class_rows(root, folders, split="")
    elif len(split_folders) == len(folders):
        rows = []
        for folder in split_folders:
            _refuse_loose_videos(folder)
            rows += _class_rows(root, _folders(folder), SPLIT_FOLDERS[folder.name.lower()])
        _require_trained_classes(root, rows)
    else:
        odd = next(folder for folder in folders if folder not in split_folders)
        raise ValueError(
            f"{root} holds the split folder {split_folders[0].name!r} beside {odd.name!r}. Put all "
            "class folders inside split folders, or none."
        )
    classes = sorted({label for row in rows for label in row.labels})
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no class folders"
        raise ValueError(f"{root} has {found}; a classifier needs at least two class folders.")
    return Manifest.from_rows(rows, root, classes)


def find_videos(folder: Path) -> list[Path]:
    """All videos in a folder and the folders below it, hidden ones left out, sorted.

    Where there are none, folders of numbered pictures are videos. A folder that is itself a DICOM
    series, or holds such pictures and no videos, is the one video found.
    """
    if is_dicom_series(folder):
        return [folder]
    visible = [
        path
        for path in (folder, *folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    videos = sorted(path for path in visible[1:] if is_video(path))
    return videos or sorted(path for path in visible if is_frame_folder(path))


def is_video(path: Path) -> bool:
    """Whether the name, not the content, says that this is a video, or a volume in one file.

    A folder is one if it holds a DICOM series, whose files have any names.
    """
    named = path.name.lower().endswith((*VIDEO_SUFFIXES, *VOLUME_SUFFIXES))
    return (named and not path.name.startswith(".")) or is_dicom_series(path)


def videos_by_stem(folder: str | Path) -> dict[str, str]:
    """Every video under a folder, however deep: name without suffix -> path relative to it.

    Benchmarks are unpacked flat or into class folders, and converted to other containers; their
    readers find a clip by its name. A folder that does not exist holds no videos.

    Raises:
        ValueError: two videos have the same name, so that one could stand in for the other.
    """
    folder = Path(folder)
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if is_video(path):
            relative = path.relative_to(folder).as_posix()
            if path.stem in found:
                raise ValueError(
                    f"{folder} holds {found[path.stem]} and {relative}: the same name twice. "
                    "Keep one of them."
                )
            found[path.stem] = relative
    return found


def _class_rows(root: Path, folders: list[Path], split: str) -> list[Row]:
    rows = []
    for folder in folders:
        entries = sorted(folder.iterdir())
        videos = [entry for entry in entries if is_video(entry)]
        videos = videos or [entry for entry in entries if is_frame_folder(entry)]
        nested = [entry for entry in _folders(folder) if any(map(is_video, entry.iterdir()))]
        unreadable = [entry for entry in entries if entry.suffix.lower() in UNREADABLE_SUFFIXES]
        if unreadable:
            raise ValueError(
                f"{unreadable[0]} is of a kind that praxino does not open. Convert it to .mp4, or "
                "remove it."
            )
        if nested:
            raise ValueError(
                f"{nested[0]} holds videos inside a class folder. Videos lie directly in their "
                "class folder; split folders are called train, val and test."
            )
        if not videos:
            suffixes = sorted({entry.suffix for entry in entries if entry.is_file()} - {""})
            found = f" (it has files ending in {', '.join(suffixes)})" if suffixes else ""
            raise ValueError(
                f"The class folder {folder} has no videos{found}. Videos end in "
                f"{', '.join((*VIDEO_SUFFIXES, *VOLUME_SUFFIXES))}, or are folders of DICOM files "
                "or of numbered pictures; remove the folder or convert its files."
            )
        for video in videos:
            if not video.exists():
                raise ValueError(f"{video} is a broken link or not a file. Remove or repair it.")
            rows.append(Row(video.relative_to(root).as_posix(), (folder.name,), split=split))
    return rows


def _folders(path: Path) -> list[Path]:
    return sorted(
        entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _refuse_loose_videos(folder: Path) -> None:
    loose = sorted(entry for entry in folder.iterdir() if is_video(entry) and entry.is_file())
    if loose:
        raise ValueError(
            f"{folder} holds {loose[0].name!r} beside its class folders ({len(loose)} such "
            "videos). Put every video into a folder named after its class."
        )


def _require_trained_classes(root: Path, rows: list[Row]) -> None:
    trained = {row.labels for row in rows if row.split == "train"}
    for row in rows:
        if trained and row.labels not in trained:
            raise ValueError(
                f"{root}: the class {row.labels[0]!r} occurs in {row.split} but not in train."
            )
