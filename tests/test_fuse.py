"""Late fusion of tables of predictions."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from praxino.command.cli import run
from praxino.errors import EnvironmentFault
from praxino.fuse import fuse, fuse_tables
from praxino.metrics.fusion import average, l2_normalise, product, softmax, svm_features
from praxino.score_tables import ScoreTable, read_scores

CLASSES = ("kick", "punch", "wave")


def stream(name: str, seed: int, videos: int = 30, prefix: str = "v") -> ScoreTable:
    """Probabilities that are right about half of the videos."""
    labels = np.arange(videos) % 3
    scores = softmax(np.random.default_rng(seed).standard_normal((videos, 3)) + np.eye(3)[labels])
    names = tuple(f"{prefix}{number}" for number in range(videos))
    return ScoreTable(name, names, CLASSES, scores, labels)


def test_scores_are_averaged_with_weights() -> None:
    one, two = stream("one", 0), stream("two", 1)
    found = fuse_tables([one, two], weights=[1, 1.5])
    np.testing.assert_allclose(found.table.scores, (one.scores + 1.5 * two.scores) / 2.5)
    assert found.weights == pytest.approx((0.4, 0.6))
    assert found.table.accuracy() == np.mean(found.table.scores.argmax(axis=1) == one.labels)


@pytest.mark.parametrize(
    ("scale", "scaled"), [("as_is", np.asarray), ("softmax", softmax), ("l2", l2_normalise)]
)
def test_scores_are_brought_to_one_scale(scale: Any, scaled: Any) -> None:
    one, two = stream("one", 0), stream("two", 1)
    expected = average([scaled(one.scores), scaled(two.scores)])
    np.testing.assert_allclose(fuse_tables([one, two], scale=scale).table.scores, expected)


def test_the_product_is_of_probabilities() -> None:
    one, two = stream("one", 0), stream("two", 1)
    expected = product([one.scores, two.scores], [1, 2])
    found = fuse_tables([one, two], by="product", weights=[1, 2])
    np.testing.assert_allclose(found.table.scores, expected)


@pytest.mark.parametrize("by", ["average", "product", "max"])
def test_a_video_that_one_model_could_not_read_has_the_others_scores(by: Any) -> None:
    one, two = stream("one", 0), stream("two", 1)
    one.scores[3] = two.scores[4] = one.scores[5] = two.scores[5] = 0.0
    found = fuse_tables([one, two], by=by, weights=[1, 3])
    np.testing.assert_allclose(found.table.scores[3], two.scores[3])
    np.testing.assert_allclose(found.table.scores[4], one.scores[4])
    assert found.table.read.tolist() == [row != 5 for row in range(30)]
    # Row 5 is of the third class; that nobody has read it counts as wrong.
    everything = found.table.scores.argmax(axis=1) == one.labels
    assert found.table.accuracy() == np.delete(everything, 5).sum() / 30


def test_the_search_is_at_least_as_good_as_each_table() -> None:
    tables = [stream(str(seed), seed) for seed in range(3)]
    found = fuse_tables(tables, search=True)
    assert found.searched
    assert found.weights is not None
    assert sum(found.weights) == pytest.approx(1)
    assert found.table.accuracy() >= max(table.accuracy() for table in tables)  # type: ignore[operator, type-var]


def test_the_svm_is_that_of_the_two_stream_paper() -> None:
    """Linear, one class against the rest, on the streams' scores of length one, side by side."""
    svm = pytest.importorskip("sklearn.svm")
    train = [stream("one", 0, 90, "t"), stream("two", 1, 90, "t")]
    tables = [stream("one", 2), stream("two", 3)]
    found = fuse_tables(tables, by="svm", train=train)
    machine = svm.LinearSVC(C=1.0, random_state=0)
    machine.fit(svm_features([table.scores for table in train]), train[0].labels)
    expected = machine.decision_function(svm_features([table.scores for table in tables]))
    np.testing.assert_allclose(found.table.scores, expected)
    assert found.weights is None


def test_the_svm_learns_which_stream_to_believe() -> None:
    """One stream is noise: the average suffers from it, the SVM does not."""
    pytest.importorskip("sklearn.svm")

    def noise(prefix: str, videos: int, seed: int) -> ScoreTable:
        names = tuple(f"{prefix}{number}" for number in range(videos))
        scores = softmax(9 * np.random.default_rng(seed).standard_normal((videos, 3)))
        return ScoreTable("noise", names, CLASSES, scores, np.arange(videos) % 3)

    train = [stream("one", 0, 300, "t"), noise("t", 300, 1)]
    tables = [stream("one", 2, 300), noise("v", 300, 3)]
    by_svm = fuse_tables(tables, by="svm", train=train).table.accuracy()
    by_average = fuse_tables(tables).table.accuracy()
    assert by_svm is not None
    assert by_average is not None
    assert by_svm > by_average + 0.1


def test_the_svm_of_two_classes_and_of_classes_it_has_not_seen() -> None:
    pytest.importorskip("sklearn.svm")
    train = [stream("one", 0, 60, "t"), stream("two", 1, 60, "t")]
    seen = np.flatnonzero(train[0].labels != 1)  # type: ignore[arg-type]
    train = [
        ScoreTable(
            t.name, tuple(t.videos[k] for k in seen), CLASSES, t.scores[seen], t.labels[seen]
        )  # type: ignore[index]
        for t in train
    ]
    scores = fuse_tables([stream("one", 2), stream("two", 3)], by="svm", train=train).table.scores
    assert set(scores.argmax(axis=1)) == {0, 2}


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(EnvironmentFault, match=r"scikit-learn's, .*praxino\[classical\]"):
        fuse_tables(
            [stream("one", 0), stream("two", 1)],
            by="svm",
            train=[stream("one", 2, prefix="t"), stream("two", 3, prefix="t")],
        )


ONE, TWO = stream("one", 0), stream("two", 1)
TRAIN = (stream("one", 2, prefix="t"), stream("two", 3, prefix="t"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tables": [ONE]}, r"Fusion needs two tables or more, got 1\."),
        ({"by": "votes"}, r"fused by average, product, max or svm, not 'votes'\."),
        ({"scale": "log"}, r"taken as_is, or by softmax or l2, not 'log'\."),
        ({"weights": [1]}, r"There are 2 tables and 1 weights\."),
        ({"weights": [1, -1]}, r"Weights are numbers from 0, not all of them 0, got 1, -1\."),
        ({"search": True, "by": "max"}, r"A search finds the weights of an average: give neither"),
        (
            {"by": "svm"},
            r"An SVM learns its weights from the tables of other videos, which --train",
        ),
        ({"train": TRAIN}, r"An SVM learns its weights from"),
        ({"by": "svm", "train": TRAIN[:1]}, r"There are 2 tables and 1 to learn from\."),
        ({"by": "svm", "train": (ONE, TWO)}, r"learnt from: v0 is in both lists, and 29 more\."),
        ({"by": "svm", "train": TRAIN, "cost": 0.0}, r"cost must be above 0, got 0\.0\."),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fuse_tables(**{"tables": [ONE, TWO], **settings})


def test_a_search_and_an_svm_need_labels() -> None:
    bare = [ScoreTable(t.name, t.videos, t.classes, t.scores) for t in (ONE, TWO)]
    with pytest.raises(ValueError, match=r"A search needs labels, and none of the tables has any"):
        fuse_tables(bare, search=True)
    other = [ScoreTable(t.name, t.videos, t.classes, t.scores) for t in TRAIN]
    with pytest.raises(ValueError, match=r"one has no labels, from which an SVM could learn\."):
        fuse_tables([ONE, TWO], by="svm", train=other)


def test_an_svm_needs_its_classes() -> None:
    renamed = [ScoreTable(t.name, t.videos, ("a", "b", "c"), t.scores, t.labels) for t in TRAIN]
    with pytest.raises(ValueError, match=r"one has other classes than one, or in another order\."):
        fuse_tables([ONE, TWO], by="svm", train=renamed)
    one_class = [
        ScoreTable(t.name, t.videos[:1], CLASSES, t.scores[:1], np.array([0])) for t in TRAIN
    ]
    pytest.importorskip("sklearn.svm")
    with pytest.raises(ValueError, match=r"videos of one class only, and an SVM needs two\."):
        fuse_tables([ONE, TWO], by="svm", train=one_class)


# --- the command


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(t.save(tmp_path / f"{t.name}.parquet")) for t in (ONE, TWO)]
    output = tmp_path / "fused.parquet"
    assert run(["fuse", *paths, "--weights", "1,3", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    for table in (ONE, TWO, fuse(paths, weights=[1, 3]).table):
        assert f"{table.accuracy():.2%}" in shown
    assert "30 videos, laid together by name" in shown
    assert read_scores(output).accuracy() == fuse(paths, weights=[1, 3]).table.accuracy()
    assert run(["fuse", *paths, "--search"]) == 0
    assert "searched for on these very videos" in capsys.readouterr().out
    # What was fused can be fused again, and the SVM learns from other videos.
    assert run(["fuse", str(output), paths[0]]) == 0
    train = [str(t.save(tmp_path / f"train_{t.name}.csv")) for t in TRAIN]
    pytest.importorskip("sklearn.svm")
    assert run(["fuse", *paths, "--by", "svm", "--train", *train]) == 0
    assert "svm" in capsys.readouterr().out


def test_the_command_names_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(t.save(tmp_path / f"{t.name}.csv")) for t in (ONE, TWO)]
    other = str(TRAIN[1].save(tmp_path / "other.csv"))
    assert run(["fuse", paths[0], other]) == 2
    assert "The tables are of different videos: other.csv lacks v0 and 29 more" in (
        capsys.readouterr().err
    )
    assert run(["fuse", *paths, "--weights", "1,x"]) == 2
    assert "--weights must be numbers with commas, such as 1,1.5; got '1,x'." in (
        capsys.readouterr().err
    )
