"""Recurrent cells for frames that are maps or vectors: one step of time each.

Like `nn.LSTMCell` and `nn.GRUCell`: a cell takes what stands in this frame and the state after the
last one, and returns the new state; None is the state before the first frame, zeros. All gates of a
cell that look at the same thing are one layer, side by side.
"""

from torch import Tensor, nn

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


def _zeros(maps: Tensor, hidden: int) -> Tensor:
    batch, _, height, width = maps.shape
    return maps.new_zeros(batch, hidden, height, width)


def _check_odd(cell: str, kernel: int) -> None:
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"{cell} needs an odd kernel, got kernel={kernel}: 1, 3 and 5 are.")
