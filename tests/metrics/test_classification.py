import doctest
import json
from pathlib import Path

import numpy as np
import pytest

from praxino.metrics import classification
from praxino.metrics.classification import (
    average_precision,
    average_views,
    clip_hit_at_1,
    confusion_matrix,
    hit_at_k,
    label_ranks,
    mean_average_precision,
    mean_class_accuracy,
    normalise_rows,
    per_class_accuracy,
    per_class_precision,
    top_classes,
)


def test_examples_in_the_docstrings() -> None:
    failed, tried = doctest.testmod(classification)
    assert failed == 0
    assert tried >= 12


def oracle(folder: Path, task: str, case: str) -> tuple[np.ndarray, np.ndarray, dict]:
    """Scores, labels and what the official evaluators make of them."""
    inputs = folder / "cases" / task / case
    scores = np.array(json.loads((inputs / "scores.json").read_text()), dtype=float)
    labels = np.array(json.loads((inputs / "labels.json").read_text()))
    expected = json.loads((folder / "expected" / task / f"{case}.json").read_text())
    return scores, labels, {name: run["metrics"] for name, run in expected["results"].items()}


# Against the official evaluators


@pytest.mark.parametrize("case", ["random_small", "missing_classes"])
def test_top_k_is_the_official_number(lab_oracles: Path, case: str) -> None:
    scores, labels, expected = oracle(lab_oracles, "topk", case)
    for name in ("slowfast", "mmaction2"):
        assert hit_at_k(scores, labels, 1) == pytest.approx(expected[name]["top1"], abs=1e-12)
        assert hit_at_k(scores, labels, 5) == pytest.approx(expected[name]["top5"], abs=1e-12)


def test_mean_class_accuracy_is_the_official_number_when_every_class_occurs(
    lab_oracles: Path,
) -> None:
    scores, labels, expected = oracle(lab_oracles, "topk", "random_small")
    confusion = confusion_matrix(labels, top_classes(scores), scores.shape[1])
    official = expected["mmaction2"]["mean_class"]
    assert mean_class_accuracy(confusion) == pytest.approx(official, abs=1e-12)


def test_mean_class_accuracy_leaves_out_classes_that_are_only_predicted(lab_oracles: Path) -> None:
    scores, labels, expected = oracle(lab_oracles, "topk", "missing_classes")
    predictions = top_classes(scores)
    confusion = confusion_matrix(labels, predictions, scores.shape[1])
    in_truth, in_either = set(labels), set(labels) | set(predictions)
    assert len(in_truth) < len(in_either)
    # MMAction2 counts the others as 0: the same sum over more classes.
    official = expected["mmaction2"]["mean_class"] * len(in_either) / len(in_truth)
    assert mean_class_accuracy(confusion) == pytest.approx(official, abs=1e-12)


@pytest.mark.parametrize(
    ("method", "official"),
    [
        ("probabilities", "slowfast:sum_softmax"),
        ("probabilities", "mmaction2:prob_mean"),
        ("logits", "slowfast:sum_logits"),
        ("logits", "mmaction2:score_mean"),
        ("max", "slowfast:max_softmax"),
    ],
)
def test_views_merge_as_in_the_official_code(lab_oracles: Path, method: str, official: str) -> None:
    scores, labels, expected = oracle(lab_oracles, "topk", "multiview_30")
    views = 30
    logits = scores.reshape(-1, views, scores.shape[-1])
    labels = labels.reshape(len(logits), -1)[:, 0]
    merged = average_views(logits, method)  # type: ignore[arg-type]
    assert hit_at_k(merged, labels, 1) == pytest.approx(expected[official]["top1"], abs=1e-12)
    assert hit_at_k(merged, labels, 5) == pytest.approx(expected[official]["top5"], abs=1e-12)


@pytest.mark.parametrize("case", ["random_small", "ties", "class_without_positive"])
def test_multi_label_map_is_the_official_number(lab_oracles: Path, case: str) -> None:
    scores, positives, expected = oracle(lab_oracles, "multilabel", case)
    official = expected["slowfast:get_map(sklearn)"]["mAP"]
    assert mean_average_precision(scores, positives) == pytest.approx(official, abs=1e-12)


def test_top_k_lies_beside_the_official_numbers_when_scores_tie(lab_oracles: Path) -> None:
    scores, labels, expected = oracle(lab_oracles, "topk", "ties")
    ours = hit_at_k(scores, labels, 1)
    assert ours == np.mean(np.argmax(scores, axis=1) == labels)
    assert ours == pytest.approx(expected["slowfast"]["top1"], abs=0.02)
    order = np.random.default_rng(0).permutation(len(labels))
    assert hit_at_k(scores[order], labels[order], 1) == ours


def test_nan_scores_of_the_oracle_are_refused(lab_oracles: Path) -> None:
    scores, labels, _ = oracle(lab_oracles, "topk", "nan_scores")
    with pytest.raises(ValueError, match=r"The scores of example \d+ contain NaN"):
        hit_at_k(scores, labels, 1)


def test_published_hmdb51_scores(lab_data: Path) -> None:
    """ActionVLAD's logits give the accuracies of its paper: RGB, flow, and 1 : 2 fusion."""
    h5py = pytest.importorskip("h5py")
    folder = lab_data / "published-scores" / "actionvlad"
    found = []
    for split in (1, 2, 3):
        lines = (folder / f"hmdb51_test_split{split}.txt").read_text().splitlines()
        labels = np.array([int(line.split()[2]) for line in lines])
        logits = {}
        for stream in ("rgb", "flow"):
            with h5py.File(folder / f"hmdb51_{stream}_split{split}.h5") as file:
                logits[stream] = np.asarray(file["stream0/logits"]).reshape(len(labels), 51)
        fused = logits["rgb"] + 2 * logits["flow"]
        streams = (logits["rgb"], logits["flow"], fused)
        found.append([round(100 * hit_at_k(scores, labels, 1), 2) for scores in streams])
    assert found == [[51.37, 58.95, 66.73], [49.22, 59.74, 66.54], [48.63, 60.59, 66.34]]


# On paper


def test_ties_rank_the_lower_class_first_as_argmax_does() -> None:
    scores = [[0.5, 0.5, 0.5]] * 3
    assert label_ranks(scores, [0, 1, 2]).tolist() == [0, 1, 2]
    assert hit_at_k(scores, [0, 1, 2], 1) == pytest.approx(1 / 3)
    assert top_classes(scores).tolist() == [0, 0, 0]


def test_infinite_scores_keep_their_rank() -> None:
    assert label_ranks([[-np.inf, 0.0, np.inf]], [0]).tolist() == [2]


def test_hit_at_k_of_all_classes_is_one() -> None:
    assert hit_at_k(np.eye(3), [2, 1, 0], 3) == 1.0


def test_confusion_matrix_rows_are_the_truth() -> None:
    confusion = confusion_matrix([0, 0, 2, 2, 2], [0, 1, 1, 2, 2], 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 2]]
    np.testing.assert_allclose(per_class_accuracy(confusion), [1 / 2, np.nan, 2 / 3])
    np.testing.assert_allclose(per_class_precision(confusion), [1, 0, 1])
    np.testing.assert_allclose(normalise_rows(confusion)[2], [0, 1 / 3, 2 / 3])
    assert mean_class_accuracy(confusion) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_one_view_is_its_own_average() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 1, 5))
    expected = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(axis=1, keepdims=True)
    for method in ("probabilities", "logits", "max"):
        np.testing.assert_allclose(average_views(logits, method), expected)  # type: ignore[arg-type]


def test_large_logits_do_not_overflow() -> None:
    np.testing.assert_allclose(average_views([[1000.0, 0.0], [0.0, 1000.0]]), [0.5, 0.5])


def test_clip_hit_counts_every_view() -> None:
    logits = np.zeros((2, 3, 4))
    logits[0, :, 1] = [1, 1, -1]  # two of three views say class 1
    logits[1, :, 3] = [1, 1, 1]
    assert clip_hit_at_1(logits, [1, 3]) == pytest.approx(5 / 6)


def test_average_precision_of_equal_scores_is_the_share_of_positives() -> None:
    assert average_precision([1.0, 1.0, 1.0, 1.0], [False, True, False, False]) == 0.25
    assert np.isnan(average_precision([0.3, 0.2], [False, False]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hit_at_k([[0.1, 0.9]], [1], 5), r"hit@5 needs k from 1 to the number of cl.* 2"),
        (lambda: hit_at_k([[0.1, 0.9]], [1], 0), r"hit@0 needs k from 1"),
        (lambda: hit_at_k([[0.1, 0.9]], [2], 1), r"labels are in \[0, 2\), got 2"),
        (lambda: hit_at_k([[0.1, 0.9]], [-1], 1), r"labels are in \[0, 2\), got -1"),
        (lambda: hit_at_k([[0.1, 0.9]], [0.0], 1), r"labels are \(N,\) integers, got float64"),
        (lambda: hit_at_k([[0.1, 0.9]], [0, 1], 1), r"Got 2 labels for 1 rows of scores"),
        (lambda: hit_at_k([0.1, 0.9], [0], 1), r"Scores have the shape \(N, K\), got \(2,\)"),
        (lambda: hit_at_k(np.zeros((0, 2)), [], 1), r"There are no examples to score"),
        (lambda: hit_at_k([[0, 1], [np.nan, 1]], [0, 1], 1), r"scores of example 1 contain NaN"),
        (lambda: top_classes([[np.nan, 1]]), r"scores of example 0 contain NaN"),
        (lambda: confusion_matrix([0, 1], [0], 2), r"Got 2 labels for 1 predictions"),
        (lambda: confusion_matrix([0], [3], 2), r"predictions are in \[0, 2\), got 3"),
        (lambda: mean_class_accuracy(np.zeros((2, 2))), r"The confusion matrix is empty"),
        (lambda: average_views([1.0, 2.0]), r"shape \(..., V, K\), V > 0, got \(2,\)"),
        (lambda: average_views([[np.inf, 0.0]]), r"A view has NaN or infinite logits"),
        (lambda: average_views([[1.0]], "sum"), r"'probabilities', 'logits' or 'max', got 'sum'"),
        (lambda: clip_hit_at_1([[1.0]], [0]), r"shape \(N, V, K\), got \(1, 1\)"),
        (lambda: average_precision([0.1], [True, False]), r"Got \(1,\) scores for \(2,\) posit"),
        (lambda: mean_average_precision([0.1], [True]), r"\(1,\) positives; both \(N, K\)"),
        (lambda: mean_average_precision([[0.1]], [[False]]), r"No class has a positive example"),
    ],
)
def test_errors_name_the_value(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
