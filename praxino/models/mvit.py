"""MViT: vision transformers whose resolution falls and whose width grows.

Fan et al., "Multiscale Vision Transformers", ICCV 2021, arXiv:2104.11227 (v1); Li et al., "MViTv2:
Improved Multiscale Vision Transformers for Classification and Detection", CVPR 2022,
arXiv:2112.01526 (v2).

Notable: keys and values are pooled before attention, queries where a stage begins. v2 adds
relative positions, split into height, width and time, and the pooled query to the result.
Differs from the papers: v2 adds the pooled query to all tokens but the class token, and MViTv2-L
has 213 million parameters, not 218, both as released. From the networks of PySlowFast,
PyTorchVideo, torchvision and MMAction2: nothing, it answers as theirs do.
The blocks are torchvision's; what they are told, and everything around them, stands here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from torch import Tensor, nn
from torchvision.models.video import mvit as tv

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights, evenly

__all__ = [
    "mvit_v1_b",
    "mvit_v1_b_24",
    "mvit_v1_b_32x3",
    "mvit_v2_b",
    "mvit_v2_l",
    "mvit_v2_s",
    "mvit_v2_t",
]

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


class Mvit(tv.MViT):
    """Patches, then blocks of pooling attention; a class token gathers what the head sees.

    Args:
        num_classes: K.
        depth: number of blocks.
        stages: the blocks at which H and W are halved and the width is doubled.
        version: 1 or 2.
        frames: T; positions are known for no other.
        stride: frames of a video of 30 per second from one frame of the clip to the next.
        size: H and W; positions are known for no other.
        width: of the tokens in the first stage.
        heads: of the attention in the first stage.
        drop_path: how often the last block is skipped in training; the first never is.
        pool_eps: of the norms behind pooling.
    """

    def __init__(
        self,
        num_classes: int,
        depth: int,
        stages: tuple[int, ...],
        *,
        version: int,
        frames: int,
        stride: int,
        size: int,
        width: int = 96,
        heads: int = 1,
        drop_path: float = 0.2,
        pool_eps: float = 1e-6,
    ) -> None:
        super().__init__(
            spatial_size=(size, size),
            temporal_size=frames,
            block_setting=_blocks(depth, stages, width, heads, version),
            residual_pool=version == 2,
            residual_with_cls_embed=False,
            rel_pos_embed=version == 2,
            proj_after_attn=version == 2,
            stochastic_depth_prob=drop_path,
            num_classes=num_classes,
        )
        last: Any = self.get_submodule("head")
        self.dropout, self.head = last
        for module in self.modules():
            if isinstance(module, tv.Pool) and module.norm_act is not None:
                module.norm_act[0].eps = pool_eps
        self.clip_spec = ClipSpec(
            frames,
            frames_per_second=30 / stride,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=MEAN,
            std=STD,
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The normalised tokens of the last block but the class token.

        They are `(B, D, T / 2, H / 32, W / 32)`; D is 768, or 1152 in the large model.
        """
        tokens, (t, h, w) = self._tokens(clip)
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (t, h, w))

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, of the size and normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        tokens, _ = self._tokens(clip)
        logits: Tensor = self.head(self.dropout(tokens[:, 0]))
        return logits

    def _tokens(self, clip: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        spec = self.clip_spec
        check_clip(clip, "MViT", frames=spec.frames, size=spec.size)
        patches = self.conv_proj(clip)  # (B, 96, T / 2, H / 4, W / 4)
        thw = patches.shape[2:]
        tokens = self.pos_encoding(patches.flatten(2).transpose(1, 2))  # (B, 1 + T' H' W', 96)
        for block in self.blocks:
            tokens, thw = block(tokens, tuple(thw))
        return self.norm(tokens), thw


def _blocks(
    depth: int, stages: tuple[int, ...], width: int, heads: int, version: int
) -> list[tv.MSBlockConfig]:
    """What torchvision's blocks are to be, by the papers' rules."""
    blocks = []
    for index in range(depth):
        begun = sum(stage <= index for stage in stages)
        # v1 widens in the last MLP of a stage, v2 in the first attention of the next.
        before, after = (index, index + 1) if version == 1 else (index - 1, index)
        narrow = width * 2 ** sum(stage <= before for stage in stages)
        wide = width * 2 ** sum(stage <= after for stage in stages)
        halves = index in stages
        pools_query = halves or version == 2
        kv = max(8 // 2**begun, 1)  # keys and values have the same size in all stages
        blocks.append(
            tv.MSBlockConfig(
                num_heads=heads * 2**begun,
                input_channels=narrow,
                output_channels=wide,
                kernel_q=[3, 3, 3] if pools_query else [],
                kernel_kv=[3, 3, 3],
                stride_q=([1, 2, 2] if halves else [1, 1, 1]) if pools_query else [],
                stride_kv=[1, kv, kv],
            )
        )
    return blocks


class Options(TypedDict, total=False):
    """How a network departs from the published one.

    Args:
        frames: T.
        size: H and W, in pixels; a multiple of 32, unless published with another.
        width: of the tokens in the first stage.
    """

    frames: int
    size: int
    width: int


class PoolOptions(Options, total=False):
    """Options of the networks that PyTorchVideo has published too, beside those of `Options`.

    Args:
        pool_eps: of the norms behind pooling; 1e-6 by default, PyTorchVideo has 1e-5.
    """

    pool_eps: float


_16_FRAMES: Options = {"frames": 16, "size": 224}
_32_FRAMES: Options = {"frames": 32, "size": 224}


def mvit_v1_b(num_classes: int = 400, **options: Unpack[PoolOptions]) -> Mvit:
    """MViT-B 16x4: 36.6 million parameters, 70.6 G multiply-adds; see `PoolOptions`."""
    return Mvit(num_classes, 16, (1, 3, 14), version=1, stride=4, **(_16_FRAMES | options))


def mvit_v1_b_32x3(num_classes: int = 400, **options: Unpack[PoolOptions]) -> Mvit:
    """MViT-B 32x3: `mvit_v1_b` over twice as many frames; see `PoolOptions`."""
    given = _32_FRAMES | options
    return Mvit(num_classes, 16, (1, 3, 14), version=1, stride=3, drop_path=0.3, **given)


def mvit_v1_b_24(num_classes: int = 400, **options: Unpack[Options]) -> Mvit:
    """MViT-B-24 32x3, 24 blocks: what PySlowFast calls `MVIT_B_32x3_CONV`; see `Options`."""
    given = _32_FRAMES | options
    return Mvit(num_classes, 24, (2, 5, 21), version=1, stride=3, drop_path=0.3, **given)


def mvit_v2_t(num_classes: int = 400, **options: Unpack[Options]) -> Mvit:
    """MViTv2-T: ten blocks; nobody has published weights of it for video; see `Options`."""
    return Mvit(num_classes, 10, (1, 3, 8), version=2, stride=4, **(_16_FRAMES | options))


def mvit_v2_s(num_classes: int = 400, **options: Unpack[Options]) -> Mvit:
    """MViTv2-S 16x4: 34.5 million parameters, 64.2 G multiply-adds; see `Options`."""
    return Mvit(num_classes, 16, (1, 3, 14), version=2, stride=4, **(_16_FRAMES | options))


def mvit_v2_b(num_classes: int = 400, **options: Unpack[Options]) -> Mvit:
    """MViTv2-B 32x3: 51.2 million parameters, 225 G multiply-adds; see `Options`."""
    given = _32_FRAMES | options
    return Mvit(num_classes, 24, (2, 5, 21), version=2, stride=3, drop_path=0.3, **given)


def mvit_v2_l(num_classes: int = 400, **options: Unpack[Options]) -> Mvit:
    """MViTv2-L 40x3: 48 blocks over pictures of 312 pixels, 2.8 T multiply-adds; see `Options`."""
    large: Options = {"frames": 40, "size": 312, "width": 144}
    given = large | options
    model = Mvit(num_classes, 48, (2, 8, 44), version=2, stride=3, heads=2, drop_path=0.75, **given)
    model.clip_spec = replace(
        model.clip_spec, resize_short=given["size"], mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    return model


# Where each toolkit keeps its files, and the licence of its weights.
_FACEBOOK = "https://dl.fbaipublicfiles.com"
_ZOOS = {
    "torchvision": ("https://download.pytorch.org/models", "BSD-3-Clause"),
    "pytorchvideo": (f"{_FACEBOOK}/pytorchvideo/model_zoo/kinetics", "Apache-2.0"),
    "pyslowfast": (f"{_FACEBOOK}/pyslowfast/model_zoo", "Apache-2.0"),
    "mmaction2": ("https://download.openmmlab.com/mmaction/v1.0/recognition/mvit", "Apache-2.0"),
}


def _weights(
    layout: str,
    file: str,
    frames: int,
    stride: int | None,
    top1: float,
    top5: float,
    *,
    crops: str = "1 crop of 224 from 256",
    clip: Mapping[str, Any] | None = None,
    trained_on: str = "Kinetics-400",
    num_classes: int = 400,
    megabytes: float | None = None,
) -> Weights:
    """A row of a toolkit's zoo; `stride` None: frames are spread over the whole video."""
    folder, licence = _ZOOS[layout]
    hashed = re.search(r"-([0-9a-f]{8})\.pth$", file)
    cut: dict[str, Any]
    if stride is None:
        views = f"1 clip of {frames} frames spread over the video"
        cut = {"frames_per_second": None}
    elif layout == "mmaction2":  # it counts the video's own frames
        views = f"5 clips of {frames} frames with stride {stride}"
        cut = {"frames_per_second": None, "stride_frames": stride}
    else:
        views = f"5 clips of {frames} frames"
        cut = {} if layout == "torchvision" else evenly(frames, stride)
    return Weights(
        url=f"{folder}/{file}",
        sha256_prefix=hashed[1] if hashed else None,
        megabytes=megabytes,
        trained_on=trained_on,
        num_classes=num_classes,
        licence=f"{licence} ({layout})",
        accuracy={"top1": top1, "top5": top5},
        protocol=f"video level, {views}, {crops}",
        layout=layout,
        options={"pool_eps": 1e-5} if layout == "pytorchvideo" else {},
        clip={**cut, **(clip or {})},
    )


_OF_224: dict[str, Any] = {"crops": "1 crop of 224 from 224", "clip": {"resize_short": 224}}
_SOMETHING: dict[str, Any] = {
    "trained_on": "Kinetics-400, then Something-Something V2",
    "num_classes": 174,
}
_SOMETHING_224 = _SOMETHING | _OF_224 | {"crops": "3 crops of 224"}
_LARGE: dict[str, Any] = {
    "trained_on": "ImageNet-21k, then Kinetics-400",
    "crops": "3 crops of 312",
}
_GREY = {"mean": MEAN, "std": STD}  # MMAction2 normalises them all alike
_PYSF_V2 = "mvitv2/pysf_video_models/MViTv2_"
_SMALL = "mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb"
_SMALL_SOMETHING = "mvit-small-p244_k400-pre_16xb16-u16-100e_sthv2-rgb"

WEIGHTS_V1_B = {
    "kinetics400": _weights(
        "torchvision", "mvit_v1_b-dbeb1030.pth", 16, 4, 78.477, 93.582, megabytes=139.764
    ),
    "kinetics400_pytorchvideo": _weights("pytorchvideo", "MVIT_B_16x4.pyth", 16, 4, 78.85, 93.85),
}
WEIGHTS_V1_B_32X3 = {
    "kinetics400": _weights("pytorchvideo", "MVIT_B_32x3_f294077834.pyth", 32, 3, 80.30, 94.69),
}
WEIGHTS_V1_B_24 = {
    "kinetics400": _weights("pyslowfast", "mvit/k400.pyth", 32, 3, 80.4, 94.8),
    "kinetics600": _weights(
        "pyslowfast",
        "mvit/k600.pyth",
        32,
        3,
        83.9,
        96.5,
        trained_on="Kinetics-600",
        num_classes=600,
    ),
}
WEIGHTS_V2_S = {
    "kinetics400": _weights(
        "torchvision", "mvit_v2_s-ae3be167.pth", 16, 4, 80.757, 94.665, megabytes=131.884
    ),
    "kinetics400_pyslowfast": _weights(
        "pyslowfast", f"{_PYSF_V2}S_16x4_k400_f302660347.pyth", 16, 4, 81.0, 94.6
    ),
    "kinetics400_mmaction2": _weights(
        "mmaction2", f"{_SMALL}/{_SMALL}_20230201-23284ff3.pth", 16, 4, 80.6, 94.7, **_OF_224
    ),
    "something_v2": _weights(
        "mmaction2",
        f"{_SMALL_SOMETHING}/{_SMALL_SOMETHING}_20230201-4065c1b9.pth",
        16,
        None,
        68.2,
        91.3,
        **_SOMETHING_224,
    ),
}
WEIGHTS_V2_B = {
    "kinetics400": _weights(
        "pyslowfast", f"{_PYSF_V2}B_32x3_k400_f304025456.pyth", 32, 3, 82.9, 95.7
    ),
    "kinetics400_mmaction2": _weights(
        "mmaction2",
        "converted/mvit-base-p244_32x3x1_kinetics400-rgb_20221021-f392cd2d.pth",
        32,
        3,
        82.6,
        95.8,
        **_OF_224,
    ),
    "something_v2": _weights(
        "mmaction2",
        "converted/mvit-base-p244_u32_sthv2-rgb_20221021-d5de5da6.pth",
        32,
        None,
        70.8,
        92.7,
        **_SOMETHING_224,
    ),
}
WEIGHTS_V2_L = {
    "kinetics400": _weights(
        "pyslowfast", f"{_PYSF_V2}L_40x3_k400_f306903192.pyth", 40, 3, 86.1, 97.0, **_LARGE
    ),
    "kinetics400_mmaction2": _weights(
        "mmaction2",
        "converted/mvit-large-p244_40x3x1_kinetics400-rgb_20221021-11fe1f97.pth",
        40,
        3,
        85.4,
        96.2,
        clip=_GREY,
        **_LARGE,
    ),
    "something_v2": _weights(
        "mmaction2",
        "converted/mvit-large-p244_u40_sthv2-rgb_20221021-61696e07.pth",
        40,
        None,
        73.2,
        94.0,
        # Its page says 312, which the network is built for, and so do the authors' own settings.
        crops="3 crops of 312, as its page says; its configuration crops 224",
        clip=_GREY,
        **_SOMETHING,
    ),
}

# What all three toolkits call alike.
_BLOCK_NAMES = (
    (r"\.attn\.proj\.", ".attn.project.0."),
    (r"\.attn\.pool_([qkv])\.", r".attn.pool_\1.pool."),
    (r"\.attn\.norm_([qkv])\.", r".attn.pool_\1.norm_act.0."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^(blocks\.\d+)\.proj\.", r"\1.project."),
)


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename the entries of torchvision's `MViT`; only its head is called otherwise."""
    return rename(state, ((r"^head\.1\.", "head."),))


def from_pyslowfast(state: State, model: nn.Module) -> State:
    """Rename the entries of PySlowFast's `MViT`."""
    rules = (
        (r"^patch_embed\.proj\.", "conv_proj."),
        (r"^cls_token$", "pos_encoding.class_token"),
        (r"^pos_embed_(spatial|temporal|class)$", r"pos_encoding.\1_pos"),
        (r"^head\.projection\.", "head."),
        *_BLOCK_NAMES,
    )
    return _without_batch(rename(state, rules))


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's recogniser with an `MViT`."""
    rules = (
        (r"^backbone\.", ""),
        (r"^patch_embed\.projection\.", "conv_proj."),
        (r"^cls_token$", "pos_encoding.class_token"),
        (r"^norm3\.", "norm."),
        (r"^cls_head\.fc_cls\.", "head."),
        *_BLOCK_NAMES,
    )
    return _without_batch(rename(state, rules))


def from_pytorchvideo(state: State, model: nn.Module) -> State:
    """Rename the entries of PyTorchVideo's MViT; join queries, keys and values."""
    rules = (
        (r"^patch_embed\.patch_model\.", "conv_proj."),
        (r"^cls_positional_encoding\.cls_token$", "pos_encoding.class_token"),
        (r"^cls_positional_encoding\.pos_embed_(\w+)$", r"pos_encoding.\1_pos"),
        (r"^norm_embed\.", "norm."),
        (r"^head\.proj\.", "head."),
        *_BLOCK_NAMES,
    )
    # Later versions list each pooling a second time, as a module around the first.
    state = {name: value for name, value in state.items() if "._attention_pool_" not in name}
    joined = {}
    for name, value in _without_batch(rename(state, rules)).items():
        found = re.fullmatch(r"(.*\.attn\.)([qkv])(\.weight|\.bias)", name)
        if found is None:
            joined[name] = value
            continue
        before, part, after = found.groups()
        parts = joined.setdefault(f"{before}qkv{after}", value.new_empty(3, *value.shape))
        parts["qkv".index(part)] = value
    return {
        name: value.flatten(0, 1) if ".attn.qkv." in name else value
        for name, value in joined.items()
    }


def _without_batch(state: State) -> State:
    """Elsewhere positions are `(1, N, D)`, and what belongs to the class token `(1, 1, D)`."""
    converted = {}
    for name, value in state.items():
        if name.startswith("pos_encoding.class_"):
            value = value.flatten()
        elif name.startswith("pos_encoding."):
            value = value.squeeze(0)
        converted[name] = value
    return converted


LAYOUTS = {
    "torchvision": from_torchvision,
    "pytorchvideo": from_pytorchvideo,
    "pyslowfast": from_pyslowfast,
    "mmaction2": from_mmaction2,
}

V1 = "Fan et al., Multiscale Vision Transformers, ICCV 2021"
V2 = "Li et al., MViTv2: Improved Multiscale Vision Transformers, CVPR 2022"


def _row(build: Callable[..., Mvit], paper: str, weights: Mapping[str, Weights]) -> ModelRow:
    year = 2021 if paper is V1 else 2022
    return ModelRow(build, paper, year, "attention", weights=weights, layouts=LAYOUTS)


MODELS = {
    "mvit_v1_b": _row(mvit_v1_b, V1, WEIGHTS_V1_B),
    "mvit_v1_b_24": _row(mvit_v1_b_24, V1, WEIGHTS_V1_B_24),
    "mvit_v1_b_32x3": _row(mvit_v1_b_32x3, V1, WEIGHTS_V1_B_32X3),
    "mvit_v2_b": _row(mvit_v2_b, V2, WEIGHTS_V2_B),
    "mvit_v2_l": _row(mvit_v2_l, V2, WEIGHTS_V2_L),
    "mvit_v2_s": _row(mvit_v2_s, V2, WEIGHTS_V2_S),
    "mvit_v2_t": _row(mvit_v2_t, V2, {}),
}

_PAGE = "PySlowFast's page on MViTv2"
PUBLISHED = (
    *(
        Published(model, source, parameters=parameters, multiply_adds=multiply_adds)
        for model, source, parameters, multiply_adds in (
            ("mvit_v1_b", "torchvision, MViT_V1_B_Weights", "36,610,672", "70.599 G"),
            ("mvit_v1_b", "PyTorchVideo's model zoo", "36.61 M", "70.80 G"),
            ("mvit_v1_b_32x3", "PyTorchVideo's model zoo", "36.61 M", "170.37 G"),
            ("mvit_v2_s", "torchvision, MViT_V2_S_Weights", "34,537,744", "64.224 G"),
            ("mvit_v2_b", _PAGE, "51.2 M", "225 G"),
            ("mvit_v2_l", "MMAction2's model zoo", "213 M", "2828 G"),
        )
    ),
    Published(
        "mvit_v2_l",
        _PAGE,
        parameters="217.6 M",
        erratum="the released configuration has 213 M, as MMAction2 says",
    ),
)
