"""S3D and S3D-G: I3D's Inception with its kernels split into space and time.

Xie et al., "Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video
Classification", ECCV 2018, arXiv:1712.04851.

Notable: each convolution of 3 x 3 x 3 becomes one of 1 x 3 x 3 and one of 3 x 1 x 1, of the same
width. S3D-G multiplies the channels of a map by a gate that has seen the whole map (Sec. 4.4).
Differs from the paper: `s3d` is torchvision's, which splits the stem's 7 x 7 x 7 too and puts a
norm behind the convolution in time. `s3d_g` is the same with the gates as the authors released
them (tensorflow/models, slim/nets/s3dg.py): behind the stem's last convolution and behind each of
a block's four paths. Nobody has published weights for it in this form.
"""

import torch
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.models.window_mean import WindowMean
from praxino.video.clip_spec import KINETICS_MEAN, KINETICS_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["s3d", "s3d_g"]

# Of each block, GoogLeNet's: the path of 1; of 1, then 3; of 1, then 3 (once 5); pooled, then 1.
WIDTHS_3 = ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64))
WIDTHS_4 = (
    (192, (96, 208), (16, 48), 64),
    (160, (112, 224), (24, 64), 64),
    (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64),
    (256, (160, 320), (32, 128), 128),
)
WIDTHS_5 = ((256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128))

LEAST_FRAMES, LEAST_SIZE = 5, 17  # the smallest that the last pooling leaves something of

Widths = tuple[int, tuple[int, int], tuple[int, int], int]


class ConvNorm(nn.Sequential):
    """A convolution without bias, its batch norm and ReLU."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        t, h, w = kernel
        padding = (t // 2, h // 2, w // 2)
        self.conv = nn.Conv3d(channels, width, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(width, eps=1e-3, momentum=1e-3)
        self.relu = nn.ReLU(inplace=True)


class Separable(nn.Sequential):
    """A convolution in space, then one in time, each with its norm and ReLU."""

    def __init__(self, channels: int, width: int, side: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.space = ConvNorm(channels, width, (1, side, side), (1, stride, stride))
        self.time = ConvNorm(width, width, (side, 1, 1), (stride, 1, 1))


class Gate(nn.Module):
    """Channels that the whole map finds unimportant fade: `sigmoid(W mean(x)) * x`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Linear(channels, channels, bias=False)
        nn.init.trunc_normal_(self.weight.weight, std=0.01)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to the same."""
        gates: Tensor = self.weight(maps.mean((2, 3, 4))).sigmoid()  # (B, C)
        return gates[:, :, None, None, None] * maps


class Inception(nn.Module):
    """Four paths side by side, their channels joined."""

    def __init__(self, channels: int, widths: Widths, *, gated: bool) -> None:
        super().__init__()
        one, (reduced3, three), (reduced5, five), pooled = widths
        self.path1 = ConvNorm(channels, one)
        self.path2 = nn.Sequential(ConvNorm(channels, reduced3), Separable(reduced3, three))
        self.path3 = nn.Sequential(ConvNorm(channels, reduced5), Separable(reduced5, five))
        self.path4 = nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), ConvNorm(channels, pooled))
        out = (one, three, five, pooled)
        self.gates = nn.ModuleList(Gate(width) if gated else nn.Identity() for width in out)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, sum of the paths' widths, T, H, W)`."""
        paths = (self.path1, self.path2, self.path3, self.path4)
        return torch.cat(
            [gate(path(maps)) for path, gate in zip(paths, self.gates, strict=True)], dim=1
        )


class S3d(nn.Module):
    """A stem of three convolutions and nine Inception blocks.

    Args:
        num_classes: K.
        gated: S3D-G rather than S3D.
        frames: T of `clip_spec`.
        size: H and W of `clip_spec`, in pixels.
    """

    def __init__(self, num_classes: int, *, gated: bool, frames: int, size: int) -> None:
        super().__init__()
        self.conv1 = Separable(3, 64, side=7, stride=2)
        self.pool1 = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.conv2a = ConvNorm(64, 64)
        self.conv2b = Separable(64, 192)
        self.gate2 = Gate(192) if gated else nn.Identity()
        self.pool2 = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.stage3 = _stage(192, WIDTHS_3, gated)
        self.pool3 = nn.MaxPool3d(3, 2, 1)
        self.stage4 = _stage(480, WIDTHS_4, gated)
        self.pool4 = nn.MaxPool3d(2, 2)
        self.stage5 = _stage(832, WIDTHS_5, gated)
        self.windows = WindowMean((2, 7, 7))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(1024, num_classes)
        self.clip_spec = ClipSpec(
            frames,
            frames_per_second=15.0,
            size=size,
            # torchvision squeezes all videos to 256 x 256; keeping the shape is kinder.
            resize_short=round(size * 8 / 7),
            mean=KINETICS_MEAN,
            std=KINETICS_STD,
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling, of 16 x 224 x 224: `(B, 1024, 2, 7, 7)`."""
        check_clip(clip, "S3D", least_frames=LEAST_FRAMES, least_size=LEAST_SIZE)
        maps = self.pool1(self.conv1(clip))  # (B, 64, T / 2, H / 4, W / 4)
        maps = self.gate2(self.conv2b(self.conv2a(maps)))
        maps = self.stage3(self.pool2(maps))  # (B, 480, T / 2, H / 8, W / 8)
        maps = self.stage4(self.pool3(maps))  # (B, 832, T / 4, H / 16, W / 16)
        result: Tensor = self.stage5(self.pool4(maps))  # (B, 1024, T / 8, H / 32, W / 32)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; T from 5 on, H and W from
                17 on.

        Returns:
            `(B, K)` logits.
        """
        maps = self.forward_features(clip)
        # The classifier is linear: its answer to the mean over windows is the mean of its answers.
        pooled = self.windows(maps).mean((2, 3, 4))  # (B, 1024)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def _stage(channels: int, blocks: tuple[Widths, ...], gated: bool) -> nn.Sequential:
    stage = nn.Sequential()
    for widths in blocks:
        stage.append(Inception(channels, widths, gated=gated))
        one, (_, three), (_, five), pooled = widths
        channels = one + three + five + pooled
    return stage


def s3d(num_classes: int = 400, *, frames: int = 128, size: int = 224) -> S3d:
    """S3D of torchvision: 8.3 million parameters, 144 G for a clip of 128 x 224 x 224.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T from 5 on can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return S3d(num_classes, gated=False, frames=frames, size=size)


def s3d_g(num_classes: int = 400, *, frames: int = 64, size: int = 224) -> S3d:
    """S3D with gates: 9.5 million parameters, 72 G for a clip of 64 x 224 x 224.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T from 5 on can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return S3d(num_classes, gated=True, frames=frames, size=size)


WEIGHTS = {
    "kinetics400": Weights(
        url="https://download.pytorch.org/models/s3d-d76dad2f.pth",
        sha256_prefix="d76dad2f",
        megabytes=31.972,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="BSD-3-Clause (torchvision)",
        accuracy={"top1": 68.368, "top5": 88.050},
        protocol="clip level, 1 clip of 128 frames at 15 fps, 1 crop of 224 from 256 x 256",
        layout="torchvision",
    )
}


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename the entries of torchvision's `s3d`, whose classifier is a 1 x 1 x 1 convolution."""
    stages = [(5, "stage3.0"), (6, "stage3.1"), *((8 + i, f"stage4.{i}") for i in range(5))]
    stages += [(14, "stage5.0"), (15, "stage5.1")]
    names = {0: "conv1", 2: "conv2a", 3: "conv2b"} | dict(stages)
    rules = (
        (r"^classifier\.1\.", "head."),
        # The last two numbers of a Separable's entries: which convolution; it or its norm.
        (r"^(features\.[03])\.0\.", r"\1.space."),
        (r"^(features\.[03])\.1\.", r"\1.time."),
        (r"\.branch([12])\.1\.0\.", r".branch\1.1.space."),
        (r"\.branch([12])\.1\.1\.", r".branch\1.1.time."),
        (r"\.0\.(weight)$", r".conv.\1"),
        (r"\.1\.(weight|bias|running_mean|running_var|num_batches_tracked)$", r".norm.\1"),
        *((rf"\.branch{i}\.", f".path{i + 1}.") for i in range(4)),
        *((rf"^features\.{i}\.", f"{name}.") for i, name in names.items()),
    )
    renamed = rename(state, rules)
    renamed["head.weight"] = renamed["head.weight"].flatten(1)
    return renamed


LAYOUTS = {"torchvision": from_torchvision}

PAPER = "Xie et al., Rethinking Spatiotemporal Feature Learning, ECCV 2018"
MODELS = {
    "s3d": ModelRow(s3d, PAPER, 2018, "factorised", weights=WEIGHTS, layouts=LAYOUTS),
    "s3d_g": ModelRow(s3d_g, PAPER, 2018, "factorised", layouts=LAYOUTS),
}

PUBLISHED = (
    Published(
        "s3d",
        "torchvision",
        clip=(3, 16, 224, 224),
        parameters="8,320,048",
        multiply_adds="17.979 G",
    ),
)
