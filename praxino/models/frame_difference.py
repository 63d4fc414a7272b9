"""A pretrained 2D CNN on what changes between frames, and on nothing else.

After the RGB difference input of temporal segment networks (Wang et al., "Temporal Segment
Networks: Towards Good Practices for Deep Action Recognition", ECCV 2016, Sec. 3.2).

Notable: the background of a still camera vanishes, so that what is learnt in one place holds in
another. Three successive differences take the places of red, green and blue, so published
ImageNet weights fit as they are.
Differs from the paper: differences of grey values, spread over the whole video, three to a picture
and amplified; the paper stacks five differences of colour frames and averages the weights of the
first layer to fit them. The head sees the mean of the pictures' vectors, not of their scores.
"""

import dataclasses
from typing import Unpack

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import LAYOUTS, Backbone2d, FrameOptions, frame_clip_spec
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow

__all__ = ["frame_difference"]

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
PER_PICTURE = 3  # differences


class FrameDifference(nn.Module):
    """Differences of grey frames, three to a picture; see `frame_difference` for the arguments."""

    grey: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str,
        gain: float,
        dropout: float,
        **options: Unpack[FrameOptions],
    ) -> None:
        super().__init__()
        options.setdefault("frames", 25)
        options.setdefault("normalisation", "symmetric")
        self.clip_spec = dataclasses.replace(frame_clip_spec(options), even=True)
        if self.clip_spec.frames % PER_PICTURE != 1:
            raise ValueError(
                f"Frame differences come three to a picture, so T must be 3 n + 1, such as 25; "
                f"got frames={self.clip_spec.frames}."
            )
        self.gain = gain
        self.backbone = Backbone2d(backbone, same_padding=options.get("same_padding", False))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.out_features, num_classes)
        self.register_buffer("grey", torch.tensor(GREY), persistent=False)

    def differences(self, clip: Tensor) -> Tensor:
        """Pictures of change: `(B, 3, T', H, W)` in [-1, 1], three differences in each."""
        # Not a matrix product: autocast would round those, and differences are small numbers.
        frames = (clip * self.grey.view(3, 1, 1, 1)).sum(dim=1)  # (B, 3 T' + 1, H, W)
        change = (frames.diff(dim=1) * self.gain).clamp(-1, 1)
        return rearrange(change, "b (t c) h w -> b c t h w", c=PER_PICTURE)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each picture: `(B, D, T', H', W')`, with T' a third of T."""
        check_clip(clip, "Frame differences")
        if clip.shape[2] % PER_PICTURE != 1:
            raise ValueError(
                f"Frame differences need T = 3 n + 1, got T={clip.shape[2]} in a clip of shape "
                f"{tuple(clip.shape)}."
            )
        return self.backbone.maps(self.differences(clip))

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; T = 3 n + 1.

        Returns:
            `(B, K)` logits.
        """
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, T', D)
        logits: Tensor = self.head(self.dropout(vectors.mean(dim=1)))
        return logits


def frame_difference(
    num_classes: int = 1000,
    *,
    backbone: str = "mobilenet_v2",
    gain: float = 2.0,
    dropout: float = 0.5,
    **options: Unpack[FrameOptions],
) -> FrameDifference:
    """Frame differences on any 2D network of torchvision.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision.
        gain: what the differences of normalised frames are multiplied by before they are clipped
            to [-1, 1]. Normalised to [-1, 1], two frames differ by up to 2, but rarely by 0.2.
        dropout: before the head.
        **options: see `FrameOptions`; 25 frames and `symmetric` unless given.
    """
    return FrameDifference(num_classes, backbone=backbone, gain=gain, dropout=dropout, **options)


PAPER = "after Wang et al., Temporal Segment Networks, ECCV 2016"
MODELS = {
    "frame_difference": ModelRow(
        frame_difference, PAPER, 2016, "frames", backbone="mobilenet_v2", layouts=LAYOUTS
    ),
}
