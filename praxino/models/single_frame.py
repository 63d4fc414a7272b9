"""Single-frame CNN: classify frames one by one and average what they say. Always try this first.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

Notable: averages the frames' probabilities, as the paper does when it tests, so the order of the
frames cannot matter.
Differs from the paper: any 2D network of torchvision takes the place of the paper's AlexNet.
"""

import math
from typing import Literal, TypedDict, Unpack

from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import Backbone2d
from praxino.models.clip_shape import check_clip
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec

Normalisation = Literal["imagenet", "symmetric"]


class FrameOptions(TypedDict, total=False):
    """Options of every model that stands on a 2D network.

    Attributes:
        frames: T of `clip_spec`.
        size: H and W of `clip_spec`, in pixels.
        same_padding: pad as TensorFlow does, for weights trained there.
        normalisation: what the weights expect: `imagenet`, or `symmetric` for pixels in [-1, 1].
    """

    frames: int
    size: int
    same_padding: bool
    normalisation: Normalisation


def average_probabilities(frame_logits: Tensor) -> Tensor:
    """Logits whose softmax is the average of the frames' probabilities.

    Args:
        frame_logits: `(B, T, K)`, one row of logits for each frame.

    Returns:
        `(B, K)`: the logarithm of the mean probability, shifted by the frames' mean normaliser. A
        shift changes no probability; with this one a single frame keeps the logits it came with.
    """
    frames = frame_logits.shape[1]
    log_mean = frame_logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(frames)
    normaliser = frame_logits.logsumexp(dim=2).mean(dim=1, keepdim=True)
    return log_mean + normaliser


def frame_clip_spec(frames: int, size: int, normalisation: Normalisation) -> ClipSpec:
    """Frames spread over the whole video, for a network that knows images.

    Args:
        frames: T.
        size: pixels of the square; the short side is resized to 8/7 of it (224 from 256).
        normalisation: `imagenet` subtracts ImageNet's mean colour, as torchvision's networks
            expect; `symmetric` maps pixels to [-1, 1], as TensorFlow's do.
    """
    mean_std = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "symmetric": ((0.5,) * 3, (0.5,) * 3)}
    if normalisation not in mean_std:
        raise ValueError(f"normalisation is 'imagenet' or 'symmetric', not {normalisation!r}.")
    mean, std = mean_std[normalisation]
    return ClipSpec(frames, size=size, resize_short=round(size * 8 / 7), mean=mean, std=std)


class SingleFrame(nn.Module):
    """A 2D network on every frame; see `single_frame` for what the arguments mean."""

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet18",
        frames: int = 8,
        size: int = 224,
        same_padding: bool = False,
        normalisation: Normalisation = "imagenet",
    ) -> None:
        super().__init__()
        self.backbone = Backbone2d(backbone, same_padding=same_padding)
        self.head = nn.Linear(self.backbone.out_features, num_classes)
        self.clip_spec = frame_clip_spec(frames, size, normalisation)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, type(self).__name__)
        maps = self.backbone.features(rearrange(clip, "b c t h w -> (b t) c h w"))
        return rearrange(maps, "(b t) d h w -> b d t h w", b=len(clip))

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits; their softmax is the average of the frames' probabilities.
        """
        check_clip(clip, type(self).__name__)
        frames = rearrange(clip, "b c t h w -> (b t) c h w")
        logits = self.head(self.backbone(frames))  # (B * T, K)
        return average_probabilities(rearrange(logits, "(b t) k -> b t k", b=len(clip)))


def single_frame(
    num_classes: int = 1000, *, backbone: str = "resnet18", **options: Unpack[FrameOptions]
) -> SingleFrame:
    """Single-frame CNN on any 2D network of torchvision.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision, for example `convnext_tiny`.
        **options: see `FrameOptions`; any T can be fed.
    """
    return SingleFrame(num_classes, backbone=backbone, **options)


def single_frame_resnet18(num_classes: int = 1000, **options: Unpack[FrameOptions]) -> SingleFrame:
    """Single-frame CNN on ResNet-18."""
    return SingleFrame(num_classes, backbone="resnet18", **options)


def single_frame_mobilenet_v2(
    num_classes: int = 1000, **options: Unpack[FrameOptions]
) -> SingleFrame:
    """Single-frame CNN on MobileNetV2, the lightest of them."""
    return SingleFrame(num_classes, backbone="mobilenet_v2", **options)
