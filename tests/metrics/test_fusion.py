import doctest

import numpy as np
import pytest

from praxino.metrics import fusion
from praxino.metrics.fusion import average, l2_normalise, maximum, product, search_weights, softmax

RNG = np.random.default_rng(0)


def probabilities(streams: int = 2, examples: int = 6, classes: int = 4) -> np.ndarray:
    return softmax(3 * RNG.standard_normal((streams, examples, classes)))


def test_examples_in_the_docstrings() -> None:
    failed, tried = doctest.testmod(fusion)
    assert failed == 0
    assert tried >= 7


def test_only_the_ratios_of_weights_matter() -> None:
    streams = probabilities(3)
    for merge in (average, product, maximum):
        np.testing.assert_allclose(merge(streams, [2, 4, 1]), merge(streams, [0.4, 0.8, 0.2]))
        np.testing.assert_allclose(merge(streams), merge(streams, [7, 7, 7]))


def test_a_weight_of_zero_leaves_a_stream_out() -> None:
    streams = probabilities()
    np.testing.assert_allclose(average(streams, [1, 0]), streams[0])
    np.testing.assert_allclose(product(streams, [1, 0]), streams[0], rtol=1e-6)


def test_the_order_of_the_streams_does_not_matter() -> None:
    streams = probabilities()
    for merge in (average, product, maximum):
        np.testing.assert_allclose(merge(streams, [1, 3]), merge(streams[::-1], [3, 1]))


def test_a_product_is_a_sum_of_logarithms() -> None:
    streams = probabilities()
    expected = np.exp(np.log(streams).mean(axis=0))
    np.testing.assert_allclose(product(streams), expected / expected.sum(axis=1, keepdims=True))


def test_a_class_that_is_ruled_out_stays_out_of_a_product() -> None:
    fused = product([[[1.0, 0.0]], [[0.01, 0.99]]])
    assert fused[0, 0] > 0.99


def test_softmax_does_not_overflow() -> None:
    np.testing.assert_allclose(softmax([[1e4, 0.0]]), [[1.0, 0.0]])


def test_normalising_keeps_the_ranking() -> None:
    scores = RNG.standard_normal((5, 7))
    np.testing.assert_array_equal(np.argsort(l2_normalise(scores)), np.argsort(scores))
    np.testing.assert_allclose(np.linalg.norm(l2_normalise(scores), axis=1), 1)


def test_a_search_finds_what_no_stream_knows_alone() -> None:
    """Each stream is right about half of the examples, and unsure about the others."""
    labels = np.arange(8) % 2
    right = np.eye(2)[labels]
    streams = np.stack([right.copy(), right.copy()])
    streams[0, :4] = [0.5, 0.5] + 0.05 * (1 - 2 * right[:4])  # slightly wrong
    streams[1, 4:] = [0.5, 0.5] + 0.05 * (1 - 2 * right[4:])
    weights, accuracy = search_weights(streams, labels)
    assert accuracy == 1.0
    assert weights == (0.5, 0.5)  # of all that are right, the nearest to equal


def test_a_search_can_leave_a_stream_out() -> None:
    labels = np.arange(8) % 2
    right = np.eye(2)[labels]
    weights, accuracy = search_weights([right, 2 * (1 - right)], labels, steps=4)
    assert (weights, accuracy) == ((0.75, 0.25), 1.0)
    weights, _ = search_weights([0.6 * right, 10 * (1 - right)], labels, steps=4)
    assert weights == (1.0, 0.0)


@pytest.mark.parametrize(
    ("merge", "message"),
    [
        (lambda: average([[1.0, 2.0]]), r"Streams have the shape \(M, N, K\), got \(1, 2\)\."),
        (lambda: average(probabilities(), [1]), r"There are 2 streams and 1 weights\."),
        (lambda: average(probabilities(), [1, -1]), r"Weights are numbers from 0, .* got 1, -1\."),
        (lambda: average(probabilities(), [0, 0]), r"not all of them 0, got 0, 0\."),
        (lambda: average([[[1.0]], [[np.nan]]]), r"Stream 1 has scores that are NaN or infinite"),
        (lambda: product([[[1.0, -2.0]]]), r"A product is of probabilities, got a score of -2\."),
        (lambda: search_weights([[[1.0]]], [0], steps=0), r"steps must be at least 1, got 0\."),
        (
            lambda: search_weights(probabilities(6), [0] * 6),
            r"6 streams in steps of 1/20 has 53,130 combinations, of which 20,000 are tried",
        ),
    ],
)
def test_what_cannot_be_fused_is_named(merge, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge()
