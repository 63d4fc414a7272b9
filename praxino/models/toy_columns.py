"""Late fusion, early fusion and 3D CNN at their smallest, to be compared line by line.

After lecture 18 of EECS 498/598, "Deep Learning for Computer Vision" (Johnson, University of
Michigan, 2020), which puts the three in one table: two convolutions and a pooling each, for a clip
of 20 x 64 x 64. `praxino models` prints that table.

Notable: the three differ only in where time goes. Late fusion keeps the frames apart until the
average, early fusion joins them in the first kernel, the 3D CNN widens its view layer by layer.
Differs from the lecture: its table gives early fusion's first kernel 3 x 10 channels; a clip of 20
frames has 3 x 20.
"""

from einops import rearrange
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec

__all__ = ["toy_3d", "toy_early_fusion", "toy_late_fusion"]

FRAMES, SIZE = 20, 64
_SPEC = ClipSpec(FRAMES, size=SIZE, resize_short=72)


class ToyLateFusion(nn.Module):
    """2D convolutions on every frame; time disappears in the average at the end."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, kernel_size=3, padding=1)
        self.pool1 = nn.MaxPool2d(4)
        self.conv2 = nn.Conv2d(12, 24, kernel_size=3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(24, num_classes)
        self.clip_spec = _SPEC

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the average: `(B, 24, T, H / 4, W / 4)`."""
        check_clip(clip, "Toy late fusion", least_size=4)
        frames = rearrange(clip, "b c t h w -> (b t) c h w")
        maps = self.pool1(self.relu(self.conv1(frames)))  # (B * T, 12, H / 4, W / 4)
        maps = self.relu(self.conv2(maps))
        return rearrange(maps, "(b t) c h w -> b c t h w", b=len(clip))

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips `(B, 3, T, H, W)`; returns `(B, K)` logits."""
        logits: Tensor = self.head(self.pool(self.forward_features(clip)).flatten(1))
        return logits


class ToyEarlyFusion(nn.Module):
    """The first convolution sees all frames as channels; the rest is a 2D network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3 * FRAMES, 12, kernel_size=3, padding=1)
        self.pool1 = nn.MaxPool2d(4)
        self.conv2 = nn.Conv2d(12, 24, kernel_size=3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(24, num_classes)
        self.clip_spec = _SPEC

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the average: `(B, 24, 1, H / 4, W / 4)`; time is gone."""
        check_clip(clip, "Toy early fusion", frames=FRAMES, least_size=4)
        image = rearrange(clip, "b c t h w -> b (t c) h w")
        maps = self.pool1(self.relu(self.conv1(image)))  # (B, 12, H / 4, W / 4)
        maps = self.relu(self.conv2(maps))
        return maps.unsqueeze(2)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips `(B, 3, 20, H, W)`; returns `(B, K)` logits."""
        maps = self.forward_features(clip).squeeze(2)
        logits: Tensor = self.head(self.pool(maps).flatten(1))
        return logits


class Toy3d(nn.Module):
    """3D convolutions and pooling: time shrinks as slowly as space."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 12, kernel_size=3, padding=1)
        self.pool1 = nn.MaxPool3d(4)
        self.conv2 = nn.Conv3d(12, 24, kernel_size=3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(24, num_classes)
        self.clip_spec = _SPEC

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the average: `(B, 24, T / 4, H / 4, W / 4)`."""
        check_clip(clip, "The toy 3D CNN", least_frames=4, least_size=4)
        maps = self.pool1(self.relu(self.conv1(clip)))  # (B, 12, T / 4, H / 4, W / 4)
        result: Tensor = self.relu(self.conv2(maps))
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips `(B, 3, T, H, W)`; returns `(B, K)` logits."""
        logits: Tensor = self.head(self.pool(self.forward_features(clip)).flatten(1))
        return logits


def toy_late_fusion(num_classes: int = 10) -> ToyLateFusion:
    """The lecture's late fusion column: 2952 parameters and the classifier."""
    return ToyLateFusion(num_classes)


def toy_early_fusion(num_classes: int = 10) -> ToyEarlyFusion:
    """The lecture's early fusion column: 9108 parameters and the classifier."""
    return ToyEarlyFusion(num_classes)


def toy_3d(num_classes: int = 10) -> Toy3d:
    """The lecture's 3D CNN column: 8784 parameters and the classifier."""
    return Toy3d(num_classes)


PAPER = "Johnson, EECS 498 lecture 18: Videos, 2020"
MODELS = {
    "toy_3d": ModelRow(toy_3d, PAPER, 2020, "teaching"),
    "toy_early_fusion": ModelRow(toy_early_fusion, PAPER, 2020, "teaching"),
    "toy_late_fusion": ModelRow(toy_late_fusion, PAPER, 2020, "teaching"),
}

_LECTURE = "EECS 498 lecture 18, 2020, the table of three columns"
PUBLISHED = (
    Published(
        "toy_late_fusion",
        _LECTURE,
        sizes={
            "input": (3, 20, 64, 64),
            "conv1": (12, 20, 64, 64),
            "pool1": (12, 20, 16, 16),
            "conv2": (24, 20, 16, 16),
            "pool": (24, 1, 1, 1),
        },
        receptive_fields={
            "conv1": (1, 3, 3),
            "pool1": (1, 6, 6),
            "conv2": (1, 14, 14),
            "pool": (20, 64, 64),
        },
    ),
    Published(
        "toy_early_fusion",
        _LECTURE,
        sizes={
            "input": (3, 20, 64, 64),
            "conv1": (12, 64, 64),
            "pool1": (12, 16, 16),
            "conv2": (24, 16, 16),
            "pool": (24, 1, 1),
        },
        receptive_fields={
            "conv1": (20, 3, 3),
            "pool1": (20, 6, 6),
            "conv2": (20, 14, 14),
            "pool": (20, 64, 64),
        },
    ),
    Published(
        "toy_early_fusion",
        f"{_LECTURE}: Conv2D(3x3, 3*10->12)",
        layer_multiply_adds={"conv1": "13.3 M"},  # 3 * 10 * 3 * 3 * 12 at each of 64 x 64
        erratum="20 frames have 3 x 20 channels, not 3 x 10",
    ),
    Published(
        "toy_3d",
        _LECTURE,
        sizes={
            "input": (3, 20, 64, 64),
            "conv1": (12, 20, 64, 64),
            "pool1": (12, 5, 16, 16),
            "conv2": (24, 5, 16, 16),
        },
        receptive_fields={
            "conv1": (3, 3, 3),
            "pool1": (6, 6, 6),
            "conv2": (14, 14, 14),
            "pool": (20, 64, 64),
        },
    ),
    Published(
        "toy_3d",
        _LECTURE,
        sizes={"pool": (24, 1, 1)},
        erratum="the average of a 3D network's map is 24 x 1 x 1 x 1: the T is left out",
    ),
)
