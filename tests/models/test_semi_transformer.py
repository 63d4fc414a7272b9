"""Against the port, and which frames answer."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.models.semi_transformer import Norm, Unit, _places, semi_transformer_r50


@pytest.mark.slow  # 83 million numbers are made up first
def test_equals_the_reference(equals_golden: Any) -> None:
    """The port answers with what it classifies."""

    def forward(model: Any, frames: Tensor) -> Tensor:
        described: Tensor = model.describe(frames.transpose(1, 2))
        return described

    model = equals_golden(
        "action_transformer/semi_transformer_v2",
        "semi_transformer_r50",
        "ppriyank",
        options={"picture_width": 112},
        forward=forward,
        case=None,
        num_classes=625,
        same_norms=False,  # its own norm is none of torch's
    )
    assert model.head.out_features == 625
    assert sum(isinstance(module, Norm) for module in model.modules()) == 97


def test_the_norm_by_hand() -> None:
    norm = Norm(3, eps=1.0)
    found = norm(torch.tensor([1.0, 2.0, 3.0]))  # a deviation of 1, with N - 1
    torch.testing.assert_close(found, torch.tensor([-0.5, 0.0, 0.5]))


@torch.no_grad()
def test_the_frame_that_is_most_like_the_query_answers() -> None:
    torch.manual_seed(0)
    unit = Unit(4, dropout=0.0).eval()
    torch.nn.init.zeros_(unit.linear2.weight)
    torch.nn.init.zeros_(unit.linear2.bias)
    query = torch.tensor([[10.0, 0.0, 0.0, 0.0]])
    frames = torch.tensor([[[0.0, 9.0, 0.0, 0.0], [9.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 9.0]]])
    expected = unit.norm2(unit.norm1(query + frames[:, 1]))
    torch.testing.assert_close(unit(query, frames), expected)


def test_places_are_waves() -> None:
    places = _places(3, 8)[0]
    assert places[0].tolist() == [0, 1] * 4
    assert places[2, 0].item() == pytest.approx(math.sin(2))
    assert places[2, 3].item() == pytest.approx(math.cos(2 / 10000 ** (6 / 8)))


@torch.no_grad()
def test_the_middle_frame_asks() -> None:
    torch.manual_seed(0)
    model = semi_transformer_r50(3, frames=3, size=32).eval()
    torch.nn.init.zeros_(model.places)
    clip = torch.randn(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    described = model.describe(clip)
    assert described.norm().item() == pytest.approx(1)
    # Without places the other frames may change theirs, but not with the one that asks.
    torch.testing.assert_close(model.describe(clip[:, :, [2, 1, 0]]), described)
    assert not torch.allclose(model.describe(clip[:, :, [1, 0, 2]]), described)


def test_another_picture_is_refused() -> None:
    model = semi_transformer_r50(3, frames=2, size=64, picture_width=32)
    assert model.to_vector.kernel_size == (2, 1)
    with pytest.raises(ValueError, match=r"was built for 64 x 32 pixels, got 64 x 64 in a clip of"):
        model(torch.zeros(1, 3, 2, 64, 64))
