"""Montes' network: C3D's features, the share of background, and segments from probabilities."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from praxino.models import c3d, c3d_lstm, convert_state_dict, create_model, published_weights
from praxino.models.c3d_lstm import C3dLstm, activity_scores, activity_segments


def small(**options: Any) -> C3dLstm:
    torch.manual_seed(0)
    return c3d_lstm(3, **{"steps": 2, "size": 32, "width": 4, "hidden": 8} | options).eval()


def clip_of(frames: int) -> Tensor:
    return torch.randn(2, 3, frames, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_its_features_are_those_of_c3d() -> None:
    """With C3D's weights, as the authors took them, fc6 and its ReLU are the same."""
    torch.manual_seed(0)
    source = c3d(5).eval()
    model = c3d_lstm(3, hidden=8, steps=1).eval()
    model.load_state_dict(convert_state_dict(source.state_dict(), source="c3d", model=model))
    clip = torch.randn(1, 3, 16, 112, 112)
    with torch.no_grad():
        maps = model.forward_features(clip)
        torch.testing.assert_close(maps[:, :, 0], source.forward_features(clip)[:, :, 0])
        features = model.c3d.fc6(maps.flatten(1)).relu()
        torch.testing.assert_close(features, source.fc6_features(clip))


def test_starts_from_c3ds_published_weights() -> None:
    row = published_weights("c3d_lstm")["sports1m"]
    with torch.device("meta"):
        model, source = create_model("c3d_lstm"), create_model("c3d", 487)
        theirs = {
            name.replace("conv1a", "conv1").replace("conv2a", "conv2").replace("head", "fc8"): value
            for name, value in source.state_dict().items()
        }
        converted = convert_state_dict(theirs, source=row.layout, model=model)
        model.load_state_dict(converted, strict=True, assign=True)


def test_a_frozen_c3d_answers_as_one_that_is_not_and_stays_as_it_is() -> None:
    frozen, free = small(), small(frozen=False)
    free.load_state_dict(frozen.state_dict())
    with torch.no_grad():
        assert torch.equal(frozen(clip_of(32)), free(clip_of(32)))
    frozen.train().loss(clip_of(32), torch.tensor([1, 2]))[0].backward()
    assert all(parameter.grad is None for parameter in frozen.c3d.parameters())
    assert frozen.head.weight.grad is not None


def test_background_counts_for_less() -> None:
    model, clip = small(background_weight=0.3), clip_of(32)
    with torch.no_grad():
        steps = model.forward_steps(clip)  # (2, 2, 3)
        loss, logits = model.loss(clip, torch.tensor([0, 2]))
        background = cross_entropy(steps[0], torch.tensor([0, 0]))
        action = cross_entropy(steps[1], torch.tensor([2, 2]))
        torch.testing.assert_close(loss, (0.3 * background + action) / 2)
        torch.testing.assert_close(logits, model(clip))


def test_each_step_may_have_its_own_label() -> None:
    model, clip = small(), clip_of(32)
    with torch.no_grad():
        once, _ = model.loss(clip, torch.tensor([1, 2]))
        each, _ = model.loss(clip, torch.tensor([[1, 1], [2, 2]]))
        other, _ = model.loss(clip, torch.tensor([[1, 1], [2, 0]]))
    assert once == each
    assert once != other


def test_frames_come_in_sixteens() -> None:
    with pytest.raises(ValueError, match=r"takes 16 frames at a time, got T=40\. Feed 32 frames"):
        small()(clip_of(40))
    with pytest.raises(ValueError, match="needs T of at least 16, got T=8"):
        small()(clip_of(8))


def test_a_weight_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"background_weight is 0 or more, got -1\.0"):
        small(background_weight=-1.0)


def found_in(*arguments: Any, **options: Any) -> list[Any]:
    return list(activity_segments(*arguments, **options))


def scores_of(background: list[float]) -> NDArray[np.float64]:
    """Of each clip: what is no background is shared 3 : 1 by classes 2 and 1."""
    p = np.array(background)
    return np.stack([p, (1 - p) / 4, 3 * (1 - p) / 4], axis=1)


def test_a_video_is_what_it_is_likeliest_apart_from_background() -> None:
    np.testing.assert_allclose(activity_scores(scores_of([0.9, 0.7])), [0, 0.25, 0.75])
    np.testing.assert_allclose(activity_scores(scores_of([1.0, 1.0])), [0, 0, 0])


def test_segments_are_what_is_no_background_after_smoothing() -> None:
    scores = scores_of([1, 1, 0.4, 0.4, 1, 1, 1, 0.7])
    assert found_in(scores, 0.5, smoothing=0, threshold=0.5) == [(2, 1.0, 2.0, pytest.approx(0.45))]
    # Averaged with their neighbours: 1, .8, .6, .6, .8, 1, .9, .85
    assert found_in(scores, 0.5, smoothing=1, threshold=0.2) == [
        (2, 0.5, 2.5, pytest.approx((0.2 + 0.4 + 0.4 + 0.2) / 4 * 0.75))
    ]
    # The last clip has one neighbour only, and is active itself.
    assert [found[1:3] for found in found_in(scores, 0.5, smoothing=1, threshold=0.149)] == [
        (0.5, 2.5),
        (3.5, 4.0),
    ]
    assert found_in(scores_of([0.0, 0.0]), 2.0) == [(2, 0.0, 4.0, pytest.approx(0.75))]
    assert found_in(scores_of([1.0, 1.0]), 2.0) == []


def test_what_cannot_be_segmented_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, K\), at least one clip, .* got \(0, 3\)"):
        activity_segments(np.zeros((0, 3)), 1.0)
    with pytest.raises(ValueError, match=r"background and an activity, got \(4, 1\)"):
        activity_scores(np.ones((4, 1)))
    with pytest.raises(ValueError, match="got smoothing=-1 and clip_seconds=1"):
        activity_segments(scores_of([0.5]), 1, smoothing=-1)
    with pytest.raises(ValueError, match="smoothing=5 and clip_seconds=0"):
        activity_segments(scores_of([0.5]), 0)
