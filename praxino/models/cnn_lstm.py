"""A CNN that is never trained, and a recurrent network over its frames.

The pattern of many networks of 2014 to 2016, among them Yue-Hei Ng et al., "Beyond Short Snippets:
Deep Networks for Video Classification", CVPR 2015: no gradient enters the CNN, so that its vectors
can be computed once and kept, and only the small recurrent network learns.

Notable: a window of L frames has weights for each of them, and forgets what lies before; a
recurrent network has the same few weights for every frame, takes any number of frames, and can
remember the first of them. `cnn_rnn` is the plain one, h' = tanh(W_h h + W_x x + b); `cnn_gru` the
GRU as it is printed, with its reset gate before the product, which `nn.GRU` is not.
Differs from that paper: the CNN is any of torchvision, on frames that are spread over the video.
"""

from typing import Any, Literal, Unpack

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
from praxino.models.recurrent_cells import ResetFirstGRU
from praxino.models.row import ModelRow
from praxino.models.single_frame import AverageProbabilities

__all__ = ["cnn_gru", "cnn_lstm", "cnn_rnn"]

Cell = Literal["rnn", "gru", "lstm"]
Answer = Literal["last", "mean"]


class CnnRnn(nn.Module):
    """A 2D network on every frame, a recurrent one over them; see `cnn_lstm` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        *,
        cell: Cell,
        backbone: str,
        hidden: int,
        layers: int,
        answer: Answer,
        frozen: bool,
        options: FrameOptions,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"A recurrent network has at least 1 layer, got layers={layers}.")
        if answer not in ("last", "mean"):
            raise ValueError(f"answer is 'last' or 'mean', not {answer!r}.")
        self.backbone = Backbone2d(backbone, same_padding=options.get("same_padding", False))
        features = self.backbone.out_features
        self.rnn: nn.Module
        if cell == "gru":
            self.rnn = ResetFirstGRU(features, hidden, layers)
        else:
            kind = nn.LSTM if cell == "lstm" else nn.RNN
            self.rnn = kind(features, hidden, layers, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(hidden, num_classes)
        self.average = AverageProbabilities()
        self.answer, self.frozen = answer, frozen
        self.clip_spec = frame_clip_spec(options)

    def train(self, mode: bool = True) -> "CnnRnn":
        """As in torch; a frozen CNN stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "The CNN below a recurrent network")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.backbone.maps(clip)

    def vectors(self, clip: Tensor) -> Tensor:
        """What the CNN makes of each frame, `(B, T, D)`: worth keeping while it is frozen."""
        maps = self.forward_features(clip)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.backbone.vectors(maps)

    def answer_to(self, vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The rest of `forward`: `(B, T, D)` vectors and `(B,)` lengths to `(B, K)` logits."""
        hidden, _ = self.rnn(vectors, None)  # (B, T, hidden)
        batch, frames, _ = hidden.shape
        counts = [frames] * batch if lengths is None else lengths.tolist()
        if len(counts) != batch or not all(1 <= count <= frames for count in counts):
            raise ValueError(
                f"lengths are {batch} numbers from 1 to T={frames}, one for each clip, got "
                f"{counts}."
            )
        if self.answer == "last":
            last = hidden[range(batch), [count - 1 for count in counts]]
            logits: Tensor = self.head(self.dropout(last))
            return logits
        steps = self.head(self.dropout(hidden))  # (B, T, K)
        clips = zip(steps.split(1), counts, strict=True)
        return torch.cat([self.average(one[:, :count]) for one, count in clips])

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each frame: `(B, T, K)` logits; of `forward`'s clips."""
        steps: Tensor = self.head(self.dropout(self.rnn(self.vectors(clip), None)[0]))
        return steps

    def step(self, frame: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The next frame of a stream, which may go on for ever.

        Args:
            frame: `(B, 3, H, W)`.
            state: what the last call returned; None at the beginning.

        Returns:
            `(B, K)` logits, those of `forward_steps` at this frame, and the new state.
        """
        hidden, state = self.rnn(self.vectors(frame.unsqueeze(2)), state)
        return self.head(self.dropout(hidden[:, 0])), state

    def forward(self, clip: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.
            lengths: `(B,)`, how many frames of each clip count, from the first; None: all. What is
                padded behind them changes nothing.

        Returns:
            `(B, K)` logits: of the last frame, or such that their softmax is the average of the
            frames' probabilities.

        Raises:
            ValueError: a length that is not among 1 to T.
        """
        return self.answer_to(self.vectors(clip), lengths)

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The cross entropy of each answer that counts: of the last frame, or of every one.

        Args:
            clip: as in `forward`.
            labels: `(B,)`.

        Returns:
            The loss, and `forward`'s `(B, K)` logits.
        """
        if self.answer == "last":
            logits = self(clip)
            return functional.cross_entropy(logits.float(), labels), logits
        steps = self.forward_steps(clip).float()  # (B, T, K)
        each = labels.repeat_interleave(steps.shape[1])
        return functional.cross_entropy(steps.flatten(0, 1), each), self.average(steps)


def cnn_rnn(
    num_classes: int = 101,
    *,
    backbone: str = "resnet18",
    hidden: int = 512,
    layers: int = 1,
    answer: Answer = "last",
    frozen: bool = True,
    **options: Unpack[FrameOptions],
) -> CnnRnn:
    """A frozen CNN below a plain recurrent network.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: as in `cnn_lstm`.
        hidden: as in `cnn_lstm`.
        layers: as in `cnn_lstm`.
        answer: as in `cnn_lstm`.
        frozen: as in `cnn_lstm`.
        **options: see `FrameOptions`; any T can be fed.
    """
    return CnnRnn(
        num_classes,
        cell="rnn",
        backbone=backbone,
        hidden=hidden,
        layers=layers,
        answer=answer,
        frozen=frozen,
        options=options,
    )


def cnn_gru(
    num_classes: int = 101,
    *,
    backbone: str = "resnet18",
    hidden: int = 512,
    layers: int = 1,
    answer: Answer = "last",
    frozen: bool = True,
    **options: Unpack[FrameOptions],
) -> CnnRnn:
    """A frozen CNN below the GRU as it is printed.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: as in `cnn_lstm`.
        hidden: as in `cnn_lstm`.
        layers: as in `cnn_lstm`.
        answer: as in `cnn_lstm`.
        frozen: as in `cnn_lstm`.
        **options: see `FrameOptions`; any T can be fed.
    """
    return CnnRnn(
        num_classes,
        cell="gru",
        backbone=backbone,
        hidden=hidden,
        layers=layers,
        answer=answer,
        frozen=frozen,
        options=options,
    )


def cnn_lstm(
    num_classes: int = 101,
    *,
    backbone: str = "resnet18",
    hidden: int = 512,
    layers: int = 1,
    answer: Answer = "last",
    frozen: bool = True,
    **options: Unpack[FrameOptions],
) -> CnnRnn:
    """A frozen CNN below an LSTM.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: a classification network of torchvision, for example `convnext_tiny`.
        hidden: units of each layer.
        layers: recurrent layers, above one another.
        answer: what a clip is said to be: what the network says after the "last" frame, or the
            "mean" of what it says after each.
        frozen: no gradient enters the CNN, and its batch norms stay as they are. What it computes
            in eval mode is the same either way.
        **options: see `FrameOptions`; any T can be fed.
    """
    return CnnRnn(
        num_classes,
        cell="lstm",
        backbone=backbone,
        hidden=hidden,
        layers=layers,
        answer=answer,
        frozen=frozen,
        options=options,
    )


PAPER = "after Yue-Hei Ng et al., Beyond Short Snippets, CVPR 2015"
MODELS = {
    "cnn_gru": ModelRow(
        cnn_gru, PAPER, 2015, "recurrent", backbone="resnet18", layouts=VECTOR_LAYOUTS
    ),
    "cnn_lstm": ModelRow(
        cnn_lstm, PAPER, 2015, "recurrent", backbone="resnet18", layouts=VECTOR_LAYOUTS
    ),
    "cnn_rnn": ModelRow(
        cnn_rnn, PAPER, 2015, "recurrent", backbone="resnet18", layouts=VECTOR_LAYOUTS
    ),
}
