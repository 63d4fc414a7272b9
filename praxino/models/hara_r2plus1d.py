"""R(2+1)D on 3D ResNets: each kernel that spans time is split into space, then time.

Kataoka et al., "Would Mega-scale Datasets Further Enhance Spatiotemporal 3D CNNs?", 2020,
arXiv:2004.04968, whose code carries the idea of Tran et al., "A Closer Look at Spatiotemporal
Convolutions for Action Recognition", CVPR 2018, arXiv:1711.11248, to its own 3D ResNets.

Notable: between the two halves are as many channels as give the pair the parameters of the kernel
that it replaces (Tran et al., Sec. 3.5): 144 for 64 to 64 channels.
Differs from Tran et al., whose network is in `r2plus1d.py`: a stem 7 frames deep with 110 channels
between its halves, and a max pooling.
"""

from functools import partial
from typing import Unpack

from torch import nn

from praxino.models.conv_norm import ConvNorm, Triple
from praxino.models.resnet3d import (
    LAYOUTS,
    Basic,
    Bottleneck,
    Options,
    ResNet3d,
    WidenOptions,
    stages_of,
)
from praxino.models.row import ModelRow, Published

__all__ = [
    "hara_r2plus1d_10",
    "hara_r2plus1d_18",
    "hara_r2plus1d_34",
    "hara_r2plus1d_50",
    "hara_r2plus1d_101",
    "hara_r2plus1d_152",
    "hara_r2plus1d_200",
]


class SplitConv(nn.Sequential):
    """A convolution over space and one over time, a norm after each, an activation between.

    Args:
        channels: given to it.
        width: that it puts out.
        kernel: T, H and W of the kernel that it replaces.
        stride: in T, H and W.
        like: channels for which the width between the two is reckoned; None: `channels`.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        *,
        like: int | None = None,
    ) -> None:
        super().__init__()
        (t, h, w), (st, sh, sw) = kernel, stride
        counted = like or channels
        between = counted * width * t * h * w // (counted * h * w + t * width)
        self.spatial = ConvNorm(channels, between, (1, h, w), (1, sh, sw))
        self.relu = nn.ReLU(inplace=True)
        self.temporal = ConvNorm(between, width, (t, 1, 1), (st, 1, 1))


def _r2plus1d(
    depth: int, num_classes: int, *, widen: float = 1, **options: Unpack[Options]
) -> ResNet3d:
    stages = stages_of(depth, narrowest=64 * widen)
    block = partial(Basic if depth < 50 else Bottleneck, conv=SplitConv)
    # The stem's inner width is reckoned for RGB, whatever the stream.
    stem = partial(SplitConv, like=3)
    return ResNet3d(num_classes, block, stages, stem_width=int(64 * widen), conv=stem, **options)


def hara_r2plus1d_10(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """R(2+1)D on 3D ResNet-10: 14.6 million parameters, 5.8 G; see `WidenOptions`."""
    return _r2plus1d(10, num_classes, **options)


def hara_r2plus1d_18(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """R(2+1)D on 3D ResNet-18: 33.4 million parameters, 8.5 G; see `WidenOptions`."""
    return _r2plus1d(18, num_classes, **options)


def hara_r2plus1d_34(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """R(2+1)D on 3D ResNet-34: 63.7 million parameters, 12.9 G; see `WidenOptions`."""
    return _r2plus1d(34, num_classes, **options)


def hara_r2plus1d_50(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """R(2+1)D on 3D ResNet-50: 47.0 million parameters, 10.5 G; see `WidenOptions`."""
    return _r2plus1d(50, num_classes, **options)


def hara_r2plus1d_101(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """R(2+1)D on 3D ResNet-101: 86.1 million parameters, 14.3 G; see `WidenOptions`."""
    return _r2plus1d(101, num_classes, **options)


def hara_r2plus1d_152(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """R(2+1)D on 3D ResNet-152: 118.3 million parameters, 19.1 G; see `WidenOptions`."""
    return _r2plus1d(152, num_classes, **options)


def hara_r2plus1d_200(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """R(2+1)D on 3D ResNet-200: 127.5 million parameters, 26.3 G; see `WidenOptions`."""
    return _r2plus1d(200, num_classes, **options)


PAPER = "Kataoka et al., Would Mega-scale Datasets Further Enhance Spatiotemporal 3D CNNs, 2020"
MODELS = {
    build.__name__: ModelRow(build, PAPER, 2020, "factorised", layouts=LAYOUTS)
    for build in (
        hara_r2plus1d_10,
        hara_r2plus1d_18,
        hara_r2plus1d_34,
        hara_r2plus1d_50,
        hara_r2plus1d_101,
        hara_r2plus1d_152,
        hara_r2plus1d_200,
    )
}

PUBLISHED = (
    Published(
        "hara_r2plus1d_50",
        "github.com/kenshohara/3D-ResNets-PyTorch, as its code of 2020 builds it",
        {"num_classes": 700},
        clip=(3, 16, 112, 112),
        parameters="47,650,082",
        multiply_adds="10.525 G",
    ),
)
