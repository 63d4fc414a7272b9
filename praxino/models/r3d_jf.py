"""R3D and R(2+1)D of github.com/jfzhang95/pytorch-video-recognition, for what was trained there.

The ideas are of Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action
Recognition", CVPR 2018, arXiv:1711.11248. The repository's networks are neither the paper's nor
torchvision's (`r3d.py`, `r2plus1d.py`), so its checkpoints fit neither.

Notable: each convolution brings a norm and a ReLU of its own, and the residual block adds a norm
behind every one of them: what is summed has been through a ReLU and then a norm.
Differs from the paper: that, and R(2+1)D's shortcuts are split in space and time as well.
The repository published no weights. It trains on OpenCV's frames, blue first: of its checkpoints,
flip the stem's weight along the second axis to feed red first.
"""

import re
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename

__all__ = ["r2plus1d_18_jf", "r2plus1d_34_jf", "r3d_18_jf", "r3d_34_jf"]

# It only subtracts a mean, from values in 0..255; here red first.
MEAN, STD = (102 / 255, 98 / 255, 90 / 255), (1 / 255, 1 / 255, 1 / 255)

Triple = tuple[int, int, int]
Unit = Callable[[int, int, Triple, Triple], nn.Module]  # channels, width, kernel, stride


class Conv(nn.Sequential):
    """A 3D convolution, its norm and ReLU."""

    def __init__(self, channels: int, width: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        t, h, w = kernel
        padding = (t // 2, h // 2, w // 2)
        self.conv = nn.Conv3d(channels, width, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)


class SplitConv(nn.Sequential):
    """A convolution in space and one in time, each with its norm and ReLU.

    Args:
        channels: into the first.
        width: out of the second.
        kernel: of the convolution that is split.
        stride: likewise.
        between: channels from the first to the second; None: as many as keep its parameters
            (Sec. 3.5).
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: Triple,
        stride: Triple,
        between: int | None = None,
    ) -> None:
        super().__init__()
        (t, h, w), (skip, down, across) = kernel, stride
        if between is None:
            between = t * h * w * channels * width // (h * w * channels + t * width)
        self.space = nn.Conv3d(
            channels, between, (1, h, w), (1, down, across), (0, h // 2, w // 2), bias=False
        )
        self.space_norm = nn.BatchNorm3d(between)
        self.space_relu = nn.ReLU(inplace=True)
        self.time = nn.Conv3d(between, width, (t, 1, 1), (skip, 1, 1), (t // 2, 0, 0), bias=False)
        self.norm = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)


class Residual(nn.Module):
    """Two convolutions and a shortcut around them, a norm behind each."""

    def __init__(self, unit: Unit, channels: int, width: int, stride: int) -> None:
        super().__init__()
        strides = (stride, stride, stride)
        self.conv1 = unit(channels, width, (3, 3, 3), strides)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = unit(width, width, (3, 3, 3), (1, 1, 1))
        self.norm2 = nn.BatchNorm3d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential()
            self.shortcut.conv = unit(channels, width, (1, 1, 1), strides)
            self.shortcut.norm = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, width, T, H, W)`, divided by the stride."""
        out = self.relu(self.norm1(self.conv1(maps)))
        out = self.norm2(self.conv2(out))
        result: Tensor = self.relu(out + self.shortcut(maps))
        return result


class R3dJf(nn.Module):
    """A stem and four stages of residual blocks, 64 to 512 channels wide.

    Args:
        num_classes: K.
        stem: from 3 to 64 channels, its ReLU included.
        unit: the convolution, whole or split.
        blocks: how many in each stage.
        frames: T of `clip_spec`.
        size: H and W of `clip_spec`, in pixels.
    """

    def __init__(
        self,
        num_classes: int,
        stem: nn.Module,
        unit: Unit,
        blocks: Sequence[int],
        *,
        frames: int,
        size: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stage1 = _stage(unit, 64, 64, blocks[0], stride=1)
        self.stage2 = _stage(unit, 64, 128, blocks[1], stride=2)
        self.stage3 = _stage(unit, 128, 256, blocks[2], stride=2)
        self.stage4 = _stage(unit, 256, 512, blocks[3], stride=2)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(512, num_classes)
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=4,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=MEAN,
            std=STD,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 512, T / 8, H / 16, W / 16)`, rounded up."""
        check_clip(clip, "R3D")
        maps = self.stage1(self.stem(clip))  # (B, 64, T, H / 2, W / 2)
        maps = self.stage2(maps)  # (B, 128, T / 2, H / 4, W / 4)
        maps = self.stage3(maps)  # (B, 256, T / 4, H / 8, W / 8)
        result: Tensor = self.stage4(maps)  # (B, 512, T / 8, H / 16, W / 16)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits.
        """
        pooled = self.pool(self.forward_features(clip)).flatten(1)  # (B, 512)
        logits: Tensor = self.head(pooled)
        return logits


def _stage(unit: Unit, channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Residual(unit, width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Residual(unit, channels, width, stride), *rest)


def _r3d(num_classes: int, blocks: Sequence[int], frames: int, size: int) -> R3dJf:
    stem = Conv(3, 64, (3, 7, 7), (1, 2, 2))
    return R3dJf(num_classes, stem, Conv, blocks, frames=frames, size=size)


def _r2plus1d(num_classes: int, blocks: Sequence[int], frames: int, size: int) -> R3dJf:
    # 45 as in the paper's own code; Sec. 3.5 would ask for 83.
    stem = SplitConv(3, 64, (3, 7, 7), (1, 2, 2), between=45)
    return R3dJf(num_classes, stem, SplitConv, blocks, frames=frames, size=size)


def r3d_18_jf(num_classes: int = 101, *, frames: int = 16, size: int = 112) -> R3dJf:
    """The repository's R3D, `(2, 2, 2, 2)`: 33.2 million parameters, 40.7 G for 16 x 112 x 112.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return _r3d(num_classes, (2, 2, 2, 2), frames, size)


def r3d_34_jf(num_classes: int = 101, *, frames: int = 16, size: int = 112) -> R3dJf:
    """The repository's R3D with ResNet-34's `(3, 4, 6, 3)` blocks.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return _r3d(num_classes, (3, 4, 6, 3), frames, size)


def r2plus1d_18_jf(num_classes: int = 101, *, frames: int = 16, size: int = 112) -> R3dJf:
    """The repository's R(2+1)D, `(2, 2, 2, 2)`: 33.2 million parameters, 41.5 G for 16 x 112 x 112.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return _r2plus1d(num_classes, (2, 2, 2, 2), frames, size)


def r2plus1d_34_jf(num_classes: int = 101, *, frames: int = 16, size: int = 112) -> R3dJf:
    """The repository's R(2+1)D with ResNet-34's `(3, 4, 6, 3)` blocks.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return _r2plus1d(num_classes, (3, 4, 6, 3), frames, size)


def from_jfzhang95(state: State, model: nn.Module) -> State:
    """Rename the entries of the repository's `R3DClassifier` or `R2Plus1DClassifier`."""

    def of_block(found: re.Match[str]) -> str:
        stage, after_first = int(found[1]) - 1, found[2]  # the first block is apart from the list
        return f"stage{stage}.{0 if after_first is None else int(after_first) + 1}."

    block = re.compile(r"^res(?:3d|2plus1d)\.conv([2-5])\.(?:block1|blocks\.(\d+))\.")
    state = {block.sub(of_block, name): value for name, value in state.items()}
    rules = (
        (r"^res(3d|2plus1d)\.conv1\.", "stem."),
        (r"^linear\.", "head."),
        (r"\.downsampleconv\.", ".shortcut.conv."),
        (r"\.downsamplebn\.", ".shortcut.norm."),
        (r"\.temporal_spatial_conv\.", ".conv."),
        (r"\.bn\.", ".norm."),
        (r"\.spatial_conv\.", ".space."),
        (r"\.temporal_conv\.", ".time."),
        # Inside a split convolution bn1 and bn2 are its own; else they are the block's.
        (r"^(stem|.*\.conv\d?)\.bn1\.", r"\1.space_norm."),
        (r"^(stem|.*\.conv\d?)\.bn2\.", r"\1.norm."),
        (r"\.bn(\d)\.", r".norm\1."),
    )
    return rename(state, rules)


LAYOUTS = {"jfzhang95": from_jfzhang95}

PAPER = "Tran et al., A Closer Look at Spatiotemporal Convolutions, CVPR 2018"
MODELS = {
    "r2plus1d_18_jf": ModelRow(r2plus1d_18_jf, PAPER, 2018, "factorised", layouts=LAYOUTS),
    "r2plus1d_34_jf": ModelRow(r2plus1d_34_jf, PAPER, 2018, "factorised", layouts=LAYOUTS),
    "r3d_18_jf": ModelRow(r3d_18_jf, PAPER, 2018, "3d", layouts=LAYOUTS),
    "r3d_34_jf": ModelRow(r3d_34_jf, PAPER, 2018, "3d", layouts=LAYOUTS),
}

PUBLISHED = (
    Published(
        "r3d_18_jf",
        "the repository's network, counted",
        parameters="33,227,557",
        multiply_adds="40.696 G",
    ),
    Published(
        "r2plus1d_18_jf",
        "the repository's network, counted",
        parameters="33,226,750",
        multiply_adds="41.525 G",
    ),
)
