"""I3D on a ResNet: every other bottleneck of a 2D network grown into time.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, arXiv:1705.07750, had the idea,
on Inception (`i3d.py`); Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971
(section 4), the network: its 3 x 1 x 1 form.

Notable: conv1 spans 5 frames; in res2 all bottlenecks span 3, from res3 on every other one; max
pooling after res2 halves time.
Differs from the paper: conv1 and pool1 keep all frames in the 8-frame form, as PySlowFast and
PyTorchVideo released it, and halve them once each in MMAction2's 32-frame form.
"""

from collections.abc import Callable, Mapping
from typing import Unpack

from praxino.models.resnet_video import (
    EVENLY_8X8,
    LAYOUTS,
    ONE_PERCENT_MORE,
    Options,
    VideoResNet,
    alternating,
    caffe2_weights,
    mmaction2_weights,
    pytorchvideo_weights,
)
from praxino.models.row import ModelRow, Published
from praxino.weights.published import Weights

__all__ = ["i3d_heavy_r50", "i3d_r50", "i3d_r50_32x2", "i3d_r101", "i3d_r101_32x2"]


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


def i3d_heavy_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """I3D 32x2, R50, of which every bottleneck spans time and only pool2 halves it (MMAction2).

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    kernels = alternating(50, (3,), (3,), (3,), (3,))
    return VideoResNet("I3D", num_classes, kernels, conv1_kernel=5, pool2=True, **(LONG | options))


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


_IMAGENET = "ImageNet, then Kinetics-400"

WEIGHTS_R50 = {
    "kinetics400": pytorchvideo_weights(
        "kinetics/I3D_8x8_R50.pyth", {"top1": 73.27, "top5": 90.70}, clip=EVENLY_8X8
    ),
    "kinetics400_caffe2": caffe2_weights(
        "I3D_8x8_R50.pkl", {"top1": 73.5, "top5": 90.8}, clip=EVENLY_8X8
    ),
}
WEIGHTS_R50_32X2 = {
    "kinetics400": mmaction2_weights(
        "i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb",
        "20220812-e213c223",
        {"top1": 73.47, "top5": 91.27},
        trained_on=_IMAGENET,
    ),
    "kinetics400_dense": mmaction2_weights(
        "i3d/i3d_imagenet-pretrained-r50_8xb8-dense-32x2x1-100e_kinetics400-rgb",
        "20220812-9f46003f",
        {"top1": 73.77, "top5": 91.35},
        trained_on=_IMAGENET,
    ),
}
WEIGHTS_HEAVY = {
    "kinetics400": mmaction2_weights(
        "i3d/i3d_imagenet-pretrained-r50-heavy_8xb8-32x2x1-100e_kinetics400-rgb",
        "20220812-ed501b31",
        {"top1": 76.21, "top5": 92.48},
        trained_on=_IMAGENET,
    ),
}


def _row(
    build: Callable[..., VideoResNet], weights: Mapping[str, Weights] | None = None
) -> ModelRow:
    return ModelRow(build, PAPER, 2018, "inflated", weights=weights or {}, layouts=LAYOUTS)


PAPER = "Wang et al., Non-local Neural Networks, CVPR 2018"
MODELS = {
    "i3d_heavy_r50": _row(i3d_heavy_r50, WEIGHTS_HEAVY),
    "i3d_r101": _row(i3d_r101),
    "i3d_r101_32x2": _row(i3d_r101_32x2),
    "i3d_r50": _row(i3d_r50, WEIGHTS_R50),
    "i3d_r50_32x2": _row(i3d_r50_32x2, WEIGHTS_R50_32X2),
}

_MMACTION2 = "MMAction2's model zoo"

PUBLISHED = (
    Published("i3d_r50", "PyTorchVideo's model zoo", parameters="28,043,472"),
    Published(
        "i3d_r50",
        "PyTorchVideo's model zoo",
        multiply_adds="37.53 G",
        erratum=ONE_PERCENT_MORE,
    ),
    Published("i3d_r50_32x2", _MMACTION2, parameters="28.0 M", multiply_adds="43.5 G"),
    Published("i3d_heavy_r50", _MMACTION2, parameters="33.0 M", multiply_adds="166.3 G"),
)
