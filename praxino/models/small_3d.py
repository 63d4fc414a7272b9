"""A small 3D CNN that learns to see motion on a laptop, and the same network without time.

Four stages of one convolution each, after the 3D CNN of Ji et al., "3D Convolutional Neural
Networks for Human Action Recognition", TPAMI 2013, with today's batch norm and global pooling.

Notable: `small_2d` is `small_3d` with kernels one frame deep, so what separates the two on a data
set is what motion adds to appearance.
Differs from the paper in all but the idea: it sees colours, not channels made by hand. The paper's
own network is in `ji.py`.
"""

from typing import Literal, get_args

from einops import rearrange
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.models.single_frame import AverageProbabilities
from praxino.video.clip_spec import ClipSpec

__all__ = ["small_2d", "small_3d"]

Pool = Literal["average", "max"]
WIDTHS = (16, 32, 64, 128)


def _stage(
    channels: int, width: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> nn.Module:
    (k_time, k_space), (s_time, s_space) = kernel, stride
    return nn.Sequential(
        nn.Conv3d(
            channels,
            width,
            (k_time, k_space, k_space),
            (s_time, s_space, s_space),
            (k_time // 2, k_space // 2, k_space // 2),
            bias=False,  # the norm brings one
        ),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )


class Small3d(nn.Module):
    """Four convolutions, halving space at each and time at the last two; then the average."""

    def __init__(self, num_classes: int, *, frames: int = 16, size: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _stage(3, WIDTHS[0], (3, 5), (1, 2)),
            _stage(WIDTHS[0], WIDTHS[1], (3, 3), (1, 2)),
            _stage(WIDTHS[1], WIDTHS[2], (3, 3), (2, 2)),
            _stage(WIDTHS[2], WIDTHS[3], (3, 3), (2, 2)),
        )
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(WIDTHS[3], num_classes)
        self.clip_spec = _clip_spec(frames, size)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 128, T / 4, H / 16, W / 16)`, rounded up."""
        check_clip(clip, type(self).__name__)
        maps: Tensor = self.features(clip)
        return maps

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.pool(self.forward_features(clip)).flatten(1)  # (B, 128)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


class Small2d(nn.Module):
    """`Small3d` with kernels one frame deep: each frame is judged alone, then all are averaged."""

    def __init__(
        self, num_classes: int, *, pool: Pool = "average", frames: int = 16, size: int = 64
    ) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise ValueError(f"pool is one of {', '.join(get_args(Pool))}, not {pool!r}.")
        self.of_frames = pool
        self.features = nn.Sequential(
            _stage(3, WIDTHS[0], (1, 5), (1, 2)),
            _stage(WIDTHS[0], WIDTHS[1], (1, 3), (1, 2)),
            _stage(WIDTHS[1], WIDTHS[2], (1, 3), (1, 2)),
            _stage(WIDTHS[2], WIDTHS[3], (1, 3), (1, 2)),
        )
        self.pool = nn.AdaptiveAvgPool3d((None, 1, 1))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(WIDTHS[3], num_classes)
        self.average = AverageProbabilities()
        self.clip_spec = _clip_spec(frames, size)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 128, T, H / 16, W / 16)`, rounded up."""
        check_clip(clip, type(self).__name__)
        maps: Tensor = self.features(clip)
        return maps

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits; their softmax is the average of the frames' probabilities, unless
            each feature is that of the frame where it is largest.
        """
        pooled = self.pool(self.forward_features(clip))  # (B, 128, T, 1, 1)
        frames = rearrange(pooled, "b d t 1 1 -> b t d")
        if self.of_frames == "max":
            largest: Tensor = self.head(self.dropout(frames.amax(dim=1)))
            return largest
        logits: Tensor = self.average(self.head(self.dropout(frames)))
        return logits


def _clip_spec(frames: int, size: int) -> ClipSpec:
    # Frames over the whole video: an action shorter than the clip is still seen in its order.
    return ClipSpec(frames, size=size, resize_short=size, mean=(0.5,) * 3, std=(0.5,) * 3)


def small_3d(num_classes: int = 400, *, frames: int = 16, size: int = 64) -> Small3d:
    """A small 3D CNN: 0.16 G multiply-adds for a clip of 16 x 64 x 64.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return Small3d(num_classes, frames=frames, size=size)


def small_2d(
    num_classes: int = 400, *, pool: Pool = "average", frames: int = 16, size: int = 64
) -> Small2d:
    """The single-frame sibling of `small_3d`.

    Args:
        num_classes: K.
        pool: `average` of the frames' probabilities; or `max` of their features, for what is to
            be seen in one frame only.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return Small2d(num_classes, pool=pool, frames=frames, size=size)


PAPER = "after Ji et al., 3D CNNs for Human Action Recognition, TPAMI 2013"
MODELS = {
    "small_2d": ModelRow(small_2d, PAPER, 2013, "teaching"),
    "small_3d": ModelRow(small_3d, PAPER, 2013, "teaching"),
}
