"""Where time enters an AlexNet: single frame, early, late and slow fusion, and their average.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

Notable: one network, C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P-FC(4096)-
FC(4096), whose first three convolutions span 1 frame each (single frame, and the two towers of late
fusion), 10 frames at once (early fusion), or 4, 2 and 2 (slow fusion). The multiresolution networks
take in half the pixels: a fovea stream sees the centre, a context stream the whole at half size.
Tested on 20 clips of a video, each in 4 crops and flips, all class probabilities averaged. On
UCF101 slow fusion has 41.3 % from nothing, 65.4 % with its top three layers trained anew.
Differs from the paper: its sizes of maps (7 x 7 x 256 at the end) need pooling that rounds up, as
was usual then, and padding in all convolutions but the first; it leaves both unsaid. Weights start
as in Krizhevsky's network, from which the paper's is taken.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.models.single_frame import AverageProbabilities
from praxino.video.clip_spec import ClipSpec

__all__ = [
    "karpathy_average",
    "karpathy_early_fusion",
    "karpathy_late_fusion",
    "karpathy_single_frame",
    "slow_fusion",
]

MEAN, STD = (117 / 255,) * 3, (1 / 255,) * 3  # only subtracted, and the same from all colours
Reach = tuple[int, int]  # kernel and stride in frames


class Karpathy(nn.Module):
    """The paper's AlexNet, its first three convolutions extended in time.

    Args:
        num_classes: K.
        frames: T.
        stride_frames: the distance of the frames in the video.
        reach: kernel and stride, in frames, of the first three convolutions.
        multiresolution: fovea and context streams instead of one for the whole picture.
        hidden: units of the two hidden layers.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        frames: int,
        stride_frames: int,
        reach: tuple[Reach, Reach, Reach],
        multiresolution: bool = False,
        hidden: int = 4096,
    ) -> None:
        super().__init__()
        streams = ("fovea", "context") if multiresolution else ("whole",)
        self.streams = nn.ModuleDict({name: _stream(name, reach) for name in streams})
        left = frames
        for kernel, stride in reach:
            left = (left - kernel) // stride + 1
        self.fc6 = nn.Linear(len(streams) * 256 * left * 7 * 7, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=stride_frames,
            size=178 if multiresolution else 170,
            resize_short=200,
            mean=MEAN,
            std=STD,
        )
        _start_as_krizhevsky(self)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the hidden layers: `(B, 256, T', 7, 7)`, T' = 2 in late fusion, else 1.

        Of the multiresolution networks it is `(B, 512, T', 7, 7)`: the fovea's, then the context's.
        """
        spec = self.clip_spec
        check_clip(clip, "Karpathy's network", frames=spec.frames, size=spec.size)
        maps = [
            # The middle 89 of 178 pixels.
            stream(clip[..., 44:133, 44:133] if name == "fovea" else clip)
            for name, stream in self.streams.items()
        ]
        return torch.cat(maps, dim=1)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)` of the T, H and W of `self.clip_spec`, normalised as it says.

        Returns:
            `(B, K)` logits.
        """
        # Late fusion's towers meet here: the first hidden layer sees the maps of both frames.
        maps = self.forward_features(clip).flatten(1)
        hidden = self.dropout(self.relu(self.fc6(maps)))  # (B, 4096)
        hidden = self.dropout(self.relu(self.fc7(hidden)))
        logits: Tensor = self.head(hidden)
        return logits


def _stream(name: str, reach: tuple[Reach, Reach, Reach]) -> nn.Sequential:
    """The convolutions; sizes are for 170 pixels, and 89 pixels become 27, 14 and 7."""
    (k1, s1), (k2, s2), (k3, s3) = reach
    layers: dict[str, nn.Module] = {}
    if name == "context":
        layers["halve"] = nn.AvgPool3d((1, 2, 2))
    layers |= {
        "conv1": nn.Conv3d(3, 96, (k1, 11, 11), (s1, 3, 3)),  # 54 x 54
        "relu1": nn.ReLU(inplace=True),
        "norm1": _response_norm(),
        "pool1": nn.MaxPool3d((1, 2, 2), ceil_mode=True),  # 27 x 27
        "conv2": nn.Conv3d(96, 256, (k2, 5, 5), (s2, 1, 1), padding=(0, 2, 2)),
        "relu2": nn.ReLU(inplace=True),
        "norm2": _response_norm(),
        "pool2": nn.MaxPool3d((1, 2, 2), ceil_mode=True),  # 14 x 14
        "conv3": nn.Conv3d(256, 384, (k3, 3, 3), (s3, 1, 1), padding=(0, 1, 1)),
        "relu3": nn.ReLU(inplace=True),
        "conv4": nn.Conv3d(384, 384, (1, 3, 3), padding=(0, 1, 1)),
        "relu4": nn.ReLU(inplace=True),
        "conv5": nn.Conv3d(384, 256, (1, 3, 3), padding=(0, 1, 1)),
        "relu5": nn.ReLU(inplace=True),
    }
    if name == "whole":  # without it 89 pixels end in as large a map
        layers["pool5"] = nn.MaxPool3d((1, 2, 2), ceil_mode=True)  # 7 x 7
    return nn.Sequential(OrderedDict(layers))


def _start_as_krizhevsky(model: nn.Module) -> None:
    """For pixels in 0..255, with which other beginnings diverge."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            quiet = name.endswith(("conv1", "conv3", "head"))
            nn.init.constant_(layer.bias, 0.0 if quiet else 1.0)


def _response_norm() -> nn.LocalResponseNorm:
    # Krizhevsky's k and n, alpha = 1e-4, beta = 0.5; torch divides alpha by the size, he does not.
    return nn.LocalResponseNorm(size=5, alpha=5e-4, beta=0.5, k=2.0)


class KarpathyAverage(nn.Module):
    """The average of several of the networks; see `karpathy_average`."""

    def __init__(self, members: Sequence[Karpathy]) -> None:
        super().__init__()
        kinds = {(member.clip_spec.size, member.head.out_features) for member in members}
        if len(kinds) != 1:
            found = ", ".join(f"{classes} of {size} pixels" for size, classes in sorted(kinds))
            raise ValueError(
                "An average is of one or more networks for the same classes and size; got classes: "
                f"{found or 'none'}. Train its members on one data set, all full-frame or none."
            )
        size, _ = kinds.pop()
        self.members = nn.ModuleList(members)
        self.frames = [_middle(member.clip_spec) for member in members]  # that each of them sees
        self.average = AverageProbabilities()
        self.clip_spec = ClipSpec(
            16, stride_frames=1, size=size, resize_short=200, mean=MEAN, std=STD
        )

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, 16, H, W)` of the members' H and W, normalised as `self.clip_spec` says.
                Each member sees its frames of the middle; late fusion's are the first and the last.

        Returns:
            `(B, K)` logits; their softmax is the average of the members' probabilities.
        """
        check_clip(clip, "The average", frames=16, size=self.clip_spec.size)
        seen = zip(self.members, self.frames, strict=True)
        logits = [member(clip[:, :, frames]) for member, frames in seen]
        average: Tensor = self.average(torch.stack(logits, dim=1))  # of (B, members, K)
        return average


def _middle(spec: ClipSpec) -> list[int]:
    """The frames of a clip in the middle of 16 frames."""
    assert spec.stride_frames is not None
    reach = (spec.frames - 1) * spec.stride_frames
    start = (15 - reach) // 2
    return list(range(start, start + reach + 1, spec.stride_frames))


class Options(TypedDict, total=False):
    """What each of the networks can be asked for.

    Args:
        multiresolution: fovea and context streams; not by default.
        hidden: units of the two hidden layers; 4096 by default.
    """

    multiresolution: bool
    hidden: int


def karpathy_single_frame(num_classes: int = 487, **options: Unpack[Options]) -> Karpathy:
    """The paper's single-frame network; see `Options`.

    On Sports-1M 41.1 % of clips and 59.3 % of videos; 77.7 % of videos among its best five.
    """
    reach = ((1, 1), (1, 1), (1, 1))
    return Karpathy(num_classes, frames=1, stride_frames=1, reach=reach, **options)


def karpathy_early_fusion(num_classes: int = 487, **options: Unpack[Options]) -> Karpathy:
    """Early fusion: kernels of 11 x 11 x 10 in the first layer; see `Options`.

    On Sports-1M 38.9 % of clips and 57.7 % of videos; 76.8 % of videos among its best five.
    """
    reach = ((10, 1), (1, 1), (1, 1))
    return Karpathy(num_classes, frames=10, stride_frames=1, reach=reach, **options)


def karpathy_late_fusion(num_classes: int = 487, **options: Unpack[Options]) -> Karpathy:
    """Late fusion: one tower for two frames, 15 apart; see `Options`.

    On Sports-1M 40.7 % of clips and 59.3 % of videos; 78.7 % of videos among its best five.
    """
    reach = ((1, 1), (1, 1), (1, 1))
    return Karpathy(num_classes, frames=2, stride_frames=15, reach=reach, **options)


def slow_fusion(num_classes: int = 487, **options: Unpack[Options]) -> Karpathy:
    """Slow fusion: 10 frames become 4, 2 and 1; see `Options`.

    On Sports-1M 41.9 % of clips and 60.9 % of videos; 80.2 % of videos among its best five.
    """
    reach = ((4, 2), (2, 2), (2, 2))
    return Karpathy(num_classes, frames=10, stride_frames=1, reach=reach, **options)


def karpathy_average(members: Sequence[Karpathy]) -> KarpathyAverage:
    """The paper's "CNN average" of trained networks, one probability for each class.

    On Sports-1M 41.4 % of clips and 63.9 % of videos; 82.4 % of videos among its best five. It has
    no head of its own, and so is no line in the table of models.

    Args:
        members: in the paper single frame, early, late and slow fusion; all full-frame or all
            multiresolution, for the same classes.

    Raises:
        ValueError: no member, or members for different classes or sizes.
    """
    return KarpathyAverage(members)


PAPER = "Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014"
MODELS = {
    "karpathy_early_fusion": ModelRow(karpathy_early_fusion, PAPER, 2014, "fusion"),
    "karpathy_late_fusion": ModelRow(karpathy_late_fusion, PAPER, 2014, "fusion"),
    "karpathy_single_frame": ModelRow(karpathy_single_frame, PAPER, 2014, "frames"),
    "slow_fusion": ModelRow(slow_fusion, PAPER, 2014, "fusion"),
}
PUBLISHED = (
    Published(
        "karpathy_early_fusion",
        "Karpathy et al., sec. 3.1",
        receptive_fields={"streams.whole.conv1": (10, 11, 11)},
    ),
    Published(
        "slow_fusion",
        "Karpathy et al., sec. 3.1",
        sizes={"streams.whole.conv1": (96, 4, 54, 54)},
    ),
    *(
        Published(
            "karpathy_single_frame",
            "Karpathy et al., sec. 3.2: both streams end in 7 x 7 x 256",
            options={"multiresolution": True},
            sizes={f"streams.{stream}.conv5": (256, 1, 7, 7)},
        )
        for stream in ("fovea", "context")
    ),
)
