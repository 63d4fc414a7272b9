"""Two streams that meet in their maps, not in their scores; and the chunks of a clip with them.

Feichtenhofer, Pinz and Zisserman, "Convolutional Two-Stream Network Fusion for Video Action
Recognition", CVPR 2016, arXiv:1604.06573.

Notable: after the last ReLU of the convolutions the same place in both streams speaks of the same
thing, so their maps are joined there: added, compared, stacked, mixed by a convolution, or
multiplied (Sec. 3.1). The paper's network mixes five moments by a 3D convolution and pools over
them; its temporal stream also goes on by itself, with a loss of its own, and both predictions are
averaged (Sec. 3.4). The convolution starts as a blur in space and time of a quarter of the spatial
map and three quarters of the temporal one, as the authors' code does.
Differs from the authors' code: bilinear features go to `head`, which can learn with the rest, where
they use an SVM; the ten flows of a moment are computed between successive frames, and moments
overlap where the distance between them is drawn smaller than that.
"""

import dataclasses
from collections import OrderedDict
from typing import Any, Literal, TypedDict, Unpack

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.models.cnn_m import CnnM
from praxino.models.flow_stack import FlowStack
from praxino.models.row import ModelRow
from praxino.models.two_stream import (
    BYTES_MEAN,
    BYTES_STD,
    SpatialStream,
    TemporalStream,
    for_flow,
    fused,
    one_head,
)
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, load_strict, rename

__all__ = ["two_stream_fusion", "two_stream_fusion_cnn_m"]

Fuse = Literal["sum", "max", "concat", "conv", "bilinear", "conv3d"]
Pool = Literal["2d", "3d"]

SHARES = (0.25, 0.75)  # of the spatial and of the temporal map, where the convolution starts


class Sum(nn.Module):
    """The sum of two maps."""

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Two `(B, D, T, H, W)` to `(B, D, T, H, W)`."""
        return spatial + temporal


class Max(nn.Module):
    """The larger one of two maps, for each element."""

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Two `(B, D, T, H, W)` to `(B, D, T, H, W)`."""
        return torch.maximum(spatial, temporal)


class Concat(nn.Module):
    """Both maps; what they have to do with one another is left to the next layer."""

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Two `(B, D, T, H, W)` to `(B, 2 D, T, H, W)`."""
        return torch.cat([spatial, temporal], dim=1)


class ConvFusion(nn.Module):
    """Both maps, mixed by a convolution.

    Args:
        channels: D.
        kernel: 1, at each place by itself; or 3, over places and times.
    """

    def __init__(self, channels: int, kernel: Literal[1, 3]) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2 * channels, channels, kernel, padding=kernel // 2)
        self.relu = nn.ReLU(inplace=True)
        one = torch.eye(channels)
        mixing = torch.cat([share * one for share in SHARES], dim=1)  # (D, 2 D)
        distance = torch.arange(kernel, dtype=torch.float32) - kernel // 2
        bell = torch.exp(-distance.square() / 2)
        blur = torch.einsum("t,h,w->thw", bell, bell, bell)
        with torch.no_grad():
            self.conv.weight.copy_(mixing[:, :, None, None, None] * (blur / blur.sum()))
            assert self.conv.bias is not None
            self.conv.bias.zero_()

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Two `(B, D, T, H, W)` to `(B, D, T, H, W)`."""
        mixed: Tensor = self.relu(self.conv(torch.cat([spatial, temporal], dim=1)))
        return mixed


def bilinear_features(spatial: Tensor, temporal: Tensor) -> Tensor:
    """How each channel of one map goes with each channel of the other, over all places and times.

    Args:
        spatial: `(B, D, T, H, W)`.
        temporal: `(B, D, T, H, W)`.

    Returns:
        `(B, D D)`, their signed square roots, of length one (Sec. 3.1, after Eq. 6).
    """
    products = torch.einsum("bcthw,bdthw->bcd", spatial, temporal).flatten(1)
    # The slope of a root is infinite at 0, where many products of ReLUs are.
    roots = products.sign() * (products.abs() + 1e-12).sqrt()
    return functional.normalize(roots, dim=1)


class TwoStreamFusion(nn.Module):
    """See `two_stream_fusion`.

    Args:
        num_classes: K.
        spatial: the convolutions of the spatial stream, up to the last ReLU.
        temporal: those of the temporal stream.
        pool: over how many rows and columns is pooled after them.
        hidden: the layers from the fused map to a vector, and from the temporal one; of the first
            none for bilinear fusion.
        widths: the lengths of these vectors.
        channels: D, of the maps.
        stack: of the flows of a moment.
        options: `FusionOptions`.
        clip_spec: without its frames.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        spatial: nn.Module,
        temporal: nn.Module,
        pool: Literal[2, 3],
        hidden: tuple[nn.Module | None, nn.Module],
        widths: tuple[int, int],
        channels: int,
        stack: FlowStack,
        options: Any,
        clip_spec: ClipSpec,
    ) -> None:
        super().__init__()
        self.fusion: Fuse = options.get("fusion", "conv3d")
        self.chunks, self.stride = options.get("chunks", 5), options.get("chunk_stride", 10)
        self.jitter = options.get("chunk_jitter", 5)
        if self.chunks < 1 or self.stride < 1 or not 0 <= self.jitter < self.stride:
            raise ValueError(
                "chunks and chunk_stride are at least 1, and chunk_jitter is less than the stride; "
                f"got {self.chunks}, {self.stride} and {self.jitter}."
            )
        self.spatial, self.temporal, self.stack = spatial, temporal, stack
        self.fuse: nn.Module
        match self.fusion:
            case "sum":
                self.fuse = Sum()
            case "max":
                self.fuse = Max()
            case "concat" | "bilinear":
                self.fuse = Concat()
            case "conv":
                self.fuse = ConvFusion(channels, 1)
            case "conv3d":
                self.fuse = ConvFusion(channels, 3)
            case _:
                raise ValueError(
                    "fusion is 'sum', 'max', 'concat', 'conv', 'bilinear' or 'conv3d', not "
                    f"{self.fusion!r}."
                )
        over = self.chunks if options.get("pool", "3d") == "3d" else 1
        # Over three pixels CNN-M pools what hangs over the edge too.
        self.pool = nn.MaxPool3d((over, pool, pool), (over, 2, 2), ceil_mode=pool == 3)
        self.hidden = hidden[0]
        keep = options.get("keep_temporal", True)
        self.temporal_hidden = hidden[1] if keep else None
        self.head = nn.Linear(widths[0] + (widths[1] + 1 if keep else 0), num_classes)
        if keep:
            nn.init.zeros_(self.head.weight[:, -1])
        self.widths = widths
        frames = (self.chunks - 1) * (self.stride + self.jitter) + stack.flows + 1
        self.clip_spec = dataclasses.replace(clip_spec, frames=frames)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The fused maps before pooling: `(B, D, chunks, H', W')`; 2 D where nothing mixes them."""
        fused_maps: Tensor = self.fuse(*self.stream_maps(clip))
        return fused_maps

    def stream_maps(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of both streams, the spatial one's first: two `(B, D, chunks, H', W')`."""
        spec, flows = self.clip_spec, self.stack.flows
        size = spec.size if isinstance(self.hidden or self.temporal_hidden, _FixedSize) else None
        least = (self.chunks - 1) * self.stride + flows
        check_clip(
            clip, "TwoStreamFusion", channels=5, least_frames=least, size=size, least_size=32
        )
        starts = self._starts(clip.shape[2])
        frames = clip[:, :3, [start + flows // 2 for start in starts]]  # (B, 3, chunks, H, W)
        fields = torch.stack([clip[:, 3:, start : start + flows] for start in starts], dim=1)
        pictures = self.stack(fields.flatten(0, 1), spec)  # (B * chunks, 2 L, H, W)
        appearance = self.spatial(rearrange(frames, "b c t h w -> (b t) c h w"))
        motion = self.temporal(pictures)
        spatial, temporal = (
            rearrange(maps, "(b t) d h w -> b d t h w", t=self.chunks)
            for maps in (appearance, motion)
        )
        return spatial, temporal

    def _starts(self, frames: int) -> list[int]:
        """The first flow of each chunk: around the middle; in training as far apart as is drawn."""
        stride, flows = self.stride, self.stack.flows
        if self.training and self.chunks > 1:
            widest = min(stride + self.jitter, (frames - flows) // (self.chunks - 1))
            stride = int(torch.randint(stride - self.jitter, widest + 1, ()))
        reach = (self.chunks - 1) * stride + flows
        # The flow of the last frame repeats the one before it.
        first = max(frames - 1 - reach, 0) // 2
        return [first + number * stride for number in range(self.chunks)]

    def stream_logits(self, clip: Tensor) -> tuple[Tensor, ...]:
        """What the fused stream says, and the temporal one if it is kept: `(B, K)` logits each."""
        spatial, temporal = self.stream_maps(clip)
        if self.fusion == "bilinear":
            vector = bilinear_features(spatial, temporal)
        else:
            vector = self._vector(self.fuse(spatial, temporal), self.hidden)
        if self.temporal_hidden is None:
            return (self.head(vector),)
        own = self._vector(temporal, self.temporal_hidden)
        # As in two_stream.py: the last column gives each of the two a bias of its own.
        first, second, lean = self.head.weight.split([*self.widths, 1], dim=1)
        return (
            functional.linear(vector, first, self.head.bias + lean.squeeze(1)),
            functional.linear(own, second, self.head.bias - lean.squeeze(1)),
        )

    def _vector(self, maps: Tensor, hidden: nn.Module | None) -> Tensor:
        assert hidden is not None
        pooled = self.pool(maps)  # (B, D, 1 or chunks, H' / 2, W' / 2)
        vectors = hidden(rearrange(pooled, "b d t h w -> (b t) d h w"))
        # The mean of the chunks' logits is the logits of their mean.
        return rearrange(vectors, "(b t) d -> b t d", b=len(maps)).mean(dim=1)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 5, T, H, W)`, red, green, blue, u, v, normalised as `self.clip_spec` says, of
                T frames that hold the chunks; the colours of the middle frame of each are looked
                at. In training the distance of the chunks is drawn.

        Returns:
            `(B, K)` logits; of two streams their softmax is the mean of the probabilities.
        """
        return _one_of(self.stream_logits(clip))

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the losses of both streams.

        Args:
            clip: as `forward` takes it.
            labels: `(B,)` in [0, K).

        Returns:
            The loss and the `(B, K)` logits.
        """
        streams = self.stream_logits(clip)
        losses = torch.stack([functional.cross_entropy(logits, labels) for logits in streams])
        return losses.sum(), _one_of(streams)


def _one_of(streams: tuple[Tensor, ...]) -> Tensor:
    return streams[0] if len(streams) == 1 else fused(streams[0], streams[1], "probabilities", 1.0)


class FusionOptions(TypedDict, total=False):
    """Options of both networks.

    Attributes:
        fusion: of the maps: "sum", "max", "concat", "conv" (1 x 1), "bilinear", or the paper's
            choice "conv3d" (3 x 3 x 3) by default.
        pool: "3d" over all chunks by default; "2d" each by itself, and predictions are averaged.
        keep_temporal: the temporal stream also goes on by itself; yes by default.
        chunks: moments of a clip; 5 by default.
        chunk_stride: frames from one to the next; 10 by default.
        chunk_jitter: in training that many more or fewer, as is drawn; 5 by default.
        flows: L, of each moment; 10 by default.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        dropout: of all hidden layers, in training; 0.85 by default.
    """

    fusion: Fuse
    pool: Pool
    keep_temporal: bool
    chunks: int
    chunk_stride: int
    chunk_jitter: int
    flows: int
    size: int
    dropout: float


def _clip_spec(options: Any, mean: Any, std: Any, flow_std: float) -> ClipSpec:
    size = options.get("size", 224)
    return ClipSpec(
        1,  # the network knows how many it needs
        stride_frames=1,
        size=size,
        resize_short=round(size * 8 / 7),
        mean=(*mean, 0.5, 0.5),
        std=(*std, flow_std, flow_std),
        inputs=("rgb", "flow"),
    )


def _stack(options: Any, *, subtract_mean: bool) -> FlowStack:
    return FlowStack(
        options.get("flows", 10),
        stacking="flow",
        bidirectional=False,
        subtract_mean=subtract_mean,
    )


def _vgg16_convolutions(channels: int) -> nn.Sequential:
    """Up to the last ReLU; numbered as torchvision's."""
    layers: list[nn.Module] = []
    for stage, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        layers += [nn.MaxPool2d(2)] if stage else []
        for _ in range(depth):
            conv = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


def _vgg16_hidden(channels: int, width: int, dropout: float) -> nn.Sequential:
    """From a pooled map to a vector."""
    layers = OrderedDict[str, nn.Module](
        avgpool=nn.AdaptiveAvgPool2d(7),  # of 224 x 224 it is 7 x 7 already
        flatten=nn.Flatten(),
        fc6=nn.Linear(channels * 7 * 7, width),
        relu6=nn.ReLU(inplace=True),
        drop6=nn.Dropout(dropout),
        fc7=nn.Linear(width, width),
        relu7=nn.ReLU(inplace=True),
        drop7=nn.Dropout(dropout),
    )
    return nn.Sequential(layers)


class _FixedSize(nn.Sequential):
    """Hidden layers that take maps of one size."""


def _cnn_m_hidden(network: CnnM, channels: int) -> nn.Sequential:
    """Those of CNN-M-2048, without their pooling, for as many channels."""
    layers = OrderedDict(network.neck.named_children())
    del layers["pool5"]
    fc6: Any = layers["fc6"]
    layers["fc6"] = nn.Linear(fc6.in_features * channels // 512, fc6.out_features)
    return _FixedSize(layers)


def two_stream_fusion(
    num_classes: int = 101, *, hidden: int = 4096, **options: Unpack[FusionOptions]
) -> TwoStreamFusion:
    """The paper's network on VGG-16; 92.5 % on UCF101, 65.4 % on HMDB51.

    Args:
        num_classes: K; UCF101 has 101.
        hidden: units of the hidden layers.
        **options: see `FusionOptions`.
    """
    dropout = options.get("dropout", 0.85)
    fusion = options.get("fusion", "conv3d")
    fused_channels = 1024 if fusion == "concat" else 512
    bilinear = fusion == "bilinear"
    return TwoStreamFusion(
        num_classes,
        spatial=_vgg16_convolutions(3),
        temporal=_vgg16_convolutions(2 * options.get("flows", 10)),
        pool=2,
        hidden=(
            None if bilinear else _vgg16_hidden(fused_channels, hidden, dropout),
            _vgg16_hidden(512, hidden, dropout),
        ),
        widths=(512 * 512 if bilinear else hidden, hidden),
        channels=512,
        stack=_stack(options, subtract_mean=False),
        options=options,
        clip_spec=_clip_spec(options, IMAGENET_MEAN, IMAGENET_STD, 0.226),
    )


def two_stream_fusion_cnn_m(
    num_classes: int = 101, **options: Unpack[FusionOptions]
) -> TwoStreamFusion:
    """The network on CNN-M-2048, on which the paper compares the kinds of fusion (Table 1).

    Args:
        num_classes: K; UCF101 has 101.
        **options: see `FusionOptions`; the size is 41 or more.
    """
    size, dropout = options.get("size", 224), options.get("dropout", 0.85)
    fusion = options.get("fusion", "conv3d")
    spatial = CnnM(3, size=size, dropout=dropout)
    temporal = CnnM(2 * options.get("flows", 10), size=size, second_norm=False, dropout=dropout)
    bilinear = fusion == "bilinear"
    return TwoStreamFusion(
        num_classes,
        spatial=spatial.features,
        temporal=temporal.features,
        pool=3,
        hidden=(
            None if bilinear else _cnn_m_hidden(spatial, 1024 if fusion == "concat" else 512),
            _cnn_m_hidden(temporal, 512),
        ),
        widths=(512 * 512 if bilinear else 2048, 2048),
        channels=512,
        stack=_stack(options, subtract_mean=True),
        options=options,
        clip_spec=_clip_spec(options, BYTES_MEAN, BYTES_STD, 1 / 255),
    )


# The hidden layers have two names; convolutions stand in one folder or in two.
_TO_STREAM = (
    (r"^features\.(?:features\.)?", "convolutions."),
    (r"^(?:neck\.)?(?:classifier\.0|fc6)\.", "hidden.fc6."),
    (r"^(?:neck\.)?(?:classifier\.3|fc7)\.", "hidden.fc7."),
)


def _of_streams(model: nn.Module, spatial: State, temporal: State) -> State:
    """A network's entries but its head's, from those of two 2D networks; fusion starts as it is."""
    own = model.state_dict()
    found = {name: value for name, value in own.items() if name.startswith("fuse.")}
    for stream, state in (("spatial", spatial), ("temporal", temporal)):
        for name, value in rename(state, _TO_STREAM).items():
            kind, _, rest = name.partition(".")
            if kind == "convolutions":
                found[f"{stream}.{rest}"] = value
            elif kind == "hidden":
                place = f"{'temporal_' if stream == 'temporal' else ''}hidden.{rest}"
                if place in own:
                    found[place] = value
    first = "hidden.fc6.weight"
    if first in found and own[first].shape[1] == 2 * found[first].shape[1]:
        # Both maps side by side: the layer sees their mean.
        found[first] = torch.cat([found[first], found[first]], dim=1) / 2
    return found


def start_from_streams(
    model: TwoStreamFusion, spatial: SpatialStream, temporal: TemporalStream
) -> None:
    """Begin with two streams that were trained apart, as the paper does (Sec. 3.5).

    The fused stream has the hidden layers and the classifier of the spatial one; of bilinear
    fusion the classifier starts anew.

    Args:
        model: on the streams' network; is changed.
        spatial: a trained stream.
        temporal: a trained stream of as many flows.

    Raises:
        ValueError: a stream does not fit.
    """
    state = _of_streams(model, spatial.backbone.state_dict(), temporal.backbone.state_dict())
    state |= {f"head.{name}": value for name, value in model.head.state_dict().items()}
    if model.fusion != "bilinear":
        heads = [stream.head for stream in (spatial, temporal)]
        if model.temporal_hidden is None:
            state["head.weight"], state["head.bias"] = heads[0].weight, heads[0].bias
        else:
            state["head.weight"], state["head.bias"] = one_head(*heads)
    load_strict(model, state, "These two streams")


def from_torchvision(state: State, model: nn.Module) -> State:
    """Both streams from torchvision's VGG-16; the fused classifier starts anew."""
    spatial = {name: value for name, value in state.items() if not name.startswith("classifier.6.")}
    first = "features.0.weight"
    channels = model.state_dict()["temporal.0.weight"].shape[1]  # VGG-16's; CNN-M has none
    temporal = spatial | {first: for_flow(spatial[first], channels)}
    head = model.get_submodule("head").state_dict()
    found = _of_streams(model, spatial, temporal)
    return found | {f"head.{name}": value for name, value in head.items()}


LAYOUTS = {"torchvision": from_torchvision}

PAPER = "Feichtenhofer et al., Convolutional Two-Stream Network Fusion, CVPR 2016"
MODELS = {
    "two_stream_fusion": ModelRow(
        two_stream_fusion,
        PAPER,
        2016,
        "two-stream",
        inputs=("rgb", "flow"),
        backbone="vgg16",
        layouts=LAYOUTS,
    ),
    "two_stream_fusion_cnn_m": ModelRow(
        two_stream_fusion_cnn_m,
        PAPER,
        2016,
        "two-stream",
        inputs=("rgb", "flow"),
        layouts=LAYOUTS,
    ),
}
