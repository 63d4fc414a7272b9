"""C2D: a 2D network on each frame; pooling alone joins them.

Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971 (table 1): the baseline that
non-local blocks are added to.

Notable: every kernel spans a single frame; time is halved by max pooling after res2, or not at all
(PySlowFast's "nopool"), and averaged in the end.
Differs from the paper: conv1 and pool1 keep all frames, as in the released 8-frame weights. In
MMAction2's, pool1 does not pad, so that 224 pixels become 55 positions, not 56.
"""

from typing import Unpack

from praxino.models.resnet_video import LAYOUTS, Options, VideoResNet, alternating
from praxino.models.row import ModelRow

__all__ = [
    "c2d_mmaction2_r50",
    "c2d_mmaction2_r50_16x4",
    "c2d_nopool_r50",
    "c2d_nopool_r101",
    "c2d_r50",
    "c2d_r101",
]


def c2d_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R50: 24.3 million parameters, 25.5 G multiply-adds for a clip of 8 x 256 x 256.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _c2d(50, num_classes, options, pool2=True)


def c2d_r101(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R101: 43.3 million parameters.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _c2d(101, num_classes, options, pool2=True)


def c2d_nopool_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R50, that keeps all frames to the end.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _c2d(50, num_classes, options, pool2=False)


def c2d_nopool_r101(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R101, that keeps all frames to the end.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _c2d(101, num_classes, options, pool2=False)


def c2d_mmaction2_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R50, as MMAction2 builds it; of its nopool form it uses the same as everyone.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    options = Options(size=224, window=None) | options
    return _c2d(50, num_classes, options, pool2=True, pool1_padding=0)


def c2d_mmaction2_r50_16x4(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 16x4, R50, as MMAction2 builds it: twice the frames.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return c2d_mmaction2_r50(num_classes, **(Options(frames=16, stride_frames=4) | options))


def _c2d(
    depth: int, num_classes: int, options: Options, *, pool2: bool, pool1_padding: int = 1
) -> VideoResNet:
    kernels = alternating(depth, (1,), (1,), (1,), (1,))
    return VideoResNet(
        "C2D", num_classes, kernels, pool2=pool2, pool1_padding=pool1_padding, **options
    )


PAPER = "Wang et al., Non-local Neural Networks, CVPR 2018"
MODELS = {
    "c2d_mmaction2_r50": ModelRow(c2d_mmaction2_r50, PAPER, 2018, "frames", layouts=LAYOUTS),
    "c2d_mmaction2_r50_16x4": ModelRow(
        c2d_mmaction2_r50_16x4, PAPER, 2018, "frames", layouts=LAYOUTS
    ),
    "c2d_nopool_r101": ModelRow(c2d_nopool_r101, PAPER, 2018, "frames", layouts=LAYOUTS),
    "c2d_nopool_r50": ModelRow(c2d_nopool_r50, PAPER, 2018, "frames", layouts=LAYOUTS),
    "c2d_r101": ModelRow(c2d_r101, PAPER, 2018, "frames", layouts=LAYOUTS),
    "c2d_r50": ModelRow(c2d_r50, PAPER, 2018, "frames", layouts=LAYOUTS),
}
