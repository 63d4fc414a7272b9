"""What a model said of many videos, as a table that other tables can be laid beside.

Read are the `predictions.parquet` of an evaluation, a CSV with a column of scores for each class
(`video,label,brush_hair,...`; `label` may be missing), the CSV of `praxino predict`
(`video,label,score`, a line for each video and class), and score files that authors have published
(`praxino.published_scores`).
"""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from praxino.atomic import atomic_write, write_text
from praxino.shortened import printable, shortened

LARGEST = 2_000_000_000  # bytes
_LONG = ["video", "label", "score"]  # the header of `praxino predict --csv`


@dataclass(frozen=True)
class ScoreTable:
    """Scores of videos, a row each.

    Args:
        name: of the file, for messages.
        videos: N names, each once.
        classes: K names; None: the file has none, only their order.
        scores: `(N, K)`; all zero for a video that could not be read.
        labels: `(N,)` class indices; None: nobody knows.

    Raises:
        ValueError: shapes that do not agree, a video that is there twice, a score that is none.
    """

    name: str
    videos: tuple[str, ...]
    classes: tuple[str, ...] | None
    scores: NDArray[np.float64]
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if not self.videos:
            raise ValueError(f"{self.name} has no rows.")
        if self.scores.ndim != 2 or self.scores.shape[0] != len(self.videos):
            raise ValueError(
                f"{self.name} has {len(self.videos)} videos and scores of shape "
                f"{self.scores.shape}."
            )
        if self.classes is not None and len(self.classes) != self.scores.shape[1]:
            raise ValueError(
                f"{self.name} names {len(self.classes)} classes and has {self.scores.shape[1]} "
                "scores for each video."
            )
        if len(set(self.videos)) < len(self.videos):
            twice = next(video for video in self.videos if self.videos.count(video) > 1)
            raise ValueError(f"{self.name} has {printable(twice)} twice.")
        bad = np.flatnonzero(~np.isfinite(self.scores).all(axis=1))
        if bad.size:
            raise ValueError(
                f"{self.name}: a score of {printable(self.videos[bad[0]])} is NaN or infinite."
            )

    @property
    def read(self) -> NDArray[np.bool_]:
        """`(N,)`: whether the video could be read, so that there are scores."""
        return np.asarray(self.scores.any(axis=1))

    def accuracy(self) -> float | None:
        """The share of videos whose best class is right; None: nobody knows the labels."""
        if self.labels is None:
            return None
        return float(np.mean((self.scores.argmax(axis=1) == self.labels) & self.read))

    def table(self) -> pa.Table:
        """As `predictions.parquet` of an evaluation: a row for each video."""
        classes = self.classes or tuple(map(str, range(self.scores.shape[1])))
        best, read = self.scores.argmax(axis=1), self.read
        labels = [None] * len(self.videos) if self.labels is None else self.labels.tolist()
        return pa.table(
            {
                "video": list(self.videos),
                "label": pa.array(
                    [None if k is None else classes[k] for k in labels], type=pa.string()
                ),
                "prediction": [
                    classes[k] if ok else None for k, ok in zip(best, read, strict=True)
                ],
                "correct": pa.array(
                    [
                        None if label is None else bool(ok and k == label)
                        for k, label, ok in zip(best, labels, read, strict=True)
                    ],
                    type=pa.bool_(),
                ),
                "score": self.scores.max(axis=1),
                "scores": list(self.scores),
            }
        ).replace_schema_metadata({"praxino.classes": json.dumps(classes)})

    def save(self, path: str | Path) -> Path:
        """Write `.parquet`, as an evaluation does, or `.csv` with a column for each class.

        Raises:
            ValueError: another suffix.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".parquet":
                with atomic_write(path) as temporary:
                    pq.write_table(self.table(), temporary)
            case ".csv":
                write_text(path, self._csv())
            case _:
                raise ValueError(f"{path.name}: a table of scores ends in .parquet or .csv.")
        return path

    def _csv(self) -> str:
        classes = self.classes or tuple(map(str, range(self.scores.shape[1])))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        label = [] if self.labels is None else ["label"]
        writer.writerow(["video", *label, *classes])
        for row, (video, scores) in enumerate(zip(self.videos, self.scores, strict=True)):
            own = [] if self.labels is None else [classes[self.labels[row]]]
            writer.writerow([video, *own, *(f"{score:.9g}" for score in scores)])
        return text.getvalue()


def read_scores(path: str | Path) -> ScoreTable:
    """Read a table of scores.

    Args:
        path: `.parquet` or `.csv`; or a published score file, `.h5` or `.mat`.

    Raises:
        ValueError: no such file, or no table of scores.
        EnvironmentFault: a published file needs a library that is not installed.
    """
    path = Path(path)
    if not path.is_file():
        hint = ""
        if path.is_dir() and (path / "predictions.parquet").is_file():
            hint = f" Its table is {path / 'predictions.parquet'}."
        raise ValueError(f"There is no table of scores {printable(path)}.{hint}")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{printable(path.name)} is larger than {LARGEST:,} bytes.")
    match path.suffix.lower():
        case ".parquet":
            return _read_parquet(path)
        case ".csv":
            return _read_csv(path)
        case ".h5" | ".mat":
            from praxino.published_scores import read_published  # brings their libraries

            return read_published(path)
    raise ValueError(
        f"{printable(path.name)}: a table of scores ends in .parquet, .csv, .h5, .mat."
    )


def _read_parquet(path: Path) -> ScoreTable:
    name = printable(path.name)
    try:
        file = pq.ParquetFile(path)
        missing = {"video", "scores"} - set(file.schema_arrow.names)
        if missing:
            raise ValueError(
                f"{name} lacks the column {sorted(missing)[0]!r}: it is no predictions.parquet of "
                "praxino evaluate."
            )
        wanted = [c for c in ("video", "label", "scores") if c in file.schema_arrow.names]
        table = file.read(columns=wanted)
        stored = (file.schema_arrow.metadata or {}).get(b"praxino.classes")
        classes = None if stored is None else tuple(json.loads(stored))
        columns = table.to_pydict()
        scores = np.array(columns["scores"], dtype=np.float64)
    except (pa.ArrowException, OSError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read: {shortened(str(error))}") from None
    except ValueError as error:
        if "inhomogeneous" in str(error):
            raise ValueError(f"{name} has rows with different numbers of scores.") from None
        raise
    if not all(isinstance(video, str) for video in columns["video"]):
        raise ValueError(f"{name}: a video has no name.")
    labels = columns.get("label")
    return ScoreTable(
        name, tuple(columns["video"]), classes, scores, _label_numbers(name, labels, classes)
    )


def _read_csv(path: Path) -> ScoreTable:
    name = printable(path.name)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name} is no CSV in UTF-8: {shortened(str(error))}") from None
    for number, cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"{name}:{number}: {len(cells)} cells below {len(header)} headings.")
    if header == _LONG:
        return _from_long(name, rows)
    if header[:1] != ["video"] or len(header) < 3:
        raise ValueError(
            f"{name}: the headings are video, label (or not) and a class for each column of "
            f"scores; or {', '.join(_LONG)}."
        )
    start = 2 if header[1] == "label" else 1
    classes = tuple(header[start:])
    scores = np.array([[_number(name, *row, k) for k in range(start, len(header))] for row in rows])
    labels = [cells[1] for _, cells in rows] if start == 2 else None
    videos = tuple(cells[0] for _, cells in rows)
    return ScoreTable(name, videos, classes, scores, _label_numbers(name, labels, classes))


def _from_long(name: str, rows: Sequence[tuple[int, list[str]]]) -> ScoreTable:
    """A line for each video and class, as `praxino predict --csv` writes them."""
    found: dict[str, dict[str, float]] = {}
    for number, cells in rows:
        scores = found.setdefault(cells[0], {})
        if cells[1] in scores:
            raise ValueError(f"{name}:{number}: {printable(cells[1])} is there twice.")
        scores[cells[1]] = _number(name, number, cells, 2)
    classes = tuple(sorted(next(iter(found.values()), {})))
    for video, scores in found.items():
        if tuple(sorted(scores)) != classes:
            raise ValueError(f"{name}: {printable(video)} has other classes than the first video.")
    values = np.array([[scores[label] for label in classes] for scores in found.values()])
    return ScoreTable(name, tuple(found), classes, values)


def _number(name: str, line: int, cells: list[str], column: int) -> float:
    try:
        return float(cells[column])
    except ValueError:
        raise ValueError(f"{name}:{line}: {shortened(cells[column])} is no score.") from None


def _label_numbers(
    name: str, labels: Sequence[str | None] | None, classes: Sequence[str] | None
) -> NDArray[np.int64] | None:
    if labels is None or classes is None or all(label is None for label in labels):
        return None
    place = {label: number for number, label in enumerate(classes)}
    strange = [label for label in labels if label not in place]
    if strange:
        raise ValueError(f"{name}: the label {shortened(str(strange[0]))} is none of its classes.")
    return np.array([place[label] for label in labels if label is not None], dtype=np.int64)


# --- side by side --------------------------------------------------------------------------------


def aligned(tables: Sequence[ScoreTable]) -> tuple[list[ScoreTable], str]:
    """The tables with the same videos and classes in the same rows and columns.

    Rows are laid together by the videos' names, as they are or, where these differ, without folder
    and suffix; columns by the classes' names. What a table without names calls its classes is
    found out by the labels of its videos.

    Returns:
        The tables, all in the order of the first, and how videos were matched, in words.

    Raises:
        ValueError: tables of different videos or classes, or that contradict each other.
    """
    first, how = tables[0], "by name"
    found = []
    for table in tables:
        rows = _rows_of(table, first, str)
        if rows is None:
            rows, how = _rows_of(table, first, _stem), "by name, without folder and suffix"
        if rows is None:
            raise ValueError(_different_videos(table, first))
        labels = None if table.labels is None else table.labels[rows]
        found.append(
            dataclasses.replace(
                table, videos=first.videos, scores=table.scores[rows], labels=labels
            )
        )
    named = next((table for table in found if table.classes is not None), found[0])
    found = [_columns_like(table, named) for table in found]
    labels = next((table.labels for table in found if table.labels is not None), None)
    for table in found:
        if table.labels is None or labels is None:
            continue
        differ = np.flatnonzero(table.labels != labels)
        if differ.size:
            raise ValueError(
                f"{table.name} gives {printable(first.videos[differ[0]])} another label than the "
                f"tables before it, and {differ.size - 1} more videos. They are not of one list."
            )
    return [dataclasses.replace(table, labels=labels) for table in found], how


def _stem(video: str) -> str:
    return PurePosixPath(video.replace("\\", "/")).stem


def _rows_of(
    table: ScoreTable, first: ScoreTable, key: Callable[[str], str]
) -> NDArray[np.int64] | None:
    """Where the first table's videos are in this one; None: such keys do not tell."""
    place = {key(video): row for row, video in enumerate(table.videos)}
    wanted = [key(video) for video in first.videos]
    if (
        len(place) < len(table.videos)
        or set(wanted) != set(place)
        or len(set(wanted)) < len(wanted)
    ):
        return None
    return np.array([place[video] for video in wanted])


def _different_videos(table: ScoreTable, first: ScoreTable) -> str:
    parts = []
    for here, there in ((table, first), (first, table)):
        known = {_stem(video) for video in here.videos} | set(here.videos)
        lacking = [v for v in there.videos if v not in known and _stem(v) not in known]
        if lacking:
            others = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            parts.append(f"{here.name} lacks {printable(lacking[0])}{others}, of {there.name}")
    return (
        f"The tables are of different videos: {'; '.join(parts) or 'names are not unique'}. "
        "Evaluate both on the same list."
    )


def _columns_like(table: ScoreTable, named: ScoreTable) -> ScoreTable:
    """The classes in the other's order."""
    if table.scores.shape[1] != named.scores.shape[1]:
        raise ValueError(
            f"{table.name} has {table.scores.shape[1]} classes, {named.name} has "
            f"{named.scores.shape[1]}. Only models of the same classes can be fused."
        )
    if named.classes is None or table.classes == named.classes:
        return table
    order = _by_labels(table, named) if table.classes is None else _by_names(table, named)
    labels = None if table.labels is None else np.argsort(order)[table.labels]
    return dataclasses.replace(
        table, classes=named.classes, scores=table.scores[:, order], labels=labels
    )


def _by_names(table: ScoreTable, named: ScoreTable) -> NDArray[np.int64]:
    """Which of a table's columns are the other's."""
    assert table.classes is not None
    assert named.classes is not None
    strange = sorted(set(table.classes) - set(named.classes))
    if strange:
        raise ValueError(
            f"{table.name} has a class {shortened(strange[0])} that {named.name} has not. Only "
            "models of the same classes can be fused."
        )
    return np.array([table.classes.index(label) for label in named.classes])


def _by_labels(table: ScoreTable, named: ScoreTable) -> NDArray[np.int64]:
    """The same for a table without names: who sorts them otherwise has other numbers for them."""
    if table.labels is None or named.labels is None:
        raise ValueError(
            f"{table.name} names no classes, and without labels nothing tells which of its columns "
            f"are those of {named.name}."
        )
    pairs = np.unique(np.stack([named.labels, table.labels]), axis=1)  # (2, K) if they agree
    order, known = pairs[1], table.scores.shape[1]
    if pairs[0].tolist() != list(range(known)) or len(set(order.tolist())) < known:
        raise ValueError(
            f"{table.name} names no classes, and its labels do not tell which of its columns are "
            f"those of {named.name}: they are not the same, or not all of them occur."
        )
    return np.asarray(order, dtype=np.int64)
