"""Accuracy, confusion and average precision of whole-clip classification.

Equal scores are ranked by class number, the lower first, as `np.argmax` does. So `hit_at_k` with
k = 1 is exactly the accuracy of the arg-max predictions that the confusion matrix counts, and no
result depends on the order of the videos. NaN is refused: sorting would rank it above everything.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def hit_at_k(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Share of examples whose label is among the k classes with the highest scores.

    Args:
        scores: `(N, K)` logits or probabilities.
        labels: `(N,)` integers in [0, K).
        k: from 1 to K.

    Returns:
        A number in [0, 1].

    Example:
        The first label comes first, the second comes second, the third last:

        >>> hit_at_k([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.3, 0.2]], [0, 1, 2], k=2)
        0.6666666666666666
    """
    scores, labels = _checked(scores, labels)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"hit@{k} needs k from 1 to the number of classes, {scores.shape[1]}.")
    return float(np.mean(label_ranks(scores, labels) < k))


def label_ranks(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """How many classes rank before each label: `(N,)` from 0 (a hit at 1) to K - 1.

    Args:
        scores: `(N, K)` logits or probabilities.
        labels: `(N,)` integers in [0, K).

    Example:
        >>> label_ranks([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0]], [2, 1])
        array([2, 1])
    """
    scores, labels = _checked(scores, labels)
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    lower_number = np.arange(scores.shape[1]) < labels[:, None]
    before = (scores > own) | ((scores == own) & lower_number)
    return np.asarray(before.sum(axis=1), dtype=np.int64)


def top_classes(scores: ArrayLike) -> NDArray[np.int64]:
    """The `(N,)` predictions of `(N, K)` scores.

    Example:
        >>> top_classes([[0.1, 0.9], [0.5, 0.5]])
        array([1, 0])
    """
    return np.argmax(_finite_enough(scores), axis=-1).astype(np.int64)


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int
) -> NDArray[np.int64]:
    """How often each class was taken for each class.

    Args:
        labels: `(N,)` integers in [0, num_classes): the truth.
        predictions: `(N,)` integers in [0, num_classes).
        num_classes: K.

    Returns:
        `(K, K)` counts; row = truth, column = prediction. They sum to N.

    Example:
        >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2)
        array([[1, 1],
               [0, 1]])
    """
    labels = _class_numbers("labels", labels, num_classes)
    predictions = _class_numbers("predictions", predictions, num_classes)
    if labels.shape != predictions.shape:
        raise ValueError(f"Got {len(labels)} labels for {len(predictions)} predictions.")
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def normalise_rows(confusion: ArrayLike) -> Floats:
    """Counts as shares of each true class; a class that never occurs becomes a row of NaN.

    Example:
        >>> normalise_rows([[1, 1], [0, 0]])
        array([[0.5, 0.5],
               [nan, nan]])
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    return _divide(confusion, confusion.sum(axis=1, keepdims=True))


def per_class_accuracy(confusion: ArrayLike) -> Floats:
    """Recall of each class, `(K,)` in [0, 1]; NaN for a class that never occurs.

    Example:
        >>> per_class_accuracy([[1, 1], [0, 3]])
        array([0.5, 1. ])
    """
    return np.diagonal(normalise_rows(confusion)).copy()


def per_class_precision(confusion: ArrayLike) -> Floats:
    """Share of each class's predictions that are right, `(K,)`; NaN for one never predicted.

    Example:
        >>> per_class_precision([[1, 1], [0, 3]])
        array([1.  , 0.75])
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    return _divide(np.diagonal(confusion), confusion.sum(axis=0))


def mean_class_accuracy(confusion: ArrayLike) -> float:
    """Mean recall over the classes that occur in the ground truth.

    A class that is only predicted, never true, has no recall and stays out. MMAction2 counts it
    as 0, so its number is lower where the test set lacks classes.

    Example:
        The third class is predicted once but never true:

        >>> mean_class_accuracy([[1, 1, 0], [0, 3, 1], [0, 0, 0]])
        0.625
    """
    accuracy = per_class_accuracy(confusion)
    if np.isnan(accuracy).all():
        raise ValueError("The confusion matrix is empty: no class occurs in the ground truth.")
    return float(np.nanmean(accuracy))


def average_views(
    logits: ArrayLike, method: Literal["probabilities", "logits", "max"] = "probabilities"
) -> Floats:
    """Merge the views of each video into one vector of probabilities.

    Args:
        logits: `(..., V, K)`, one row per view.
        method: "probabilities" is the mean of the views' softmax, "logits" the softmax of the
            mean logits, "max" the highest probability that any view gives to the class. They
            rank differently (on one benchmark case 68 %, 84 % and 20 % top-1), so name the one
            used beside every accuracy.

    Returns:
        `(..., K)`; sums to 1 except for "max".

    Example:
        >>> average_views([[0.0, 0.0], [np.log(3), 0.0]])
        array([0.625, 0.375])
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim < 2 or logits.shape[-2] == 0:
        raise ValueError(f"Logits of views have the shape (..., V, K), V > 0, got {logits.shape}.")
    if not np.isfinite(logits).all():
        raise ValueError("A view has NaN or infinite logits; averaging would hide it.")
    match method:
        case "probabilities":
            return np.asarray(_softmax(logits).mean(axis=-2))
        case "logits":
            return _softmax(logits.mean(axis=-2))
        case "max":
            return np.asarray(_softmax(logits).max(axis=-2))
    raise ValueError(f"Views merge by 'probabilities', 'logits' or 'max', got {method!r}.")


def clip_hit_at_1(logits: ArrayLike, labels: ArrayLike) -> float:
    """Share of single views that are right: every clip counts as an example of its own.

    Args:
        logits: `(N, V, K)`.
        labels: `(N,)` integers in [0, K), one per video.

    Example:
        Of the four views three are right:

        >>> clip_hit_at_1([[[2, 1], [1, 2]], [[0, 1], [0, 1]]], [0, 1])
        0.75
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 3:
        raise ValueError(f"Logits of views have the shape (N, V, K), got {logits.shape}.")
    views = logits.shape[1]
    return hit_at_k(logits.reshape(-1, logits.shape[2]), np.repeat(np.asarray(labels), views), 1)


def average_precision(scores: ArrayLike, positives: ArrayLike) -> float:
    """Area under the precision-recall curve of one class, not interpolated.

    Equal scores form one group: precision is taken after the whole group, so the result does not
    depend on the order of the examples.

    Args:
        scores: `(N,)`; higher is more likely.
        positives: `(N,)` booleans.

    Returns:
        A number in [0, 1]; NaN when nothing is positive.

    Example:
        The positives rank first and third, precision there is 1/1 and 2/3:

        >>> average_precision([0.9, 0.8, 0.7], [True, False, True])
        0.8333333333333333
    """
    scores, positives = _finite_enough(scores), np.asarray(positives, dtype=bool)
    if scores.shape != positives.shape or scores.ndim != 1:
        raise ValueError(f"Got {scores.shape} scores for {positives.shape} positives; both (N,).")
    if not positives.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positives[order])
    group_ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision = hits[group_ends] / (group_ends + 1)
    recall_steps = np.diff(hits[group_ends], prepend=0) / hits[-1]
    return float(np.sum(precision * recall_steps))


def mean_average_precision(scores: ArrayLike, positives: ArrayLike) -> float:
    """Mean of `average_precision` over the classes with at least one positive.

    Args:
        scores: `(N, K)`.
        positives: `(N, K)` booleans: multi-label ground truth.

    Example:
        >>> mean_average_precision([[0.9, 0.1], [0.1, 0.9]], [[True, True], [False, False]])
        0.75
    """
    scores, positives = _finite_enough(scores), np.asarray(positives, dtype=bool)
    if scores.shape != positives.shape or scores.ndim != 2:
        raise ValueError(f"Got {scores.shape} scores for {positives.shape} positives; both (N, K).")
    if not positives.any():
        raise ValueError("No class has a positive example, so there is no mean to take.")
    values = [average_precision(*column) for column in zip(scores.T, positives.T, strict=True)]
    return float(np.nanmean(values))


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    scores = _finite_enough(scores)
    if scores.ndim != 2:
        raise ValueError(f"Scores have the shape (N, K), got {scores.shape}.")
    labels = _class_numbers("labels", labels, scores.shape[1])
    if len(labels) != len(scores):
        raise ValueError(f"Got {len(labels)} labels for {len(scores)} rows of scores.")
    if not len(labels):
        raise ValueError("There are no examples to score.")
    return scores, labels


def _finite_enough(scores: ArrayLike) -> Floats:
    """The scores as floats; infinities keep their place in a ranking, NaN has none."""
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        row = int(np.argwhere(np.isnan(scores))[0][0])
        raise ValueError(f"The scores of example {row} contain NaN; it cannot be ranked.")
    return scores


def _class_numbers(name: str, numbers: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    found = np.asarray(numbers)
    if found.ndim != 1 or (found.size and not np.issubdtype(found.dtype, np.integer)):
        raise ValueError(f"{name} are (N,) integers, got {found.dtype} of shape {found.shape}.")
    found = found.astype(np.int64)
    outside = found[(found < 0) | (found >= num_classes)]
    if outside.size:
        raise ValueError(f"{name} are in [0, {num_classes}), got {outside[0]}.")
    return found


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _divide(counts: Floats, totals: Floats) -> Floats:
    """Shares; NaN instead of a warning where there is nothing to divide."""
    return np.asarray(np.where(totals > 0, counts / np.maximum(totals, 1), np.nan))
