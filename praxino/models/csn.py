"""CSN: 3D convolutions that mix either channels or positions, never both.

Tran et al., "Video Classification with Channel-Separated Convolutional Networks", ICCV 2019,
arXiv:1904.02811.

Notable: a bottleneck ResNet whose 3 x 3 x 3 convolutions are depthwise, a third of the cost of its
ordinary sister. The interaction-reduced form (ir) leaves it at that; the interaction-preserved form
(ip) puts a 1 x 1 x 1 convolution before each, so that no channel interaction is lost (Sec. 3.3).
Differs from the paper: nothing known in `ir_csn_*` and `ip_csn_*`, which are the authors' networks
as mmaction2 converted them. pytorchvideo's `csn_r101` is an ir-CSN-101 with another epsilon, which
averages what the classifier says of windows of the last map.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict, Unpack

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.conv_norm import ConvNorm
from praxino.models.row import ModelRow, Published
from praxino.models.window_mean import WindowMean
from praxino.video.clip_spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KINETICS_MEAN,
    KINETICS_STD,
    ClipSpec,
)
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights, evenly

__all__ = [
    "csn_r101",
    "ip_csn_50",
    "ip_csn_101",
    "ip_csn_152",
    "ir_csn_50",
    "ir_csn_101",
    "ir_csn_152",
]

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Bottleneck(nn.Module):
    """Fewer channels, a depthwise convolution, four times the channels; a shortcut around them.

    Args:
        channels: before the block.
        width: of the depthwise convolution; the block gives four times as many channels.
        stride: of the depthwise convolution, in time and in space.
        preserved: whether a 1 x 1 x 1 convolution comes before the depthwise one.
    """

    def __init__(self, channels: int, width: int, stride: int, *, preserved: bool) -> None:
        super().__init__()
        one, strides = (1, 1, 1), (stride, stride, stride)
        self.reduce = ConvNorm(channels, width, one)
        # No ReLU follows it: it and the depthwise convolution stand for one of 3 x 3 x 3.
        self.interaction = ConvNorm(width, width, one) if preserved else nn.Identity()
        self.depthwise = ConvNorm(width, width, (3, 3, 3), strides, groups=width)
        self.expand = ConvNorm(width, 4 * width, one)
        changes = stride != 1 or channels != 4 * width
        self.shortcut = ConvNorm(channels, 4 * width, one, strides) if changes else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, 4 * width, T, H, W)`, divided by the stride."""
        out = self.relu(self.reduce(maps))
        out = self.relu(self.depthwise(self.interaction(out)))
        out = self.expand(out)
        result: Tensor = self.relu(out + self.shortcut(maps))
        return result


class Csn(nn.Module):
    """A stem, four stages of bottlenecks, the mean, and a classifier.

    Args:
        num_classes: K.
        blocks: how many in each stage.
        preserved: ip rather than ir.
        norm_eps: epsilon of the batch norms.
        windows: what the last map goes through before the mean of all its positions.
        dropout: before the classifier.
        clip_spec: what the network is fed.
    """

    def __init__(
        self,
        num_classes: int,
        blocks: Sequence[int],
        *,
        preserved: bool,
        norm_eps: float,
        windows: nn.Module,
        dropout: float,
        clip_spec: ClipSpec,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.conv = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.stem.norm = nn.BatchNorm3d(64)
        self.relu = nn.ReLU(inplace=True)
        self.stem_pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.stage1 = _stage(64, 64, blocks[0], 1, preserved)
        self.stage2 = _stage(256, 128, blocks[1], 2, preserved)
        self.stage3 = _stage(512, 256, blocks[2], 2, preserved)
        self.stage4 = _stage(1024, 512, blocks[3], 2, preserved)
        self.windows = windows
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2048, num_classes)
        self.clip_spec = clip_spec
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm3d):
                module.eps = norm_eps
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 2048, T / 8, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "CSN")
        maps = self.stem_pool(self.relu(self.stem(clip)))  # (B, 64, T, H / 4, W / 4)
        maps = self.stage1(maps)  # (B, 256, T, H / 4, W / 4)
        maps = self.stage2(maps)  # (B, 512, T / 2, H / 8, W / 8)
        maps = self.stage3(maps)  # (B, 1024, T / 4, H / 16, W / 16)
        result: Tensor = self.stage4(maps)  # (B, 2048, T / 8, H / 32, W / 32)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits.
        """
        # The classifier is linear: its answer to the mean is the mean of its answers.
        pooled = self.windows(self.forward_features(clip)).mean((2, 3, 4))  # (B, 2048)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def _stage(channels: int, width: int, blocks: int, stride: int, preserved: bool) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width, 1, preserved=preserved) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(channels, width, stride, preserved=preserved), *rest)


class Options(TypedDict, total=False):
    """What every CSN of the authors can be asked for.

    Args:
        frames: T of `clip_spec`, 32 by default; any T can be fed.
        size: H and W of `clip_spec`, in pixels; 224 by default.
    """

    frames: int
    size: int


def _of_the_authors(
    num_classes: int, depth: int, *, preserved: bool, frames: int = 32, size: int = 224
) -> Csn:
    return Csn(
        num_classes,
        BLOCKS[depth],
        preserved=preserved,
        norm_eps=1e-3,  # they were trained in Caffe2
        windows=nn.Identity(),
        dropout=0.5,
        clip_spec=ClipSpec(
            frames,
            stride_frames=2,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=KINETICS_MEAN,
            std=KINETICS_STD,
        ),
    )


def ir_csn_50(num_classes: int = 400, **options: Unpack[Options]) -> Csn:
    """ir-CSN on ResNet-50: 13.1 million parameters, 42.3 G multiply-adds; see `Options`."""
    return _of_the_authors(num_classes, 50, preserved=False, **options)


def ir_csn_101(num_classes: int = 400, **options: Unpack[Options]) -> Csn:
    """ir-CSN on ResNet-101: 22.2 million parameters, 56.5 G multiply-adds; see `Options`."""
    return _of_the_authors(num_classes, 101, preserved=False, **options)


def ir_csn_152(num_classes: int = 400, **options: Unpack[Options]) -> Csn:
    """ir-CSN on ResNet-152: 29.7 million parameters, 74.0 G multiply-adds; see `Options`."""
    return _of_the_authors(num_classes, 152, preserved=False, **options)


def ip_csn_50(num_classes: int = 400, **options: Unpack[Options]) -> Csn:
    """ip-CSN on ResNet-50: 14.4 million parameters, 47.7 G multiply-adds; see `Options`."""
    return _of_the_authors(num_classes, 50, preserved=True, **options)


def ip_csn_101(num_classes: int = 400, **options: Unpack[Options]) -> Csn:
    """ip-CSN on ResNet-101: 24.6 million parameters, 63.6 G multiply-adds; see `Options`."""
    return _of_the_authors(num_classes, 101, preserved=True, **options)


def ip_csn_152(num_classes: int = 400, **options: Unpack[Options]) -> Csn:
    """ip-CSN on ResNet-152: 33.0 million parameters, 83.3 G multiply-adds; see `Options`."""
    return _of_the_authors(num_classes, 152, preserved=True, **options)


def csn_r101(num_classes: int = 400, *, frames: int = 32, size: int = 256) -> Csn:
    """CSN-R101 of pytorchvideo: 22.2 million parameters, 73.8 G for a clip of 32 x 256 x 256.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return Csn(
        num_classes,
        BLOCKS[101],
        preserved=False,
        norm_eps=1e-5,
        # Trained on 32 x 224 x 224, whose last map is this large.
        windows=WindowMean((4, 7, 7)),
        dropout=0.0,
        clip_spec=ClipSpec(
            frames,
            stride_frames=2,
            size=size,
            resize_short=size,
            mean=(0.45, 0.45, 0.45),
            std=(0.225, 0.225, 0.225),
        ),
    )


def _mmaction2(
    trained_on: str, top1: float, top5: float, path: str, *, imagenet_colours: bool = False
) -> Weights:
    return Weights(
        url=f"https://download.openmmlab.com/mmaction/{path}.pth",
        sha256_prefix=path.rsplit("-", 1)[1],
        trained_on=trained_on,
        num_classes=400,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 10 clips of 32 frames, stride 2, 3 crops of 256",
        layout="mmaction2",
        clip={"size": 256, "resize_short": 256},
        mean=IMAGENET_MEAN if imagenet_colours else None,
        std=IMAGENET_STD if imagenet_colours else None,
    )


_IR_50 = "ircsn_ig65m-pretrained-r50-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb"
_IR_152 = "ircsn_ig65m-pretrained-r152_8xb12-32x2x1-58e_kinetics400-rgb"
_V1, _VMZ = "v1.0/recognition/csn", "recognition/csn/vmz/vmz"
_SPORTS, _IG = "Sports-1M, then Kinetics-400", "IG-65M, then Kinetics-400"

WEIGHTS_IR_50 = {
    "kinetics400_ig65m": _mmaction2(
        _IG, 79.44, 94.26, f"{_V1}/{_IR_50}/{_IR_50}_20220811-44395bae", imagenet_colours=True
    )
}
WEIGHTS_IR_152 = {
    "kinetics400": _mmaction2(
        "Kinetics-400",
        76.53,
        92.28,
        f"{_VMZ}_ircsn_from_scratch_r152_32x2x1_180e_kinetics400_rgb_20210617-5c933ae1",
    ),
    "kinetics400_sports1m": _mmaction2(
        _SPORTS,
        78.57,
        93.44,
        f"{_VMZ}_ircsn_sports1m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-b9b10241",
    ),
    "kinetics400_ig65m": _mmaction2(
        _IG, 82.87, 95.90, f"{_V1}/{_IR_152}/{_IR_152}_20220811-c7a3cc5b", imagenet_colours=True
    ),
}
WEIGHTS_IP_152 = {
    "kinetics400": _mmaction2(
        "Kinetics-400",
        77.80,
        93.10,
        f"{_VMZ}_ipcsn_from_scratch_r152_32x2x1_180e_kinetics400_rgb_20210617-d565828d",
    ),
    "kinetics400_sports1m": _mmaction2(
        _SPORTS,
        79.07,
        93.82,
        f"{_VMZ}_ipcsn_sports1m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-3367437a",
    ),
    "kinetics400_ig65m": _mmaction2(
        _IG,
        82.68,
        95.69,
        f"{_VMZ}_ipcsn_ig65m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-c3be9793",
        imagenet_colours=True,
    ),
}
WEIGHTS_R101 = {
    "kinetics400": Weights(
        url="https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/CSN_32x2_R101.pyth",
        sha256_prefix=None,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (pytorchvideo)",
        accuracy={"top1": 77.0, "top5": 92.9},
        protocol="video level, 10 clips of 32 frames at 14.8 per second, 3 crops of 256",
        layout="pytorchvideo",
        clip=evenly(32, 2),
    )
}


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of mmaction2's recogniser on `ResNet3dCSN`."""
    rules = (
        (r"^backbone\.conv1\.", "stem."),
        (r"^backbone\.layer(\d)\.", r"stage\1."),
        (r"^(stage.*)\.conv1\.", r"\1.reduce."),
        # The depthwise convolution is the last of a list, the only one in an ir block.
        (r"\.conv2\.0\.", r".interaction." if _preserves(model) else ".depthwise."),
        (r"\.conv2\.1\.", ".depthwise."),
        (r"^(stage.*)\.conv3\.", r"\1.expand."),
        (r"\.downsample\.", ".shortcut."),
        (r"\.bn\.", ".norm."),
        (r"^cls_head\.fc_cls\.", "head."),
    )
    return rename(state, rules)


def from_pytorchvideo(state: State, model: nn.Module) -> State:
    """Rename the entries of pytorchvideo's `create_csn`."""
    rules = (
        (r"^blocks\.0\.", "stem."),
        (r"^blocks\.5\.proj\.", "head."),
        (r"^blocks\.(\d)\.res_blocks\.", r"stage\1."),
        (r"\.branch1_", ".shortcut."),
        (r"\.branch2\.(conv|norm)_a\.", r".reduce.\1."),
        (r"\.branch2\.(conv|norm)_b\.", r".depthwise.\1."),
        (r"\.branch2\.(conv|norm)_c\.", r".expand.\1."),
    )
    return rename(state, rules)


def from_vmz(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' release at github.com/facebookresearch/VMZ."""
    rules = (
        (r"^stem\.0\.", "stem.conv."),
        (r"^stem\.1\.", "stem.norm."),
        (r"^layer(\d)\.", r"stage\1."),
        (r"\.conv2\.0\.0\.", ".interaction.conv."),
        (r"\.conv2\.0\.1\.", ".interaction.norm."),
        (r"\.conv2\.0\.2\.", ".depthwise.conv."),
        (r"\.conv1\.", ".reduce."),
        (r"\.conv2\.", ".depthwise."),
        (r"\.conv3\.", ".expand."),
        (r"\.downsample\.", ".shortcut."),
        (r"\.(reduce|depthwise|expand|shortcut)\.0\.", r".\1.conv."),
        (r"\.(reduce|depthwise|expand|shortcut)\.1\.", r".\1.norm."),
        (r"^fc\.", "head."),
    )
    return rename(state, rules)


def _preserves(model: nn.Module) -> bool:
    return any(".interaction." in name for name, _ in model.named_parameters())


LAYOUTS = {
    "mmaction2": from_mmaction2,
    "pytorchvideo": from_pytorchvideo,
    "vmz": from_vmz,
}

PAPER = "Tran et al., Video Classification with Channel-Separated Convolutional Networks, ICCV 2019"


def _row(build: Callable[..., Csn], weights: Mapping[str, Weights]) -> ModelRow:
    return ModelRow(build, PAPER, 2019, "factorised", weights=weights, layouts=LAYOUTS)


MODELS = {
    "csn_r101": _row(csn_r101, WEIGHTS_R101),
    "ip_csn_101": _row(ip_csn_101, {}),
    "ip_csn_152": _row(ip_csn_152, WEIGHTS_IP_152),
    "ip_csn_50": _row(ip_csn_50, {}),
    "ir_csn_101": _row(ir_csn_101, {}),
    "ir_csn_152": _row(ir_csn_152, WEIGHTS_IR_152),
    "ir_csn_50": _row(ir_csn_50, WEIGHTS_IR_50),
}

_README = "mmaction2, README of csn"
_OF_256 = "VMZ, model_zoo.md, whose frames of 224 pixels must have been of 256"
_CLIP_256 = (3, 32, 256, 256)
PUBLISHED = (
    Published("csn_r101", "PyTorchVideo's model zoo", parameters="22.21 M"),
    Published(
        "csn_r101",
        "pytorchvideo's network, counted",
        parameters="22,213,776",
        multiply_adds="73.757 G",
    ),
    Published(
        "ir_csn_50",
        "mmaction2's network, counted",
        parameters="13,131,152",
        multiply_adds="42.309 G",
    ),
    Published("ir_csn_50", _README, parameters="13.13 M"),
    Published("ir_csn_152", _README, clip=_CLIP_256, parameters="29.70 M", multiply_adds="97.63 G"),
    Published(
        "ir_csn_152",
        f"{_README}, in the row of Sports-1M",
        parameters="33.02 M",
        erratum="the number of ip-CSN-152, in whose row above it is right",
    ),
    Published("ip_csn_152", _README, parameters="33.02 M"),
    Published("ir_csn_152", _OF_256, clip=_CLIP_256, multiply_adds="96.7 G"),
    Published("ip_csn_152", _OF_256, clip=_CLIP_256, multiply_adds="108.8 G"),
)
