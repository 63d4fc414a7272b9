"""Inputs that hypothesis makes up and shrinks, for the reader of videos and of manifests.

    python -m fuzz.inputs --minutes 5
    python -m fuzz.inputs --file finds/1f3a.csv      one kept file again

Anything but frames, rows or an error of one short line per problem is a find. Every input is tried
in a child process with limits, so that a crash or a hang is a find like any other.
"""

import argparse
import base64
import csv
import hashlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz.bounded import run
from fuzz.damaged_videos import make_videos
from fuzz.probe import FINDS, judge
from praxino.datasets.manifest import Manifest

VIDEOS = ("h264_index_first.mp4", "h264.mkv", "mpeg4.avi", "h264.ts", "h264.flv", "mpeg2.mpg")
MAX_MESSAGE = 1000  # characters in a line of an error
MAX_PROBLEMS = 25  # lines
EXAMPLES = 60  # of each kind per seed

# A change to bytes: what is done, where (a fraction of the length), with which bytes.
_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("overwrite", "insert", "delete", "truncate", "repeat")),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=64),
    ),
    min_size=1,
    max_size=8,
)


def changed(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """The content after these changes, one after the other."""
    for what, where, patch in changes:
        place, size = int(where * len(content)), len(patch)
        before, after = content[:place], content[place:]
        match what:
            case "overwrite":
                content = before + patch + after[size:]
            case "insert":
                content = before + patch + after
            case "delete":
                content = before + after[size * size :]  # up to 4 kB
            case "truncate":
                content = before
            case "repeat":
                content = before + after[: size * size] + after
    return content


# Cells that have upset parsers of tables before, and whatever hypothesis thinks of.
_ODD_CELLS = (
    *("a.mp4", "b/c.mp4", "../x.mp4", "/etc/passwd", "C:\\x.mp4", "", " ", "train", "kick;hug"),
    *("1.5", "-1", "nan", "inf", "1e400", "0x10", "\ufeff", '"', "\r", "\x00", "=1+1", "٣"),
)
_CELLS = st.one_of(st.sampled_from(_ODD_CELLS), st.text(max_size=30))
_HEADERS = st.one_of(
    st.just(["video", "label"]),
    st.just(["video", "labels", "start_seconds", "end_seconds", "group", "split"]),
    st.lists(
        st.one_of(st.sampled_from(("video", "label", "split", "path", "Label")), st.text()),
        max_size=7,
    ),
)


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """Tables of odd cells, and some with damaged bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=draw(st.sampled_from(("\n", "\r\n"))))
    header = draw(_HEADERS)
    try:
        writer.writerow(header)
        for _ in range(draw(st.integers(0, 5))):
            count = len(header) if draw(st.booleans()) else draw(st.integers(0, 8))
            writer.writerow([draw(_CELLS) for _ in range(count)])
    except csv.Error:  # such a row cannot be written; the table ends before it
        pass
    content = text.getvalue().encode(draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16"))))
    if draw(st.booleans()):
        content = changed(content, draw(_CHANGES))
    return content


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31),
    st.floats(),
    st.binary(max_size=9),
    _CELLS,
    st.lists(_CELLS, max_size=3),
)


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    """Tables with columns of any type under the right names, and some with damaged bytes."""
    rows = draw(st.integers(0, 4))
    names = draw(st.sampled_from((("video", "labels"), ("video", "label", "split"), ("video",))))
    columns = {}
    for name in names:
        values = [draw(_VALUES) for _ in range(rows)]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, TypeError, ValueError, UnicodeError):  # mixed types: the first
            columns[name] = pa.array([str(value).encode("utf-8", "replace") for value in values])
    table = pa.table(columns)
    if draw(st.booleans()):
        table = table.replace_schema_metadata({"praxino.classes": draw(st.text(max_size=20))})
    file = io.BytesIO()
    pq.write_table(table, file)
    content = file.getvalue()
    if draw(st.booleans()):
        content = changed(content, draw(_CHANGES))
    return content


def fault_of_video(content: bytes) -> str:
    """What is wrong with praxino when it reads this; "" if nothing."""
    result = judge(content, frames=0)
    return f"{result.outcome}: {result.detail}" if result.outcome in FINDS else ""


def fault_of_table(content: bytes, suffix: str) -> str:
    """What is wrong with praxino when it reads this; "" if nothing."""

    def read() -> Iterator[str]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"table{suffix}"
            path.write_bytes(content)
            try:
                Manifest.read(path)
                yield ""
            except ValueError as error:
                yield _unfit(str(error), folder)
            except MemoryError:
                raise
            except Exception as error:  # the find that this looks for
                yield f"WRONG: {type(error).__name__}: {error}"

    child = run(read)
    if child.ending != "done":
        return f"{child.ending.upper()}: {child.detail}"
    return child.results[0]


def _unfit(message: str, folder: str) -> str:
    lines = message.splitlines()
    if not lines or len(lines) > MAX_PROBLEMS or max(map(len, lines)) > MAX_MESSAGE:
        return f"WRONG: an error of {len(lines)} lines: {message[:200]!r}"
    return f"WRONG: the error tells {folder}" if folder in message else ""


class Find(Exception):
    """An input that praxino does not take as it should."""


def fault_of(path: Path) -> str:
    """Try a kept file again."""
    content = path.read_bytes()
    if path.suffix in (".csv", ".parquet"):
        return fault_of_table(content, path.suffix)
    return fault_of_video(content)


def fuzz(minutes: float, first_seed: int, keep: Path) -> list[str]:
    """Try inputs until the time is over; returns how each find is tried again."""
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder), VIDEOS)
    tried = dict.fromkeys(("video", "csv", "parquet"), 0)
    smallest: dict[str, bytes] = {}

    def check(kind: str, suffix: str, content: bytes, fault: str) -> None:
        tried[kind] += 1
        if fault:
            smallest[suffix] = content  # hypothesis ends with the smallest one that fails
            raise Find(fault)

    @given(st.sampled_from(VIDEOS), _CHANGES)
    def video(name: str, changes: list[tuple[str, float, bytes]]) -> None:
        content = changed(videos[name], changes)
        check("video", Path(name).suffix, content, fault_of_video(content))

    @given(csv_files())
    def csv_table(content: bytes) -> None:
        check("csv", ".csv", content, fault_of_table(content, ".csv"))

    @given(parquet_files())
    def parquet_table(content: bytes) -> None:
        check("parquet", ".parquet", content, fault_of_table(content, ".parquet"))

    finds: list[str] = []
    end, number = time.monotonic() + 60 * minutes, first_seed
    while time.monotonic() < end:
        for test in (video, csv_table, parquet_table):
            smallest.clear()
            try:
                _once(test, number)
            except Find as find:
                ((suffix, content),) = smallest.items()
                finds.append(_keep(keep, suffix, content, str(find)))
        number += 1
    print(f"tried {tried}, seeds {first_seed} to {number - 1}, {len(finds)} finds")
    return finds


def _once(test: Callable[[], None], number: int) -> None:
    shrinking = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(shrinking(test))()


def _keep(keep: Path, suffix: str, content: bytes, fault: str) -> str:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / (hashlib.sha256(content).hexdigest()[:12] + suffix)
    path.write_bytes(content)
    again = f"python -m fuzz.inputs --file {path}"
    print(f"{fault}\n  {again}")
    if len(content) < 2000:
        print(f"  base64: {base64.b64encode(content).decode()}")
    return again


def main(arguments: list[str] | None = None) -> int:
    """Fuzz from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("finds"), help="where finds are kept")
    parser.add_argument("--file", type=Path, help="try this kept file again")
    options = parser.parse_args(arguments)
    if options.file:
        fault = fault_of(options.file)
        print(fault or "nothing is wrong")
        return int(bool(fault))
    return int(bool(fuzz(options.minutes, options.first_seed, options.keep)))


if __name__ == "__main__":
    sys.exit(main())
