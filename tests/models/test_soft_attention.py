"""Where it looks, what not looking costs, and that a stream gives what a clip gives."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.models.soft_attention import soft_attention


def small(**options: Any) -> Any:
    torch.manual_seed(0)
    options = {"backbone": "resnet18", "hidden": 8, "layers": 2, "frames": 3, "size": 64} | options
    return soft_attention(4, **options).eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.randn(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_frames_weights_sum_to_one(clip: Tensor) -> None:
    places = small().attention(clip)
    assert places.shape == (2, 3, 2, 2)
    torch.testing.assert_close(places.sum(dim=(2, 3)), torch.ones(2, 3))
    assert places.std() > 0


@torch.no_grad()
def test_a_stream_gives_what_the_clip_gives(clip: Tensor) -> None:
    model = small()
    steps = model.forward_steps(clip)
    assert steps.shape == (2, 3, 4)
    state = model.begin(model.forward_features(clip))
    for now in range(3):
        logits, state = model.step(clip[:, :, now], state)
        torch.testing.assert_close(logits, steps[:, now])


@torch.no_grad()
def test_a_stream_without_a_beginning_starts_from_its_first_frame(clip: Tensor) -> None:
    model = small()
    logits, _ = model.step(clip[:, :, 0])
    torch.testing.assert_close(logits, model.forward_steps(clip[:, :, :1])[:, 0])


@torch.no_grad()
def test_logits_are_the_mean_of_the_frames_probabilities(clip: Tensor) -> None:
    model = small()
    each = model.forward_steps(clip).softmax(dim=2).mean(dim=1)
    torch.testing.assert_close(model(clip).softmax(dim=1), each)


@torch.no_grad()
def test_the_loss_by_hand(clip: Tensor) -> None:
    """Even weights of 1/4 on 4 places in 3 frames leave a quarter of a look at each undone."""
    model = small(penalty=10.0)
    nn.init.zeros_(model.where.weight)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    found, logits = model.loss(clip, torch.tensor([0, 3]))
    assert torch.equal(logits, model(clip))
    assert found.item() == pytest.approx(3 * math.log(4) + 10 * 4 * 0.25**2)
    model.penalty = 0.0
    assert model.loss(clip, torch.tensor([0, 3]))[0].item() == pytest.approx(3 * math.log(4))


@torch.no_grad()
def test_it_looks_where_it_is_told(clip: Tensor) -> None:
    """With all weight on one place, what is elsewhere changes only what it started from."""
    model = small()
    maps = model.forward_features(clip)
    state = model.begin(maps)
    nn.init.zeros_(model.where.weight)
    model.where.weight[3] = 1e6 * state[-1][0].sign()[0]  # the place at the lower right
    places, logits, _ = model._look(maps[:1, :, 0], [(h[:1], c[:1]) for h, c in state])
    assert places[0].tolist() == [[0, 0], [0, 1]]
    elsewhere = maps[:1, :, 0].clone()
    elsewhere[..., 0, :] = 7
    _, same, _ = model._look(elsewhere, [(h[:1], c[:1]) for h, c in state])
    assert torch.equal(same, logits)


def test_two_steps_of_training_lower_the_loss(clip: Tensor) -> None:
    model = small(dropout=0.0)
    labels = torch.tensor([0, 2])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss, _ = model.loss(clip, labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 3


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
        small(layers=0)
    with pytest.raises(ValueError, match=r"penalty must be at least 0, got -1\.0"):
        small(penalty=-1.0)
