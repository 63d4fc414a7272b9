from collections import Counter
from pathlib import Path

import pytest

from praxino.datasets.kth import CLASSES, PEOPLE, read_kth
from praxino.datasets.manifest import Row
from praxino.datasets.splits import check_leakage


@pytest.fixture
def table(lab_data: Path) -> Path:
    return lab_data / "annotations" / "kth" / "00sequences.txt"


def damaged(table: Path, folder: Path, old: str, new: str) -> Path:
    text = table.read_text()
    assert old in text
    (folder / "00sequences.txt").write_text(text.replace(old, new, 1))
    return folder / "00sequences.txt"


def test_official_counts(table: Path) -> None:
    manifest = read_kth(table, "kth")
    # 2391 sequences; 760 + 768 + 863 is how the authors' split by person divides them.
    assert Counter(row.split for row in manifest) == {"train": 760, "val": 768, "test": 863}
    assert len(manifest.videos) == 599
    assert len(manifest.groups) == 25
    assert manifest.classes == CLASSES
    check_leakage(manifest)


def test_people_are_each_in_one_split() -> None:
    assert sorted(sum(PEOPLE.values(), ())) == list(range(1, 26))


def test_frames_become_half_open_seconds(table: Path) -> None:
    manifest = read_kth(table, "kth")
    # person01_boxing_d1: frames 1-95, 96-185, ... at 25 frames a second.
    assert manifest.rows[:2] == (
        Row("boxing/person01_boxing_d1_uncomp.avi", ("boxing",), 0.0, 3.8, "person01", "val"),
        Row("boxing/person01_boxing_d1_uncomp.avi", ("boxing",), 3.8, 7.4, "person01", "val"),
    )


def test_videos_on_disk_are_found_flat_or_in_folders(table: Path, tmp_path: Path) -> None:
    (tmp_path / "d1").mkdir()
    (tmp_path / "d1" / "person01_boxing_d1_uncomp.mp4").touch()
    manifest = read_kth(table, tmp_path)
    assert manifest[0].video == "d1/person01_boxing_d1_uncomp.mp4"
    assert len(manifest.missing()) == 598


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            "person01_boxing_d1\t\tframes\t1-95, 96",
            r"00sequences.txt:1: 'frames\\t1-95, 96' is not",
        ),
        ("person01_boxing_d1\t\tframes\t95-1", r"00sequences.txt:1: frames 95-1: end_seconds=0.04"),
        (
            "person01_hopping_d1\t\tframes\t1-95",
            r"does not start with person01_boxing_d1 or the li",
        ),
        ("person26_boxing_d1\t\tframes\t1-95", r"'person26_boxing_d1.* does not start with person"),
        ("", r"KTH has 2391 sequences, .*00sequences.txt lists 2387"),
    ],
)
def test_bad_lines_are_named(table: Path, tmp_path: Path, new: str, message: str) -> None:
    line = "person01_boxing_d1\t\tframes\t1-95, 96-185, 186-245, 246-360"
    with pytest.raises(ValueError, match=message):
        read_kth(damaged(table, tmp_path, line, new), "kth")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no file .*; KTH needs its 00sequences.txt"):
        read_kth(tmp_path / "00sequences.txt", "kth")
