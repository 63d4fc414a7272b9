"""Single-frame CNN: classify frames one by one and average what they say. Always try this first.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

Notable: averages the frames' probabilities, as the paper does when it tests, so the order of the
frames cannot matter.
Differs from the paper: any 2D network of torchvision takes the place of the paper's AlexNet, which
is in karpathy.py.
"""

import math
from typing import Unpack

from torch import Tensor, nn

from praxino.models.backbone_2d import LAYOUTS, Backbone2d, FrameOptions, frame_clip_spec
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published

__all__ = ["single_frame", "single_frame_mobilenet_v2", "single_frame_resnet18"]


class AverageProbabilities(nn.Module):
    """Turns the logits of frames into logits whose softmax is the frames' average probability."""

    def forward(self, frame_logits: Tensor) -> Tensor:
        """Average frames.

        Args:
            frame_logits: `(B, T, K)`, one row of logits for each frame.

        Returns:
            `(B, K)`: the logarithm of the mean probability, shifted so that it is the mean of the
            logits plus what averaging probabilities adds to it. The shift changes no probability,
            and lets a single frame keep its logits to the last bit.
        """
        frames = frame_logits.shape[1]
        log_probabilities = frame_logits.log_softmax(dim=2)
        spread = log_probabilities - log_probabilities.mean(dim=1, keepdim=True)  # (B, T, K)
        return frame_logits.mean(dim=1) + spread.logsumexp(dim=1) - math.log(frames)


class SingleFrame(nn.Module):
    """A 2D network on every frame; see `single_frame` for what the arguments mean."""

    def __init__(self, num_classes: int, *, backbone: str, **options: Unpack[FrameOptions]) -> None:
        super().__init__()
        self.backbone = Backbone2d(backbone, same_padding=options.get("same_padding", False))
        self.head = nn.Linear(self.backbone.out_features, num_classes)
        self.average = AverageProbabilities()
        self.clip_spec = frame_clip_spec(options)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "The single-frame CNN")
        return self.backbone.maps(clip)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits; their softmax is the average of the frames' probabilities.
        """
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, T, D)
        logits: Tensor = self.average(self.head(vectors))
        return logits


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


PAPER = "Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014"
PUBLISHED = tuple(
    Published(
        "single_frame",
        "torchvision's table of models",
        options={"backbone": backbone},
        clip=(3, 1, size, size),
        parameters=parameters,
        multiply_adds=multiply_adds,
    )
    for backbone, size, parameters, multiply_adds in (
        ("convnext_tiny", 224, "28,589,128", "4.46 G"),
        ("efficientnet_b0", 224, "5,288,548", "0.39 G"),
        ("googlenet", 224, "6,624,904", "1.50 G"),
        ("mobilenet_v2", 224, "3,504,872", "0.30 G"),
        ("resnet18", 224, "11,689,512", "1.81 G"),
        ("resnet50", 224, "25,557,032", "4.09 G"),
        ("swin_t", 224, "28,288,354", "4.49 G"),
        ("vgg16", 224, "138,357,544", "15.47 G"),
        ("vit_b_16", 224, "86,567,656", "17.56 G"),
    )
)
MODELS = {
    "single_frame": ModelRow(
        single_frame, PAPER, 2014, "frames", backbone="resnet18", layouts=LAYOUTS
    ),
    "single_frame_mobilenet_v2": ModelRow(
        single_frame_mobilenet_v2, PAPER, 2014, "frames", backbone="mobilenet_v2", layouts=LAYOUTS
    ),
    "single_frame_resnet18": ModelRow(
        single_frame_resnet18, PAPER, 2014, "frames", backbone="resnet18", layouts=LAYOUTS
    ),
}
