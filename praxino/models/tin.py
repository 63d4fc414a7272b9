"""TIN: the shift of TSM, learned: how far, and how much of it.

Shao et al., "Temporal Interlacing Network", AAAI 2020, arXiv:2001.06499.

Notable: in front of every residual branch two small networks look at the clip and say by how many
frames, not a whole number, two groups of channels move, one of them each way; the same distance
backwards for as many others. The networks know how many frames there are, so T is fixed.
Differs from the paper: as the authors' code, a quarter of the channels moves, a distance of at most
two frames, and a weight between 0 and 2 says how much of each frame stays.
"""

from typing import Any, TypedDict, Unpack

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import MMACTION2_RESNET_NAMES, Backbone2d
from praxino.models.backbone_2d import from_torchvision as from_torchvision_network
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.models.tsm import shifted_residual
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["tin_r50"]

GROUPS = 2  # of channels that move forward, and as many backward


class Interlace(nn.Module):
    """Moves the first quarter of the channels along time, as far as the clip itself says.

    Args:
        channels: C.
        frames: T.
        share: every `share`-th part of the channels moves.
    """

    def __init__(self, channels: int, frames: int, share: int) -> None:
        super().__init__()
        self.frames, self.moved = frames, channels // share
        self.offset_conv = nn.Conv1d(self.moved, 1, 3, padding=1)
        self.offset_fc1 = nn.Linear(frames, frames)
        self.offset_fc2 = nn.Linear(frames, GROUPS)
        self.weight_conv = nn.Conv1d(self.moved, GROUPS, 3, padding=1)
        nn.init.constant_(self.offset_fc2.bias, 0.5108)  # half a frame at first
        assert self.weight_conv.bias is not None
        nn.init.zeros_(self.weight_conv.bias)  # a weight of one

    def forward(self, maps: Tensor) -> Tensor:
        """`(B * T, C, H, W)` to the same."""
        clips = rearrange(maps, "(b t) c h w -> b t c h w", t=self.frames)
        moving, kept = clips[:, :, : self.moved], clips[:, :, self.moved :]
        pooled = rearrange(moving.mean(dim=(3, 4)), "b t c -> b c t")
        offsets = self.offsets(pooled)  # (B, 2)
        offsets = torch.cat([offsets, -offsets], dim=1)  # (B, 4)
        weights = 2 * self.weight_conv(pooled).sigmoid()  # (B, 2, T)
        groups = rearrange(moving, "b t (g c) h w -> b g t c h w", g=2 * GROUPS)
        groups = shift(groups, offsets) * torch.cat([weights, weights], 1)[..., None, None, None]
        moving = rearrange(groups, "b g t c h w -> b t (g c) h w")
        return torch.cat([moving, kept], dim=2).flatten(0, 1)

    def offsets(self, pooled: Tensor) -> Tensor:
        """How many frames each group moves: `(B, C, T)` to `(B, 2)`, between -2 and 2."""
        hidden = self.offset_fc1(self.offset_conv(pooled).squeeze(1)).relu()  # (B, T)
        return 4 * (self.offset_fc2(hidden).sigmoid() - 0.5)


def shift(groups: Tensor, offsets: Tensor) -> Tensor:
    """Move groups of channels along time by numbers that need not be whole.

    Args:
        groups: `(B, G, T, C, H, W)`.
        offsets: `(B, G)`, in frames; a positive one moves towards the end.

    Returns:
        The same shape; what comes from outside the clip is zero. Between two frames it is the sum
        of both, each as much as it is near, so that `offsets` get a gradient.
    """
    frames = torch.arange(groups.shape[2], device=groups.device)
    distance = frames[:, None] - frames - offsets[:, :, None, None]  # (B, G, T to, T from)
    near = (1 - distance.abs()).clamp(min=0)
    return torch.einsum("bgtf,bgfchw->bgtchw", near, groups)


class Tin(nn.Module):
    """A ResNet of torchvision with an `Interlace` in front of every residual branch."""

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        *,
        frames: int = 8,
        size: int = 224,
        share: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 1 <= share <= 16:  # the narrowest map has 64 channels, in four groups
            raise ValueError(f"share must be from 1 to 16, got {share}.")
        self.frames = frames
        self.backbone = Backbone2d(backbone)
        network: Any = self.backbone.features
        self.stages = ("layer1", "layer2", "layer3", "layer4")
        self.interlace = nn.ModuleDict(
            {
                f"{stage}_{number}": Interlace(block.conv1.in_channels, frames, share)
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
        check_clip(clip, "TIN", frames=self.frames)
        network: Any = self.backbone.features
        maps = rearrange(clip, "b c t h w -> (b t) c h w")
        maps = network.maxpool(network.relu(network.bn1(network.conv1(maps))))
        for stage in self.stages:
            for number, block in enumerate(getattr(network, stage)):
                maps = shifted_residual(block, maps, self.interlace[f"{stage}_{number}"])
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


class TinOptions(TypedDict, total=False):
    """Options of `tin_r50`.

    Attributes:
        frames: T; 8 by default. The network takes no other.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        share: a quarter of the channels moves by default.
        dropout: before the last layer, in training; 0.5 by default.
    """

    frames: int
    size: int
    share: int
    dropout: float


def tin_r50(num_classes: int = 174, **options: Unpack[TinOptions]) -> Tin:
    """TIN on ResNet-50: as TSM, and 31,000 parameters more.

    Args:
        num_classes: K; Something-Something has 174.
        **options: see `TinOptions`.
    """
    return Tin(num_classes, "resnet50", **options)


_NET1 = r"^backbone\.layer(\d)\.(\d+)\.conv1\.conv\.net1"
_MMACTION2_NAMES = (
    (_NET1 + r"\.offset_net\.(conv|fc1|fc2)\.", r"interlace.layer\1_\2.offset_\3."),
    (_NET1 + r"\.weight_net\.conv\.", r"interlace.layer\1_\2.weight_conv."),
    (r"\.conv1\.conv\.net2\.", ".conv1.conv."),
    *MMACTION2_RESNET_NAMES,
    (r"^cls_head\.fc_cls\.", "head."),
)


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's TIN recogniser."""
    return rename(state, _MMACTION2_NAMES)


def from_torchvision(state: State, model: nn.Module) -> State:
    """The entries of torchvision's ResNet; how far channels move is still to be learned."""
    own = {name: value for name, value in model.state_dict().items() if name[:10] == "interlace."}
    return own | from_torchvision_network(state, model)


LAYOUTS = {"torchvision": from_torchvision, "mmaction2": from_mmaction2}


def _weights(
    config: str, end: str, top1: float, top5: float, trained_on: str, num_classes: int = 174
) -> Weights:
    folder = "https://download.openmmlab.com/mmaction/v1.0/recognition/tin"
    return Weights(
        url=f"{folder}/{config}/{config}_{end}.pth",
        sha256_prefix=end.split("-")[1],
        trained_on=trained_on,
        num_classes=num_classes,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 8 frames over the whole span, 1 crop of 224",
        layout="mmaction2",
    )


WEIGHTS_R50 = {
    "kinetics400": _weights(
        "tin_kinetics400-pretrained-tsm-r50_1x1x8-50e_kinetics400-rgb",
        "20220913-7f10d0c0",
        71.86,
        90.44,
        "Kinetics-400",
        400,
    ),
    "something_v1": _weights(
        "tin_imagenet-pretrained-r50_8xb6-1x1x8-40e_sthv1-rgb",
        "20220913-9b7804d6",
        39.68,
        68.55,
        "Something-Something V1",
    ),
    "something_v2": _weights(
        "tin_imagenet-pretrained-r50_8xb6-1x1x8-40e_sthv2-rgb",
        "20220913-84f9b4b0",
        54.78,
        82.18,
        "Something-Something V2",
    ),
}

PAPER = "Shao et al., Temporal Interlacing Network, AAAI 2020"
MODELS = {
    "tin_r50": ModelRow(
        tin_r50, PAPER, 2020, "shift", weights=WEIGHTS_R50, backbone="resnet50", layouts=LAYOUTS
    ),
}

_ZOO = "MMAction2's model zoo"
PUBLISHED = (
    Published("tin_r50", _ZOO, parameters="23,895,566", multiply_adds="32,962,097,536"),
    Published(
        "tin_r50",
        _ZOO,
        options={"num_classes": 400},
        parameters="24,358,640",
        multiply_adds="32,965,800,320",
    ),
)
