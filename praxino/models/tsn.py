"""TSN: snippets of the whole video, judged one by one, agree on a class.

Wang et al., "Temporal Segment Networks: Towards Good Practices for Deep Action Recognition", ECCV
2016, arXiv:1608.00859; consensus functions from the longer "Temporal Segment Networks for Action
Recognition in Videos", TPAMI 2018, arXiv:1705.02953.

Notable: a video is cut into equally long segments, and each gives one short snippet; what is
learned is the segments' consensus, so that a few frames stand for a long video. A snippet is a
frame, five differences of frames, or five flows, stacked as channels; the first layer for these
starts as the mean of the ImageNet weights of the colours ("cross-modality", Sec. 3.2), and all
batch norms but the first can be kept as they were.
A clip holds the snippets of its segments one after the other: K segments of 6 frames in a row, of
which the flow from each to the next, or the difference, is seen; of the colours beside them, the
first frame. On colours alone a snippet is one frame.
Differs from the paper: the streams of one network share one bias, which changes no fused score;
differences are those of normalised frames.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack, get_args

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models import backbone_2d, bn_inception
from praxino.models.backbone_2d import MMACTION2_RESNET_NAMES, Backbone2d, first_convolution
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.models.two_stream import for_flow
from praxino.video.clip_spec import CHANNELS, IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, load_strict, rename
from praxino.weights.published import Weights

__all__ = [
    "tsn",
    "tsn_flow",
    "tsn_r50",
    "tsn_r50_flow",
    "tsn_r101",
    "tsn_real_time",
    "tsn_rgb_difference",
    "tsn_three_stream",
    "tsn_two_stream",
    "tsn_warped_flow",
]

Consensus = Literal["average", "max", "top_k", "weighted", "attention"]

# Dropout before the classifier of each stream, and what its scores weigh: of flow and warped flow
# together 1.5 where the colours have 1 (Sec. 3.3 and the authors' code).
DROPOUT = {"rgb": 0.8, "rgb_difference": 0.8, "flow": 0.7, "warped_flow": 0.7}
WEIGHT = {"rgb": 1.0, "rgb_difference": 1.0, "flow": 1.5, "warped_flow": 0.5}


class SegmentConsensus(nn.Module):
    """What the segments say together; TPAMI, Sec. 3.3.

    Args:
        kind: "average"; "max" of each class, or the mean of its best "top_k"; sums "weighted" by
            one learned number for each segment, or by "attention", a softmax over the segments of
            what one learned layer makes of their vectors.
        segments: K.
        top_k: how many segments that is.
        channels: of a segment's vector.

    Raises:
        ValueError: no such consensus, or more segments wanted than there are.
    """

    def __init__(self, kind: Consensus, *, segments: int, top_k: int, channels: int) -> None:
        super().__init__()
        if kind not in get_args(Consensus):
            raise ValueError(f"consensus is one of {', '.join(get_args(Consensus))}, not {kind!r}.")
        if kind == "top_k" and not 1 <= top_k <= segments:
            raise ValueError(f"top_k must be from 1 to segments={segments}, got {top_k}.")
        self.kind, self.segments, self.top_k = kind, segments, top_k
        if kind == "weighted":
            self.weight = nn.Parameter(torch.full((segments,), 1 / segments))
        elif kind == "attention":
            self.attention = nn.Linear(channels, 1, bias=False)

    def forward(self, logits: Tensor, vectors: Tensor) -> Tensor:
        """Agree.

        Args:
            logits: `(B, K, classes)`.
            vectors: `(B, K, channels)`, from which the logits came.

        Returns:
            `(B, classes)`.

        Raises:
            ValueError: another K than there are learned weights, or fewer than the best `top_k`.
        """
        found = logits.shape[1]
        if self.kind == "weighted" and found != self.segments:
            raise ValueError(
                f"This TSN has learned weights for {self.segments} segments, the clip has {found}. "
                "Feed as many, or take another consensus."
            )
        if self.kind == "max":
            return logits.amax(dim=1)
        if self.kind == "top_k":
            if found < self.top_k:
                raise ValueError(
                    f"This TSN averages the best {self.top_k} segments, the clip has {found}."
                )
            return logits.topk(self.top_k, dim=1).values.mean(dim=1)
        if self.kind == "weighted":
            return (self.weight[:, None] * logits).sum(dim=1)
        if self.kind == "attention":
            return (self.attention(vectors).softmax(dim=1) * logits).sum(dim=1)
        return logits.mean(dim=1)


class Tsn(nn.Module):
    """A 2D network for each stream, and a consensus; see `TsnOptions` for the arguments.

    `head` reads the vectors of all streams, one after the other.
    """

    def __init__(
        self,
        num_classes: int,
        streams: Sequence[str],
        *,
        backbone: str = "bn_inception",
        segments: int = 3,
        length: int = 5,
        size: int = 224,
        consensus: Consensus = "average",
        top_k: int = 3,
        dropout: float | None = None,
        partial_batch_norm: bool = False,
        same_padding: bool = False,
    ) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}.")
        self.streams, self.length = tuple(streams), length
        # Differences and flow lead on to one frame more; the last frame only repeats the last one.
        self.snippet = 1 if self.streams == ("rgb",) else length + 1
        self.least_size = 7 if backbone == "bn_inception" else 1
        self.backbones = nn.ModuleDict(
            {
                stream: Backbone2d(
                    backbone,
                    channels=CHANNELS[stream] * self._seen(stream),
                    same_padding=same_padding,
                )
                for stream in self.streams
            }
        )
        channels = [network.out_features for network in self._networks()]
        self.consensus = nn.ModuleDict(
            {
                stream: SegmentConsensus(consensus, segments=segments, top_k=top_k, channels=width)
                for stream, width in zip(self.streams, channels, strict=True)
            }
        )
        self.dropout = nn.ModuleDict(
            {
                stream: nn.Dropout(DROPOUT[stream] if dropout is None else dropout)
                for stream in self.streams
            }
        )
        self.head = nn.Linear(sum(channels), num_classes)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)
        self._kept_norms: list[nn.Module] = []
        if partial_batch_norm:
            for network in self._networks():
                self._kept_norms += [
                    layer
                    for layer in network.modules()
                    if isinstance(layer, nn.modules.batchnorm._BatchNorm)
                ][1:]  # the first sees a new kind of input
        for norm in self._kept_norms:
            norm.requires_grad_(False)
        self.clip_spec = _clip_spec(self.streams, backbone, segments, self.snippet, size)

    def train(self, mode: bool = True) -> "Tsn":
        """As in torch; batch norms that are kept as they are stay in eval mode."""
        super().train(mode)
        for norm in self._kept_norms:
            norm.eval()
        return self

    def pictures(self, clip: Tensor) -> list[Tensor]:
        """What each stream's network is shown: `(B, C', K, H, W)`, one picture a segment.

        Args:
            clip: as `forward` takes it.
        """
        check_clip(
            clip,
            "TSN",
            channels=self.clip_spec.channels,
            least_frames=self.snippet,
            least_size=self.least_size,
        )
        if clip.shape[2] % self.snippet:
            raise ValueError(
                f"TSN needs snippets of {self.snippet} frames, got T={clip.shape[2]} in a clip of "
                f"shape {tuple(clip.shape)}. Feed a multiple of {self.snippet}."
            )
        snippets = rearrange(clip, "b c (k l) h w -> b l c k h w", l=self.snippet)
        parts = snippets.split([CHANNELS[stream] for stream in self.streams], dim=2)
        return [
            part[:, : self._seen(stream)].flatten(1, 2)  # u, v of the first flow, of the second ...
            for stream, part in zip(self.streams, parts, strict=True)
        ]

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each segment, those of several streams side by side: `(B, D, K, H', W')`."""
        return torch.cat(self._maps(self.pictures(clip)), dim=1)

    def judge(self, pictures: Sequence[Tensor]) -> list[Tensor]:
        """The consensus of each stream: `(B, classes)` logits, in the order of `streams`.

        Args:
            pictures: as `self.pictures` gives them, from wherever they are.
        """
        vectors = [
            network.vectors(maps)
            for network, maps in zip(self._networks(), self._maps(pictures), strict=True)
        ]  # (B, K, D)
        weights = self.head.weight.split([one.shape[2] for one in vectors], dim=1)
        found = []
        for stream, one, weight in zip(self.streams, vectors, weights, strict=True):
            dropped = self.dropout[stream](one)
            if len(self.streams) == 1:
                logits = self.head(dropped)
            else:
                logits = functional.linear(dropped, weight, self.head.bias)
            found.append(self.consensus[stream](logits, one))
        return found

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, C, T, H, W)`, normalised as `self.clip_spec` says; T is any multiple of its
                `snippet`.

        Returns:
            `(B, classes)` logits; of several streams their weighted mean, before any softmax.
        """
        return self.fuse(self.judge(self.pictures(clip)))

    def fuse(self, logits: Sequence[Tensor]) -> Tensor:
        """The weighted mean of the streams' `(B, classes)` logits."""
        # Warped flow shares the weight of flow where there are both.
        weights = dict(WEIGHT, flow=1.0) if "warped_flow" in self.streams[1:] else WEIGHT
        shares = [weights[stream] for stream in self.streams]
        weighed = [share * one for share, one in zip(shares, logits, strict=True)]
        return torch.stack(weighed).sum(dim=0) / sum(shares)

    def _seen(self, stream: str) -> int:
        """How many frames of a snippet are stacked."""
        return 1 if stream == "rgb" else self.length

    def _networks(self) -> list[Backbone2d]:
        return [self.backbones[stream] for stream in self.streams]  # type: ignore[misc]

    def _maps(self, pictures: Sequence[Tensor]) -> list[Tensor]:
        networks = zip(self._networks(), pictures, strict=True)
        return [network.maps(picture) for network, picture in networks]


class TsnStreams(Tsn):
    """Several streams in one network."""

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the streams' own losses: each of them learns as if it were alone.

        Args:
            clip: as `forward` takes it.
            labels: `(B,)`.

        Returns:
            The loss and the fused `(B, classes)` logits.
        """
        streams = self.judge(self.pictures(clip))
        own = [functional.cross_entropy(logits.float(), labels) for logits in streams]
        return torch.stack(own).sum(), self.fuse(streams)


def _clip_spec(
    streams: tuple[str, ...], backbone: str, segments: int, snippet: int, size: int
) -> ClipSpec:
    means: dict[str, tuple[float, ...]] = {"rgb": IMAGENET_MEAN, "flow": (0.5, 0.5)}
    stds: dict[str, tuple[float, ...]] = {"rgb": IMAGENET_STD, "flow": (0.226, 0.226)}
    if backbone == "bn_inception":  # bytes, less their mean
        means = {"rgb": bn_inception.MEAN, "flow": (128 / 255, 128 / 255)}
        stds = {"rgb": bn_inception.STD, "flow": (1 / 255, 1 / 255)}
    means |= {"rgb_difference": (0.0,) * 3, "warped_flow": means["flow"]}
    stds |= {"rgb_difference": stds["rgb"], "warped_flow": stds["flow"]}
    return ClipSpec(
        segments * snippet,
        size=size,
        resize_short=round(size * 8 / 7),
        mean=tuple(value for stream in streams for value in means[stream]),
        std=tuple(value for stream in streams for value in stds[stream]),
        inputs=streams,
        snippet=snippet,
    )


class SegmentOptions(TypedDict, total=False):
    """Options of every TSN.

    Attributes:
        segments: K of `clip_spec`; 3 by default. Any K can be fed, but to learned weights.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        consensus: what the segments say together: "average" by default; see `SegmentConsensus`.
        top_k: of the consensus "top_k"; 3 by default.
        dropout: before the classifier, in training; by default 0.8, of flow 0.7.
        partial_batch_norm: all batch norms but each network's first stay as loaded.
        same_padding: pad as TensorFlow does, for weights trained there.
    """

    segments: int
    size: int
    consensus: Consensus
    top_k: int
    dropout: float | None
    partial_batch_norm: bool
    same_padding: bool


class SnippetOptions(SegmentOptions, total=False):
    """Options of a TSN whose snippets are longer than a frame, besides `SegmentOptions`.

    Attributes:
        length: how many flows or differences are stacked; 5 by default. A snippet has a frame more.
    """

    length: int


def tsn(
    num_classes: int = 101, *, backbone: str = "bn_inception", **options: Unpack[SegmentOptions]
) -> Tsn:
    """TSN on colours, on any 2D network.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: `bn_inception`, as in the paper, or a classification network of torchvision.
        **options: see `SegmentOptions`.
    """
    return Tsn(num_classes, ("rgb",), backbone=backbone, **options)


def tsn_r50(num_classes: int = 400, **options: Unpack[SegmentOptions]) -> Tsn:
    """TSN on colours, on ResNet-50: 24.3 million parameters, 4.1 G multiply-adds a segment."""
    return Tsn(num_classes, ("rgb",), backbone="resnet50", **options)


def tsn_r101(num_classes: int = 400, **options: Unpack[SegmentOptions]) -> Tsn:
    """TSN on colours, on ResNet-101."""
    return Tsn(num_classes, ("rgb",), backbone="resnet101", **options)


def tsn_flow(
    num_classes: int = 101, *, backbone: str = "bn_inception", **options: Unpack[SnippetOptions]
) -> Tsn:
    """TSN on stacks of flow.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: as in `tsn`.
        **options: see `SnippetOptions`.
    """
    return Tsn(num_classes, ("flow",), backbone=backbone, **options)


def tsn_r50_flow(num_classes: int = 400, **options: Unpack[SnippetOptions]) -> Tsn:
    """TSN on stacks of flow, on ResNet-50."""
    return Tsn(num_classes, ("flow",), backbone="resnet50", **options)


def tsn_warped_flow(
    num_classes: int = 101, *, backbone: str = "bn_inception", **options: Unpack[SnippetOptions]
) -> Tsn:
    """TSN on stacks of flow from which the camera's motion is taken.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: as in `tsn`.
        **options: see `SnippetOptions`.
    """
    return Tsn(num_classes, ("warped_flow",), backbone=backbone, **options)


def tsn_rgb_difference(
    num_classes: int = 101, *, backbone: str = "bn_inception", **options: Unpack[SnippetOptions]
) -> Tsn:
    """TSN on stacked differences of frames, which cost next to nothing.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: as in `tsn`.
        **options: see `SnippetOptions`.
    """
    return Tsn(num_classes, ("rgb_difference",), backbone=backbone, **options)


def tsn_two_stream(
    num_classes: int = 101, *, backbone: str = "bn_inception", **options: Unpack[SnippetOptions]
) -> TsnStreams:
    """TSN on colours and flow, 1 : 1.5; 94.0 % on UCF101.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: of each stream, as in `tsn`.
        **options: see `SnippetOptions`.
    """
    return TsnStreams(num_classes, ("rgb", "flow"), backbone=backbone, **options)


def tsn_three_stream(
    num_classes: int = 101, *, backbone: str = "bn_inception", **options: Unpack[SnippetOptions]
) -> TsnStreams:
    """TSN on colours, flow and warped flow, 1 : 1 : 0.5; 94.2 % on UCF101.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: of each stream, as in `tsn`.
        **options: see `SnippetOptions`.
    """
    streams = ("rgb", "flow", "warped_flow")
    return TsnStreams(num_classes, streams, backbone=backbone, **options)


def tsn_real_time(
    num_classes: int = 101, *, backbone: str = "bn_inception", **options: Unpack[SnippetOptions]
) -> TsnStreams:
    """TSN on colours and their differences, 1 : 1: no flow to wait for.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: of each stream, as in `tsn`.
        **options: see `SnippetOptions`.
    """
    return TsnStreams(num_classes, ("rgb", "rgb_difference"), backbone=backbone, **options)


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename the entries of a torchvision network or of BN-Inception, for each stream.

    A first layer that sees more than three channels gets the mean of the colours' weights.
    """
    assert isinstance(model, Tsn)
    renamed = backbone_2d.from_torchvision(state, model)
    own = model.state_dict()
    found = {name: value for name, value in own.items() if name.startswith("consensus.")}
    for stream, network in model.backbones.items():
        for name, value in renamed.items():
            if name.startswith("backbone."):
                found[f"backbones.{stream}.{name.removeprefix('backbone.')}"] = value
        layer_name, layer = first_convolution(network.features)  # type: ignore[arg-type]
        first = f"backbones.{stream}.features.{layer_name}.weight"
        if layer.in_channels != found[first].shape[1]:
            found[first] = for_flow(found[first], layer.in_channels)
    streams = len(model.streams)
    return found | {
        "head.weight": torch.cat([renamed["head.weight"]] * streams, dim=1),
        "head.bias": renamed["head.bias"],
    }


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's TSN recogniser on a ResNet."""
    rules = (*MMACTION2_RESNET_NAMES, (r"^cls_head\.fc_cls\.", "head."))
    return _of_one_stream(rename(state, rules), model)


def from_yjxiong(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' PyTorch code, on BN-Inception or a ResNet.

    On BN-Inception the result wants its colours as that code does: blue, green, red.
    """
    network = {
        name.removeprefix("base_model."): value
        for name, value in state.items()
        if name.startswith("base_model.")
    }
    if bn_inception.is_caffe(network):
        network = bn_inception.from_caffe(network)
    heads = {name: value for name, value in state.items() if name.startswith("new_fc.")}
    # Without dropout the classifier is the network's own.
    rules = ((r"^new_fc\.", "head."), (r"^fc\.", "head."), (r"^(?!head\.)", "backbone.features."))
    return _of_one_stream(rename(network | heads, rules), model)


def from_yjxiong_bgr(state: State, model: nn.Module) -> State:
    """The same, for colours that are red, green, blue, as everywhere here."""
    renamed = from_yjxiong(state, model)
    assert isinstance(model, Tsn)
    (stream,) = model.streams
    first = f"backbones.{stream}.features.conv1.conv.weight"
    return renamed | {first: bn_inception.in_rgb(renamed[first])}


def _of_one_stream(state: State, model: nn.Module) -> State:
    assert isinstance(model, Tsn)
    (stream,) = model.streams
    return rename(state, ((r"^backbone\.", f"backbones.{stream}."),))


def join_streams(model: TsnStreams, streams: Sequence[Tsn]) -> None:
    """Put streams that were trained apart into a network of all.

    Args:
        model: of the same backbones, classes and consensus; is changed.
        streams: one trained network for each of the model's streams, in their order.

    Raises:
        ValueError: they are not the model's streams, or do not fit.
    """
    names = tuple(name for stream in streams for name in stream.streams)
    if names != model.streams:
        raise ValueError(f"This TSN has the streams {model.streams}, got {names}.")
    state: State = {}
    for stream in streams:
        state |= {name: value for name, value in stream.state_dict().items() if name[:5] != "head."}
    biases = torch.stack([stream.head.bias for stream in streams])
    state["head.weight"] = torch.cat([stream.head.weight for stream in streams], dim=1).detach()
    state["head.bias"] = model.fuse(list(biases.unsqueeze(1)))[0].detach()
    load_strict(model, state, "These streams")


LAYOUTS = {
    "torchvision": from_torchvision,
    "mmaction2": from_mmaction2,
    "yjxiong": from_yjxiong,
    "yjxiong_bgr": from_yjxiong_bgr,
}
STREAMS_LAYOUTS = {"torchvision": from_torchvision}


_OPENMMLAB = "https://download.openmmlab.com/mmaction"
_KINETICS = ("Kinetics-400", 400)
_SOMETHING = ("Something-Something V2", 174)


def _of_mmaction2(
    network: str, config: str, end: str, data: tuple[str, int], top1: float, top5: float
) -> Weights:
    """A row of the zoo; all were tested alike, the one of dense clips by its own frames."""
    name = f"tsn_imagenet-pretrained-{network}_8xb32-{config}-rgb"
    segments = int(config.split("-")[0].rpartition("x")[2])
    trained_on, num_classes = data
    return Weights(
        url=f"{_OPENMMLAB}/v1.0/recognition/tsn/{name}/{name}_{end}.pth",
        sha256_prefix=end.split("-")[1],
        trained_on=trained_on,
        num_classes=num_classes,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 25 frames over the whole span, 10 crops of 224 from 256",
        layout="mmaction2",
        options={} if segments == 3 else {"segments": segments},
        clip={"frames": 25},
    )


def _of_old_mmaction2(config: str, end: str, segments: int, top1: float, top5: float) -> Weights:
    name = f"tsn_r50_320p_{config}_kinetics400_flow"
    return Weights(
        url=f"{_OPENMMLAB}/recognition/tsn/{name}/{name}_{end}.pth",
        sha256_prefix=end.split("-")[1],
        trained_on="Kinetics-400, TV-L1",
        num_classes=400,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 25 snippets over the whole span, 10 crops of 224 from 256",
        layout="mmaction2",
        mean=(128 / 255,) * 2,
        std=(128 / 255,) * 2,
        options={} if segments == 3 else {"segments": segments},
        clip={"frames": 25 * 6},
    )


WEIGHTS_R50 = {
    "kinetics400": _of_mmaction2(
        "r50", "1x1x8-100e_kinetics400", "20220906-2692d16c", _KINETICS, 74.12, 91.34
    ),
    "kinetics400_5_segments": _of_mmaction2(
        "r50", "1x1x5-100e_kinetics400", "20220906-65d68713", _KINETICS, 73.80, 91.21
    ),
    "kinetics400_3_segments": _of_mmaction2(
        "r50", "1x1x3-100e_kinetics400", "20220906-cd10898e", _KINETICS, 72.83, 90.65
    ),
    "something_v2": _of_mmaction2(
        "r50", "1x1x8-50e_sthv2", "20221122-ad2dbb37", _SOMETHING, 34.85, 66.37
    ),
    "something_v2_16_segments": _of_mmaction2(
        "r50", "1x1x16-50e_sthv2", "20221122-ee13c8e2", _SOMETHING, 36.55, 68.00
    ),
}
WEIGHTS_R101 = {
    "kinetics400": _of_mmaction2(
        "r101", "1x1x8-100e_kinetics400", "20220906-23cff032", _KINETICS, 75.89, 92.07
    ),
}
WEIGHTS_R50_FLOW = {
    "kinetics400": _of_old_mmaction2("1x1x8_110e", "20200705-1f39486b", 8, 57.76, 80.99),
    "kinetics400_3_segments": _of_old_mmaction2("1x1x3_110e", "20200705-3036bab6", 3, 55.70, 79.85),
}

PAPER = "Wang et al., Temporal Segment Networks, ECCV 2016"


def _row(build: Any, *inputs: str, backbone: str = "bn_inception", weights: Any = None) -> ModelRow:
    several = len(inputs) > 1
    return ModelRow(
        build,
        PAPER,
        2016,
        "two-stream" if inputs != ("rgb",) else "frames",
        inputs=inputs,
        weights=weights or {},
        backbone=backbone,
        layouts=STREAMS_LAYOUTS if several else LAYOUTS,
    )


MODELS = {
    "tsn": _row(tsn, "rgb"),
    "tsn_flow": _row(tsn_flow, "flow"),
    "tsn_r101": _row(tsn_r101, "rgb", backbone="resnet101", weights=WEIGHTS_R101),
    "tsn_r50": _row(tsn_r50, "rgb", backbone="resnet50", weights=WEIGHTS_R50),
    "tsn_r50_flow": _row(tsn_r50_flow, "flow", backbone="resnet50", weights=WEIGHTS_R50_FLOW),
    "tsn_real_time": _row(tsn_real_time, "rgb", "rgb_difference"),
    "tsn_rgb_difference": _row(tsn_rgb_difference, "rgb_difference"),
    "tsn_three_stream": _row(tsn_three_stream, "rgb", "flow", "warped_flow"),
    "tsn_two_stream": _row(tsn_two_stream, "rgb", "flow"),
    "tsn_warped_flow": _row(tsn_warped_flow, "warped_flow"),
}

_ZOO = "MMAction2's model zoo, for 25 frames and one of its 10 crops"
PUBLISHED = (
    Published(
        "tsn_r50", _ZOO, clip=(3, 25, 224, 224), parameters="24.33 M", multiply_adds="102.7 G"
    ),
    Published(
        "tsn_r101", _ZOO, clip=(3, 25, 224, 224), parameters="43.32 M", multiply_adds="195.8 G"
    ),
)
