"""Any 2D classification network of torchvision, cut into map, vector and classifier.

The models that look at frames (single frame, late fusion, early fusion) stand on this. Parameters
keep torchvision's names behind `features.` or `neck.`, so published weights load by a rule.
"""

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.did_you_mean import did_you_mean

# In torchvision's networks the children with these names come after the last map.
_AFTER_THE_MAP = ("avgpool", "flatten", "dropout", "classifier", "fc", "head", "heads")


class Backbone2d(nn.Module):
    """A 2D network without its classifier: frames to a map, a map to a vector.

    Args:
        name: a classification network of torchvision, for example `mobilenet_v2`.
        channels: of the input; other than 3 replaces the first convolution.
        same_padding: pad convolutions of stride 2 right and bottom only, as TensorFlow's `SAME`
            does for images of even size. Needed for weights that were trained that way.

    Attributes:
        features: `(N, C, H, W)` to the map before pooling, `(N, D, H', W')`.
        neck: that map to a vector, `(N, out_features)`: pooling and, in VGG and its like, layers.
        out_features: the length of the vector.

    Raises:
        ValueError: no such network, or one that cannot be cut this way.
    """

    def __init__(self, name: str, *, channels: int = 3, same_padding: bool = False) -> None:
        super().__init__()
        network = _torchvision_network(name)
        self.name, self.channels = name, channels
        before, after = OrderedDict[str, nn.Module](), OrderedDict[str, nn.Module]()
        for child_name, child in network.named_children():
            if isinstance(child, nn.ModuleList):  # MaxViT's blocks run one after the other
                child = nn.Sequential(*child)
            (after if child_name in _AFTER_THE_MAP else before)[child_name] = child
        if name.startswith("densenet"):
            before["relu"] = nn.ReLU(inplace=True)  # a function call in torchvision's forward
        self.features = _ClassToken(network) if "encoder" in before else nn.Sequential(before)
        self.neck, self.out_features = _neck(name, after)
        if channels != 3:
            name, first = first_convolution(self.features)
            _replace(self.features, name, _like(first, nn.Conv2d, channels))
        if same_padding:
            for name, layer in list(self.features.named_modules()):
                if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1:
                    _replace(self.features, name, _like(layer, _SameConv2d, layer.in_channels))

    def forward(self, frames: Tensor) -> Tensor:
        """`(N, C, H, W)` frames to `(N, out_features)` vectors."""
        vectors: Tensor = self.neck(self.features(frames))
        return vectors


def _torchvision_network(name: str) -> nn.Module:
    # Imported late: torchvision takes seconds, and most of praxino does without.
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(
            f"torchvision has no image network named {name!r}.{did_you_mean(name, names)}"
        )
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # The auxiliary classifiers train the lower layers only; published weights drop them too.
        options = {"aux_logits": False, "init_weights": True}
    network: nn.Module = models.get_model(name, weights=None, **options)
    return network


class _ClassToken(nn.Module):
    """A vision transformer's class token as a map of one pixel."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.conv_proj, self.class_token = network.conv_proj, network.class_token
        self.encoder = network.encoder

    def forward(self, frames: Tensor) -> Tensor:
        tokens = self.conv_proj(frames).flatten(2).transpose(1, 2)  # (N, H' * W', D)
        first = self.class_token.expand(len(tokens), -1, -1)
        tokens = self.encoder(torch.cat([first, tokens], dim=1))
        return tokens[:, 0, :, None, None]  # (N, D, 1, 1)


def _neck(name: str, after: OrderedDict[str, nn.Module]) -> tuple[nn.Module, int]:
    """What stands between the map and the last linear layer, and how wide that layer is."""
    last_name, last = next(reversed(after.items()))
    layers = list(last.children()) or [last]
    classifier = layers[-1]
    if not isinstance(classifier, nn.Linear):
        raise ValueError(
            f"{name} does not end in a linear layer but in {type(classifier).__name__}, so it "
            "cannot be given other classes. Choose another backbone."
        )
    del after[last_name]
    if len(layers) > 1:
        after[last_name] = nn.Sequential(*layers[:-1])
    kinds = [type(module) for child in after.values() for module in child.modules()]
    neck = OrderedDict[str, nn.Module]()
    # Where the pooling or the flattening is a function call in torchvision's forward.
    if nn.AdaptiveAvgPool2d not in kinds:
        neck["avgpool"] = nn.AdaptiveAvgPool2d(1)
    if "avgpool" in after:
        neck["avgpool"] = after.pop("avgpool")
    if nn.Flatten not in kinds:
        neck["flatten"] = nn.Flatten()
    neck.update(after)
    return nn.Sequential(neck), classifier.in_features


def first_convolution(features: nn.Module) -> tuple[str, nn.Conv2d]:
    """The convolution that sees the pixels, and its name."""
    for name, module in features.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise ValueError(f"{type(features).__name__} has no 2D convolution.")


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)


def _like(layer: nn.Conv2d, kind: type[nn.Conv2d], channels: int) -> nn.Conv2d:
    return kind(
        channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        groups=layer.groups,
        bias=layer.bias is not None,
    )


class _SameConv2d(nn.Conv2d):
    """TensorFlow's `SAME`: the odd pixel of padding goes right and below."""

    def forward(self, frames: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in (1, 0):  # F.pad starts from the last axis
            size, kernel, stride = frames.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(frames, pads), self.weight, self.bias, self.stride, groups=self.groups
        )
