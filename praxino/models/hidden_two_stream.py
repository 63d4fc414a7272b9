"""Hidden two-stream networks: the temporal stream makes its flow itself, from frames.

Zhu, Lan, Newsam and Hauptmann, "Hidden Two-Stream Convolutional Networks for Action Recognition",
ACCV 2018, arXiv:1704.00389.

Notable: MotionNet sees 11 frames and gives 10 fields of flow at five scales. It learns without
labels: the next frame, carried back along the flow, should look like this one (`flow_losses.py`).
Then a temporal stream is stacked on it, and both learn together: to name the action, and still to
explain how the frames move.
Its temporal stream on VGG-16 is `hidden_temporal_stream` as it is; its TSN is the same with
`segments=3` and `backbone="bn_inception"`.
"""

import itertools
import re
from typing import Any, TypedDict, Unpack

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.backbone_2d import Backbone2d, first_convolution
from praxino.models.backbone_2d import from_torchvision as backbone_from_torchvision
from praxino.models.clip_shape import check_clip
from praxino.models.flow_losses import motion_loss
from praxino.models.row import ModelRow, Published
from praxino.models.two_stream import LateFusion, for_flow, fused
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, load_strict, rename
from praxino.weights.published import Weights

__all__ = ["hidden_temporal_stream", "hidden_two_stream", "motionnet"]

MEAN = (123 / 255, 117 / 255, 104 / 255)  # what Caffe subtracts; nothing is divided
FLOW_STD = 0.226  # the temporal stream's, as in two_stream.py: the mean of ImageNet's deviations


class MotionNet(nn.Module):
    """Frames to flow: an hourglass of 3 x 3 convolutions that predicts flow at five scales.

    Args:
        flows: L; it sees L + 1 frames.
        width: channels of the first convolutions.
    """

    def __init__(self, flows: int, width: int) -> None:
        super().__init__()
        if flows < 1 or width < 1:
            raise ValueError(f"flows and width must be at least 1, got {flows} and {width}.")
        self.flows, channels = flows, 2 * flows
        widths = [width * times for times in (1, 2, 4, 8, 8, 16)]
        before = [3 * (flows + 1), *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(come, leave, 3, stride=1 if level == 0 else 2, padding=1),
                nn.LeakyReLU(0.1, inplace=True),
                nn.Conv2d(leave, leave, 3, padding=1),
                nn.LeakyReLU(0.1, inplace=True),
            )
            for level, (come, leave) in enumerate(zip(before, widths, strict=True))
        )
        # Coarsest first, which has nothing to be joined with.
        wide = [16 * width, 8 * width, 4 * width, 2 * width, width]
        self.predict = nn.ModuleList(nn.Conv2d(d, channels, 3, padding=1) for d in wide)
        self.up = nn.ModuleList(
            nn.Sequential(_up(come, leave), nn.LeakyReLU(0.1, inplace=True))
            for come, leave in itertools.pairwise(wide)
        )
        self.up_flow = nn.ModuleList(_up(channels, channels) for _ in wide[1:])
        self.smooth = nn.ModuleList(  # without an activation, in the authors' code too
            nn.Conv2d(skip + leave + channels, leave, 3, padding=1)
            for skip, leave in zip(widths[-2:0:-1], wide[1:], strict=True)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, clip: Tensor) -> list[Tensor]:
        """Flow from each frame to the next one.

        Args:
            clip: `(N, 3, L + 1, H, W)`; H and W are multiples of 32.

        Returns:
            Five times `(N, 2 L, h, w)`, u and v of one pair after the other, in units of 20 pixels
            of the frames; from half their size down to a thirty-second.
        """
        found = rearrange(clip, "n c t h w -> n (t c) h w")
        maps = []
        for layers in self.down:
            found = layers(found)
            maps.append(found)
        found = maps.pop()  # (N, 1024, H / 32, W / 32)
        flows = [self.predict[0](found)]
        steps = zip(self.up, self.up_flow, self.smooth, self.predict[1:], strict=True)
        for up, up_flow, smooth, predict in steps:
            found = smooth(torch.cat([maps.pop(), up(found), up_flow(flows[-1])], dim=1))
            flows.append(predict(found))
        return flows[::-1]


def _up(come: int, leave: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(come, leave, 4, stride=2, padding=1)


def _stacks(clip: Tensor, motion: MotionNet, segments: int, model: str) -> Tensor:
    """A clip's segments one by one, which is checked: `(B * S, 3, L + 1, H, W)`."""
    check_clip(clip, model, frames=segments * (motion.flows + 1))
    height, width = clip.shape[-2:]
    if height % 32 or width % 32 or not height or not width:
        raise ValueError(
            f"{model} halves pictures five times: H and W must be multiples of 32, got {height} x "
            f"{width} in a clip of shape {tuple(clip.shape)}."
        )
    return rearrange(clip, "b c (s t) h w -> (b s) c t h w", s=segments)


def as_pictures(flow: Tensor) -> Tensor:
    """MotionNet's finest flow as a temporal stream sees flow that was stored in bytes (Sec. 3.2).

    Args:
        flow: `(N, 2 L, h, w)` in units of 20 pixels; clipped to one unit.

    Returns:
        `(N, 2 L, 2 h, 2 w)`; -20 to 20 pixels are 0 to 1, less the mean, by the deviation.
    """
    share = (flow.clamp(-1, 1) + 1) / 2
    # Caffe's bilinear upsampling: outside there is zero, so the outermost pixels are darker.
    line = flow.new_tensor([0.25, 0.75, 0.75, 0.25])
    channels = flow.shape[1]
    kernel = torch.outer(line, line).expand(channels, 1, 4, 4)
    share = functional.conv_transpose2d(share, kernel, stride=2, padding=1, groups=channels)
    return (share - 128 / 255) / FLOW_STD


class ProbedMotionNet(nn.Module):
    """MotionNet, and a linear classifier of its mean flows; see `motionnet`."""

    def __init__(self, num_classes: int, *, motion: MotionNet, clip_spec: ClipSpec) -> None:
        super().__init__()
        self.motion = motion
        self.head = nn.Linear(2 * motion.flows, num_classes)
        self.clip_spec = clip_spec

    def flows(self, clip: Tensor) -> list[Tensor]:
        """The flow of all scales, as `MotionNet` gives it.

        Args:
            clip: as `forward` takes it.
        """
        found: list[Tensor] = self.motion(_stacks(clip, self.motion, 1, "MotionNet"))
        return found

    def forward_features(self, clip: Tensor) -> Tensor:
        """The finest flow: `(B, 2, L, H / 2, W / 2)`, in units of 20 pixels."""
        return rearrange(self.flows(clip)[0], "b (l c) h w -> b c l h w", c=2)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips by their mean flows.

        Args:
            clip: `(B, 3, L + 1, H, W)`, normalised as `self.clip_spec` says; H and W are multiples
                of 32.

        Returns:
            `(B, K)` logits.
        """
        logits: Tensor = self.head(self.flows(clip)[0].mean(dim=(2, 3)))
        return logits

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """MotionNet's own losses, for which labels do not count, and the classifier's.

        Args:
            clip: as `forward` takes it.
            labels: `(B,)`, from which the classifier learns, and nothing below it.

        Returns:
            The loss and the `(B, K)` logits.
        """
        flows = self.flows(clip)
        logits = self.head(flows[0].detach().mean(dim=(2, 3)))
        return motion_loss(clip, flows) + functional.cross_entropy(logits, labels), logits


class HiddenTemporalStream(nn.Module):
    """MotionNet, and a temporal stream stacked on it; see `hidden_temporal_stream`."""

    def __init__(
        self,
        num_classes: int,
        *,
        motion: MotionNet,
        backbone: Any,
        segments: int,
        motion_weight: float,
        clip_spec: ClipSpec,
    ) -> None:
        super().__init__()
        self.motion, self.backbone = motion, backbone
        self.head = nn.Linear(backbone.out_features, num_classes)
        self.segments, self.clip_spec = segments, clip_spec
        self.motion_weight = _checked(motion_weight)

    def _look(self, clip: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Each segment's map before pooling, its frames, and its flow at all scales."""
        stacks = _stacks(clip, self.motion, self.segments, "The hidden temporal stream")
        flows: list[Tensor] = self.motion(stacks)
        return self.backbone.features(as_pictures(flows[0])), stacks, flows

    def _judge(self, maps: Tensor) -> Tensor:
        """The mean of the segments' logits."""
        logits: Tensor = self.head(self.backbone.neck(maps))
        return logits.unflatten(0, (-1, self.segments)).mean(dim=1)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each segment before pooling: `(B, D, S, H', W')`."""
        maps = self._look(clip)[0]
        return rearrange(maps, "(b s) d h w -> b d s h w", s=self.segments)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, S (L + 1), H, W)`, one segment after the other, normalised as
                `self.clip_spec` says; H and W are multiples of 32.

        Returns:
            `(B, K)` logits.
        """
        return self._judge(self._look(clip)[0])

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross entropy, and MotionNet's own losses times `motion_weight`.

        Args:
            clip: as `forward` takes it.
            labels: `(B,)` in [0, K).

        Returns:
            The loss and the `(B, K)` logits.
        """
        maps, stacks, flows = self._look(clip)
        logits = self._judge(maps)
        loss = functional.cross_entropy(logits, labels)
        if self.motion_weight:
            loss = loss + self.motion_weight * motion_loss(stacks, flows)
        return loss, logits


class HiddenTwoStream(nn.Module):
    """A spatial stream beside the hidden temporal one; see `hidden_two_stream`.

    `head` holds both classifiers, as that of `two_stream.TwoStream` does: it reads the spatial
    stream's vector, the temporal stream's, and a last number, 1 for the one and -1 for the other,
    so that each has a bias of its own.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        motion: MotionNet,
        spatial: Any,
        temporal: Any,
        segments: int,
        motion_weight: float,
        fusion: LateFusion,
        flow_weight: float,
        clip_spec: ClipSpec,
    ) -> None:
        super().__init__()
        if fusion not in ("probabilities", "logits"):
            raise ValueError(f"fusion is 'probabilities' or 'logits', not {fusion!r}.")
        if not 0 < flow_weight < float("inf"):
            raise ValueError(f"flow_weight must be above 0, got {flow_weight}.")
        self.motion, self.spatial, self.temporal = motion, spatial, temporal
        self.head = nn.Linear(spatial.out_features + temporal.out_features + 1, num_classes)
        nn.init.zeros_(self.head.weight[:, -1])
        self.segments, self.clip_spec = segments, clip_spec
        self.motion_weight = _checked(motion_weight)
        self.fusion, self.flow_weight = fusion, flow_weight

    def _look(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Both streams' maps of each segment before pooling, its frames, its flow at all scales."""
        stacks = _stacks(clip, self.motion, self.segments, "The hidden two-stream network")
        flows: list[Tensor] = self.motion(stacks)
        frame = stacks[:, :, 0] + _colours(clip, MEAN) - _colours(clip, IMAGENET_MEAN)
        appearance = self.spatial.features(frame / _colours(clip, IMAGENET_STD))
        return appearance, self.temporal.features(as_pictures(flows[0])), stacks, flows

    def _judge(self, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Each stream's logits, the mean over segments."""
        vectors = [self.spatial.neck(appearance), self.temporal.neck(motion)]
        weights = self.head.weight.split([vectors[0].shape[1], vectors[1].shape[1], 1], dim=1)
        lean = weights[2].squeeze(1)
        spatial = functional.linear(vectors[0], weights[0], self.head.bias + lean)
        temporal = functional.linear(vectors[1], weights[1], self.head.bias - lean)
        return (
            spatial.unflatten(0, (-1, self.segments)).mean(dim=1),
            temporal.unflatten(0, (-1, self.segments)).mean(dim=1),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The maps of each segment before pooling, the spatial stream's first.

        Args:
            clip: as `forward` takes it.

        Returns:
            `(B, 2 D, S, H', W')`.
        """
        maps = torch.cat(self._look(clip)[:2], dim=1)
        return rearrange(maps, "(b s) d h w -> b d s h w", s=self.segments)

    def stream_logits(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """What each stream says by itself, the spatial one first: two `(B, K)` logits.

        Args:
            clip: as `forward` takes it.
        """
        return self._judge(*self._look(clip)[:2])

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, S (L + 1), H, W)`, one segment after the other, normalised as
                `self.clip_spec` says; H and W are multiples of 32. The spatial stream sees the
                first frame of each segment.

        Returns:
            `(B, K)` logits: the weighted mean of the streams' logits, or numbers whose softmax is
            the weighted mean of their probabilities.
        """
        return fused(*self.stream_logits(clip), self.fusion, self.flow_weight)

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The streams' own cross entropies, and MotionNet's own losses times `motion_weight`.

        Args:
            clip: as `forward` takes it.
            labels: `(B,)` in [0, K).

        Returns:
            The loss and the fused `(B, K)` logits.
        """
        appearance, motion, stacks, flows = self._look(clip)
        streams = self._judge(appearance, motion)
        own = [functional.cross_entropy(logits, labels) for logits in streams]
        loss = own[0] + own[1]
        if self.motion_weight:
            loss = loss + self.motion_weight * motion_loss(stacks, flows)
        return loss, fused(*streams, self.fusion, self.flow_weight)


def _colours(clip: Tensor, values: tuple[float, ...]) -> Tensor:
    return clip.new_tensor(values).view(3, 1, 1)


def _checked(motion_weight: float) -> float:
    if not 0 <= motion_weight < float("inf"):
        raise ValueError(f"motion_weight must be at least 0, got {motion_weight}.")
    return motion_weight


class MotionOptions(TypedDict, total=False):
    """Options of MotionNet.

    Attributes:
        flows: L; 10 by default. Clips have a frame more.
        size: H and W of `clip_spec`, in pixels, a multiple of 32; 224 by default.
        width: channels of its first convolutions; 64 by default.
    """

    flows: int
    size: int
    width: int


class StackedOptions(MotionOptions, total=False):
    """Options of the streams on MotionNet, besides `MotionOptions`.

    Attributes:
        segments: S, of L + 1 frames in a row each, spread over the video; 1 by default.
        motion_weight: of MotionNet's own losses in training, beside cross entropy; 1 by default.
        same_padding: pad the backbone as TensorFlow does, for weights trained there.
    """

    segments: int
    motion_weight: float
    same_padding: bool


def _clip_spec(options: Any) -> ClipSpec:
    size, segments = options.get("size", 224), options.get("segments", 1)
    if segments < 1:
        raise ValueError(f"segments must be at least 1, got {segments}.")
    frames = options.get("flows", 10) + 1
    return ClipSpec(
        segments * frames,
        stride_frames=1 if segments == 1 else None,
        snippet=1 if segments == 1 else frames,
        size=size,
        resize_short=round(size * 8 / 7),
        mean=MEAN,
        std=(1.0, 1.0, 1.0),
    )


def _motion(options: Any) -> MotionNet:
    return MotionNet(options.get("flows", 10), options.get("width", 64))


def _backbone(name: str, channels: int, options: Any) -> Backbone2d:
    """Its last hidden layer forgets 80 % in training, those before it 90 %, as the authors' VGG."""
    same_padding = options.get("same_padding", False)
    network = Backbone2d(name, channels=channels, same_padding=same_padding)
    found = [layer for layer in network.neck.modules() if isinstance(layer, nn.Dropout)]
    for layer in found:
        layer.p = 0.8 if layer is found[-1] else 0.9
    return network


def motionnet(num_classes: int = 101, **options: Unpack[MotionOptions]) -> ProbedMotionNet:
    """MotionNet by itself, the first stage: it learns flow, whatever the labels say.

    It is no recogniser. That it can be trained, graded and loaded like one, it has a classifier
    of the mean of each flow, in which nothing but which way things move is left; the classifier
    learns beside it and MotionNet feels nothing of that. `flows` gives what it is for.

    Args:
        num_classes: K; UCF101 has 101.
        **options: see `MotionOptions`.
    """
    return ProbedMotionNet(num_classes, motion=_motion(options), clip_spec=_clip_spec(options))


def hidden_temporal_stream(
    num_classes: int = 101, *, backbone: str = "vgg16", **options: Unpack[StackedOptions]
) -> HiddenTemporalStream:
    """MotionNet and a temporal stream on it, which learn together.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: of the temporal stream: `bn_inception`, or a network of torchvision.
        **options: see `MotionOptions` and `StackedOptions`.
    """
    motion = _motion(options)
    return HiddenTemporalStream(
        num_classes,
        motion=motion,
        backbone=_backbone(backbone, 2 * motion.flows, options),
        segments=options.get("segments", 1),
        motion_weight=options.get("motion_weight", 1.0),
        clip_spec=_clip_spec(options),
    )


def hidden_two_stream(
    num_classes: int = 101,
    *,
    backbone: str = "vgg16",
    fusion: LateFusion = "probabilities",
    flow_weight: float = 1.0,
    **options: Unpack[StackedOptions],
) -> HiddenTwoStream:
    """A spatial stream and the hidden temporal stream; nothing but colours is fed.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: of both streams: `bn_inception`, or a classification network of torchvision.
        fusion: of the streams' "probabilities" or "logits".
        flow_weight: of the temporal stream, where the spatial one has 1.
        **options: see `MotionOptions` and `StackedOptions`.
    """
    motion = _motion(options)
    return HiddenTwoStream(
        num_classes,
        motion=motion,
        spatial=_backbone(backbone, 3, options),
        temporal=_backbone(backbone, 2 * motion.flows, options),
        segments=options.get("segments", 1),
        motion_weight=options.get("motion_weight", 1.0),
        fusion=fusion,
        flow_weight=flow_weight,
        clip_spec=_clip_spec(options),
    )


# VGG-16's convolutions as torchvision counts them.
_VGG = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG_NAMES = [
    f"conv{stage}_{layer}"
    for stage, layers in enumerate((2, 2, 3, 3, 3), start=1)
    for layer in range(1, layers + 1)
]
# Layers of Caffe's that compute constants: units of flow, differences of neighbours.
_CONSTANT = re.compile(r"(predict_flow2_|boudary_|FlowScale|FlowDeltas)")


def from_bryanyzhu(state: State, model: nn.Module) -> State:
    """Rename the blobs of github.com/bryanyzhu/Hidden-Two-Stream, of MotionNet or of the stack.

    The result wants its colours as Caffe does: blue, green, red. What the file lacks, because it
    holds MotionNet only, stays as it is.
    """
    if "conv1.weight" not in state:  # a file of ours has other names
        return state
    rules = [
        (rf"^{name}_vgg16\.", f"backbone.features.features.{number}.")
        for name, number in zip(_VGG_NAMES, _VGG, strict=True)
    ]
    rules += [
        (r"^fc6_vgg16\.", "backbone.neck.classifier.0."),
        (r"^fc7_vgg16\.", "backbone.neck.classifier.3."),
        (r"^fc8_vgg16\.", "head."),
    ]
    for number in range(1, 7):
        rules += [
            (rf"^conv{number}\.", f"motion.down.{number - 1}.0."),
            (rf"^conv{number}_1\.", f"motion.down.{number - 1}.2."),
            (rf"^conv_pr{number}\.", f"motion.predict.{6 - number}."),
            (rf"^deconv{number}\.", f"motion.up.{5 - number}.0."),
            (rf"^upsample_flow\dto{number}\.", f"motion.up_flow.{5 - number}."),
            (rf"^smooth_conv{number}\.", f"motion.smooth.{5 - number}."),
        ]
    found = rename({n: value for n, value in state.items() if not _CONSTANT.match(n)}, rules)
    first = "backbone.features.features.0.weight"
    if first in found:  # theirs sees bytes less 128
        found[first] = found[first] * (255 * FLOW_STD)
        return found
    return from_motionnet(found, model)


def from_bryanyzhu_bgr(state: State, model: nn.Module) -> State:
    """The same, for clips whose colours are red, green, blue, as everywhere here."""
    colours = rearrange(state["conv1.weight"], "d (t c) h w -> d t c h w", c=3).flip(2)
    return from_bryanyzhu(state | {"conv1.weight": colours.flatten(1, 2)}, model)


def from_motionnet(state: State, model: nn.Module) -> State:
    """The part of a `motionnet` that every model here has; all else stays as it is."""
    kept = {n: value for n, value in _own(model).items() if not n.startswith("motion.")}
    return kept | {n: value for n, value in state.items() if n.startswith("motion.")}


def from_temporal_stream(state: State, model: nn.Module) -> State:
    """All that makes a `temporal_stream`, of flow that was computed; MotionNet stays as it is."""
    own = _own(model)
    return {n: value for n, value in own.items() if n.startswith("motion.")} | state


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename a torchvision classification network for each stream; MotionNet stays as it is.

    The temporal stream's first layer gets the mean of the colours' weights.
    """
    renamed = backbone_from_torchvision(state, model)
    found = {n: value for n, value in _own(model).items() if n.startswith("motion.")}
    for prefix in ("backbone",) if hasattr(model, "backbone") else ("spatial", "temporal"):
        for name, value in renamed.items():
            found[re.sub(r"^backbone\.", f"{prefix}.", name)] = value
    own, first = model.state_dict(), _first_weight(model)
    found[first] = for_flow(found[first], own[first].shape[1])
    if not hasattr(model, "backbone"):  # both classifiers lie in one layer
        weight = found["head.weight"]
        found["head.weight"] = torch.cat([weight, weight, torch.zeros_like(weight[:, :1])], dim=1)
    return found


def _own(model: nn.Module) -> State:
    return dict(model.state_dict())


def stack_streams(
    model: HiddenTemporalStream, motion: ProbedMotionNet, temporal: nn.Module
) -> None:
    """Put a trained MotionNet and a trained temporal stream one on the other, to go on together.

    Args:
        model: of the same sizes, backbone and classes; is changed.
        motion: after its stage, see `motionnet`.
        temporal: a `temporal_stream` that was trained on flow as it is stored.

    Raises:
        ValueError: one of them does not fit.
    """
    state = from_motionnet(motion.state_dict(), model)
    state |= {n: value for n, value in temporal.state_dict().items() if not n.startswith("motion.")}
    load_strict(model, state, "These two stages")


def _first_weight(model: nn.Module) -> str:
    """The name of the temporal stream's first weight."""
    prefix = "backbone" if hasattr(model, "backbone") else "temporal"
    name, _ = first_convolution(model.get_submodule(f"{prefix}.features"))
    return f"{prefix}.features.{name}.weight"


MOTIONNET_LAYOUTS = {
    "bryanyzhu_bgr": from_bryanyzhu_bgr,
    "bryanyzhu": from_bryanyzhu,
    "motionnet": from_motionnet,
}
LAYOUTS = MOTIONNET_LAYOUTS | {
    "temporal_stream": from_temporal_stream,
    "torchvision": from_torchvision,
}
TWO_STREAM_LAYOUTS = {"motionnet": from_motionnet, "torchvision": from_torchvision}

_LICENCE = "none stated (Hidden-Two-Stream; its Caffe is BSD-2-Clause)"


def _stacked(key: str, data: str, split: int, classes: int) -> Weights:
    """What the authors' README links to: their stack on VGG-16, after all stages."""
    return Weights(
        url=f"https://drive.google.com/open?id={key}",
        by_hand=f"{data.lower()}_split{split}_vgg16_hidden.caffemodel",
        sha256_prefix=None,
        trained_on=f"{data} split {split} (VGG-16 from ImageNet-1K)",
        num_classes=classes,
        licence=_LICENCE,
        layout="bryanyzhu_bgr",
    )


WEIGHTS = {
    "ucf101": _stacked("0B-bJpXHBmFWDamFiUmp0UGpwY2c", "UCF101", 1, 101),
    "ucf101_split2": _stacked("0B-bJpXHBmFWDVlpULU5tcmdGaGs", "UCF101", 2, 101),
    "ucf101_split3": _stacked("0B-bJpXHBmFWDNmozVDlPSTFWdEE", "UCF101", 3, 101),
    "hmdb51": _stacked("0B-bJpXHBmFWDUER6OUdyVmNyenM", "HMDB51", 1, 51),
    "hmdb51_split2": _stacked("0B-bJpXHBmFWDcmxVZmxyUWVJbzQ", "HMDB51", 2, 51),
    "hmdb51_split3": _stacked("0B-bJpXHBmFWDenZpWlFqNm0yMnM", "HMDB51", 3, 51),
}
MOTIONNET_WEIGHTS = {
    "ucf101": Weights(
        url="https://drive.google.com/open?id=0B-bJpXHBmFWDVU5DRTY4Ym02TFE",
        by_hand="MotionNet.caffemodel",
        sha256_prefix=None,
        trained_on="UCF101 split 1, without labels: its classifier starts anew",
        num_classes=101,
        licence=_LICENCE,
        layout="bryanyzhu_bgr",
    )
}

PAPER = "Zhu et al., Hidden Two-Stream Convolutional Networks for Action Recognition, ACCV 2018"
MODELS = {
    "hidden_temporal_stream": ModelRow(
        hidden_temporal_stream,
        PAPER,
        2018,
        "two-stream",
        weights=WEIGHTS,
        backbone="vgg16",
        layouts=LAYOUTS,
    ),
    "hidden_two_stream": ModelRow(
        hidden_two_stream, PAPER, 2018, "two-stream", backbone="vgg16", layouts=TWO_STREAM_LAYOUTS
    ),
    "motionnet": ModelRow(
        motionnet,
        PAPER,
        2018,
        "two-stream",
        weights=MOTIONNET_WEIGHTS,
        layouts=MOTIONNET_LAYOUTS,
    ),
}

PUBLISHED = (
    Published(
        "motionnet",
        "the authors' deploy.prototxt, counted",
        options={"num_classes": 1},  # the probe has 21 parameters for each class, theirs has none
        clip=(3, 11, 256, 320),
        parameters="42.32 M",
        multiply_adds="32.741 G",
    ),
)
