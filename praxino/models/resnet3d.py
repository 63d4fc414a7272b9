"""3D ResNets: the 2D networks of ImageNet with kernels that are 3 frames deep, trained on Kinetics.

Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018,
arXiv:1711.09577; Kataoka et al., "Would Mega-scale Datasets Further Enhance Spatiotemporal 3D
CNNs?", arXiv:2004.04968. The same network with other blocks is in `preact_resnet3d.py`,
`resnext3d.py`, `wide_resnet3d.py` and `hara_r2plus1d.py`; `densenet3d.py` completes the family.

Notable: a stem 7 frames deep and a max pooling that halves time too, so that 16 frames of 112 x 112
pixels end as a map of 1 x 4 x 4 and ResNet-50 costs only 10 G multiply-adds.
Differs from the paper's code: the pooling at the end is adaptive, which is the same for the clip
that the code was built for and lets clips of other sizes in; and gradients pass through shortcut A,
whose input the code detaches.

The authors publish their checkpoints in folders of Google Drive, from which no program can fetch
them; `create_model("resnet3d_50", weights="kinetics700")` says where one is and where to put it. A
file on disk loads into the model that `CHECKPOINTS` names, with the options that stand there:

    praxino.create_model("resnet3d_50", weights="r3d50_K_200ep.pth")
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict, Unpack

from torch import Tensor, nn
from torch.nn.functional import pad

from praxino.models.clip_shape import check_clip
from praxino.models.conv_norm import ConvNorm, Triple
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import CHANNELS, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = [
    "resnet3d_10",
    "resnet3d_18",
    "resnet3d_34",
    "resnet3d_50",
    "resnet3d_101",
    "resnet3d_152",
    "resnet3d_200",
]

# The code of 2020 normalises by mean and deviation of Kinetics; that of 2018 takes RGB in 0..255
# and subtracts the mean of ActivityNet, no more.
NORMALISATION = {
    "kinetics": ((0.4345, 0.4051, 0.3775), (0.2768, 0.2713, 0.2737)),
    "activitynet": ((114.7748 / 255, 107.7354 / 255, 99.4750 / 255), (1 / 255, 1 / 255, 1 / 255)),
}

DEPTHS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}

Conv = Callable[[int, int, Triple, Triple], nn.Module]
# From channels over a width to channels, at a stride, around a shortcut.
Block = Callable[[int, int, int, int, nn.Module], nn.Module]


class ClipOptions(TypedDict, total=False):
    """What the builders pass on to `hara_clip_spec`."""

    frames: int
    size: int
    stream: Literal["rgb", "flow"]
    normalisation: Literal["kinetics", "activitynet"]


def hara_clip_spec(
    frames: int = 16,
    size: int = 112,
    stream: Literal["rgb", "flow"] = "rgb",
    normalisation: Literal["kinetics", "activitynet"] = "kinetics",
) -> ClipSpec:
    """Consecutive frames, the largest square in the middle, as the authors test.

    Args:
        frames: T.
        size: H and W, in pixels.
        stream: "rgb", or "flow" for two channels of optical flow.
        normalisation: what the weights expect: "kinetics" those of 2020, "activitynet" of 2018.

    Raises:
        ValueError: a stream or a normalisation that does not exist.
    """
    if normalisation not in NORMALISATION:
        raise ValueError(f"normalisation is 'kinetics' or 'activitynet', not {normalisation!r}.")
    mean, std = NORMALISATION[normalisation]
    channels = 2 if stream == "flow" else 3  # flow is normalised by the first two colours' numbers
    return ClipSpec(
        frames,
        stride_frames=1,
        size=size,
        resize_short=size,
        mean=mean[:channels],
        std=std[:channels],
        inputs=(stream,),
    )


class ZeroPadding(nn.Module):
    """Shortcut A: every `stride`-th position, and zeros for the channels that are missing."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = out - channels, stride

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, out, T, H, W)`, divided by the stride."""
        s = self.stride
        return pad(maps[:, :, ::s, ::s, ::s], (0, 0, 0, 0, 0, 0, 0, self.missing))


class Basic(nn.Module):
    """Two 3 x 3 x 3 convolutions and a shortcut around them."""

    def __init__(
        self,
        channels: int,
        width: int,
        out: int,
        stride: int,
        shortcut: nn.Module,
        conv: Conv = ConvNorm,
    ) -> None:
        super().__init__()
        self.conv1 = conv(channels, width, (3, 3, 3), (stride, stride, stride))
        self.conv2 = conv(width, out, (3, 3, 3), (1, 1, 1))
        self.shortcut = shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, out, T, H, W)`, divided by the stride."""
        change = self.conv2(self.relu(self.conv1(maps)))
        result: Tensor = self.relu(change + self.shortcut(maps))
        return result


class Bottleneck(nn.Module):
    """A 3 x 3 x 3 convolution between two of 1 x 1 x 1, and a shortcut around them."""

    def __init__(
        self,
        channels: int,
        width: int,
        out: int,
        stride: int,
        shortcut: nn.Module,
        conv: Conv = ConvNorm,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, width, (1, 1, 1))
        self.conv2 = conv(width, width, (3, 3, 3), (stride, stride, stride))
        self.conv3 = ConvNorm(width, out, (1, 1, 1))
        self.shortcut = shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, out, T, H, W)`, divided by the stride."""
        change = self.relu(self.conv2(self.relu(self.conv1(maps))))
        result: Tensor = self.relu(self.conv3(change) + self.shortcut(maps))
        return result


class ResNet3d(nn.Module):
    """A stem, four stages of residual blocks, the average over what is left, a classifier.

    Args:
        num_classes: K.
        block: makes a block.
        stages: of each stage, how many blocks, their inner width and their output channels.
        stem_width: channels of the stem.
        conv: makes the stem's convolution.
        shortcut: where a block changes the shape: "B" a convolution of 1 x 1 x 1, "A" zeros for the
            missing channels, without parameters.
        stem_frames: how many frames the stem's kernel spans.
        stem_stride: 2: the stem halves time.
        max_pool: whether a max pooling after the stem halves time and space.
        **clip: as in `hara_clip_spec`; clips of any size can be fed.
    """

    def __init__(
        self,
        num_classes: int,
        block: Block,
        stages: Sequence[Triple],
        *,
        stem_width: int = 64,
        conv: Conv = ConvNorm,
        shortcut: Literal["A", "B"] = "B",
        stem_frames: int = 7,
        stem_stride: int = 1,
        max_pool: bool = True,
        **clip: Unpack[ClipOptions],
    ) -> None:
        super().__init__()
        self.clip_spec = hara_clip_spec(**clip)
        channels = CHANNELS[self.clip_spec.inputs[0]]
        self.stem = nn.Sequential()
        self.stem.conv = conv(channels, stem_width, (stem_frames, 7, 7), (stem_stride, 2, 2))
        self.stem.relu = nn.ReLU(inplace=True)
        if max_pool:
            self.stem.pool = nn.MaxPool3d(3, stride=2, padding=1)

        def stage(channels: int, plan: Triple, stride: int) -> nn.Sequential:
            blocks, width, out = plan
            around = _shortcut(shortcut, channels, out, stride)
            rest = [block(out, width, out, 1, nn.Identity()) for _ in range(blocks - 1)]
            return nn.Sequential(block(channels, width, out, stride, around), *rest)

        self.stage1 = stage(stem_width, stages[0], stride=1)
        self.stage2 = stage(stages[0][2], stages[1], stride=2)
        self.stage3 = stage(stages[1][2], stages[2], stride=2)
        self.stage4 = stage(stages[2][2], stages[3], stride=2)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(stages[3][2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, D, T / 16, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "ResNet3d", channels=CHANNELS[self.clip_spec.inputs[0]])
        maps = self.stage1(self.stem(clip))  # (B, _, T / 2, H / 4, W / 4)
        maps = self.stage2(maps)
        maps = self.stage3(maps)
        result: Tensor = self.stage4(maps)  # (B, D, T / 16, H / 32, W / 32)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, or two channels of flow, normalised as `self.clip_spec` says;
                any size.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.pool(self.forward_features(clip)).flatten(1)  # (B, D)
        logits: Tensor = self.head(pooled)
        return logits


def _shortcut(kind: str, channels: int, out: int, stride: int) -> nn.Module:
    if kind not in ("A", "B"):
        raise ValueError(f"shortcut is 'A' or 'B', not {kind!r}.")
    if stride == 1 and channels == out:
        return nn.Identity()
    if kind == "A":
        return ZeroPadding(channels, out, stride)
    return ConvNorm(channels, out, (1, 1, 1), (stride, stride, stride))


def stages_of(depth: int, *, narrowest: float = 64, expansion: int | None = None) -> list[Triple]:
    """The four stages of a ResNet: blocks, inner width and output channels of each.

    Args:
        depth: a key of `DEPTHS`.
        narrowest: the inner width of the first stage, doubled from stage to stage.
        expansion: output channels for each inner one; None: 4, and 1 for depths below 50.

    Raises:
        ValueError: no channels are left.
    """
    if narrowest < 1:
        raise ValueError(f"A first stage of {narrowest:g} channels has none: widen the network.")
    times = expansion or (4 if depth >= 50 else 1)
    widths = [int(narrowest * 2**number) for number in range(4)]
    return [(blocks, w, w * times) for blocks, w in zip(DEPTHS[depth], widths, strict=True)]


class Options(ClipOptions, total=False):
    """What the builders pass on to `ResNet3d`."""

    shortcut: Literal["A", "B"]
    stem_frames: int
    stem_stride: int
    max_pool: bool


class WidenOptions(Options, total=False):
    """Options of 3D ResNets, beside those of `ResNet3d` and `hara_clip_spec`.

    Attributes:
        widen: by which all channels are multiplied, 1 by default.
    """

    widen: float


def _resnet3d(
    depth: int, num_classes: int, *, widen: float = 1, **options: Unpack[Options]
) -> ResNet3d:
    stages = stages_of(depth, narrowest=64 * widen)
    block = Basic if depth < 50 else Bottleneck
    return ResNet3d(num_classes, block, stages, stem_width=int(64 * widen), **options)


def resnet3d_10(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """3D ResNet-10: 14.6 million parameters, 5.7 G for 16 x 112 x 112; see `WidenOptions`."""
    return _resnet3d(10, num_classes, **options)


def resnet3d_18(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """3D ResNet-18: 33.4 million parameters, 8.3 G for 16 x 112 x 112; see `WidenOptions`.

    The files of 2018 have `shortcut="A"`.
    """
    return _resnet3d(18, num_classes, **options)


def resnet3d_34(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """3D ResNet-34: 63.7 million parameters, 12.7 G for 16 x 112 x 112; see `WidenOptions`.

    The files of 2018 have `shortcut="A"`.
    """
    return _resnet3d(34, num_classes, **options)


def resnet3d_50(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """3D ResNet-50: 47.0 million parameters, 10.1 G for 16 x 112 x 112; see `WidenOptions`."""
    return _resnet3d(50, num_classes, **options)


def resnet3d_101(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """3D ResNet-101: 86.1 million parameters, 13.9 G for 16 x 112 x 112; see `WidenOptions`."""
    return _resnet3d(101, num_classes, **options)


def resnet3d_152(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """3D ResNet-152: 118.2 million parameters, 18.6 G for 16 x 112 x 112; see `WidenOptions`."""
    return _resnet3d(152, num_classes, **options)


def resnet3d_200(num_classes: int = 400, **options: Unpack[WidenOptions]) -> ResNet3d:
    """3D ResNet-200: 127.4 million parameters, 25.8 G for 16 x 112 x 112; see `WidenOptions`."""
    return _resnet3d(200, num_classes, **options)


# The published files, by what the README of the code says of them: builder, classes and options.
# K: Kinetics-700, M: Moments in Time, S: STAIR Actions; 200 epochs each.
_CLASSES = {"K": 700, "KM": 1039, "KMS": 1139, "KS": 800, "M": 339, "MS": 439, "S": 100}
_FILES_OF_2020 = {
    18: ("K", "KM"),
    34: ("K", "KM"),
    50: ("K", "KM", "KMS", "KS", "M", "MS", "S"),
    101: ("K", "KM"),
    152: ("K", "KM"),
    200: ("K", "KM"),
}
_2018 = {"num_classes": 400, "normalisation": "activitynet"}  # Kinetics-400
CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    f"r3d{depth}_{data}_200ep.pth": (f"resnet3d_{depth}", {"num_classes": _CLASSES[data]})
    for depth, sets in _FILES_OF_2020.items()
    for data in sets
} | {
    "resnet-18-kinetics.pth": ("resnet3d_18", _2018 | {"shortcut": "A"}),
    "resnet-34-kinetics.pth": ("resnet3d_34", _2018 | {"shortcut": "A"}),
    "resnet-50-kinetics.pth": ("resnet3d_50", _2018),
    "resnet-101-kinetics.pth": ("resnet3d_101", _2018),
    "resnet-152-kinetics.pth": ("resnet3d_152", _2018),
    "resnet-200-kinetics.pth": ("resnet3d_200", _2018),
    "preresnet-200-kinetics.pth": ("preact_resnet3d_200", _2018),
    "wideresnet-50-kinetics.pth": ("wide_resnet3d_50", _2018),
    "resnext-101-kinetics.pth": ("resnext3d_101", _2018),
    "resnext-101-64f-kinetics.pth": ("resnext3d_101", _2018 | {"frames": 64}),
    "densenet-121-kinetics.pth": ("densenet3d_121", _2018),
    "densenet-201-kinetics.pth": ("densenet3d_201", _2018),
}

_PAGES = {
    2018: "https://drive.google.com/drive/folders/1zvl89AgFAApbH0At-gMuZSeQB_LpNP-M",
    2020: "https://drive.google.com/open?id=1xbYbZ7rpyjftI_KCk6YuL-XrfQDz7Yd4",
}
_DATA = {"K": "Kinetics-700", "M": "Moments in Time", "S": "STAIR Actions"}
_KEYS = {"K": "kinetics700", "M": "moments", "S": "stair"}


def hara_weights(builder: str) -> dict[str, Weights]:
    """The published files of one builder; all of them only a person can download.

    Args:
        builder: a name in `CHECKPOINTS`.
    """
    rows = {}
    for file, (name, options) in CHECKPOINTS.items():
        if name != builder:
            continue
        old = "normalisation" in options
        letters = "" if old else file.split("_")[1]
        key = "kinetics400" if old else "_".join(_KEYS[letter] for letter in letters)
        rows[key + ("_64_frames" if "frames" in options else "")] = Weights(
            url=_PAGES[2018 if old else 2020],
            by_hand=file,
            sha256_prefix=None,
            trained_on="Kinetics-400" if old else " + ".join(_DATA[one] for one in letters),
            num_classes=options["num_classes"],
            licence="MIT (3D-ResNets-PyTorch)",
            layout="hara",
            options={name: value for name, value in options.items() if name != "num_classes"},
        )
    return rows


_HARA_NAMES = (
    (r"^module\.", ""),  # files of 2018 are saved from a DataParallel
    (r"^(conv|bn)1(?=[._])", r"stem.\1"),
    (r"^layer(\d)\.", r"stage\1."),
    (r"\.conv(\d?)\.", r".conv\1.conv."),
    (r"\.bn(\d?)\.", r".conv\1.norm."),
    # Of R(2+1)D: the spatial convolution, then the temporal one.
    (r"\.conv(\d?)_s\.", r".conv\1.spatial.conv."),
    (r"\.bn(\d?)_s\.", r".conv\1.spatial.norm."),
    (r"\.conv(\d?)_t\.", r".conv\1.temporal.conv."),
    (r"\.bn(\d?)_t\.", r".conv\1.temporal.norm."),
    (r"\.downsample\.0\.", ".shortcut.conv."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"^fc\.", "head."),
)


def from_hara(state: State, model: nn.Module) -> State:
    """Rename the entries of Hara's code, in its state of 2018 or of 2020."""
    return rename(state, _HARA_NAMES)


LAYOUTS = {"hara": from_hara}

PAPER = "Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs, CVPR 2018"
MODELS = {
    build.__name__: ModelRow(
        build, PAPER, 2018, "3d", weights=hara_weights(build.__name__), layouts=LAYOUTS
    )
    for build in (
        resnet3d_10,
        resnet3d_18,
        resnet3d_34,
        resnet3d_50,
        resnet3d_101,
        resnet3d_152,
        resnet3d_200,
    )
}

_CODE = "github.com/kenshohara/3D-ResNets-PyTorch, as its code of {} builds it"
_CLIP = (3, 16, 112, 112)


def _published(
    year: int, model: str, options: dict[str, Any], parameters: str, multiply_adds: str
) -> Published:
    source = _CODE.format(year)
    return Published(
        model, source, options, clip=_CLIP, parameters=parameters, multiply_adds=multiply_adds
    )


_A = {"num_classes": 400, "shortcut": "A"}
PUBLISHED = (
    _published(2020, "resnet3d_18", {"num_classes": 700}, "33,563,004", "8.308 G"),
    _published(2020, "resnet3d_50", {"num_classes": 700}, "47,633,276", "10.070 G"),
    _published(2020, "resnet3d_50", {"num_classes": 1139}, "48,532,787", "10.071 G"),
    Published("resnet3d_34", _CODE.format(2020), {"num_classes": 700}, parameters="63.87 M"),
    Published("resnet3d_101", _CODE.format(2020), {"num_classes": 700}, parameters="86.68 M"),
    _published(2018, "resnet3d_18", _A, "33,235,280", "8.296 G"),
    _published(2020, "resnet3d_34", _A, "63,544,912", "12.685 G"),
    _published(2018, "resnet3d_50", {"num_classes": 400}, "47,018,576", "10.069 G"),
)
