"""3D DenseNets: each layer of a block is given the maps of all layers before it.

Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018,
arXiv:1711.09577, after Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.

Notable: 11.7 million parameters where ResNet-18 has 33; time is halved where space is halved, from
the first pooling on.
Differs from the code of 2018: the pooling at the end is adaptive, which is the same for the clip
that the code was built for and lets larger clips in. The variant of Diba et al., with a shallower
stem that halves time, is in `t3d.py`.
"""

import re
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.resnet3d import ClipOptions, hara_clip_spec, hara_weights
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import CHANNELS, ClipSpec
from praxino.weights.fitting import State, rename

__all__ = ["densenet3d_121", "densenet3d_169", "densenet3d_201", "densenet3d_264"]


class DenseLayer(nn.Module):
    """A bottleneck of four times the growth, then `growth` new channels beside those it was given.

    Args:
        channels: given to it.
        growth: channels that it adds.
        dropout: probability of zeroing a new channel's number while training.
    """

    def __init__(self, channels: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv1 = nn.Conv3d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm3d(4 * growth)
        self.conv2 = nn.Conv3d(4 * growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, channels + growth, T, H, W)`."""
        narrow = self.conv1(self.relu(self.norm1(maps)))
        new = self.conv2(self.relu(self.norm2(narrow)))
        return torch.cat([maps, self.dropout(new)], 1)


class Transition(nn.Sequential):
    """Between blocks: half the channels, and half of time, height and width, rounded down."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv3d(channels, channels // 2, 1, bias=False)
        self.pool = nn.AvgPool3d(2)


class DenseNet3d(nn.Module):
    """A stem, four dense blocks with transitions between them, the average, a classifier.

    Args:
        num_classes: K.
        layers: of each block.
        growth: channels that a layer adds; the stem has twice as many.
        dropout: probability in each layer while training.
        clip_spec: what it is fed.
        stem_frames: how many frames the stem's kernel spans.
        stem_stride: 2: the stem halves time.
        max_pool: whether a max pooling after the stem halves time and space.
    """

    def __init__(
        self,
        num_classes: int,
        layers: Sequence[int],
        *,
        growth: int,
        dropout: float,
        clip_spec: ClipSpec,
        stem_frames: int,
        stem_stride: int,
        max_pool: bool,
    ) -> None:
        super().__init__()
        self.clip_spec = clip_spec
        self.stem = dense_stem(CHANNELS[clip_spec.inputs[0]], 2 * growth, stem_frames, stem_stride)
        if max_pool:
            self.stem.pool = nn.MaxPool3d(3, stride=2, padding=1)
        # The three transitions need eight positions along each axis.
        pooled = 2 if max_pool else 1
        self.least_frames = 7 * stem_stride * pooled + 1
        self.least_size = 7 * 2 * pooled + 1
        first, second, third, fourth = layers
        channels = 2 * growth
        self.block1 = dense_block(channels, first, growth, dropout)
        channels += first * growth
        self.transition1 = Transition(channels)
        channels //= 2
        self.block2 = dense_block(channels, second, growth, dropout)
        channels += second * growth
        self.transition2 = Transition(channels)
        channels //= 2
        self.block3 = dense_block(channels, third, growth, dropout)
        channels += third * growth
        self.transition3 = Transition(channels)
        channels //= 2
        self.block4 = dense_block(channels, fourth, growth, dropout)
        channels += fourth * growth
        self.norm = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, D, T / 16, H / 32, W / 32)`, rounded down after the stem."""
        check_clip(
            clip,
            "DenseNet3d",
            channels=CHANNELS[self.clip_spec.inputs[0]],
            least_frames=self.least_frames,
            least_size=self.least_size,
        )
        maps = self.stem(clip)  # (B, 64, T / 2, H / 4, W / 4)
        maps = self.transition1(self.block1(maps))  # (B, 128, T / 4, H / 8, W / 8)
        maps = self.transition2(self.block2(maps))  # (B, 256, T / 8, H / 16, W / 16)
        maps = self.transition3(self.block3(maps))  # (B, _, T / 16, H / 32, W / 32)
        result: Tensor = self.relu(self.norm(self.block4(maps)))
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, or two channels of flow, normalised as `self.clip_spec` says;
                any size that the three transitions can halve.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.pool(self.forward_features(clip)).flatten(1)  # (B, D)
        logits: Tensor = self.head(pooled)
        return logits


def dense_stem(channels: int, width: int, frames: int, stride: int) -> nn.Sequential:
    """The first convolution, `frames` x 7 x 7, its norm and its activation."""
    stem = nn.Sequential()
    stem.conv = nn.Conv3d(
        channels, width, (frames, 7, 7), (stride, 2, 2), (frames // 2, 3, 3), bias=False
    )
    stem.norm = nn.BatchNorm3d(width)
    stem.relu = nn.ReLU(inplace=True)
    return stem


def dense_block(channels: int, layers: int, growth: int, dropout: float) -> nn.Sequential:
    """Layers that each add `growth` channels to those before."""
    return nn.Sequential(
        *(DenseLayer(channels + number * growth, growth, dropout) for number in range(layers))
    )


class Options(ClipOptions, total=False):
    """What the builders pass on to `DenseNet3d` and `hara_clip_spec`."""

    growth: int
    dropout: float
    stem_frames: int
    stem_stride: int
    max_pool: bool


LAYERS = {
    121: (6, 12, 24, 16),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
    264: (6, 12, 64, 48),
}


def _densenet3d(
    depth: int,
    num_classes: int,
    *,
    growth: int = 32,
    dropout: float = 0.0,
    stem_frames: int = 7,
    stem_stride: int = 1,
    max_pool: bool = True,
    **clip: Unpack[ClipOptions],
) -> DenseNet3d:
    return DenseNet3d(
        num_classes,
        LAYERS[depth],
        growth=growth,
        dropout=dropout,
        clip_spec=hara_clip_spec(**clip),
        stem_frames=stem_frames,
        stem_stride=stem_stride,
        max_pool=max_pool,
    )


def densenet3d_121(num_classes: int = 400, **options: Unpack[Options]) -> DenseNet3d:
    """3D DenseNet-121: 11.7 million parameters, 10.4 G for 16 x 112 x 112; see `Options`."""
    return _densenet3d(121, num_classes, **options)


def densenet3d_169(num_classes: int = 400, **options: Unpack[Options]) -> DenseNet3d:
    """3D DenseNet-169: 19.3 million parameters, 10.7 G multiply-adds; see `Options`."""
    return _densenet3d(169, num_classes, **options)


def densenet3d_201(num_classes: int = 400, **options: Unpack[Options]) -> DenseNet3d:
    """3D DenseNet-201: 26.1 million parameters, 11.2 G multiply-adds; see `Options`."""
    return _densenet3d(201, num_classes, **options)


def densenet3d_264(num_classes: int = 400, **options: Unpack[Options]) -> DenseNet3d:
    """3D DenseNet-264: 41.4 million parameters, 12.0 G multiply-adds; see `Options`."""
    return _densenet3d(264, num_classes, **options)


# The state of 2018 has torchvision's old names (conv0, norm.1), that of 2020 the new ones.
_HARA_NAMES = (
    (r"^module\.", ""),
    (r"^features\.(conv|norm)[01]\.", r"stem.\1."),
    (r"^features\.norm5\.", "norm."),
    (r"^features\.denseblock(\d)\.", r"block\1."),
    (r"^features\.transition", "transition"),
    (r"\.(norm|conv)\.?([12])\.", r".\1\2."),
    (r"^classifier\.", "head."),
)


def from_hara(state: State, model: nn.Module) -> State:
    """Rename the entries of Hara's code, in its state of 2018 or of 2020, and of Diba et al.'s."""

    def from_zero(name: str) -> str:
        return re.sub(r"\.denselayer(\d+)\.", lambda found: f".{int(found[1]) - 1}.", name)

    return {from_zero(name): value for name, value in rename(state, _HARA_NAMES).items()}


LAYOUTS = {"hara": from_hara, "mohsenfayyaz89": from_hara}

PAPER = "Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs, CVPR 2018"
MODELS = {
    build.__name__: ModelRow(
        build, PAPER, 2018, "3d", weights=hara_weights(build.__name__), layouts=LAYOUTS
    )
    for build in (densenet3d_121, densenet3d_169, densenet3d_201, densenet3d_264)
}

PUBLISHED = (
    Published(
        "densenet3d_121",
        "github.com/kenshohara/3D-ResNets-PyTorch, as its code builds it",
        {"num_classes": 400},
        clip=(3, 16, 112, 112),
        parameters="11,696,528",
        multiply_adds="10.404 G",
        sizes={"stem.pool": (64, 8, 28, 28), "transition3.pool": (512, 1, 3, 3)},
    ),
)
