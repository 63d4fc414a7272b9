"""I3D on a ResNet: every other bottleneck of a 2D network grown into time.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, arXiv:1705.07750, had the idea,
on Inception (`i3d.py`); Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971
(section 4.2), the network: I3D 3x1x1.

Notable: conv1 spans 5 frames; in res2 all bottlenecks span 3, from res3 on every other one; max
pooling after res2 halves time.
Differs from the paper: conv1 and pool1 keep all frames in the 8-frame form, as PySlowFast and
PyTorchVideo released it, and halve them once each in MMAction2's 32-frame form.
"""

from typing import Unpack

from praxino.models.resnet_video import LAYOUTS, Options, VideoResNet, alternating
from praxino.models.row import ModelRow

__all__ = ["i3d_r50", "i3d_r50_32x2", "i3d_r101", "i3d_r101_32x2"]


def i3d_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """I3D 8x8, R50: 28.0 million parameters, 37.1 G multiply-adds for a clip of 8 x 256 x 256.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _i3d(50, num_classes, options)


def i3d_r50_32x2(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """I3D 32x2, R50, as MMAction2 builds it: four of the 32 frames are left in the end.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _i3d(50, num_classes, LONG | options, conv1_stride=2)


def i3d_r101(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """I3D 8x8, R101.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _i3d(101, num_classes, options)


def i3d_r101_32x2(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """I3D 32x2, R101, as MMAction2 builds it.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _i3d(101, num_classes, LONG | options, conv1_stride=2)


LONG = Options(frames=32, stride_frames=2, window=None)


def _i3d(depth: int, num_classes: int, options: Options, conv1_stride: int = 1) -> VideoResNet:
    return VideoResNet(
        "I3D",
        num_classes,
        alternating(depth, (3,), (3, 1), (3, 1), (1, 3)),
        conv1_kernel=5,
        conv1_stride=conv1_stride,
        pool2=True,
        **options,
    )


PAPER = "Wang et al., Non-local Neural Networks, CVPR 2018"
MODELS = {
    "i3d_r101": ModelRow(i3d_r101, PAPER, 2018, "inflated", layouts=LAYOUTS),
    "i3d_r101_32x2": ModelRow(i3d_r101_32x2, PAPER, 2018, "inflated", layouts=LAYOUTS),
    "i3d_r50": ModelRow(i3d_r50, PAPER, 2018, "inflated", layouts=LAYOUTS),
    "i3d_r50_32x2": ModelRow(i3d_r50_32x2, PAPER, 2018, "inflated", layouts=LAYOUTS),
}
