"""Attentional pooling against second-order pooling written out."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from praxino.models.attention_pooling import attention_pooling


def small(rank: int = 1) -> Any:
    torch.manual_seed(0)
    model = attention_pooling(3, backbone="resnet18", rank=rank, dropout=0.0, frames=2, size=32)
    for layer in (model.bottom_up, model.head):
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    return model.eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.randn(2, 3, 2, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rank", [1, 2])
@torch.no_grad()
def test_is_second_order_pooling_of_low_rank(clip: Tensor, rank: int) -> None:
    """trace(X^T X W_k) with W_k the sum of a_k b^T."""
    model = small(rank)
    torch.nn.init.zeros_(model.bottom_up.bias)
    features = model.forward_features(clip).flatten(2).transpose(1, 2)  # (B, n, f)
    second = features.transpose(1, 2) @ features / features.shape[1]  # X^T X, (B, f, f)
    a = model.head.weight.view(3, rank, 512)
    b = model.bottom_up.weight.view(rank, 512)
    expected = torch.stack(
        [
            sum(torch.einsum("bij,j,i->b", second, a[k, p], b[p]) for p in range(rank))
            for k in range(3)
        ],
        dim=1,
    )
    torch.testing.assert_close(model(clip), expected + model.head.bias, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("rank", [1, 2])
@torch.no_grad()
def test_the_mean_of_its_maps_are_its_logits(clip: Tensor, rank: int) -> None:
    model = small(rank)
    maps = model.class_maps(clip)
    assert maps.shape == (2, 3, 2, 2, 2)
    assert model.bottom_up_maps(clip).shape == (2, rank, 2, 2, 2)
    logits = maps.mean(dim=(2, 3, 4)) + model.head.bias
    torch.testing.assert_close(logits, model(clip), rtol=1e-4, atol=1e-3)
    for shown, all_maps, winner in zip(model.attention(clip), maps, logits.argmax(1), strict=True):
        assert torch.equal(shown, all_maps[winner])


def test_two_steps_of_training_lower_the_loss(clip: Tensor) -> None:
    torch.manual_seed(0)
    model = attention_pooling(3, backbone="resnet18", dropout=0.0).eval()
    labels = torch.tensor([0, 2])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(3):
        loss = cross_entropy(model(clip), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True)
    assert losses[2] < 0.95 * losses[0]


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        attention_pooling(3, rank=0)
