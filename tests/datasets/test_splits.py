from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.splits import check_leakage, grouped_split, hold_out, leave_one_group_out

ROOT = Path("videos")
HALVES = {"train": 0.5, "val": 0.5}


def manifest_of(*rows: Row) -> Manifest:
    return Manifest.from_rows(rows, ROOT)


def people(count: int, labels: str = "abcde", clips: int = 2) -> Manifest:
    """Every person does every action a few times."""
    return manifest_of(
        *[
            Row(f"{label}/{person}_{clip}.mp4", (label,), group=f"p{person}")
            for person in range(count)
            for label in labels
            for clip in range(clips)
        ]
    )


def per_split(manifest: Manifest) -> Counter[tuple[str, str]]:
    return Counter((row.split, label) for row in manifest for label in row.labels)


def test_people_are_dealt_whole_and_every_class_evenly() -> None:
    split = grouped_split(people(10), {"train": 0.8, "val": 0.2}, seed=0)
    assert per_split(split) == {
        **{("train", label): 16 for label in "abcde"},
        **{("val", label): 4 for label in "abcde"},
    }
    check_leakage(split)


def test_without_groups_rare_classes_are_dealt_too() -> None:
    rows = [Row(f"often{number}.mp4", ("often",)) for number in range(95)]
    rows += [Row(f"rare{number}.mp4", ("rare",)) for number in range(5)]
    split = grouped_split(manifest_of(*rows), {"train": 0.8, "val": 0.2}, seed=3)
    assert per_split(split) == {
        ("train", "often"): 76,
        ("val", "often"): 19,
        ("train", "rare"): 4,
        ("val", "rare"): 1,
    }


def test_every_class_is_rounded_by_itself() -> None:
    rows = [Row(f"{label}{number}.mp4", (label,)) for label in "abcd" for number in range(3)]
    split = grouped_split(manifest_of(*rows), {"train": 0.8, "val": 0.2}, seed=0)
    assert per_split(split) == {
        (name, label): count for name, count in (("train", 2), ("val", 1)) for label in "abcd"
    }
    pairs = manifest_of(*[row for row in rows if "2" not in row.video])
    with pytest.raises(ValueError, match=r"'val' \(20%\) stays empty: 8 rows form only 8 groups"):
        grouped_split(pairs, {"train": 0.8, "val": 0.2}, seed=0)


def test_rows_of_one_video_stay_together_and_link_its_groups() -> None:
    shared = [
        Row("a.mp4", ("x",), 0, 1, group="p1"),
        Row("a.mp4", ("x",), 1, 2, group="p2"),
        Row("b.mp4", ("x",), group="p2"),
        Row("b2.mp4", ("x",), group="p1"),
    ]
    others = [Row(f"c{number}.mp4", ("x",)) for number in range(4)]
    split = grouped_split(manifest_of(*shared, *others), HALVES, seed=0)
    assert len({row.split for row in split.rows[:4]}) == 1
    assert Counter(row.split for row in split) == {"train": 4, "val": 4}


def test_seed_decides_and_repeats() -> None:
    manifest = people(10)
    first = grouped_split(manifest, HALVES, seed=0)
    assert first == grouped_split(manifest.with_split("test"), HALVES, seed=0)
    assert any(first != grouped_split(manifest, HALVES, seed=seed) for seed in range(1, 4))


@settings(max_examples=40)
@given(
    groups=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), min_size=20, max_size=60),
    seed=st.integers(0, 5),
)
def test_groups_never_straddle(groups: list[tuple[int, int]], seed: int) -> None:
    rows = [
        Row(f"{number}.mp4", (f"class{label}",), group=f"p{group}" if group else "")
        for number, (group, label) in enumerate(groups)
    ]
    assume(len({row.group or row.video for row in rows}) >= 6)
    split = grouped_split(manifest_of(*rows), HALVES, seed)
    check_leakage(split)
    assert split.with_split("") == manifest_of(*rows)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.8, "val": 0.3}, r"Fractions are above 0 and sum to 1, got .*0.3"),
        ({"train": 1.2, "val": -0.2}, r"Fractions are above 0"),
        ({}, r"Fractions are above 0"),
        ({"train": 0.8, "dev": 0.2}, r"Splits are called train, val and test, got 'dev'"),
    ],
)
def test_bad_fractions(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grouped_split(people(4), fractions, seed=0)


def test_too_few_groups() -> None:
    with pytest.raises(ValueError, match=r"'val' \(20%\) stays empty: 10 rows form only 1 groups"):
        grouped_split(people(1), {"train": 0.8, "val": 0.2}, seed=0)


# hold_out


def test_hold_out_keeps_official_splits() -> None:
    official = people(2).with_split(["train"] * 10 + ["val"] * 10)
    kept, sentence = hold_out(official)
    assert kept is official
    assert sentence == "The splits are those of the data set."


def test_hold_out_leaves_the_test_rows_alone() -> None:
    official = people(10).with_split(["train"] * 50 + ["test"] * 50)
    result, sentence = hold_out(official, fraction=0.2, seed=7)
    assert Counter(row.split for row in result) == {"train": 40, "val": 10, "test": 50}
    assert result.select(split="test") == official.select(split="test")
    assert sentence == (
        "10 of 50 training rows (20.0%) are held out as val, whole groups, stratified by class, "
        "seed 7."
    )


def test_hold_out_says_which_classes_have_no_validation_rows() -> None:
    rows = [Row(f"{number}.mp4", ("often",)) for number in range(9)]
    result, sentence = hold_out(manifest_of(*rows, Row("x.mp4", ("once",))))
    assert Counter(row.split for row in result) == {"train": 8, "val": 2}
    assert "whole videos" in sentence
    assert sentence.endswith("1 classes have no val rows: once.")


def test_hold_out_refuses_what_it_cannot_know() -> None:
    some = people(2).with_split(["train"] * 10 + [""] * 10)
    with pytest.raises(ValueError, match=r"Some rows have no split and others are in train"):
        hold_out(some)
    with pytest.raises(ValueError, match=r"There are no training rows; the splits are val, test"):
        hold_out(people(2).with_split(["val"] * 10 + ["test"] * 10))


# leave_one_group_out


def test_leave_one_group_out() -> None:
    folds = list(leave_one_group_out(people(12)))
    assert [group for group, _ in folds] == [f"p{number}" for number in range(12)]
    for group, fold in folds:
        assert {row.group for row in fold.select(split="test")} == {group}
        assert len(fold.select(split="train")) == 110


def test_leave_one_group_out_needs_groups() -> None:
    with pytest.raises(ValueError, match=r"a group for every row; b.mp4 has none"):
        list(leave_one_group_out(manifest_of(Row("a.mp4", group="p1"), Row("b.mp4"))))
    with pytest.raises(ValueError, match=r"needs two groups or more, got 1"):
        list(leave_one_group_out(people(1)))


# check_leakage


def test_leaks_are_named() -> None:
    same_person = manifest_of(
        Row("a.mp4", group="p1", split="train"), Row("b.mp4", group="p1", split="test")
    )
    with pytest.raises(ValueError, match=r"The group 'p1' is in 'train' and 'test': test results"):
        check_leakage(same_person)
    same_video = manifest_of(
        Row("a.mp4", (), 0, 1, "p1", "train"), Row("a.mp4", (), 1, 2, "p1", "val")
    )
    with pytest.raises(ValueError, match=r"The video 'a.mp4' is in 'train' and 'val' \(and 1 more"):
        check_leakage(same_video)
