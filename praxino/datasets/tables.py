"""Manifests on disk: the cells of a CSV or Parquet file, with the line each row came from.

What the cells mean is checked by `praxino.datasets.manifest`; here only the form of the file is.
"""

import csv
import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from praxino.atomic import atomic_write
from praxino.shortened import printable, shortened

Record = tuple[int, dict[str, Any] | ValueError]

# The largest data sets have five million rows; a file of a few bytes can promise a billion.
MOST_ROWS = 10_000_000
LARGEST_TABLE = 2_000_000_000  # bytes, unpacked
LONGEST_LINE = 1_000_000  # characters; a longer one is not a table, and must not fill the memory

PROBLEMS_SHOWN = 20
COLUMNS = ("video", "labels", "start_seconds", "end_seconds", "group", "split")
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


def read_table(path: Path) -> tuple[Iterator[Record], list[str] | None]:
    """Read a `.csv` or `.parquet` manifest as records, and its class list if it stores one.

    A record is the line (in Parquet the row, from 1) and either the cells by the names of
    `COLUMNS`, or the ValueError that the line's form deserves. A column the file lacks is absent.

    Raises:
        ValueError: what is wrong with the file as a whole; for a CSV some of it only when the
            records are asked for.
    """
    if not path.is_file():
        raise ValueError(f"There is no manifest {printable(path)}.")
    match path.suffix:
        case ".parquet":
            return _read_parquet(path)
        case ".csv":
            return _read_csv(path), None
    raise ValueError(f"{printable(path.name)}: a manifest ends in .parquet or .csv.")


def write_table(path: Path, rows: Sequence[dict[str, Any]], classes: Sequence[str]) -> None:
    """Write rows, dicts with the keys `COLUMNS`, to a `.csv` or `.parquet` file; all or nothing.

    Raises:
        ValueError: another suffix, or a class name that a CSV cannot hold.
    """
    match path.suffix:
        case ".parquet":
            _write_parquet(path, rows, classes)
        case ".csv":
            _write_csv(path, rows, classes)
        case _:
            raise ValueError(f"{printable(path.name)}: a manifest ends in .parquet or .csv.")


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


def _read_csv(path: Path) -> Iterator[Record]:
    """Line numbers and cells ready for `Row`, or what is wrong with the line."""
    name = printable(path.name)
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError(f"{name}: the file is UTF-16. Save it as UTF-8.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_bounded_lines(file, name), strict=True)
        number = 1
        try:
            header = [cell.strip() for cell in next(reader, [])]
            columns = _known_columns(name, header)
            while True:
                number = reader.line_num + 1  # where a record starts, even if it spans lines
                cells = next(reader, None)
                if cells is None:
                    return
                if cells:  # a blank line is not a row
                    yield number, _csv_cells(cells, header, columns)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}: byte {error.object[error.start]:#04x} near line {number} is not "
                "UTF-8. Save the file as UTF-8."
            ) from None
        except csv.Error as error:
            raise ValueError(f"{name}:{number}: not readable as CSV: {error}.") from None


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
                    return ValueError(f"{name}={shortened(cell)} is not a number")
            case column:
                found[column] = cell if column == "video" else cell.strip()
    return found


def _bounded_lines(file: TextIO, name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise ValueError(f"{name}:{number}: a line of over {LONGEST_LINE} characters.")
        yield line


def _read_parquet(path: Path) -> tuple[Iterator[Record], list[str] | None]:
    """Row numbers (the first is 1) and cells, and the classes if praxino wrote the file."""
    name = printable(path.name)
    try:
        metadata = pq.read_metadata(path)
        if metadata.num_rows > MOST_ROWS:
            raise ValueError(
                f"{name}: {metadata.num_rows:,} rows, the limit is {MOST_ROWS:,}. Divide the "
                "manifest."
            )
        leaves = [metadata.schema.column(number) for number in range(metadata.num_columns)]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        # Not pq.read_table: it would add columns that the folders' names spell, as in split=val/.
        # As dictionaries, because a file of a few bytes can repeat a long text a million times.
        with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
            table = file.read()
        table.validate(full=True)  # text must be UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = printable(str(error).partition("\n")[0][:300])
        raise ValueError(f"{name}: not readable as Parquet: {reason}") from None
    length = sum(_text_bytes(column) for column in table.columns)
    if length > LARGEST_TABLE:
        raise ValueError(
            f"{name}: its cells hold {length:,} bytes, the limit is {LARGEST_TABLE:,}: it is no "
            "manifest."
        )
    columns = _known_columns(name, table.column_names)
    classes = _stored_classes(name, (table.schema.metadata or {}).get(b"praxino.classes"))
    known = table.select(list(columns)).rename_columns(list(columns.values()))

    def records() -> Iterator[Record]:
        number = 0
        for batch in known.to_batches(max_chunksize=65_536):
            for cells in batch.to_pylist():
                number += 1
                labels = cells["labels"]
                cells["labels"] = tuple(labels) if isinstance(labels, list) else (labels,)
                if labels is None:
                    cells["labels"] = ()
                for name in ("group", "split"):
                    if name in cells and cells[name] is None:
                        cells[name] = ""
                yield number, cells

    return records(), classes


def _text_bytes(column: pa.ChunkedArray) -> int:
    """How long the texts of a column are together, repeated ones counted each time."""
    total = 0
    for chunk in column.chunks:
        while pa.types.is_list(chunk.type):
            chunk = chunk.flatten()
        if pa.types.is_dictionary(chunk.type):
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
            total += pc.sum(lengths.cast(pa.int64())).as_py() or 0
    return total


def _stored_classes(name: str, text: bytes | None) -> list[str] | None:
    if text is None:
        return None
    try:
        classes = json.loads(text)
    except ValueError:
        classes = None
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise ValueError(f"{name}: the class list in the file is damaged: {shortened(text)}.")
    return classes


def _known_columns(name: str, header: Sequence[str]) -> dict[str, str]:
    """Column in the file -> field of `Row`; says what is missing, doubled or misspelt."""
    if not any(header):
        raise ValueError(f"{name}: the file is empty; a manifest starts with the line video,label.")
    columns = {
        column: "labels" if column == "label" else column
        for column in header
        if column in (*COLUMNS, "label")
    }
    doubled = [field for field in COLUMNS if sum(columns.get(c) == field for c in header) > 1]
    if doubled:
        raise ValueError(f"{name}: the header names the column {doubled[0]!r} twice.")
    absent = [field for field in COLUMNS if field not in columns.values()]
    hints = []
    for column in header:
        if column in columns:
            continue
        close = difflib.get_close_matches(column.lower(), [*absent, *_OTHER_NAMES], 1, 0.75)
        meant = _OTHER_NAMES.get(close[0], close[0]) if close else None
        if meant in absent:
            hints.append(f"column {shortened(column)}: did you mean {meant!r}?")
    required = [field for field in ("video", "labels") if field in absent]
    if required:
        message = f"{name}: no column {' and no column '.join(map(repr, required))} in the header "
        message += shortened(",".join(header)) + "."
        if not columns and not hints:
            message += " A manifest is comma-separated and starts with the line video,label."
        raise ValueError(" ".join([message, *hints]))
    if hints:
        raise ValueError(f"{name}: {' '.join(hints)}")
    return columns


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]], classes: Sequence[str]) -> None:
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    metadata = {"praxino.classes": json.dumps(classes, ensure_ascii=False)}
    table = pa.table(columns, schema=_SCHEMA.with_metadata(metadata))
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def _write_csv(path: Path, rows: Sequence[dict[str, Any]], classes: Sequence[str]) -> None:
    unfit = [label for label in classes if ";" in label]
    if unfit:
        raise ValueError(
            f"The class {unfit[0]!r} contains ';', which separates labels in a CSV. Write the "
            "manifest as .parquet."
        )
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        plain = csv.writer(file, lineterminator="\n")
        # Python before 3.13 leaves a carriage return unquoted, and then reads it as a line end.
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(COLUMNS)
        for row in rows:
            cells = [_csv_cell(row[name]) for name in COLUMNS]
            (quoted if "\r" in "".join(cells) else plain).writerow(cells)


def _csv_cell(value: str | float | tuple[str, ...] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ";".join(value)
    return value if isinstance(value, str) else repr(float(value))
