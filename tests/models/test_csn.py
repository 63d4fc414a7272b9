"""Channel-separated networks, interaction-reduced and interaction-preserved."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.layer_table import count_parameters, multiply_adds
from praxino.models import convert_state_dict, create_model
from praxino.models.csn import Bottleneck, Csn


def without_views(model: nn.Module, clip: Tensor) -> Any:
    """mmaction2 feeds `(B, views, C, T, H, W)`."""
    return model(clip[:, 0])


def test_equals_mmaction2(equals_golden: Any) -> None:
    path = "mmaction2/ircsn_r50_32x2"
    equals_golden(path, "ir_csn_50", "mmaction2", forward=without_views)


@pytest.mark.slow
def test_equals_pytorchvideo(equals_golden: Any) -> None:
    equals_golden("pytorchvideo/csn_r101", "csn_r101", "pytorchvideo", case=None)


@pytest.mark.parametrize(
    ("name", "path"),
    [("ir_csn_50", "mmaction2/ircsn_r50_32x2"), ("csn_r101", "pytorchvideo/csn_r101")],
)
def test_multiply_adds_equal_the_reference(
    filler: Any, lab_goldens: Any, name: str, path: str
) -> None:
    golden = filler.load(lab_goldens / f"{path}.json")
    with torch.device("meta"):
        model = create_model(name)
    assert multiply_adds(model) == pytest.approx(golden["gmacs"] * 1e9, rel=1e-4)


def test_ip_adds_a_convolution_and_a_norm_to_each_block() -> None:
    with torch.device("meta"):
        reduced, preserved = (
            Bottleneck(256, 64, 1, preserved=False),
            Bottleneck(256, 64, 1, preserved=True),
        )
    assert count_parameters(preserved) - count_parameters(reduced) == 64 * 64 + 2 * 64


def test_mmaction2_lists_the_convolutions_of_an_ip_block() -> None:
    """The depthwise one is the last of the list: the second of ip, the only one of ir."""
    with torch.device("meta"):
        models = {name: create_model(name) for name in ("ip_csn_50", "ir_csn_50")}
    first, second = "backbone.layer3.5.conv2.0.bn.bias", "backbone.layer3.5.conv2.1.conv.weight"
    value = torch.zeros(1)
    ip = convert_state_dict(
        {first: value, second: value}, source="mmaction2", model=models["ip_csn_50"]
    )
    assert list(ip) == ["stage3.5.interaction.norm.bias", "stage3.5.depthwise.conv.weight"]
    ir = convert_state_dict({first: value}, source="mmaction2", model=models["ir_csn_50"])
    assert list(ir) == ["stage3.5.depthwise.norm.bias"]
    assert set(ip) <= set(models["ip_csn_50"].state_dict())
    assert set(ir) <= set(models["ir_csn_50"].state_dict())


class Depthwise(nn.Conv3d):
    """As VMZ's convolution: torchvision's residual networks say how it is built."""

    def __init__(self, channels: int, width: int, between: int | None, stride: int = 1) -> None:
        super().__init__(channels, width, 3, stride, 1, groups=channels, bias=False)

    @staticmethod
    def get_downsample_stride(stride: int) -> tuple[int, int, int]:
        return (stride, stride, stride)


class InteractionPreserved(nn.Sequential):
    """As VMZ's: one of 1 x 1 x 1, its norm, the depthwise one."""

    def __init__(self, channels: int, width: int, between: int, stride: int = 1) -> None:
        mix = nn.Conv3d(channels, width, 1, bias=False)
        super().__init__(mix, nn.BatchNorm3d(width), Depthwise(width, width, None, stride))

    get_downsample_stride = staticmethod(Depthwise.get_downsample_stride)


@pytest.mark.parametrize(
    ("conv", "preserved"),
    [(Depthwise, False), (InteractionPreserved, True)],
    ids=["ir", "ip"],
)
def test_reads_the_authors_names(conv: Any, preserved: bool) -> None:
    from torchvision.models.video.resnet import BasicStem, VideoResNet
    from torchvision.models.video.resnet import Bottleneck as Theirs

    torch.manual_seed(0)

    class PooledStem(BasicStem):
        def __init__(self) -> None:
            super().__init__()
            self.append(nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))

    theirs = VideoResNet(Theirs, [conv] * 4, [1, 1, 1, 1], PooledStem, num_classes=5).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
            nn.init.uniform_(module.weight)
            nn.init.uniform_(module.running_mean)  # type: ignore[arg-type]
    spec: Any = create_model("ir_csn_50").clip_spec
    ours = Csn(
        5,
        (1, 1, 1, 1),
        preserved=preserved,
        norm_eps=1e-3,
        windows=nn.Identity(),
        dropout=0.5,
        clip_spec=spec,
    ).eval()
    ours.load_state_dict(convert_state_dict(theirs.state_dict(), source="vmz", model=ours))
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip), theirs(clip))
