"""VideoMAE: a plain vision transformer over space-time patches, pre-trained by filling in gaps.

Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training", NeurIPS 2022, arXiv:2203.12602.

Notable: patches of 2 x 16 x 16; keys have no bias; positions are sines; no class token, the mean of
all tokens is classified. Only the fine-tuned classifier is here, not the decoder.
Differs from transformers: all norms have the authors' eps of 1e-6 (there 1e-12, and 1e-5 before the
classifier), and the table of positions can be loaded.
The blocks are those of transformers (`pip install 'praxino[models]'`).
"""

import math
from collections.abc import Callable, Mapping
from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.from_transformers import transformers_for
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["videomae_b", "videomae_h", "videomae_l", "videomae_s"]

EPS = 1e-6


class Options(TypedDict, total=False):
    """How a network departs from the published one.

    Args:
        frames: T, a multiple of 2.
        size: H and W, in pixels; a multiple of `patch`.
        patch: height and width of a patch, in pixels.
        width: D of the tokens.
        depth: number of blocks.
        heads: of each attention.
        hidden: width inside of each MLP.
    """

    frames: int
    size: int
    patch: int
    width: int
    depth: int
    heads: int
    hidden: int


class VideoMae(nn.Module):
    """A vision transformer over patches of two frames; the mean of its tokens is classified.

    Args:
        num_classes: K.
        **options: all of `Options`.
    """

    def __init__(self, num_classes: int, **options: Unpack[Options]) -> None:
        super().__init__()
        library = transformers_for("VideoMAE")
        frames, size, patch, width = (options[k] for k in ("frames", "size", "patch", "width"))
        self.grid = (frames // 2, size // patch, size // patch)
        self.patch_embed = nn.Conv3d(3, width, (2, patch, patch), (2, patch, patch))
        self.register_buffer("positions", _sines(math.prod(self.grid), width))
        config = library.VideoMAEConfig(
            hidden_size=width,
            num_hidden_layers=options["depth"],
            num_attention_heads=options["heads"],
            intermediate_size=options["hidden"],
            layer_norm_eps=EPS,
            attn_implementation="sdpa",
        )
        # Only its blocks: around them, it takes seconds to work out the sines.
        self.encoder = library.models.videomae.modeling_videomae.VideoMAEEncoder(config)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, num_classes)
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=4,
            size=size,
            resize_short=size,  # three crops along the longer side
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The tokens of the last block, before pooling: `(B, D, T / 2, H / 16, W / 16)`."""
        check_clip(clip, "VideoMAE", frames=self.clip_spec.frames, size=self.clip_spec.size)
        patches = self.patch_embed(clip).flatten(2).transpose(1, 2)  # (B, T' H' W', D)
        tokens: Tensor = self.encoder(patches + self.positions).last_hidden_state
        return tokens.transpose(1, 2).unflatten(2, self.grid)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, of the size and normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.norm(self.forward_features(clip).mean((2, 3, 4)))  # (B, D)
        logits: Tensor = self.head(pooled)
        return logits


def _sines(positions: int, width: int) -> Tensor:
    """Sines and cosines of `positions` places in turn: `(1, positions, width)`."""
    rates = 10000 ** (-2 * (torch.arange(width, dtype=torch.float64) // 2) / width)
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates
    angles[:, 0::2] = angles[:, 0::2].sin()
    angles[:, 1::2] = angles[:, 1::2].cos()
    return angles[None].float()


def videomae_s(num_classes: int = 400, **options: Unpack[Options]) -> VideoMae:
    """VideoMAE on ViT-S: 22 million parameters; `Options` names the options."""
    return VideoMae(num_classes, **(_vit(384, 12, 6) | options))


def videomae_b(num_classes: int = 400, **options: Unpack[Options]) -> VideoMae:
    """VideoMAE on ViT-B: 86.5 million parameters, 180 G multiply-adds; see `Options`."""
    return VideoMae(num_classes, **(_vit(768, 12, 12) | options))


def videomae_l(num_classes: int = 400, **options: Unpack[Options]) -> VideoMae:
    """VideoMAE on ViT-L: 304 million parameters, 597 G multiply-adds; see `Options`."""
    return VideoMae(num_classes, **(_vit(1024, 24, 16) | options))


def videomae_h(num_classes: int = 400, **options: Unpack[Options]) -> VideoMae:
    """VideoMAE on ViT-H: 632 million parameters; see `Options`."""
    return VideoMae(num_classes, **(_vit(1280, 32, 16) | options))


def _vit(width: int, depth: int, heads: int) -> Options:
    return {
        "frames": 16,
        "size": 224,
        "patch": 16,
        "width": width,
        "depth": depth,
        "heads": heads,
        "hidden": 4 * width,
    }


_HUB = "https://huggingface.co/MCG-NJU/"
_MMACTION2 = "https://download.openmmlab.com/mmaction/v1.0/recognition/videomae/"


def _of_hub(repository: str) -> Weights:
    return Weights(
        url=f"{_HUB}{repository}/resolve/main/model.safetensors",
        sha256_prefix=None,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="CC-BY-NC-4.0",
        layout="transformers",
    )


def _of_mmaction2(file: str, top1: float, top5: float) -> Weights:
    return Weights(
        url=_MMACTION2 + file,
        sha256_prefix=file.removesuffix(".pth").rsplit("-", 1)[1],
        trained_on="Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (mmaction2); the authors' originals: CC-BY-NC-4.0",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 5 clips of 16 frames with stride 4, 3 crops of 224",
        layout="mmaction2",
    )


WEIGHTS_S = {"kinetics400": _of_hub("videomae-small-finetuned-kinetics")}
WEIGHTS_B = {
    "kinetics400": _of_hub("videomae-base-finetuned-kinetics"),
    "kinetics400_mmaction2": _of_mmaction2(
        "vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400_20221013-860a3cd3.pth", 81.3, 95.0
    ),
}
WEIGHTS_L = {
    "kinetics400": _of_hub("videomae-large-finetuned-kinetics"),
    "kinetics400_mmaction2": _of_mmaction2(
        "vit-large-p16_videomae-k400-pre_16x4x1_kinetics-400_20221013-229dbb03.pth", 85.3, 96.7
    ),
}
WEIGHTS_H = {"kinetics400": _of_hub("videomae-huge-finetuned-kinetics")}


def from_transformers(state: State, model: nn.Module) -> State:
    """Rename the entries of transformers' `VideoMAEForVideoClassification`, old or new."""
    rules = (
        (r"^videomae\.embeddings\.patch_embeddings\.projection\.", "patch_embed."),
        (r"^videomae\.", ""),
        (r"\.attention\.attention\.q_bias$", ".attention.attention.query.bias"),  # before 5
        (r"\.attention\.attention\.v_bias$", ".attention.attention.value.bias"),
        (r"^fc_norm\.", "norm."),
        (r"^classifier\.", "head."),
    )
    return _positions(model) | rename(state, rules)


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of mmaction2's recogniser; part queries, keys and values."""
    rules = (
        (r"^backbone\.", ""),
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"\.mlp\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.mlp\.layers\.1\.", ".mlp.fc2."),
        (r"^cls_head\.fc_cls\.", "head."),
    )
    return from_mcg_nju(rename(state, rules), model)


def from_mcg_nju(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' own code; part queries, keys and values."""
    rules = (
        (r"^pos_embed$", "positions"),
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"^blocks\.", "encoder.layer."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.attn\.q_bias$", ".attention.attention.query.bias"),
        (r"\.attn\.v_bias$", ".attention.attention.value.bias"),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
        (r"^fc_norm\.", "norm."),
    )
    parted = _positions(model)
    for name, value in rename(state, rules).items():
        before, joined, _ = name.partition(".attn.qkv.weight")
        if not joined:
            parted[name] = value
            continue
        for part, weight in zip(("query", "key", "value"), value.chunk(3), strict=True):
            parted[f"{before}.attention.attention.{part}.weight"] = weight
    return parted


def _positions(model: nn.Module) -> State:
    """The table of sines: no weight, and not in every file."""
    return {"positions": model.get_buffer("positions")}


LAYOUTS = {
    "transformers": from_transformers,
    "mmaction2": from_mmaction2,
    "mcg_nju": from_mcg_nju,
}

PAPER = "Tong et al., VideoMAE: Masked Autoencoders are Data-Efficient Learners, NeurIPS 2022"


def _row(build: Callable[..., VideoMae], weights: Mapping[str, Weights]) -> ModelRow:
    return ModelRow(build, PAPER, 2022, "attention", weights=weights, layouts=LAYOUTS)


MODELS = {
    "videomae_b": _row(videomae_b, WEIGHTS_B),
    "videomae_h": _row(videomae_h, WEIGHTS_H),
    "videomae_l": _row(videomae_l, WEIGHTS_L),
    "videomae_s": _row(videomae_s, WEIGHTS_S),
}

PUBLISHED = (
    Published(
        "videomae_b",
        "transformers, VideoMAEForVideoClassification of its default size",
        options={"num_classes": 400},
        parameters="86,534,800",
        multiply_adds="180.34 G",
    ),
)
