"""R(2+1)D: every 3D convolution becomes one in space and one in time.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018,
arXiv:1711.11248.

Notable: between the two stand a norm and a ReLU, so that the net has twice the nonlinearities of
R3D; the channels between them are as many as make the parameters equal (Sec. 3.5).
Differs from the paper: the released networks differ from it and from each other, and each has its
builder. torchvision's 18 layers count the channels in between from the block's input, for both of
its convolutions: 31.5 million parameters, not 33.4. mmaction2's 34 layers pool after the stem and
split the shortcuts too. pytorchvideo's 50 are a bottleneck ResNet that goes through time first and
keeps its width. The 34 layers trained on IG-65M are the paper's.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.conv_norm import ConvNorm, Triple
from praxino.models.row import ModelRow, Published
from praxino.models.window_mean import WindowMean
from praxino.video.clip_spec import KINETICS_MEAN, KINETICS_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights, evenly

__all__ = [
    "r2plus1d_18",
    "r2plus1d_34",
    "r2plus1d_34_32x2",
    "r2plus1d_34_ig65m",
    "r2plus1d_r50",
]

Block = Callable[[int, int, Triple], nn.Module]  # channels, width, stride


def channels_between(channels: int, width: int, side: int = 3, frames: int = 3) -> int:
    """M of Sec. 3.5: as many parameters as a convolution of `frames` x `side` x `side`.

    Args:
        channels: into the convolution in space.
        width: out of the convolution in time.
        side: of the kernel in space.
        frames: of the kernel in time.
    """
    whole = frames * side * side * channels * width
    return whole // (side * side * channels + frames * width)


class SpaceThenTime(nn.Sequential):
    """A convolution in space, norm and ReLU; a convolution in time and its norm."""

    def __init__(
        self,
        channels: int,
        between: int,
        width: int,
        kernel: Triple = (3, 3, 3),
        stride: Triple = (1, 1, 1),
    ) -> None:
        super().__init__()
        (t, h, w), (skip, down, across) = kernel, stride
        self.space = nn.Conv3d(
            channels, between, (1, h, w), (1, down, across), (0, h // 2, w // 2), bias=False
        )
        self.space_norm = nn.BatchNorm3d(between)
        self.relu = nn.ReLU(inplace=True)
        self.time = nn.Conv3d(between, width, (t, 1, 1), (skip, 1, 1), (t // 2, 0, 0), bias=False)
        self.norm = nn.BatchNorm3d(width)


class TimeThenSpace(nn.Sequential):
    """A convolution in time, norm and ReLU; a convolution in space and its norm; of one width."""

    def __init__(self, width: int, stride: Triple) -> None:
        super().__init__()
        skip, down, across = stride
        self.time = nn.Conv3d(width, width, (3, 1, 1), (skip, 1, 1), (1, 0, 0), bias=False)
        self.time_norm = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.space = nn.Conv3d(width, width, (1, 3, 3), (1, down, across), (0, 1, 1), bias=False)
        self.norm = nn.BatchNorm3d(width)


class Residual(nn.Module):
    """Convolutions with a ReLU between each and the next, and a shortcut around them."""

    def __init__(self, shortcut: nn.Module, *convs: nn.Module) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.shortcut = shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, width, T, H, W)`, divided by the stride."""
        out = self.convs[0](maps)
        for conv in self.convs[1:]:
            out = conv(self.relu(out))
        result: Tensor = self.relu(out + self.shortcut(maps))
        return result


class R2plus1d(nn.Module):
    """A stem, four stages of residual blocks, the mean, and a classifier.

    Args:
        num_classes: K.
        stem: from 3 to 64 channels.
        stem_pool: what comes after the stem's ReLU.
        stages: four.
        width: of the last stage.
        windows: what the last map goes through before the mean of all its positions.
        dropout: before the classifier.
        clip_spec: what the network is fed.
    """

    def __init__(
        self,
        num_classes: int,
        stem: nn.Module,
        stem_pool: nn.Module,
        stages: Sequence[nn.Module],
        width: int,
        *,
        windows: nn.Module,
        dropout: float,
        clip_spec: ClipSpec,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.relu = nn.ReLU(inplace=True)
        self.stem_pool = stem_pool
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.windows = windows
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)
        self.clip_spec = clip_spec
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling, for 16 x 112 x 112: `(B, 512, 2, 7, 7)`.

        `(B, 512, 1, 7, 7)` for the 34 layers' 8 x 224 x 224, `(B, 2048, 4, 8, 8)` for the
        bottlenecks' 16 x 256 x 256.
        """
        check_clip(clip, "R(2+1)D")
        maps = self.stem_pool(self.relu(self.stem(clip)))  # (B, 64, T, H / 2, W / 2)
        maps = self.stage1(maps)
        maps = self.stage2(maps)
        maps = self.stage3(maps)
        result: Tensor = self.stage4(maps)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits.
        """
        # The classifier is linear: its answer to the mean is the mean of its answers.
        pooled = self.windows(self.forward_features(clip)).mean((2, 3, 4))  # (B, width)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def _stages(
    block: Block, channels: Sequence[int], blocks: Sequence[int], strides: Sequence[Triple]
) -> list[nn.Module]:
    """Stages from `channels[i]` to `channels[i + 1]`; a stage's first block has its stride."""
    stages: list[nn.Module] = []
    for number, stride in enumerate(strides):
        before, width = channels[number], channels[number + 1]
        rest = [block(width, width, (1, 1, 1)) for _ in range(blocks[number] - 1)]
        stages.append(nn.Sequential(block(before, width, stride), *rest))
    return stages


def _shortcut(channels: int, width: int, stride: Triple) -> nn.Module:
    if channels == width and stride == (1, 1, 1):
        return nn.Identity()
    return ConvNorm(channels, width, (1, 1, 1), stride)


def _torchvision_block(channels: int, width: int, stride: Triple) -> nn.Module:
    between = channels_between(channels, width)  # of the first convolution, for the second too
    return Residual(
        _shortcut(channels, width, stride),
        SpaceThenTime(channels, between, width, stride=stride),
        SpaceThenTime(width, between, width),
    )


def _paper_block(channels: int, width: int, stride: Triple) -> nn.Module:
    return Residual(
        _shortcut(channels, width, stride),
        SpaceThenTime(channels, channels_between(channels, width), width, stride=stride),
        SpaceThenTime(width, channels_between(width, width), width),
    )


def _mmaction2_block(channels: int, width: int, stride: Triple) -> nn.Module:
    shortcut: nn.Module = nn.Identity()
    if channels != width or stride != (1, 1, 1):
        # Its kernel spans one frame, and yet its channels are counted as for three.
        between = channels_between(channels, width, side=1)
        shortcut = SpaceThenTime(channels, between, width, (1, 1, 1), stride)
    return Residual(
        shortcut,
        SpaceThenTime(channels, channels_between(channels, width), width, stride=stride),
        SpaceThenTime(width, channels_between(width, width), width),
    )


def _bottleneck(channels: int, width: int, stride: Triple) -> nn.Module:
    return Residual(
        _shortcut(channels, width, stride),
        ConvNorm(channels, width // 4, (1, 1, 1)),
        TimeThenSpace(width // 4, stride),
        ConvNorm(width // 4, width, (1, 1, 1)),
    )


def _residual_18_or_34(
    num_classes: int,
    block: Block,
    blocks: Sequence[int],
    clip_spec: ClipSpec,
    *,
    stem_between: int = 45,
    stem_pool: nn.Module | None = None,
    dropout: float = 0.0,
) -> R2plus1d:
    strides = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    return R2plus1d(
        num_classes,
        SpaceThenTime(3, stem_between, 64, (3, 7, 7), (1, 2, 2)),
        stem_pool or nn.Identity(),
        _stages(block, (64, 64, 128, 256, 512), blocks, strides),
        512,
        windows=nn.Identity(),
        dropout=dropout,
        clip_spec=clip_spec,
    )


def r2plus1d_18(num_classes: int = 400, *, frames: int = 16, size: int = 112) -> R2plus1d:
    """R(2+1)D-18 of torchvision: 31.5 million parameters, 40.5 G for a clip of 16 x 112 x 112.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    spec = ClipSpec(
        frames,
        frames_per_second=15.0,
        size=size,
        resize_short=round(size * 8 / 7),  # torchvision squeezes all videos to 128 x 171
        mean=KINETICS_MEAN,
        std=KINETICS_STD,
    )
    return _residual_18_or_34(num_classes, _torchvision_block, (2, 2, 2, 2), spec)


def r2plus1d_34(
    num_classes: int = 400, *, frames: int = 8, stride_frames: int = 8, size: int = 224
) -> R2plus1d:
    """R(2+1)D-34 of mmaction2, 8x8: 63.8 million parameters, 40.6 G for 8 x 224 x 224.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        stride_frames: from one frame of `clip_spec` to the next.
        size: H and W of `clip_spec`, in pixels.
    """
    spec = ClipSpec(
        frames, stride_frames=stride_frames, size=size, resize_short=round(size * 8 / 7)
    )
    model = _residual_18_or_34(
        num_classes,
        _mmaction2_block,
        (3, 4, 6, 3),
        spec,
        stem_between=channels_between(3, 64, side=7),  # 83
        stem_pool=nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        dropout=0.5,
    )
    for module in model.modules():
        if isinstance(module, SpaceThenTime):
            module.norm.eps = 1e-3  # and 1e-5 for the norm between
    return model


def r2plus1d_34_32x2(
    num_classes: int = 400, *, frames: int = 32, stride_frames: int = 2, size: int = 224
) -> R2plus1d:
    """R(2+1)D-34 of mmaction2, 32x2: `r2plus1d_34` fed with four times the frames.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        stride_frames: from one frame of `clip_spec` to the next.
        size: H and W of `clip_spec`, in pixels.
    """
    return r2plus1d_34(num_classes, frames=frames, stride_frames=stride_frames, size=size)


def r2plus1d_34_ig65m(num_classes: int = 400, *, frames: int = 32, size: int = 112) -> R2plus1d:
    """R(2+1)D-34 as in the paper, whose weights have seen 65 million videos.

    Args:
        num_classes: K.
        frames: T of `clip_spec`, 8 for some of the weights; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    spec = ClipSpec(
        frames,
        stride_frames=1,
        size=size,
        resize_short=round(size * 8 / 7),
        mean=KINETICS_MEAN,
        std=KINETICS_STD,
    )
    model = _residual_18_or_34(num_classes, _paper_block, (3, 4, 6, 3), spec)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3  # they were trained in Caffe2
    return model


def r2plus1d_r50(num_classes: int = 400, *, frames: int = 16, size: int = 256) -> R2plus1d:
    """R(2+1)D of pytorchvideo on ResNet-50: 28.1 million parameters, 75.1 G for 16 x 256 x 256.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    strides = ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    return R2plus1d(
        num_classes,
        ConvNorm(3, 64, (1, 7, 7), (1, 2, 2)),
        nn.Identity(),
        _stages(_bottleneck, (64, 256, 512, 1024, 2048), (3, 4, 6, 3), strides),
        2048,
        # Trained on 16 x 224 x 224, whose last map is this large; of a larger one pytorchvideo
        # averages what the classifier says of each window.
        windows=WindowMean((4, 7, 7)),
        dropout=0.5,
        clip_spec=ClipSpec(
            frames,
            stride_frames=4,
            size=size,
            resize_short=size,
            mean=(0.45, 0.45, 0.45),
            std=(0.225, 0.225, 0.225),
        ),
    )


WEIGHTS_18 = {
    "kinetics400": Weights(
        url="https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth",
        sha256_prefix="91a641e6",
        megabytes=120.318,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="BSD-3-Clause (torchvision)",
        accuracy={"top1": 67.463, "top5": 86.175},
        protocol="video level, 5 clips of 16 frames at 15 fps, 1 crop of 112 from 128 x 171",
        layout="torchvision",
    )
}


def _mmaction2(end: str, frames: int, stride: int, top1: float, top5: float) -> Weights:
    config = f"r2plus1d_r34_8xb8-{frames}x{stride}x1-180e_kinetics400-rgb"
    folder = "https://download.openmmlab.com/mmaction/v1.0/recognition/r2plus1d"
    return Weights(
        url=f"{folder}/{config}/{config}_{end}.pth",
        sha256_prefix=end.split("-")[1],
        trained_on="Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol=f"video level, 10 clips of {frames} frames, stride {stride}, 3 crops of 256",
        layout="mmaction2",
        clip={"size": 256, "resize_short": 256},
    )


WEIGHTS_34 = {"kinetics400": _mmaction2("20220812-47cfe041", 8, 8, 69.76, 88.41)}
WEIGHTS_34_32X2 = {"kinetics400": _mmaction2("20220812-4270588c", 32, 2, 75.46, 92.28)}
WEIGHTS_R50 = {
    "kinetics400": Weights(
        url=(
            "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/R2PLUS1D_16x4_R50.pyth"
        ),
        sha256_prefix=None,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (pytorchvideo)",
        accuracy={"top1": 76.01, "top5": 92.23},
        protocol="video level, 10 clips of 16 frames at 7.14 per second, 3 crops of 256",
        layout="pytorchvideo",
        clip=evenly(16, 4),
    )
}


def _ig65m(
    file: str, sha256_prefix: str, trained_on: str, num_classes: int, **accuracy: float
) -> Weights:
    return Weights(
        url=(
            "https://github.com/moabitcoin/ig65m-pytorch/releases/download/v1.0.0/"
            f"r2plus1d_34_{file}-{sha256_prefix}.pth"
        ),
        sha256_prefix=sha256_prefix,
        trained_on=trained_on,
        num_classes=num_classes,
        licence="MIT (ig65m-pytorch)",
        accuracy=accuracy,
        protocol="video level, measured on the Caffe2 weights before their conversion",
        layout="torchvision",
        options={"frames": 8} if file.startswith("clip8_") else {},
    )


WEIGHTS_IG65M = {
    "kinetics400": _ig65m(
        "clip32_ft_kinetics_from_ig65m",
        "ade133f1",
        "IG-65M, then Kinetics-400",
        400,
        top1=80.0,
        top5=94.2,
    ),
    "kinetics400_8_frames": _ig65m(
        "clip8_ft_kinetics_from_ig65m",
        "0aa0550b",
        "IG-65M, then Kinetics-400",
        400,
        top1=74.9,
        top5=91.8,
    ),
    "ig65m": _ig65m("clip32_ig65m_from_scratch", "449a7af9", "IG-65M", 487),
    "ig65m_8_frames": _ig65m("clip8_ig65m_from_scratch", "9bae36ae", "IG-65M", 359),
}


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename the entries of torchvision's `r2plus1d_18`, or of the 34 layers on IG-65M."""
    rules = (
        (r"^stem\.0\.", "stem.space."),
        (r"^stem\.1\.", "stem.space_norm."),
        (r"^stem\.3\.", "stem.time."),
        (r"^stem\.4\.", "stem.norm."),
        (r"^layer(\d)\.", r"stage\1."),
        (r"\.conv1\.", ".convs.0."),
        (r"\.conv2\.", ".convs.1."),
        (r"\.convs\.(\d)\.0\.0\.", r".convs.\1.space."),
        (r"\.convs\.(\d)\.0\.1\.", r".convs.\1.space_norm."),
        (r"\.convs\.(\d)\.0\.3\.", r".convs.\1.time."),
        (r"\.convs\.(\d)\.1\.", r".convs.\1.norm."),
        (r"\.downsample\.0\.", ".shortcut.conv."),
        (r"\.downsample\.1\.", ".shortcut.norm."),
        (r"^fc\.", "head."),
    )
    return rename(state, rules)


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of mmaction2's recogniser on `ResNet2Plus1d`."""
    rules = (
        (r"^backbone\.", ""),
        (r"^conv1\.", "stem."),
        (r"^layer(\d)\.", r"stage\1."),
        (r"\.conv1\.", ".convs.0."),
        (r"\.conv2\.", ".convs.1."),
        (r"\.downsample\.", ".shortcut."),
        (r"\.conv\.conv_s\.", ".space."),
        (r"\.conv\.bn_s\.", ".space_norm."),
        (r"\.conv\.conv_t\.", ".time."),
        (r"\.bn\.", ".norm."),
        (r"^cls_head\.fc_cls\.", "head."),
    )
    return rename(state, rules)


def from_pytorchvideo(state: State, model: nn.Module) -> State:
    """Rename the entries of pytorchvideo's `create_r2plus1d`."""
    rules = (
        (r"^blocks\.0\.", "stem."),
        (r"^blocks\.5\.proj\.", "head."),
        (r"^blocks\.(\d)\.res_blocks\.", r"stage\1."),
        (r"\.branch1_", ".shortcut."),
        (r"\.branch2\.(conv|norm)_a\.", r".convs.0.\1."),
        (r"\.branch2\.conv_b\.conv_t\.", ".convs.1.time."),
        (r"\.branch2\.conv_b\.norm\.", ".convs.1.time_norm."),
        (r"\.branch2\.conv_b\.conv_xy\.", ".convs.1.space."),
        (r"\.branch2\.norm_b\.", ".convs.1.norm."),
        (r"\.branch2\.(conv|norm)_c\.", r".convs.2.\1."),
    )
    return rename(state, rules)


LAYOUTS = {
    "torchvision": from_torchvision,
    "mmaction2": from_mmaction2,
    "pytorchvideo": from_pytorchvideo,
}

PAPER = "Tran et al., A Closer Look at Spatiotemporal Convolutions, CVPR 2018"


def _row(build: Callable[..., R2plus1d], weights: dict[str, Weights]) -> ModelRow:
    return ModelRow(build, PAPER, 2018, "factorised", weights=weights, layouts=LAYOUTS)


MODELS = {
    "r2plus1d_18": _row(r2plus1d_18, WEIGHTS_18),
    "r2plus1d_34": _row(r2plus1d_34, WEIGHTS_34),
    "r2plus1d_34_32x2": _row(r2plus1d_34_32x2, WEIGHTS_34_32X2),
    "r2plus1d_34_ig65m": _row(r2plus1d_34_ig65m, WEIGHTS_IG65M),
    "r2plus1d_r50": _row(r2plus1d_r50, WEIGHTS_R50),
}

_OF_128 = "VMZ, model_zoo.md, whose frames of 112 pixels must have been of 128"
PUBLISHED = (
    Published("r2plus1d_18", "torchvision", parameters="31,505,325", multiply_adds="40.519 G"),
    Published(
        "r2plus1d_34",
        "mmaction2, metafile.yml",
        clip=(3, 8, 256, 256),
        parameters="63.8 M",
        multiply_adds="53.1 G",
    ),
    Published(
        "r2plus1d_34",
        "mmaction2's network, counted",
        parameters="63,759,281",
        multiply_adds="40.561 G",
    ),
    Published(
        "r2plus1d_34_32x2",
        "mmaction2, README of r2plus1d",
        clip=(3, 32, 256, 256),
        parameters="63.8 M",
        multiply_adds="213 G",
    ),
    Published("r2plus1d_34_ig65m", _OF_128, clip=(3, 8, 128, 128), multiply_adds="49.8 G"),
    Published("r2plus1d_34_ig65m", _OF_128, clip=(3, 32, 128, 128), multiply_adds="199.0 G"),
    Published("r2plus1d_r50", "PyTorchVideo's model zoo", parameters="28.11 M"),
    Published(
        "r2plus1d_r50",
        "pytorchvideo's network, counted",
        parameters="28,107,600",
        multiply_adds="75.148 G",
    ),
)
