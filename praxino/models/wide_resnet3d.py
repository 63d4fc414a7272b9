"""Wide 3D ResNet: blocks with more channels inside rather than more blocks.

Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018,
arXiv:1711.09577, after Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.

Notable: maps between blocks are as wide as in ResNet-50; it is inside the blocks that there are
twice as many channels, and four times as many weights.
"""

from typing import Unpack

from praxino.models.resnet3d import LAYOUTS, Bottleneck, Options, ResNet3d, stages_of
from praxino.models.row import ModelRow, Published

__all__ = ["wide_resnet3d_50"]


def wide_resnet3d_50(
    num_classes: int = 400, *, k: float = 2, widen_stem: bool = False, **options: Unpack[Options]
) -> ResNet3d:
    """Wide 3D ResNet-50: 158.2 million parameters, 26.2 G multiply-adds.

    Args:
        num_classes: K.
        k: by which the inner widths are multiplied; blocks put out twice their inner width.
        widen_stem: widen the stem too, as the code of 2020 does; the paper and its file do not.
        **options: as in `ResNet3d` and `hara_clip_spec`.
    """
    stages = stages_of(50, narrowest=64 * k, expansion=2)
    stem_width = int(64 * k) if widen_stem else 64
    return ResNet3d(num_classes, Bottleneck, stages, stem_width=stem_width, **options)


PAPER = "Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs, CVPR 2018"
MODELS = {
    "wide_resnet3d_50": ModelRow(wide_resnet3d_50, PAPER, 2018, "3d", layouts=LAYOUTS),
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
