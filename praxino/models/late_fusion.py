"""Late fusion: a 2D CNN on each frame, and one decision over all of them.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

Notable: with pooling the order of the frames cannot matter; with a hidden layer over the maps of
all frames it can, but only between high-level features.
Differs from the paper: any 2D network of torchvision, on every frame of the clip, where the paper
has its AlexNet on two frames 15 apart (karpathy.py).
"""

from collections.abc import Callable
from typing import Literal, Unpack

from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import (
    Backbone2d,
    FrameOptions,
    frame_clip_spec,
    from_torchvision,
    from_torchvision_map,
)
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.weights.fitting import State

__all__ = [
    "late_fusion_fc",
    "late_fusion_fc_mobilenet_v2",
    "late_fusion_fc_resnet18",
    "late_fusion_pool",
    "late_fusion_pool_mobilenet_v2",
    "late_fusion_pool_resnet18",
]

Pool = Literal["average", "max", "sum"]
POOLS: dict[Pool, Callable[[Tensor], Tensor]] = {  # (B, T, D) -> (B, D), in no order of the frames
    "average": lambda vectors: vectors.mean(dim=1),
    "max": lambda vectors: vectors.amax(dim=1),
    "sum": lambda vectors: vectors.sum(dim=1),
}


class LateFusionPool(nn.Module):
    """Pool the frames' vectors, then classify; see `late_fusion_pool` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str,
        pool: Pool = "average",
        hidden: int = 0,
        **options: Unpack[FrameOptions],
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"pool is one of {', '.join(POOLS)}, not {pool!r}.")
        self.pool = POOLS[pool]
        self.backbone = Backbone2d(backbone, same_padding=options.get("same_padding", False))
        features = self.backbone.out_features
        self.hidden = (
            nn.Sequential(nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Dropout(0.5))
            if hidden
            else nn.Identity()
        )
        self.head = nn.Linear(hidden or features, num_classes)
        self.clip_spec = frame_clip_spec(options)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "Late fusion")
        return self.backbone.maps(clip)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits.
        """
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, T, D)
        logits: Tensor = self.head(self.hidden(self.pool(vectors)))
        return logits


class LateFusionFc(nn.Module):
    """A hidden layer over the maps of all frames; see `late_fusion_fc` for the arguments."""

    def __init__(
        self, num_classes: int, *, backbone: str, hidden: int, **options: Unpack[FrameOptions]
    ) -> None:
        super().__init__()
        options.setdefault("size", 112)
        self.clip_spec = frame_clip_spec(options)
        self.frames, self.size = self.clip_spec.frames, self.clip_spec.size
        self.backbone = Backbone2d(backbone, same_padding=options.get("same_padding", False))
        self.backbone.neck = nn.Identity()  # pooling would throw away where things are
        maps = self.backbone.map_shape(self.size)
        self.hidden = nn.Linear(self.frames * maps.numel(), hidden)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(hidden, num_classes)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "Late fusion with a hidden layer", frames=self.frames, size=self.size)
        return self.backbone.maps(clip)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)` of the T, H and W the model was built for, normalised as
                `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        maps = rearrange(self.forward_features(clip), "b d t h w -> b (t d h w)")
        hidden = self.dropout(self.relu(self.hidden(maps)))
        logits: Tensor = self.head(hidden)
        return logits


def late_fusion_pool(
    num_classes: int = 1000,
    *,
    backbone: str = "resnet18",
    pool: Pool = "average",
    hidden: int = 0,
    **options: Unpack[FrameOptions],
) -> LateFusionPool:
    """Late fusion with pooling on any 2D network of torchvision.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision, for example `convnext_tiny`.
        pool: how the frames' vectors become one.
        hidden: units of a layer between pooling and classifier; 0: none. Published weights then
            fill the backbone only.
        **options: see `FrameOptions`; any T can be fed.
    """
    return LateFusionPool(num_classes, backbone=backbone, pool=pool, hidden=hidden, **options)


def late_fusion_pool_resnet18(
    num_classes: int = 1000, **options: Unpack[FrameOptions]
) -> LateFusionPool:
    """Late fusion with pooling on ResNet-18."""
    return LateFusionPool(num_classes, backbone="resnet18", **options)


def late_fusion_pool_mobilenet_v2(
    num_classes: int = 1000, **options: Unpack[FrameOptions]
) -> LateFusionPool:
    """Late fusion with pooling on MobileNetV2."""
    return LateFusionPool(num_classes, backbone="mobilenet_v2", **options)


def late_fusion_fc(
    num_classes: int = 400,
    *,
    backbone: str = "resnet18",
    hidden: int = 256,
    **options: Unpack[FrameOptions],
) -> LateFusionFc:
    """Late fusion with a hidden layer on any 2D network of torchvision.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision, for example `convnext_tiny`.
        hidden: units of the hidden layer, each with T x D x H' x W' weights.
        **options: see `FrameOptions`; `size` is 112 by default, because the hidden layer grows
            with its square. Only this T and this size can be fed.
    """
    return LateFusionFc(num_classes, backbone=backbone, hidden=hidden, **options)


def late_fusion_fc_resnet18(
    num_classes: int = 400, *, hidden: int = 256, **options: Unpack[FrameOptions]
) -> LateFusionFc:
    """Late fusion with a hidden layer on ResNet-18."""
    return LateFusionFc(num_classes, backbone="resnet18", hidden=hidden, **options)


def late_fusion_fc_mobilenet_v2(
    num_classes: int = 400, *, hidden: int = 256, **options: Unpack[FrameOptions]
) -> LateFusionFc:
    """Late fusion with a hidden layer on MobileNetV2."""
    return LateFusionFc(num_classes, backbone="mobilenet_v2", hidden=hidden, **options)


def from_torchvision_vectors(state: State, model: nn.Module) -> State:
    """Rename a torchvision network; a hidden layer, which it has not, and its head stay."""
    found = from_torchvision(state, model)
    own = {name: value for name, value in model.state_dict().items() if name[:7] == "hidden."}
    if not own:
        return found
    heads = {name: value for name, value in model.state_dict().items() if name[:5] == "head."}
    return found | own | heads


LAYOUTS_POOL = {"torchvision": from_torchvision_vectors}
LAYOUTS_FC = {"torchvision": from_torchvision_map}

PAPER = "Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014"
MODELS = {
    "late_fusion_fc": ModelRow(
        late_fusion_fc, PAPER, 2014, "fusion", backbone="resnet18", layouts=LAYOUTS_FC
    ),
    "late_fusion_fc_mobilenet_v2": ModelRow(
        late_fusion_fc_mobilenet_v2,
        PAPER,
        2014,
        "fusion",
        backbone="mobilenet_v2",
        layouts=LAYOUTS_FC,
    ),
    "late_fusion_fc_resnet18": ModelRow(
        late_fusion_fc_resnet18, PAPER, 2014, "fusion", backbone="resnet18", layouts=LAYOUTS_FC
    ),
    "late_fusion_pool": ModelRow(
        late_fusion_pool, PAPER, 2014, "fusion", backbone="resnet18", layouts=LAYOUTS_POOL
    ),
    "late_fusion_pool_mobilenet_v2": ModelRow(
        late_fusion_pool_mobilenet_v2,
        PAPER,
        2014,
        "fusion",
        backbone="mobilenet_v2",
        layouts=LAYOUTS_POOL,
    ),
    "late_fusion_pool_resnet18": ModelRow(
        late_fusion_pool_resnet18, PAPER, 2014, "fusion", backbone="resnet18", layouts=LAYOUTS_POOL
    ),
}
