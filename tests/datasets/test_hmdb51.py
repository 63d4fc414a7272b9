import shutil
from collections import Counter
from pathlib import Path

import pytest

from praxino.datasets.hmdb51 import read_hmdb51
from praxino.datasets.manifest import Row
from praxino.datasets.splits import check_leakage

FIRST = "April_09_brush_hair_u_nm_np1_ba_goo_0.avi"


@pytest.fixture
def lists(lab_data: Path, tmp_path: Path) -> Path:
    """A copy of the official lists, to damage."""
    copy = tmp_path / "lists"
    shutil.copytree(lab_data / "annotations" / "tsn_hmdb51_splits", copy)
    return copy


@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_counts(lab_data: Path, split: int) -> None:
    annotations = lab_data / "annotations" / "tsn_hmdb51_splits"
    manifest = read_hmdb51(annotations, "hmdb51", split)  # type: ignore[arg-type]
    per_class = Counter((row.labels[0], row.split) for row in manifest)
    assert len(manifest.classes) == 51
    assert per_class == {
        (label, half): count
        for label in manifest.classes
        for half, count in (("train", 70), ("test", 30))
    }
    check_leakage(manifest)


@pytest.mark.parametrize("split", [1, 2, 3])
def test_classes_and_test_clips_agree_with_another_publication(lab_data: Path, split: int) -> None:
    """ActionVLAD's authors published the same splits as line numbers in a list of all clips."""
    annotations = lab_data / "annotations" / "tsn_hmdb51_splits"
    manifest = read_hmdb51(annotations, "hmdb51", split)  # type: ignore[arg-type]
    folder = lab_data / "published-scores" / "actionvlad"
    assert manifest.classes == tuple((folder / "hmdb51_actions.txt").read_text().split())
    every_clip = (folder / "hmdb51_AllVideos.txt").read_text().splitlines()
    theirs = set()
    for line in (folder / f"hmdb51_test_split{split}.txt").read_text().splitlines():
        theirs.add(every_clip[int(line.split()[0].split("/")[1]) - 1])
    assert set(manifest.select(split="test").videos) == theirs


def test_first_row(lab_data: Path) -> None:
    manifest = read_hmdb51(lab_data / "annotations" / "tsn_hmdb51_splits", "hmdb51")
    assert manifest[0] == Row(
        f"brush_hair/{FIRST}", ("brush_hair",), None, None, "brush_hair/April_09", "train"
    )


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (f"{FIRST} 2", r"brush_hair_test_split1.txt: 69 training and 31 test clips, published are"),
        (f"{FIRST} 3", r"brush_hair_test_split1.txt:1: '.* 3 ' is not <recording>_brush_hair_"),
        (
            "../../x_brush_hair_y.avi 1",
            r"brush_hair_test_split1.txt:1: '../../x_brush_hair_y.avi 1",
        ),
        ("", r"lists: 6765 clips, published are 6766"),
    ],
)
def test_bad_lines_are_named(lists: Path, new: str, message: str) -> None:
    path = lists / "brush_hair_test_split1.txt"
    path.write_text(path.read_text().replace(f"{FIRST} 1", new, 1))
    with pytest.raises(ValueError, match=message):
        read_hmdb51(lists, "hmdb51")


def test_missing_lists_and_splits(lists: Path) -> None:
    with pytest.raises(ValueError, match=r"HMDB51 has the splits 1, 2 and 3, got 0"):
        read_hmdb51(lists, "hmdb51", split=0)  # type: ignore[arg-type]
    (lists / "wave_test_split3.txt").unlink()
    with pytest.raises(ValueError, match=r"51 classes, .*lists has 50 files \*_test_split3.txt"):
        read_hmdb51(lists, "hmdb51", split=3)
