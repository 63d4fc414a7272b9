"""Two streams: one network sees a frame, another one a stack of optical flow; scores are fused.

Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos", NIPS
2014, arXiv:1406.2199. Its network is CNN-M-2048 of Chatfield et al., "Return of the Devil in the
Details", BMVC 2014; the same two streams on VGG-16 and ResNets are Wang et al., "Towards Good
Practices for Very Deep Two-Stream ConvNets", arXiv:1507.02159.

Notable: the flows of 10 pairs of frames are 20 channels of one picture; less their mean, because
most of it is the camera's motion. Flow can be followed along trajectories, or look back as well as
ahead (Sec. 3.1). The streams learn apart, each with a loss of its own, and meet in their scores.
Differs from the paper: the networks here fuse by an average; its linear SVM on the scores is
`praxino fuse --by svm`. See flow_stack.py about flow that looks back.
"""

import math
import re
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.models import backbone_2d
from praxino.models.backbone_2d import Backbone2d, first_convolution
from praxino.models.clip_shape import check_clip
from praxino.models.cnn_m import CnnM
from praxino.models.flow_stack import FlowStack, Stacking, check_flows
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, load_strict, rename

__all__ = [
    "spatial_stream",
    "spatial_stream_cnn_m",
    "temporal_stream",
    "temporal_stream_cnn_m",
    "temporal_stream_multi_task",
    "two_stream",
    "two_stream_cnn_m",
]

LateFusion = Literal["probabilities", "logits"]

# CNN-M-2048 only subtracts a mean from bytes; the others divide by ImageNet's deviation, flow too.
BYTES_MEAN, BYTES_STD = (123.68 / 255, 116.78 / 255, 103.94 / 255), (1 / 255,) * 3


def _set_dropout(network: Any, dropout: float) -> None:
    """In all hidden layers that have one; a network without hidden layers gets one at its end."""
    found = [layer for layer in network.neck.modules() if isinstance(layer, nn.Dropout)]
    if not found:
        found = [nn.Dropout()]
        network.neck.add_module("dropout", found[0])
    for layer in found:
        layer.p = dropout


class SpatialStream(nn.Module):
    """A 2D network on one frame; see `spatial_stream` and `spatial_stream_cnn_m`."""

    def __init__(self, num_classes: int, *, backbone: Any, clip_spec: ClipSpec) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_features, num_classes)
        self.clip_spec = clip_spec

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, D, 1, H', W')`."""
        size = _only_size(self.backbone, self.clip_spec)
        check_clip(clip, "The spatial stream", frames=1, size=size)
        maps: Tensor = self.backbone.features(clip[:, :, 0])
        return maps.unsqueeze(2)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify frames.

        Args:
            clip: `(B, 3, 1, H, W)`, normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        maps = self.forward_features(clip)
        logits: Tensor = self.head(self.backbone.neck(maps.squeeze(2)))
        return logits


class TemporalStream(nn.Module):
    """A 2D network on a stack of flows; see `temporal_stream` and `temporal_stream_cnn_m`."""

    def __init__(
        self, num_classes: int, *, backbone: Any, stack: FlowStack, clip_spec: ClipSpec
    ) -> None:
        super().__init__()
        self.stack, self.backbone = stack, backbone
        self.head = nn.Linear(backbone.out_features, num_classes)
        self.clip_spec = clip_spec

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, D, 1, H', W')`."""
        size = _only_size(self.backbone, self.clip_spec)
        check_flows(clip, "The temporal stream", self.stack.flows, channels=2, size=size)
        maps: Tensor = self.backbone.features(self.stack(clip, self.clip_spec))
        return maps.unsqueeze(2)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify stacks of flow.

        Args:
            clip: `(B, 2, T, H, W)`, T = L or L + 1, normalised as `self.clip_spec` says. The
                flow of the last of L + 1 frames is left out.

        Returns:
            `(B, K)` logits.
        """
        maps = self.forward_features(clip)
        logits: Tensor = self.head(self.backbone.neck(maps.squeeze(2)))
        return logits


class MultiTaskStream(TemporalStream):
    """A temporal stream that learns two data sets at once; see `temporal_stream_multi_task`."""

    def __init__(self, num_classes: int, *, first_classes: int, **parts: Any) -> None:
        super().__init__(num_classes, **parts)
        if not 0 < first_classes < num_classes:
            raise ValueError(
                f"first_classes={first_classes} must leave classes for both data sets, of "
                f"{num_classes} in all."
            )
        self.first_classes = first_classes

    def task_logits(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of each data set's own classes: `(B, K1)` and `(B, K2)`."""
        first, second = self(clip).tensor_split([self.first_classes], dim=1)
        return first, second

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of both data sets' losses, each over its own classes (Sec. 4).

        Args:
            clip: as `forward` takes it, from both data sets.
            labels: `(B,)` in [0, K); those below `first_classes` are of the first data set.

        Returns:
            The loss, a mean over the clips, and the `(B, K)` logits.
        """
        logits = self(clip)
        first, second = logits.tensor_split([self.first_classes], dim=1)
        among_first = labels < self.first_classes
        labels_second = labels[~among_first] - self.first_classes
        total = functional.cross_entropy(first[among_first], labels[among_first], reduction="sum")
        total = total + functional.cross_entropy(
            second[~among_first], labels_second, reduction="sum"
        )
        return total / len(labels), logits


class TwoStream(nn.Module):
    """Both streams and their fused scores; see `two_stream` and `two_stream_cnn_m`.

    `head` holds both classifiers: it reads the spatial stream's vector, the temporal stream's, and
    a last number, 1 for the one and -1 for the other, so that each has a bias of its own.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        spatial: Any,
        temporal: Any,
        stack: FlowStack,
        fusion: LateFusion,
        flow_weight: float,
        clip_spec: ClipSpec,
    ) -> None:
        super().__init__()
        if fusion not in ("probabilities", "logits"):
            raise ValueError(f"fusion is 'probabilities' or 'logits', not {fusion!r}.")
        if not 0 < flow_weight < math.inf:
            raise ValueError(f"flow_weight must be above 0, got {flow_weight}.")
        self.spatial, self.temporal, self.stack = spatial, temporal, stack
        self.head = nn.Linear(spatial.out_features + temporal.out_features + 1, num_classes)
        nn.init.zeros_(self.head.weight[:, -1])
        self.fusion, self.flow_weight, self.clip_spec = fusion, flow_weight, clip_spec

    def forward_features(self, clip: Tensor) -> Tensor:
        """The maps before pooling, the spatial stream's first: `(B, 2 D, 1, H', W')`."""
        size = _only_size(self.spatial, self.clip_spec)
        check_flows(clip, "The two-stream network", self.stack.flows, channels=5, size=size)
        appearance = self.spatial.features(clip[:, :3, self.stack.frame])
        motion = self.temporal.features(self.stack(clip[:, 3:], self.clip_spec))
        return torch.cat([appearance, motion], dim=1).unsqueeze(2)

    def stream_logits(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """What each stream says by itself, the spatial one first: two `(B, K)` logits."""
        maps = self.forward_features(clip).squeeze(2)
        appearance, motion = maps.chunk(2, dim=1)
        spatial, temporal = self.spatial.neck(appearance), self.temporal.neck(motion)
        weights = self.head.weight.split([spatial.shape[1], temporal.shape[1], 1], dim=1)
        lean = weights[2].squeeze(1)
        return (
            functional.linear(spatial, weights[0], self.head.bias + lean),
            functional.linear(temporal, weights[1], self.head.bias - lean),
        )

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 5, T, H, W)`, red, green, blue, u, v, T = L or L + 1, normalised as
                `self.clip_spec` says. The colours of one frame are looked at.

        Returns:
            `(B, K)` logits: the weighted mean of the streams' logits, or numbers whose softmax is
            the weighted mean of their probabilities.
        """
        return fused(*self.stream_logits(clip), self.fusion, self.flow_weight)

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the streams' own losses: each of them learns as if it were alone.

        Args:
            clip: as `forward` takes it.
            labels: `(B,)` in [0, K).

        Returns:
            The loss and the fused `(B, K)` logits.
        """
        streams = self.stream_logits(clip)
        own = [functional.cross_entropy(logits, labels) for logits in streams]
        return own[0] + own[1], fused(*streams, self.fusion, self.flow_weight)


def fused(spatial: Tensor, temporal: Tensor, fusion: LateFusion, flow_weight: float) -> Tensor:
    """The weighted mean of two streams' logits, or of their probabilities as logits.

    Args:
        spatial: `(B, K)` logits, of weight 1.
        temporal: `(B, K)` logits.
        fusion: "logits" or "probabilities".
        flow_weight: of the temporal stream.

    Returns:
        `(B, K)` logits. Of probabilities they are shifted, which changes no probability, to be the
        mean of the logits plus what averaging probabilities adds to it.
    """
    share = flow_weight / (1 + flow_weight)
    mean = (1 - share) * spatial + share * temporal
    if fusion == "logits":
        return mean
    both = torch.stack([spatial, temporal], dim=1).log_softmax(dim=2)  # (B, 2, K)
    weights = both.new_tensor([1 - share, share]).view(1, 2, 1)
    centre = (weights * both).sum(dim=1, keepdim=True)
    return mean + (both - centre + weights.log()).logsumexp(dim=1)


def join_streams(model: TwoStream, spatial: SpatialStream, temporal: TemporalStream) -> None:
    """Put two streams that were trained apart into a network of both.

    Args:
        model: of the same backbones and classes; is changed.
        spatial: its trained spatial stream.
        temporal: its trained temporal stream.

    Raises:
        ValueError: a stream does not fit.
    """
    state = {f"spatial.{name}": value for name, value in spatial.backbone.state_dict().items()}
    state |= {f"temporal.{name}": value for name, value in temporal.backbone.state_dict().items()}
    state["head.weight"], state["head.bias"] = one_head(spatial.head, temporal.head)
    load_strict(model, state, "These two streams")


def _only_size(network: nn.Module, spec: ClipSpec) -> int | None:
    """H and W, where the network takes no other."""
    return spec.size if isinstance(network, CnnM) else None


def one_head(spatial: nn.Linear, temporal: nn.Linear) -> tuple[Tensor, Tensor]:
    """Two classifiers as the weight and the bias of one, as `TwoStream.head` has them.

    Args:
        spatial: of D1 numbers.
        temporal: of D2 numbers, for the same classes.

    Returns:
        `(K, D1 + D2 + 1)` and `(K,)`.

    Raises:
        ValueError: they know different numbers of classes.
    """
    if spatial.out_features != temporal.out_features:
        raise ValueError(
            f"The streams know {spatial.out_features} and {temporal.out_features} classes. Train "
            "both on the same."
        )
    mean, lean = (spatial.bias + temporal.bias) / 2, (spatial.bias - temporal.bias) / 2
    weight = torch.cat([spatial.weight, temporal.weight, lean.unsqueeze(1)], dim=1)
    return weight.detach(), mean.detach()


class StreamOptions(TypedDict, total=False):
    """Options of every stream.

    Attributes:
        size: H and W of `clip_spec`, in pixels; 224 by default.
        dropout: in training, of the hidden layers or, without such, before the classifier; 0.9 by
            default.
    """

    size: int
    dropout: float


class BackboneOptions(StreamOptions, total=False):
    """Options of every stream on a 2D network of torchvision, besides `StreamOptions`.

    Attributes:
        same_padding: pad as TensorFlow does, for weights trained there.
    """

    same_padding: bool


class FlowOptions(TypedDict, total=False):
    """What the temporal stream is fed; see `FlowStack`.

    Attributes:
        flows: L; 10 by default. Clips have a frame more.
        stacking: "flow", or "trajectory".
        bidirectional: half of the flows lead back; no by default.
        subtract_mean: from each flow; CNN-M does by default, the others do not.
    """

    flows: int
    stacking: Stacking
    bidirectional: bool
    subtract_mean: bool


class TemporalCnnMOptions(StreamOptions, FlowOptions, total=False):
    """Options of the temporal streams on CNN-M-2048: `StreamOptions` and `FlowOptions`."""


class TemporalOptions(BackboneOptions, FlowOptions, total=False):
    """Options of a temporal stream: `BackboneOptions` and `FlowOptions`."""


class TwoStreamCnnMOptions(TemporalCnnMOptions, total=False):
    """Options of two streams on CNN-M-2048, besides those of its streams.

    Attributes:
        fusion: of the streams' "probabilities" (by default) or "logits".
        flow_weight: of the temporal stream, where the spatial one has 1; 1 by default.
    """

    fusion: LateFusion
    flow_weight: float


class TwoStreamOptions(TemporalOptions, total=False):
    """Options of two streams, besides those of its streams; see `TwoStreamCnnMOptions`.

    Attributes:
        fusion: of the streams' "probabilities" (by default) or "logits".
        flow_weight: of the temporal stream, where the spatial one has 1; 1 by default.
    """

    fusion: LateFusion
    flow_weight: float


# Of colours and of flow: mean and deviation.
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
_CNN_M: dict[str, Normalisation] = {
    "rgb": (BYTES_MEAN, BYTES_STD),
    "flow": ((0.5, 0.5), (1 / 255, 1 / 255)),
}
_TORCHVISION: dict[str, Normalisation] = {
    "rgb": (IMAGENET_MEAN, IMAGENET_STD),
    "flow": ((0.5, 0.5), (0.226, 0.226)),  # the mean of ImageNet's three deviations
}


def _clip_spec(
    inputs: tuple[str, ...], normalisation: dict[str, Normalisation], options: Any
) -> ClipSpec:
    size = options.get("size", 224)
    return ClipSpec(
        1 if inputs == ("rgb",) else options.get("flows", 10) + 1,
        stride_frames=1,
        size=size,
        resize_short=round(size * 8 / 7),
        mean=tuple(value for name in inputs for value in normalisation[name][0]),
        std=tuple(value for name in inputs for value in normalisation[name][1]),
        inputs=inputs,
    )


def _stack(options: Any, *, subtract_mean: bool) -> FlowStack:
    return FlowStack(
        options.get("flows", 10),
        stacking=options.get("stacking", "flow"),
        bidirectional=options.get("bidirectional", False),
        subtract_mean=options.get("subtract_mean", subtract_mean),
    )


def _cnn_m(stream: str, options: Any) -> CnnM:
    return CnnM(
        3 if stream == "rgb" else 2 * options.get("flows", 10),
        size=options.get("size", 224),
        second_norm=stream == "rgb",
        dropout=options.get("dropout", 0.9),
    )


def _backbone(name: str, stream: str, options: Any) -> Backbone2d:
    channels = 3 if stream == "rgb" else 2 * options.get("flows", 10)
    network = Backbone2d(name, channels=channels, same_padding=options.get("same_padding", False))
    _set_dropout(network, options.get("dropout", 0.9))
    return network


def spatial_stream_cnn_m(num_classes: int = 101, **options: Unpack[StreamOptions]) -> SpatialStream:
    """The paper's spatial stream: CNN-M-2048 on a frame; 73.0 % on UCF101.

    Args:
        num_classes: K; UCF101 has 101.
        **options: see `StreamOptions`; the size is 41 or more.
    """
    spec = _clip_spec(("rgb",), _CNN_M, options)
    return SpatialStream(num_classes, backbone=_cnn_m("rgb", options), clip_spec=spec)


def temporal_stream_cnn_m(
    num_classes: int = 101, **options: Unpack[TemporalCnnMOptions]
) -> TemporalStream:
    """The paper's temporal stream: CNN-M-2048 with one norm, on ten flows; 83.7 % on UCF101.

    Args:
        num_classes: K; UCF101 has 101.
        **options: see `StreamOptions` (the size is 41 or more) and `FlowOptions`.
    """
    return TemporalStream(
        num_classes,
        backbone=_cnn_m("flow", options),
        stack=_stack(options, subtract_mean=True),
        clip_spec=_clip_spec(("flow",), _CNN_M, options),
    )


def temporal_stream_multi_task(
    num_classes: int = 152, *, first_classes: int = 51, **options: Unpack[TemporalCnnMOptions]
) -> MultiTaskStream:
    """The temporal stream with two classifiers, for two data sets that share all other layers.

    Its classes are those of the one data set, then those of the other; so a manifest of both should
    call its classes "hmdb51/clap" and "ucf101/Archery", for example, which are sorted like that.

    Args:
        num_classes: K of both together; HMDB51 and UCF101 have 152.
        first_classes: how many of them are the first data set's.
        **options: see `StreamOptions` (the size is 41 or more) and `FlowOptions`.
    """
    return MultiTaskStream(
        num_classes,
        first_classes=first_classes,
        backbone=_cnn_m("flow", options),
        stack=_stack(options, subtract_mean=True),
        clip_spec=_clip_spec(("flow",), _CNN_M, options),
    )


def two_stream_cnn_m(num_classes: int = 101, **options: Unpack[TwoStreamCnnMOptions]) -> TwoStream:
    """The paper's two streams on CNN-M-2048; 86.9 % on UCF101 by the average of their scores.

    Args:
        num_classes: K; UCF101 has 101.
        **options: see `StreamOptions` (the size is 41 or more), `FlowOptions` and
            `TwoStreamCnnMOptions`.
    """
    return TwoStream(
        num_classes,
        spatial=_cnn_m("rgb", options),
        temporal=_cnn_m("flow", options),
        stack=_stack(options, subtract_mean=True),
        fusion=options.get("fusion", "probabilities"),
        flow_weight=options.get("flow_weight", 1.0),
        clip_spec=_clip_spec(("rgb", "flow"), _CNN_M, options),
    )


def spatial_stream(
    num_classes: int = 101, *, backbone: str = "vgg16", **options: Unpack[BackboneOptions]
) -> SpatialStream:
    """The spatial stream on any 2D network of torchvision.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: a classification network of torchvision, for example `resnet152`.
        **options: see `StreamOptions` and `BackboneOptions`.
    """
    network = _backbone(backbone, "rgb", options)
    spec = _clip_spec(("rgb",), _TORCHVISION, options)
    return SpatialStream(num_classes, backbone=network, clip_spec=spec)


def temporal_stream(
    num_classes: int = 101, *, backbone: str = "vgg16", **options: Unpack[TemporalOptions]
) -> TemporalStream:
    """The temporal stream on any 2D network of torchvision.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: a classification network of torchvision, for example `resnet152`.
        **options: see `StreamOptions`, `BackboneOptions` and `FlowOptions`.
    """
    return TemporalStream(
        num_classes,
        backbone=_backbone(backbone, "flow", options),
        stack=_stack(options, subtract_mean=False),
        clip_spec=_clip_spec(("flow",), _TORCHVISION, options),
    )


def two_stream(
    num_classes: int = 101, *, backbone: str = "vgg16", **options: Unpack[TwoStreamOptions]
) -> TwoStream:
    """Two streams on any 2D network of torchvision.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: of both; a classification network of torchvision, for example `resnet152`.
        **options: see `StreamOptions`, `BackboneOptions`, `FlowOptions` and `TwoStreamOptions`.
    """
    return TwoStream(
        num_classes,
        spatial=_backbone(backbone, "rgb", options),
        temporal=_backbone(backbone, "flow", options),
        stack=_stack(options, subtract_mean=False),
        fusion=options.get("fusion", "probabilities"),
        flow_weight=options.get("flow_weight", 1.0),
        clip_spec=_clip_spec(("rgb", "flow"), _TORCHVISION, options),
    )


def for_flow(weight: Tensor, channels: int) -> Tensor:
    """A first layer's weights for colours as weights for flow: their mean, for each channel.

    Wang et al., "Towards Good Practices for Very Deep Two-Stream ConvNets", Sec. 3.

    Args:
        weight: `(width, 3, h, w)`.
        channels: 2 L.

    Returns:
        `(width, 2 L, h, w)`.
    """
    return weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename the entries of a torchvision classification network, for each stream.

    The temporal stream's first layer gets the mean of the colours' weights.
    """
    renamed = backbone_2d.from_torchvision(state, model)
    prefixes = ["backbone"] if hasattr(model, "backbone") else ["spatial", "temporal"]
    found: State = {}
    for prefix in prefixes:
        network = model.get_submodule(prefix)
        found |= {
            re.sub(r"^backbone\.", f"{prefix}.", name): value for name, value in renamed.items()
        }
        name, layer = first_convolution(network.get_submodule("features"))
        first = f"{prefix}.features.{name}.weight"
        if layer.in_channels != found[first].shape[1]:
            found[first] = for_flow(found[first], layer.in_channels)
    if len(prefixes) == 2:  # both classifiers lie in one layer
        weight = found["head.weight"]
        found["head.weight"] = torch.cat([weight, weight, torch.zeros_like(weight[:, :1])], dim=1)
    return found


def from_bryanyzhu(state: State, model: nn.Module) -> State:
    """Rename the entries of a stream of github.com/bryanyzhu/two-stream-pytorch."""
    rules = (
        (r"^fc_action\.", "head."),
        (r"^classifier\.", "backbone.neck.classifier."),
        (r"^(?!head\.|backbone\.)", "backbone.features."),
    )
    return rename(state, rules)


LAYOUTS = {"torchvision": from_torchvision, "bryanyzhu": from_bryanyzhu}
TWO_STREAM_LAYOUTS = {"torchvision": from_torchvision}

PAPER = (
    "Simonyan and Zisserman, Two-Stream Convolutional Networks for Action Recognition, NIPS 2014"
)
MODELS = {
    "spatial_stream": ModelRow(
        spatial_stream, PAPER, 2014, "two-stream", backbone="vgg16", layouts=LAYOUTS
    ),
    "spatial_stream_cnn_m": ModelRow(
        spatial_stream_cnn_m, PAPER, 2014, "two-stream", layouts=LAYOUTS
    ),
    "temporal_stream": ModelRow(
        temporal_stream,
        PAPER,
        2014,
        "two-stream",
        inputs=("flow",),
        backbone="vgg16",
        layouts=LAYOUTS,
    ),
    "temporal_stream_cnn_m": ModelRow(
        temporal_stream_cnn_m, PAPER, 2014, "two-stream", inputs=("flow",), layouts=LAYOUTS
    ),
    "temporal_stream_multi_task": ModelRow(
        temporal_stream_multi_task, PAPER, 2014, "two-stream", inputs=("flow",)
    ),
    "two_stream": ModelRow(
        two_stream,
        PAPER,
        2014,
        "two-stream",
        inputs=("rgb", "flow"),
        backbone="vgg16",
        layouts=TWO_STREAM_LAYOUTS,
    ),
    "two_stream_cnn_m": ModelRow(
        two_stream_cnn_m,
        PAPER,
        2014,
        "two-stream",
        inputs=("rgb", "flow"),
        layouts=TWO_STREAM_LAYOUTS,
    ),
}

PUBLISHED = (
    Published(
        "two_stream",
        "I3D paper, table 1",
        options={"backbone": "googlenet", "num_classes": 400},
        parameters="12 M",
    ),
)
