"""BN-Inception: GoogLeNet with batch norm, and two 3x3 convolutions for each of its 5x5.

Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", ICML 2015, arXiv:1502.03167, figure 5: the 2D network of TSN and of TRN, which
torchvision does not have. Everything that stands on a 2D network takes it as
`backbone="bn_inception"`.

Notable: the last block of each of the two first groups halves the map by itself, with strides and
without a 1x1 branch, and passes its maximum on unconvolved.
Differs from the paper: widths and poolings are those of the Caffe network that TSN's authors
published, whose convolutions have biases, although batch norms follow.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

# Of bytes that are red, green and blue; they are not divided.
MEAN, STD = (128 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3


class Unit(nn.Sequential):
    """A convolution with a bias, batch norm and ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)


class Inception(nn.Module):
    """Four branches over one map, side by side.

    Args:
        channels: of the map.
        one: width of the 1x1 branch.
        three: of the 3x3 branch: reduced, 3x3.
        twice: of the branch of two 3x3: reduced, first and second 3x3.
        pooled: of the convolution after the pooling.
        pool: what pools, 3x3.
    """

    def __init__(
        self,
        channels: int,
        one: int,
        three: tuple[int, int],
        twice: tuple[int, int],
        pooled: int,
        pool: type[nn.AvgPool2d] | type[nn.MaxPool2d] = nn.AvgPool2d,
    ) -> None:
        super().__init__()
        self.one = Unit(channels, one, 1)
        self.three = nn.Sequential(Unit(channels, three[0], 1), Unit(*three, 3))
        self.twice = nn.Sequential(
            Unit(channels, twice[0], 1), Unit(*twice, 3), Unit(twice[1], twice[1], 3)
        )
        self.pooled = nn.Sequential(
            pool(3, stride=1, padding=1, ceil_mode=True), Unit(channels, pooled, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, C', H, W)`, the branches in the order of the arguments."""
        branches = (self.one, self.three, self.twice, self.pooled)
        return torch.cat([branch(maps) for branch in branches], dim=1)


class Reduction(nn.Module):
    """Three branches over one map, which halve it.

    Args:
        channels: of the map, all of which go on as they are, pooled by their maximum.
        three: of the 3x3 branch: reduced, 3x3.
        twice: of the branch of two 3x3: reduced, first and second 3x3.
    """

    def __init__(self, channels: int, three: tuple[int, int], twice: tuple[int, int]) -> None:
        super().__init__()
        self.three = nn.Sequential(Unit(channels, three[0], 1), Unit(*three, 3, stride=2))
        self.twice = nn.Sequential(
            Unit(channels, twice[0], 1), Unit(*twice, 3), Unit(twice[1], twice[1], 3, stride=2)
        )
        self.pool = Halve()

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, C', H / 2, W / 2)`, rounded up."""
        # Of odd sizes the convolutions' strides give a row more than the pooling, which the
        # published network cannot join. An edge that stands twice changes no maximum.
        odd = functional.pad(maps, (0, maps.shape[3] % 2, 0, maps.shape[2] % 2), mode="replicate")
        return torch.cat([self.three(maps), self.twice(maps), self.pool(odd)], dim=1)


class Halve(nn.MaxPool2d):
    """Caffe's pooling, 3x3 with stride 2: it pads nothing and rounds up; one pixel stays one."""

    def __init__(self) -> None:
        super().__init__(3, stride=2, ceil_mode=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, C, H / 2, W / 2)`, rounded down."""
        height, width = maps.shape[2:]
        lone = (0, int(width == 1), 0, int(height == 1))
        return super().forward(functional.pad(maps, lone, mode="replicate"))


class BnInception(nn.Sequential):
    """The network for images: `(N, 3, H, W)` to `(N, K)`; named as torchvision's are.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = Unit(3, 64, 7, stride=2)
        self.pool1 = Halve()
        self.conv2_reduce = Unit(64, 64, 1)
        self.conv2 = Unit(64, 192, 3)
        self.pool2 = Halve()
        self.inception_3a = Inception(192, 64, (64, 64), (64, 96), 32)
        self.inception_3b = Inception(256, 64, (64, 96), (64, 96), 64)
        self.inception_3c = Reduction(320, (128, 160), (64, 96))
        self.inception_4a = Inception(576, 224, (64, 96), (96, 128), 128)
        self.inception_4b = Inception(576, 192, (96, 128), (96, 128), 128)
        self.inception_4c = Inception(576, 160, (128, 160), (128, 160), 128)
        self.inception_4d = Inception(608, 96, (128, 192), (160, 192), 128)
        self.inception_4e = Reduction(608, (128, 192), (192, 256))
        self.inception_5a = Inception(1056, 352, (192, 320), (160, 224), 128)
        self.inception_5b = Inception(1024, 352, (192, 320), (192, 224), 128, nn.MaxPool2d)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(1024, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)


IMAGENET = Weights(
    url="http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",
    sha256_prefix="52deb4733",
    trained_on="ImageNet-1K: the Caffe model of TSN's authors, ported",
    num_classes=1000,
    licence="BSD-3-Clause (pretrained-models.pytorch)",
    accuracy={"top1": 73.522, "top5": 91.560},
    protocol="single images, centre crop",
    layout="torchvision",
    mean=MEAN,
    std=STD,
)

_CAFFE_NAMES = (
    (r"^last_linear\.", "fc."),
    (r"^conv1_7x7_s2(_bn)?\.", r"conv1\1."),
    (r"^conv2_3x3_reduce(_bn)?\.", r"conv2_reduce\1."),
    (r"^conv2_3x3(_bn)?\.", r"conv2\1."),
    (r"^(inception_\d\w)_1x1(_bn)?\.", r"\1.one\2."),
    (r"^(inception_\d\w)_3x3_reduce(_bn)?\.", r"\1.three.0\2."),
    (r"^(inception_\d\w)_3x3(_bn)?\.", r"\1.three.1\2."),
    (r"^(inception_\d\w)_double_3x3_reduce(_bn)?\.", r"\1.twice.0\2."),
    (r"^(inception_\d\w)_double_3x3_(\d)(_bn)?\.", r"\1.twice.\2\3."),
    (r"^(inception_\d\w)_pool_proj(_bn)?\.", r"\1.pooled.1\2."),
    (r"_bn\.", ".bn."),
    (r"^((?:conv|inc).*)(?<!\.bn)\.(weight|bias)$", r"\1.conv.\2"),
)


def from_caffe(state: State) -> State:
    """Rename the entries of the Caffe network, as all its ports to PyTorch name them.

    The result wants its colours as Caffe does: blue, green, red.
    """
    renamed = rename(state, _CAFFE_NAMES)
    # Some ports keep Caffe's leading axis of one in their batch norms.
    return {name: value.flatten() if ".bn." in name else value for name, value in renamed.items()}


def is_caffe(state: State) -> bool:
    """Whether these are weights of the Caffe network, or of a port of it."""
    return "conv1_7x7_s2.weight" in state


def in_rgb(weight: Tensor) -> Tensor:
    """A first layer's weights for blue, green, red as weights for red, green, blue; of each frame.

    Args:
        weight: `(width, 3 n, h, w)`.
    """
    return weight.unflatten(1, (-1, 3)).flip(2).flatten(1, 2)
