"""Slow and Fast alone: the pathways of SlowFast without each other.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, arXiv:1812.03982
(tables 1 and 5).

Notable: Slow sees few frames and lets only res4 and res5 span time; Fast sees many with an eighth
of the channels and spans time everywhere; neither ever halves it.
Differs from the paper: nothing in Slow, which answers as those of PyTorchVideo, PySlowFast and
MMAction2 do; of Fast alone nobody has published weights to compare with.
"""

from collections.abc import Callable, Mapping
from typing import Unpack

from praxino.models.resnet_video import (
    EVENLY_4X16,
    EVENLY_8X8,
    LAYOUTS,
    ONE_PERCENT_MORE,
    Options,
    VideoResNet,
    alternating,
    caffe2_weights,
    charades,
    mmaction2_weights,
    pytorchvideo_weights,
)
from praxino.models.row import ModelRow, Published
from praxino.weights.published import Weights

__all__ = ["fast_only_r50", "slow_r50", "slow_r50_4x16", "slow_r101", "slow_r101_4x16"]


def slow_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Slow 8x8, R50: 32.5 million parameters, 54.5 G for 8 x 256 x 256; see `Options`."""
    return _slow(50, num_classes, Options(frames=8, stride_frames=8) | options)


def slow_r50_4x16(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Slow 4x16, R50: the pathway of table 1 by itself; 27.3 G multiply-adds; see `Options`."""
    return _slow(50, num_classes, Options(frames=4, stride_frames=16) | options)


def slow_r101(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Slow 8x8, R101: 60.4 million parameters; see `Options`."""
    return _slow(101, num_classes, Options(frames=8, stride_frames=8) | options)


def slow_r101_4x16(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Slow 4x16, R101: 60.4 million parameters; see `Options`."""
    return _slow(101, num_classes, Options(frames=4, stride_frames=16) | options)


def fast_only_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Fast alone: 32 frames, 8 channels after conv1, half a million parameters; see `Options`."""
    options = Options(frames=32, stride_frames=2, width=8) | options
    kernels = alternating(50, (3,), (3,), (3,), (3,))
    return VideoResNet("Fast-only", num_classes, kernels, conv1_kernel=5, **options)


def _slow(depth: int, num_classes: int, options: Options) -> VideoResNet:
    return VideoResNet("Slow", num_classes, alternating(depth, (1,), (1,), (3,), (3,)), **options)


_IMAGENET = "ImageNet, then Kinetics-400"

WEIGHTS_8X8 = {
    "kinetics400": pytorchvideo_weights(
        "kinetics/SLOW_8x8_R50.pyth", {"top1": 74.58, "top5": 91.63}, clip=EVENLY_8X8
    ),
    "kinetics400_caffe2": caffe2_weights(
        "SLOWONLY_8x8_R50.pkl", {"top1": 74.8, "top5": 91.6}, clip=EVENLY_8X8
    ),
    "kinetics400_mmaction2": mmaction2_weights(
        "slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb",
        "20220901-2132fc87",
        {"top1": 74.82, "top5": 91.80},
    ),
    "kinetics400_mmaction2_imagenet": mmaction2_weights(
        "slowonly/slowonly_imagenet-pretrained-r50_8xb16-8x8x1-steplr-150e_kinetics400-rgb",
        "20220901-df42dc84",
        {"top1": 76.45, "top5": 92.55},
        trained_on=_IMAGENET,
    ),
    "kinetics700": mmaction2_weights(
        "slowonly/slowonly_imagenet-pretrained-r50_16xb16-8x8x1-steplr-150e_kinetics700-rgb",
        "20221013-15b93b10",
        {"top1": 67.67, "top5": 87.80},
        trained_on="ImageNet, then Kinetics-700",
        num_classes=700,
    ),
    "kinetics710": mmaction2_weights(
        "slowonly/slowonly_imagenet-pretrained-r50_32xb8-8x8x1-steplr-150e_kinetics710-rgb",
        "20230612-12ce977c",
        {"top1": 72.39, "top5": 90.60},
        trained_on="ImageNet, then Kinetics-710",
        num_classes=710,
    ),
    "charades": pytorchvideo_weights(
        "charades/SLOW_8x8_R50.pyth",
        {"mAP": 34.72},
        **charades(8, 8),
    ),
    "something_v2": pytorchvideo_weights(
        "ssv2/SLOW_8x8_R50.pyth",
        {"top1": 60.04, "top5": 85.19},
        trained_on="Kinetics-400, then Something-Something V2",
        num_classes=174,
        protocol="video level, 1 clip over the whole video x 3 crops of 256",
        clip={"stride_frames": None},
    ),
}
WEIGHTS_4X16 = {
    "kinetics400": pytorchvideo_weights(
        "kinetics/SLOW_4x16_R50.pyth", {"top1": 72.40, "top5": 90.18}, clip=EVENLY_4X16
    ),
    "kinetics400_caffe2": caffe2_weights(
        "SLOWONLY_4x16_R50.pkl", {"top1": 72.7, "top5": 90.3}, clip=EVENLY_4X16
    ),
    "kinetics400_mmaction2": mmaction2_weights(
        "slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb",
        "20220901-f6a40d08",
        {"top1": 72.97, "top5": 90.88},
        stem="slowonly_r50_4x16x1_256e_8xb16_kinetics400-rgb",
    ),
    "kinetics400_mmaction2_imagenet": mmaction2_weights(
        "slowonly/slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_kinetics400-rgb",
        "20220901-e7b65fad",
        {"top1": 75.12, "top5": 91.72},
        trained_on=_IMAGENET,
    ),
    "kinetics700": mmaction2_weights(
        "slowonly/slowonly_imagenet-pretrained-r50_16xb16-4x16x1-steplr-150e_kinetics700-rgb",
        "20221013-98b1b0a7",
        {"top1": 65.52, "top5": 86.39},
        trained_on="ImageNet, then Kinetics-700",
        num_classes=700,
    ),
}
WEIGHTS_R101 = {
    "kinetics400": mmaction2_weights(
        "slowonly/slowonly_r101_8xb16-8x8x1-196e_kinetics400-rgb",
        "20220901-e6281431",
        {"top1": 76.59, "top5": 92.80},
    ),
}


def _row(
    build: Callable[..., VideoResNet], weights: Mapping[str, Weights] | None = None
) -> ModelRow:
    return ModelRow(build, PAPER, 2019, "pathways", weights=weights or {}, layouts=LAYOUTS)


PAPER = "Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019"
MODELS = {
    "fast_only_r50": _row(fast_only_r50),
    "slow_r101": _row(slow_r101, WEIGHTS_R101),
    "slow_r101_4x16": _row(slow_r101_4x16),
    "slow_r50": _row(slow_r50, WEIGHTS_8X8),
    "slow_r50_4x16": _row(slow_r50_4x16, WEIGHTS_4X16),
}

_PYTORCHVIDEO = "PyTorchVideo's model zoo"
_MMACTION2 = "MMAction2's model zoo"

PUBLISHED = (
    Published("slow_r50", _PYTORCHVIDEO, parameters="32.45 M", multiply_adds="54.52 G"),
    Published("slow_r50", _PYTORCHVIDEO, options={"num_classes": 157}, parameters="31.96 M"),
    Published("slow_r50", _MMACTION2, parameters="32,454,096", multiply_adds="54.75 G"),
    Published("slow_r50", _MMACTION2, options={"num_classes": 600}, parameters="32,863,896"),
    Published("slow_r50", _MMACTION2, options={"num_classes": 700}, parameters="33,068,796"),
    Published("slow_r50_4x16", _PYTORCHVIDEO, parameters="32.45 M"),
    Published("slow_r50_4x16", _PYTORCHVIDEO, multiply_adds="27.55 G", erratum=ONE_PERCENT_MORE),
    Published("slow_r50_4x16", _MMACTION2, parameters="32.45 M", multiply_adds="27.38 G"),
    Published("slow_r101", _MMACTION2, parameters="60,359,120", multiply_adds="112 G"),
)
