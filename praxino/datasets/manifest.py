"""The manifest: the one table that every task knows, a row per labelled span of video.

A folder of class folders, a benchmark's official lists and a table of your own all become a
`Manifest`. On disk it is Parquet or CSV with the columns

    video          path relative to the root folder, with forward slashes
    labels         class names; a CSV joins several with ";" and may call the column `label`
    start_seconds  where the span starts; empty = the start of the video   (optional column)
    end_seconds    where it ends, itself excluded; empty = the end          (optional column)
    group          subject, recording, scene: what must not be in two splits (optional column)
    split          train, val, test or empty                                (optional column)

The root is the folder of the file unless the caller names another one, and no row leads out of it.
"""

import difflib
import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from praxino.datasets.tables import (
    COLUMNS,
    PROBLEMS_SHOWN,
    raise_problems,
    read_table,
    write_table,
)
from praxino.shortened import printable, shortened

SPLITS = ("train", "val", "test")

# File names that are not UTF-8 reach Python as lone surrogates, which no table can hold.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_LEADS_OUT = re.compile(r"(^|[/\\])\.\.([/\\]|$)")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")  # on any system: a manifest travels


@dataclass(frozen=True)
class Row:
    """One labelled span of one video.

    Args:
        video: path relative to the manifest's root, with forward slashes and without `..`.
        labels: class names; one for most data sets, several or none for multi-label ones.
        start_seconds: where the span starts; None is the start of the video.
        end_seconds: where it ends, itself excluded; None is the end of the video.
        group: subject, recording or scene whose rows must stay in one split; "" if unknown.
        split: "train", "val", "test", or "" if undecided.

    Raises:
        ValueError: everything that is wrong with the row, in one line.
    """

    video: str
    labels: tuple[str, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        problems = [*_video_problems(self.video), *_label_problems(self.labels)]
        problems += _time_problems(self.start_seconds, self.end_seconds)
        if not _is_name(self.group) and self.group != "":
            problems.append(f"group={shortened(self.group)} is not a name")
        if self.split not in ("", *SPLITS):
            problems.append(
                f"split={shortened(self.split)} is not one of train, val, test or empty"
            )
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True)
class ClassCount:
    """How much there is of one class in one split.

    Args:
        label: the class, or "" for rows without a label.
        split: "train", "val", "test" or "".
        rows: labelled spans.
        videos: different files among them.
        seconds: total length of the spans; None if any has an open end.
    """

    label: str
    split: str
    rows: int
    videos: int
    seconds: float | None


@dataclass(frozen=True)
class Manifest:
    """The rows of a data set, the folder their paths start from, and the order of the classes.

    Args:
        rows: no two with the same video and span.
        root: the folder that `Row.video` is relative to.
        classes: every class name once; its position is the integer label that a model learns.

    Raises:
        ValueError: duplicate rows, or labels that are not among the classes.
    """

    rows: tuple[Row, ...]
    root: Path
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        problems = _table_problems(self.rows, self.classes, "row {}".format)
        raise_problems("manifest", problems)

    @classmethod
    def from_rows(
        cls, rows: Iterable[Row], root: str | Path, classes: Sequence[str] | None = None
    ) -> "Manifest":
        """Make a manifest; `classes=None` takes the labels that occur, in alphabetical order."""
        rows = tuple(rows)
        return cls(rows, Path(root), tuple(_sorted_labels(rows) if classes is None else classes))

    @classmethod
    def read(
        cls,
        path: str | Path,
        root: str | Path | None = None,
        classes: Sequence[str] | None = None,
    ) -> "Manifest":
        """Read a `.parquet` or `.csv` manifest and check every row.

        No row can open a file outside `root`: paths with `..` are refused, and an absolute path
        is accepted only if it lies inside `root` (it is stored relative). Symbolic links inside
        `root` are the user's own and are followed.

        Args:
            path: the table. CSV is UTF-8 with or without a byte order mark, comma-separated,
                with a header line; `video` and `label` or `labels` are enough. Columns that
                praxino does not know are ignored, unless they look like a misspelt one.
            root: the folder that holds the videos; None is the folder of `path`.
            classes: the class names in the order of the integer labels; None takes the order
                stored in a Parquet manifest, else the labels that occur, alphabetically.

        Raises:
            ValueError: all problems of the file with their lines, the first 20 in full.
        """
        path = Path(path)
        root = path.parent if root is None else Path(root)
        name = printable(path.name)
        records, stored_classes = read_table(path)
        rows: list[Row] = []
        places: list[str] = []
        problems: list[tuple[str, str]] = []
        for number, cells in records:
            place = f"{name}:{number}"
            try:
                if isinstance(cells, ValueError):
                    raise cells
                cells["video"] = _relative(cells["video"], root)
                rows.append(Row(**cells))
                places.append(place)
            except ValueError as error:
                problems.append((place, str(error)))
        if not rows and not problems:
            raise ValueError(f"{name}: the table has a header but no rows.")
        if classes is None:
            classes = _sorted_labels(rows) if stored_classes is None else stored_classes
        problems += _table_problems(rows, classes, places.__getitem__)
        raise_problems(name, sorted(problems, key=_line))
        return cls(tuple(rows), root, tuple(classes))

    def write(self, path: str | Path, *, keep_root: bool = False) -> None:
        """Write the manifest to a `.parquet` or `.csv` file, whole or not at all.

        Parquet keeps the order of the classes, CSV does not.

        Args:
            path: the file. Paths are rewritten relative to its folder, so that
                `Manifest.read(path)` finds the videos; that folder must contain the root.
            keep_root: leave the paths relative to the root instead, for a manifest kept away
                from its videos; it is read with `Manifest.read(path, root=...)`.

        Raises:
            ValueError: the folder of `path` does not contain the root, or a CSV cannot hold a
                class name.
        """
        path = Path(path)
        prefix = "" if keep_root else _prefix(self.root, path)
        rows = [{**vars(row), "video": _join(prefix, row.video)} for row in self.rows]
        write_table(path, rows, self.classes)

    def __repr__(self) -> str:
        rows = Counter(row.split for row in self.rows)
        counts = ", ".join(f"{rows[split]} {split or 'without split'}" for split in self.splits)
        return f"Manifest({counts or 'no rows'}; {len(self.classes)} classes; {self.root})"

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def path(self, row: Row) -> Path:
        """Where the video of a row lies."""
        return self.root / row.video

    def class_ids(self, row: Row) -> tuple[int, ...]:
        """The labels of a row as positions in `classes`."""
        return tuple(self._class_id[label] for label in row.labels)

    @property
    def videos(self) -> tuple[str, ...]:
        """The different files, in the order of their first row."""
        return tuple(dict.fromkeys(row.video for row in self.rows))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that occur, in the order train, val, test, ""."""
        found = {row.split for row in self.rows}
        return tuple(split for split in (*SPLITS, "") if split in found)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that occur, sorted, "" among them if some rows have none."""
        return tuple(sorted({row.group for row in self.rows}))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the classes and rows in their order; the root does not enter."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for row in self.rows:
            content = [getattr(row, name) for name in COLUMNS]
            digest.update(b"\n" + json.dumps(content).encode())
        return digest.hexdigest()

    def select(
        self,
        *,
        split: str | None = None,
        labels: Collection[str] | None = None,
        groups: Collection[str] | None = None,
        where: Callable[[Row], bool] | None = None,
    ) -> "Manifest":
        """The rows that meet every condition given; classes and their order stay.

        Args:
            split: "train", "val", "test" or "" for rows without a split.
            labels: class names; a row is taken if it has any of them.
            groups: names of groups.
            where: any other test of a row.

        Raises:
            ValueError: an unknown split, label or group. When no row meets the conditions, the
                manifest has length 0.
        """
        if split is not None:
            _require_known("split", [split], (*SPLITS, ""))
        if labels is not None:
            _require_known("class", _names(labels), self.classes)
        if groups is not None:
            _require_known("group", _names(groups), self.groups)

        def meets(row: Row) -> bool:
            return (
                (split is None or row.split == split)
                and (labels is None or any(label in labels for label in row.labels))
                and (groups is None or row.group in groups)
                and (where is None or where(row))
            )

        return replace(self, rows=tuple(row for row in self.rows if meets(row)))

    def with_split(self, split: str | Sequence[str]) -> "Manifest":
        """The same rows in other splits: one name for all, or one for each row in order."""
        names = [split] * len(self) if isinstance(split, str) else list(split)
        if len(names) != len(self):
            raise ValueError(f"Got {len(names)} split names for {len(self)} rows.")
        pairs = zip(self.rows, names, strict=True)
        return replace(self, rows=tuple(replace(row, split=name) for row, name in pairs))

    def missing(self) -> list[str]:
        """The videos that are not on disk, as `Row.video` names them."""
        return [video for video in self.videos if not (self.root / video).exists()]

    def drop_missing(self) -> tuple["Manifest", str]:
        """The rows whose video is on disk, and one sentence that says how many that were."""
        missing = self.missing()
        kept = set(self.videos) - set(missing)
        report = f"{len(kept)} of {len(self.videos)} videos are in {self.root}"
        if missing:
            report += f"; {len(missing)} are missing, the first is {missing[0]}"
        return self.select(where=lambda row: row.video in kept), report + "."

    def counts(self) -> list[ClassCount]:
        """Rows, videos and seconds per class and split: classes in order, "" for no label last."""
        spans: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            for label in row.labels or ("",):
                spans.setdefault((label, row.split), []).append(row)
        table = []
        for label in (*self.classes, ""):
            for split in (*SPLITS, ""):
                if rows := spans.get((label, split)):
                    videos = len({row.video for row in rows})
                    table.append(ClassCount(label, split, len(rows), videos, _seconds(rows)))
        return table

    @cached_property
    def _class_id(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.classes)}


def _video_problems(video: str) -> list[str]:
    if not isinstance(video, str) or not video.strip() or video == ".":
        return [f"video={shortened(video)} is not a path"]
    if not _is_text(video):
        return [f"video={shortened(video)} contains NUL or is not valid Unicode; rename the file"]
    if _LEADS_OUT.search(video):
        return [
            f"video={shortened(video)} leads out of the root by '..'; write paths relative to the "
            "folder that holds the videos and pass that folder as root"
        ]
    if _ABSOLUTE.match(video):
        return [
            f"video={shortened(video)} is absolute and not inside the root; write relative paths, "
            "or name a root that contains it (--videos, --data.videos)"
        ]
    return []


def _is_name(name: object) -> bool:
    """Text that survives a table: not empty, no NUL, no white space around it, valid Unicode."""
    return isinstance(name, str) and name.strip() == name != "" and _is_text(name)


def _is_text(text: str) -> bool:
    return _NO_TEXT.search(text) is None


def _label_problems(labels: tuple[str, ...]) -> list[str]:
    if not isinstance(labels, tuple):
        raise TypeError(f"labels must be a tuple of class names, got {labels!r}.")
    problems = []
    for label in labels:
        if not _is_name(label):
            problems.append(f"label={shortened(label)} is not a class name")
    if not problems and len(set(labels)) < len(labels):
        problems.append(f"labels={shortened(labels)} names a class twice")
    return problems


def _time_problems(start: float | None, end: float | None) -> list[str]:
    problems = []
    for name, seconds in (("start_seconds", start), ("end_seconds", end)):
        if seconds is None:
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            problems.append(f"{name}={shortened(seconds)} is not a number")
        elif not math.isfinite(seconds):
            problems.append(f"{name}={seconds} is not finite")
        elif seconds < 0:
            problems.append(f"{name}={seconds} is below 0")
    if not problems and end is not None and end <= (start or 0):
        problems.append(f"end_seconds={end} is not after start_seconds={start or 0}")
    return problems


def _table_problems(
    rows: Sequence[Row], classes: Sequence[str], place: Callable[[int], str]
) -> list[tuple[str, str]]:
    """What is wrong between rows: the same span twice, labels that are no class."""
    problems = []
    if len(set(classes)) < len(classes):
        problems.append(("classes", "a class is listed twice"))
    known = set(classes)
    nearest: dict[str, list[str]] = {}  # looked for once: a class may be misspelt in every row
    seen: dict[tuple[str, float, float | None], int] = {}
    for number, row in enumerate(rows):
        first = seen.setdefault((row.video, row.start_seconds or 0.0, row.end_seconds), number)
        if first != number:
            what = f"the same video and span as {place(first)}"
            if rows[first].labels != row.labels:
                what += ", with other labels; put all labels of a span into one row"
            problems.append((place(number), f"{shortened(row.video)}: {what}"))
        for label in row.labels:
            if label not in known:
                if label not in nearest:
                    # Of a table that is wrong throughout, twenty problems are shown.
                    few = len(nearest) <= PROBLEMS_SHOWN
                    nearest[label] = difflib.get_close_matches(label, classes, 1) if few else []
                close = nearest[label]
                hint = f". Did you mean {close[0]!r}?" if close else ""
                problems.append(
                    (
                        place(number),
                        f"label={shortened(label)} is not one of the {len(classes)} classes{hint}",
                    )
                )
    return problems


def _relative(video: Any, root: Path) -> Any:
    """An absolute path inside the root without the root; anything else as it is, for `Row`."""
    if not isinstance(video, str) or not video or "\0" in video:
        return video
    if os.path.isabs(video) and not _LEADS_OUT.search(video):
        try:
            return Path(video).relative_to(os.path.abspath(root)).as_posix()
        except ValueError:
            return video
    if "./" in video or "//" in video:
        return PurePosixPath(video).as_posix()  # ./a//b.mp4 and a/b.mp4 are one video
    return video


def _prefix(root: Path, path: Path) -> str:
    """The way from the folder of `path` down to the root."""
    folder, root = Path(os.path.abspath(path.parent)), Path(os.path.abspath(root))
    if not root.is_relative_to(folder):
        raise ValueError(
            f"The folder {folder} does not contain the videos' folder {root}. Write the manifest "
            f"there, or pass keep_root=True and read it with root={str(root)!r}."
        )
    return root.relative_to(folder).as_posix()


def _join(prefix: str, video: str) -> str:
    return video if prefix in ("", ".") else f"{prefix}/{video}"


def _line(problem: tuple[str, str]) -> int:
    number = problem[0].rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def _sorted_labels(rows: Iterable[Row]) -> list[str]:
    return sorted({label for row in rows for label in row.labels})


def _seconds(rows: list[Row]) -> float | None:
    total = 0.0
    for row in rows:
        if row.end_seconds is None:
            return None
        total += row.end_seconds - (row.start_seconds or 0)
    return total


def _names(names: Collection[str]) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"Pass a list of names, got the string {names!r}.")
    return list(names)


def _require_known(kind: str, names: list[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = (
                f"Did you mean {close[0]!r}?" if close else f"There are {shortened(list(known))}."
            )
            raise ValueError(f"There is no {kind} {name!r}. {hint}")
