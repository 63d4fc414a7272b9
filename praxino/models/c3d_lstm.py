"""Which action, and when: C3D looks at 16 frames at a time, an LSTM at one such clip after another.

Montes, Salvador, Pascual and Giro-i-Nieto, "Temporal Activity Detection in Untrimmed Videos with
Recurrent Neural Networks", NIPS workshop 2016, arXiv:1608.08128.

Notable: C3D, trained on Sports-1M, is only a source of features (fc6) and never trained; each clip
of 16 frames is given one of 200 activities or class 0, background, which counts 0.3 in the loss,
because most of a video is background. A video's class is the likeliest on average but background;
`activity_segments` smooths the probabilities over time, and keeps what is hardly background.
Differs from the authors' code: their mean filter takes from k clips before to k - 1 after, and
never the last clip of a video; ours takes k on both sides. Of clips that are cut to one action
`background_weight=1` counts all classes alike, the first among them.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.c3d import LAYOUTS as C3D_LAYOUTS
from praxino.models.c3d import MEAN, STD
from praxino.models.c3d import WEIGHTS as C3D_WEIGHTS
from praxino.models.clip_shape import check_clip
from praxino.models.recurrent_cells import LstmState
from praxino.models.row import Layout, ModelRow
from praxino.models.single_frame import AverageProbabilities
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State

__all__ = ["ActivitySegment", "activity_scores", "activity_segments", "c3d_lstm"]

BACKGROUND = 0


class C3dLstm(nn.Module):
    """C3D's fc6, batch norm, one LSTM and a classifier; see `c3d_lstm` for the arguments.

    Attributes:
        step_frames: how many frames `step` takes at once.
    """

    step_frames = 16

    def __init__(
        self,
        num_classes: int,
        *,
        steps: int,
        hidden: int,
        background_weight: float,
        frozen: bool,
        size: int,
        width: int,
    ) -> None:
        super().__init__()
        if not background_weight >= 0:
            raise ValueError(f"background_weight is 0 or more, got {background_weight}.")
        self.c3d = C3dFront(size=size, width=width)
        self.norm = nn.BatchNorm1d(self.c3d.out_features, momentum=0.01)
        self.dropout = nn.Dropout(0.5)
        self.lstm = nn.LSTM(self.c3d.out_features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_classes)
        self.average = AverageProbabilities()
        self.background_weight, self.frozen = background_weight, frozen
        self.clip_spec = ClipSpec(
            steps * self.step_frames,
            stride_frames=1,
            size=size,
            resize_short=round(size * 128 / 112),
            mean=MEAN,
            std=STD,
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """C3D's map of each 16 frames: `(B, 512, T / 16, 4, 4)`."""
        frames = self.step_frames
        check_clip(clip, "C3D with an LSTM", size=self.clip_spec.size, least_frames=frames)
        if clip.shape[2] % frames:
            raise ValueError(
                f"C3D with an LSTM takes {frames} frames at a time, got T={clip.shape[2]}. Feed "
                f"{clip.shape[2] // frames * frames} frames."
            )
        subclips = rearrange(clip, "b c (n t) h w -> (b n) c t h w", t=frames)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.c3d.maps(subclips)
        return rearrange(maps, "(b n) d 1 h w -> b d n h w", b=len(clip))

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each 16 frames: `(B, T / 16, K)` logits."""
        return self._steps(clip, None)[0]

    def step(self, subclip: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """The next 16 frames of a stream, which may go on for ever.

        Args:
            subclip: `(B, 3, 16, H, W)`.
            state: what the last call returned; None at the beginning.

        Returns:
            `(B, K)` logits of these frames, and the new state.
        """
        logits, state = self._steps(subclip, state)
        return logits[:, 0], state

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips, background included.

        Args:
            clip: `(B, 3, T, H, W)` of the model's size, normalised as `self.clip_spec` says; T is a
                multiple of 16.

        Returns:
            `(B, K)` logits; their softmax is the average of the steps' probabilities.
        """
        logits: Tensor = self.average(self.forward_steps(clip))
        return logits

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The cross entropy at each step, in which background counts for less.

        Args:
            clip: as in `forward`.
            labels: `(B,)`, one for all steps of a clip, or `(B, T / 16)`.

        Returns:
            The loss, and `forward`'s `(B, K)` logits.
        """
        steps = self.forward_steps(clip).float()  # (B, T / 16, K)
        if labels.ndim == 1:
            labels = labels[:, None].expand(steps.shape[:2])
        each = functional.cross_entropy(steps.flatten(0, 1), labels.flatten(), reduction="none")
        share = torch.where(labels.flatten() == BACKGROUND, self.background_weight, 1.0)
        return (share * each).mean(), self.average(steps)

    def train(self, mode: bool = True) -> "C3dLstm":
        """As in torch; a frozen C3D stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.c3d.eval()
        return self

    def _steps(self, clip: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        maps = rearrange(self.forward_features(clip), "b d n h w -> (b n) (d h w)")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.c3d.fc6(maps).relu()  # (B * N, 4096)
        features = self.dropout(self.norm(features))
        features = rearrange(features, "(b n) d -> b n d", b=len(clip))
        hidden, state = self.lstm(features, state)  # (B, N, hidden)
        return self.head(self.dropout(hidden)), state


class C3dFront(nn.Module):
    """C3D up to fc6, under the names that its weights have.

    Args:
        size: H and W of the clips; the published weights take 112.
        width: channels of the first layer; 64 in the paper.
    """

    def __init__(self, *, size: int, width: int) -> None:
        super().__init__()
        self.conv1a = nn.Conv3d(3, width, 3, padding=1)
        self.conv2a = nn.Conv3d(width, 2 * width, 3, padding=1)
        self.conv3a = nn.Conv3d(2 * width, 4 * width, 3, padding=1)
        self.conv3b = nn.Conv3d(4 * width, 4 * width, 3, padding=1)
        self.conv4a = nn.Conv3d(4 * width, 8 * width, 3, padding=1)
        self.conv4b = nn.Conv3d(8 * width, 8 * width, 3, padding=1)
        self.conv5a = nn.Conv3d(8 * width, 8 * width, 3, padding=1)
        self.conv5b = nn.Conv3d(8 * width, 8 * width, 3, padding=1)
        self.pool1, self.pool = nn.MaxPool3d((1, 2, 2)), nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        side = size // 16 // 2 + 1
        self.out_features = 64 * width
        self.fc6 = nn.Linear(8 * width * side * side, self.out_features)

    def maps(self, clip: Tensor) -> Tensor:
        """`(N, 3, 16, 112, 112)` to `(N, 512, 1, 4, 4)`."""
        maps = self.pool1(self.conv1a(clip).relu())
        maps = self.pool(self.conv2a(maps).relu())
        maps = self.pool(self.conv3b(self.conv3a(maps).relu()).relu())
        maps = self.pool(self.conv4b(self.conv4a(maps).relu()).relu())
        result: Tensor = self.pool5(self.conv5b(self.conv5a(maps).relu()).relu())
        return result


class ActivitySegment(NamedTuple):
    """An activity between two moments of a video, `[start, end)`."""

    label: int
    start_seconds: float
    end_seconds: float
    score: float


def activity_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How likely each activity is in a video, if there is one (the authors' post-processing).

    Args:
        scores: `(N, K)` probabilities of consecutive clips; class 0 is background.

    Returns:
        `(K,)` of sum 1; background has 0.

    Raises:
        ValueError: there is no clip, or no class but background.
    """
    _check_scores(scores)
    mean = scores.mean(axis=0)
    mean[BACKGROUND] = 0
    total: NDArray[np.float64] = mean / max(mean.sum(), np.finfo(float).tiny)
    return total


def activity_segments(
    scores: NDArray[np.float64],
    clip_seconds: float,
    *,
    smoothing: int = 5,
    threshold: float = 0.2,
) -> list[ActivitySegment]:
    """Where in a video its activity happens (the authors' post-processing).

    Args:
        scores: `(N, K)` probabilities of consecutive clips; class 0 is background.
        clip_seconds: the length of a clip: 16 frames by the video's rate.
        smoothing: k; the probabilities of each clip are averaged with those of the k before and the
            k after it.
        threshold: gamma; clips that are no background with at least this probability make segments.

    Returns:
        In the order of time, all of the video's likeliest activity. A segment's score is the mean
        of that activity's smoothed probabilities.

    Raises:
        ValueError: as in `activity_scores`, a smoothing below 0, or a length of 0 or less.
    """
    if smoothing < 0 or not clip_seconds > 0:
        raise ValueError(
            f"activity_segments needs smoothing of 0 or more and clips of some length, got "
            f"smoothing={smoothing} and clip_seconds={clip_seconds}."
        )
    label = int(activity_scores(scores).argmax())
    reach = range(len(scores))
    smooth = np.stack(
        [scores[max(0, clip - smoothing) : clip + smoothing + 1].mean(axis=0) for clip in reach]
    )
    active = np.concatenate([[False], 1 - smooth[:, BACKGROUND] >= threshold, [False]])
    starts, ends = (np.flatnonzero(np.diff(active.astype(int)) == turn) for turn in (1, -1))
    return [
        ActivitySegment(
            label,
            float(start * clip_seconds),
            float(end * clip_seconds),
            float(smooth[start:end, label].mean()),
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def _check_scores(scores: NDArray[np.float64]) -> None:
    if scores.ndim != 2 or len(scores) == 0 or scores.shape[1] < 2:
        raise ValueError(
            f"Scores of a video are (N, K), at least one clip, background and an activity, got "
            f"{scores.shape}."
        )


def c3d_lstm(
    num_classes: int = 201,
    *,
    steps: int = 20,
    hidden: int = 512,
    background_weight: float = 0.3,
    frozen: bool = True,
    size: int = 112,
    width: int = 64,
) -> C3dLstm:
    """C3D, frozen, below an LSTM.

    Args:
        num_classes: K; ActivityNet 1.3 has 200 and background, which is class 0.
        steps: T of `clip_spec` in clips of 16 frames.
        hidden: units of the LSTM.
        background_weight: what class 0 counts in the loss, where all others count 1.
        frozen: no gradient enters C3D.
        size: H and W of `clip_spec`; C3D's published weights take 112.
        width: channels of C3D's first layer; its weights have 64.
    """
    return C3dLstm(
        num_classes,
        steps=steps,
        hidden=hidden,
        background_weight=background_weight,
        frozen=frozen,
        size=size,
        width=width,
    )


def from_c3d(state: State, model: nn.Module) -> State:
    """Our C3D's weights, up to fc6; the LSTM and the classifier stay as they are."""
    own = model.state_dict()
    front = {name: f"c3d.{name}" for name in model.get_submodule("c3d").state_dict()}
    others = {name: value for name, value in own.items() if name not in front.values()}
    return others | {ours: state[name] for name, ours in front.items()}


def _through_c3d(layout: Layout) -> Layout:
    """What turns another toolkit's names into C3D's, and then into this model's."""
    return lambda state, model: from_c3d(layout(state, model), model)


LAYOUTS = {"c3d": from_c3d} | {name: _through_c3d(one) for name, one in C3D_LAYOUTS.items()}
# Of the part that is never trained.
WEIGHTS = {"sports1m": dataclasses.replace(C3D_WEIGHTS["sports1m"], accuracy={}, protocol="")}

PAPER = "Montes et al., Temporal Activity Detection with Recurrent Networks, NIPS workshop 2016"
MODELS = {
    "c3d_lstm": ModelRow(c3d_lstm, PAPER, 2016, "recurrent", weights=WEIGHTS, layouts=LAYOUTS)
}
