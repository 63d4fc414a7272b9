"""Recurrent convolutional networks: every layer is a map that goes on from frame to frame.

EECS 498, lecture 18 (Johnson, 2020), after Ballas et al., "Delving Deeper into Convolutional
Networks for Learning Video Representations", ICLR 2016.

Notable: unrolled, it is a grid of layers and frames. The state of a layer is made of the layer
below it in the same frame and of itself in the last one; the weights of a layer are the same in all
frames, those of two layers are not. What a unit of a 3D network sees ends with its kernels; what
one of these sees begins where the stream began. In return no frame can be computed before the last
one is done. `recurrent_conv` has the plain cell, `conv_gru` the gated one.
Differs from the lecture, which leaves sizes open: ours fit a laptop, with a pooling between layers.
"""

import itertools

import torch
from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.recurrent_cells import ConvGRUCell, ConvRNNCell, from_jacobkimmel
from praxino.models.row import ModelRow
from praxino.video.clip_spec import ClipSpec

__all__ = ["conv_gru", "recurrent_conv"]


class RecurrentConv(nn.Module):
    """Recurrent convolutions above one another; see `recurrent_conv` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        *,
        cell: type[ConvRNNCell] | type[ConvGRUCell],
        layers: int,
        width: int,
        kernel: int,
        frames: int,
        size: int,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"A recurrent network has at least 1 layer, got layers={layers}.")
        widths = [3, *(width * 2**layer for layer in range(layers))]
        self.cells = nn.ModuleList(
            cell(below, above, kernel) for below, above in itertools.pairwise(widths)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(widths[-1], num_classes)
        self.clip_spec = ClipSpec(
            frames, frames_per_second=frames / 2, size=size, resize_short=round(size * 8 / 7)
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The last layer's state after each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "A recurrent convolutional network")
        states, maps = None, []
        for frame in clip.unbind(2):
            states = self._next(frame, states)
            maps.append(states[-1])
        return torch.stack(maps, dim=2)

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each frame: `(B, T, K)` logits; of `forward`'s clips."""
        pooled = self.forward_features(clip).mean(dim=(3, 4))  # (B, D, T)
        steps: Tensor = self.head(self.dropout(pooled.transpose(1, 2)))
        return steps

    def step(self, frame: Tensor, state: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """The next frame of a stream, which may go on for ever.

        Args:
            frame: `(B, 3, H, W)`.
            state: what the last call returned; None at the beginning.

        Returns:
            `(B, K)` logits, those of `forward_steps` at this frame, and the new state.
        """
        state = self._next(frame, state)
        return self.head(self.dropout(state[-1].mean(dim=(2, 3)))), state

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits, after the last frame.
        """
        last = self.forward_features(clip)[:, :, -1].mean(dim=(2, 3))  # (B, D)
        logits: Tensor = self.head(self.dropout(last))
        return logits

    def _next(self, frame: Tensor, states: list[Tensor] | None) -> list[Tensor]:
        new: list[Tensor] = []
        for cell, state in zip(self.cells, states or (None,) * len(self.cells), strict=True):
            new.append(cell(self.pool(new[-1]) if new else frame, state))
        return new


def recurrent_conv(
    num_classes: int = 10,
    *,
    layers: int = 3,
    width: int = 16,
    kernel: int = 3,
    frames: int = 16,
    size: int = 64,
) -> RecurrentConv:
    """Recurrent convolutions with the plain cell, h' = tanh(W_h * h + W_x * x + b).

    Args:
        num_classes: K.
        layers: above one another, with a pooling of 2 x 2 between them.
        width: channels of the first layer; each later one has twice as many.
        kernel: of all convolutions, in pixels; odd.
        frames: T of `clip_spec`, of two seconds; any T can be fed.
        size: H and W of `clip_spec`, in pixels; any can be fed.
    """
    return RecurrentConv(
        num_classes,
        cell=ConvRNNCell,
        layers=layers,
        width=width,
        kernel=kernel,
        frames=frames,
        size=size,
    )


def conv_gru(
    num_classes: int = 10,
    *,
    layers: int = 3,
    width: int = 16,
    kernel: int = 3,
    frames: int = 16,
    size: int = 64,
) -> RecurrentConv:
    """Recurrent convolutions with gates, which keep what is to be kept.

    Args:
        num_classes: K.
        layers: as in `recurrent_conv`.
        width: as in `recurrent_conv`.
        kernel: as in `recurrent_conv`.
        frames: as in `recurrent_conv`.
        size: as in `recurrent_conv`.
    """
    return RecurrentConv(
        num_classes,
        cell=ConvGRUCell,
        layers=layers,
        width=width,
        kernel=kernel,
        frames=frames,
        size=size,
    )


PAPER = "after Ballas et al., Delving Deeper into Convolutional Networks, ICLR 2016"
LAYOUTS = {"jacobkimmel": from_jacobkimmel}
MODELS = {
    "conv_gru": ModelRow(conv_gru, PAPER, 2016, "recurrent", layouts=LAYOUTS),
    "recurrent_conv": ModelRow(recurrent_conv, PAPER, 2016, "recurrent", layouts=LAYOUTS),
}
