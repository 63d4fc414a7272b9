"""Wide 3D ResNet: blocks with more channels inside rather than more blocks.

Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018,
arXiv:1711.09577, after Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.

Notable: maps between blocks are as wide as in ResNet-50; it is inside the blocks that there are
twice as many channels, and four times as many weights.
Differs from the code of 2020, whose stem is widened too, which `widen_stem` does here; from that of
2018, which goes with the published file, in nothing but what `resnet3d.py` says.
"""

from typing import Unpack

from praxino.models.resnet3d import LAYOUTS, Bottleneck, Options, ResNet3d, hara_weights, stages_of
from praxino.models.row import ModelRow, Published

__all__ = ["wide_resnet3d_50", "wide_resnet3d_101", "wide_resnet3d_152", "wide_resnet3d_200"]


class WideOptions(Options, total=False):
    """Options of all wide 3D ResNets, beside those of `ResNet3d` and `hara_clip_spec`.

    Attributes:
        k: by which the inner widths are multiplied, 2 by default; blocks put out twice their inner
            width.
        widen_stem: widen the stem too, as the code of 2020 does; the paper and its file do not.
    """

    k: float
    widen_stem: bool


def _wide_resnet3d(
    depth: int,
    num_classes: int,
    *,
    k: float = 2,
    widen_stem: bool = False,
    **options: Unpack[Options],
) -> ResNet3d:
    stages = stages_of(depth, narrowest=64 * k, expansion=2)
    stem_width = int(64 * k) if widen_stem else 64
    return ResNet3d(num_classes, Bottleneck, stages, stem_width=stem_width, **options)


def wide_resnet3d_50(num_classes: int = 400, **options: Unpack[WideOptions]) -> ResNet3d:
    """Wide 3D ResNet-50: 158.2 million parameters, 26.2 G multiply-adds; see `WideOptions`."""
    return _wide_resnet3d(50, num_classes, **options)


def wide_resnet3d_101(num_classes: int = 400, **options: Unpack[WideOptions]) -> ResNet3d:
    """Wide 3D ResNet-101, which only the code of 2020 offers; see `WideOptions`."""
    return _wide_resnet3d(101, num_classes, **options)


def wide_resnet3d_152(num_classes: int = 400, **options: Unpack[WideOptions]) -> ResNet3d:
    """Wide 3D ResNet-152, which only the code of 2020 offers; see `WideOptions`."""
    return _wide_resnet3d(152, num_classes, **options)


def wide_resnet3d_200(num_classes: int = 400, **options: Unpack[WideOptions]) -> ResNet3d:
    """Wide 3D ResNet-200, which only the code of 2020 offers; see `WideOptions`."""
    return _wide_resnet3d(200, num_classes, **options)


PAPER = "Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs, CVPR 2018"
MODELS = {
    build.__name__: ModelRow(
        build, PAPER, 2018, "3d", weights=hara_weights(build.__name__), layouts=LAYOUTS
    )
    for build in (wide_resnet3d_50, wide_resnet3d_101, wide_resnet3d_152, wide_resnet3d_200)
}

PUBLISHED = (
    Published(
        "wide_resnet3d_50",
        "github.com/kenshohara/3D-ResNets-PyTorch, as its code of 2018 builds it",
        {"num_classes": 400},
        clip=(3, 16, 112, 112),
        parameters="158,248,272",
        multiply_adds="26.240 G",
    ),
    Published(
        "wide_resnet3d_50",
        "github.com/kenshohara/3D-ResNets-PyTorch, as its code of 2020 builds it",
        {"num_classes": 400, "widen_stem": True},
        clip=(3, 16, 112, 112),
        parameters="158,338,832",
        multiply_adds="29.698 G",
    ),
)
