"""SlowFast: two pathways over one clip.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, arXiv:1812.03982.

Notable: Fast sees alpha times as many frames with an eighth of the channels; a strided convolution
over time carries what it found into Slow after pool1, res2, res3 and res4, and never back. Neither
pathway halves time.
Differs from the paper: where alpha is 4 and the depth 50, these convolutions span 7 frames, not the
5 of section 3.4, as in the released weights.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from praxino.models.clip_shape import check_clip
from praxino.models.resnet_video import (
    EVENLY_32X2,
    EVENLY_64X2,
    LAYOUTS,
    MEAN,
    ONE_PERCENT_MORE,
    STD,
    THIRTY_VIEWS,
    AverageWindows,
    Options,
    Trunk,
    alternating,
    caffe2_weights,
    charades,
    initialise,
    mmaction2_weights,
    pytorchvideo_weights,
)
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.published import Weights

__all__ = [
    "slowfast_8x8_r101_50_50",
    "slowfast_8x8_r101_50_101",
    "slowfast_16x8_r101_50_50",
    "slowfast_mmaction2_r50",
    "slowfast_mmaction2_r50_4x16",
    "slowfast_mmaction2_r101",
    "slowfast_mmaction2_r101_r50_4x16",
    "slowfast_mmaction2_r152_r50_4x16",
    "slowfast_r50",
    "slowfast_r50_4x16",
    "slowfast_r50_16x8",
    "slowfast_r101",
]

JOINED = ("pool1", "res2", "res3", "res4")  # after which Fast is joined to Slow


class SlowFastOptions(Options, total=False):
    """`Options`, where `frames` and `stride_frames` are Fast's; and what is between the pathways.

    Args:
        alpha: how many times as many frames Fast sees; `frames` is a multiple of it.
        fusion_kernel: of the lateral convolutions, in frames of Fast.
        lateral_norm: whether batch norm and ReLU follow these; MMAction2 has neither.
        slow_frames: which frames Slow sees: "spread" from the first to the last one, as PySlowFast
            and PyTorchVideo do, or "strided", every alpha-th, as MMAction2 does.
    """

    alpha: int
    fusion_kernel: int
    lateral_norm: bool
    slow_frames: Literal["spread", "strided"]


class SlowFast(nn.Module):
    """Two trunks, the lateral connections between them, and one classifier.

    Args:
        num_classes: K.
        slow: temporal kernels of the Slow pathway, as of `Trunk`.
        fast: of the Fast pathway.
        alpha: as in `SlowFastOptions`, and so are the rest.
        fusion_kernel: in frames of Fast.
        lateral_norm: whether batch norm and ReLU follow the lateral convolutions.
        slow_frames: "spread" or "strided".
        frames: T of Fast.
        stride_frames: in frames of the video.
        size: H and W.
        window: H and W of the windows that are averaged.
        width: channels of Slow's conv1; Fast's has an eighth of them.
    """

    def __init__(
        self,
        num_classes: int,
        slow: Sequence[Sequence[int]],
        fast: Sequence[Sequence[int]],
        *,
        alpha: int = 4,
        fusion_kernel: int = 7,
        lateral_norm: bool = True,
        slow_frames: Literal["spread", "strided"] = "spread",
        frames: int = 32,
        stride_frames: int | None = 2,
        size: int = 256,
        window: int | None = 7,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.alpha, self.slow_frames = alpha, slow_frames
        thin = width // 8  # beta is 1 / 8
        # Each lateral convolution doubles the channels of Fast: 2 * beta of Slow's.
        self.slow = Trunk(slow, width=width, joined=2 * thin / width)
        self.fast = Trunk(fast, width=thin, conv1_kernel=5)
        self.lateral = nn.ModuleDict(
            {
                place: Lateral(channels, alpha, fusion_kernel, lateral_norm)
                for place, channels in zip(
                    JOINED, (thin, 4 * thin, 8 * thin, 16 * thin), strict=True
                )
            }
        )
        self.pool = AverageWindows(window)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(self.slow.width + self.fast.width, num_classes)
        self.clip_spec = ClipSpec(
            frames, stride_frames=stride_frames, size=size, resize_short=size, mean=MEAN, std=STD
        )
        initialise(self)

    def pathways(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """What each pathway sees of a clip.

        Args:
            clip: `(B, 3, T, H, W)`.

        Returns:
            Slow: `(B, 3, T / alpha, H, W)`, and Fast: the clip itself.

        Raises:
            ValueError: no such clip, or T is no multiple of alpha.
        """
        check_clip(clip, "SlowFast", least_frames=self.alpha)
        frames = clip.shape[2]
        if frames % self.alpha:
            raise ValueError(
                f"SlowFast needs T to be a multiple of alpha={self.alpha}, got T={frames} in a "
                f"clip of shape {tuple(clip.shape)}."
            )
        if self.slow_frames == "strided":
            return clip[:, :, :: self.alpha], clip
        spread = evenly_spread(frames, frames // self.alpha)
        return clip[:, :, torch.tensor(spread, device="cpu")], clip

    def features_of(self, slow: Tensor, fast: Tensor) -> Tensor:
        """The maps of both pathways on one another, before pooling.

        Args:
            slow: `(B, 3, T, H, W)`.
            fast: `(B, 3, alpha * T, H, W)`.

        Returns:
            `(B, 2304, T, H / 32, W / 32)`, rounded up; of Fast, the mean of every alpha frames.

        Raises:
            ValueError: T of the two do not go together.
        """
        if fast.shape[2] != self.alpha * slow.shape[2]:
            raise ValueError(
                f"Fast has alpha={self.alpha} times the frames of Slow, got T={fast.shape[2]} and "
                f"T={slow.shape[2]}. `pathways` takes both from one clip."
            )
        slow, fast = self.slow.stem(slow), self.fast.stem(fast)  # (B, 64, T, ...), (B, 8, aT, ...)
        slow = torch.cat([slow, self.lateral["pool1"](fast)], dim=1)  # (B, 64 + 16, T, ...)
        slow, fast = self.slow.res2(slow), self.fast.res2(fast)
        slow = torch.cat([slow, self.lateral["res2"](fast)], dim=1)  # (B, 256 + 64, T, ...)
        slow, fast = self.slow.res3(slow), self.fast.res3(fast)
        slow = torch.cat([slow, self.lateral["res3"](fast)], dim=1)  # (B, 512 + 128, T, ...)
        slow, fast = self.slow.res4(slow), self.fast.res4(fast)
        slow = torch.cat([slow, self.lateral["res4"](fast)], dim=1)  # (B, 1024 + 256, T, ...)
        slow, fast = self.slow.res5(slow), self.fast.res5(fast)
        # All of time is averaged in the end, so Fast may meet Slow's frames by averaging first.
        return torch.cat([slow, avg_pool3d(fast, (self.alpha, 1, 1))], dim=1)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The maps of both pathways: `(B, 2304, T / alpha, H / 32, W / 32)`, rounded up."""
        return self.features_of(*self.pathways(clip))

    def forward_windows(self, slow: Tensor, fast: Tensor) -> Tensor:
        """`(B, H', W', K)`: logits of each window of `AverageWindows`, one up to 224 pixels.

        PySlowFast evaluates by the mean of their softmax, everyone else by their mean.
        """
        windows = self.pool(self.features_of(slow, fast))[:, :, 0]  # (B, 2304, H', W')
        logits: Tensor = self.head(self.dropout(windows.movedim(1, -1)))
        return logits

    def forward_pathways(self, slow: Tensor, fast: Tensor) -> Tensor:
        """Classify clips whose slow frames somebody else has picked: `(B, K)` logits."""
        return self.forward_windows(slow, fast).mean((1, 2))

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; all frames that Fast sees,
                a multiple of alpha.

        Returns:
            `(B, K)` logits.
        """
        return self.forward_pathways(*self.pathways(clip))


def evenly_spread(frames: int, count: int) -> list[int]:
    """The frames from first to last that `torch.linspace(0, frames - 1, count).long()` names.

    64 frames give 0, 4, 8, 12, 16, 21 ... 63. Rounding decides between neighbours here, and a
    network that is exported with linspace in it is rounded otherwise elsewhere; so this is its
    arithmetic, a float32 step and one rounding from either end, on the numbers themselves.
    """
    last = frames - 1
    step = float(np.float32(last) / np.float32(max(count - 1, 1)))
    half = max(count // 2, 1)
    exact = [step * i if i < half else last - step * (count - 1 - i) for i in range(count)]
    return [int(np.float32(place)) for place in exact]


class Lateral(nn.Sequential):
    """From Fast to Slow: a convolution over time, as far apart as Slow's frames (section 3.4)."""

    def __init__(self, channels: int, alpha: int, kernel: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            channels,
            2 * channels,
            (kernel, 1, 1),
            stride=(alpha, 1, 1),
            padding=(kernel // 2, 0, 0),
            bias=False,
        )
        if norm:
            self.norm = nn.BatchNorm3d(2 * channels)
            self.relu = nn.ReLU(inplace=True)


def slowfast_r50(num_classes: int = 400, **options: Unpack[SlowFastOptions]) -> SlowFast:
    """SlowFast 8x8, R50: 8 slow and 32 fast frames; 34.6 million parameters.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 50, 50, options)


def slowfast_r50_4x16(num_classes: int = 400, **options: Unpack[SlowFastOptions]) -> SlowFast:
    """SlowFast 4x16, R50: 4 slow and 32 fast frames, the network of the paper's table 1.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 50, 50, SlowFastOptions(alpha=8, fusion_kernel=5) | options)


def slowfast_r50_16x8(num_classes: int = 174, **options: Unpack[SlowFastOptions]) -> SlowFast:
    """SlowFast 16x8, R50: 16 slow and 64 fast frames, spread over the whole span.

    Args:
        num_classes: K; Something-Something V2 has 174, Charades 157.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 50, 50, SlowFastOptions(frames=64, stride_frames=None) | options)


def slowfast_r101(num_classes: int = 400, **options: Unpack[SlowFastOptions]) -> SlowFast:
    """SlowFast 8x8, R101: 62.8 million parameters.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 101, 101, SlowFastOptions(fusion_kernel=5) | options)


def slowfast_8x8_r101_50_50(num_classes: int = 400, **options: Unpack[SlowFastOptions]) -> SlowFast:
    """SlowFast 8x8, R101, of whose res4 six blocks span time, as many as in an R50.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    options = SlowFastOptions(fusion_kernel=5) | options
    return _slowfast(num_classes, 101, 101, options, spanning=(6, 6))


def slowfast_8x8_r101_50_101(
    num_classes: int = 400, **options: Unpack[SlowFastOptions]
) -> SlowFast:
    """SlowFast 8x8, R101: in res4 six blocks of Slow span time, and all 23 of Fast.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    options = SlowFastOptions(fusion_kernel=5) | options
    return _slowfast(num_classes, 101, 101, options, spanning=(6, 23))


def slowfast_16x8_r101_50_50(
    num_classes: int = 400, **options: Unpack[SlowFastOptions]
) -> SlowFast:
    """SlowFast 16x8, R101, of whose res4 six blocks span time; 16 slow and 64 fast frames.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    options = SlowFastOptions(frames=64, fusion_kernel=5) | options
    return _slowfast(num_classes, 101, 101, options, spanning=(6, 6))


def slowfast_mmaction2_r50(num_classes: int = 400, **options: Unpack[SlowFastOptions]) -> SlowFast:
    """SlowFast 8x8, R50, as MMAction2 builds it.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 50, 50, MMACTION2 | options)


def slowfast_mmaction2_r50_4x16(
    num_classes: int = 400, **options: Unpack[SlowFastOptions]
) -> SlowFast:
    """SlowFast 4x16, R50, as MMAction2 builds it.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 50, 50, MMACTION2_4X16 | options)


def slowfast_mmaction2_r101(num_classes: int = 400, **options: Unpack[SlowFastOptions]) -> SlowFast:
    """SlowFast 8x8, R101, as MMAction2 builds it.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 101, 101, MMACTION2 | options)


def slowfast_mmaction2_r101_r50_4x16(
    num_classes: int = 400, **options: Unpack[SlowFastOptions]
) -> SlowFast:
    """SlowFast 4x16 with a Slow of 101 and a Fast of 50 layers, as MMAction2 builds it.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 101, 50, MMACTION2_4X16 | options)


def slowfast_mmaction2_r152_r50_4x16(
    num_classes: int = 400, **options: Unpack[SlowFastOptions]
) -> SlowFast:
    """SlowFast 4x16 with a Slow of 152 and a Fast of 50 layers, as MMAction2 builds it.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 152, 50, MMACTION2_4X16 | options)


MMACTION2 = SlowFastOptions(lateral_norm=False, slow_frames="strided", window=None)
MMACTION2_4X16 = MMACTION2 | SlowFastOptions(alpha=8, fusion_kernel=5)


def _slowfast(
    num_classes: int,
    slow_depth: int,
    fast_depth: int,
    options: SlowFastOptions,
    *,
    spanning: tuple[int, int] | None = None,
) -> SlowFast:
    slow = alternating(slow_depth, (1,), (1,), (3,), (3,))
    fast = alternating(fast_depth, (3,), (3,), (3,), (3,))
    if spanning is not None:
        for kernels, first in zip((slow[2], fast[2]), spanning, strict=True):
            kernels[first:] = [1] * (len(kernels) - first)
    return SlowFast(num_classes, slow, fast, **options)


_MULTIGRID = "https://dl.fbaipublicfiles.com/pyslowfast/pyslowfast/model_zoo/multigrid/model_zoo"


def _multigrid(
    file: str,
    accuracy: Mapping[str, float],
    trained_on: str,
    num_classes: int,
    protocol: str,
    clip: Mapping[str, Any] | None = None,
) -> Weights:
    """A row of PySlowFast's zoo of models with and without multigrid training, saved by PyTorch."""
    return Weights(
        url=f"{_MULTIGRID}/{file}",
        sha256_prefix=None,
        trained_on=trained_on,
        num_classes=num_classes,
        licence="Apache-2.0 (PySlowFast)",
        accuracy=accuracy,
        protocol=protocol,
        layout="pyslowfast",
        clip=clip or {},
    )


_SOMETHING_V2 = (
    "Kinetics-400, then Something-Something V2",
    174,
    "video level, 1 clip over the whole video, 1 crop of 256",
)

WEIGHTS_R50_16X8 = {
    "charades": _multigrid("Charades/SLOWFAST_16x8_R50.pkl", {"mAP": 38.9}, **charades(64, 2)),
    "charades_multigrid": _multigrid(
        "Charades/SLOWFAST_16x8_R50_multigrid.pkl", {"mAP": 38.6}, **charades(64, 2)
    ),
    "something_v2": _multigrid(
        "SSv2/SLOWFAST_16x8_R50.pkl", {"top1": 63.0, "top5": 88.5}, *_SOMETHING_V2
    ),
    "something_v2_multigrid": _multigrid(
        "SSv2/SLOWFAST_16x8_R50_multigrid.pkl", {"top1": 63.5, "top5": 88.7}, *_SOMETHING_V2
    ),
}
WEIGHTS_R50 = {
    "kinetics400": pytorchvideo_weights(
        "kinetics/SLOWFAST_8x8_R50.pyth", {"top1": 76.94, "top5": 92.69}, clip=EVENLY_32X2
    ),
    "kinetics400_caffe2": caffe2_weights(
        "SLOWFAST_8x8_R50.pkl", {"top1": 77.0, "top5": 92.6}, clip=EVENLY_32X2
    ),
    "kinetics400_pyslowfast_multigrid": _multigrid(
        "Kinetics/SLOWFAST_8x8_R50_stepwise_multigrid.pkl",
        {"top1": 76.6, "top5": 92.7},
        "Kinetics-400",
        400,
        THIRTY_VIEWS,
        EVENLY_32X2,
    ),
    "kinetics400_pyslowfast_steps": _multigrid(
        "Kinetics/SLOWFAST_8x8_R50_stepwise.pkl",
        {"top1": 76.8, "top5": 92.7},
        "Kinetics-400",
        400,
        THIRTY_VIEWS,
        EVENLY_32X2,
    ),
    "charades": pytorchvideo_weights(
        "charades/SLOWFAST_8x8_R50.pyth",
        {"mAP": 37.24},
        **charades(32, 2),
    ),
    "something_v2": pytorchvideo_weights(
        "ssv2/SLOWFAST_8x8_R50.pyth",
        {"top1": 61.68, "top5": 86.92},
        trained_on="Kinetics-400, then Something-Something V2",
        num_classes=174,
        protocol="video level, 1 clip over the whole video x 3 crops of 256",
        clip={"stride_frames": None},
    ),
}
WEIGHTS_R50_4X16 = {
    "kinetics400": pytorchvideo_weights(
        "kinetics/SLOWFAST_4x16_R50.pyth", {"top1": 75.34, "top5": 91.89}, clip=EVENLY_32X2
    ),
    "kinetics400_caffe2": caffe2_weights(
        "SLOWFAST_4x16_R50.pkl", {"top1": 75.6, "top5": 92.0}, clip=EVENLY_32X2
    ),
}
WEIGHTS_R101 = {
    "kinetics400": pytorchvideo_weights(
        "kinetics/SLOWFAST_8x8_R101.pyth", {"top1": 77.90, "top5": 93.27}, clip=EVENLY_32X2
    ),
}
WEIGHTS_16X8_R101 = {
    "kinetics400": pytorchvideo_weights(
        "kinetics/SLOWFAST_16x8_R101_50_50.pyth", {"top1": 78.70, "top5": 93.61}, clip=EVENLY_64X2
    ),
}
WEIGHTS_MMACTION2_R50 = {
    "kinetics400": mmaction2_weights(
        "slowfast/slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb",
        "20220818-1cb6dfc8",
        {"top1": 76.80, "top5": 92.99},
    ),
    "kinetics400_steps": mmaction2_weights(
        "slowfast/slowfast_r50_8xb8-8x8x1-steplr-256e_kinetics400-rgb",
        "20220818-b62a501f",
        {"top1": 76.65, "top5": 92.86},
    ),
}
WEIGHTS_MMACTION2_R50_4X16 = {
    "kinetics400": mmaction2_weights(
        "slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb",
        "20220901-701b0f6f",
        {"top1": 75.55, "top5": 92.35},
    ),
}
WEIGHTS_MMACTION2_R101 = {
    "kinetics400": mmaction2_weights(
        "slowfast/slowfast_r101_8xb8-8x8x1-256e_kinetics400-rgb",
        "20220818-9c0e09bd",
        {"top1": 78.65, "top5": 93.88},
    ),
}
WEIGHTS_MMACTION2_R101_R50 = {
    "kinetics400": mmaction2_weights(
        "slowfast/slowfast_r101-r50_32xb8-4x16x1-256e_kinetics400-rgb",
        "20220901-a77ac3ee",
        {"top1": 77.03, "top5": 92.99},
    ),
}


def _row(build: Callable[..., SlowFast], weights: Mapping[str, Weights] | None = None) -> ModelRow:
    return ModelRow(build, PAPER, 2019, "pathways", weights=weights or {}, layouts=LAYOUTS)


PAPER = "Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019"
MODELS = {
    "slowfast_16x8_r101_50_50": _row(slowfast_16x8_r101_50_50, WEIGHTS_16X8_R101),
    "slowfast_8x8_r101_50_101": _row(slowfast_8x8_r101_50_101),
    "slowfast_8x8_r101_50_50": _row(slowfast_8x8_r101_50_50),
    "slowfast_mmaction2_r101": _row(slowfast_mmaction2_r101, WEIGHTS_MMACTION2_R101),
    "slowfast_mmaction2_r101_r50_4x16": _row(
        slowfast_mmaction2_r101_r50_4x16, WEIGHTS_MMACTION2_R101_R50
    ),
    "slowfast_mmaction2_r152_r50_4x16": _row(slowfast_mmaction2_r152_r50_4x16),
    "slowfast_mmaction2_r50": _row(slowfast_mmaction2_r50, WEIGHTS_MMACTION2_R50),
    "slowfast_mmaction2_r50_4x16": _row(slowfast_mmaction2_r50_4x16, WEIGHTS_MMACTION2_R50_4X16),
    "slowfast_r101": _row(slowfast_r101, WEIGHTS_R101),
    "slowfast_r50": _row(slowfast_r50, WEIGHTS_R50),
    "slowfast_r50_16x8": _row(slowfast_r50_16x8, WEIGHTS_R50_16X8),
    "slowfast_r50_4x16": _row(slowfast_r50_4x16, WEIGHTS_R50_4X16),
}

_PYTORCHVIDEO = "PyTorchVideo's model zoo"
_MMACTION2 = "MMAction2's model zoo"

# Table 1, for 32 frames of 224 pixels: each stage's last layer.
_STAGES = {
    "slow.conv1.norm": (64, 4, 112, 112),
    "fast.conv1.norm": (8, 32, 112, 112),
    "slow.pool1": (64, 4, 56, 56),
    "fast.pool1": (8, 32, 56, 56),
    "lateral.pool1.norm": (16, 4, 56, 56),
    "slow.res2.2.conv_c.norm": (256, 4, 56, 56),
    "fast.res2.2.conv_c.norm": (32, 32, 56, 56),
    "lateral.res2.norm": (64, 4, 56, 56),
    "slow.res3.3.conv_c.norm": (512, 4, 28, 28),
    "fast.res3.3.conv_c.norm": (64, 32, 28, 28),
    "lateral.res3.norm": (128, 4, 28, 28),
    "slow.res4.5.conv_c.norm": (1024, 4, 14, 14),
    "fast.res4.5.conv_c.norm": (128, 32, 14, 14),
    "lateral.res4.norm": (256, 4, 14, 14),
    "slow.res5.2.conv_c.norm": (2048, 4, 7, 7),
    "fast.res5.2.conv_c.norm": (256, 32, 7, 7),
}

PUBLISHED = (
    Published(
        "slowfast_r50_4x16", "SlowFast paper, table 1", clip=(3, 32, 224, 224), sizes=_STAGES
    ),
    *(
        Published(model, "SlowFast paper, table 2", multiply_adds=multiply_adds)
        for model, multiply_adds in (
            ("slowfast_r50_4x16", "36.1 G"),
            ("slowfast_r50", "65.7 G"),
            ("slowfast_8x8_r101_50_50", "106 G"),
            ("slowfast_16x8_r101_50_50", "213 G"),
        )
    ),
    Published("slowfast_r50", _PYTORCHVIDEO, parameters="34.57 M", multiply_adds="65.71 G"),
    Published("slowfast_r50_4x16", _PYTORCHVIDEO, parameters="34.48 M"),
    Published("slowfast_r101", _PYTORCHVIDEO, parameters="62.83 M"),
    Published("slowfast_16x8_r101_50_50", _PYTORCHVIDEO, parameters="53.77 M"),
    *(
        Published(model, _PYTORCHVIDEO, multiply_adds=multiply_adds, erratum=ONE_PERCENT_MORE)
        for model, multiply_adds in (
            ("slowfast_r50_4x16", "36.69 G"),
            ("slowfast_r101", "127.20 G"),
            ("slowfast_16x8_r101_50_50", "215.61 G"),
        )
    ),
    *(
        Published(model, _MMACTION2, parameters=parameters, multiply_adds=multiply_adds)
        for model, parameters, multiply_adds in (
            ("slowfast_mmaction2_r50", "34,565,560", "66.1 G"),
            ("slowfast_mmaction2_r50_4x16", "34,479,288", "36.3 G"),
            ("slowfast_mmaction2_r101", "62,912,312", "126 G"),
            ("slowfast_mmaction2_r101_r50_4x16", "62,384,312", "64.9 G"),
            ("slowfast_mmaction2_r152_r50_4x16", "84,843,704", "91.5 G"),
        )
    ),
)
