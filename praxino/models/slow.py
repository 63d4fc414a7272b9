"""Slow and Fast alone: the pathways of SlowFast without each other.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, arXiv:1812.03982
(sections 4.1 and 4.2; tables 1 and 5).

Notable: Slow sees few frames and lets only res4 and res5 span time; Fast sees many with an eighth
of the channels and spans time everywhere; neither ever halves it.
"""

from typing import Unpack

from praxino.models.resnet_video import LAYOUTS, Options, VideoResNet, alternating
from praxino.models.row import ModelRow

__all__ = ["fast_only_r50", "slow_r50", "slow_r50_4x16", "slow_r101", "slow_r101_4x16"]


def slow_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Slow 8x8, R50: 32.5 million parameters, 54.5 G multiply-adds for a clip of 8 x 256 x 256.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _slow(50, num_classes, Options(frames=8, stride_frames=8) | options)


def slow_r50_4x16(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Slow 4x16, R50: the pathway of table 1 by itself; 27.3 G multiply-adds.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _slow(50, num_classes, Options(frames=4, stride_frames=16) | options)


def slow_r101(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Slow 8x8, R101: 60.4 million parameters.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _slow(101, num_classes, Options(frames=8, stride_frames=8) | options)


def slow_r101_4x16(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """Slow 4x16, R101: 60.4 million parameters.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    return _slow(101, num_classes, Options(frames=4, stride_frames=16) | options)


def fast_only_r50(num_classes: int = 400, **options: Unpack[Options]) -> VideoResNet:
    """The Fast pathway by itself: 32 frames, 8 channels after conv1, half a million parameters.

    Args:
        num_classes: K.
        **options: see `Options`.
    """
    options = Options(frames=32, stride_frames=2, width=8) | options
    kernels = alternating(50, (3,), (3,), (3,), (3,))
    return VideoResNet("Fast-only", num_classes, kernels, conv1_kernel=5, **options)


def _slow(depth: int, num_classes: int, options: Options) -> VideoResNet:
    return VideoResNet("Slow", num_classes, alternating(depth, (1,), (1,), (3,), (3,)), **options)


PAPER = "Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019"
MODELS = {
    "fast_only_r50": ModelRow(fast_only_r50, PAPER, 2019, "pathways", layouts=LAYOUTS),
    "slow_r50": ModelRow(slow_r50, PAPER, 2019, "pathways", layouts=LAYOUTS),
    "slow_r50_4x16": ModelRow(slow_r50_4x16, PAPER, 2019, "pathways", layouts=LAYOUTS),
    "slow_r101": ModelRow(slow_r101, PAPER, 2019, "pathways", layouts=LAYOUTS),
    "slow_r101_4x16": ModelRow(slow_r101_4x16, PAPER, 2019, "pathways", layouts=LAYOUTS),
}
