"""TIN: what moves how far, and MMAction2's network."""

from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.models import convert_state_dict, create_model
from praxino.models.tin import shift
from praxino.weights.fitting import check_fit


def test_equals_the_reference(equals_golden: Any) -> None:
    def forward(model: Any, frames: Tensor) -> Tensor:
        logits: Tensor = model(frames.transpose(1, 2))
        return logits

    equals_golden("mmaction2/tin_r50_1x1x8", "tin_r50", "mmaction2", forward=forward)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (0.0, [1, 2, 4]),
        (1.0, [0, 1, 2]),
        (-1.0, [2, 4, 0]),
        (0.5, [0.5, 1.5, 3]),
        (-0.25, [1.25, 2.5, 3]),
        (1.5, [0, 0.5, 1.5]),
    ],
)
def test_moves_by_any_number_of_frames(offset: float, expected: list[float]) -> None:
    groups = torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 3, 1, 1, 1)
    moved = shift(groups, torch.tensor([[offset]]))
    assert moved.flatten().tolist() == expected


def test_groups_move_by_themselves() -> None:
    groups = torch.ones(2, 2, 3, 1, 1, 1)
    moved = shift(groups, torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
    assert moved.flatten(2).tolist() == [[[0, 1, 1], [1, 0, 0]], [[1, 1, 1], [0, 0, 0]]]


def test_how_far_can_be_learned() -> None:
    offsets = torch.tensor([[0.25]], requires_grad=True)
    groups = torch.tensor([1.0, 3.0]).view(1, 1, 2, 1, 1, 1)
    shift(groups, offsets)[0, 0, 1].sum().backward()
    assert offsets.grad is not None
    assert offsets.grad.item() == 1 - 3  # less of frame 1, more of frame 0


def test_backbone_weights_leave_the_rest_to_be_learned() -> None:
    with torch.device("meta"):
        model = create_model("tin_r50", 1000)
        state = create_model("single_frame", backbone="resnet50").state_dict()
    theirs = {
        name.removeprefix("backbone.features.").replace("head.", "fc."): value
        for name, value in state.items()
    }
    check_fit(model, convert_state_dict(theirs, source="torchvision", model=model), "resnet50")


@pytest.mark.parametrize("share", [0, 17])
def test_some_channels_move(share: int) -> None:
    with pytest.raises(ValueError, match=f"share must be from 1 to 16, got {share}"):
        create_model("tin_r50", share=share)


def test_knows_how_many_frames_there_are() -> None:
    with torch.device("meta"):
        model = create_model("tin_r50", frames=4)
        with pytest.raises(ValueError, match="TIN was built for T=4, got T=8"):
            model(torch.zeros(1, 3, 8, 32, 32))
