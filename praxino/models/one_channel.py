"""Models of colour clips, turned into models of grey ones: red, green and blue kernels summed.

After Carreira and Zisserman (CVPR 2017, arXiv:1705.07750, Sec. 2.4), who ask of an inflated network
that it sees a still video as the 2D network saw its frame; here, that it sees a grey clip as the
network in colour sees three equal channels.
"""

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.video.clip_spec import ClipSpec

__all__ = ["OneChannel", "to_one_channel"]


class OneChannel(nn.Module):
    """A model of colour clips that is fed grey ones; made by `to_one_channel`.

    Args:
        model: takes `(B, 3, T, H, W)`, and looks at the first channel only.
        clip_spec: of one channel.
    """

    def __init__(self, model: nn.Module, clip_spec: ClipSpec) -> None:
        super().__init__()
        self.model = model
        self.clip_spec = clip_spec

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        model: Any = self.model
        head: nn.Linear = model.head
        return head

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling, as the model's own."""
        model: Any = self.model
        result: Tensor = model.forward_features(self._widened(clip))
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 1, T, H, W)`, normalised as `self.clip_spec` says; T, H and W as the model
                in colour takes them.

        Returns:
            `(B, K)` logits.
        """
        logits: Tensor = self.model(self._widened(clip))
        return logits

    def _widened(self, clip: Tensor) -> Tensor:
        check_clip(clip, f"The one-channel {type(self.model).__name__}", channels=1)
        return clip.expand(-1, 3, -1, -1, -1)  # a view: the model asks for three, and reads one


def to_one_channel(model: nn.Module) -> OneChannel:
    """A copy of a model with its weights, for clips of one channel.

    A grey clip comes to the same logits as three equal channels came to before. That is exact where
    the channels have one mean, as those of I3D and SlowFast; other means become a bias, which is
    exact but for the border, where kernels hang over the zeros around a clip.

    `create_model(..., grey=True)` does the same, and is an option that checkpoints remember.

    Args:
        model: any that takes `(B, 3, T, H, W)` and begins with convolutions; it stays as it is.

    Raises:
        ValueError: a model of other streams, or without a convolution of three channels.
    """
    spec, name = model.clip_spec, type(model).__name__
    if not isinstance(spec, ClipSpec) or spec.inputs != ("rgb",):
        inputs = spec.inputs if isinstance(spec, ClipSpec) else spec
        raise ValueError(f"{name} takes {inputs}, and only models of ('rgb',) can be made grey.")
    model = copy.deepcopy(model)
    # Some have several: the slow and the fast pathway of SlowFast each have one.
    first = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Conv3d) and (layer.in_channels, layer.groups) == (3, 1)
    ]
    if not first:
        raise ValueError(
            f"{name} has no convolution of three channels, so it cannot be made grey. Feed it "
            "three equal channels."
        )
    mean, std = sum(spec.mean) / 3, sum(spec.std) / 3
    for layer in first:
        _sum_channels(layer, spec, mean, std)
    grey = dataclasses.replace(spec, inputs=("grey",), mean=(mean,), std=(std,))
    return OneChannel(model, grey).train(model.training)


def _sum_channels(layer: nn.Conv2d | nn.Conv3d, spec: ClipSpec, mean: float, std: float) -> None:
    """Make a convolution that is fed `(x - mean) / std` what it was for three channels of x."""
    with torch.no_grad():
        old = layer.weight  # (out, 3, [T], H, W)
        scale = old.new_tensor([std / own for own in spec.std])
        shift = old.new_tensor(
            [(mean - own) / by for own, by in zip(spec.mean, spec.std, strict=True)]
        )
        per_channel = (1, 3) + (1,) * (old.ndim - 2)
        summed = (old * scale.view(per_channel)).sum(dim=1, keepdim=True)
        # Also where it is zero: a checkpoint does not know which means the channels had.
        moved = (old * shift.view(per_channel)).flatten(1).sum(dim=1)
        moved = moved if layer.bias is None else layer.bias + moved
        layer.bias = nn.Parameter(moved, requires_grad=old.requires_grad)
        layer.weight = nn.Parameter(summed, requires_grad=old.requires_grad)
    layer.in_channels = 1
    layer.register_forward_pre_hook(_first_channel)


def _first_channel(layer: nn.Module, maps: tuple[Tensor]) -> tuple[Tensor]:
    return (maps[0][:, :1],)
