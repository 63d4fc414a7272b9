"""TANet: a 2D network whose maps are filtered along time by kernels made for each clip.

Liu et al., "TAM: Temporal Adaptive Module for Video Recognition", ICCV 2021, arXiv:2005.06803.

Notable: every channel of every clip gets a kernel of its own from what it does over all frames (the
global branch), after a local branch has weighed the frames; so T is fixed. The module stands behind
the first convolution of each bottleneck.
Differs from the paper: nothing; the local branch's first layer keeps a quarter of the channels.
"""

from typing import Any, TypedDict, Unpack

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import MMACTION2_RESNET_NAMES, Backbone2d
from praxino.models.backbone_2d import from_torchvision as from_torchvision_network
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["tanet_r50", "tanet_r101"]

KERNEL = 3  # frames that an adaptive kernel spans


class AdaptiveFilter(nn.Module):
    """The temporal adaptive module (Sec. 3.2).

    Args:
        channels: C.
        frames: T.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.make_kernel = nn.Sequential(  # the global branch, for each channel by itself
            nn.Linear(frames, 2 * frames, bias=False),
            nn.BatchNorm1d(2 * frames),
            nn.ReLU(inplace=True),
            nn.Linear(2 * frames, KERNEL, bias=False),
            nn.Softmax(dim=-1),
        )
        self.weigh_frames = nn.Sequential(  # the local branch
            nn.Conv1d(channels, channels // 4, 3, padding=1, bias=False),
            nn.BatchNorm1d(channels // 4),
            nn.ReLU(inplace=True),
            nn.Conv1d(channels // 4, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """`(B * T, C, H, W)` to the same."""
        clips = rearrange(maps, "(b t) c h w -> b c t h w", t=self.frames)
        pooled = clips.mean(dim=(3, 4))  # (B, C, T)
        kernels = self.make_kernel(pooled.flatten(0, 1)).unflatten(0, pooled.shape[:2])  # (B, C, 3)
        weighed = clips * self.weigh_frames(pooled)[..., None, None]
        none = torch.zeros_like(weighed[:, :, :1])
        padded = torch.cat([none, weighed, none], dim=2)  # (B, C, T + 2, H, W)
        filtered = sum(
            kernels[:, :, k, None, None, None] * padded[:, :, k : k + self.frames]
            for k in range(KERNEL)
        )
        return rearrange(filtered, "b c t h w -> (b t) c h w")


class Tanet(nn.Module):
    """A ResNet of bottlenecks with an `AdaptiveFilter` in each."""

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        *,
        frames: int = 8,
        size: int = 224,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.backbone = Backbone2d(backbone)
        network: Any = self.backbone.features
        self.stages = ("layer1", "layer2", "layer3", "layer4")
        self.filters = nn.ModuleDict(
            {
                f"{stage}_{number}": AdaptiveFilter(block.conv1.out_channels, frames)
                for stage in self.stages
                for number, block in enumerate(getattr(network, stage))
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.out_features, num_classes)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)
        self.clip_spec = ClipSpec(frames, size=size, resize_short=round(size * 8 / 7))

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "TANet", frames=self.frames)
        network: Any = self.backbone.features
        maps = rearrange(clip, "b c t h w -> (b t) c h w")
        maps = network.maxpool(network.relu(network.bn1(network.conv1(maps))))
        for stage in self.stages:
            for number, block in enumerate(getattr(network, stage)):
                maps = _filtered_bottleneck(block, maps, self.filters[f"{stage}_{number}"])
        return rearrange(maps, "(b t) d h w -> b d t h w", t=self.frames)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; T is its `frames`.

        Returns:
            `(B, K)` logits, the average of the frames'.
        """
        vectors = self.dropout(self.backbone.vectors(self.forward_features(clip)))  # (B, T, D)
        logits: Tensor = self.head(vectors.mean(dim=1))
        return logits


def _filtered_bottleneck(block: Any, maps: Tensor, adaptive_filter: nn.Module) -> Tensor:
    """A bottleneck of torchvision, filtered along time behind its first convolution."""
    branch = adaptive_filter(block.relu(block.bn1(block.conv1(maps))))
    branch = block.relu(block.bn2(block.conv2(branch)))
    branch = block.bn3(block.conv3(branch))
    shortcut = maps if block.downsample is None else block.downsample(maps)
    result: Tensor = block.relu(branch + shortcut)
    return result


class TanetOptions(TypedDict, total=False):
    """Options of every TANet.

    Attributes:
        frames: T; 8 by default. The network takes no other.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        dropout: before the last layer, in training; 0.5 by default.
    """

    frames: int
    size: int
    dropout: float


def tanet_r50(num_classes: int = 400, **options: Unpack[TanetOptions]) -> Tanet:
    """TANet on ResNet-50: 25.6 million parameters, 32.8 G multiply-adds for 8 x 224 x 224.

    Args:
        num_classes: K.
        **options: see `TanetOptions`.
    """
    return Tanet(num_classes, "resnet50", **options)


def tanet_r101(num_classes: int = 400, **options: Unpack[TanetOptions]) -> Tanet:
    """TANet on ResNet-101.

    Args:
        num_classes: K.
        **options: see `TanetOptions`.
    """
    return Tanet(num_classes, "resnet101", **options)


_MMACTION2_NAMES = (
    (r"^backbone\.layer(\d)\.(\d+)\.tam\.G\.", r"filters.layer\1_\2.make_kernel."),
    (r"^backbone\.layer(\d)\.(\d+)\.tam\.L\.", r"filters.layer\1_\2.weigh_frames."),
    (r"^(backbone\.layer\d\.\d+)\.block\.", r"\1."),
    *MMACTION2_RESNET_NAMES,
    (r"^cls_head\.fc_cls\.", "head."),
)


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's TANet recogniser."""
    return rename(state, _MMACTION2_NAMES)


def from_torchvision(state: State, model: nn.Module) -> State:
    """The entries of torchvision's ResNet; the filters are still to be learned."""
    own = {name: value for name, value in model.state_dict().items() if name[:8] == "filters."}
    return own | from_torchvision_network(state, model)


LAYOUTS = {"torchvision": from_torchvision, "mmaction2": from_mmaction2}

_ZOO_FOLDER = "https://download.openmmlab.com/mmaction/"
_LICENCE = "Apache-2.0 (mmaction2)"
WEIGHTS_R50 = {
    "kinetics400": Weights(
        url=(
            f"{_ZOO_FOLDER}v1.0/recognition/tanet/"
            "tanet_imagenet-pretrained-r50_8xb8-dense-1x1x8-100e_kinetics400-rgb/"
            "tanet_imagenet-pretrained-r50_8xb8-dense-1x1x8-100e_kinetics400-rgb"
            "_20220919-a34346bc.pth"
        ),
        sha256_prefix="a34346bc",
        trained_on="Kinetics-400",
        num_classes=400,
        licence=_LICENCE,
        accuracy={"top1": 76.25, "top5": 92.41},
        protocol="video level, 10 clips of 8 frames, every 8th, 3 crops of 256",
        layout="mmaction2",
        clip={"stride_frames": 8, "size": 256, "resize_short": 256},
    ),
    "something_v1": Weights(
        url=(
            f"{_ZOO_FOLDER}recognition/tanet/tanet_r50_1x1x8_50e_sthv1_rgb/"
            "tanet_r50_1x1x8_50e_sthv1_rgb_20210630-f4a48609.pth"
        ),
        sha256_prefix="f4a48609",
        trained_on="Something-Something V1",
        num_classes=174,
        licence=_LICENCE,
        accuracy={"top1": 47.34, "top5": 75.72},
        protocol="video level, 8 frames over the whole span, 1 crop of 224",
        layout="mmaction2",
    ),
    "something_v1_16_frames": Weights(
        url=(
            f"{_ZOO_FOLDER}recognition/tanet/tanet_r50_1x1x16_50e_sthv1_rgb/"
            "tanet_r50_1x1x16_50e_sthv1_rgb_20211202-370c2128.pth"
        ),
        sha256_prefix="370c2128",
        trained_on="Something-Something V1",
        num_classes=174,
        licence=_LICENCE,
        accuracy={"top1": 49.05, "top5": 77.90},
        protocol="video level, 16 frames over the whole span, 1 crop of 224",
        layout="mmaction2",
        options={"frames": 16},
    ),
}

PAPER = "Liu et al., TAM: Temporal Adaptive Module for Video Recognition, ICCV 2021"
MODELS = {
    "tanet_r101": ModelRow(tanet_r101, PAPER, 2021, "shift", backbone="resnet101", layouts=LAYOUTS),
    "tanet_r50": ModelRow(
        tanet_r50, PAPER, 2021, "shift", weights=WEIGHTS_R50, backbone="resnet50", layouts=LAYOUTS
    ),
}

_ZOO = "MMAction2 0.24 model zoo"
PUBLISHED = (
    Published(
        "tanet_r50",
        _ZOO,
        clip=(3, 8, 256, 256),
        parameters="25,590,320",
        multiply_adds="43,065,983,104",
    ),
    Published(
        "tanet_r50",
        _ZOO,
        options={"num_classes": 174},
        parameters="25,127,246",
        multiply_adds="32,972,787,840",
    ),
    Published(
        "tanet_r50",
        _ZOO,
        options={"num_classes": 174, "frames": 16},
        parameters="25,134,670",
        multiply_adds="65,946,542,336",
    ),
)
