"""ActionVLAD: one bag of words for all frames and positions, learned end to end.

Girdhar et al., "ActionVLAD: Learning Spatio-Temporal Aggregation for Action Classification", CVPR
2017, arXiv:1704.02895. The layer is NetVLAD (Arandjelovic et al., CVPR 2016, arXiv:1511.07247).

Notable: features of VGG-16's conv5_3 have length one; each is shared out among K = 64 centres by a
softmax, and what counts is how it differs from them, summed over space and time; so neither
order nor place matters. Each centre's sum is brought to length one, then all of them together.
The softmax starts as the centres' own, alpha = 1000 being all but a hard assignment, and is free of
them afterwards. Training goes in two stages, the first of the classifier alone; the centres come
from k-means before it (recipes/actionvlad.py). Two streams meet at one of three places:
concat puts their channels side by side, early puts the features of both in one bag, and late adds
a third of the colours' logits to two thirds of flow's.
Differs from the paper: a clip has the flow between its own frames, and the stream of flow stacks 10
of them at 25 places spread over the clip, which overlap in short ones. Late fusion is one `head`:
both classifiers side by side, their inputs weighed. Pooled vectors are dropped out as the paper
says; the authors' code leaves it out of single streams. As in that code, and unlike torchvision's
map, conv5_3 is taken before its ReLU.
"""

import contextlib
import re
from collections.abc import Iterable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from praxino.errors import EnvironmentFault
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.models.two_stream import for_flow
from praxino.video.clip_spec import (
    FLOW_MEAN,
    FLOW_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClipSpec,
)
from praxino.weights.fitting import State

__all__ = ["actionvlad", "actionvlad_flow", "actionvlad_two_stream", "vlad"]

Fusion = Literal["concat", "early", "late"]
EPS = 1e-6  # TensorFlow bounds the squared length from below by 1e-12
RGB_SHARE, FLOW_SHARE = 1 / 3, 2 / 3  # of the logits


class NetVlad(nn.Module):
    """Features of any number to one vector of fixed length.

    Args:
        channels: D, of a feature.
        centres: K.
        alpha: how hard features are shared out at first.
        hard: each feature goes to the nearest centre only, and centres do not learn: VLAD as it was
            before (Jegou et al., CVPR 2010).

    Attributes:
        centres: `(K, D)`.
        assign: the softmax's layer; of hard assignment None.
    """

    centres: Tensor

    def __init__(
        self, channels: int, centres: int = 64, *, alpha: float = 1000.0, hard: bool = False
    ) -> None:
        super().__init__()
        if centres < 1:
            raise ValueError(f"centres must be at least 1, got {centres}.")
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, got {alpha}.")
        self.alpha = alpha
        start = F.normalize(torch.randn(centres, channels), dim=1)  # until k-means has been asked
        if hard:
            self.register_buffer("centres", start)
        else:
            self.centres = nn.Parameter(start)
        self.assign = None if hard else nn.Linear(channels, centres)
        self.start_from(start)

    def start_from(self, centres: Tensor) -> None:
        """Take these centres, and assign by them: W = 2 alpha c, b = -alpha |c|^2.

        Args:
            centres: `(K, D)`, of as many as there are.

        Raises:
            ValueError: another shape.
        """
        if centres.shape != self.centres.shape:
            raise ValueError(
                f"The centres of this layer are {tuple(self.centres.shape)}, got "
                f"{tuple(centres.shape)}: build it with as many, of as many channels."
            )
        with torch.no_grad():
            self.centres.copy_(centres)
            if self.assign is not None:
                self.assign.weight.copy_(2 * self.alpha * centres)
                self.assign.bias.copy_(-self.alpha * centres.square().sum(dim=1))

    def residuals(self, features: Tensor) -> Tensor:
        """Sums of what features differ from each centre, before any norm.

        Args:
            features: `(B, N, D)`, of any length.

        Returns:
            `(B, K, D)`.
        """
        # A softmax of numbers around 2 alpha has no use for bfloat16's three digits.
        with _full_precision(features.device.type):
            features = F.normalize(features.to(self.centres), dim=2, eps=EPS)
            if self.assign is None:
                closeness = 2 * features @ self.centres.T - self.centres.square().sum(dim=1)
                shares = F.one_hot(closeness.argmax(dim=2), len(self.centres)).to(features)
            else:
                shares = self.assign(features).softmax(dim=2)  # (B, N, K)
            # The sum over N of share * (feature - centre), without a tensor of N x K x D.
            sums = shares.transpose(1, 2) @ features
            return sums - shares.sum(dim=1)[:, :, None] * self.centres

    def forward(self, features: Tensor) -> Tensor:
        """`(B, N, D)` to `(B, K * D)`, of length one."""
        each = F.normalize(self.residuals(features), dim=2, eps=EPS)
        return F.normalize(each.flatten(1), dim=1, eps=EPS)


def _full_precision(device: str) -> contextlib.AbstractContextManager[object]:
    if not torch.amp.is_autocast_available(device):  # shapes without numbers
        return contextlib.nullcontext()
    return torch.autocast(device, enabled=False)


def vgg16_conv5(channels: int = 3, width: int = 64) -> nn.Sequential:
    """The layers of torchvision's VGG-16 up to conv5_3, without its ReLU; they keep their numbers.

    Args:
        channels: of the pictures.
        width: channels of conv1; conv5 has eight times as many.
    """
    # Imported late: it takes seconds. The whole network would start 120 million more weights.
    from torchvision.models.vgg import cfgs, make_layers

    widths = [one if one == "M" else int(one) * width // 64 for one in cfgs["D"]]
    layers: nn.Sequential = make_layers(widths)[:-2]
    layers[0] = nn.Conv2d(channels, width, 3, padding=1)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return layers


def _maps(network: nn.Module, clip: Tensor) -> Tensor:
    """Of every frame: `(B, C, T, H, W)` to `(B, D, T, H / 16, W / 16)`."""
    maps = network(rearrange(clip, "b c t h w -> (b t) c h w"))
    return rearrange(maps, "(b t) d h w -> b d t h w", b=len(clip))


def _stacked(clip: Tensor, stack: int, places: int) -> Tensor:
    """Successive frames as one with more channels, at places spread evenly over the clip.

    Args:
        clip: `(B, C, T, H, W)`.
        stack: how many frames become one.
        places: how many there will be.

    Returns:
        `(B, stack * C, places, H, W)`: u and v of the first flow, then of the second, ...
    """
    room = clip.shape[2] - stack
    starts = [round(room * number / (places - 1)) for number in range(places)] if places > 1 else []
    frames = [start + step for start in starts or [room // 2] for step in range(stack)]
    return rearrange(clip[:, :, frames], "b c (p s) h w -> b (s c) p h w", s=stack)


def _bag(maps: Tensor) -> Tensor:
    """`(B, D, T, H, W)` to `(B, N, D)`."""
    return rearrange(maps, "b d t h w -> b (t h w) d")


class ActionVlad(nn.Module):
    """One stream; see `actionvlad` and `actionvlad_flow` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        stream: Literal["rgb", "flow"],
        *,
        frames: int,
        size: int,
        centres: int,
        alpha: float,
        width: int,
        stack: int = 1,
        places: int | None = None,
        hard: bool = False,
    ) -> None:
        super().__init__()
        channels = 8 * width
        self.clip_spec = _clip_spec((stream,), frames, size)
        self.stack, self.places = stack, places
        self.backbone = vgg16_conv5(self.clip_spec.channels * stack, width)
        self.vlad = NetVlad(channels, centres, alpha=alpha, hard=hard)
        self.dropout = nn.Dropout(0.5)
        self.head = _head(centres * channels, num_classes)

    def forward_features(self, clip: Tensor) -> Tensor:
        """conv5_3 of each frame, or each stack: `(B, D, T', H / 16, W / 16)`."""
        check_clip(
            clip,
            "ActionVLAD",
            channels=self.clip_spec.channels,
            least_frames=self.stack,
            least_size=16,
        )
        if self.places is not None:
            clip = _stacked(clip, self.stack, self.places)
        return _maps(self.backbone, clip)

    def bags(self, clip: Tensor) -> list[tuple[NetVlad, Tensor]]:
        """The layers that aggregate, each with what it is given: `(B, N, D)`."""
        return [(self.vlad, _bag(self.forward_features(clip)))]

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, C, T, H, W)`, normalised as `self.clip_spec` says; any T, of flow no fewer
                than are stacked.

        Returns:
            `(B, K)` logits.
        """
        logits: Tensor = self.head(self.dropout(self.vlad(_bag(self.forward_features(clip)))))
        return logits


class ActionVladTwoStream(nn.Module):
    """Colours and flow; see `actionvlad_two_stream` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        *,
        fusion: Fusion,
        frames: int,
        size: int,
        centres: int,
        alpha: float,
        width: int,
        stack: int,
        places: int,
    ) -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise ValueError(f"fusion is one of {', '.join(get_args(Fusion))}, not {fusion!r}.")
        self.fusion, self.stack, self.places = fusion, stack, places
        self.rgb, self.flow = vgg16_conv5(3, width), vgg16_conv5(2 * stack, width)
        channels = 8 * width
        if fusion == "late":
            self.rgb_vlad = NetVlad(channels, centres, alpha=alpha)
            self.flow_vlad = NetVlad(channels, centres, alpha=alpha)
        else:
            together = 2 * channels if fusion == "concat" else channels
            self.vlad = NetVlad(together, centres, alpha=alpha)
        vector = centres * (channels if fusion == "early" else 2 * channels)
        self.dropout = nn.Dropout(0.5)
        self.head = _head(vector, num_classes)
        self.clip_spec = _clip_spec(("rgb", "flow"), frames, size)

    def forward_features(self, clip: Tensor) -> Tensor:
        """conv5_3 of both streams, side by side: `(B, 1024, T', H / 16, W / 16)`."""
        check_clip(clip, "ActionVLAD", channels=5, least_frames=self.stack, least_size=16)
        stacks = _stacked(clip, self.stack, self.places)  # (B, stack * 5, places, H, W)
        each = rearrange(stacks, "b (s c) p h w -> b c s p h w", c=5)
        flow = rearrange(each[:, 3:], "b c s p h w -> b (s c) p h w")
        return torch.cat([_maps(self.rgb, each[:, :3, 0]), _maps(self.flow, flow)], dim=1)

    def bags(self, clip: Tensor) -> list[tuple[NetVlad, Tensor]]:
        """The layers that aggregate, each with what it is given: `(B, N, D)`."""
        maps = self.forward_features(clip)
        if self.fusion == "concat":
            return [(self.vlad, _bag(maps))]
        rgb, flow = (_bag(one) for one in maps.chunk(2, dim=1))
        if self.fusion == "early":
            return [(self.vlad, torch.cat([rgb, flow], dim=1))]
        return [(self.rgb_vlad, rgb), (self.flow_vlad, flow)]

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 5, T, H, W)`, red, green, blue, u and v, normalised as `self.clip_spec` says;
                any T of no fewer frames than are stacked.

        Returns:
            `(B, K)` logits.
        """
        vectors = [self.dropout(vlad(features)) for vlad, features in self.bags(clip)]
        if self.fusion == "late":
            vectors = [RGB_SHARE * vectors[0], FLOW_SHARE * vectors[1]]
        logits: Tensor = self.head(torch.cat(vectors, dim=1))
        return logits


def _head(width: int, num_classes: int) -> nn.Linear:
    head = nn.Linear(width, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head


def _clip_spec(inputs: tuple[str, ...], frames: int, size: int) -> ClipSpec:
    colours = (IMAGENET_MEAN, IMAGENET_STD)
    numbers = {"rgb": colours, "flow": (FLOW_MEAN, FLOW_STD)}
    means, stds = zip(*(numbers[name] for name in inputs), strict=True)
    return ClipSpec(
        frames,
        size=size,
        resize_short=round(size * 8 / 7),
        mean=sum(means, ()),
        std=sum(stds, ()),
        inputs=inputs,
    )


def actionvlad(
    num_classes: int = 51,
    *,
    frames: int = 25,
    size: int = 224,
    centres: int = 64,
    alpha: float = 1000.0,
    width: int = 64,
) -> ActionVlad:
    """ActionVLAD on colours: 25 frames over the whole video.

    Args:
        num_classes: K; HMDB51 has 51.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
        centres: of the bag; the vector that is classified has a feature's length for each.
        alpha: how hard features are shared out at first.
        width: channels of the first convolution; a feature has eight times as many.
    """
    return ActionVlad(
        num_classes, "rgb", frames=frames, size=size, centres=centres, alpha=alpha, width=width
    )


def actionvlad_flow(
    num_classes: int = 51,
    *,
    frames: int = 64,
    size: int = 224,
    centres: int = 64,
    alpha: float = 1000.0,
    width: int = 64,
    stack: int = 10,
    places: int = 25,
) -> ActionVlad:
    """ActionVLAD on optical flow.

    Args:
        num_classes: K; HMDB51 has 51.
        frames: T of `clip_spec`; any T from `stack` on can be fed.
        size: H and W of `clip_spec`, in pixels.
        centres: of the bag.
        alpha: how hard features are shared out at first.
        width: channels of the first convolution.
        stack: how many successive flows are seen as one.
        places: how many stacks, spread evenly over the clip.
    """
    _check_stack(stack, places, frames)
    return ActionVlad(
        num_classes,
        "flow",
        frames=frames,
        size=size,
        centres=centres,
        alpha=alpha,
        width=width,
        stack=stack,
        places=places,
    )


def actionvlad_two_stream(
    num_classes: int = 51,
    *,
    fusion: Fusion = "late",
    frames: int = 64,
    size: int = 224,
    centres: int = 64,
    alpha: float = 1000.0,
    width: int = 64,
    stack: int = 10,
    places: int = 25,
) -> ActionVladTwoStream:
    """ActionVLAD on colours and optical flow.

    Args:
        num_classes: K; HMDB51 has 51.
        fusion: `concat`: one bag of features of 1024 channels; `early`: one bag of the features of
            both; `late`: a bag for each, logits added one to two.
        frames: T of `clip_spec`; any T from `stack` on can be fed.
        size: H and W of `clip_spec`, in pixels.
        centres: of each bag.
        alpha: how hard features are shared out at first.
        width: channels of the first convolution.
        stack: how many successive flows are seen as one.
        places: how many stacks, and colour frames where they begin, spread evenly over the clip.
    """
    _check_stack(stack, places, frames)
    return ActionVladTwoStream(
        num_classes,
        fusion=fusion,
        frames=frames,
        size=size,
        centres=centres,
        alpha=alpha,
        width=width,
        stack=stack,
        places=places,
    )


def vlad(
    num_classes: int = 51,
    *,
    frames: int = 25,
    size: int = 224,
    centres: int = 64,
    width: int = 64,
) -> ActionVlad:
    """VLAD that does not learn: hard assignment to fixed centres, then a classifier.

    Args:
        num_classes: K; HMDB51 has 51.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
        centres: of the bag.
        width: channels of the first convolution.
    """
    return ActionVlad(
        num_classes,
        "rgb",
        frames=frames,
        size=size,
        centres=centres,
        alpha=1.0,
        width=width,
        hard=True,
    )


def _check_stack(stack: int, places: int, frames: int) -> None:
    if not 1 <= stack <= frames:
        raise ValueError(f"stack must be from 1 to frames={frames}, got {stack}.")
    if places < 1:
        raise ValueError(f"places must be at least 1, got {places}.")


def start_from_clips(
    model: ActionVlad | ActionVladTwoStream,
    clips: Iterable[Tensor],
    *,
    features: int = 200_000,
    seed: int = 0,
) -> int:
    """Put the centres where k-means finds them in the features of training clips.

    Args:
        model: its centres, and the softmax's layer with them, are changed in place.
        clips: batches `(B, C, T, H, W)` of training videos, normalised as the model's `clip_spec`
            says; all of them are looked at.
        features: how many are clustered, at most; every batch has an equal share in them.
        seed: of the choice, and of k-means.

    Returns:
        How many features were clustered; with late fusion, of each stream.

    Raises:
        ValueError: no clip, or fewer features than centres.
        EnvironmentFault: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        raise EnvironmentFault(
            "k-means needs scikit-learn, which is not installed: pip install praxino[classical]"
        ) from None
    generator = torch.Generator().manual_seed(seed)
    kept: list[list[Tensor]] = []  # of each batch, a bag of each layer
    training = model.training
    model.eval()
    with torch.no_grad():
        for clip in clips:
            bags = [F.normalize(bag, dim=2, eps=EPS).flatten(0, 1) for _, bag in model.bags(clip)]
            kept.append([bag.cpu() for bag in bags])
            share = max(1, features // len(kept))
            kept = [[_drawn(bag, share, generator) for bag in bags] for bags in kept]
    model.train(training)
    if not kept:
        raise ValueError("There is no clip to find centres in: give clips of training videos.")
    layers = [module for module in model.modules() if isinstance(module, NetVlad)]
    found = [torch.cat(bags) for bags in zip(*kept, strict=True)]
    for layer, bag in zip(layers, found, strict=True):
        count = len(layer.centres)
        if len(bag) < count:
            raise ValueError(
                f"{count} centres need as many features, got {len(bag)}: give more clips, or "
                "build the model with fewer centres."
            )
        centres = KMeans(count, n_init=1, random_state=seed).fit(bag.numpy()).cluster_centers_
        layer.start_from(torch.from_numpy(centres).to(layer.centres))
    return len(found[0])


def _drawn(features: Tensor, most: int, generator: torch.Generator) -> Tensor:
    if len(features) <= most:
        return features
    return features[torch.randperm(len(features), generator=generator)[:most]]


def late_fusion_of(rgb: ActionVlad, flow: ActionVlad) -> State:
    """Two networks that were trained by themselves, as one with late fusion.

    Args:
        rgb: from `actionvlad`.
        flow: from `actionvlad_flow`, for the same classes.

    Returns:
        What `actionvlad_two_stream` loads.
    """
    state = {}
    for stream, model in (("rgb", rgb), ("flow", flow)):
        for name, value in model.state_dict().items():
            part, _, rest = name.partition(".")
            if part != "head":
                state[f"{stream if part == 'backbone' else f'{stream}_vlad'}.{rest}"] = value
    state["head.weight"] = torch.cat([rgb.head.weight, flow.head.weight], dim=1).detach()
    state["head.bias"] = (RGB_SHARE * rgb.head.bias + FLOW_SHARE * flow.head.bias).detach()
    return state


def from_torchvision(state: State, model: nn.Module) -> State:
    """The convolutions of torchvision's VGG-16; centres and head stay as they are.

    Flow's first layer gets the mean of the colours' weights.
    """
    own = model.state_dict()
    streams = ["rgb", "flow"] if isinstance(model, ActionVladTwoStream) else ["backbone"]
    for stream in streams:
        for name in [name for name in own if name.startswith(f"{stream}.")]:
            found = state[name.replace(f"{stream}.", "features.")]
            channels = own[name].shape[1] if own[name].ndim == 4 else 0
            if found.ndim == 4 and found.shape[1] == 3 != channels:
                found = for_flow(found, channels)
            own[name] = found
    return own


# Which of torchvision's layers are conv1_1, conv1_2, conv2_1, ...
_VGG = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_CONVOLUTIONS = (2, 2, 3, 3, 3)


def from_rohitgirdhar(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' network of one stream, in TensorFlow's axes.

    What their optimizer kept is left out. Their colours are blue first.
    """
    numbers = {
        f"{stage}_{layer}": _VGG[sum(_CONVOLUTIONS[: stage - 1]) + layer - 1]
        for stage, count in enumerate(_CONVOLUTIONS, start=1)
        for layer in range(1, count + 1)
    }
    renamed: State = {}
    for name, value in state.items():
        parts = re.sub(r"^stream\d[./]", "", name).replace("/", ".").split(".")
        leaf = {"weights": "weight", "biases": "bias"}.get(parts[-1], parts[-1])
        if parts[0] == "vgg_16" and len(parts) == 4:
            number = numbers.get(parts[2].removeprefix("conv"))
            if number is None:  # fc6, fc7: of the network of two streams they began with
                continue
            if leaf == "weight":
                value = value.permute(3, 2, 0, 1)  # (out, in, h, w)
                value = value.flip(1) if number == 0 and value.shape[1] == 3 else value
            renamed[f"backbone.{number}.{leaf}"] = value.contiguous()
        elif parts[0] == "NetVLAD" and len(parts) == 2:
            renamed |= {f"vlad.{name}": entry for name, entry in _vlad_entry(leaf, value)}
        elif parts[:2] == ["classifier", "logits"] and len(parts) == 3:
            renamed[f"head.{leaf}"] = value.T.contiguous() if leaf == "weight" else value
    return renamed


def _vlad_entry(leaf: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """(1, 1, D, K) becomes (K, D)."""
    if leaf == "vlad_W":
        return [("assign.weight", value[0, 0].T.contiguous())]
    return [({"centers": "centres", "vlad_B": "assign.bias"}[leaf], value)]


LAYOUTS = {"torchvision": from_torchvision, "rohitgirdhar": from_rohitgirdhar}
LAYOUTS_TWO_STREAM = {"torchvision": from_torchvision}

PAPER = "Girdhar et al., ActionVLAD: Learning Spatio-Temporal Aggregation, CVPR 2017"
VLAD_PAPER = "Jegou et al., Aggregating Local Descriptors into a Compact Representation, CVPR 2010"
MODELS = {
    "actionvlad": ModelRow(
        actionvlad, PAPER, 2017, "aggregation", backbone="vgg16", layouts=LAYOUTS
    ),
    "actionvlad_flow": ModelRow(
        actionvlad_flow,
        PAPER,
        2017,
        "aggregation",
        inputs=("flow",),
        backbone="vgg16",
        layouts=LAYOUTS,
    ),
    "actionvlad_two_stream": ModelRow(
        actionvlad_two_stream,
        PAPER,
        2017,
        "aggregation",
        inputs=("rgb", "flow"),
        backbone="vgg16",
        layouts=LAYOUTS_TWO_STREAM,
    ),
    "vlad": ModelRow(vlad, VLAD_PAPER, 2010, "aggregation", backbone="vgg16", layouts=LAYOUTS),
}
