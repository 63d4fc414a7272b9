"""Beyond short snippets: what two minutes of frames say together, by pooling or by five LSTMs.

Yue-Hei Ng et al., "Beyond Short Snippets: Deep Networks for Video Classification", CVPR 2015,
arXiv:1503.08909.

Notable: frames a second apart share one CNN, so that 30 or 120 of them cost no more parameters than
one, and a network of one frame grows into one of 120 with its weights (recipes/). Where their
features are pooled by their maximum decides what order and place can tell (figure 2); before all
hidden layers ("conv") is best. The other network is a stack of five LSTMs with an answer at every
frame, where a mistake counts the more the later it comes: with a gain of t / T (Sec. 3.2).
Differs from the paper: GoogLeNet and AlexNet are torchvision's. Our flow ends at 20 pixels, not at
40; its picture's third channel is zero, as theirs. The loss is divided by the sum of the gains.
"""

from typing import Literal, TypedDict, Unpack, get_args

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models import backbone_2d
from praxino.models.backbone_2d import VECTOR_LAYOUTS, Backbone2d
from praxino.models.clip_shape import check_clip
from praxino.models.recurrent_cells import LstmState
from praxino.models.row import ModelRow
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State

__all__ = [
    "beyond_short_snippets_lstm",
    "beyond_short_snippets_lstm_flow",
    "beyond_short_snippets_pooling",
    "beyond_short_snippets_pooling_flow",
]

Pooling = Literal["conv", "late", "slow", "local", "time_conv"]
Answer = Literal["weighted", "mean", "max", "last"]
Stream = Literal["rgb", "flow"]


class FeaturePooling(nn.Module):
    """A CNN on every frame, and a maximum over them; see `beyond_short_snippets_pooling`."""

    def __init__(
        self,
        num_classes: int,
        stream: Stream,
        *,
        pooling: Pooling = "conv",
        backbone: str = "googlenet",
        hidden: int = 4096,
        cells: int = 1,
        window: int = 10,
        stride: int = 5,
        frames: int = 30,
        size: int = 224,
    ) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling is one of {', '.join(get_args(Pooling))}, not {pooling!r}.")
        if hidden == 0 and pooling in ("late", "slow", "local"):
            raise ValueError(
                f"pooling={pooling!r} is told from 'conv' by its hidden layers, got hidden=0."
            )
        windowed = pooling in ("slow", "local", "time_conv")
        if windowed and not (1 <= window <= frames and stride >= 1):
            raise ValueError(
                f"window must be from 1 to frames={frames} and stride at least 1, got "
                f"window={window} and stride={stride}."
            )
        self.pooling, self.window, self.stride = pooling, window, stride
        self.least_frames = window if windowed else 1
        self.frames = frames if pooling == "local" else None  # its classifier knows no other
        self.clip_spec = _clip_spec(stream, frames, size)
        self.backbone = Backbone2d(backbone)
        channels = self.backbone.map_shape(64)[0]
        self.backbone.neck = nn.Identity()
        if pooling == "time_conv":
            self.time = nn.Sequential(
                nn.Conv3d(channels, 256, (window, 3, 3), (stride, 1, 1), (0, 1, 1)),
                nn.ReLU(inplace=True),
            )
            channels = 256
        self.cells = nn.AdaptiveAvgPool2d(cells)
        features = channels * cells**2
        self.fc1 = _layer(features, hidden)
        self.fc2 = _layer(hidden, hidden)
        windows = (frames - window) // stride + 1 if pooling == "local" else 1
        self.head = nn.Linear((hidden or features) * windows, num_classes)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame, or of each window of `time_conv`: `(B, D, T, H', W')`."""
        check_clip(
            clip,
            "Feature pooling",
            channels=self.clip_spec.channels,
            frames=self.frames,
            least_frames=self.least_frames,
        )
        maps = self.backbone.maps(_pictures(clip))
        if self.pooling == "time_conv":
            maps = self.time(maps)
        return maps

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, or `(B, 2, T, H, W)` of flow, normalised as `self.clip_spec`
                says; any T, of windows no less than one. "local" takes the T it was built for.

        Returns:
            `(B, K)` logits.
        """
        maps = rearrange(self.forward_features(clip), "b d t h w -> (b t) d h w")
        features = rearrange(self.cells(maps).flatten(1), "(b t) d -> b t d", b=len(clip))
        if self.pooling == "late":
            vectors = self.fc2(self.fc1(features)).amax(dim=1)
        elif self.pooling == "slow":
            vectors = self.fc2(self.fc1(self._windows(features)).amax(dim=1))
        elif self.pooling == "local":
            vectors = self.fc2(self.fc1(self._windows(features))).flatten(1)  # larger classifier
        else:
            vectors = self.fc2(self.fc1(features.amax(dim=1)))
        logits: Tensor = self.head(vectors)
        return logits

    def _windows(self, features: Tensor) -> Tensor:
        """The maximum over each window: `(B, T, D)` to `(B, windows, D)`."""
        return features.unfold(1, self.window, self.stride).amax(dim=-1)


class DeepLstm(nn.Module):
    """A CNN on every frame, LSTMs above one another; see `beyond_short_snippets_lstm`."""

    def __init__(
        self,
        num_classes: int,
        stream: Stream,
        *,
        backbone: str = "googlenet",
        hidden: int = 512,
        layers: int = 5,
        answer: Answer = "weighted",
        frames: int = 30,
        size: int = 224,
    ) -> None:
        super().__init__()
        if answer not in get_args(Answer):
            raise ValueError(f"answer is one of {', '.join(get_args(Answer))}, not {answer!r}.")
        if layers < 1:
            raise ValueError(f"There is at least 1 LSTM, got layers={layers}.")
        self.answer = answer
        self.clip_spec = _clip_spec(stream, frames, size)
        self.backbone = Backbone2d(backbone)
        self.lstm = nn.LSTM(self.backbone.out_features, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, num_classes)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "The deep LSTM", channels=self.clip_spec.channels)
        return self.backbone.maps(_pictures(clip))

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each frame: `(B, T, K)` logits; of `forward`'s clips."""
        return self._steps(clip, None)[0]

    def step(self, frame: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """The next frame of a stream, which may go on for ever.

        Args:
            frame: `(B, C, H, W)`.
            state: what the last call returned; None at the beginning.

        Returns:
            `(B, K)` logits, those of `forward_steps` at this frame, and the new state.
        """
        logits, state = self._steps(frame.unsqueeze(2), state)
        return logits[:, 0], state

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, or `(B, 2, T, H, W)` of flow, normalised as `self.clip_spec`
                says; any T.

        Returns:
            `(B, K)` logits: what the answers at all frames come to.
        """
        return self.together(self.forward_steps(clip))

    def together(self, steps: Tensor) -> Tensor:
        """One answer of many: `(B, T, K)` logits to `(B, K)`; Sec. 3.2, the four ways.

        The mean of the frames' probabilities, later ones weighing more ("weighted", by t / T) or
        all alike ("mean"); each class's largest probability ("max"), which add up to more than one;
        or the "last" frame's answer.
        """
        if self.answer == "last":
            return steps[:, -1]
        log_probabilities = steps.log_softmax(dim=2)
        if self.answer == "max":
            return log_probabilities.amax(dim=1)
        gains = self._gains(steps)
        weights = gains if self.answer == "weighted" else torch.ones_like(gains)
        weights = (weights / weights.sum()).view(-1, 1)  # (T, 1)
        # Shifted, which changes no probability, so that equal answers stay what they are.
        centre = (weights * log_probabilities).sum(dim=1, keepdim=True)
        spread = (log_probabilities - centre + weights.log()).logsumexp(dim=1)
        return (weights * steps).sum(dim=1) + spread

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The cross entropy at every frame, with the gain t / T.

        Args:
            clip: as in `forward`.
            labels: `(B,)`.

        Returns:
            The mean loss, weighted by the gains, and `forward`'s `(B, K)` logits.
        """
        steps = self.forward_steps(clip).float()  # (B, T, K)
        each = functional.cross_entropy(
            steps.transpose(1, 2), labels[:, None].expand(-1, steps.shape[1]), reduction="none"
        )  # (B, T)
        gains = self._gains(steps)
        return (each * gains).sum(dim=1).mean() / gains.sum(), self.together(steps)

    def _gains(self, steps: Tensor) -> Tensor:
        """Of each frame t / T, from 1 / T to 1: `(T,)`."""
        frames = steps.shape[1]
        return torch.arange(1, frames + 1, device=steps.device, dtype=steps.dtype) / frames

    def _steps(self, clip: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, T, D)
        hidden, state = self.lstm(vectors, state)  # (B, T, hidden)
        return self.head(hidden), state


def _layer(channels: int, width: int) -> nn.Sequential:
    """A hidden layer, of which training leaves six tenths out; of no width nothing at all."""
    if width == 0:
        return nn.Sequential()
    return nn.Sequential(nn.Linear(channels, width), nn.ReLU(inplace=True), nn.Dropout(0.6))


def _pictures(clip: Tensor) -> Tensor:
    """Flow as a picture of three channels, the last one zero; colours as they are."""
    if clip.shape[1] == 3:
        return clip
    return torch.cat([clip, torch.zeros_like(clip[:, :1])], dim=1)


def _clip_spec(stream: Stream, frames: int, size: int) -> ClipSpec:
    """A frame a second; flow of 40 pixels is 1, as in pictures whose bytes end there."""
    flow = stream == "flow"
    return ClipSpec(
        frames,
        frames_per_second=1.0,
        size=size,
        resize_short=round(size * 8 / 7),
        mean=(0.5, 0.5) if flow else IMAGENET_MEAN,
        std=(1.0, 1.0) if flow else IMAGENET_STD,
        inputs=(stream,),
    )


class PoolingOptions(TypedDict, total=False):
    """Options of feature pooling.

    Attributes:
        pooling: what the maximum is taken of. "conv", by default: the features of all frames,
            before two hidden layers; "late": what these make of each frame; "slow": windows of
            frames before the first hidden layer, and all windows before the second; "local":
            windows only, whose vectors the classifier reads side by side; "time_conv": 256 kernels
            that span a window, over all frames.
        backbone: a classification network of torchvision; `googlenet` by default.
        hidden: units of each hidden layer, 4096 by default; 0: none, the paper's best GoogLeNet.
        cells: the CNN's map is averaged to so many by so many features; 1 by default, 6 is the
            whole map of AlexNet.
        window: frames that a window spans; 10 by default.
        stride: from a window to the next; 5 by default.
        frames: T of `clip_spec`; 30 by default.
        size: H and W of `clip_spec`, in pixels; 224 by default.
    """

    pooling: Pooling
    backbone: str
    hidden: int
    cells: int
    window: int
    stride: int
    frames: int
    size: int


class LstmOptions(TypedDict, total=False):
    """Options of the deep LSTM.

    Attributes:
        backbone: a classification network of torchvision; `googlenet` by default.
        hidden: units of each LSTM; 512 by default.
        layers: LSTMs, above one another; 5 by default.
        answer: how the frames' answers become the clip's: "weighted" by default, see
            `DeepLstm.together`.
        frames: T of `clip_spec`; 30 by default. Any T can be fed.
        size: H and W of `clip_spec`, in pixels; 224 by default.
    """

    backbone: str
    hidden: int
    layers: int
    answer: Answer
    frames: int
    size: int


def beyond_short_snippets_pooling(
    num_classes: int = 487, **options: Unpack[PoolingOptions]
) -> FeaturePooling:
    """Feature pooling on colours.

    Args:
        num_classes: K; Sports-1M has 487.
        **options: see `PoolingOptions`.
    """
    return FeaturePooling(num_classes, "rgb", **options)


def beyond_short_snippets_pooling_flow(
    num_classes: int = 487, **options: Unpack[PoolingOptions]
) -> FeaturePooling:
    """Feature pooling on flow; the paper averages its scores with those of colours.

    Args:
        num_classes: K; Sports-1M has 487.
        **options: see `PoolingOptions`.
    """
    return FeaturePooling(num_classes, "flow", **options)


def beyond_short_snippets_lstm(num_classes: int = 487, **options: Unpack[LstmOptions]) -> DeepLstm:
    """Five LSTMs on colours.

    Args:
        num_classes: K; Sports-1M has 487.
        **options: see `LstmOptions`.
    """
    return DeepLstm(num_classes, "rgb", **options)


def beyond_short_snippets_lstm_flow(
    num_classes: int = 487, **options: Unpack[LstmOptions]
) -> DeepLstm:
    """Five LSTMs on flow; the paper averages its scores with those of colours.

    Args:
        num_classes: K; Sports-1M has 487.
        **options: see `LstmOptions`.
    """
    return DeepLstm(num_classes, "flow", **options)


def from_torchvision_pooled(state: State, model: nn.Module) -> State:
    """Rename what makes a torchvision network's map, and AlexNet's hidden layers where they fit."""
    found = backbone_2d.from_torchvision_map(state, model)
    for theirs, ours in (("classifier.1", "fc1.0"), ("classifier.4", "fc2.0")):
        weight = state.get(f"{theirs}.weight")
        if weight is not None and weight.shape == getattr(found.get(f"{ours}.weight"), "shape", 0):
            found |= {f"{ours}.{leaf}": state[f"{theirs}.{leaf}"] for leaf in ("weight", "bias")}
    return found


POOLING_LAYOUTS = {"torchvision": from_torchvision_pooled}
LSTM_LAYOUTS = VECTOR_LAYOUTS

PAPER = "Yue-Hei Ng et al., Beyond Short Snippets, CVPR 2015"
MODELS = {
    "beyond_short_snippets_lstm": ModelRow(
        beyond_short_snippets_lstm,
        PAPER,
        2015,
        "recurrent",
        backbone="googlenet",
        layouts=LSTM_LAYOUTS,
    ),
    "beyond_short_snippets_lstm_flow": ModelRow(
        beyond_short_snippets_lstm_flow,
        PAPER,
        2015,
        "recurrent",
        inputs=("flow",),
        backbone="googlenet",
        layouts=LSTM_LAYOUTS,
    ),
    "beyond_short_snippets_pooling": ModelRow(
        beyond_short_snippets_pooling,
        PAPER,
        2015,
        "fusion",
        backbone="googlenet",
        layouts=POOLING_LAYOUTS,
    ),
    "beyond_short_snippets_pooling_flow": ModelRow(
        beyond_short_snippets_pooling_flow,
        PAPER,
        2015,
        "fusion",
        inputs=("flow",),
        backbone="googlenet",
        layouts=POOLING_LAYOUTS,
    ),
}
