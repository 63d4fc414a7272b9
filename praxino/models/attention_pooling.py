"""Attentional pooling: second-order pooling of a map, of low rank, is attention times attention.

Girdhar and Ramanan, "Attentional Pooling for Action Recognition", NIPS 2017, arXiv:1711.01467.

Notable: a class's score under second-order pooling is the trace of X^T X W_k; with W_k = a_k b^T it
is a sum over positions of two maps multiplied: X a_k says where class k is (top-down, one map for
each class), X b where to look whatever the class (bottom-up, one map). So a layer with a single
extra channel takes the place of average pooling. Frames of a video are averaged.
Differs from the paper: the products are averaged over positions, as in the authors' code, so that
scores do not grow with the picture; biases stand outside of the product, where the code adds them
to the top-down map. Rank P sums P such products; in the authors' code each bottom-up map beyond the
first is computed from the one before it. No pose regularisation: it needs poses to learn from.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import Backbone2d, from_torchvision_map
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.video.clip_spec import ClipSpec

__all__ = ["attention_pooling"]


class AttentionPooling(nn.Module):
    """A 2D network whose last map is pooled by attention; see `attention_pooling`."""

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str,
        rank: int,
        dropout: float,
        frames: int,
        size: int,
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}.")
        self.backbone = Backbone2d(backbone)
        self.backbone.neck = nn.Identity()  # its average pooling is what attention replaces
        channels = self.backbone.map_shape(size)[0]
        self.bottom_up = nn.Conv3d(channels, rank, 1)  # b
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(rank * channels, num_classes)  # a_k
        for layer in (self.bottom_up, self.head):  # as the authors' code begins
            nn.init.normal_(layer.weight, std=0.001)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.clip_spec = ClipSpec(frames, size=size, resize_short=round(size * 16 / 15))

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame, X: `(B, D, T, H', W')`."""
        check_clip(clip, "Attentional pooling")
        return self.backbone.maps(clip)

    def bottom_up_maps(self, clip: Tensor) -> Tensor:
        """Where the network looks, whatever the class: X b, `(B, P, T, H', W')`.

        Args:
            clip: as `forward` takes it.
        """
        maps: Tensor = self.bottom_up(self.forward_features(clip))
        return maps

    def class_maps(self, clip: Tensor) -> Tensor:
        """Where each class is, and attended to: top-down times bottom-up, `(B, K, T, H', W')`.

        Their mean over T, H' and W', and the head's bias, are the logits.

        Args:
            clip: as `forward` takes it.
        """
        maps = self.forward_features(clip)
        weight = rearrange(self.head.weight, "k (p d) -> p k d", d=maps.shape[1])
        top_down = torch.einsum("pkd,bdthw->bpkthw", weight, maps)
        return (top_down * self.bottom_up(maps)[:, :, None]).sum(dim=1)

    def attention(self, clip: Tensor) -> Tensor:
        """The map of the class that wins: `(B, T, H', W')`; what is negative speaks against it.

        Args:
            clip: as `forward` takes it.
        """
        maps = self.class_maps(clip)
        winner = (maps.mean(dim=(2, 3, 4)) + self.head.bias).argmax(dim=1)
        return maps[torch.arange(len(maps), device=maps.device), winner]

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits.
        """
        maps = self.forward_features(clip)
        attention = self.bottom_up(maps).flatten(2)  # (B, P, T * H' * W')
        # All products of one class are linear in X^T X b, which is small: no map for each class.
        seen = self.dropout(maps).flatten(2)  # (B, D, T * H' * W')
        pooled = torch.einsum("bpn,bdn->bpd", attention, seen) / seen.shape[2]
        logits: Tensor = self.head(pooled.flatten(1))
        return logits


def attention_pooling(
    num_classes: int = 51,
    *,
    backbone: str = "resnet101",
    rank: int = 1,
    dropout: float = 0.8,
    frames: int = 25,
    size: int = 450,
) -> AttentionPooling:
    """Attentional pooling on any 2D network of torchvision.

    Args:
        num_classes: K; HMDB51 has 51.
        backbone: a classification network of torchvision, for example `resnet50`.
        rank: P, how many bottom-up maps there are.
        dropout: of the map before the top-down layer, in training.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels; 450 are cut from 480.
    """
    return AttentionPooling(
        num_classes, backbone=backbone, rank=rank, dropout=dropout, frames=frames, size=size
    )


LAYOUTS = {"torchvision": from_torchvision_map}

PAPER = "Girdhar and Ramanan, Attentional Pooling for Action Recognition, NIPS 2017"
MODELS = {
    "attention_pooling": ModelRow(
        attention_pooling, PAPER, 2017, "attention", backbone="resnet101", layouts=LAYOUTS
    ),
}
