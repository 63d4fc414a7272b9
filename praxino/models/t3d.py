"""T3D: a 3D DenseNet that looks over several spans of time at once, and learns from a 2D network.

Diba et al., "Temporal 3D ConvNets: New Architecture and Transfer Learning for Video
Classification", 2017, arXiv:1711.08200.

Notable: between dense blocks, the Temporal Transition Layer convolves in parallel with kernels that
span 1, 3 and 6 frames (1, 3 and 4 further up), and joins what they find. `TwoToThree` teaches a 3D
network without labels: a frozen 2D network sees frames, the 3D network a clip, and the two have to
say together whether both are of the same moment.
Differs: the authors published their 3D DenseNet (`t3d_densenet3d_*`, equal to it) but no T3D that
runs, and no weights. `t3d_*` follows what reimplementations made of the paper's table: two have the
depths (1, 3, 6) and (1, 3, 4); one of them has 128 channels for each depth, an average pooling in
place of the transition, and a stem whose pooling spares time, so that 6 frames are there to be
spanned. A draft that the authors have deleted agrees on the 128 channels and on kernels of
1 x 1 x 1, 3 x 3 x 3 and 4 x 3 x 3, but puts a transition behind the layer. Nowhere stated: which
positions a kernel of even depth looks at (here one more after than before), and the mean that is
subtracted (here ImageNet's). The transfer's layers of 512 and 128 are a reimplementation's too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.densenet3d import LAYERS, LAYOUTS, DenseNet3d, dense_block, dense_stem
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec

__all__ = [
    "t3d_121",
    "t3d_169",
    "t3d_densenet3d_121",
    "t3d_densenet3d_161",
    "t3d_densenet3d_169",
    "t3d_densenet3d_201",
]


class TemporalTransition(nn.Module):
    """The Temporal Transition Layer (Sec. 3.1): kernels of several depths, side by side.

    Args:
        channels: given to it.
        width: channels that each depth finds.
        depths: how many frames the kernels span; one of 1 frame spans one pixel, too.
    """

    def __init__(self, channels: int, width: int, depths: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_branch(channels, width, depth) for depth in depths)
        self.pool = nn.AvgPool3d(2)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, depths * width, T / 2, H / 2, W / 2)`, rounded down."""
        found = torch.cat([branch(maps) for branch in self.branches], 1)
        result: Tensor = self.pool(found)
        return result


def _branch(channels: int, width: int, depth: int) -> nn.Sequential:
    branch = nn.Sequential()
    branch.norm = nn.BatchNorm3d(channels)
    branch.relu = nn.ReLU(inplace=True)
    if depth == 1:
        branch.conv = nn.Conv3d(channels, width, 1, bias=False)
    else:
        branch.pad = nn.ConstantPad3d((1, 1, 1, 1, (depth - 1) // 2, depth // 2), 0.0)
        branch.conv = nn.Conv3d(channels, width, (depth, 3, 3), bias=False)
    return branch


class T3d(nn.Module):
    """A stem, four dense blocks with Temporal Transition Layers between them, a classifier.

    Args:
        num_classes: K.
        layers: of each block.
        growth: channels that a layer adds; the stem has twice as many.
        dropout: probability in each layer while training.
        frames: T of `clip_spec`.
        size: H and W of `clip_spec`, in pixels.
    """

    def __init__(
        self,
        num_classes: int,
        layers: Sequence[int],
        *,
        growth: int = 32,
        dropout: float = 0.0,
        frames: int = 32,
        size: int = 224,
    ) -> None:
        super().__init__()
        self.clip_spec = _clip_spec(frames, size)
        first, second, third, fourth = layers
        width = 4 * growth  # 128 in both networks of the paper
        self.stem = dense_stem(3, 2 * growth, frames=3, stride=2)
        self.stem.pool = nn.MaxPool3d(3, stride=(1, 2, 2), padding=1)
        self.block1 = dense_block(2 * growth, first, growth, dropout)
        self.transition1 = TemporalTransition((2 + first) * growth, width, (1, 3, 6))
        self.block2 = dense_block(3 * width, second, growth, dropout)
        self.transition2 = TemporalTransition(3 * width + second * growth, width, (1, 3, 4))
        self.block3 = dense_block(3 * width, third, growth, dropout)
        self.transition3 = TemporalTransition(3 * width + third * growth, width, (1, 3, 4))
        self.block4 = dense_block(3 * width, fourth, growth, dropout)
        channels = 3 * width + fourth * growth
        self.norm = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, D, T / 16, H / 32, W / 32)`, rounded down after the stem."""
        check_clip(clip, "T3d", least_frames=15, least_size=29)
        maps = self.stem(clip)  # (B, 64, T / 2, H / 4, W / 4)
        maps = self.transition1(self.block1(maps))  # (B, 384, T / 4, H / 8, W / 8)
        maps = self.transition2(self.block2(maps))  # (B, 384, T / 8, H / 16, W / 16)
        maps = self.transition3(self.block3(maps))  # (B, 384, T / 16, H / 32, W / 32)
        result: Tensor = self.relu(self.norm(self.block4(maps)))
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; at least 15 frames of
                29 x 29 pixels.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.pool(self.forward_features(clip)).flatten(1)  # (B, D)
        logits: Tensor = self.head(pooled)
        return logits


class Options(TypedDict, total=False):
    """What the builders pass on."""

    growth: int
    dropout: float
    frames: int
    size: int


def t3d_121(num_classes: int = 400, **options: Unpack[Options]) -> T3d:
    """T3D on DenseNet-121: 29.9 million parameters, 244 G multiply-adds.

    Args:
        num_classes: K.
        **options: as in `T3d`.
    """
    return T3d(num_classes, LAYERS[121], **options)


def t3d_169(num_classes: int = 400, **options: Unpack[Options]) -> T3d:
    """T3D on DenseNet-169: 38.5 million parameters, 248 G multiply-adds.

    Args:
        num_classes: K.
        **options: as in `T3d`.
    """
    return T3d(num_classes, LAYERS[169], **options)


def _densenet3d(
    num_classes: int,
    layers: Sequence[int],
    *,
    growth: int = 32,
    dropout: float = 0.0,
    frames: int = 32,
    size: int = 224,
) -> DenseNet3d:
    return DenseNet3d(
        num_classes,
        layers,
        growth=growth,
        dropout=dropout,
        clip_spec=_clip_spec(frames, size),
        stem_frames=3,
        stem_stride=2,
        max_pool=True,
    )


def t3d_densenet3d_121(num_classes: int = 400, **options: Unpack[Options]) -> DenseNet3d:
    """The paper's DenseNet3D-121: 11.7 million parameters, 34.1 G multiply-adds.

    Args:
        num_classes: K.
        **options: as in `T3d`.
    """
    return _densenet3d(num_classes, LAYERS[121], **options)


def t3d_densenet3d_161(num_classes: int = 400, **options: Unpack[Options]) -> DenseNet3d:
    """The paper's 3D DenseNet in the size of DenseNet-161, as in the authors' code.

    Args:
        num_classes: K.
        **options: as in `T3d`; layers add 48 channels unless `growth` says otherwise.
    """
    return _densenet3d(num_classes, (6, 12, 36, 24), **({"growth": 48} | options))


def t3d_densenet3d_169(num_classes: int = 400, **options: Unpack[Options]) -> DenseNet3d:
    """The paper's DenseNet3D-169: 19.2 million parameters, 35.3 G multiply-adds.

    Args:
        num_classes: K.
        **options: as in `T3d`.
    """
    return _densenet3d(num_classes, LAYERS[169], **options)


def t3d_densenet3d_201(num_classes: int = 400, **options: Unpack[Options]) -> DenseNet3d:
    """The paper's 3D DenseNet in the size of DenseNet-201, as in the authors' code.

    Args:
        num_classes: K.
        **options: as in `T3d`.
    """
    return _densenet3d(num_classes, LAYERS[201], **options)


def _clip_spec(frames: int, size: int) -> ClipSpec:
    return ClipSpec(frames, stride_frames=1, size=size, resize_short=round(size * 8 / 7))


class TwoToThree(nn.Module):
    """Supervision without labels (Sec. 3.2): do these frames and this clip show the same moment?

    The 2D network is frozen, its batch norms too, so that only the 3D network and the layers on top
    can learn; afterwards the 3D network is fine-tuned as any other.

    Args:
        frames_model: from `(N, 3, H, W)` images to `(N, D)` features, trained on ImageNet; of a
            `Backbone2d`, `nn.Sequential(backbone.features, backbone.neck)`.
        frames_features: D.
        clip_model: a model of `praxino.models`; its `head` is not used.
    """

    def __init__(
        self, frames_model: nn.Module, frames_features: int, clip_model: nn.Module
    ) -> None:
        super().__init__()
        self.frames_model = frames_model.requires_grad_(requires_grad=False).eval()
        self.clip_model = clip_model
        head: Any = clip_model.head
        self.match = nn.Sequential(
            nn.Linear(frames_features + head.in_features, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, 2),
        )

    def train(self, mode: bool = True) -> "TwoToThree":
        """Switch all but the 2D network, which stays as it is."""
        super().train(mode)
        self.frames_model.eval()
        return self

    def forward(self, frames: Tensor, clip: Tensor) -> Tensor:
        """Judge pairs.

        Args:
            frames: `(B, 3, T, H, W)`, normalised for the 2D network.
            clip: `(B, 3, T, H, W)`, normalised for the 3D network.

        Returns:
            `(B, 2)` logits; class 1: they match.
        """
        images = rearrange(frames, "b c t h w -> (b t) c h w")
        seen = rearrange(self.frames_model(images), "(b t) d -> b t d", b=len(frames)).mean(1)
        clip_model: Any = self.clip_model
        found = clip_model.forward_features(clip).mean((2, 3, 4))  # (B, D)
        logits: Tensor = self.match(torch.cat([seen, found], 1))
        return logits


class Pairs(NamedTuple):
    """Which frames go with which clip, N pairs in random order.

    Args:
        frames: `(N,)` indices of moments.
        clips: `(N,)` indices of moments.
        matches: `(N,)` 1 where both are of the same moment, otherwise 0.
    """

    frames: np.ndarray
    clips: np.ndarray
    matches: np.ndarray


def match_pairs(moments: int, generator: np.random.Generator) -> Pairs:
    """Pairs for an epoch of `TwoToThree`: each moment's frames once, half of them with its clip.

    Args:
        moments: N, how many moments there are: a stretch of time in a video each.
        generator: of random numbers.

    Returns:
        N pairs, half of them matching (rounded down); the other clips are those of a moment drawn
        from all others.

    Raises:
        ValueError: fewer than two moments.
    """
    if moments < 2:
        raise ValueError(f"Pairs that do not match need at least 2 moments, got {moments}.")
    frames = generator.permutation(moments)
    other = (frames + generator.integers(1, moments, size=moments)) % moments
    matches = generator.permutation(np.arange(moments) < moments // 2)
    return Pairs(frames, np.where(matches, frames, other), matches.astype(np.int64))


PAPER = "Diba et al., Temporal 3D ConvNets, 2017"
MODELS = {
    "t3d_121": ModelRow(t3d_121, PAPER, 2017, "3d"),
    "t3d_169": ModelRow(t3d_169, PAPER, 2017, "3d"),
    "t3d_densenet3d_121": ModelRow(t3d_densenet3d_121, PAPER, 2017, "3d", layouts=LAYOUTS),
    "t3d_densenet3d_161": ModelRow(t3d_densenet3d_161, PAPER, 2017, "3d", layouts=LAYOUTS),
    "t3d_densenet3d_169": ModelRow(t3d_densenet3d_169, PAPER, 2017, "3d", layouts=LAYOUTS),
    "t3d_densenet3d_201": ModelRow(t3d_densenet3d_201, PAPER, 2017, "3d", layouts=LAYOUTS),
}

PUBLISHED = (
    Published(
        "t3d_densenet3d_121",
        "github.com/MohsenFayyaz89/T3D, as its code builds it",
        {"num_classes": 400},
        clip=(3, 32, 224, 224),
        parameters="11,658,896",
        multiply_adds="34.106 G",
    ),
    Published(
        "t3d_densenet3d_121",
        "github.com/MohsenFayyaz89/T3D, as its code builds it",
        {"num_classes": 1000},
        parameters="12.27 M",
    ),
)
