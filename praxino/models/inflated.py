"""Any convolutional 2D network of torchvision, grown into time with its ImageNet weights.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR
2017, arXiv:1705.07750, Sec. 2.4.

Notable: how a network is grown, and when a still video gives what its frame gave, is told in
`inflation.py`. Inflated GoogLeNet is I3D's twin, with PyTorch's padding.
Differs from the paper: any network of convolutions and poolings, not Inception-v1 alone.
"""

from torch import Tensor, nn

from praxino.models.backbone_2d import Backbone2d, from_torchvision
from praxino.models.clip_shape import check_clip
from praxino.models.inflation import Border, Rule, grow_weight, inflate, like_i3d
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import CHANNELS, IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, rename

__all__ = ["inflated"]


class Inflated(nn.Module):
    """An inflated network of torchvision; see `inflated` for what the arguments mean."""

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str,
        stream: str,
        frames: int,
        size: int,
        border: Border,
        rule: Rule = like_i3d,
    ) -> None:
        super().__init__()
        if stream not in CHANNELS:
            raise ValueError(f"stream is one of {', '.join(CHANNELS)}, not {stream!r}.")
        self.channels = CHANNELS[stream]
        flat = Backbone2d(backbone)
        try:
            self.features = inflate(flat.features, rule=rule, border=border, channels=self.channels)
            self.neck = inflate(flat.neck, rule=rule, border=border)
        except ValueError as error:
            raise ValueError(f"backbone={backbone!r}: {error}") from None
        self.head = nn.Linear(flat.out_features, num_classes)
        half = (0.5,) * self.channels
        self.clip_spec = ClipSpec(
            frames,
            frames_per_second=12.5,  # 32 of them span the 2.56 seconds of I3D's 64 frames
            size=size,
            resize_short=round(size * 8 / 7),
            mean=IMAGENET_MEAN if stream == "rgb" else half,
            std=IMAGENET_STD if stream == "rgb" else half,
            inputs=(stream,),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, D, T', H', W')`."""
        check_clip(clip, "The inflated network", channels=self.channels)
        result: Tensor = self.features(clip)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, C, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits.
        """
        vectors = self.neck(self.forward_features(clip))  # (B, out_features)
        logits: Tensor = self.head(vectors)
        return logits


def inflated(
    num_classes: int = 1000,
    *,
    backbone: str = "resnet18",
    stream: str = "rgb",
    frames: int = 32,
    size: int = 224,
    border: Border = "zeros",
) -> Inflated:
    """A convolutional network of torchvision, inflated as `like_i3d` says.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision, for example `googlenet`, which becomes
            I3D's twin, or `convnext_tiny`.
        stream: what the clips are: `rgb`, `flow`, `rgb_difference` or `warped_flow`.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
        border: what is padded before the first and after the last frame: `zeros` as in I3D, or the
            frames there again with `replicate`.
    """
    return Inflated(
        num_classes, backbone=backbone, stream=stream, frames=frames, size=size, border=border
    )


def from_torchvision_inflated(state: State, model: nn.Module) -> State:
    """Rename the entries of a torchvision network and grow its kernels."""
    own = model.state_dict()
    flat = rename(from_torchvision(state, model), ((r"^backbone\.", ""),))
    # Strict loading speaks of names that are not the model's.
    return {
        name: grow_weight(value, own[name].shape) if name in own else value
        for name, value in flat.items()
    }


LAYOUTS = {"torchvision": from_torchvision_inflated}

PAPER = "Carreira and Zisserman, Quo Vadis, Action Recognition?, CVPR 2017"
MODELS = {
    "inflated": ModelRow(inflated, PAPER, 2017, "inflated", backbone="resnet18", layouts=LAYOUTS),
}

PUBLISHED = (
    Published(
        "inflated",
        "I3D, which is GoogLeNet inflated (github.com/piergiaj/pytorch-i3d)",
        options={"num_classes": 400, "backbone": "googlenet"},
        parameters="12,697,264",
    ),
)
