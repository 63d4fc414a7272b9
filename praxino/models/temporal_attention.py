"""Temporal attention: an LSTM that chooses among frames before it says each word, or the class.

Yao et al., "Describing Videos by Exploiting Temporal Structure", ICCV 2015, arXiv:1502.08029.

Notable: every frame has a vector v_i. Before each word, e_i = w^T tanh(W_a h + U_a v_i + b_a) says
how much frame i matters to what the LSTM is at, a softmax over frames makes weights of it,
and the weighted mean is fed to the LSTM beside the last word. Captions are found by beam
search.
Differs from the paper: it only describes. `temporal_attention` recognises with the same decoder: it
looks at the frames a few times, and a classifier reads what the LSTM shows at last. Vectors are of
a 2D network of torchvision; the paper puts features of a 3D network beside GoogLeNet's, which the
captioner takes as well: it is told how long a vector is. From the authors' code come how the LSTM
starts (from the mean vector), a gate on the context, and the last word and the context beside the
LSTM where a word is read out.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from praxino.models.backbone_2d import (
    Backbone2d,
    FrameOptions,
    frame_clip_spec,
    from_torchvision_vector,
)
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow

__all__ = ["temporal_attention"]

END = 0  # the word that ends a sentence


class Look(NamedTuple):
    """What a step of the decoder leaves behind.

    Attributes:
        shown: `(B, hidden)`, h of the LSTM.
        kept: `(B, hidden)`, c of the LSTM.
        weights: `(B, T)` of the frames; their sum is one.
        context: `(B, D)`, the weighted mean of the frames, after the gate.
    """

    shown: Tensor
    kept: Tensor
    weights: Tensor
    context: Tensor


class AttentiveLstm(nn.Module):
    """An LSTM that is fed a word and the frames it attends to.

    Args:
        vector: D, numbers of a frame.
        word: numbers of a word; 0: there are no words.
        hidden: units of the LSTM.
    """

    def __init__(self, vector: int, word: int, hidden: int) -> None:
        super().__init__()
        self.begin_shown = nn.Linear(vector, hidden)
        self.begin_kept = nn.Linear(vector, hidden)
        self.of_state = nn.Linear(hidden, vector, bias=False)  # W_a
        self.of_frame = nn.Linear(vector, vector)  # U_a, b_a
        # w; the bias of the authors' code changes no softmax.
        self.matters = nn.Linear(vector, 1, bias=False)
        self.gate = nn.Linear(hidden, 1)
        self.cell = nn.LSTMCell(word + vector, hidden)

    def begin(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The state before the first step, h and c, from the mean of the vectors `(B, T, D)`."""
        mean = vectors.mean(dim=1)
        return self.begin_shown(mean).tanh(), self.begin_kept(mean).tanh()

    def forward(
        self, vectors: Tensor, state: tuple[Tensor, Tensor], word: Tensor | None = None
    ) -> Look:
        """One step.

        Args:
            vectors: `(B, T, D)` of the frames.
            state: h and c, each `(B, hidden)`.
            word: `(B, word)`; None: there are no words.
        """
        shown, kept = state
        energies = self.matters((self.of_frame(vectors) + self.of_state(shown)[:, None]).tanh())
        weights = energies[..., 0].softmax(dim=1)  # (B, T)
        context = self.gate(shown).sigmoid() * torch.einsum("bt,btd->bd", weights, vectors)
        fed = context if word is None else torch.cat([word, context], dim=1)
        shown, kept = self.cell(fed, (shown, kept))
        return Look(shown, kept, weights, context)


class TemporalAttention(nn.Module):
    """The decoder as a recogniser; see `temporal_attention`."""

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str,
        hidden: int,
        looks: int,
        dropout: float,
        frames: int,
        size: int,
    ) -> None:
        super().__init__()
        if looks < 1:
            raise ValueError(f"looks must be at least 1, got {looks}.")
        self.looks = looks
        self.backbone = Backbone2d(backbone)
        self.decoder = AttentiveLstm(self.backbone.out_features, 0, hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)
        self.clip_spec = frame_clip_spec(FrameOptions(frames=frames, size=size))

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "Temporal attention")
        return self.backbone.maps(clip)

    def _look(self, clip: Tensor) -> list[Look]:
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, T, D)
        state, looks = self.decoder.begin(vectors), []
        for _ in range(self.looks):
            looks.append(self.decoder(vectors, state))
            state = looks[-1].shown, looks[-1].kept
        return looks

    def attention(self, clip: Tensor) -> Tensor:
        """How much each frame matters, the mean over all looks: `(B, T, 1, 1)`; the sum is one.

        Args:
            clip: as `forward` takes it.
        """
        weights = torch.stack([look.weights for look in self._look(clip)]).mean(dim=0)
        return weights[:, :, None, None]

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits.
        """
        logits: Tensor = self.head(self.dropout(self._look(clip)[-1].shown))
        return logits


def temporal_attention(
    num_classes: int = 51,
    *,
    backbone: str = "googlenet",
    hidden: int = 512,
    looks: int = 2,
    dropout: float = 0.5,
    frames: int = 28,
    size: int = 224,
) -> TemporalAttention:
    """Temporal attention over the frames of a 2D network of torchvision.

    Args:
        num_classes: K.
        backbone: a classification network of torchvision, for example `resnet50`.
        hidden: units of the LSTM.
        looks: how often it looks at all frames before it answers.
        dropout: before the classifier, in training.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return TemporalAttention(
        num_classes,
        backbone=backbone,
        hidden=hidden,
        looks=looks,
        dropout=dropout,
        frames=frames,
        size=size,
    )


class Caption(NamedTuple):
    """A sentence that a captioner found.

    Attributes:
        words: their numbers, without the one that ends a sentence.
        log_probability: of the sentence, its end included where it came to one.
        weights: `(words, T)`: which frames each word was said for; as many rows as `words`.
    """

    words: tuple[int, ...]
    log_probability: float
    weights: Tensor


class Captioner(nn.Module):
    """The caption decoder: frames' vectors in, words out.

    Args:
        words: how many there are; number 0 ends a sentence.
        vector: D, numbers of a frame: 1024 of GoogLeNet, and more with a 3D network's beside them.
        word: numbers of a word.
        hidden: units of the LSTM.
        dropout: before and behind the layer that joins LSTM, word and context, in training.
    """

    def __init__(
        self,
        words: int,
        vector: int = 1024,
        *,
        word: int = 468,
        hidden: int = 512,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if words < 2:
            raise ValueError(f"words must be at least 2, the end and another one, got {words}.")
        self.vector = vector
        self.words = nn.Embedding(words, word)
        self.decoder = AttentiveLstm(vector, word, hidden)
        self.of_shown = nn.Linear(hidden, word)
        self.of_context = nn.Linear(vector, word, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(word, words)

    def begin(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's state before the first word.

        Args:
            vectors: `(B, T, D)` of the frames.

        Raises:
            ValueError: another shape.
        """
        if vectors.ndim != 3 or vectors.shape[2] != self.vector:
            raise ValueError(
                f"The captioner needs vectors of shape (B, T, {self.vector}), got "
                f"{tuple(vectors.shape)}."
            )
        return self.decoder.begin(vectors)

    def step(
        self, vectors: Tensor, state: tuple[Tensor, Tensor], last: Tensor | None
    ) -> tuple[Tensor, Look]:
        """What the next word may be.

        Args:
            vectors: `(B, T, D)`.
            state: from `begin`, or of the last step.
            last: `(B,)` the last word; None before the first.

        Returns:
            `(B, words)` logits, and what the decoder attended to.
        """
        if last is None:
            word = vectors.new_zeros(len(vectors), self.words.embedding_dim)
        else:
            word = self.words(last)
        look = self.decoder(vectors, state, word)
        joined = self.of_shown(self.dropout(look.shown)) + word + self.of_context(look.context)
        logits: Tensor = self.head(self.dropout(joined.tanh()))
        return logits, look

    def forward(self, vectors: Tensor, sentences: Tensor) -> Tensor:
        """Logits of each word when all words before it are known.

        Args:
            vectors: `(B, T, D)` of the frames.
            sentences: `(B, L)` numbers of words.

        Returns:
            `(B, L, words)`.
        """
        state, last, logits = self.begin(vectors), None, []
        for word in sentences.unbind(dim=1):
            said, look = self.step(vectors, state, last)
            state, last = (look.shown, look.kept), word
            logits.append(said)
        return torch.stack(logits, dim=1)

    def loss(self, vectors: Tensor, sentences: Tensor) -> Tensor:
        """Minus the log probability of sentences, their ends included; the mean over the batch.

        Args:
            vectors: `(B, T, D)` of the frames.
            sentences: `(B, L)` numbers of words; what comes after the first end is padding.
        """
        logits = self(vectors, sentences)
        each = F.cross_entropy(logits.transpose(1, 2), sentences, reduction="none")  # (B, L)
        ended = (sentences == END).cumsum(dim=1) - (sentences == END).long()
        return (each * (ended == 0)).sum(dim=1).mean()

    @torch.no_grad()
    def describe(self, vectors: Tensor, *, beam: int = 5, longest: int = 30) -> Caption:
        """The most probable sentence that a beam search finds; a beam of 1 is greedy.

        Args:
            vectors: `(T, D)` of one video's frames.
            beam: how many beginnings of sentences are kept.
            longest: words; a sentence that has not come to its end by then is cut off.

        Raises:
            ValueError: a beam or a length below 1.
        """
        if min(beam, longest) < 1:
            raise ValueError(f"beam and longest must be at least 1, got {beam} and {longest}.")
        seen = vectors[None]
        shown, kept = self.begin(seen)
        live = [Caption((), 0.0, seen.new_zeros(0, len(vectors)))]
        finished: list[Caption] = []
        for _ in range(longest):
            last = torch.tensor([one.words[-1] for one in live]) if live[0].words else None
            last = None if last is None else last.to(vectors.device)
            logits, look = self.step(seen.expand(len(live), -1, -1), (shown, kept), last)
            totals = logits.log_softmax(dim=1).double()
            totals += totals.new_tensor([one.log_probability for one in live])[:, None]
            best = totals.flatten().topk(min(beam - len(finished), totals.numel()))
            grown, rows = [], []
            for total, position in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                row, word = divmod(position, totals.shape[1])
                weights = torch.cat([live[row].weights, look.weights[row : row + 1]])
                if word == END:
                    finished.append(Caption(live[row].words, total, live[row].weights))
                else:
                    grown.append(Caption((*live[row].words, word), total, weights))
                    rows.append(row)
            if not grown:
                break
            live, shown, kept = grown, look.shown[rows], look.kept[rows]
        else:
            finished += live
        return max(finished, key=lambda one: one.log_probability)


LAYOUTS = {"torchvision": from_torchvision_vector}

PAPER = "Yao et al., Describing Videos by Exploiting Temporal Structure, ICCV 2015"
MODELS = {
    "temporal_attention": ModelRow(
        temporal_attention, PAPER, 2015, "attention", backbone="googlenet", layouts=LAYOUTS
    ),
}
