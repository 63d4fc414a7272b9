"""R3D and R(2+1)D of pytorch-video-recognition."""

from typing import Any

import pytest
import torch

from praxino.models import convert_state_dict, create_model


@pytest.mark.parametrize(
    ("path", "name"),
    [("c3d/r3d18_jf", "r3d_18_jf"), ("c3d/r2plus1d18_jf", "r2plus1d_18_jf")],
)
def test_equals_the_reference(equals_golden: Any, path: str, name: str) -> None:
    equals_golden(path, name, "jfzhang95")


def test_blocks_after_the_first_are_counted_on() -> None:
    with torch.device("meta"):
        model = create_model("r3d_34_jf")
    value = torch.zeros(1)
    names = {
        "res3d.conv3.block1.conv1.temporal_spatial_conv.weight": "stage2.0.conv1.conv.weight",
        "res3d.conv4.blocks.0.bn1.bias": "stage3.1.norm1.bias",
        "res3d.conv4.blocks.4.conv2.bn.bias": "stage3.5.conv2.norm.bias",
    }
    assert set(names.values()) <= set(model.state_dict())
    found = convert_state_dict(dict.fromkeys(names, value), source="jfzhang95", model=model)
    assert list(found) == list(names.values())
