"""Manifests and file names made to harm: every problem with its line, names as mere data."""

import json
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from praxino.datasets.folder import read_folder
from praxino.datasets.manifest import Manifest, Row
from praxino.ledger import Ledger
from praxino.report import write_report
from praxino.results import Evaluation

HEAD = b"video,label,start_seconds,end_seconds\n"
CSVS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty; a manifest starts with"),
    "header alone": (HEAD, "has a header but no rows"),
    "leads out": (HEAD + b"../../etc/passwd,kick,,", r"list\.csv:2: .*leads out of the root by"),
    "leads out inside": (HEAD + b"a/../../b.mp4,kick,,", r"list\.csv:2: .*leads out of the root"),
    "leads out, backslashes": (HEAD + rb"a\..\..\b.mp4,kick,,", "leads out of the root by"),
    "absolute": (HEAD + b"/etc/passwd,kick,,", r"list\.csv:2: .*absolute and not inside the root"),
    "absolute, Windows": (HEAD + rb"C:\b.mp4,kick,,", "absolute and not inside the root"),
    "a share": (HEAD + rb"\\server\b.mp4,kick,,", "absolute and not inside the root"),
    "NUL": (HEAD + b"a\0.mp4,kick,,", "list.csv:2: .*NUL"),
    "UTF-16": (HEAD.decode().encode("utf-16"), "the file is UTF-16. Save it as UTF-8"),
    "Latin-1": (HEAD + b"\xfc.mp4,kick,,", "byte 0xfc near line .* is not UTF-8"),
    "an open quote": (HEAD + b'"a.mp4,kick,,\n', r"list\.csv:2: not readable as CSV"),
    "text after a quote": (HEAD + b'"a"b.mp4,kick,,\n', r"list\.csv:2: not readable as CSV"),
    "100 MB in a line": (HEAD + b"x" * 100_000_000, r"list\.csv:2: a line of over 1000000 charac"),
    "an endless header": (b"x" * 2_000_000, r"list\.csv:1: a line of over 1000000 characters"),
    "a long quoted cell": (HEAD + b'"' + b"x\n" * 500_000, r"list\.csv:2: not readable as CSV"),
    "NaN": (HEAD + b"a.mp4,kick,nan,", r"list\.csv:2: start_seconds=nan is not finite"),
    "infinity": (HEAD + b"a.mp4,kick,0,1e400", r"list\.csv:2: end_seconds=inf is not finite"),
    "below zero": (HEAD + b"a.mp4,kick,-1,", r"list\.csv:2: start_seconds=-1\.0 is below 0"),
    "backwards": (HEAD + b"a.mp4,kick,5,4", r"end_seconds=4\.0 is not after start_seconds=5\.0"),
    "text for time": (HEAD + b"a.mp4,kick,soon,", "start_seconds='soon' is not a number"),
    "5000 digits": (HEAD + b"a.mp4,kick," + b"9" * 5000 + b",", "start_seconds=inf is not finite"),
    "too many cells": (HEAD + b"a.mp4,kick,,,,", "6 cells, but the header names 4 columns"),
    "column twice": (b"video,video,label\na,b,c", "names the column 'video' twice"),
    "column misspelt": (b"video,label,strt_seconds\na,b,1", "did you mean 'start_seconds'"),
    "no labels": (b"video,cls\na,b", "no column 'labels' in the header"),
    "a row twice": (HEAD + b"a.mp4,kick,,\na.mp4,kick,,", "the same video and span as list.csv:2"),
    "unknown split": (b"video,label,split\na.mp4,kick,trian", "split='trian' is not one of train"),
    "JSON": (b'[{"video": "a.mp4"}]', r"no column 'video'"),
    "escapes": (HEAD + b"\x1b[31m,kick,9,1", r"list\.csv:2: "),
}


@pytest.mark.parametrize("name", CSVS)
def test_hostile_csv(tmp_path: Path, name: str) -> None:
    content, message = CSVS[name]
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        Manifest.read(path)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50_000  # kilobytes
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_all_problems_are_counted_and_twenty_shown(tmp_path: Path) -> None:
    lines = [f"../{number}.mp4,kick,," for number in range(1000)]
    (tmp_path / "list.csv").write_bytes(HEAD + "\n".join(lines).encode())
    with pytest.raises(ValueError, match=r"^list\.csv: 1000 problems\n") as caught:
        Manifest.read(tmp_path / "list.csv")
    said = str(caught.value).splitlines()
    assert len(said) == 22
    assert said[1].startswith("list.csv:2: ")
    assert said[-1] == "... and 980 more"


def test_ten_thousand_misspelt_classes_are_named_at_once(tmp_path: Path) -> None:
    rows = "".join(f"{number}.mp4,clas {number},,\n" for number in range(10_000))
    (tmp_path / "list.csv").write_bytes(HEAD + rows.encode())
    started = time.process_time()
    with pytest.raises(ValueError, match=r"10000 problems\nlist\.csv:2: label='clas 0' is not one"):
        Manifest.read(tmp_path / "list.csv", classes=[f"class {n}" for n in range(1000)])
    assert time.process_time() - started < 5


# --- Parquet -------------------------------------------------------------------------------------


def test_a_small_parquet_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 10**6]))
    table = pa.table({"video": long, "label": pa.array(["kick"] * 3000)})
    pq.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 2000
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"list\.parquet: its cells hold 3,000,012,000 bytes, the"):
        Manifest.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50_000  # kilobytes


def test_a_parquet_file_of_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxino.datasets.tables.MOST_ROWS", 2)
    rows = [Row(f"{number}.mp4", ("kick",)) for number in range(3)]
    Manifest.from_rows(rows, tmp_path).write(tmp_path / "list.parquet")
    with pytest.raises(ValueError, match=r"list\.parquet: 3 rows, the limit is 2\. Divide the"):
        Manifest.read(tmp_path / "list.parquet")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"video": [1], "label": ["kick"]}, r"list\.parquet:1: video=1 is not a path"),
        ({"video": [None], "label": ["kick"]}, "video=None is not a path"),
        ({"video": [["a.mp4"]], "label": ["kick"]}, r"video=\['a\.mp4'\] is not a path"),
        ({"video": [{"a": "b"}], "label": ["kick"]}, r"video=\{'a': 'b'\} is not a path"),
        ({"video": ["../a.mp4"], "label": ["kick"]}, "leads out of the root by"),
        ({"video": ["/etc/passwd"], "label": ["kick"]}, "absolute and not inside the root"),
        ({"video": ["a.mp4"], "label": [3]}, "label=3 is not a class name"),
        ({"video": ["a.mp4"], "label": [[["kick"]]]}, r"label=\['kick'\] is not a class name"),
        (
            {"video": ["a.mp4"], "label": ["k"], "start_seconds": [float("nan")]},
            "nan is not finite",
        ),
        (
            {"video": ["a.mp4"], "label": ["k"], "start_seconds": ["1"]},
            "start_seconds='1' is not a",
        ),
        ({"video": ["a.mp4"], "label": ["k"], "start_seconds": [True]}, "=True is not a number"),
        ({"video": ["a.mp4"], "label": ["k"], "group": [3]}, "group=3 is not a name"),
        ({"video": ["a.mp4"], "label": ["k"], "split": [b"val"]}, "split=b'val' is not one of"),
    ],
)
def test_parquet_of_the_wrong_types(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    with pytest.raises(ValueError, match=message) as caught:
        Manifest.read(tmp_path / "list.parquet")
    assert "\n" not in str(caught.value)


# --- names as data -------------------------------------------------------------------------------

NAMES = [
    "a';touch pwned;'.mp4",
    "$(touch pwned).mp4",
    "`touch pwned`.mp4",
    "-rf.mp4",
    "--help.mp4",
    "%s%n%d.mp4",
    "%03d.mp4",
    "new\nline.mp4",
    "re\rturn.mp4",
    "tab\t.mp4",
    'quote".mp4',
    "comma,semi;colon.mp4",
    "\u202egnp.4pm.mp4",
    "<script>alert(1)</script>.mp4".replace("/", "\u2215"),
    "<img src=x onerror=alert(1)>.mp4",
    "\x1b[31mred.mp4",
    "con.mp4",
    " space .mp4",
    "{0}.mp4",
    "\\.mp4",
    "日本語.mp4",
    "x" * 251 + ".mp4",
]


def test_names_of_files_are_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, root = tmp_path / "work", tmp_path / "videos"
    work.mkdir()
    monkeypatch.chdir(work)
    for label in ("kick", "<b>wave</b>".replace("/", "\u2215")):
        (root / label).mkdir(parents=True)
        for name in NAMES:
            (root / label / name).write_bytes(b"no video")
    manifest = read_folder(root)
    assert len(manifest) == 2 * len(NAMES)
    for suffix in (".csv", ".parquet"):
        manifest.write(root / f"list{suffix}")
        again = Manifest.read(root / f"list{suffix}")
        assert again.rows == manifest.rows
        assert again.missing() == []
    ledger = Ledger()
    for row in manifest:
        ledger.failed(row.video, ValueError(row.video))
    ledger.write(work / "items.jsonl")
    lines = (work / "items.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["item"] for line in lines] == [row.video for row in manifest]

    count, size = len(manifest), len(manifest.classes)
    protocol = dict.fromkeys(("resize_short", "size", "fit", "split", "clips", "sampling"), 1)
    protocol |= dict.fromkeys(("decoder", "manifest_hash", "weights_hash", "model"), "<i>x")
    write_report(
        work,
        Evaluation(
            manifest=manifest,
            classes=manifest.classes,
            videos=tuple(row.video for row in manifest),
            labels=np.zeros(count, dtype=np.int64),
            scores=np.tile([0.1, 0.9], (count, 1)),
            clip_hit_at_1=0.0,
            hit_at_1=0.0,
            hit_at_5=0.0,
            mean_class_accuracy=0.0,
            per_class_accuracy=np.zeros(size),
            confusion=np.zeros((size, size), dtype=np.int64),
            protocol=protocol | {"crops": 1, "videos": count},
            ledger=ledger,
        ),
    )
    page = (work / "report.html").read_text(encoding="utf-8")
    for tag in ("<script", "<img src=x", "<b>wave", "<i>x"):
        assert tag not in page
    assert "&lt;b&gt;wave" in page
    assert sorted(path.name for path in work.iterdir()) == ["items.jsonl", "report.html"]


def test_a_name_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    for label in ("kick", "wave"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.mp4").touch()
    name = b"\xff\xfe.mp4".decode("utf-8", "surrogateescape")
    (tmp_path / "kick" / name).touch()
    with pytest.raises(ValueError, match=r"is not valid Unicode; rename the file") as caught:
        read_folder(tmp_path)
    assert str(caught.value).isprintable()


def test_the_name_of_the_manifest_itself_is_data(tmp_path: Path) -> None:
    path = tmp_path / "li\nst\x1b[31m.csv"
    path.write_bytes(HEAD + b"../a.mp4,kick,,")
    with pytest.raises(ValueError, match=r"^li\\nst\\x1b\[31m\.csv:2: ") as caught:
        Manifest.read(path)
    assert str(caught.value).isprintable()
