"""3D ResNeXts: bottlenecks twice as wide, their middle convolutions in 32 groups.

Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018,
arXiv:1711.09577, after Xie et al., "Aggregated Residual Transformations for Deep Neural Networks",
CVPR 2017.

Notable: ResNeXt-101 is the paper's best network, with the parameters of ResNet-50.
Differs from the code of 2020, which takes the number of classes for the widening factor and cannot
be built; with that mended, its stem has the 128 channels of `widen_stem`.
"""

from functools import partial
from typing import Unpack

from praxino.models.conv_norm import ConvNorm
from praxino.models.resnet3d import (
    LAYOUTS,
    Bottleneck,
    Options,
    ResNet3d,
    hara_weights,
    stages_of,
)
from praxino.models.row import ModelRow, Published

__all__ = ["resnext3d_50", "resnext3d_101", "resnext3d_152", "resnext3d_200"]


class ResNextOptions(Options, total=False):
    """Options of all 3D ResNeXts, beside those of `ResNet3d` and `hara_clip_spec`.

    Attributes:
        widen: by which the stages' channels are multiplied, 1 by default; a multiple of 0.25, for
            the groups.
        widen_stem: give the stem the 128 channels of the first stage; the paper's has 64.
    """

    widen: float
    widen_stem: bool


def _resnext3d(
    depth: int,
    num_classes: int,
    *,
    widen: float = 1,
    widen_stem: bool = False,
    **options: Unpack[Options],
) -> ResNet3d:
    if 128 * widen % 32:
        raise ValueError(f"ResNeXt's 32 groups need widen to be a multiple of 0.25, got {widen}.")
    stages = stages_of(depth, narrowest=128 * widen, expansion=2)
    block = partial(Bottleneck, conv=partial(ConvNorm, groups=32))
    stem_width = int(128 * widen) if widen_stem else 64
    return ResNet3d(num_classes, block, stages, stem_width=stem_width, **options)


def resnext3d_50(num_classes: int = 400, **options: Unpack[ResNextOptions]) -> ResNet3d:
    """3D ResNeXt-50: 26.7 million parameters, 7.5 G for 16 x 112 x 112; see `ResNextOptions`."""
    return _resnext3d(50, num_classes, **options)


def resnext3d_101(num_classes: int = 400, **options: Unpack[ResNextOptions]) -> ResNet3d:
    """3D ResNeXt-101, the paper's best: 48.3 million parameters, 9.6 G; see `ResNextOptions`."""
    return _resnext3d(101, num_classes, **options)


def resnext3d_152(num_classes: int = 400, **options: Unpack[ResNextOptions]) -> ResNet3d:
    """3D ResNeXt-152: 66.2 million parameters, 12.2 G for 16 x 112 x 112; see `ResNextOptions`."""
    return _resnext3d(152, num_classes, **options)


def resnext3d_200(num_classes: int = 400, **options: Unpack[ResNextOptions]) -> ResNet3d:
    """3D ResNeXt-200, which only the code of 2020 offers; see `ResNextOptions`."""
    return _resnext3d(200, num_classes, **options)


PAPER = "Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs, CVPR 2018"
MODELS = {
    build.__name__: ModelRow(
        build, PAPER, 2018, "3d", weights=hara_weights(build.__name__), layouts=LAYOUTS
    )
    for build in (resnext3d_50, resnext3d_101, resnext3d_152, resnext3d_200)
}

PUBLISHED = (
    Published(
        "resnext3d_101",
        "github.com/kenshohara/3D-ResNets-PyTorch, as its code of 2018 builds it",
        {"num_classes": 400},
        clip=(3, 16, 112, 112),
        parameters="48,340,816",
        multiply_adds="9.568 G",
    ),
)
