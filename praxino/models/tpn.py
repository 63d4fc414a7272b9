"""TPN: one network's maps at two depths, as the two tempos of an action.

Yang et al., "Temporal Pyramid Network for Action Recognition", CVPR 2020, arXiv:2004.03548.

Notable: res4 and res5, of Slow or of TSM, are brought to one size, slowed down, and added from the
top down and then from the bottom up (the cascade flow of Sec. 3.3); both sums are joined before the
classifier.
Differs from the released code: its second classifier on res4, which only training uses, is left
out. As there, both tempos are a pooling over 8 frames, so for clips of 8 they differ in depth only.
"""

from typing import Any, TypedDict, Unpack, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import MMACTION2_RESNET_NAMES, Backbone2d
from praxino.models.clip_shape import check_clip
from praxino.models.conv_norm import ConvNorm
from praxino.models.resnet_video import Trunk, alternating
from praxino.models.resnet_video import from_mmaction2 as from_mmaction2_slow
from praxino.models.row import ModelRow, Published
from praxino.models.tsm import shift_both_ways, shifted_residual
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["tpn_slow_r50", "tpn_slow_r101", "tpn_tsm_r50"]

GROUPS = 32  # of channels in the layers that see one tempo


class Tempo(nn.Module):
    """Slows a map down: a convolution over time, and the largest of 8 frames (Sec. 3.2)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            channels, width, (3, 1, 1), padding=(1, 0, 0), groups=GROUPS, bias=False
        )
        self.pool = nn.MaxPool3d((8, 1, 1), ceil_mode=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, width, T / 8, H, W)`, rounded up."""
        result: Tensor = self.pool(self.conv(maps))
        return result


class Join(nn.Module):
    """Two tempos, each through a layer of its own, side by side through one of both."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(GroupedNorm(width) for _ in range(2))
        self.conv = ConvNorm(2 * width, channels, (1, 1, 1))

    def forward(self, fast: Tensor, slow: Tensor) -> Tensor:
        """Twice `(B, width, T, H, W)` to `(B, channels, T, H, W)`."""
        pairs = zip(self.levels, (fast, slow), strict=True)
        both = torch.cat([level(maps).relu() for level, maps in pairs], dim=1)
        result: Tensor = self.conv(both).relu()
        return result


class GroupedNorm(nn.Sequential):
    """A pointwise convolution in groups, and its batch norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, 1, groups=GROUPS, bias=False)
        self.norm = nn.BatchNorm3d(width)


class Pyramid(nn.Module):
    """The temporal pyramid between a network and its classifier.

    Args:
        low: channels of res4.
        high: channels of res5, twice as many.
    """

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.semantics = ConvNorm(low, high, (1, 3, 3), (1, 2, 2))  # res4 as res5 is
        self.tempos = nn.ModuleList(Tempo(high, low) for _ in range(2))
        self.upward = nn.Conv3d(low, low, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.join_downward = Join(low, high)
        self.join_upward = Join(low, high)
        self.fuse = ConvNorm(2 * high, high, (1, 1, 1))

    def forward(self, res4: Tensor, res5: Tensor) -> Tensor:
        """`(B, low, T, 2 H, 2 W)` and `(B, high, T, H, W)` to `(B, high, T / 8, H, W)`."""
        fast = self.tempos[0](self.semantics(res4).relu())  # (B, low, T / 8, H, W)
        slow = self.tempos[1](res5)
        fast = fast + slow
        downward = self.join_downward(fast, slow)
        slow = slow + self.upward(fast)
        both = torch.cat([downward, self.join_upward(fast, slow)], dim=1)
        result: Tensor = self.fuse(both).relu()
        return result


class SlowLevels(Trunk):
    """The Slow network up to its last two stages."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__(alternating(depth, (1,), (1,), (3,), (3,)), width=width)

    def levels(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, T, H, W)` to res4 `(B, 1024, T, H / 16, W / 16)` and res5, half as large."""
        res4 = self.res4(self.res3(self.res2(self.stem(clip))))
        return res4, self.res5(res4)


class ShiftedLevels(nn.Module):
    """A ResNet-50 with the shifts of TSM up to its last two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone2d("resnet50")

    def levels(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """As those of `SlowLevels`."""
        frames, network = clip.shape[2], cast(Any, self.backbone.features)
        maps = rearrange(clip, "b c t h w -> (b t) c h w")
        maps = network.maxpool(network.relu(network.bn1(network.conv1(maps))))
        stages = []
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            for block in stage:
                maps = shifted_residual(block, maps, lambda maps: shift_both_ways(maps, frames))
            stages.append(rearrange(maps, "(b t) c h w -> b c t h w", t=frames))
        return stages[2], stages[3]


class Tpn(nn.Module):
    """A network, a `Pyramid` on its last two stages, and a classifier."""

    def __init__(
        self,
        num_classes: int,
        trunk: SlowLevels | ShiftedLevels,
        clip_spec: ClipSpec,
        *,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.pyramid = Pyramid(16 * width, 32 * width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(32 * width, num_classes)
        self.clip_spec = clip_spec
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The pyramid's map: `(B, 2048, T / 8, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "TPN")
        maps: Tensor = self.pyramid(*self.trunk.levels(clip))
        return maps

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.forward_features(clip).mean(dim=(2, 3, 4))  # (B, 2048)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


class TpnOptions(TypedDict, total=False):
    """Options of every TPN.

    Attributes:
        frames: T of `clip_spec`; 8 by default. Any T can be fed.
        size: H and W of `clip_spec`, in pixels; 224 by default, 256 in the released test.
        dropout: before the last layer, in training; 0.5 by default.
    """

    frames: int
    size: int
    dropout: float


class TpnSlowOptions(TpnOptions, total=False):
    """`TpnOptions`, and for the Slow network one more.

    Attributes:
        width: channels of conv1; an even number, 64 by default.
    """

    width: int


def tpn_slow_r50(num_classes: int = 400, **options: Unpack[TpnSlowOptions]) -> Tpn:
    """TPN on Slow 8x8, R50: 71.8 million parameters, 50.3 G multiply-adds for 8 x 224 x 224.

    Args:
        num_classes: K.
        **options: see `TpnSlowOptions`.
    """
    return _tpn_slow(50, num_classes, options)


def tpn_slow_r101(num_classes: int = 400, **options: Unpack[TpnSlowOptions]) -> Tpn:
    """TPN on Slow 8x8, R101.

    Args:
        num_classes: K.
        **options: see `TpnSlowOptions`.
    """
    return _tpn_slow(101, num_classes, options)


def _tpn_slow(depth: int, num_classes: int, options: TpnSlowOptions) -> Tpn:
    width = options.get("width", 64)
    if width < 2 or width % 2:
        raise ValueError(f"width must be even, got {width}: {GROUPS} groups share 16 times that.")
    dropout = options.get("dropout", 0.5)
    clip_spec = _clip_spec(options, stride_frames=8)
    return Tpn(num_classes, SlowLevels(depth, width), clip_spec, width=width, dropout=dropout)


def tpn_tsm_r50(num_classes: int = 174, **options: Unpack[TpnOptions]) -> Tpn:
    """TPN on TSM, R50: frames over the whole span.

    Args:
        num_classes: K; Something-Something has 174.
        **options: see `TpnOptions`.
    """
    clip_spec = _clip_spec(options, stride_frames=None)
    return Tpn(num_classes, ShiftedLevels(), clip_spec, dropout=options.get("dropout", 0.5))


def _clip_spec(options: TpnOptions | TpnSlowOptions, stride_frames: int | None) -> ClipSpec:
    frames, size = options.get("frames", 8), options.get("size", 224)
    return ClipSpec(
        frames, stride_frames=stride_frames, size=size, resize_short=round(size * 8 / 7)
    )


_MMACTION2_NAMES = (
    (r"^neck\.spatial_modulation\.spatial_modulation\.0\.0\.", "pyramid.semantics."),
    (r"^neck\.temporal_modulation_ops\.(\d)\.conv\.conv\.", r"pyramid.tempos.\1.conv."),
    (r"^neck\.downsample_ops\.0\.conv\.conv\.", "pyramid.upward."),
    (r"^neck\.level_fusion_1\.", "pyramid.join_downward."),
    (r"^neck\.level_fusion_2\.", "pyramid.join_upward."),
    (r"\.downsamples\.(\d)\.conv\.", r".levels.\1."),
    (r"\.fusion_conv\.", ".conv."),
    (r"^neck\.pyramid_fusion\.", "pyramid.fuse."),
    (r"^(pyramid\..*)\.bn\.", r"\1.norm."),
)


_MMACTION2_TSM_NAMES = (
    (r"\.net\.", "."),
    *MMACTION2_RESNET_NAMES,
    (r"^backbone\.", "trunk.backbone."),
    (r"^cls_head\.fc_cls\.", "head."),
)


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's TPN recogniser; its auxiliary classifier is left out."""
    kept = {name: value for name, value in state.items() if not name.startswith("neck.aux_head.")}
    kept = rename(kept, _MMACTION2_NAMES)
    if isinstance(model.trunk, ShiftedLevels):
        return rename(kept, _MMACTION2_TSM_NAMES)
    return from_mmaction2_slow(kept, model)


LAYOUTS = {"mmaction2": from_mmaction2}


def _weights(
    path: str, sha256_prefix: str, top1: float, top5: float, trained_on: str = "Kinetics-400"
) -> Weights:
    return Weights(
        url=f"https://download.openmmlab.com/mmaction/{path}-{sha256_prefix}.pth",
        sha256_prefix=sha256_prefix,
        trained_on=trained_on,
        num_classes=400,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 10 clips of 8 frames, every 8th, 3 crops of 256",
        layout="mmaction2",
        clip={"size": 256, "resize_short": 256},
    )


WEIGHTS_SLOW_R50 = {
    "kinetics400": _weights(
        "v1.0/recognition/tpn/tpn-slowonly_r50_8xb8-8x8x1-150e_kinetics400-rgb/"
        "tpn-slowonly_r50_8xb8-8x8x1-150e_kinetics400-rgb_20220913",
        "97d0835d",
        74.20,
        91.48,
    ),
    "kinetics400_imagenet": _weights(
        "recognition/tpn/tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb/"
        "tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb",
        "44362b55",
        76.59,
        92.72,
        "ImageNet, then Kinetics-400",
    ),
}
WEIGHTS_TSM_R50 = {
    "something_v1": Weights(
        url=(
            "https://download.openmmlab.com/mmaction/recognition/tpn/"
            "tpn_tsm_r50_1x1x8_150e_sthv1_rgb/"
            "tpn_tsm_r50_1x1x8_150e_sthv1_rgb_20211202-c28ed83f.pth"
        ),
        sha256_prefix="c28ed83f",
        trained_on="Something-Something V1",
        num_classes=174,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": 51.50, "top5": 79.15},
        protocol="video level, 2 clips of 8 frames over the whole span, 3 crops of 256",
        layout="mmaction2",
        clip={"size": 256, "resize_short": 256},
    ),
}

PAPER = "Yang et al., Temporal Pyramid Network for Action Recognition, CVPR 2020"
MODELS = {
    "tpn_slow_r101": ModelRow(tpn_slow_r101, PAPER, 2020, "pathways", layouts=LAYOUTS),
    "tpn_slow_r50": ModelRow(
        tpn_slow_r50, PAPER, 2020, "pathways", weights=WEIGHTS_SLOW_R50, layouts=LAYOUTS
    ),
    "tpn_tsm_r50": ModelRow(
        tpn_tsm_r50, PAPER, 2020, "pathways", weights=WEIGHTS_TSM_R50, layouts=LAYOUTS
    ),
}

_WITHOUT = "that counts a classifier on res4 which only training uses, and which is left out here"
PUBLISHED = (
    Published(
        "tpn_slow_r50",
        "MMAction2's model zoo",
        clip=(3, 8, 256, 256),
        multiply_adds="66,014,576,640",
    ),
    Published(
        "tpn_slow_r50",
        "MMAction2's model zoo",
        parameters="91,498,336",
        erratum=_WITHOUT,
    ),
    Published(
        "tpn_tsm_r50",
        "MMAction2 0.24 model zoo",
        clip=(3, 8, 256, 256),
        multiply_adds="54,202,822,656",
    ),
    Published("tpn_tsm_r50", "MMAction2 0.24 model zoo", parameters="82,445,724", erratum=_WITHOUT),
)
