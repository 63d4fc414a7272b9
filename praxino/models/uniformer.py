"""UniFormer: local relations by convolution in early stages, global ones by attention in late.

Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning",
ICLR 2022, arXiv:2201.04676.

Notable: positions are a depthwise convolution over space and time at the start of every block, so
no table of positions limits the size of a clip; attention in the last two stages joins all
positions of all frames. Time is halved once, by the first layer.
Differs from the authors' code: the norms of the attention blocks have an epsilon of 1e-5, as in
MMAction2's port; `norm_eps=1e-6` is theirs, and comes with their weights.
"""

from collections.abc import Callable, Mapping
from typing import TypedDict, Unpack

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["uniformer_b", "uniformer_b_32x4", "uniformer_s"]

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
HEADS = (5, 8)  # of the attention in stages three and four


class _Patches(nn.Module):
    """A convolution without overlap in space, then a norm over the channels."""

    def __init__(self, channels: int, width: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        depth, height, side = kernel
        stride = (1 if depth == 1 else 2, height, side)
        self.proj = nn.Conv3d(channels, width, kernel, stride, (depth // 2, 0, 0))
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor) -> Tensor:
        normed = self.norm(self.proj(maps).movedim(1, -1))  # (B, T, H, W, width)
        result: Tensor = normed.movedim(-1, 1).contiguous()
        return result


class _LocalBlock(nn.Module):
    """Each position meets the 5 x 5 x 5 around it, in every channel by itself: the local MHRA."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.positions = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.relations = nn.Sequential(
            nn.BatchNorm3d(width),
            nn.Conv3d(width, width, 1),
            nn.Conv3d(width, width, 5, padding=2, groups=width),
            nn.Conv3d(width, width, 1),
        )
        self.mlp = nn.Sequential(
            nn.BatchNorm3d(width),
            nn.Conv3d(width, 4 * width, 1),
            nn.GELU(),
            nn.Conv3d(4 * width, width, 1),
        )
        self.skip = StochasticDepth(drop, "row")

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.positions(maps)
        maps = maps + self.skip(self.relations(maps))
        result: Tensor = maps + self.skip(self.mlp(maps))
        return result


class _Attention(nn.Module):
    """Self-attention between all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(tokens), "b n (p h d) -> p b h n d", p=3, h=self.heads)
        mixed = functional.scaled_dot_product_attention(q, k, v)  # (B, heads, N, D)
        result: Tensor = self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
        return result


class _GlobalBlock(nn.Module):
    """Each position meets all others, of every frame: the global MHRA."""

    def __init__(self, width: int, heads: int, drop: float, norm_eps: float) -> None:
        super().__init__()
        self.positions = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.relations = nn.Sequential(
            nn.LayerNorm(width, eps=norm_eps),
            _Attention(width, heads),
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(width, eps=norm_eps),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.skip = StochasticDepth(drop, "row")

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.positions(maps)
        tokens = maps.flatten(2).transpose(1, 2)  # (B, T H W, width)
        tokens = tokens + self.skip(self.relations(tokens))
        tokens = tokens + self.skip(self.mlp(tokens))
        return tokens.transpose(1, 2).reshape(maps.shape)


class Uniformer(nn.Module):
    """Two stages of local blocks, two of global ones; each begins with patches.

    Args:
        num_classes: K.
        depths: number of blocks in each stage.
        drop_path: how often what the last block adds is skipped in training; of the first, never.
        frames: T of `clip_spec`.
        stride_frames: from one frame of `clip_spec` to the next.
        size: H and W of `clip_spec`.
        width: channels of the first stage; the others have 2, 5 and 8 times as many.
        norm_eps: of the norms in the global blocks.
    """

    def __init__(
        self,
        num_classes: int,
        depths: tuple[int, int, int, int],
        *,
        drop_path: float,
        frames: int,
        stride_frames: int,
        size: int,
        width: int,
        norm_eps: float,
    ) -> None:
        super().__init__()
        one, two, three, four = width, 2 * width, 5 * width, 8 * width
        drops = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        first, second, third, fourth = (
            drops[sum(depths[:stage]) : sum(depths[: stage + 1])] for stage in range(4)
        )
        self.patches1 = _Patches(3, one, (3, 4, 4))
        self.stage1 = nn.Sequential(*(_LocalBlock(one, drop) for drop in first))
        self.patches2 = _Patches(one, two, (1, 2, 2))
        self.stage2 = nn.Sequential(*(_LocalBlock(two, drop) for drop in second))
        self.patches3 = _Patches(two, three, (1, 2, 2))
        self.stage3 = nn.Sequential(
            *(_GlobalBlock(three, HEADS[0], drop, norm_eps) for drop in third)
        )
        self.patches4 = _Patches(three, four, (1, 2, 2))
        self.stage4 = nn.Sequential(
            *(_GlobalBlock(four, HEADS[1], drop, norm_eps) for drop in fourth)
        )
        self.norm = nn.BatchNorm3d(four)
        self.head = nn.Linear(four, num_classes)
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=stride_frames,
            size=size,
            resize_short=size,
            mean=MEAN,
            std=STD,
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 8 * width, T / 2, H / 32, W / 32)`; T / 2 is rounded up."""
        check_clip(clip, "UniFormer", least_size=32)
        maps = self.stage1(self.patches1(clip))  # (B, width, T / 2, H / 4, W / 4)
        maps = self.stage2(self.patches2(maps))  # (B, 2 * width, T / 2, H / 8, W / 8)
        maps = self.stage3(self.patches3(maps))  # (B, 5 * width, T / 2, H / 16, W / 16)
        maps = self.stage4(self.patches4(maps))  # (B, 8 * width, T / 2, H / 32, W / 32)
        result: Tensor = self.norm(maps)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; H and W at least 32.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.forward_features(clip).mean(dim=(2, 3, 4))  # (B, 8 * width)
        logits: Tensor = self.head(pooled)
        return logits


class Options(TypedDict, total=False):
    """What all builders take.

    Args:
        stride_frames: from one frame of `clip_spec` to the next.
        size: H and W of `clip_spec`, in pixels; any from 32 can be fed.
        width: channels of the first stage.
        norm_eps: of the norms in the attention blocks; 1e-6 in the authors' own weights.
    """

    stride_frames: int
    size: int
    width: int
    norm_eps: float


def _uniformer(
    num_classes: int,
    depths: tuple[int, int, int, int],
    drop_path: float,
    frames: int,
    options: Options,
) -> Uniformer:
    return Uniformer(
        num_classes,
        depths,
        drop_path=drop_path,
        frames=frames,
        stride_frames=options.get("stride_frames", 4),
        size=options.get("size", 224),
        width=options.get("width", 64),
        norm_eps=options.get("norm_eps", 1e-5),
    )


SMALL, BASE = (3, 4, 8, 3), (5, 8, 20, 7)


def uniformer_s(
    num_classes: int = 400, *, frames: int = 16, **options: Unpack[Options]
) -> Uniformer:
    """UniFormer-S 16x4: 21.4 million parameters, 41.7 G multiply-adds.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        **options: see `Options`.
    """
    return _uniformer(num_classes, SMALL, 0.1, frames, options)


def uniformer_b(
    num_classes: int = 400, *, frames: int = 16, **options: Unpack[Options]
) -> Uniformer:
    """UniFormer-B 16x4: 49.8 million parameters, 96.7 G multiply-adds.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        **options: see `Options`.
    """
    return _uniformer(num_classes, BASE, 0.3, frames, options)


def uniformer_b_32x4(
    num_classes: int = 400, *, frames: int = 32, **options: Unpack[Options]
) -> Uniformer:
    """UniFormer-B 32x4: `uniformer_b` over twice as many frames.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        **options: see `Options`.
    """
    return _uniformer(num_classes, BASE, 0.3, frames, options)


_MMACTION2 = "https://download.openmmlab.com/mmaction/v1.0/recognition/uniformerv1/"


def _of_mmaction2(
    config: str, date_and_hash: str, top1: float, top5: float, frames: int
) -> Weights:
    return Weights(
        url=f"{_MMACTION2}{config}_{date_and_hash}.pth",
        sha256_prefix=date_and_hash.split("-")[1],
        trained_on="ImageNet-1k, then Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol=f"video level, 4 clips of {frames} frames with stride 4, 1 crop of 224 from 224",
        layout="mmaction2",
    )


def _of_authors(
    file: str,
    top1: float,
    frames: int,
    trained_on: str = "Kinetics-400",
    num_classes: int = 400,
    *,
    stride: int = 4,
    folder: str = "Sense-X/uniformer_video",
) -> Weights:
    if trained_on.endswith(("V1", "V2")):
        protocol = f"video level, 1 clip of {frames} frames spread over the video, 3 crops of 224"
        clip: dict[str, int | None] = {"stride_frames": None}
    else:  # of the video's own frames: their reader passes over the rate that PySlowFast aims at
        protocol = (
            f"video level, 4 clips of {frames} frames with stride {stride}, 1 crop of 224 from 224"
        )
        clip = {} if stride == 4 else {"stride_frames": stride}
    return Weights(
        url=f"https://huggingface.co/{folder}/resolve/main/{file}",
        sha256_prefix=None,
        trained_on=f"ImageNet-1k, then {trained_on}",
        num_classes=num_classes,
        licence="MIT (Sense-X)",
        accuracy={"top1": top1},
        protocol=protocol,
        layout="sense_x",
        options={"norm_eps": 1e-6},
        clip=clip,
    )


_K600 = ("Kinetics-600", 600)
_SOMETHING = {
    version: (f"Kinetics-600, then Something-Something {version}", 174) for version in ("V1", "V2")
}

WEIGHTS_S = {
    "kinetics400": _of_mmaction2(
        "uniformer-small_imagenet1k-pre_16x4x1_kinetics400-rgb",
        "20221219-c630a037",
        80.9,
        94.6,
        16,
    ),
    "kinetics400_sense_x": _of_authors("uniformer_small_k400_16x8.pth", 80.8, 16, stride=8),
    "kinetics600": _of_authors("uniformer_small_k600_16x8.pth", 82.7, 16, *_K600, stride=8),
    "something_v1": _of_authors(
        "uniformer_small_sthv1_16_prek600.pth", 57.6, 16, *_SOMETHING["V1"]
    ),
    "something_v2": _of_authors(
        "uniformer_small_sthv2_16_prek600.pth", 69.4, 16, *_SOMETHING["V2"]
    ),
}
WEIGHTS_B = {
    "kinetics400": _of_mmaction2(
        "uniformer-base_imagenet1k-pre_16x4x1_kinetics400-rgb",
        "20221219-157c2e66",
        82.0,
        95.0,
        16,
    ),
    "kinetics400_sense_x": _of_authors(
        "uniformer_base_k400_16x4.pth", 82.0, 16, folder="Andy1621/uniformer"
    ),
}
WEIGHTS_B_32X4 = {
    "kinetics400": _of_mmaction2(
        "uniformer-base_imagenet1k-pre_32x4x1_kinetics400-rgb",
        "20221219-b776322c",
        83.1,
        95.3,
        32,
    ),
    "kinetics400_sense_x": _of_authors("uniformer_base_k400_32x4.pth", 82.9, 32),
    "kinetics600": _of_authors("uniformer_base_k600_32x4.pth", 84.5, 32, *_K600),
    "something_v1": _of_authors("uniformer_base_sthv1_32_prek600.pth", 61.0, 32, *_SOMETHING["V1"]),
    "something_v2": _of_authors("uniformer_base_sthv2_32_prek600.pth", 71.2, 32, *_SOMETHING["V2"]),
}

_LOCAL = (  # stages 1 and 2
    ("norm1", "relations.0"),
    ("conv1", "relations.1"),
    ("attn", "relations.2"),
    ("conv2", "relations.3"),
)
_GLOBAL = (  # stages 3 and 4
    ("norm1", "relations.0"),
    ("attn", "relations.1"),
)
_BOTH = (
    ("pos_embed", "positions"),
    ("norm2", "mlp.0"),
    (r"mlp\.fc1", "mlp.1"),
    (r"mlp\.fc2", "mlp.3"),
)


def from_sense_x(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' `Uniformer`, for a model with `norm_eps=1e-6`."""
    rules = [
        (rf"^blocks([{stages}])\.(\d+)\.{theirs}\.", rf"stage\1.\2.{ours}.")
        for stages, names in (("12", _LOCAL), ("34", _GLOBAL), ("1234", _BOTH))
        for theirs, ours in names
    ]
    return rename(state, [(r"^patch_embed", "patches"), *rules])


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's recogniser with a `UniFormer`."""
    rules = ((r"^backbone\.", ""), (r"^cls_head\.fc_cls\.", "head."))
    return from_sense_x(rename(state, rules), model)


LAYOUTS = {"mmaction2": from_mmaction2, "sense_x": from_sense_x}

PAPER = (
    "Li et al., UniFormer: Unified Transformer for Efficient Spatiotemporal Representation "
    "Learning, ICLR 2022"
)


def _row(build: Callable[..., Uniformer], weights: Mapping[str, Weights]) -> ModelRow:
    return ModelRow(build, PAPER, 2022, "attention", weights=weights, layouts=LAYOUTS)


MODELS = {
    "uniformer_b": _row(uniformer_b, WEIGHTS_B),
    "uniformer_b_32x4": _row(uniformer_b_32x4, WEIGHTS_B_32X4),
    "uniformer_s": _row(uniformer_s, WEIGHTS_S),
}

_ZOO = "MMAction2's model zoo"


def _on_their_page(model: str, frames: int, one_clip: str, four_clips: str) -> Published:
    return Published(
        model,
        f"the authors' page, {four_clips} for four clips of {frames} frames",
        clip=(3, frames, 224, 224),
        multiply_adds=one_clip,
    )


PUBLISHED = (
    Published("uniformer_s", _ZOO, parameters="21.4 M", multiply_adds="41.8 G"),
    Published("uniformer_b", _ZOO, parameters="49.8 M", multiply_adds="96.7 G"),
    Published("uniformer_b_32x4", _ZOO, parameters="49.8 M"),
    Published(
        "uniformer_b_32x4",
        _ZOO,
        multiply_adds="59 G",
        erratum="the authors' 1036 G for four clips are 259 G for one",
    ),
    _on_their_page("uniformer_s", 8, "17.5 G", "70 G"),
    _on_their_page("uniformer_s", 16, "41.75 G", "167 G"),
    _on_their_page("uniformer_s", 32, "109.5 G", "438 G"),
    _on_their_page("uniformer_b", 8, "40.25 G", "161 G"),
    _on_their_page("uniformer_b", 16, "96.75 G", "387 G"),
    _on_their_page("uniformer_b_32x4", 32, "259 G", "1036 G"),
)
