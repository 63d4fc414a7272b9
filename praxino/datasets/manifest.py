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

import csv
import difflib
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from praxino.atomic import atomic_write

SPLITS = ("train", "val", "test")
PROBLEMS_SHOWN = 20
LONGEST_LINE = 1_000_000  # characters; a longer one is not a table, and must not fill the memory

_COLUMNS = ("video", "labels", "start_seconds", "end_seconds", "group", "split")
# What people call these columns elsewhere. A hint, not an alias: one name for one thing.
_OTHER_NAMES = {
    **dict.fromkeys(("path", "file", "filename", "video_path", "clip"), "video"),
    **dict.fromkeys(("class", "classes", "action", "category", "target"), "labels"),
    **dict.fromkeys(("start", "time_start", "begin"), "start_seconds"),
    **dict.fromkeys(("end", "time_end", "stop"), "end_seconds"),
    **dict.fromkeys(("subject", "person", "recording"), "group"),
    **dict.fromkeys(("subset", "fold", "set"), "split"),
}
_SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("group", pa.string()),
        ("split", pa.string()),
    ]
)


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
        if not isinstance(self.group, str) or "\0" in self.group:
            problems.append(f"group={_short(self.group)} is not plain text")
        if self.split not in ("", *SPLITS):
            problems.append(f"split={_short(self.split)} is not one of train, val, test or empty")
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
        places = [f"row {number}" for number in range(len(self.rows))]
        raise_problems("manifest", _table_problems(self.rows, self.classes, places))

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
        if not path.is_file():
            raise ValueError(f"There is no manifest {path}.")
        root = path.parent if root is None else Path(root)
        if path.suffix == ".parquet":
            records, stored_classes = _parquet_records(path)
        elif path.suffix == ".csv":
            records, stored_classes = _csv_records(path), None
        else:
            raise ValueError(f"{path.name}: a manifest ends in .parquet or .csv.")

        rows: list[Row] = []
        places: list[str] = []
        problems: list[tuple[str, str]] = []
        for number, cells in records:
            place = f"{path.name}:{number}"
            try:
                if isinstance(cells, ValueError):
                    raise cells
                cells["video"] = _relative(cells["video"], root)
                rows.append(Row(**cells))
                places.append(place)
            except ValueError as error:
                problems.append((place, str(error)))
        if not rows and not problems:
            raise ValueError(f"{path.name}: the table has a header but no rows.")
        if classes is None:
            classes = _sorted_labels(rows) if stored_classes is None else stored_classes
        problems += _table_problems(rows, classes, places)
        raise_problems(path.name, sorted(problems, key=_line))
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
        rows = [replace(row, video=_join(prefix, row.video)) for row in self.rows]
        if path.suffix == ".parquet":
            columns = {name: [getattr(row, name) for row in rows] for name in _COLUMNS}
            metadata = {"praxino.classes": json.dumps(self.classes, ensure_ascii=False)}
            table = pa.table(columns, schema=_SCHEMA.with_metadata(metadata))
            with atomic_write(path) as temporary:
                pq.write_table(table, temporary)
        elif path.suffix == ".csv":
            unfit = [label for label in self.classes if ";" in label]
            if unfit:
                raise ValueError(
                    f"The class {unfit[0]!r} contains ';', which separates labels in a CSV. "
                    "Write the manifest as .parquet."
                )
            with atomic_write(path) as temporary:
                _write_csv(temporary, rows)
        else:
            raise ValueError(f"{path.name}: a manifest ends in .parquet or .csv.")

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
            content = [getattr(row, name) for name in _COLUMNS]
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
        return [video for video in self.videos if not (self.root / video).is_file()]

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


def raise_problems(name: str, problems: Sequence[tuple[str, str]]) -> None:
    """Raise one ValueError that lists every problem of a table, the first 20 in full.

    Args:
        name: the table, for the first line.
        problems: where (for example "list.csv:7") and what; nothing is raised if there are none.
    """
    if not problems:
        return
    lines = [f"{place}: {problem}" for place, problem in problems[:PROBLEMS_SHOWN]]
    if len(problems) == 1:
        raise ValueError(lines[0])
    if len(problems) > PROBLEMS_SHOWN:
        lines.append(f"... and {len(problems) - PROBLEMS_SHOWN} more")
    raise ValueError("\n".join([f"{name}: {len(problems)} problems", *lines]))


def _csv_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    """Line numbers and cells ready for `Row`, or what is wrong with the line."""
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError(f"{path.name}: the file is UTF-16. Save it as UTF-8.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_bounded_lines(file, path.name), strict=True)
        number = 1
        try:
            header = [cell.strip() for cell in next(reader, [])]
            columns = _known_columns(path.name, header)
            while True:
                number = reader.line_num + 1  # where a record starts, even if it spans lines
                cells = next(reader, None)
                if cells is None:
                    return
                if cells:  # a blank line is not a row
                    yield number, _csv_cells(cells, header, columns)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path.name}: byte {error.object[error.start]:#04x} near line {number} is not "
                "UTF-8. Save the file as UTF-8."
            ) from None
        except csv.Error as error:
            raise ValueError(f"{path.name}:{number}: not readable as CSV: {error}.") from None


def _csv_cells(
    cells: list[str], header: list[str], columns: dict[str, str]
) -> dict[str, Any] | ValueError:
    if len(cells) != len(header):
        return ValueError(f"{len(cells)} cells, but the header names {len(header)} columns")
    found: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        match columns.get(name):
            case None:
                pass
            case "labels":
                found["labels"] = tuple(label.strip() for label in cell.split(";") if label.strip())
            case "start_seconds" | "end_seconds" as column:
                try:
                    found[column] = float(cell) if cell.strip() else None
                except ValueError:
                    return ValueError(f"{name}={_short(cell)} is not a number")
            case column:
                found[column] = cell if column == "video" else cell.strip()
    return found


def _bounded_lines(file: Iterable[str], name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST_LINE):  # type: ignore[attr-defined]
        number += 1
        if len(line) == LONGEST_LINE:
            raise ValueError(f"{name}:{number}: a line of over {LONGEST_LINE} characters.")
        yield line


def _parquet_records(
    path: Path,
) -> tuple[Iterator[tuple[int, dict[str, Any] | ValueError]], list[str] | None]:
    """Row numbers (the first is 1) and cells, and the classes if praxino wrote the file."""
    try:
        table = pq.read_table(path, memory_map=False)
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path.name}: not readable as Parquet: {reason}") from None
    columns = _known_columns(path.name, table.column_names)
    stored = (table.schema.metadata or {}).get(b"praxino.classes")
    classes = None if stored is None else json.loads(stored)
    known = table.select(list(columns)).rename_columns(list(columns.values()))

    def records() -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
        number = 0
        for batch in known.to_batches(max_chunksize=65_536):
            for cells in batch.to_pylist():
                number += 1
                labels = cells["labels"]
                cells["labels"] = (labels,) if isinstance(labels, str) else tuple(labels or ())
                for name in ("group", "split"):
                    if name in cells and cells[name] is None:
                        cells[name] = ""
                yield number, cells

    return records(), classes


def _known_columns(name: str, header: Sequence[str]) -> dict[str, str]:
    """Column in the file -> field of `Row`; says what is missing, doubled or misspelt."""
    if not any(header):
        raise ValueError(f"{name}: the file is empty; a manifest starts with the line video,label.")
    columns = {
        column: "labels" if column == "label" else column
        for column in header
        if column in (*_COLUMNS, "label")
    }
    doubled = [field for field in _COLUMNS if sum(columns.get(c) == field for c in header) > 1]
    if doubled:
        raise ValueError(f"{name}: the header names the column {doubled[0]!r} twice.")
    absent = [field for field in _COLUMNS if field not in columns.values()]
    hints = []
    for column in header:
        if column in columns:
            continue
        close = difflib.get_close_matches(column.lower(), [*absent, *_OTHER_NAMES], 1, 0.75)
        meant = _OTHER_NAMES.get(close[0], close[0]) if close else None
        if meant in absent:
            hints.append(f"column {_short(column)}: did you mean {meant!r}?")
    required = [field for field in ("video", "labels") if field in absent]
    if required:
        message = f"{name}: no column {' and no column '.join(map(repr, required))} in the header "
        message += _short(",".join(header)) + "."
        if not columns and not hints:
            message += " A manifest is comma-separated and starts with the line video,label."
        raise ValueError(" ".join([message, *hints]))
    if hints:
        raise ValueError(f"{name}: {' '.join(hints)}")
    return columns


def _write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            times = ["" if s is None else repr(s) for s in (row.start_seconds, row.end_seconds)]
            writer.writerow([row.video, ";".join(row.labels), *times, row.group, row.split])


def _video_problems(video: str) -> list[str]:
    if not isinstance(video, str) or not video.strip() or video == ".":
        return [f"video={_short(video)} is not a path"]
    if "\0" in video:
        return [f"video={_short(video)} contains a NUL character"]
    if ".." in PureWindowsPath(video).parts:  # splits at / and at \
        return [
            f"video={_short(video)} leads out of the root by '..'; write paths relative to the "
            "folder that holds the videos and pass that folder as root"
        ]
    if _is_absolute(video):
        return [
            f"video={_short(video)} is absolute and not inside the root; write relative paths, or "
            "pass a root that contains it"
        ]
    return []


def _label_problems(labels: tuple[str, ...]) -> list[str]:
    if not isinstance(labels, tuple):
        raise TypeError(f"labels must be a tuple of class names, got {labels!r}.")
    problems = []
    for label in labels:
        if not isinstance(label, str) or not label or label != label.strip() or "\0" in label:
            problems.append(f"label={_short(label)} is not a class name")
    if len(set(labels)) < len(labels):
        problems.append(f"labels={_short(labels)} names a class twice")
    return problems


def _time_problems(start: float | None, end: float | None) -> list[str]:
    problems = []
    for name, seconds in (("start_seconds", start), ("end_seconds", end)):
        if seconds is None:
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            problems.append(f"{name}={_short(seconds)} is not a number")
        elif not math.isfinite(seconds):
            problems.append(f"{name}={seconds} is not finite")
        elif seconds < 0:
            problems.append(f"{name}={seconds} is below 0")
    if not problems and end is not None and end <= (start or 0):
        problems.append(f"end_seconds={end} is not after start_seconds={start or 0}")
    return problems


def _table_problems(
    rows: Sequence[Row], classes: Sequence[str], places: Sequence[str]
) -> list[tuple[str, str]]:
    """What is wrong between rows: the same span twice, labels that are no class."""
    problems = []
    if len(set(classes)) < len(classes):
        problems.append(("classes", "a class is listed twice"))
    known = set(classes)
    seen: dict[tuple[str, float | None, float | None], int] = {}
    for number, row in enumerate(rows):
        first = seen.setdefault((row.video, row.start_seconds, row.end_seconds), number)
        if first != number:
            what = f"the same video and span as {places[first]}"
            if rows[first].labels != row.labels:
                what += ", with other labels; put all labels of a span into one row"
            problems.append((places[number], f"{_short(row.video)}: {what}"))
        for label in row.labels:
            if label not in known:
                close = difflib.get_close_matches(label, classes, 1)
                hint = f". Did you mean {close[0]!r}?" if close else ""
                problems.append(
                    (
                        places[number],
                        f"label={_short(label)} is not one of the {len(classes)} classes{hint}",
                    )
                )
    return problems


def _relative(video: Any, root: Path) -> Any:
    """An absolute path inside the root without the root; anything else as it is, for `Row`."""
    if not isinstance(video, str) or not video or "\0" in video:
        return video
    if ".." not in PureWindowsPath(video).parts and os.path.isabs(video):
        try:
            return Path(video).relative_to(os.path.abspath(root)).as_posix()
        except ValueError:
            return video
    return PurePosixPath(video).as_posix()  # ./a//b.mp4 and a/b.mp4 are one video


def _is_absolute(video: str) -> bool:
    return PurePosixPath(video).is_absolute() or bool(PureWindowsPath(video).drive)


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
            hint = f"Did you mean {close[0]!r}?" if close else f"There are {_short(list(known))}."
            raise ValueError(f"There is no {kind} {name!r}. {hint}")


def _short(value: object) -> str:
    text = repr(value)  # repr shows control characters instead of sending them to the terminal
    return text if len(text) <= 120 else text[:117] + "..."
