"""CNN-M-2048, the network of the first two-stream paper, in which it has two kinds of input.

Chatfield et al., "Return of the Devil in the Details: Delving Deep into Convolutional Nets", BMVC
2014, arXiv:1405.3531.

Notable: five convolutions, of which the first two halve the picture twice and normalise across
channels; the last hidden layer has 2048 units only.
"""

import math
from collections import OrderedDict

import torch
from torch import nn


class CnnM(nn.Module):
    """CNN-M-2048 without its classifier, cut like `Backbone2d` into map and vector.

    Args:
        channels: of the input.
        size: H and W of the input, at least 41: the hidden layers fit its map only.
        second_norm: normalise after the second convolution too; the temporal stream does not, to
            spare memory.
        dropout: of both hidden layers.

    Attributes:
        features: `(N, C, H, W)` to the map before pooling, `(N, 512, H', W')`: 13 x 13 of 224.
        neck: that map to `(N, 2048)`.
        out_features: 2048.
    """

    out_features = 2048

    def __init__(
        self, channels: int, *, size: int = 224, second_norm: bool = True, dropout: float = 0.9
    ) -> None:
        super().__init__()
        if size < 41:
            raise ValueError(
                f"CNN-M-2048 halves pictures five times: size is 41 or more, not {size}."
            )
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(channels, 96, 7, stride=2),
            "relu1": nn.ReLU(inplace=True),
            "norm1": _response_norm(),
            "pool1": _pool(),
            "conv2": nn.Conv2d(96, 256, 5, stride=2, padding=1),
            "relu2": nn.ReLU(inplace=True),
            "norm2": _response_norm(),
            "pool2": _pool(),
            "conv3": nn.Conv2d(256, 512, 3, padding=1),
            "relu3": nn.ReLU(inplace=True),
            "conv4": nn.Conv2d(512, 512, 3, padding=1),
            "relu4": nn.ReLU(inplace=True),
            "conv5": nn.Conv2d(512, 512, 3, padding=1),
            "relu5": nn.ReLU(inplace=True),
        }
        if not second_norm:
            del layers["norm2"]
        side = (size - 7) // 2 + 1
        side = (_pooled(side) + 2 - 5) // 2 + 1
        side = _pooled(_pooled(side))  # 6 of 224
        self.features = nn.Sequential(OrderedDict(layers))
        self.neck = nn.Sequential(
            OrderedDict(
                pool5=_pool(),
                flatten=nn.Flatten(),
                fc6=nn.Linear(512 * side * side, 4096),
                relu6=nn.ReLU(inplace=True),
                drop6=nn.Dropout(dropout),
                fc7=nn.Linear(4096, 2048),
                relu7=nn.ReLU(inplace=True),
                drop7=nn.Dropout(dropout),
            )
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():  # what comes in is bytes less their mean
            self.features.get_parameter("conv1.weight").div_(64)


def _response_norm() -> nn.LocalResponseNorm:
    # Theirs are n = 5, k = 2, alpha = 1e-4, beta = 0.75; torch divides alpha by n.
    return nn.LocalResponseNorm(size=5, alpha=5e-4, beta=0.75, k=2.0)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _pooled(side: int) -> int:
    return math.ceil((side - 3) / 2) + 1
