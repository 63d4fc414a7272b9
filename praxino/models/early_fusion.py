"""Early fusion: the first convolution sees all frames at once, the rest is a 2D CNN.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

Notable: one layer of temporal processing; the clip becomes an image of 3 x T channels, frame after
frame. Pretrained first weights are repeated T times and divided by T, so that a video that stands
still gives what the 2D network says of its frame.
Differs from the paper: any 2D network of torchvision takes the place of the paper's AlexNet, whose
first layer sees 10 frames (karpathy.py).
"""

from typing import Unpack

from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import (
    Backbone2d,
    FrameOptions,
    first_convolution,
    frame_clip_spec,
    from_torchvision,
)
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.weights.fitting import State

__all__ = ["early_fusion", "early_fusion_mobilenet_v2", "early_fusion_resnet18"]


class EarlyFusion(nn.Module):
    """A 2D network on the frames stacked as channels; see `early_fusion` for the arguments."""

    def __init__(self, num_classes: int, *, backbone: str, **options: Unpack[FrameOptions]) -> None:
        super().__init__()
        self.clip_spec = frame_clip_spec(options)
        self.frames = self.clip_spec.frames
        self.backbone = Backbone2d(
            backbone,
            channels=3 * self.frames,
            same_padding=options.get("same_padding", False),
        )
        self.head = nn.Linear(self.backbone.out_features, num_classes)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling, of all frames together: `(B, D, 1, H', W')`."""
        check_clip(clip, "Early fusion", frames=self.frames)
        image = rearrange(clip, "b c t h w -> b (t c) 1 h w")
        return self.backbone.maps(image)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)` of the T the model was built for, normalised as
                `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, 1, D)
        logits: Tensor = self.head(vectors.squeeze(1))
        return logits


def early_fusion(
    num_classes: int = 1000, *, backbone: str = "resnet18", **options: Unpack[FrameOptions]
) -> EarlyFusion:
    """Early fusion on any 2D network of torchvision.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision, for example `convnext_tiny`.
        **options: see `FrameOptions`; only this T can be fed.
    """
    return EarlyFusion(num_classes, backbone=backbone, **options)


def early_fusion_resnet18(num_classes: int = 1000, **options: Unpack[FrameOptions]) -> EarlyFusion:
    """Early fusion on ResNet-18."""
    return EarlyFusion(num_classes, backbone="resnet18", **options)


def early_fusion_mobilenet_v2(
    num_classes: int = 1000, **options: Unpack[FrameOptions]
) -> EarlyFusion:
    """Early fusion on MobileNetV2."""
    return EarlyFusion(num_classes, backbone="mobilenet_v2", **options)


def from_torchvision_inflated(state: State, model: nn.Module) -> State:
    """Rename a torchvision network and spread its first convolution over the frames."""
    renamed = from_torchvision(state, model)
    features = model.get_submodule("backbone.features")
    name, first = first_convolution(features)
    key = f"backbone.features.{name}.weight"
    frames = first.in_channels // 3
    if key in renamed:  # otherwise strict loading will say so
        renamed[key] = renamed[key].repeat(1, frames, 1, 1) / frames
    return renamed


LAYOUTS = {"torchvision": from_torchvision_inflated}

PAPER = "Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014"
MODELS = {
    "early_fusion": ModelRow(
        early_fusion, PAPER, 2014, "fusion", backbone="resnet18", layouts=LAYOUTS
    ),
    "early_fusion_mobilenet_v2": ModelRow(
        early_fusion_mobilenet_v2, PAPER, 2014, "fusion", backbone="mobilenet_v2", layouts=LAYOUTS
    ),
    "early_fusion_resnet18": ModelRow(
        early_fusion_resnet18, PAPER, 2014, "fusion", backbone="resnet18", layouts=LAYOUTS
    ),
}
