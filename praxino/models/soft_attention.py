"""Soft attention: an LSTM that decides where in the next frame to look.

Sharma, Kiros and Salakhutdinov, "Action Recognition using Visual Attention", ICLR 2016 workshop,
arXiv:1511.04119.

Notable: GoogLeNet's last map has 7 x 7 places of 1024 numbers; what the upper of three LSTMs showed
after the last frame gives a softmax over the places of this one, and their weighted mean
is what the LSTMs are fed. They start from the mean over all places and frames. Each frame
is classified; a video is the mean of its frames' probabilities. The penalty asks that every
place gets looked at for one frame's worth in the clip: that the softmax is doubly stochastic.
Differs from the paper: torch's LSTM has two biases that are added. The authors' code differs more:
a single LSTM, and places that are weighed by what is in them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from praxino.models.backbone_2d import Backbone2d, from_torchvision_map
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.models.single_frame import AverageProbabilities
from praxino.video.clip_spec import ClipSpec

__all__ = ["soft_attention"]

State = list[tuple[Tensor, Tensor]]  # of each LSTM: what it shows (h), what it remembers (c)


class SoftAttention(nn.Module):
    """A 2D network, a softmax over its places and LSTMs; see `soft_attention`."""

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str,
        hidden: int,
        layers: int,
        penalty: float,
        dropout: float,
        frames: int,
        size: int,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}.")
        if not penalty >= 0:
            raise ValueError(f"penalty must be at least 0, got {penalty}.")
        self.size, self.penalty = size, penalty
        self.backbone = Backbone2d(backbone)
        self.backbone.neck = nn.Identity()
        channels, height, width = self.backbone.map_shape(size)
        self.begin_hidden = nn.Linear(channels, layers * hidden)
        self.begin_memory = nn.Linear(channels, layers * hidden)
        self.where = nn.Linear(hidden, height * width, bias=False)
        widths = [channels, *[hidden] * layers]
        self.cells = nn.ModuleList(nn.LSTMCell(before, hidden) for before in widths[:-1])
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, num_classes)
        self.average = AverageProbabilities()
        self.clip_spec = ClipSpec(
            frames, frames_per_second=30, size=size, resize_short=round(size * 8 / 7)
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "Soft attention", size=self.size)
        return self.backbone.maps(clip)

    def begin(self, maps: Tensor) -> State:
        """What the LSTMs start from: the mean over all places and frames.

        Args:
            maps: from `forward_features`.
        """
        mean = maps.mean(dim=(2, 3, 4))
        shown = self.begin_hidden(mean).tanh().chunk(len(self.cells), dim=1)
        kept = self.begin_memory(mean).tanh().chunk(len(self.cells), dim=1)
        return list(zip(shown, kept, strict=True))

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One frame of a stream.

        Args:
            frame: `(B, 3, H, W)`, normalised as `self.clip_spec` says.
            state: after the last frame. None before the first: the mean, which of a clip is over
                all of it, is then of this frame only; `begin` makes another one.

        Returns:
            `(B, K)` logits of this frame, and the new state.
        """
        maps = self.forward_features(frame[:, :, None])
        _, logits, state = self._look(maps[:, :, 0], state or self.begin(maps))
        return logits, state

    def _look(self, maps: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Look at one frame's map `(B, D, H', W')`: its weights, logits and the new state."""
        places = self.where(state[-1][0]).softmax(dim=1)  # (B, H' * W')
        seen = torch.einsum("bdn,bn->bd", maps.flatten(2), places)
        after: State = []
        for cell, before in zip(self.cells, state, strict=True):
            after.append(cell(self.dropout(seen), before))
            seen = after[-1][0]
        logits = self.head(self.dropout(self.out(self.dropout(seen)).tanh()))
        return places.view(-1, *maps.shape[2:]), logits, after

    def _watch(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, T, H', W')` weights and `(B, T, K)` logits."""
        maps = self.forward_features(clip)
        state, places, logits = self.begin(maps), [], []
        for now in range(maps.shape[2]):
            looked_at, said, state = self._look(maps[:, :, now], state)
            places.append(looked_at)
            logits.append(said)
        return torch.stack(places, dim=1), torch.stack(logits, dim=1)

    def attention(self, clip: Tensor) -> Tensor:
        """Where each frame is looked at: `(B, T, H', W')`; the sum over a frame is one.

        Args:
            clip: as `forward` takes it.
        """
        return self._watch(clip)[0]

    def forward_steps(self, clip: Tensor) -> Tensor:
        """Logits after each frame: `(B, T, K)`.

        Args:
            clip: as `forward` takes it.
        """
        return self._watch(clip)[1]

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What training lowers: every frame's cross entropy, summed, and the penalty.

        Args:
            clip: as `forward` takes it.
            labels: `(B,)` classes.

        Returns:
            The loss, its mean over the batch, and the `(B, K)` logits.
        """
        places, logits = self._watch(clip)
        entropy = F.cross_entropy(logits.transpose(1, 2), labels[:, None].expand(logits.shape[:2]))
        unseen = (1 - places.sum(dim=1)).square().sum(dim=(1, 2)).mean()
        return clip.shape[2] * entropy + self.penalty * unseen, self.average(logits)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)` of the H and W the model was built for, normalised as
                `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits; their softmax is the average of the frames' probabilities.
        """
        logits: Tensor = self.average(self.forward_steps(clip))
        return logits


def soft_attention(
    num_classes: int = 51,
    *,
    backbone: str = "googlenet",
    hidden: int = 512,
    layers: int = 3,
    penalty: float = 1.0,
    dropout: float = 0.5,
    frames: int = 30,
    size: int = 224,
) -> SoftAttention:
    """Soft attention on any 2D network of torchvision.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision, for example `resnet50`.
        hidden: units of each LSTM, and of the layer before the classifier.
        layers: LSTMs, one above the other.
        penalty: the paper's lambda, what it costs not to look at a place for a frame's worth.
        dropout: of what does not recur, in training.
        frames: T of `clip_spec`, at 30 frames a second; any T can be fed.
        size: H and W, in pixels; it decides how many places there are, and no other can be fed.
    """
    return SoftAttention(
        num_classes,
        backbone=backbone,
        hidden=hidden,
        layers=layers,
        penalty=penalty,
        dropout=dropout,
        frames=frames,
        size=size,
    )


LAYOUTS = {"torchvision": from_torchvision_map}

PAPER = "Sharma et al., Action Recognition using Visual Attention, ICLR workshop 2016"
MODELS = {
    "soft_attention": ModelRow(
        soft_attention, PAPER, 2016, "attention", backbone="googlenet", layouts=LAYOUTS
    ),
}
