"""LTC: long-term temporal convolutions, small pictures and many frames.

Varol, Laptev and Schmid, "Long-term Temporal Convolutions for Action Recognition", TPAMI 2018,
arXiv:1604.04494.

Notable: five convolutions of 3 x 3 x 3, as in C3D's search for its architecture, but 60 or 100
frames of 58 or 71 pixels where C3D sees 16 of 112; the hidden layer grows with time instead of with
space. Optical flow as input learns from nothing and does better than colours.
Differs from the authors' code: they subtract the mean of each flow field while they load it, which
takes away most of the camera's motion; `forward` takes flow as it comes. Weights start from He's
initialisation. The authors' published RGB networks are C3D on longer clips, saved by Lua Torch,
whose files nothing here reads.
"""

from typing import Literal

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import CHANNELS, ClipSpec

__all__ = ["ltc", "ltc_flow"]


class Ltc(nn.Module):
    """Five convolutions and poolings, two hidden layers of 2048 units.

    Args:
        num_classes: K.
        stream: "rgb" or "flow".
        frames: T, at least 16.
        size: H and W in pixels, at least 32.
        dropout: of the hidden layers.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        stream: Literal["rgb", "flow"],
        frames: int,
        size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if frames < 16 or size < 32:
            raise ValueError(
                f"LTC halves time 4 times and space 5 times, so it needs at least frames=16 and "
                f"size=32, got frames={frames} and size={size}."
            )
        channels = CHANNELS[stream]
        self.conv1 = _conv(channels, 64)
        self.conv2 = _conv(64, 128)
        self.conv3 = _conv(128, 256)
        self.conv4 = _conv(256, 256)
        self.conv5 = _conv(256, 256)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.pool2 = nn.MaxPool3d(2)
        self.pool3 = nn.MaxPool3d(2)
        self.pool4 = nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2)
        self.fc6 = nn.Linear(256 * (frames // 16) * (size // 32) ** 2, 2048)
        self.fc7 = nn.Linear(2048, 2048)
        self.head = nn.Linear(2048, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=1,
            size=size,
            resize_short=round(size * 67 / 58),  # the authors': 67, 81 and 128
            mean=(0.0,) * channels,  # colours stay in [0, 1], flow in pixels
            std=(1.0,) * channels,
            inputs=(stream,),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the hidden layers: `(B, 256, T / 16, H / 32, W / 32)`, rounded down."""
        spec = self.clip_spec
        channels = CHANNELS[spec.inputs[0]]
        check_clip(clip, "LTC", channels=channels, frames=spec.frames, size=spec.size)
        maps = self.pool1(self.relu(self.conv1(clip)))  # (B, 64, T, H / 2, W / 2)
        maps = self.pool2(self.relu(self.conv2(maps)))  # (B, 128, T / 2, H / 4, W / 4)
        maps = self.pool3(self.relu(self.conv3(maps)))  # (B, 256, T / 4, H / 8, W / 8)
        maps = self.pool4(self.relu(self.conv4(maps)))  # (B, 256, T / 8, H / 16, W / 16)
        result: Tensor = self.pool5(self.relu(self.conv5(maps)))
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)` colours or `(B, 2, T, H, W)` optical flow, of the T, H and W
                the model was built for, normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        hidden = self.forward_features(clip).flatten(1)
        hidden = self.dropout(self.relu(self.fc6(hidden)))  # (B, 2048)
        hidden = self.dropout(self.relu(self.fc7(hidden)))
        logits: Tensor = self.head(hidden)
        return logits


def _conv(channels: int, width: int) -> nn.Conv3d:
    conv = nn.Conv3d(channels, width, kernel_size=3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def ltc(num_classes: int = 101, *, frames: int = 100, size: int = 58, dropout: float = 0.5) -> Ltc:
    """LTC on colours, trained from nothing.

    Args:
        num_classes: K; UCF101 has 101.
        frames: T; 20, 40, 60, 80 or 100 in the paper, 16 to compare with C3D.
        size: H and W in pixels; 58 or 71 in the paper, 112 to compare with C3D.
        dropout: of the hidden layers.
    """
    return Ltc(num_classes, stream="rgb", frames=frames, size=size, dropout=dropout)


def ltc_flow(
    num_classes: int = 101, *, frames: int = 100, size: int = 58, dropout: float = 0.9
) -> Ltc:
    """LTC on optical flow.

    Args:
        num_classes: K; UCF101 has 101.
        frames: T; 20, 40, 60, 80 or 100 in the paper, 16 to compare with C3D.
        size: H and W in pixels; 58 or 71 in the paper, 112 to compare with C3D.
        dropout: of the hidden layers; the authors' code has 0.9, and 0.5 for 71 pixels.
    """
    return Ltc(num_classes, stream="flow", frames=frames, size=size, dropout=dropout)


PAPER = "Varol et al., Long-term Temporal Convolutions for Action Recognition, TPAMI 2018"
MODELS = {
    "ltc": ModelRow(ltc, PAPER, 2018, "3d"),
    "ltc_flow": ModelRow(ltc_flow, PAPER, 2018, "3d", inputs=("flow",)),
}
PUBLISHED = tuple(
    Published(
        "ltc_flow",
        "the authors' code, models/ltc.lua",
        options={"frames": frames, "size": size},
        sizes={"pool5": pooled},
    )
    for frames, size, pooled in (
        (100, 58, (256, 6, 1, 1)),
        (100, 71, (256, 6, 2, 2)),
        (60, 58, (256, 3, 1, 1)),
        (16, 112, (256, 1, 3, 3)),
    )
)
