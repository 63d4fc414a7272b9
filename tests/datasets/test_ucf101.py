import shutil
from collections import Counter
from pathlib import Path

import pytest

from praxino.datasets.manifest import Row
from praxino.datasets.splits import check_leakage
from praxino.datasets.ucf101 import read_ucf101


@pytest.fixture
def lists(lab_data: Path, tmp_path: Path) -> Path:
    """A copy of the official lists, to damage."""
    copy = tmp_path / "lists"
    shutil.copytree(lab_data / "annotations" / "ucf101", copy)
    return copy


def replace_line(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)]
)
def test_official_counts(lab_data: Path, split: int, train: int, test: int) -> None:
    manifest = read_ucf101(lab_data / "annotations" / "ucf101", "UCF-101", split)  # type: ignore[arg-type]
    assert Counter(row.split for row in manifest) == {"train": train, "test": test}
    assert len(manifest.videos) == 13_320
    assert len(manifest.classes) == 101
    assert manifest.groups == tuple(f"g{number:02d}" for number in range(1, 26))
    assert (
        min(Counter(row.labels for row in manifest).values()) == 100
    )  # TennisSwing and others 100+
    check_leakage(manifest)


def test_first_and_last_rows(lab_data: Path) -> None:
    manifest = read_ucf101(lab_data / "annotations" / "ucf101", "UCF-101")
    assert manifest[0] == Row(
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        ("ApplyEyeMakeup",),
        None,
        None,
        "g08",
        "train",
    )
    assert manifest[-1].labels == ("YoYo",)
    assert manifest.class_ids(manifest[-1]) == (100,)
    assert manifest.path(manifest[0]).parts[:2] == ("UCF-101", "ApplyEyeMakeup")


def test_wrong_counts_are_named(lists: Path) -> None:
    replace_line(lists / "testlist01.txt", "Archery/v_Archery_g01_c01.avi\n", "")
    with pytest.raises(ValueError, match=r"9537 training and 3783 test clips, .* 9537 and 3782"):
        read_ucf101(lists, "v")


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            "Archery/v_Archery_g08.avi 3",
            r"trainlist01.txt:\d+: 'Archery/v_Archery_g08.avi 3' is no",
        ),
        ("../v_Archery_g08_c01.avi 3", r"trainlist01.txt:\d+: '../v_Archery"),
        ("Archery/v_Bowling_g08_c01.avi 3", r"is not Class/v_Class_g01_c01.avi"),
        ("Arch/v_Arch_g08_c01.avi 3", r"'Arch' is not in classInd.txt"),
        ("Archery/v_Archery_g08_c01.avi 4", r"class 4 is not 'Archery'"),
    ],
)
def test_bad_lines_are_named(lists: Path, new: str, message: str) -> None:
    replace_line(lists / "trainlist01.txt", "Archery/v_Archery_g08_c01.avi 3", new)
    with pytest.raises(ValueError, match=message):
        read_ucf101(lists, "v")


def test_missing_lists_and_splits(lists: Path) -> None:
    with pytest.raises(ValueError, match=r"UCF101 has the splits 1, 2 and 3, got 4"):
        read_ucf101(lists, "v", split=4)  # type: ignore[arg-type]
    (lists / "testlist02.txt").unlink()
    with pytest.raises(ValueError, match=r"There is no testlist02.txt in .*lists"):
        read_ucf101(lists, "v", split=2)
    replace_line(lists / "classInd.txt", "101 YoYo\n", "")
    with pytest.raises(ValueError, match=r"UCF101 has 101 classes, .*classInd.txt lists 100"):
        read_ucf101(lists, "v")
