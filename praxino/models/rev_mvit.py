"""Reversible MViT: a vision transformer that forgets its activations and computes them again.

Mangalam et al., "Reversible Vision Transformers", CVPR 2022, arXiv:2302.04869.

Notable: two streams take turns, `a += attention(b)`, `b += mlp(a)`, so that each block's input
follows from its output; training keeps the activations of no block but those that halve the map
(Sec. 3.3.1), so that the memory it takes hardly grows with depth. The blocks are MViTv2's without
relative positions and without a class token; widths grow inside attention, where a stage begins.
Differs from the released code: where a stage begins, a block that training skips for a clip at
random adds nothing to it; there the clip itself becomes zeros as well.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights, evenly

__all__ = ["rev_mvit_b"]

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
EPS = 1e-6  # of every norm


class _Pool(nn.Module):
    """A convolution over the map of every head, the same for all of them, then a norm."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Conv3d(width, width, 3, (1, stride, stride), 1, groups=width, bias=False)
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, T, H, W, heads * D)` -> the same with H and W divided by the stride."""
        batch = len(maps)
        maps = rearrange(maps, "b t h w (n d) -> (b n) d t h w", d=self.width)
        maps = rearrange(self.conv(maps), "(b n) d t h w -> b t h w n d", b=batch)
        result: Tensor = self.norm(maps).flatten(4)
        return result


class _Attention(nn.Module):
    """F of the paper: norm, then attention between pooled queries, keys and values.

    Args:
        width: of the tokens that come in.
        wide: of those that go out.
        heads: of the attention.
        q_stride: by which H and W of the queries are divided; 1: queries are not pooled at all.
        kv_stride: likewise of keys and values, which are always pooled.
    """

    def __init__(self, width: int, wide: int, heads: int, q_stride: int, kv_stride: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.qkv = nn.Linear(width, 3 * wide, bias=False)
        self.pool_q = nn.Identity() if q_stride == 1 else _Pool(wide // heads, q_stride)
        self.pool_k = _Pool(wide // heads, kv_stride)
        self.pool_v = _Pool(wide // heads, kv_stride)
        self.project = nn.Linear(wide, wide)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, T, H, W, width)` -> `(B, T, H / q_stride, W / q_stride, wide)`."""
        q, k, v = self.qkv(self.norm(maps)).chunk(3, dim=-1)  # (B, T, H, W, wide) each
        q, k, v = self.pool_q(q), self.pool_k(k), self.pool_v(v)
        thw = q.shape[1:4]
        q, k, v = (
            rearrange(part, "b t h w (n d) -> b n (t h w) d", n=self.heads) for part in (q, k, v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)  # (B, heads, T' H' W', D)
        mixed = rearrange(mixed, "b n (t h w) d -> b t h w (n d)", t=thw[0], h=thw[1])
        result: Tensor = self.project(mixed)
        return result


class _Block(nn.Module):
    """One block; reversible if neither the map nor the width changes.

    Args:
        width: of the tokens that come in.
        wide: of those that go out.
        heads: of the attention.
        q_stride: by which H and W are divided.
        kv_stride: by which H and W are divided for keys and values.
        drop: how often the block is skipped for a clip in training.
    """

    def __init__(
        self, width: int, wide: int, heads: int, q_stride: int, kv_stride: int, drop: float
    ) -> None:
        super().__init__()
        self.drop = drop
        self.attention = _Attention(width, wide, heads, q_stride, kv_stride)
        self.mlp = nn.Sequential(
            nn.LayerNorm(wide, eps=EPS),
            nn.Linear(wide, 4 * wide),
            nn.GELU(),
            nn.Linear(4 * wide, wide),
        )
        self.reversible = q_stride == 1
        if not self.reversible:
            self.shortcut = nn.Linear(width, wide)

    def forward(self, first: Tensor, second: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams, `(B, T, H, W, width)`, one block further.

        `kept` is what each clip's additions are multiplied with, `(B, 1, 1, 1, 1)`.
        """
        if self.reversible:
            first = first + kept * self.attention(second)
            return first, second + kept * self.mlp(first)
        maps = (first + second) / 2
        # The shortcut shares the pooling of the queries, norm and all.
        grown = self.attention.pool_q(self.shortcut(maps)) + kept * self.attention(maps)
        grown = grown + kept * self.mlp(grown)
        return grown, grown

    def draw(self, maps: Tensor) -> Tensor:
        """For each clip: 0, the block is skipped, or what keeps the mean as it is."""
        stays = 1 - self.drop if self.training else 1.0
        chances = maps.new_full((len(maps), 1, 1, 1, 1), stays)
        return chances.bernoulli() / stays if stays < 1 else chances


class _Forgetful(torch.autograd.Function):
    """Reversible blocks in a row, of whose activations only the last are kept."""

    @staticmethod
    def forward(
        ctx: Any, blocks: Sequence[_Block], kept: Sequence[Tensor], *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`tensors` are both streams, then the blocks' parameters, for their gradients."""
        first, second = tensors[:2]
        for block, keep in zip(blocks, kept, strict=True):
            first, second = block(first, second, keep)
        ctx.blocks, ctx.kept = blocks, kept
        ctx.save_for_backward(first, second)
        device = first.device.type
        ctx.autocast = torch.autocast(
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
        )
        return first, second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_first: Tensor, d_second: Tensor) -> tuple[Tensor | None, ...]:
        """From the last block to the first: its input, then the gradients."""
        first, second = ctx.saved_tensors
        gradients: list[Tensor | None] = []
        for block, keep in zip(reversed(ctx.blocks), reversed(ctx.kept), strict=True):
            with ctx.autocast:
                added, through, of_mlp = _again(block.mlp, first, keep, d_second)
                second, d_first = second - added, d_first + through
                added, through, of_attention = _again(block.attention, second, keep, d_first)
                first, d_second = first - added, d_second + through
            gradients = [*of_attention, *of_mlp, *gradients]
        return None, None, d_first, d_second, *gradients


def _again(
    part: nn.Module, maps: Tensor, keep: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """What a part added, and gradients with respect to its input and to its parameters."""
    with torch.enable_grad():
        maps = maps.detach().requires_grad_()
        added = keep * part(maps)
    parameters = list(part.parameters())
    learnt = [parameter for parameter in parameters if parameter.requires_grad]
    through, *found = torch.autograd.grad(added, (maps, *learnt), gradient.to(added.dtype))
    by_parameter = dict(zip(learnt, found, strict=True))
    return added.detach(), through, [by_parameter.get(p) for p in parameters]


class RevMvit(nn.Module):
    """Patches, blocks over two streams, and the mean of both side by side.

    Args:
        num_classes: K.
        depth: number of blocks.
        stages: the blocks at which H and W are halved and the width is doubled.
        frames: T; positions are known for no other.
        stride: frames of a video of 30 per second from one frame of the clip to the next.
        size: H and W; positions are known for no other.
        width: of the tokens in the first stage, and of every head.
        drop_path: how often the last block is skipped in training; the first never is.
    """

    def __init__(
        self,
        num_classes: int,
        depth: int,
        stages: tuple[int, ...],
        *,
        frames: int,
        stride: int,
        size: int,
        width: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv3d(3, width, (3, 7, 7), (2, 4, 4), (1, 3, 3))
        t, h = (frames + 1) // 2, (size + 3) // 4
        self.spatial_positions = nn.Parameter(torch.zeros(h, h, width))
        self.temporal_positions = nn.Parameter(torch.zeros(t, 1, 1, width))
        self.blocks = nn.ModuleList()
        heads, kv_stride = 1, 8
        for index in range(depth):
            narrow = width * heads
            q_stride = 2 if index in stages else 1
            heads, kv_stride = heads * q_stride, max(kv_stride // q_stride, 1)
            drop = drop_path * index / (depth - 1)
            self.blocks.append(_Block(narrow, width * heads, heads, q_stride, kv_stride, drop))
        self.norm = nn.LayerNorm(2 * width * heads, eps=EPS)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(2 * width * heads, num_classes)
        self.clip_spec = ClipSpec(
            frames,
            frames_per_second=30 / stride,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=MEAN,
            std=STD,
        )
        for parameter in (self.spatial_positions, self.temporal_positions):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """Both streams, normalised: `(B, 16 * width, T / 2, H / 32, W / 32)`, rounded up."""
        spec = self.clip_spec
        check_clip(clip, "Reversible MViT", frames=spec.frames, size=spec.size)
        maps = self.patches(clip).permute(0, 2, 3, 4, 1)  # (B, T / 2, H / 4, W / 4, width)
        maps = maps + self.spatial_positions + self.temporal_positions
        first = second = maps
        for reversible, group in groupby(self.blocks, key=lambda block: block.reversible):
            blocks: list[Any] = list(group)
            kept = [block.draw(maps) for block in blocks]
            if reversible and self.training and torch.is_grad_enabled():
                # Of each block those of attention, then those of the MLP.
                parameters = [p for block in blocks for p in block.parameters()]
                first, second = _Forgetful.apply(blocks, kept, first, second, *parameters)
                continue
            for block, keep in zip(blocks, kept, strict=True):
                first, second = block(first, second, keep)
        result: Tensor = self.norm(torch.cat([first, second], dim=-1)).permute(0, 4, 1, 2, 3)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, of the size and normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.forward_features(clip).mean(dim=(2, 3, 4))  # (B, 16 * width)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def rev_mvit_b(
    num_classes: int = 400, *, frames: int = 16, size: int = 224, width: int = 96
) -> RevMvit:
    """Rev-MViT-B 16x4: 35.0 million parameters, 63.7 G multiply-adds.

    Args:
        num_classes: K.
        frames: T.
        size: H and W, in pixels; a multiple of 32.
        width: of the tokens in the first stage.
    """
    return RevMvit(
        num_classes,
        16,
        (1, 3, 14),
        frames=frames,
        stride=4,
        size=size,
        width=width,
        drop_path=0.05,
    )


WEIGHTS = {
    "kinetics400": Weights(
        url="https://dl.fbaipublicfiles.com/pyslowfast/rev/REV_MVIT_B_16x4.pyth",
        sha256_prefix=None,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (pyslowfast)",
        accuracy={"top1": 78.4, "top5": 93.4},
        protocol="video level, 5 clips of 16 frames at 7.14 per second, 1 crop of 224 from 256",
        layout="pyslowfast",
        clip=evenly(16, 4),
    ),
}


def from_pyslowfast(state: State, model: nn.Module) -> State:
    """Rename the entries of PySlowFast's `MViT` with a `ReversibleMViT` inside."""
    rules = (
        (r"^patch_embed\.proj\.", "patches."),
        (r"^pos_embed_(spatial|temporal)$", r"\1_positions"),
        (r"^rev_backbone\.layers\.", "blocks."),
        (r"\.F\.norm\.", ".attention.norm."),
        (r"\.F\.attn\.qkv\.", ".attention.qkv."),
        (r"\.F\.attn\.proj\.", ".attention.project."),
        (r"\.F\.attn\.pool_([qkv])\.", r".attention.pool_\1.conv."),
        (r"\.F\.attn\.norm_([qkv])\.", r".attention.pool_\1.norm."),
        (r"\.G\.norm\.", ".mlp.0."),
        (r"\.G\.mlp\.fc1\.", ".mlp.1."),
        (r"\.G\.mlp\.fc2\.", ".mlp.3."),
        (r"\.res_proj\.", ".shortcut."),
        (r"^head\.projection\.", "head."),
    )
    renamed = rename(state, rules)
    spatial = renamed["spatial_positions"]  # (1, H' W', D) there
    side = round(spatial.shape[1] ** 0.5)
    renamed["spatial_positions"] = spatial.squeeze(0).unflatten(0, (side, side))
    temporal = renamed["temporal_positions"]  # (1, T', D) there
    renamed["temporal_positions"] = temporal.transpose(0, 1)[:, None]
    return renamed


LAYOUTS = {"pyslowfast": from_pyslowfast}

PAPER = "Mangalam et al., Reversible Vision Transformers, CVPR 2022"
MODELS = {
    "rev_mvit_b": ModelRow(rev_mvit_b, PAPER, 2022, "attention", weights=WEIGHTS, layouts=LAYOUTS),
}

_PAGE = "PySlowFast's page on reversible transformers"
PUBLISHED = (
    Published("rev_mvit_b", _PAGE, multiply_adds="64 G"),
    Published(
        "rev_mvit_b",
        _PAGE,
        parameters="34.9 M",
        erratum="34.96 is cut off, not rounded",
    ),
)
