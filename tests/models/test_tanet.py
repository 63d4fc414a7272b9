"""TANet: what its filters do, and MMAction2's network."""

from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.models import convert_state_dict, create_model
from praxino.models.tanet import AdaptiveFilter
from praxino.weights.fitting import check_fit


def test_equals_the_reference(equals_golden: Any) -> None:
    def forward(model: Any, frames: Tensor) -> Tensor:
        logits: Tensor = model(frames.transpose(1, 2))
        return logits

    equals_golden("mmaction2/tanet_r50_1x1x8", "tanet_r50", "mmaction2", forward=forward)


def test_a_filter_is_an_average_of_weighed_neighbours() -> None:
    """Without what was learned: kernels of a third each, weights of a half."""
    module = AdaptiveFilter(4, frames=3).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        maps = torch.tensor([3.0, 6.0, 12.0]).view(3, 1, 1, 1).expand(-1, 4, 2, 2)
        filtered = module(maps)
    torch.testing.assert_close(filtered[:, 0, 0, 0], torch.tensor([1.5, 3.5, 3.0]))


def test_backbone_weights_leave_the_filters_to_be_learned() -> None:
    with torch.device("meta"):
        model = create_model("tanet_r50", 1000)
        state = create_model("single_frame", backbone="resnet50").state_dict()
    theirs = {
        name.removeprefix("backbone.features.").replace("head.", "fc."): value
        for name, value in state.items()
    }
    check_fit(model, convert_state_dict(theirs, source="torchvision", model=model), "resnet50")


def test_knows_how_many_frames_there_are() -> None:
    with torch.device("meta"):
        model = create_model("tanet_r50", frames=4)
        with pytest.raises(ValueError, match="TANet was built for T=4, got T=8"):
            model(torch.zeros(1, 3, 8, 32, 32))
