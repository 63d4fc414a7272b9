import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from praxino.datasets.tables import raise_problems, read_table, write_table

ROW = {
    "video": "a.mp4",
    "labels": ("kick", "hug"),
    "start_seconds": 1,
    "end_seconds": None,
    "group": "",
    "split": "val",
}


def test_csv_on_disk(tmp_path: Path) -> None:
    write_table(tmp_path / "list.csv", [ROW, {**ROW, "video": "re\rturn.mp4"}], ["hug", "kick"])
    assert (tmp_path / "list.csv").read_bytes() == (
        b"video,labels,start_seconds,end_seconds,group,split\n"
        b"a.mp4,kick;hug,1.0,,,val\n"
        b'"re\rturn.mp4","kick;hug","1.0","","","val"\n'
    )
    records, classes = read_table(tmp_path / "list.csv")
    assert classes is None
    assert [(line, cells["video"]) for line, cells in records] == [
        (2, "a.mp4"),
        (3, "re\rturn.mp4"),
    ]


def test_parquet_on_disk_can_be_read_by_others(tmp_path: Path) -> None:
    write_table(tmp_path / "list.parquet", [ROW], ["hug", "kick"])
    table = pq.read_table(tmp_path / "list.parquet")
    assert table.to_pylist() == [{**ROW, "labels": ["kick", "hug"], "start_seconds": 1.0}]
    assert table.schema.metadata[b"praxino.classes"] == b'["hug", "kick"]'


def test_folder_names_do_not_become_columns(tmp_path: Path) -> None:
    path = tmp_path / "split=val" / "list.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"video": ["a.mp4"], "label": ["kick"]}), path)
    records, _ = read_table(path)
    assert list(records) == [(1, {"video": "a.mp4", "labels": ("kick",)})]


def test_damaged_parquet_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    write_table(path, [{**ROW, "video": f"{number}.mp4"} for number in range(50)], ["hug", "kick"])
    whole = path.read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"list.parquet: not readable as Parquet: "):
            read_table(path)


def test_flipped_bits_never_change_a_row(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    write_table(path, [{**ROW, "video": f"{number}.mp4"} for number in range(50)], ["hug", "kick"])
    whole, rows = path.read_bytes(), list(read_table(path)[0])
    pages = whole.index(b"praxino.classes")  # the footer after the data has no checksum
    generator = np.random.default_rng(0)
    for _ in range(100):
        flipped = bytearray(whole)
        flipped[generator.integers(pages)] ^= 1 << generator.integers(8)
        path.write_bytes(flipped)
        with contextlib.suppress(ValueError):
            assert list(read_table(path)[0]) == rows


def test_raise_problems() -> None:
    raise_problems("list.csv", [])
    with pytest.raises(ValueError, match=r"^list.csv:7: too short$"):
        raise_problems("list.csv", [("list.csv:7", "too short")])
    with pytest.raises(ValueError, match=r"^list.csv: 2 problems\nlist.csv:7: a\nlist.csv:8: b$"):
        raise_problems("list.csv", [("list.csv:7", "a"), ("list.csv:8", "b")])
