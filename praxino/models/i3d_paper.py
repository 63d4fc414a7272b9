"""The five networks that the I3D paper compares (figure 2, table 1), each as one model.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR
2017, arXiv:1705.07750, Sec. 2.

| | network | parameters | sees in training | in testing |
|---|---|---|---|---|
| a | `lstm_inception`: an LSTM over frames | 9 M | 5 s: 25 frames | 10 s |
| b | `c3d_i3d_paper`: 3D convolutions | 79 M | 0.64 s: 16 frames | 9.6 s |
| c | `two_stream_inception`: a frame, and ten flows | 12 M | 0.4 s | 10 s |
| d | `fused_3d_two_stream`: five times c, fused | 39 M | 2 s: 5 frames, 50 flows | 10 s |
| e | `two_stream_i3d`: inflated, over colours and flow | 25 M | 2.56 s: 64 of each | 10 s |

Notable: all but b stand on Inception-v1, and all are fed 25 frames per second, so that what differs
is how they put time together. Batch norm follows every convolution.
Differs from the paper: its LSTM normalises batches inside (Cooijmans et al.), ours does not; the
table's 9 M cannot tell. How its network d gets from the last pooling to the classifier it does not
say: ours takes the mean over space and time, with which its 39 M come out.
"""

import dataclasses
from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.models import backbone_2d
from praxino.models.backbone_2d import (
    VECTOR_LAYOUTS,
    Backbone2d,
    FrameOptions,
    first_convolution,
)
from praxino.models.clip_shape import check_clip
from praxino.models.cnn_lstm import CnnRnn
from praxino.models.flow_stack import check_flows
from praxino.models.i3d import I3d
from praxino.models.row import ModelRow, Published
from praxino.models.two_stream import (
    TWO_STREAM_LAYOUTS,
    TwoStream,
    TwoStreamOptions,
    for_flow,
    two_stream,
)
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, load_strict

__all__ = [
    "c3d_i3d_paper",
    "fused_3d_two_stream",
    "lstm_inception",
    "two_stream_i3d",
    "two_stream_inception",
]

RATE = 25.0  # frames per second


class LstmInception(CnnRnn):
    """Inception-v1 on every frame, an LSTM over them; see `lstm_inception`."""

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The cross entropy of the answers after every frame, averaged; the last is what counts.

        Args:
            clip: as in `forward`.
            labels: `(B,)`.

        Returns:
            The loss, and `forward`'s `(B, K)` logits.
        """
        steps = self.forward_steps(clip).float()  # (B, T, K)
        each = labels.repeat_interleave(steps.shape[1])
        return functional.cross_entropy(steps.flatten(0, 1), each), steps[:, -1]


class C3dWithNorms(nn.Module):
    """C3D with batch norms, and half the frames after the first pooling; see `c3d_i3d_paper`."""

    def __init__(self, num_classes: int, *, size: int) -> None:
        super().__init__()
        self.size = size
        widths = (64, 128, 256, 256, 512, 512, 512, 512)
        names = ("1a", "2a", "3a", "3b", "4a", "4b", "5a", "5b")
        layers: list[tuple[str, nn.Module]] = []
        channels = 3
        for name, width in zip(names, widths, strict=True):
            layers += [
                (f"conv{name}", nn.Conv3d(channels, width, 3, padding=1, bias=False)),
                (f"norm{name}", nn.BatchNorm3d(width)),
                (f"relu{name}", nn.ReLU(inplace=True)),
            ]
            if name in ("1a", "2a", "3b", "4b", "5b"):
                layers.append((f"pool{name[0]}", nn.MaxPool3d(2, ceil_mode=True)))
            channels = width
        self.features = nn.Sequential()
        for name, layer in layers:
            self.features.add_module(name, layer)
        side = -(-size // 32)  # rounded up, as each pooling does
        self.hidden = nn.Sequential(
            nn.Linear(512 * side * side, 4096, bias=False),
            nn.BatchNorm1d(4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096, bias=False),
            nn.BatchNorm1d(4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
        )
        self.head = nn.Linear(4096, num_classes)
        self.clip_spec = ClipSpec(
            16,
            frames_per_second=RATE,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the hidden layers: `(B, 512, 1, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "The I3D paper's C3D", frames=16, size=self.size)
        maps: Tensor = self.features(clip)
        return maps

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, 16, H, W)` of the size the model was built for, normalised as
                `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        logits: Tensor = self.head(self.hidden(self.forward_features(clip).flatten(1)))
        return logits


class Fused3dTwoStream(nn.Module):
    """Two streams at several places in time, fused by a 3D convolution; see the builder."""

    def __init__(
        self, num_classes: int, *, backbone: str, places: int, flows: int, width: int, size: int
    ) -> None:
        super().__init__()
        for name, value in (("places", places), ("flows", flows)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.places, self.flows = places, flows
        self.spatial = Backbone2d(backbone)
        self.temporal = Backbone2d(backbone, channels=2 * flows)
        self.spatial.neck = self.temporal.neck = nn.Identity()  # it is maps that are fused
        channels = self.spatial.out_features + self.temporal.out_features
        join = nn.Conv3d(channels, width, 3, padding=1, bias=False)
        nn.init.normal_(join.weight, std=0.01)
        self.fuse = nn.Sequential(join, nn.BatchNorm3d(width), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool3d(3, stride=2, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width, num_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        self.clip_spec = ClipSpec(
            places * flows + 1,
            frames_per_second=RATE,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=(*IMAGENET_MEAN, 0.5, 0.5),
            std=(*IMAGENET_STD, 0.226, 0.226),
            inputs=("rgb", "flow"),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The fused map before pooling: `(B, 512, places, H / 32, W / 32)`."""
        name = "The 3D-fused two-stream network"
        check_flows(clip, name, self.places * self.flows, channels=5, size=None)
        # A frame at the beginning of each stack of flow.
        frames = clip[:, :3, : self.places * self.flows : self.flows]
        flow = clip[:, 3:, : self.places * self.flows].unflatten(2, (self.places, self.flows))
        stacks = flow.permute(0, 3, 1, 2, 4, 5).flatten(1, 2)  # (B, 2 * flows, places, H, W)
        maps = torch.cat([self.spatial.maps(frames), self.temporal.maps(stacks)], dim=1)
        fused: Tensor = self.fuse(maps)
        return fused

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 5, T, H, W)`, red, green, blue, u, v, normalised as `self.clip_spec` says; T
                is `places` times `flows`, or one more, whose flow is left out.

        Returns:
            `(B, K)` logits.
        """
        maps = self.pool(self.forward_features(clip))
        logits: Tensor = self.head(self.dropout(maps.mean(dim=(2, 3, 4))))
        return logits


class TwoStreamI3d(nn.Module):
    """I3D on colours and I3D on flow; `head` reads the vectors of both. See `two_stream_i3d`."""

    def __init__(self, num_classes: int, *, frames: int, size: int) -> None:
        super().__init__()
        self.rgb = I3d(num_classes, "rgb", frames=frames, size=size)
        self.flow = I3d(num_classes, "flow", frames=frames, size=size)
        width = self.rgb.head.in_features
        self.rgb.head = self.flow.head = nn.Identity()  # type: ignore[assignment]
        self.head = nn.Linear(2 * width, num_classes)
        self.clip_spec = dataclasses.replace(
            self.rgb.clip_spec, inputs=("rgb", "flow"), mean=(0.5,) * 5, std=(0.5,) * 5
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The maps before pooling, side by side: `(B, 2048, T / 8, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "The two-stream I3D", channels=5)
        maps = self.rgb.forward_features(clip[:, :3]), self.flow.forward_features(clip[:, 3:])
        return torch.cat(maps, dim=1)

    def stream_vectors(self, clip: Tensor) -> list[Tensor]:
        """What each stream's classifier reads, averaged over time: two `(B, 1024)`."""
        check_clip(clip, "The two-stream I3D", channels=5)
        streams = (self.rgb, clip[:, :3]), (self.flow, clip[:, 3:])
        return [
            network.dropout(network.vectors_over_time(part)).mean(dim=2)
            for network, part in streams
        ]

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 5, T, H, W)`, red, green, blue, u, v, normalised as `self.clip_spec` says;
                any size.

        Returns:
            `(B, K)` logits, the sum of the streams'.
        """
        logits: Tensor = self.head(torch.cat(self.stream_vectors(clip), dim=1))
        return logits

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the streams' own losses: each of them learns as if it were alone.

        Args:
            clip: as in `forward`.
            labels: `(B,)`.

        Returns:
            The loss, and `forward`'s `(B, K)` logits.
        """
        vectors = self.stream_vectors(clip)
        weights = self.head.weight.chunk(2, dim=1)
        own = [
            functional.linear(one, weight, self.head.bias / 2)
            for one, weight in zip(vectors, weights, strict=True)
        ]
        losses = [functional.cross_entropy(logits.float(), labels) for logits in own]
        return losses[0] + losses[1], own[0] + own[1]


def join_streams(model: TwoStreamI3d, rgb: I3d, flow: I3d) -> None:
    """Put two I3D that were trained apart, or published, into one network of both.

    Args:
        model: is changed.
        rgb: `i3d` with its weights.
        flow: `i3d_flow` with its weights, of the same classes.

    Raises:
        ValueError: their classes differ from each other's or from the model's.
    """
    state: State = {}
    for name, stream in (("rgb", rgb), ("flow", flow)):
        own = stream.state_dict().items()
        state |= {f"{name}.{key}": value for key, value in own if key[:5] != "head."}
    classes = [stream.head.out_features for stream in (rgb, flow)]
    if classes[0] != classes[1]:
        raise ValueError(
            f"The streams know {classes[0]} and {classes[1]} classes. Train both on the same."
        )
    state["head.weight"] = torch.cat([rgb.head.weight, flow.head.weight], dim=1).detach()
    state["head.bias"] = (rgb.head.bias + flow.head.bias).detach()
    load_strict(model, state, "These two streams")


def lstm_inception(
    num_classes: int = 400,
    *,
    backbone: str = "googlenet",
    hidden: int = 512,
    frames: int = 25,
    size: int = 224,
) -> LstmInception:
    """Network a: Inception-v1 and an LSTM of 512 units; 9.0 million parameters.

    Trained by its answers after each of 25 frames, every fifth of 5 s; tested by the last one after
    the 50 frames of 10 s.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision.
        hidden: units of the LSTM.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    options: FrameOptions = {"frames": frames, "size": size}
    model = LstmInception(
        num_classes,
        cell="lstm",
        backbone=backbone,
        hidden=hidden,
        layers=1,
        answer="last",
        frozen=False,
        options=options,
    )
    model.clip_spec = dataclasses.replace(model.clip_spec, frames_per_second=RATE / 5)
    return model


def c3d_i3d_paper(num_classes: int = 400, *, size: int = 112) -> C3dWithNorms:
    """Network b: C3D with batch norms; 79.6 million parameters.

    Its first pooling takes every other frame, which lets larger batches in; C3D's does not.

    Args:
        num_classes: K.
        size: H and W, in pixels.
    """
    return C3dWithNorms(num_classes, size=size)


def two_stream_inception(
    num_classes: int = 400, *, backbone: str = "googlenet", **options: Unpack[TwoStreamOptions]
) -> TwoStream:
    """Network c: Inception-v1 on a frame, and on ten flows; 12.1 million parameters.

    Tested on 25 places of a video, whose probabilities are averaged.

    Args:
        num_classes: K.
        backbone: of both; a classification network of torchvision.
        **options: as `two_stream` takes them; `dropout` is Inception's own, 0.2, by default.
    """
    options.setdefault("dropout", 0.2)
    model = two_stream(num_classes, backbone=backbone, **options)
    spec = dataclasses.replace(model.clip_spec, stride_frames=None, frames_per_second=RATE)
    model.clip_spec = spec
    return model


class FusedOptions(TypedDict, total=False):
    """Options of the 3D-fused two-stream network.

    Attributes:
        places: how many frames it sees, and stacks of flow; 5 by default.
        flows: in a stack, so that frames are as far apart; 10 by default.
        width: channels of the fused map; 512 by default.
        size: H and W of `clip_spec`, in pixels; 224 by default.
    """

    places: int
    flows: int
    width: int
    size: int


def fused_3d_two_stream(
    num_classes: int = 400, *, backbone: str = "googlenet", **options: Unpack[FusedOptions]
) -> Fused3dTwoStream:
    """Network d: five frames and 50 flows, fused by a 3D convolution; 39.8 million parameters.

    Args:
        num_classes: K.
        backbone: of both streams; a classification network of torchvision.
        **options: see `FusedOptions`.
    """
    return Fused3dTwoStream(
        num_classes,
        backbone=backbone,
        places=options.get("places", 5),
        flows=options.get("flows", 10),
        width=options.get("width", 512),
        size=options.get("size", 224),
    )


def two_stream_i3d(num_classes: int = 400, *, frames: int = 64, size: int = 224) -> TwoStreamI3d:
    """Network e: `i3d` and `i3d_flow`, whose logits are added; 25.4 million parameters.

    Args:
        num_classes: K.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return TwoStreamI3d(num_classes, frames=frames, size=size)


def from_torchvision(state: State, model: nn.Module) -> State:
    """Both trunks from a torchvision network; what fuses them, and the head, stay.

    The temporal one's first layer gets the mean of the colours' weights.
    """
    assert isinstance(model, Fused3dTwoStream)
    trunk = {
        name.removeprefix("backbone."): value
        for name, value in backbone_2d.from_torchvision(state, model).items()
        if name.startswith("backbone.features.")
    }
    name, layer = first_convolution(model.temporal.features)
    first = f"features.{name}.weight"
    found = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith(("spatial.", "temporal."))
    }
    found |= {f"spatial.{name}": value for name, value in trunk.items()}
    trunk |= {first: for_flow(trunk[first], layer.in_channels)}
    return found | {f"temporal.{name}": value for name, value in trunk.items()}


PAPER = "Carreira and Zisserman, Quo Vadis, Action Recognition?, CVPR 2017"
MODELS = {
    "c3d_i3d_paper": ModelRow(c3d_i3d_paper, PAPER, 2017, "3d"),
    "fused_3d_two_stream": ModelRow(
        fused_3d_two_stream,
        PAPER,
        2017,
        "two-stream",
        inputs=("rgb", "flow"),
        backbone="googlenet",
        layouts={"torchvision": from_torchvision},
    ),
    "lstm_inception": ModelRow(
        lstm_inception,
        PAPER,
        2017,
        "recurrent",
        backbone="googlenet",
        layouts=VECTOR_LAYOUTS,
    ),
    "two_stream_i3d": ModelRow(two_stream_i3d, PAPER, 2017, "two-stream", inputs=("rgb", "flow")),
    "two_stream_inception": ModelRow(
        two_stream_inception,
        PAPER,
        2017,
        "two-stream",
        inputs=("rgb", "flow"),
        backbone="googlenet",
        layouts=TWO_STREAM_LAYOUTS,
    ),
}

_TABLE = "I3D paper, table 1"
_CUT = "is cut off, not rounded"
PUBLISHED = (
    Published("lstm_inception", _TABLE, parameters="9 M"),
    Published("c3d_i3d_paper", _TABLE, parameters="79 M", erratum=f"79.6 {_CUT}"),
    Published("two_stream_inception", _TABLE, parameters="12 M"),
    Published("fused_3d_two_stream", _TABLE, parameters="39 M", erratum=f"39.8 {_CUT}"),
    Published("two_stream_i3d", _TABLE, parameters="25 M"),
)
