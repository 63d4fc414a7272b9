"""S3D and its gated form."""

from typing import Any

import pytest
import torch
from torch import nn

from praxino.layer_table import count_parameters
from praxino.models import convert_state_dict, create_model
from praxino.models.s3d import WIDTHS_3, Gate, Inception


@pytest.mark.slow
def test_equals_torchvision(equals_golden: Any) -> None:
    equals_golden("torchvision_video/s3d", "s3d", "torchvision")


def test_reads_torchvisions_names() -> None:
    """On torchvision itself: the golden's small case has 224 pixels a side, which takes longer."""
    from torchvision.models.video import s3d

    torch.manual_seed(0)
    theirs = s3d(num_classes=5).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, 0.0, 1.0)
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    ours: Any = create_model("s3d", 5).eval()
    ours.load_state_dict(convert_state_dict(theirs.state_dict(), source="torchvision", model=ours))
    clip = torch.randn(1, 3, 8, 40, 56)
    with torch.no_grad():
        expected = theirs.features(clip)  # too small for torchvision's own pooling
        assert expected.std() > 0
        torch.testing.assert_close(ours.forward_features(clip), expected)


def test_a_gate_of_zeros_halves_the_map_and_a_large_one_leaves_it() -> None:
    gate = Gate(2)
    maps = torch.ones(1, 2, 1, 1, 1)
    with torch.no_grad():
        gate.weight.weight.zero_()
        torch.testing.assert_close(gate(maps), maps / 2)
        gate.weight.weight.copy_(torch.tensor([[100.0, 0.0], [0.0, -100.0]]))
        torch.testing.assert_close(gate(maps)[0, :, 0, 0, 0], torch.tensor([1.0, 0.0]))


def test_gates_add_a_square_of_weights_for_each_path() -> None:
    with torch.device("meta"):
        plain = count_parameters(Inception(192, WIDTHS_3[0], gated=False))
        gated = count_parameters(Inception(192, WIDTHS_3[0], gated=True))
    assert gated - plain == 64**2 + 128**2 + 32**2 + 32**2


@pytest.mark.parametrize(("shape", "problem"), [((4, 32, 32), "T of at least 5, got T=4")])
def test_says_what_is_too_small(shape: tuple[int, int, int], problem: str) -> None:
    with torch.device("meta"):
        model = create_model("s3d")
        with pytest.raises(ValueError, match=f"S3D needs {problem}"):
            model(torch.zeros(1, 3, *shape))
        with pytest.raises(ValueError, match="S3D needs H and W of at least 17, got 16 x 32"):
            model(torch.zeros(1, 3, 8, 16, 32))
