"""Skip RNN: a recurrent network that learns which frames to leave out.

Campos, Jou, Giro-i-Nieto, Torres and Chang, "Skip RNN: Learning to Skip State Updates in Recurrent
Neural Networks", ICLR 2018, arXiv:1708.06834.

Notable: after each update the network says how much the next frame matters, and adds that to a
count until it rounds to one; until then the state is copied, and the frame is not looked at. With
several layers the last one decides for all. Rounding passes gradients as if it were not there, and
each frame that is used costs `frame_cost` in the loss.
Differs from the authors' code: the state before the first frame is learned there and zeros here, as
in the port to PyTorch whose weights we read; and as there, the GRU resets after the product. The
frames are vectors of a 2D network, which a stream spares too where a frame is not used.
"""

from typing import Any, Literal, NamedTuple, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.backbone_2d import (
    VECTOR_LAYOUTS,
    Backbone2d,
    FrameOptions,
    frame_clip_spec,
)
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.weights.fitting import State

__all__ = ["skip_gru", "skip_lstm"]

Cell = Literal["lstm", "gru"]


class SkipState(NamedTuple):
    """What a Skip RNN knows between two frames.

    Attributes:
        layers: of each layer `(h, c)` of an LSTM, or `(h,)` of a GRU, each `(B, hidden)`.
        update: by how much the count grows with each frame, `(B, 1)`.
        counted: what has been counted since the last update, `(B, 1)`.
    """

    layers: list[tuple[Tensor, ...]]
    update: Tensor
    counted: Tensor


class SkipRnn(nn.Module):
    """LSTM or GRU layers with one gate, which copies or updates the states of all of them.

    Args:
        features: D of the vectors that come in.
        hidden: units of each layer.
        cell: what a layer is.
        layers: how many, above one another.

    Attributes:
        update: from the last layer's state to how much the next frame matters.
    """

    def __init__(self, features: int, hidden: int, *, cell: Cell, layers: int = 1) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"A Skip RNN has at least 1 layer, got layers={layers}.")
        kind = nn.LSTMCell if cell == "lstm" else nn.GRUCell
        widths = [features] + [hidden] * (layers - 1)
        self.cell, self.hidden = cell, hidden
        self.cells = nn.ModuleList(kind(width, hidden) for width in widths)
        self.update = nn.Linear(hidden, 1)
        nn.init.ones_(self.update.bias)  # begins by using nearly every frame
        for name, bias in self.cells.named_parameters():
            if cell == "lstm" and name.endswith("bias_ih"):
                nn.init.ones_(bias.data[hidden : 2 * hidden])  # what is remembered stays

    def begin(self, batch: int) -> SkipState:
        """The state before the first frame, which is always used."""
        zeros = self.update.weight.new_zeros(batch, self.hidden)
        of_layer = (zeros, zeros) if self.cell == "lstm" else (zeros,)
        one = zeros.new_ones(batch, 1)
        return SkipState([of_layer] * len(self.cells), one, torch.zeros_like(one))

    def step(self, vectors: Tensor, state: SkipState) -> tuple[Tensor, Tensor, SkipState]:
        """One frame.

        Args:
            vectors: `(B, D)`.
            state: after the last frame.

        Returns:
            What the last layer shows, `(B, hidden)`; whether the frame was used, `(B, 1)` of 0 and
            1; and the new state.
        """
        used, count = self.gate(state)
        shown, layers = vectors, []
        for cell, old in zip(self.cells, state.layers, strict=True):
            new = cell(shown, old) if self.cell == "lstm" else (cell(shown, old[0]),)
            layers.append(new)
            shown = new[0]
        # An LSTM decides by what it remembers, c; a GRU by h, which is all it has.
        update = self.update(layers[-1][-1]).sigmoid()
        layers = [
            tuple(used * n + (1 - used) * o for n, o in zip(new, old, strict=True))
            for new, old in zip(layers, state.layers, strict=True)
        ]
        update = used * update + (1 - used) * state.update
        return layers[-1][0], used, SkipState(layers, update, (1 - used) * count)

    def gate(self, state: SkipState) -> tuple[Tensor, Tensor]:
        """Whether the next frame will be used, `(B, 1)` of 0 and 1, and the count that says so."""
        count = state.counted + torch.minimum(state.update, 1 - state.counted)
        return count + (count.round() - count).detach(), count  # the gradient of no rounding

    def forward(
        self, vectors: Tensor, state: SkipState | None = None
    ) -> tuple[Tensor, Tensor, SkipState]:
        """A sequence of frames.

        Args:
            vectors: `(B, T, D)`.
            state: after the sequence before this one.

        Returns:
            What the last layer shows, `(B, T, hidden)`; which frames were used, `(B, T)` of 0 and
            1; and the new state.
        """
        state = state or self.begin(len(vectors))
        shown, used = [], []
        for frame in vectors.unbind(1):
            one, gate, state = self.step(frame, state)
            shown.append(one)
            used.append(gate)
        return torch.stack(shown, dim=1), torch.cat(used, dim=1), state


class SkipCnnRnn(nn.Module):
    """A 2D network on every frame, a Skip RNN over them; see `skip_lstm` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        *,
        cell: Cell,
        backbone: str,
        hidden: int,
        layers: int,
        frame_cost: float,
        frozen: bool,
        options: FrameOptions,
    ) -> None:
        super().__init__()
        if not frame_cost >= 0:
            raise ValueError(f"frame_cost is 0 or more, got {frame_cost}.")
        self.backbone = Backbone2d(backbone, same_padding=options.get("same_padding", False))
        self.rnn = SkipRnn(self.backbone.out_features, hidden, cell=cell, layers=layers)
        self.head = nn.Linear(hidden, num_classes)
        self.frame_cost, self.frozen = frame_cost, frozen
        self.clip_spec = frame_clip_spec(options)

    def train(self, mode: bool = True) -> "SkipCnnRnn":
        """As in torch; a frozen CNN stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame, used or not: `(B, D, T, H', W')`."""
        check_clip(clip, "The Skip RNN")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.backbone.maps(clip)

    def used_frames(self, clip: Tensor) -> Tensor:
        """Which frames are used: `(B, T)` of 0 and 1; `praxino explain skips` shows them."""
        return self._run(clip)[1]

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each frame: `(B, T, K)` logits; of `forward`'s clips."""
        steps: Tensor = self.head(self._run(clip)[0])
        return steps

    def step(self, frame: Tensor, state: SkipState | None = None) -> tuple[Tensor, SkipState]:
        """The next frame of a stream; the CNN rests while no clip of the batch uses it.

        Args:
            frame: `(B, 3, H, W)`.
            state: what the last call returned; None at the beginning.

        Returns:
            `(B, K)` logits, those of `forward_steps` at this frame, and the new state.
        """
        state = state or self.rnn.begin(len(frame))
        used, _ = self.rnn.gate(state)
        if used.any():
            vectors = self._vectors(frame.unsqueeze(2))[:, 0]
        else:
            check_clip(frame.unsqueeze(2), "The Skip RNN")
            vectors = frame.new_zeros(len(frame), self.backbone.out_features)
        shown, _, state = self.rnn.step(vectors, state)
        return self.head(shown), state

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits, after the last frame.
        """
        logits: Tensor = self.head(self._run(clip)[0][:, -1])
        return logits

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The cross entropy, and `frame_cost` for each frame that is used.

        Args:
            clip: as in `forward`.
            labels: `(B,)`.

        Returns:
            The loss, and `forward`'s `(B, K)` logits.
        """
        shown, used = self._run(clip)
        logits = self.head(shown[:, -1])
        budget = self.frame_cost * used.sum(dim=1).mean()
        return functional.cross_entropy(logits.float(), labels) + budget, logits

    def _vectors(self, clip: Tensor) -> Tensor:
        maps = self.forward_features(clip)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.backbone.vectors(maps)

    def _run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, T, hidden)`, and `(B, T)` of 0 and 1."""
        shown, used, _ = self.rnn(self._vectors(clip))
        return shown, used


def skip_lstm(
    num_classes: int = 101,
    *,
    backbone: str = "resnet18",
    hidden: int = 256,
    layers: int = 1,
    frame_cost: float = 1e-4,
    frozen: bool = True,
    **options: Unpack[FrameOptions],
) -> SkipCnnRnn:
    """A frozen CNN below LSTM layers that skip frames.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: a classification network of torchvision, for example `vgg16`.
        hidden: units of each layer.
        layers: recurrent layers, above one another.
        frame_cost: lambda, what each used frame adds to the loss.
        frozen: no gradient enters the CNN, and its batch norms stay as they are.
        **options: see `FrameOptions`; any T can be fed.
    """
    return SkipCnnRnn(
        num_classes,
        cell="lstm",
        backbone=backbone,
        hidden=hidden,
        layers=layers,
        frame_cost=frame_cost,
        frozen=frozen,
        options=options,
    )


def skip_gru(
    num_classes: int = 101,
    *,
    backbone: str = "resnet18",
    hidden: int = 256,
    layers: int = 1,
    frame_cost: float = 1e-4,
    frozen: bool = True,
    **options: Unpack[FrameOptions],
) -> SkipCnnRnn:
    """A frozen CNN below GRU layers that skip frames.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: as in `skip_lstm`.
        hidden: as in `skip_lstm`.
        layers: as in `skip_lstm`.
        frame_cost: as in `skip_lstm`.
        frozen: as in `skip_lstm`.
        **options: see `FrameOptions`; any T can be fed.
    """
    return SkipCnnRnn(
        num_classes,
        cell="gru",
        backbone=backbone,
        hidden=hidden,
        layers=layers,
        frame_cost=frame_cost,
        frozen=frozen,
        options=options,
    )


def from_gitabcworld(state: State, model: nn.Module) -> State:
    """Rename the entries of a cell of github.com/gitabcworld/skiprnn_pytorch.

    Args:
        state: `weight_ih.0`, ..., `weight_uh` and `bias_uh`.
        model: a `SkipRnn`, or a model that stands on one and keeps the rest of its own weights.
    """
    prefix = "" if isinstance(model, SkipRnn) else "rnn."
    own = model.state_dict()
    converted = {} if not prefix else {n: v for n, v in own.items() if not n.startswith(prefix)}
    for name, value in state.items():
        kind, _, layer = name.partition(".")
        leaf = {"weight_uh": "update.weight", "bias_uh": "update.bias"}.get(name)
        converted[prefix + (leaf or f"cells.{layer}.{kind}")] = value
    return converted


LAYOUTS = {**VECTOR_LAYOUTS, "gitabcworld": from_gitabcworld}
PAPER = "Campos et al., Skip RNN: Learning to Skip State Updates in RNNs, ICLR 2018"
_ROW: dict[str, Any] = {"backbone": "resnet18", "layouts": LAYOUTS}
MODELS = {
    "skip_gru": ModelRow(skip_gru, PAPER, 2018, "recurrent", **_ROW),
    "skip_lstm": ModelRow(skip_lstm, PAPER, 2018, "recurrent", **_ROW),
}
