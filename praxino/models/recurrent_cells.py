"""Recurrent cells for frames that are maps or vectors: one step of time each.

Like `nn.LSTMCell` and `nn.GRUCell`: a cell takes what stands in this frame and the state after the
last one, and returns the new state; None is the state before the first frame, zeros. All gates of a
cell that look at the same thing are one layer, side by side.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from praxino.weights.fitting import State

LstmState = tuple[Tensor, Tensor]  # what the cell shows (h), and what it remembers (c)


class ConvLSTMCell(nn.Module):
    """An LSTM whose state is a map, as in Ego-RNN (Sudhakaran and Lanz, BMVC 2018).

    i, f, o = sigmoid(W_x * x + W_h * h + b), g = tanh(the same); c' = f c + i g; h' = o tanh(c').
    Differs from Shi et al., NIPS 2015: the gates do not look at c.

    Args:
        channels: of the maps that come in.
        hidden: channels of the state.
        kernel: of both convolutions, in pixels; odd, so that the state keeps its size.

    Attributes:
        of_input: four gates of `hidden` channels in the order i, f, g, o, with a bias.
        of_state: the same of the state, without one. Together they are the eight convolutions of
            the authors' code: 18,876,416 parameters for 512 channels and 512 more.
    """

    def __init__(self, channels: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        _check_odd("ConvLSTMCell", kernel)
        self.hidden = hidden
        self.of_input = nn.Conv2d(channels, 4 * hidden, kernel, padding="same")
        self.of_state = nn.Conv2d(hidden, 4 * hidden, kernel, padding="same", bias=False)
        for layer in (self.of_input, self.of_state):
            for gate in layer.weight.chunk(4):  # each was a layer of its own
                nn.init.xavier_normal_(gate)
        nn.init.zeros_(self.of_input.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor, state: LstmState | None = None) -> LstmState:
        """One step.

        Args:
            maps: `(B, C, H, W)`.
            state: after the last step, two maps `(B, hidden, H, W)`.

        Returns:
            The new state: `h` and `c`.
        """
        hidden, memory = state or (zeros := _zeros(maps, self.hidden), zeros)
        gates = self.of_input(maps) + self.of_state(hidden)  # (B, 4 * hidden, H, W)
        take, keep, candidate, show = gates.chunk(4, dim=1)
        memory = keep.sigmoid() * memory + take.sigmoid() * candidate.tanh()
        return show.sigmoid() * memory.tanh(), memory


class ConvRNNCell(nn.Module):
    """The plain recurrent convolution: h' = tanh(W_h * h + W_x * x + b).

    Args:
        channels: of the maps that come in.
        hidden: channels of the state.
        kernel: of both convolutions, in pixels; odd.
    """

    def __init__(self, channels: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        _check_odd("ConvRNNCell", kernel)
        self.hidden = hidden
        self.of_input = nn.Conv2d(channels, hidden, kernel, padding="same")
        self.of_state = nn.Conv2d(hidden, hidden, kernel, padding="same", bias=False)

    def forward(self, maps: Tensor, state: Tensor | None = None) -> Tensor:
        """One step.

        Args:
            maps: `(B, C, H, W)`.
            state: `(B, hidden, H, W)`, after the last step.

        Returns:
            The new state.
        """
        state = _zeros(maps, self.hidden) if state is None else state
        return torch.tanh(self.of_input(maps) + self.of_state(state))


class ConvGRUCell(nn.Module):
    """A GRU whose state is a map, as in GRU-RCN (Ballas et al., ICLR 2016, eq. 7 to 10).

    r, z = sigmoid(W_x * x + W_h * h + b), g = tanh(W_g * x + U * (r h) + b_g);
    h' = (1 - z) h + z g: z is how much is new.

    Args:
        channels: of the maps that come in.
        hidden: channels of the state.
        kernel: of all convolutions, in pixels; odd.

    Attributes:
        of_input: `hidden` channels each for r, z and g, with a bias.
        of_state: the same for r and z, without one.
        of_reset: for g, of what r leaves of the state.
    """

    def __init__(self, channels: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        _check_odd("ConvGRUCell", kernel)
        self.hidden = hidden
        self.of_input = nn.Conv2d(channels, 3 * hidden, kernel, padding="same")
        self.of_state = nn.Conv2d(hidden, 2 * hidden, kernel, padding="same", bias=False)
        self.of_reset = nn.Conv2d(hidden, hidden, kernel, padding="same", bias=False)

    def forward(self, maps: Tensor, state: Tensor | None = None) -> Tensor:
        """One step.

        Args:
            maps: `(B, C, H, W)`.
            state: `(B, hidden, H, W)`, after the last step.

        Returns:
            The new state.
        """
        state = _zeros(maps, self.hidden) if state is None else state
        gates, candidate = self.of_input(maps).split((2 * self.hidden, self.hidden), dim=1)
        reset, new = (gates + self.of_state(state)).sigmoid().chunk(2, dim=1)
        candidate = torch.tanh(candidate + self.of_reset(reset * state))
        return (1 - new) * state + new * candidate


class ConvGRU(nn.Module):
    """ConvGRU cells above one another; the state of each is what the next one sees.

    Args:
        channels: of the maps that come in.
        hidden: channels of each cell's state.
        kernels: of each cell.
    """

    def __init__(self, channels: int, hidden: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        if not hidden or len(hidden) != len(kernels):
            raise ValueError(
                f"ConvGRU needs a kernel for each cell, got {len(hidden)} widths and "
                f"{len(kernels)} kernels."
            )
        inputs = (channels, *hidden[:-1])
        self.cells = nn.ModuleList(map(ConvGRUCell, inputs, hidden, kernels))

    def forward(self, maps: Tensor, state: Sequence[Tensor] | None = None) -> list[Tensor]:
        """One step of all cells.

        Args:
            maps: `(B, C, H, W)`.
            state: of each cell, after the last step.

        Returns:
            The new states, the last of them on top.
        """
        new = []
        for cell, old in zip(self.cells, state or (None,) * len(self.cells), strict=True):
            maps = cell(maps, old)
            new.append(maps)
        return new


class ResetFirstGRUCell(nn.Module):
    """The GRU of vectors as papers print it, with the reset gate before the product.

    r, z = sigmoid(W_x x + W_h h + b), g = tanh(W_g x + U (r h) + b_g); h' = z h + (1 - z) g.
    `nn.GRUCell` computes r (U h + b) instead, which is one product less, and another function.

    Args:
        features: D of the vectors that come in.
        hidden: units of the state.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.of_input = nn.Linear(features, 3 * hidden)  # r, z, g
        self.of_state = nn.Linear(hidden, 2 * hidden, bias=False)  # r, z
        self.of_reset = nn.Linear(hidden, hidden, bias=False)  # g
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)  # as torch's own

    def forward(self, vectors: Tensor, state: Tensor | None = None) -> Tensor:
        """One step.

        Args:
            vectors: `(B, D)`.
            state: `(B, hidden)`, after the last step.

        Returns:
            The new state.
        """
        if state is None:
            state = vectors.new_zeros(len(vectors), self.hidden)
        gates, candidate = self.of_input(vectors).split((2 * self.hidden, self.hidden), dim=1)
        reset, keep = (gates + self.of_state(state)).sigmoid().chunk(2, dim=1)
        candidate = torch.tanh(candidate + self.of_reset(reset * state))
        return keep * state + (1 - keep) * candidate


class ResetFirstGRU(nn.Module):
    """`ResetFirstGRUCell` over a sequence, in layers; called like `nn.GRU(batch_first=True)`.

    Args:
        features: D of the vectors that come in.
        hidden: units of each layer's state.
        layers: how many, above one another.
    """

    def __init__(self, features: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        widths = [features] + [hidden] * (layers - 1)
        self.cells = nn.ModuleList(ResetFirstGRUCell(width, hidden) for width in widths)

    def forward(
        self, vectors: Tensor, state: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """All steps.

        Args:
            vectors: `(B, T, D)`.
            state: of each layer, after the sequence before this one.

        Returns:
            What the last layer says at each step, `(B, T, hidden)`, and the new states.
        """
        states: list[Tensor | None] = [*state] if state else [None] * len(self.cells)
        said = []
        for inputs in vectors.unbind(1):
            for layer, cell in enumerate(self.cells):
                inputs = states[layer] = cell(inputs, states[layer])
            said.append(inputs)
        return torch.stack(said, dim=1), [one for one in states if one is not None]


def _zeros(maps: Tensor, hidden: int) -> Tensor:
    batch, _, height, width = maps.shape
    return maps.new_zeros(batch, hidden, height, width)


def _check_odd(cell: str, kernel: int) -> None:
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"{cell} needs an odd kernel, got kernel={kernel}: 1, 3 and 5 are.")


def from_jacobkimmel(state: State, model: nn.Module) -> State:
    """Rename the entries of github.com/jacobkimmel/pytorch_convgru.

    Its gates look at input and state in one convolution, the input's channels first.

    Args:
        state: of its `ConvGRU`.
        model: a `ConvGRU`, or a model that has more than `cells`, and keeps its own weights of it.
    """
    own = model.state_dict()
    converted = {name: value for name, value in own.items() if not name.startswith("cells.")}
    for number in range(sum("of_reset" in name for name in own)):
        theirs = f"ConvGRUCell_{number:02d}"
        gates = [f"{theirs}.{gate}_gate" for gate in ("reset", "update", "out")]
        weights = [state[f"{gate}.weight"] for gate in gates]
        inputs = weights[0].shape[1] - len(weights[0])  # what comes in beside the state
        of_input, of_state = zip(*(w.tensor_split([inputs], dim=1) for w in weights), strict=True)
        ours = f"cells.{number}"
        converted |= {
            f"{ours}.of_input.weight": torch.cat(of_input),
            f"{ours}.of_input.bias": torch.cat([state[f"{gate}.bias"] for gate in gates]),
            f"{ours}.of_state.weight": torch.cat(of_state[:2]),
            f"{ours}.of_reset.weight": of_state[2],
        }
    return converted
