"""FstCN: space first, then time, in one network of 2D convolutions.

Sun et al., "Human Action Recognition using Factorized Spatio-Temporal Convolutional Networks",
ICCV 2015, arXiv:1510.00562.

Notable: spatial convolutional layers (SCL) look at each frame; a transform-permute operator (T-P)
then turns their maps so that a 2D convolution runs over time and channels, the temporal
convolutional layer (TCL). Beside it stands another SCL for what is seen in one frame. The TCL gets
differences of frames, the SCL a frame. Scores of several views are weighted by how sure they are.
Differs from the paper: nobody has released code or weights, and the full text was not at hand, so
the parts and how they are joined are the paper's, but their sizes are not checked against it. The
SCLs are those of CNN-M-2048 (Chatfield et al., BMVC 2014); the 128 channels before T-P, the 32
kernels of 3 x 3 and of 5 x 5 in the TCL, five frames that are 5 apart, and differences over 9
frames are from memory. Differences keep their sign. The single frame is always the middle one; the
paper trains on a random one.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.video.clip_spec import ClipSpec

__all__ = ["fstcn"]

LEAST_SIZE = 25  # of H and W: the second pooling needs a map of 2 x 2


def transform_permute(maps: Tensor, permutation: Tensor) -> Tensor:
    """The operator T-P: time and channels become the plane, positions become the channels.

    Args:
        maps: `(B, C, T, H, W)`.
        permutation: `(C, C')`: each new channel is a mixture of the old ones, so that neighbours
            on the channel axis mean something to a convolution.

    Returns:
        `(B, H * W, T, C')`.
    """
    return rearrange(maps, "b c t h w -> b (h w) t c") @ permutation


def sparsity_concentration(probabilities: Tensor) -> Tensor:
    """How sure a classifier is: the sparsity concentration index (SCI) of its probabilities.

    1 where all of it is on one class, 0 where all classes are equal:
    `(K * max(p) / sum(p) - 1) / (K - 1)` (Wright et al., Robust Face Recognition via Sparse
    Representation, PAMI 2009).

    Args:
        probabilities: `(..., K)`, none negative.

    Returns:
        `(...)`, in [0, 1].

    Raises:
        ValueError: K is 1.
    """
    classes = probabilities.shape[-1]
    if classes < 2:
        raise ValueError(
            f"How sure a score is needs at least 2 classes to compare, got {classes} in "
            f"probabilities of shape {tuple(probabilities.shape)}."
        )
    share = probabilities.amax(-1) / probabilities.sum(-1)
    return (classes * share - 1) / (classes - 1)


def fuse_by_sparsity(probabilities: Tensor) -> Tensor:
    """One score for a video: the mean of its views, each weighted by its SCI.

    Args:
        probabilities: `(..., V, K)` of V views.

    Returns:
        `(..., K)`; the plain mean where no view prefers any class.

    Raises:
        ValueError: K is 1.
    """
    weights = sparsity_concentration(probabilities)  # (..., V)
    # Equal classes give 0 up to rounding.
    unsure = weights.sum(-1, keepdim=True) < 1e-6
    weights = torch.where(unsure, torch.ones_like(weights), weights)
    weights = weights / weights.sum(-1, keepdim=True)
    return (weights[..., None] * probabilities).sum(-2)


class TemporalConvolutions(nn.Module):
    """The TCL: kernels of two sizes over time and channels, side by side."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.short = nn.Conv2d(positions, width, 3, padding=1)
        self.long = nn.Conv2d(positions, width, 5, padding=2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, planes: Tensor) -> Tensor:
        """`(B, positions, T, C)` to `(B, 2 * width, T, C)`."""
        result: Tensor = self.relu(torch.cat([self.short(planes), self.long(planes)], dim=1))
        return result


class FstCn(nn.Module):
    """Four shared SCLs; a TCL on differences and an SCL on a frame; both joined.

    Args:
        num_classes: K.
        frames: T of the clip.
        stride: from one frame that is used to the next.
        difference: from a frame to the one that is subtracted from it.
        size: H and W of `clip_spec`, in pixels.
        hidden: units of each branch's first hidden layer; the second has half as many.

    Raises:
        ValueError: the clip is too short for one difference, or a distance is below 1.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        frames: int,
        stride: int,
        difference: int,
        size: int,
        hidden: int,
    ) -> None:
        super().__init__()
        if min(stride, difference) < 1:
            raise ValueError(
                f"stride and difference are at least 1 frame, got stride={stride} and "
                f"difference={difference}."
            )
        if frames <= difference:
            raise ValueError(
                f"A clip of frames={frames} has no two frames that are difference={difference} "
                f"apart: take at least frames={difference + 1}."
            )
        self.frames, self.stride, self.difference = frames, stride, difference
        used = len(range(0, frames - difference, stride))
        self.middle = used // 2 * stride
        self.spatial = nn.Sequential(
            nn.Conv2d(3, 96, 7, stride=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=5e-4, k=2.0),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(96, 256, 5, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=5e-4, k=2.0),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(256, 512, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.to_6x6 = nn.AdaptiveMaxPool2d(6)
        self.reduce = nn.Conv2d(512, 128, 1)
        self.permutation = nn.Parameter(torch.empty(128, 128))
        self.temporal = TemporalConvolutions(positions=36, width=32)
        self.temporal_pool = nn.MaxPool2d((1, 2))
        self.temporal_hidden = _hidden(64 * used * 64, hidden)
        self.more_spatial = nn.Conv2d(512, 512, 3, padding=1)
        self.spatial_hidden = _hidden(512 * 36, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(hidden // 2 * 2, num_classes)
        self.clip_spec = ClipSpec(
            frames, stride_frames=1, size=size, resize_short=round(size * 8 / 7)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.orthogonal_(self.permutation)  # which every permutation is

    def forward_features(self, clip: Tensor) -> Tensor:
        """The SCLs' maps of differences of frames.

        For 30 frames of 224 x 224: `(B, 512, 5, 13, 13)`.
        """
        check_clip(clip, "FstCN", frames=self.frames, least_size=LEAST_SIZE)
        last = self.frames - self.difference
        differences = clip[:, :, : last : self.stride] - clip[:, :, self.difference :: self.stride]
        return self._spatial(differences)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; T is `frames`.

        Returns:
            `(B, K)` logits.
        """
        maps = self.forward_features(clip)  # (B, 512, T', H', W')
        batch = len(clip)
        maps = self.to_6x6(rearrange(maps, "b c t h w -> (b t) c h w"))
        maps = self.relu(self.reduce(maps))  # (B * T', 128, 6, 6)
        maps = rearrange(maps, "(b t) c h w -> b c t h w", b=batch)
        planes = transform_permute(maps, self.permutation)  # (B, 36, T', 128)
        planes = self.temporal_pool(self.temporal(planes))  # (B, 64, T', 64)
        motion = self.temporal_hidden(planes.flatten(1))  # (B, hidden / 2)

        middle = clip[:, :, self.middle : self.middle + 1]
        appearance = self._spatial(middle)[:, :, 0]  # (B, 512, H', W')
        appearance = self.to_6x6(self.relu(self.more_spatial(appearance)))
        seen = self.spatial_hidden(appearance.flatten(1))  # (B, hidden / 2)
        logits: Tensor = self.head(torch.cat([motion, seen], dim=1))
        return logits

    def _spatial(self, frames: Tensor) -> Tensor:
        maps = self.spatial(rearrange(frames, "b c t h w -> (b t) c h w"))
        return rearrange(maps, "(b t) c h w -> b c t h w", b=len(frames))


def _hidden(features: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(hidden, hidden // 2),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
    )


def fstcn(
    num_classes: int = 101,
    *,
    frames: int = 30,
    stride: int = 5,
    difference: int = 9,
    size: int = 224,
    hidden: int = 4096,
) -> FstCn:
    """FstCN on CNN-M-2048.

    Args:
        num_classes: K; UCF101 has 101.
        frames: T of `clip_spec`, the only T it takes.
        stride: from one frame that is used to the next.
        difference: from a frame to the one that is subtracted from it.
        size: H and W of `clip_spec`, in pixels; others can be fed.
        hidden: units of each branch's first hidden layer; the second has half as many.
    """
    return FstCn(
        num_classes, frames=frames, stride=stride, difference=difference, size=size, hidden=hidden
    )


PAPER = (
    "Sun et al., Human Action Recognition using Factorized Spatio-Temporal Convolutional "
    "Networks, ICCV 2015"
)
MODELS = {"fstcn": ModelRow(fstcn, PAPER, 2015, "factorised")}
