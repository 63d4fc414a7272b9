import csv
from collections import Counter
from pathlib import Path

import pytest

from praxino.datasets.splits import check_leakage, leave_one_group_out
from praxino.datasets.ut_interaction import cross_set, read_ut_interaction


def empty_clips(lab_data: Path, root: Path) -> Path:
    """The official file names without their content, to damage."""
    for folder in ("segmented_set1", "segmented_set2"):
        (root / folder).mkdir()
        for path in (lab_data / "ut-interaction" / folder).glob("*.avi"):
            (root / folder / path.name).touch()
    return root


def test_names_say_what_an_independent_table_says(lab_data: Path) -> None:
    folder = lab_data / "ut-interaction"
    manifest = read_ut_interaction(None, folder)
    with (folder / "manifest.csv").open() as file:
        theirs = {line["clip"]: line for line in csv.DictReader(file)}
    assert set(manifest.videos) == set(theirs)
    for row in manifest:
        line = theirs[row.video]
        assert row.labels == (line["label"],)
        assert manifest.class_ids(row) == (int(line["class_id"]),)
        assert row.group == f"{line['set']}/{line['sequence']}"
    assert manifest.missing() == []
    assert set(read_ut_interaction(folder / "manifest.csv", folder)) == set(manifest)


def test_official_counts(lab_data: Path) -> None:
    manifest = read_ut_interaction(None, lab_data / "ut-interaction")
    assert len(manifest) == 120
    assert set(Counter(row.labels for row in manifest).values()) == {20}
    assert len(manifest.groups) == 20
    assert manifest[0].video == "segmented_set1/0_1_4.avi"


def test_leave_one_sequence_out(lab_data: Path) -> None:
    manifest = read_ut_interaction(None, lab_data / "ut-interaction")
    folds = list(leave_one_group_out(manifest))
    assert len(folds) == 20
    assert sum(len(fold.select(split="test")) for _, fold in folds) == 120
    set1 = manifest.select(where=lambda row: row.group.startswith("set1/"))
    assert len(list(leave_one_group_out(set1))) == 10


def test_cross_set(lab_data: Path) -> None:
    manifest = read_ut_interaction(None, lab_data / "ut-interaction")
    for test in ("set1", "set2"):
        split = cross_set(manifest, test)
        check_leakage(split)
        assert {row.group[:4] for row in split.select(split="test")} == {test}
        assert len(split.select(split="train")) == 60
    with pytest.raises(ValueError, match=r"sets of UT-Interaction are set1 and set2, got 'set3'"):
        cross_set(manifest, "set3")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("segmented_set1/0_1_4.avi", "segmented_set1/0_1_6.avi", r"set1/0_1_6.avi: not <number>_"),
        ("segmented_set1/0_1_4.avi", "segmented_set1/0_11_4.avi", r"_<sequence of set1>_<class"),
        ("segmented_set1/0_1_4.avi", "segmented_set1/kick.avi", r"segmented_set1/kick.avi: not <"),
        ("segmented_set2/9_12_1.avi", "9_12_1.avi", r"set2: 9 clips of 'hug', published are 10"),
    ],
)
def test_bad_names_are_named(
    lab_data: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    clips = empty_clips(lab_data, tmp_path)
    (clips / old).rename(clips / new)
    with pytest.raises(ValueError, match=message):
        read_ut_interaction(None, clips)


def test_missing_sequence(lab_data: Path, tmp_path: Path) -> None:
    clips = empty_clips(lab_data, tmp_path)
    for path in clips.glob("segmented_set1/*_3_*.avi"):
        path.unlink()
    with pytest.raises(ValueError, match=r"set1: 9 sequences, published are 10"):
        read_ut_interaction(None, clips)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,label\n", r"table.csv: no column sequence, set in the header"),
        ("clip,label,sequence,set\na.avi,hop,seq01,set1\n", r"table.csv:2: label='hop' is not a"),
        ("clip,label,sequence,set\na.avi,hug,seq01,set2\n", r"sequence='seq01' is not in set='set"),
        ("clip,label,sequence,set\na.avi,hug,one,set2\n", r"sequence='one' is not in set='set2'"),
        (
            "clip,label,sequence,set\n../a.avi,hug,seq01,set1\n",
            r"table.csv:2: video='../a.avi' lea",
        ),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_ut_interaction(tmp_path / "table.csv", tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no folder .*segmented_set1; unpack segmented_set1.zip"):
        read_ut_interaction(None, tmp_path)
    with pytest.raises(ValueError, match=r"There is no file .*table.csv"):
        read_ut_interaction(tmp_path / "table.csv", tmp_path)
