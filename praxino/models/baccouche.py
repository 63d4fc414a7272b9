"""The first LSTM for actions, on a 3D CNN: 9 frames become 120 numbers, these a label at each step.

Baccouche, Mamalet, Wolf, Garcia and Baskurt, "Sequential Deep Learning for Human Action
Recognition", HBU 2011.

Notable: a sixteenth of the parameters of Ji's 3D CNN; absolute values between convolution and
subsampling; and a sparse second convolution, in which each map of the first has two of its own and
each pair of maps one in common. The paper trains `baccouche_3dcnn` on clips of 9 frames to name the
action; then `baccouche_lstm` feeds its 120 numbers, clip after clip, to an LSTM of 50 units, which
names it at each step. A video's label is the likeliest on average over its steps.
Differs from the paper: its clips are cut out around the person and locally normalised in contrast,
ours are only squeezed to the same 54 x 34 pixels, in grey. It leaves the squashing function and the
width of the hidden layer unsaid; ours are tanh, after subsampling as in LeNet-5, and 50 units. Its
LSTM's gates look at the memory cells too (peepholes); torch's do not.
"""

from itertools import combinations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.models.recurrent_cells import LstmState
from praxino.models.row import ModelRow
from praxino.models.single_frame import AverageProbabilities
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State

__all__ = ["baccouche_3dcnn", "baccouche_lstm"]

FRAMES, HEIGHT, WIDTH = 9, 54, 34


class Front(nn.Module):
    """Layers C1 R1 S1, C2 R2 S2 and C3 of the paper, which both networks have."""

    grey: Tensor
    pairs: Tensor

    def __init__(self) -> None:
        super().__init__()
        brightness = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)
        self.register_buffer("grey", brightness, persistent=False)
        pairs = torch.tensor(list(combinations(range(7), 2)))  # (21, 2)
        self.register_buffer("pairs", pairs.flatten(), persistent=False)
        self.c1 = nn.Conv3d(1, 7, (5, 7, 7))
        self.s1 = Subsampling(7)
        self.c2_own = nn.Conv3d(7, 14, (3, 5, 5), groups=7)
        self.c2_pairs = nn.Conv3d(42, 21, (3, 5, 5), groups=21)
        self.s2 = Subsampling(35)
        self.c3 = nn.Conv3d(35, 5, 3)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The paper's descriptor of 9 frames, as a map: `(B, 5, 1, 8, 3)`, 120 numbers."""
        check_clip(clip, "Baccouche's 3D CNN", frames=FRAMES)
        frames = (clip * self.grey).sum(dim=1)  # (B, 9, H, W)
        frames = functional.interpolate(frames, (HEIGHT, WIDTH), mode="bilinear", antialias=True)
        maps = self.s1(self.c1(frames.unsqueeze(1)).abs())  # (B, 7, 5, 24, 14)
        both = [self.c2_own(maps), self.c2_pairs(maps[:, self.pairs])]
        maps = self.s2(torch.cat(both, dim=1).abs())  # (B, 35, 3, 10, 5)
        return torch.tanh(self.c3(maps))


class Baccouche3d(Front):
    """The front, and layers N1 and N2 of the paper; N2 is `head`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.n1 = nn.Linear(120, 50)
        self.head = nn.Linear(50, num_classes)
        self.clip_spec = _clip_spec(FRAMES)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, 9, H, W)`, normalised as `self.clip_spec` says; any H and W.

        Returns:
            `(B, K)` logits.
        """
        hidden = torch.tanh(self.n1(self.forward_features(clip).flatten(1)))
        logits: Tensor = self.head(hidden)
        return logits


class BaccoucheLstm(nn.Module):
    """The front on each 9 frames, and an LSTM; see `baccouche_lstm` for the arguments.

    Attributes:
        step_frames: how many frames `step` takes at once.
    """

    step_frames = FRAMES

    def __init__(self, num_classes: int, *, steps: int, hidden: int, frozen: bool) -> None:
        super().__init__()
        self.front = Front()
        self.lstm = nn.LSTM(120, hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_classes)
        self.average = AverageProbabilities()
        self.frozen = frozen
        self.clip_spec = _clip_spec(steps * FRAMES)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The descriptor of each 9 frames, as a map: `(B, 5, T / 9, 8, 3)`."""
        check_clip(clip, "Baccouche's LSTM", least_frames=FRAMES)
        frames = clip.shape[2]
        if frames % FRAMES:
            raise ValueError(
                f"Baccouche's LSTM takes {FRAMES} frames at a time, got T={frames}. Feed "
                f"{frames // FRAMES * FRAMES} frames."
            )
        subclips = rearrange(clip, "b c (n t) h w -> (b n) c t h w", t=FRAMES)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.front.forward_features(subclips)
        return rearrange(maps, "(b n) d 1 h w -> b d n h w", b=len(clip))

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each 9 frames: `(B, T / 9, K)` logits."""
        return self._steps(clip, None)[0]

    def step(self, subclip: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """The next 9 frames of a stream, which may go on for ever.

        Args:
            subclip: `(B, 3, 9, H, W)`.
            state: what the last call returned; None at the beginning.

        Returns:
            `(B, K)` logits of these frames, and the new state.
        """
        logits, state = self._steps(subclip, state)
        return logits[:, 0], state

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; T is a multiple of 9.

        Returns:
            `(B, K)` logits; their softmax is the average of the steps' probabilities.
        """
        logits: Tensor = self.average(self.forward_steps(clip))
        return logits

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The cross entropy at every step, averaged.

        Args:
            clip: as in `forward`.
            labels: `(B,)`.

        Returns:
            The loss, and `forward`'s `(B, K)` logits.
        """
        steps = self.forward_steps(clip).float()  # (B, N, K)
        each = labels.repeat_interleave(steps.shape[1])
        return functional.cross_entropy(steps.flatten(0, 1), each), self.average(steps)

    def _steps(self, clip: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        descriptors = rearrange(self.forward_features(clip), "b d n h w -> b n (d h w)")
        hidden, state = self.lstm(descriptors, state)  # (B, N, hidden)
        return self.head(hidden), state


def _clip_spec(frames: int) -> ClipSpec:
    return ClipSpec(
        frames,
        stride_frames=1,
        size=HEIGHT,
        resize_short=HEIGHT,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        fit="stretch",
    )


class Subsampling(nn.Module):
    """The average of every 2 x 2, times a number and plus a number that each map has of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool3d((1, 2, 2))
        self.coefficient = nn.Parameter(torch.ones(channels, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to `(B, C, T, H / 2, W / 2)`."""
        return torch.tanh(self.coefficient * self.pool(maps) + self.bias)


def baccouche_3dcnn(num_classes: int = 6) -> Baccouche3d:
    """The 3D CNN that Baccouche et al. train before their LSTM.

    The whole picture is squeezed into 54 x 54 pixels on its way here, and then into 54 x 34.

    Args:
        num_classes: K; KTH has 6.
    """
    return Baccouche3d(num_classes)


def baccouche_lstm(
    num_classes: int = 6, *, steps: int = 8, hidden: int = 50, frozen: bool = True
) -> BaccoucheLstm:
    """The LSTM that Baccouche et al. train on the descriptors of their 3D CNN.

    Weights of a `baccouche_3dcnn` fit it: all but the LSTM and the classifier is then as trained.

    Args:
        num_classes: K; KTH has 6.
        steps: T of `clip_spec` in clips of 9 frames; any number can be fed.
        hidden: units of the LSTM.
        frozen: no gradient enters the 3D CNN.
    """
    return BaccoucheLstm(num_classes, steps=steps, hidden=hidden, frozen=frozen)


def from_3dcnn(state: State, model: nn.Module) -> State:
    """A `baccouche_3dcnn`, as trained, below the LSTM; that and its classifier stay as they are."""
    names = model.get_submodule("front").state_dict()
    own = model.state_dict()
    others = {name: value for name, value in own.items() if not name.startswith("front.")}
    return others | {f"front.{name}": state[name] for name in names}


PAPER = "Baccouche et al., Sequential Deep Learning for Human Action Recognition, HBU 2011"
MODELS = {
    "baccouche_3dcnn": ModelRow(baccouche_3dcnn, PAPER, 2011, "3d"),
    "baccouche_lstm": ModelRow(
        baccouche_lstm, PAPER, 2011, "recurrent", layouts={"baccouche_3dcnn": from_3dcnn}
    ),
}
