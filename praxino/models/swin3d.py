"""Video Swin: attention within windows of space and time that shift from block to block.

Liu et al., "Video Swin Transformer", CVPR 2022, arXiv:2106.13230.

Notable: windows of 8 x 7 x 7 tokens, of 2 x 4 x 4 pixels each; time is never halved again.
Differs from the paper's figure: at the border the windows are padded with zeros, which take part in
attention as in the released code; where a clip is smaller than a window, the window shrinks to it,
and takes its relative positions from the first rows of the full window's table, also as released.
The blocks are torchvision's; what they are told, and everything around them, stands here.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypedDict, Unpack

from torch import Tensor, nn
from torchvision.models.video.swin_transformer import SwinTransformer3d

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["swin3d_b", "swin3d_l", "swin3d_s", "swin3d_t"]


class Swin3d(SwinTransformer3d):
    """Four stages of blocks; between stages, 2 x 2 tokens are merged into one twice as wide.

    Args:
        num_classes: K.
        blocks: in the third stage; the others have two each.
        heads: of the attention in the first stage; doubled in each that follows.
        width: of the tokens in the first stage; doubled likewise.
        frames: T of `clip_spec`.
        size: H and W of `clip_spec`.
        window_frames: how many tokens a window spans in time.
    """

    def __init__(
        self,
        num_classes: int,
        blocks: int,
        heads: int,
        *,
        width: int,
        frames: int = 32,
        size: int = 224,
        window_frames: int = 8,
    ) -> None:
        super().__init__(
            patch_size=[2, 4, 4],
            embed_dim=width,
            depths=[2, 2, blocks, 2],
            num_heads=[heads, 2 * heads, 4 * heads, 8 * heads],
            window_size=[window_frames, 7, 7],
            num_classes=num_classes,
        )
        self.clip_spec = ClipSpec(
            frames,
            frames_per_second=15.0,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 8 * width, T / 2, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "Video Swin")
        tokens = self.pos_drop(self.patch_embed(clip))  # (B, T / 2, H / 4, W / 4, width)
        tokens = self.norm(self.features(tokens))  # (B, T / 2, H / 32, W / 32, 8 * width)
        result: Tensor = tokens.permute(0, 4, 1, 2, 3)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.avgpool(self.forward_features(clip)).flatten(1)  # (B, 8 * width)
        logits: Tensor = self.head(pooled)
        return logits


class Options(TypedDict, total=False):
    """How a network departs from the published one.

    Args:
        frames: T of `clip_spec`, 32 by default; any T can be fed.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        width: of the tokens in the first stage.
        window_frames: how many tokens of two frames each a window spans in time: 8, and 16 in the
            weights for Something-Something.
    """

    frames: int
    size: int
    width: int
    window_frames: int


def swin3d_t(num_classes: int = 400, **options: Unpack[Options]) -> Swin3d:
    """Video Swin-T: 28.2 million parameters, 88 G multiply-adds; see `Options`."""
    return Swin3d(num_classes, 6, 3, **(Options(width=96) | options))


def swin3d_s(num_classes: int = 400, **options: Unpack[Options]) -> Swin3d:
    """Video Swin-S: 49.8 million parameters, 166 G multiply-adds; see `Options`."""
    return Swin3d(num_classes, 18, 3, **(Options(width=96) | options))


def swin3d_b(num_classes: int = 400, **options: Unpack[Options]) -> Swin3d:
    """Video Swin-B: 88.0 million parameters, 281 G multiply-adds; see `Options`."""
    return Swin3d(num_classes, 18, 4, **(Options(width=128) | options))


def swin3d_l(num_classes: int = 400, **options: Unpack[Options]) -> Swin3d:
    """Video Swin-L: 197 million parameters, 604 G multiply-adds; see `Options`."""
    return Swin3d(num_classes, 18, 6, **(Options(width=192) | options))


_TORCHVISION = "https://download.pytorch.org/models/"
_MMACTION2 = "https://download.openmmlab.com/mmaction/v1.0/recognition/swin/"


def _of_torchvision(
    file: str, top1: float, top5: float, megabytes: float, *, pretrained: str = "ImageNet-1k"
) -> Weights:
    return Weights(
        url=_TORCHVISION + file,
        sha256_prefix=file.removesuffix(".pth").rsplit("-", 1)[1],
        megabytes=megabytes,
        trained_on=f"{pretrained}, then Kinetics-400",
        num_classes=400,
        licence="BSD-3-Clause (torchvision)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 12 clips of 32 frames at 15 fps, 1 crop of 224 from 256",
        layout="torchvision",
    )


def _of_mmaction2(
    config: str,
    date_and_hash: str,
    top1: float,
    top5: float,
    *,
    pretrained: str = "ImageNet-1k",
    kinetics: int = 400,
) -> Weights:
    return Weights(
        url=f"{_MMACTION2}{config}/{config}_{date_and_hash}.pth",
        sha256_prefix=date_and_hash.split("-")[1],
        trained_on=f"{pretrained}, then Kinetics-{kinetics}",
        num_classes=kinetics,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 4 clips of 32 frames with stride 2, 3 crops of 224",
        layout="mmaction2",
        clip={"frames_per_second": None, "stride_frames": 2, "resize_short": 224},
    )


WEIGHTS_T = {
    "kinetics400": _of_torchvision("swin3d_t-7615ae03.pth", 77.715, 93.519, 121.543),
    "kinetics400_mmaction2": _of_mmaction2(
        "swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb",
        "20220930-241016b2",
        78.90,
        93.77,
    ),
}
WEIGHTS_S = {
    "kinetics400": _of_torchvision("swin3d_s-da41c237.pth", 79.521, 94.158, 218.288),
    "kinetics400_mmaction2": _of_mmaction2(
        "swin-small-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb",
        "20220930-e91ab986",
        80.54,
        94.46,
    ),
    "kinetics710": _of_mmaction2(
        "swin-small-p244-w877_in1k-pre_32xb4-amp-32x2x1-30e_kinetics710-rgb",
        "20230612-8e082ff1",
        76.90,
        92.96,
        kinetics=710,
    ),
}
WEIGHTS_B = {
    "kinetics400": _of_torchvision("swin3d_b_1k-24f7c7c6.pth", 79.427, 94.386, 364.134),
    "kinetics400_imagenet22k": _of_torchvision(
        "swin3d_b_22k-7c6ae6fa.pth", 81.643, 95.574, 364.134, pretrained="ImageNet-22k"
    ),
    "kinetics400_mmaction2": _of_mmaction2(
        "swin-base-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb",
        "20220930-182ec6cc",
        80.57,
        94.49,
    ),
}
WEIGHTS_L = {
    "kinetics400": _of_mmaction2(
        "swin-large-p244-w877_in22k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb",
        "20220930-78ad8b11",
        83.46,
        95.91,
        pretrained="ImageNet-22k",
    ),
    "kinetics700": _of_mmaction2(
        "swin-large-p244-w877_in22k-pre_16xb8-amp-32x2x1-30e_kinetics700-rgb",
        "20220930-f8d74db7",
        75.92,
        92.72,
        pretrained="ImageNet-22k",
        kinetics=700,
    ),
}


def from_torchvision(state: State, model: nn.Module) -> State:
    """The names are torchvision's."""
    return _positions(model) | state


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of mmaction2's recogniser, and of the authors' own, of which it is."""

    def features(match: re.Match[str]) -> str:
        stage, part = int(match[1]), match[2]
        # A stage and the merging behind it count separately.
        return f"features.{2 * stage + 1}." if part == "downsample" else f"features.{2 * stage}."

    stage = re.compile(r"^layers\.(\d)\.(downsample|blocks)\.")
    rules = (
        (r"^backbone\.", ""),
        (r"^norm3\.", "norm."),  # the authors' code says norm
        (r"\.mlp\.fc1\.", ".mlp.0."),
        (r"\.mlp\.fc2\.", ".mlp.3."),
        (r"^cls_head\.fc_cls\.", "head."),
    )
    renamed = rename(state, rules)
    return _positions(model) | {stage.sub(features, k): value for k, value in renamed.items()}


def _positions(model: nn.Module) -> State:
    """Where in its table each pair of tokens finds its bias: no weights, and not in every file."""
    return {
        name: value
        for name, value in model.state_dict().items()
        if name.endswith(".relative_position_index")
    }


LAYOUTS = {"torchvision": from_torchvision, "mmaction2": from_mmaction2}

PAPER = "Liu et al., Video Swin Transformer, CVPR 2022"


def _row(build: Callable[..., Swin3d], weights: Mapping[str, Weights]) -> ModelRow:
    return ModelRow(build, PAPER, 2022, "attention", weights=weights, layouts=LAYOUTS)


MODELS = {
    "swin3d_b": _row(swin3d_b, WEIGHTS_B),
    "swin3d_l": _row(swin3d_l, WEIGHTS_L),
    "swin3d_s": _row(swin3d_s, WEIGHTS_S),
    "swin3d_t": _row(swin3d_t, WEIGHTS_T),
}

_HALF = (3, 16, 224, 224)  # torchvision counts half a clip
PUBLISHED = (
    *(
        Published(model, source, clip=_HALF, parameters=parameters, multiply_adds=multiply_adds)
        for model, source, parameters, multiply_adds in (
            ("swin3d_t", "torchvision, Swin3D_T_Weights", "28,158,070", "43.882 G"),
            ("swin3d_s", "torchvision, Swin3D_S_Weights", "49,816,678", "82.841 G"),
            ("swin3d_b", "torchvision, Swin3D_B_Weights", "88,048,984", "140.667 G"),
        )
    ),
    Published("swin3d_t", "MMAction2's model zoo", parameters="28.2 M", multiply_adds="88 G"),
    Published("swin3d_s", "MMAction2's model zoo", parameters="49.8 M", multiply_adds="166 G"),
    Published("swin3d_b", "MMAction2's model zoo", parameters="88.0 M", multiply_adds="282 G"),
    Published("swin3d_l", "MMAction2's model zoo", parameters="197 M", multiply_adds="604 G"),
    Published(
        "swin3d_b",
        "the authors' page, Something-Something",
        options={"num_classes": 174, "window_frames": 16},
        parameters="89 M",
        multiply_adds="320.6 G",
    ),
)
