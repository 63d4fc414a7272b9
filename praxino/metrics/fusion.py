"""Late fusion: what several models say of the same examples, made one answer.

Scores are whatever a model gives: probabilities, logits, distances to an SVM's planes. Streams of
different kinds are brought to one scale before they are averaged: by `softmax`, or by
`l2_normalise`, each example by itself.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from praxino.metrics.classification import hit_at_k

Floats = NDArray[np.float64]

SMALLEST = 1e-12  # a probability below this counts as this in a product; zero would be a veto
MOST_COMBINATIONS = 20_000  # of weights that a search tries


def l2_normalise(scores: ArrayLike) -> Floats:
    """Each example's scores, of length one; an example whose scores are all zero stays so.

    Args:
        scores: `(..., K)`.

    Example:
        >>> l2_normalise([[3.0, 4.0], [0.0, 0.0]])
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    scores = np.asarray(scores, dtype=np.float64)
    length = np.linalg.norm(scores, axis=-1, keepdims=True)
    return np.asarray(scores / np.where(length > 0, length, 1))


def softmax(scores: ArrayLike) -> Floats:
    """Probabilities from logits.

    Args:
        scores: `(..., K)`.

    Example:
        >>> softmax([[0.0, np.log(3)]])
        array([[0.25, 0.75]])
    """
    scores = np.asarray(scores, dtype=np.float64)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def average(streams: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """The weighted mean of the streams' scores.

    Args:
        streams: `(M, N, K)`.
        weights: `(M,)`, none of them negative; all alike unless given. Only their ratios matter.

    Returns:
        `(N, K)`.

    Example:
        >>> average([[[1.0, 0.0]], [[0.0, 1.0]]], weights=[1, 3])
        array([[0.25, 0.75]])
    """
    streams, shares = _checked(streams, weights)
    return np.asarray(np.tensordot(shares, streams, axes=1))


def product(streams: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """The weighted geometric mean of the streams' probabilities, made to sum to 1 again.

    A class that one stream rules out is out, however sure the others are.

    Args:
        streams: `(M, N, K)` probabilities.
        weights: as `average` takes them.

    Returns:
        `(N, K)` probabilities.

    Example:
        >>> product([[[0.5, 0.5]], [[0.2, 0.8]]]).round(4)
        array([[0.3333, 0.6667]])
    """
    streams, shares = _checked(streams, weights)
    if streams.min() < 0:
        raise ValueError(
            f"A product is of probabilities, got a score of {streams.min():g}. Turn logits into "
            "probabilities by softmax."
        )
    return softmax(np.tensordot(shares, np.log(np.maximum(streams, SMALLEST)), axes=1))


def maximum(streams: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """For each class the score of the stream that gives it the highest, times its weight.

    Args:
        streams: `(M, N, K)`.
        weights: as `average` takes them.

    Returns:
        `(N, K)`.

    Example:
        >>> maximum([[[0.9, 0.1]], [[0.3, 0.7]]])
        array([[0.9, 0.7]])
    """
    streams, shares = _checked(streams, weights)
    relative = shares / shares.max()
    return np.asarray((streams * relative[:, None, None]).max(axis=0))


def svm_features(streams: ArrayLike) -> Floats:
    """What the SVM of two-stream networks reads: the streams' L2-normalised scores, side by side.

    Simonyan and Zisserman, "Two-Stream Convolutional Networks", NIPS 2014, Sec. 6.

    Args:
        streams: `(M, N, K)` probabilities.

    Returns:
        `(N, M K)`.

    Example:
        >>> svm_features([[[3.0, 4.0]], [[0.0, 2.0]]])
        array([[0.6, 0.8, 0. , 1. ]])
    """
    streams, _ = _checked(streams, None)
    return np.concatenate(list(l2_normalise(streams)), axis=1)


def search_weights(
    streams: ArrayLike, labels: ArrayLike, *, steps: int = 20
) -> tuple[tuple[float, ...], float]:
    """The weights, in steps of 1 / `steps`, whose average is right most often.

    Of several that are equally good the nearest to equal weights is taken. The accuracy is kind:
    it is of the very examples that chose the weights.

    Args:
        streams: `(M, N, K)`.
        labels: `(N,)` integers in [0, K).
        steps: into which 1 is divided.

    Returns:
        The weights, which sum to 1, and the share of examples that they get right.

    Raises:
        ValueError: there are too many combinations to try them all.

    Example:
        The second stream is right about both examples, the first one is surer:

        >>> search_weights([[[0.9, 0.1], [0.8, 0.2]], [[0.4, 0.6], [0.4, 0.6]]], [1, 1], steps=10)
        ((0.1, 0.9), 1.0)
    """
    streams, _ = _checked(streams, None)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    tried = list(_shares(len(streams), steps))
    if len(tried) > MOST_COMBINATIONS:
        raise ValueError(
            f"A search over {len(streams)} streams in steps of 1/{steps} has {len(tried):,} "
            f"combinations, of which {MOST_COMBINATIONS:,} are tried at most. Take larger steps."
        )
    equal = np.full(len(streams), 1 / len(streams))
    best: tuple[float, float] = (-1.0, 0.0)
    weights: tuple[float, ...] = tuple(equal)
    for shares in tried:
        given = np.array(shares) / steps
        accuracy = hit_at_k(np.tensordot(given, streams, axes=1), labels, 1)
        rank = (accuracy, -float(np.square(given - equal).sum()))
        if rank > best:
            best, weights = rank, tuple(float(value) for value in given)
    return weights, best[0]


def _shares(streams: int, steps: int) -> Iterator[tuple[int, ...]]:
    """All ways to divide `steps` equal parts among the streams."""
    if streams == 1:
        yield (steps,)
        return
    for first in range(steps + 1):
        for rest in _shares(streams - 1, steps - first):
            yield (first, *rest)


def _checked(streams: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """The streams, and weights that sum to 1."""
    streams = np.asarray(streams, dtype=np.float64)
    if streams.ndim != 3 or not len(streams):
        raise ValueError(f"Streams have the shape (M, N, K), got {streams.shape}.")
    if not np.isfinite(streams).all():
        stream = int(np.argwhere(~np.isfinite(streams))[0][0])
        raise ValueError(f"Stream {stream} has scores that are NaN or infinite; leave it out.")
    given = np.ones(len(streams)) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (len(streams),):
        raise ValueError(f"There are {len(streams)} streams and {given.size} weights.")
    if not (np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0):
        raise ValueError(
            f"Weights are numbers from 0, not all of them 0, got {_listed(given.tolist())}."
        )
    return streams, given / given.sum()


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
