"""SlowFast: two pathways over one clip.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, arXiv:1812.03982.

Notable: Fast sees alpha times as many frames with an eighth of the channels; a strided convolution
over time carries what it found into Slow after pool1, res2, res3 and res4, and never back. Neither
pathway halves time.
Differs from the paper: where alpha is 4 and the depth 50, these convolutions span 7 frames, not the
5 of section 3.4, as in the released weights.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from praxino.models.clip_shape import check_clip
from praxino.models.resnet_video import (
    BLOCKS,
    LAYOUTS,
    MEAN,
    STD,
    AverageWindows,
    Options,
    Trunk,
    alternating,
    initialise,
)
from praxino.models.row import ModelRow
from praxino.video.clip_spec import ClipSpec
from praxino.weights.published import Weights

__all__ = [
    "slowfast_8x8_r101_50_50",
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
        stride_frames: int = 2,
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
        # Rounded down, by torch's own arithmetic: 64 frames give 0, 4, 8, 12, 16, 21 ... 63.
        spread = torch.linspace(0, frames - 1, frames // self.alpha, device="cpu").long()
        return clip.index_select(2, spread.to(clip.device)), clip

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
    """SlowFast 16x8, R50: 16 slow and 64 fast frames, for Something-Something and Charades.

    Args:
        num_classes: K; Something-Something V2 has 174.
        **options: see `SlowFastOptions`.
    """
    return _slowfast(num_classes, 50, 50, SlowFastOptions(frames=64) | options)


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
    return _slowfast(num_classes, 101, 101, SlowFastOptions(fusion_kernel=5) | options, spanning=6)


def slowfast_16x8_r101_50_50(
    num_classes: int = 400, **options: Unpack[SlowFastOptions]
) -> SlowFast:
    """SlowFast 16x8, R101, of whose res4 six blocks span time; 16 slow and 64 fast frames.

    Args:
        num_classes: K.
        **options: see `SlowFastOptions`.
    """
    options = SlowFastOptions(frames=64, fusion_kernel=5) | options
    return _slowfast(num_classes, 101, 101, options, spanning=6)


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
    spanning: int | None = None,
) -> SlowFast:
    slow = alternating(slow_depth, (1,), (1,), (3,), (3,))
    fast = alternating(fast_depth, (3,), (3,), (3,), (3,))
    if spanning is not None:
        rest = BLOCKS[slow_depth][2] - spanning
        slow[2] = fast[2] = [3] * spanning + [1] * rest
    return SlowFast(num_classes, slow, fast, **options)


def _row(build: Callable[..., SlowFast], weights: Mapping[str, Weights] | None = None) -> ModelRow:
    return ModelRow(build, PAPER, 2019, "pathways", weights=weights or {}, layouts=LAYOUTS)


PAPER = "Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019"
MODELS = {
    "slowfast_16x8_r101_50_50": _row(slowfast_16x8_r101_50_50),
    "slowfast_8x8_r101_50_50": _row(slowfast_8x8_r101_50_50),
    "slowfast_mmaction2_r101": _row(slowfast_mmaction2_r101),
    "slowfast_mmaction2_r101_r50_4x16": _row(slowfast_mmaction2_r101_r50_4x16),
    "slowfast_mmaction2_r152_r50_4x16": _row(slowfast_mmaction2_r152_r50_4x16),
    "slowfast_mmaction2_r50": _row(slowfast_mmaction2_r50),
    "slowfast_mmaction2_r50_4x16": _row(slowfast_mmaction2_r50_4x16),
    "slowfast_r101": _row(slowfast_r101),
    "slowfast_r50": _row(slowfast_r50),
    "slowfast_r50_16x8": _row(slowfast_r50_16x8),
    "slowfast_r50_4x16": _row(slowfast_r50_4x16),
}
