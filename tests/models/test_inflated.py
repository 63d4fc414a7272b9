"""The inflated model: torchvision's weights, streams, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from praxino.models import create_model, published_weights


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_reads_torchvisions_weights(name: str, tmp_path: Path) -> None:
    """A still video of the 3D network is classified as its frame is by the 2D network."""
    torch.manual_seed(0)
    network = models.get_model(name, weights=None).eval()
    save_file(network.state_dict(), tmp_path / "flat.safetensors")
    model = create_model(
        "inflated", weights=tmp_path / "flat.safetensors", backbone=name, border="replicate"
    ).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = model(image[:, :, None].expand(-1, -1, 4, -1, -1))
        torch.testing.assert_close(found, network(image), rtol=1e-4, atol=1e-5)


def test_weights_of_imagenet_are_the_backbones() -> None:
    assert "resnet50-" in published_weights("inflated", backbone="resnet50")["imagenet"].url


def test_looks_at_flow_too() -> None:
    model: Any = create_model("inflated", 3, stream="flow", frames=4, size=32).eval()
    assert model.clip_spec.inputs == ("flow",)
    with torch.no_grad():
        assert model(torch.zeros(1, 2, 4, 32, 32)).shape == (1, 3)


def test_refuses_a_stream_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"stream is one of rgb, flow, .*, not 'sound'\."):
        create_model("inflated", stream="sound")


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_refuses_backbones_that_know_no_time(name: str) -> None:
    expected = rf"^backbone='{name}': .* cannot be inflated: .* can be, for example resnet50\.$"
    with pytest.raises(ValueError, match=expected):
        create_model("inflated", backbone=name)


def test_refuses_an_unknown_border() -> None:
    with pytest.raises(ValueError, match="inflated: border"):
        create_model("inflated", border="mirror")
