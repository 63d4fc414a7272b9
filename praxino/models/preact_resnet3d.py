"""Pre-activation 3D ResNets: norm and activation come before each convolution, not after.

Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018,
arXiv:1711.09577, after He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.

Notable: nothing stands between a block's sum and the next block, so that the input of a stage runs
through it unchanged.
Differs from He et al., as in the code of Hara et al.: the shortcut leaves before the first norm and
activation also where the shape changes, the stem keeps its own norm and activation, and none follow
the last stage.
"""

from typing import Unpack

from torch import Tensor, nn

from praxino.models.conv_norm import Triple
from praxino.models.resnet3d import (
    LAYOUTS,
    Options,
    ResNet3d,
    WidenOptions,
    hara_weights,
    stages_of,
)
from praxino.models.row import ModelRow, Published

__all__ = [
    "preact_resnet3d_10",
    "preact_resnet3d_18",
    "preact_resnet3d_34",
    "preact_resnet3d_50",
    "preact_resnet3d_101",
    "preact_resnet3d_152",
    "preact_resnet3d_200",
]


class NormConv(nn.Sequential):
    """Batch norm, activation, and a convolution without bias."""

    def __init__(
        self, channels: int, width: int, kernel: Triple, stride: Triple = (1, 1, 1)
    ) -> None:
        super().__init__()
        t, h, w = kernel
        self.norm = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv3d(channels, width, kernel, stride, (t // 2, h // 2, w // 2), bias=False)


class PreActivationBasic(nn.Module):
    """Two 3 x 3 x 3 convolutions and a shortcut around them."""

    def __init__(
        self, channels: int, width: int, out: int, stride: int, shortcut: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = NormConv(channels, width, (3, 3, 3), (stride, stride, stride))
        self.conv2 = NormConv(width, out, (3, 3, 3))
        self.shortcut = shortcut

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, out, T, H, W)`, divided by the stride."""
        result: Tensor = self.conv2(self.conv1(maps)) + self.shortcut(maps)
        return result


class PreActivationBottleneck(nn.Module):
    """A 3 x 3 x 3 convolution between two of 1 x 1 x 1, and a shortcut around them."""

    def __init__(
        self, channels: int, width: int, out: int, stride: int, shortcut: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = NormConv(channels, width, (1, 1, 1))
        self.conv2 = NormConv(width, width, (3, 3, 3), (stride, stride, stride))
        self.conv3 = NormConv(width, out, (1, 1, 1))
        self.shortcut = shortcut

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, out, T, H, W)`, divided by the stride."""
        result: Tensor = self.conv3(self.conv2(self.conv1(maps))) + self.shortcut(maps)
        return result


def _preact_resnet3d(
    depth: int, num_classes: int, *, widen: float = 1, **options: Unpack[Options]
) -> ResNet3d:
    stages = stages_of(depth, narrowest=64 * widen)
    block = PreActivationBasic if depth < 50 else PreActivationBottleneck
    return ResNet3d(num_classes, block, stages, stem_width=int(64 * widen), **options)


def preact_resnet3d_10(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """Pre-activation 3D ResNet-10: 14.6 million parameters, 5.7 G; see `WidenOptions`."""
    return _preact_resnet3d(10, num_classes, **options)


def preact_resnet3d_18(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """Pre-activation 3D ResNet-18: 33.4 million parameters, 8.3 G; see `WidenOptions`."""
    return _preact_resnet3d(18, num_classes, **options)


def preact_resnet3d_34(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """Pre-activation 3D ResNet-34: 63.7 million parameters, 12.7 G; see `WidenOptions`."""
    return _preact_resnet3d(34, num_classes, **options)


def preact_resnet3d_50(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """Pre-activation 3D ResNet-50: 47.0 million parameters, 10.1 G; see `WidenOptions`."""
    return _preact_resnet3d(50, num_classes, **options)


def preact_resnet3d_101(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """Pre-activation 3D ResNet-101: 86.1 million parameters, 13.9 G; see `WidenOptions`."""
    return _preact_resnet3d(101, num_classes, **options)


def preact_resnet3d_152(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """Pre-activation 3D ResNet-152: 118.2 million parameters, 18.6 G; see `WidenOptions`."""
    return _preact_resnet3d(152, num_classes, **options)


def preact_resnet3d_200(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """Pre-activation 3D ResNet-200: 127.4 million parameters, 25.8 G; see `WidenOptions`."""
    return _preact_resnet3d(200, num_classes, **options)


PAPER = "Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs, CVPR 2018"
MODELS = {
    build.__name__: ModelRow(
        build, PAPER, 2018, "3d", weights=hara_weights(build.__name__), layouts=LAYOUTS
    )
    for build in (
        preact_resnet3d_10,
        preact_resnet3d_18,
        preact_resnet3d_34,
        preact_resnet3d_50,
        preact_resnet3d_101,
        preact_resnet3d_152,
        preact_resnet3d_200,
    )
}

PUBLISHED = (
    Published(
        "preact_resnet3d_18",
        "github.com/kenshohara/3D-ResNets-PyTorch, as its code of 2018 builds it",
        {"num_classes": 400, "shortcut": "A"},
        clip=(3, 16, 112, 112),
        parameters="33,234,384",
        multiply_adds="8.296 G",
    ),
)
