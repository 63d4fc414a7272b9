"""C3D: the VGG of 3D networks.

Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015,
arXiv:1412.0767.

Notable: 3 x 3 x 3 kernels and 2 x 2 x 2 pooling throughout; only the first pooling spares time.
Most people used it as an extractor of features (`c3d_video_features`). `c3d_depth` are the smaller
networks on which Sec. 3 looked for the best temporal depth of the kernels.
Differs from the authors' code: Caffe's pooling rounds up, so that its last one makes 4 x 4 of 7 x 7
with windows that begin at the first pixel. Every port of the released weights pads by one pixel on
both sides instead, and so does `c3d`; `c3d_depth` rounds up.
"""

import math
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["c3d", "c3d_depth", "c3d_video_features"]

# Of Sports-1M's frames, in 0..255; the released networks only subtract it.
MEAN, STD = (104 / 255, 117 / 255, 128 / 255), (1 / 255, 1 / 255, 1 / 255)


class C3d(nn.Module):
    """Eight convolutions, five poolings, two hidden layers of 4096 units; no batch norm."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1a = _conv(3, 64)
        self.conv2a = _conv(64, 128)
        self.conv3a = _conv(128, 256)
        self.conv3b = _conv(256, 256)
        self.conv4a = _conv(256, 512)
        self.conv4b = _conv(512, 512)
        self.conv5a = _conv(512, 512)
        self.conv5b = _conv(512, 512)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.pool2 = nn.MaxPool3d(2)
        self.pool3 = nn.MaxPool3d(2)
        self.pool4 = nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6 = nn.Linear(512 * 1 * 4 * 4, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.head = nn.Linear(4096, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.clip_spec = ClipSpec(
            16, stride_frames=1, size=112, resize_short=128, mean=MEAN, std=STD
        )
        _start_as_the_authors(self)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the hidden layers: `(B, 512, 1, 4, 4)`."""
        check_clip(clip, "C3D", frames=16, size=112)
        maps = self.pool1(self.relu(self.conv1a(clip)))  # (B, 64, 16, 56, 56)
        maps = self.pool2(self.relu(self.conv2a(maps)))  # (B, 128, 8, 28, 28)
        maps = self.relu(self.conv3a(maps))
        maps = self.pool3(self.relu(self.conv3b(maps)))  # (B, 256, 4, 14, 14)
        maps = self.relu(self.conv4a(maps))
        maps = self.pool4(self.relu(self.conv4b(maps)))  # (B, 512, 2, 7, 7)
        maps = self.relu(self.conv5a(maps))
        result: Tensor = self.pool5(self.relu(self.conv5b(maps)))  # (B, 512, 1, 4, 4)
        return result

    def fc6_features(self, clip: Tensor) -> Tensor:
        """The paper's feature of a clip: `(B, 4096)`, after fc6 and its ReLU, as from Caffe."""
        maps = self.forward_features(clip).flatten(1)  # (B, 8192)
        features: Tensor = self.relu(self.fc6(maps))
        return features

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, 16, 112, 112)`, normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        hidden = self.dropout(self.fc6_features(clip))  # (B, 4096)
        hidden = self.dropout(self.relu(self.fc7(hidden)))
        logits: Tensor = self.head(hidden)
        return logits


Depths = Literal["1", "3", "5", "7", "increasing", "decreasing"]
DEPTHS: dict[Depths, tuple[int, ...]] = {  # frames that the kernels of the five layers span
    "1": (1, 1, 1, 1, 1),
    "3": (3, 3, 3, 3, 3),
    "5": (5, 5, 5, 5, 5),
    "7": (7, 7, 7, 7, 7),
    "increasing": (3, 3, 5, 5, 7),
    "decreasing": (7, 5, 5, 3, 3),
}


class C3dDepth(nn.Module):
    """Five convolutions and poolings, two hidden layers of 2048 units; see `c3d_depth`."""

    def __init__(self, num_classes: int, *, depths: Depths, size: int) -> None:
        super().__init__()
        if depths not in DEPTHS:
            raise ValueError(f"depths is one of {', '.join(DEPTHS)}, not {depths!r}.")
        one, two, three, four, five = DEPTHS[depths]
        self.conv1a = _conv(3, 64, one)
        self.conv2a = _conv(64, 128, two)
        self.conv3a = _conv(128, 256, three)
        self.conv4a = _conv(256, 256, four)
        self.conv5a = _conv(256, 256, five)
        self.pool1 = nn.MaxPool3d((1, 2, 2), ceil_mode=True)
        self.pool2 = nn.MaxPool3d(2, ceil_mode=True)
        self.pool3 = nn.MaxPool3d(2, ceil_mode=True)
        self.pool4 = nn.MaxPool3d(2, ceil_mode=True)
        self.pool5 = nn.MaxPool3d(2, ceil_mode=True)
        last = math.ceil(size / 32)
        self.fc6 = nn.Linear(256 * 1 * last * last, 2048)
        self.fc7 = nn.Linear(2048, 2048)
        self.head = nn.Linear(2048, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.size = size
        margin = round(size * 128 / 112)
        self.clip_spec = ClipSpec(
            16, stride_frames=1, size=size, resize_short=margin, mean=MEAN, std=STD
        )
        _start_as_the_authors(self)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the hidden layers: `(B, 256, 1, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "C3D", frames=16, size=self.size)
        maps = self.pool1(self.relu(self.conv1a(clip)))  # (B, 64, 16, H / 2, W / 2)
        maps = self.pool2(self.relu(self.conv2a(maps)))  # (B, 128, 8, H / 4, W / 4)
        maps = self.pool3(self.relu(self.conv3a(maps)))  # (B, 256, 4, H / 8, W / 8)
        maps = self.pool4(self.relu(self.conv4a(maps)))  # (B, 256, 2, H / 16, W / 16)
        result: Tensor = self.pool5(self.relu(self.conv5a(maps)))
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, 16, H, W)` of the size the model was built for, normalised as
                `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        hidden = self.forward_features(clip).flatten(1)
        hidden = self.dropout(self.relu(self.fc6(hidden)))  # (B, 2048)
        hidden = self.dropout(self.relu(self.fc7(hidden)))
        logits: Tensor = self.head(hidden)
        return logits


def _conv(channels: int, width: int, depth: int = 3) -> nn.Conv3d:
    return nn.Conv3d(channels, width, (depth, 3, 3), padding=(depth // 2, 1, 1))


def _start_as_the_authors(model: nn.Module) -> None:
    """Their weights for pixels in 0..255; with those of others the first loss is 40 and more."""
    for name, layer in model.named_children():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.005 if name in ("fc6", "fc7") else 0.01)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, 0.0 if name in ("conv1a", "head") else 1.0)


def c3d(num_classes: int = 487) -> C3d:
    """C3D: 78 million parameters and the classifier, 38.5 G multiply-adds for its only clip size.

    Args:
        num_classes: K; Sports-1M has 487.
    """
    return C3d(num_classes)


def c3d_depth(num_classes: int = 101, *, depths: Depths = "3", size: int = 112) -> C3dDepth:
    """The networks of the paper's search for the temporal depth of kernels (Sec. 3); 3 won.

    Args:
        num_classes: K; UCF101 has 101.
        depths: how many frames the kernels span: "1" (no time until the second pooling), "3", "5"
            or "7" in all five layers, "increasing" 3-3-5-5-7 or "decreasing" 7-5-5-3-3.
        size: H and W, in pixels.
    """
    return C3dDepth(num_classes, depths=depths, size=size)


def c3d_video_features(model: C3d, clips: Tensor) -> Tensor:
    """The descriptor of a video (Sec. 4): the mean of its clips' fc6 features, of length one.

    The paper's clips are 16 frames long and overlap by 8:
    `dense_windows(timestamps, model.clip_spec, hop_frames=8)`. A linear SVM on them reaches 82.3 %
    on UCF101; 85.2 % on those of three networks, side by side.

    Args:
        model: in eval mode.
        clips: `(V, 3, 16, 112, 112)`, all clips of one video, normalised as `model.clip_spec` says.

    Returns:
        `(4096,)`.

    Raises:
        ValueError: there is no clip.
    """
    if len(clips) == 0:
        raise ValueError(
            f"C3D's features of a video need at least one clip, got {tuple(clips.shape)}."
        )
    return functional.normalize(model.fc6_features(clips).mean(dim=0), dim=0)


WEIGHTS = {
    "ucf101": Weights(
        url=(
            "https://download.openmmlab.com/mmaction/v1.0/recognition/c3d/"
            "c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb/"
            "c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb_20220811-31723200.pth"
        ),
        sha256_prefix="31723200",
        trained_on="Sports-1M, then UCF101 split 1",
        num_classes=101,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": 83.08, "top5": 95.93},
        protocol="video level, 10 clips of 16 consecutive frames, centre crop of 112 from 128",
        layout="mmaction2",
    ),
    "sports1m": Weights(
        url="http://imagelab.ing.unimore.it/files/c3d_pytorch/c3d.pickle",
        sha256_prefix=None,
        trained_on="I380K, then Sports-1M: the authors' Caffe model, ported",
        num_classes=487,
        licence="MIT (c3d-pytorch); the authors state none for the Caffe model",
        accuracy={"top1": 61.1, "top5": 85.2},
        protocol="of the Caffe model, video level, 10 random clips of 16 frames, centre crop",
        layout="caffe_port_bgr",
        # The authors subtract a mean clip; this is its mean colour.
        mean=(101.41 / 255, 97.66 / 255, 90.25 / 255),
        std=STD,
    ),
    "sports1m_mmaction2_backbone": Weights(
        url=(
            "https://download.openmmlab.com/mmaction/recognition/c3d/"
            "c3d_sports1m_pretrain_20201016-dcc47ddc.pth"
        ),
        sha256_prefix="dcc47ddc",
        trained_on="Sports-1M; mmaction2 starts from it and leaves the classifier out",
        num_classes=487,
        licence="Apache-2.0 (mmaction2)",
        layout="mmaction2_backbone",
    ),
}


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of mmaction2's C3D recogniser."""
    rules = (
        (r"^backbone\.", ""),
        (r"^(conv\d\w)\.conv\.", r"\1."),
        (r"^cls_head\.fc_cls\.", "head."),
    )
    return rename(state, rules)


def from_mmaction2_backbone(state: State, model: nn.Module) -> State:
    """Rename the entries of mmaction2's C3D without a classifier; the model keeps its own."""
    if "conv1a.conv.weight" not in state:  # another file without a classifier is incomplete
        return state
    head = model.get_submodule("head").state_dict()
    own_head = {f"head.{name}": value for name, value in head.items()}
    backbone = from_mmaction2(state, model)
    return own_head | {key: value for key, value in backbone.items() if not key.startswith("fc8.")}


def from_caffe_port(state: State, model: nn.Module) -> State:
    """Rename the entries of the port of the Caffe model at github.com/DavideA/c3d-pytorch.

    The result wants its colours as that port does: blue, green, red.
    """
    return rename(state, ((r"^conv([12])\.", r"conv\1a."), (r"^fc8\.", "head.")))


def from_caffe_port_bgr(state: State, model: nn.Module) -> State:
    """The same, for clips whose colours are red, green, blue, as everywhere here."""
    renamed = from_caffe_port(state, model)
    return renamed | {"conv1a.weight": renamed["conv1a.weight"].flip(1)}


def from_jfzhang95(state: State, model: nn.Module) -> State:
    """Rename the entries of github.com/jfzhang95/pytorch-video-recognition.

    Its networks have the names of `caffe_port`, the Caffe weights they start from have numbers.
    Both want their colours blue, green, red.
    """
    layers = ("1a", "2a", "3a", "3b", "4a", "4b", "5a", "5b")
    numbers = (0, 3, 6, 8, 11, 13, 16, 18)
    rules = [
        (rf"^features\.{number}\.", f"conv{layer}.")
        for number, layer in zip(numbers, layers, strict=True)
    ]
    rules += [
        (rf"^classifier\.{n}\.", name) for n, name in ((0, "fc6."), (3, "fc7."), (6, "head."))
    ]
    return from_caffe_port(rename(state, rules), model)


LAYOUTS = {
    "mmaction2": from_mmaction2,
    "mmaction2_backbone": from_mmaction2_backbone,
    "caffe_port": from_caffe_port,
    "caffe_port_bgr": from_caffe_port_bgr,
    "jfzhang95": from_jfzhang95,
}

PAPER = "Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks, ICCV 2015"
MODELS = {
    "c3d": ModelRow(c3d, PAPER, 2015, "3d", weights=WEIGHTS, layouts=LAYOUTS),
    "c3d_depth": ModelRow(c3d_depth, PAPER, 2015, "3d"),
}

_LECTURE = "EECS 498 lecture 18, 2020, table of C3D"
_SEARCH = "C3D paper, sec. 3.1: 17.5 million in each, at most 51 K apart"
_FORGOTTEN = (
    "two frames deeper are 17,280 weights (2 x 3 x 3 x 960 filters) for each channel that comes "
    "in; the paper counts them once"
)
PUBLISHED = (
    Published(
        "c3d",
        "MMAction2's model zoo",
        options={"num_classes": 101},
        parameters="78,409,573",
        multiply_adds="38.5 G",
    ),
    Published(
        "c3d",
        "I3D paper, table 1",
        options={"num_classes": 400},
        parameters="79 M",
        erratum="79.6 is cut off, not rounded",
    ),
    Published(
        "c3d",
        _LECTURE,
        sizes={
            "conv1a": (64, 16, 112, 112),
            "pool1": (64, 16, 56, 56),
            "conv2a": (128, 16, 56, 56),
            "pool2": (128, 8, 28, 28),
            "conv3a": (256, 8, 28, 28),
            "conv3b": (256, 8, 28, 28),
            "pool3": (256, 4, 14, 14),
            "conv4a": (512, 4, 14, 14),
            "conv4b": (512, 4, 14, 14),
            "pool4": (512, 2, 7, 7),
            "conv5a": (512, 2, 7, 7),
            "conv5b": (512, 2, 7, 7),
            "fc6": (4096,),
            "fc7": (4096,),
        },
        layer_multiply_adds={
            "conv1a": "1.04 G",
            "conv2a": "11.10 G",
            "conv3a": "5.55 G",
            "conv3b": "11.10 G",
            "conv4a": "2.77 G",
            "conv4b": "5.55 G",
            "conv5a": "0.69 G",
            "conv5b": "0.69 G",
        },
    ),
    Published(
        "c3d",
        _LECTURE,
        multiply_adds="39.5 G",
        layer_multiply_adds={"fc6": "0.51 G", "fc7": "0.45 G", "head": "0.05 G"},
        erratum="its rows of the hidden layers and the classifier are 27 times too large",
    ),
    Published(
        "c3d",
        _LECTURE,
        sizes={"pool5": (512, 1, 3, 3)},
        erratum="the released fc6 takes 512 x 4 x 4 numbers",
    ),
    Published(
        "c3d_depth",
        _SEARCH,
        options={"depths": "3"},
        parameters="17.5 M",
        erratum="17.44 is rounded up",
    ),
    *(
        Published(
            "c3d_depth",
            _SEARCH,
            options={"depths": depths},
            parameters="17.5 M",
            erratum=_FORGOTTEN,
        )
        for depths in get_args(Depths)
        if depths != "3"
    ),
)
