"""Tables of scores: read, written, and laid side by side."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from praxino.evaluate import evaluate
from praxino.score_tables import ScoreTable, aligned, read_scores

CLASSES = ("kick", "punch", "wave")


def table(
    videos: str = "a b c d",
    *,
    name: str = "one",
    classes: tuple[str, ...] | None = CLASSES,
    labels: list[int] | None = None,
    seed: int = 0,
) -> ScoreTable:
    names = tuple(videos.split())
    scores = np.random.default_rng(seed).random((len(names), 3))
    numbers = [k % 3 for k in range(len(names))] if labels is None else labels
    return ScoreTable(name, names, classes, scores, np.array(numbers))


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_written_is_read(tmp_path: Path, suffix: str, labelled: bool) -> None:
    one = table()
    one.scores[1] = 0.0
    if not labelled:
        one = ScoreTable(one.name, one.videos, one.classes, one.scores)
    found = read_scores(one.save(tmp_path / f"scores{suffix}"))
    assert (found.videos, found.classes) == (one.videos, one.classes)
    np.testing.assert_allclose(found.scores, one.scores, rtol=1e-8)
    assert found.accuracy() == one.accuracy()
    assert found.read.tolist() == [True, False, True, True]
    if labelled:
        assert found.labels is not None
        assert found.labels.tolist() == [0, 1, 2, 0]


def test_predictions_of_an_evaluation_are_read(
    trained_run: Path, two_actions: Path, tmp_path: Path
) -> None:
    result = evaluate(trained_run, two_actions, split="", clips=1, crops=1, workers=0)
    found = read_scores(result.save(tmp_path) / "predictions.parquet")
    assert found.accuracy() == result.hit_at_1
    assert found.classes == result.classes
    # And what is fused is written as an evaluation writes it.
    assert found.table().schema.names == result.predictions().schema.names
    assert found.table().drop_columns("scores") == result.predictions().drop_columns("scores")


def test_the_csv_of_predict_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("video,label,score\na,wave,0.7\na,kick,0.3\nb,kick,0.9\nb,wave,0.1\n")
    found = read_scores(path)
    assert (found.videos, found.classes) == (("a", "b"), ("kick", "wave"))
    assert found.scores.tolist() == [[0.3, 0.7], [0.9, 0.1]]
    assert found.accuracy() is None


def write_parquet(path: Path, **columns: list) -> None:
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv: the headings are video, label \(or not\) and a class for each"),
        ("name,kick,wave\na,1,2\n", r"t\.csv: the headings are video,"),
        ("video,kick,wave\na,1\n", r"t\.csv:2: 2 cells below 3 headings\."),
        ("video,kick,wave\na,1,much\n", r"t\.csv:2: 'much' is no score\."),
        ("video,kick,wave\na,1,nan\n", r"t\.csv: a score of a is NaN or infinite\."),
        ("video,kick,wave\na,1,2\na,1,2\n", r"t\.csv has a twice\."),
        ("video,kick,wave\n", r"t\.csv has no rows\."),
        ("video,label,kick,wave\na,run,1,2\n", r"t\.csv: the label 'run' is none of its classes"),
        ("video,label,score\na,kick,1\na,kick,1\n", r"t\.csv:3: kick is there twice\."),
        ("video,label,score\na,kick,1\nb,run,1\n", r"t\.csv: b has other classes than the first"),
    ],
)
def test_a_csv_that_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_scores(path)


def test_a_parquet_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(path, video=["a"], score=[0.5])
    with pytest.raises(ValueError, match=r"t\.parquet lacks the column 'scores': it is no predict"):
        read_scores(path)
    write_parquet(path, video=["a", "b"], scores=[[0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"t\.parquet has rows with different numbers of scores\."):
        read_scores(path)
    write_parquet(path, video=["a", None], scores=[[0.5], [0.5]])
    with pytest.raises(ValueError, match=r"t\.parquet: a video has no name\."):
        read_scores(path)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match=r"t\.parquet cannot be read: "):
        read_scores(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no table of scores .*nowhere\.csv\."):
        read_scores(tmp_path / "nowhere.csv")
    (tmp_path / "predictions.parquet").touch()
    with pytest.raises(ValueError, match=r"Its table is .*predictions\.parquet\."):
        read_scores(tmp_path)
    (tmp_path / "scores.txt").touch()
    with pytest.raises(ValueError, match=r"scores\.txt: a table of scores ends in \.parquet, "):
        read_scores(tmp_path / "scores.txt")
    with pytest.raises(ValueError, match=r"scores\.txt: a table of scores ends in \.parquet or"):
        table().save(tmp_path / "scores.txt")


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"x has 1 videos and scores of shape \(2, 3\)\."):
        ScoreTable("x", ("a",), None, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"x names 2 classes and has 3 scores for each video\."):
        ScoreTable("x", ("a",), ("kick", "wave"), np.ones((1, 3)))


# --- side by side


def test_rows_and_columns_are_laid_together_by_name() -> None:
    one = table()
    order, columns = [2, 0, 3, 1], [1, 2, 0]
    assert one.labels is not None
    other = ScoreTable(
        "other",
        tuple(one.videos[k] for k in order),
        tuple(CLASSES[k] for k in columns),
        one.scores[np.ix_(order, columns)],
        np.array([columns.index(one.labels[k]) for k in order]),
    )
    (first, second), how = aligned([one, other])
    np.testing.assert_array_equal(second.scores, first.scores)
    assert (second.videos, second.classes) == (first.videos, first.classes)
    assert how == "by name"


def test_names_without_folder_and_suffix_are_enough() -> None:
    one, other = table("kick/a.avi wave/b.avi"), table("b a", labels=[1, 0])
    (first, second), how = aligned([one, other])
    assert second.videos == first.videos
    np.testing.assert_array_equal(second.scores, other.scores[::-1])
    assert how == "by name, without folder and suffix"


def test_names_that_are_only_unique_with_their_folder_are_not_cut() -> None:
    with pytest.raises(ValueError, match=r"The tables are of different videos: "):
        aligned([table("kick/a.avi wave/a.avi"), table("a b")])


def test_classes_without_names_are_known_by_the_labels() -> None:
    """Another toolkit sorts its classes otherwise: the labels of the videos tell how."""
    one = table("a b c d e f")
    assert one.labels is not None
    columns = [2, 0, 1]
    labels = np.array([columns.index(k) for k in one.labels])
    other = ScoreTable("other", one.videos, None, one.scores[:, columns], labels)
    for tables in ([one, other], [other, one]):
        found, _ = aligned(tables)
        np.testing.assert_array_equal(found[0].scores, found[1].scores)
        assert found[0].classes == found[1].classes == CLASSES
        assert found[0].accuracy() == one.accuracy()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            table("a b c e", name="two"),
            r"different videos: two lacks d, of one; one lacks e, of two\. Evaluate both on the",
        ),
        (table("a b c", name="two"), r"two lacks d, of one\. Evaluate"),
        (
            table(classes=("kick", "punch", "run"), name="two"),
            r"two has a class 'run' that one has not\. Only models of the same classes",
        ),
        (
            ScoreTable("two", ("a", "b", "c", "d"), None, np.ones((4, 2))),
            r"two has 2 classes, one has 3\. Only models of the same classes can be fused\.",
        ),
        (
            ScoreTable("two", ("a", "b", "c", "d"), None, np.ones((4, 3))),
            r"two names no classes, and without labels nothing tells which of its columns are",
        ),
        (
            table(classes=None, name="two", labels=[0, 0, 1, 2]),
            r"two names no classes, and its labels do not tell which of its columns are",
        ),
        (
            table(name="two", labels=[0, 2, 2, 1]),
            r"two gives b another label than the tables before it, and 1 more videos\.",
        ),
    ],
)
def test_tables_that_do_not_belong_together_are_named(other: ScoreTable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aligned([table(), other])
