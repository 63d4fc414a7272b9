"""R3D: a residual network with 3 x 3 x 3 convolutions throughout.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018,
arXiv:1711.11248; the same idea in Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of
2D CNNs and ImageNet?", CVPR 2018, arXiv:1711.09577.

Notable: no max pooling; time is halved where space is halved, from the second stage on.
Differs from Hara's: the stem's kernel spans 3 frames, not 7, and keeps time whole, as in the
released torchvision weights.
"""

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.conv_norm import ConvNorm, Triple
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import KINETICS_MEAN, KINETICS_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["r3d_18"]


class Residual(nn.Module):
    """Two convolutions of one kernel and a shortcut around them."""

    def __init__(self, channels: int, width: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, width, kernel, stride)
        self.conv2 = ConvNorm(width, width, kernel)
        changes = stride != (1, 1, 1) or channels != width
        self.shortcut = ConvNorm(channels, width, (1, 1, 1), stride) if changes else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, width, T, H, W)`, divided by the stride."""
        out = self.conv2(self.relu(self.conv1(maps)))
        result: Tensor = self.relu(out + self.shortcut(maps))
        return result


class R3d(nn.Module):
    """A stem and four stages of residual blocks, 64 to 512 channels wide."""

    def __init__(
        self, num_classes: int, blocks: tuple[int, int, int, int], *, frames: int, size: int
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, (3, 7, 7), (1, 2, 2))
        self.relu = nn.ReLU(inplace=True)
        self.stage1 = stage(64, 64, blocks[0], (3, 3, 3), (1, 1, 1))
        self.stage2 = stage(64, 128, blocks[1], (3, 3, 3), (2, 2, 2))
        self.stage3 = stage(128, 256, blocks[2], (3, 3, 3), (2, 2, 2))
        self.stage4 = stage(256, 512, blocks[3], (3, 3, 3), (2, 2, 2))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(512, num_classes)
        self.clip_spec = ClipSpec(
            frames,
            frames_per_second=15.0,
            size=size,
            # torchvision squeezes videos to 128 x 171 whatever their shape; keeping the shape is
            # the same for 4:3, and kinder to all others.
            resize_short=round(size * 8 / 7),
            mean=KINETICS_MEAN,
            std=KINETICS_STD,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 512, T / 8, H / 16, W / 16)`, rounded up."""
        check_clip(clip, "R3D")
        maps = self.relu(self.stem(clip))  # (B, 64, T, H / 2, W / 2)
        maps = self.stage1(maps)
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


def stage(channels: int, width: int, blocks: int, kernel: Triple, stride: Triple) -> nn.Sequential:
    """Residual blocks in a row, the first with the stride; here, and in MC3."""
    rest = [Residual(width, width, kernel, (1, 1, 1)) for _ in range(blocks - 1)]
    return nn.Sequential(Residual(channels, width, kernel, stride), *rest)


def r3d_18(num_classes: int = 400, *, frames: int = 16, size: int = 112) -> R3d:
    """R3D-18: 33.4 million parameters, 40.7 G multiply-adds for a clip of 16 x 112 x 112.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return R3d(num_classes, (2, 2, 2, 2), frames=frames, size=size)


WEIGHTS = {
    "kinetics400": Weights(
        url="https://download.pytorch.org/models/r3d_18-b3b3357e.pth",
        sha256_prefix="b3b3357e",
        megabytes=127.359,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="BSD-3-Clause (torchvision)",
        accuracy={"top1": 63.200, "top5": 83.479},
        protocol="video level, 5 clips of 16 frames at 15 fps, 1 crop of 112 from 128 x 171",
        layout="torchvision",
    )
}


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename the entries of torchvision's `r3d_18` or `mc3_18`."""
    rules = (
        (r"^stem\.0\.", "stem.conv."),
        (r"^stem\.1\.", "stem.norm."),
        (r"^layer(\d)\.", r"stage\1."),
        (r"\.conv(\d)\.0\.", r".conv\1.conv."),
        (r"\.conv(\d)\.1\.", r".conv\1.norm."),
        (r"\.downsample\.0\.", ".shortcut.conv."),
        (r"\.downsample\.1\.", ".shortcut.norm."),
        (r"^fc\.", "head."),
    )
    return rename(state, rules)


LAYOUTS = {"torchvision": from_torchvision}

PAPER = "Tran et al., A Closer Look at Spatiotemporal Convolutions, CVPR 2018"
MODELS = {
    "r3d_18": ModelRow(r3d_18, PAPER, 2018, "3d", weights=WEIGHTS, layouts=LAYOUTS),
}

PUBLISHED = (Published("r3d_18", "torchvision", parameters="33,371,472", multiply_adds="40.697 G"),)
