"""MC3: 3D convolutions in the lower half of a residual network, 2D ones in the upper.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018,
arXiv:1711.11248, Sec. 3.3.

Notable: motion is looked for where maps are large and channels few, so that a third of R3D's
parameters do. Time is never shortened: the last map has as many frames as the clip.
Differs from the paper: nothing known; it answers as torchvision's network does.
"""

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.conv_norm import ConvNorm
from praxino.models.r3d import LAYOUTS, PAPER, stage
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import KINETICS_MEAN, KINETICS_STD, ClipSpec
from praxino.weights.published import Weights

__all__ = ["mc3_18"]


class Mc3(nn.Module):
    """A stem and a stage that look at time, three stages that look at each frame by itself."""

    def __init__(self, num_classes: int, *, frames: int, size: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, (3, 7, 7), (1, 2, 2))
        self.relu = nn.ReLU(inplace=True)
        self.stage1 = stage(64, 64, 2, (3, 3, 3), (1, 1, 1))
        self.stage2 = stage(64, 128, 2, (1, 3, 3), (1, 2, 2))
        self.stage3 = stage(128, 256, 2, (1, 3, 3), (1, 2, 2))
        self.stage4 = stage(256, 512, 2, (1, 3, 3), (1, 2, 2))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(512, num_classes)
        self.clip_spec = ClipSpec(
            frames,
            frames_per_second=15.0,
            size=size,
            resize_short=round(size * 8 / 7),  # torchvision squeezes all videos to 128 x 171
            mean=KINETICS_MEAN,
            std=KINETICS_STD,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 512, T, H / 16, W / 16)`, rounded up."""
        check_clip(clip, "MC3")
        maps = self.relu(self.stem(clip))  # (B, 64, T, H / 2, W / 2)
        maps = self.stage1(maps)
        maps = self.stage2(maps)  # (B, 128, T, H / 4, W / 4)
        maps = self.stage3(maps)  # (B, 256, T, H / 8, W / 8)
        result: Tensor = self.stage4(maps)  # (B, 512, T, H / 16, W / 16)
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


def mc3_18(num_classes: int = 400, *, frames: int = 16, size: int = 112) -> Mc3:
    """MC3-18: 11.7 million parameters, 43.3 G multiply-adds for a clip of 16 x 112 x 112.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return Mc3(num_classes, frames=frames, size=size)


WEIGHTS = {
    "kinetics400": Weights(
        url="https://download.pytorch.org/models/mc3_18-a90a0ba3.pth",
        sha256_prefix="a90a0ba3",
        megabytes=44.672,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="BSD-3-Clause (torchvision)",
        accuracy={"top1": 63.960, "top5": 84.130},
        protocol="video level, 5 clips of 16 frames at 15 fps, 1 crop of 112 from 128 x 171",
        layout="torchvision",
    )
}


MODELS = {
    "mc3_18": ModelRow(mc3_18, PAPER, 2018, "factorised", weights=WEIGHTS, layouts=LAYOUTS),
}

PUBLISHED = (Published("mc3_18", "torchvision", parameters="11,695,440", multiply_adds="43.343 G"),)
