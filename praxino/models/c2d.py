"""C2D: a 2D network on each frame; pooling alone joins them.

Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971 (table 1): the baseline that
non-local blocks are added to.

Notable: every kernel spans a single frame; time is halved by max pooling after res2, or not at all
(PySlowFast's "nopool"), and averaged in the end.
Differs from the paper: conv1 and pool1 keep all frames, as in the released 8-frame weights. In
MMAction2's, pool1 does not pad, so that 224 pixels become 55 positions, not 56.
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

__all__ = [
    "c2d_mmaction2_r50",
    "c2d_mmaction2_r50_16x4",
    "c2d_nopool_r50",
    "c2d_nopool_r101",
    "c2d_r50",
    "c2d_r101",
]


def c2d_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R50: 24.3 million parameters, 25.5 G for 8 x 256 x 256; see `Options`."""
    return _c2d(50, num_classes, options, pool2=True)


def c2d_r101(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R101: 43.3 million parameters; see `Options`."""
    return _c2d(101, num_classes, options, pool2=True)


def c2d_nopool_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R50, that keeps all frames to the end; see `Options`."""
    return _c2d(50, num_classes, options, pool2=False)


def c2d_nopool_r101(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R101, that keeps all frames to the end; see `Options`."""
    return _c2d(101, num_classes, options, pool2=False)


def c2d_mmaction2_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 8x8, R50, as MMAction2 builds it where it pools over time; see `Options`."""
    options = Options(size=224, window=None) | options
    return _c2d(50, num_classes, options, pool2=True, pool1_padding=0)


def c2d_mmaction2_r50_16x4(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """C2D 16x4, R50, as MMAction2 builds it: twice the frames; see `Options`."""
    return c2d_mmaction2_r50(num_classes, **(Options(frames=16, stride_frames=4) | options))


def _c2d(
    depth: int, num_classes: int, options: Options, *, pool2: bool, pool1_padding: int = 1
) -> VideoResNet:
    kernels = alternating(depth, (1,), (1,), (1,), (1,))
    return VideoResNet(
        "C2D", num_classes, kernels, pool2=pool2, pool1_padding=pool1_padding, **options
    )


_OF_224 = "video level, 10 clips x 3 crops of 224 from a short side of 224"
_SIZE_224 = {"size": 224, "resize_short": 224}

WEIGHTS_R50 = {
    "kinetics400": pytorchvideo_weights(
        "kinetics/C2D_8x8_R50.pyth", {"top1": 71.46, "top5": 89.68}, clip=EVENLY_8X8
    ),
}
WEIGHTS_NOPOOL_R50 = {
    "kinetics400": caffe2_weights(
        "C2D_NOPOOL_8x8_R50.pkl", {"top1": 67.2, "top5": 87.8}, clip=EVENLY_8X8
    ),
    "kinetics400_mmaction2": mmaction2_weights(
        "c2d/c2d_r50-in1k-pre-nopool_8xb32-8x8x1-100e_kinetics400-rgb",
        "20221027-e0227b22",
        {"top1": 73.16, "top5": 90.88},
        trained_on="ImageNet, then Kinetics-400",
        protocol=_OF_224,
        clip=_SIZE_224,
    ),
}
WEIGHTS_NOPOOL_R101 = {
    "kinetics400": mmaction2_weights(
        "c2d/c2d_r101-in1k-pre-nopool_8xb32-8x8x1-100e_kinetics400-rgb",
        "20221027-557bd8bc",
        {"top1": 74.57, "top5": 91.60},
        trained_on="ImageNet, then Kinetics-400",
        protocol=_OF_224,
        clip=_SIZE_224,
    ),
}
WEIGHTS_MMACTION2_R50 = {
    "kinetics400": mmaction2_weights(
        "c2d/c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb",
        "20221027-3ca304fa",
        {"top1": 73.89, "top5": 91.21},
        trained_on="ImageNet, then Kinetics-400",
        protocol=_OF_224,
    ),
}
WEIGHTS_MMACTION2_R50_16X4 = {
    "kinetics400": mmaction2_weights(
        "c2d/c2d_r50-in1k-pre_8xb32-16x4x1-100e_kinetics400-rgb",
        "20221027-5f382a43",
        {"top1": 74.54, "top5": 91.76},
        trained_on="ImageNet, then Kinetics-400",
        protocol=_OF_224,
    ),
}


def _row(
    build: Callable[..., VideoResNet], weights: Mapping[str, Weights] | None = None
) -> ModelRow:
    return ModelRow(build, PAPER, 2018, "frames", weights=weights or {}, layouts=LAYOUTS)


PAPER = "Wang et al., Non-local Neural Networks, CVPR 2018"
MODELS = {
    "c2d_mmaction2_r50": _row(c2d_mmaction2_r50, WEIGHTS_MMACTION2_R50),
    "c2d_mmaction2_r50_16x4": _row(c2d_mmaction2_r50_16x4, WEIGHTS_MMACTION2_R50_16X4),
    "c2d_nopool_r101": _row(c2d_nopool_r101, WEIGHTS_NOPOOL_R101),
    "c2d_nopool_r50": _row(c2d_nopool_r50, WEIGHTS_NOPOOL_R50),
    "c2d_r101": _row(c2d_r101),
    "c2d_r50": _row(c2d_r50, WEIGHTS_R50),
}

_MMACTION2 = "MMAction2's model zoo"

PUBLISHED = (
    Published("c2d_r50", "PyTorchVideo's model zoo", parameters="24,327,632"),
    Published(
        "c2d_r50",
        "PyTorchVideo's model zoo",
        multiply_adds="25.89 G",
        erratum=ONE_PERCENT_MORE,
    ),
    *(
        Published(model, _MMACTION2, clip=clip, parameters=parameters, multiply_adds=multiply_adds)
        for model, clip, parameters, multiply_adds in (
            ("c2d_mmaction2_r50", (3, 8, 224, 224), "24.3 M", "19 G"),
            ("c2d_mmaction2_r50_16x4", (3, 16, 224, 224), "24.3 M", "39 G"),
            ("c2d_nopool_r50", (3, 8, 224, 224), "24.3 M", "33 G"),
            ("c2d_nopool_r101", (3, 8, 224, 224), "43.3 M", "63 G"),
        )
    ),
)
