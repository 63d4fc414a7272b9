"""GRU-RCN: convolutional GRUs over the maps of five layers of a VGG-16 at once.

Ballas, Yao, Pal and Courville, "Delving Deeper into Convolutional Networks for Learning Video
Representations", ICLR 2016, arXiv:1511.06432.

Notable: high maps know what is there but hardly where; low ones are fine enough for small motions.
Each of pool2 to pool5 and fc7 has a GRU of its own, convolutional up to pool5 so that it costs the
same wherever it looks; its last state is pooled, and five classifiers' probabilities are averaged.
Stacked, a GRU also sees the state of the one below it, pooled; with two directions, another five
read the frames backwards. UCF101: VGG-16 78.3 %, GRU-RCN 79.9 %, with two directions 80.7 %.
Differs from the paper: whose VGG-16 was trained on UCF101 first; a recipe does that. Its five
classifiers have a bias each, ours share one. What stacking pools from pool5's 7 x 7 to fc7's single
position is left unsaid; ours is the maximum, as below it.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.backbone_2d import from_single_frame, from_torchvision_vector
from praxino.models.clip_shape import check_clip
from praxino.models.recurrent_cells import ConvGRUCell
from praxino.models.row import ModelRow
from praxino.models.single_frame import AverageProbabilities
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename

__all__ = ["gru_rcn", "gru_rcn_bidirectional", "gru_rcn_stacked"]

POOLS = (9, 16, 23, 30)  # where pool2 to pool5 are among the layers


class GruRcn(nn.Module):
    """Five GRUs that read forwards, and their classifiers; see `gru_rcn` for the arguments."""

    def __init__(
        self, num_classes: int, *, stacked: bool, dropout: float, width: int, frames: int, size: int
    ) -> None:
        super().__init__()
        self.backbone = Vgg16(width)
        self.grus = Grus(self.backbone.widths, width, stacked=stacked)
        self.classifiers = Classifiers(dropout)
        self.head = nn.Linear(sum(self.grus.widths), num_classes)
        self.clip_spec = _clip_spec(frames, size)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The states of pool5's GRU after each frame: `(B, 256, T, H / 32, W / 32)`."""
        states, pool5 = None, []
        for maps in self.backbone.percepts(clip):
            states = self.grus(maps, states)
            pool5.append(states[3])
        return torch.stack(pool5, dim=2)

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each frame: `(B, T, K)` logits; of `forward`'s clips."""
        states, said = None, []
        for maps in self.backbone.percepts(clip):
            states = self.grus(maps, states)
            said.append(self.classifiers(states, self.head))
        return torch.stack(said, dim=1)

    def step(self, frame: Tensor, state: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """The next frame of a stream, which may go on for ever.

        Args:
            frame: `(B, 3, H, W)`.
            state: what the last call returned; None at the beginning.

        Returns:
            `(B, K)` logits, those of `forward_steps` at this frame, and the new state.
        """
        (maps,) = self.backbone.percepts(frame.unsqueeze(2))
        state = self.grus(maps, state)
        return self.classifiers(state, self.head), state

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T, H and W from 32.

        Returns:
            `(B, K)` logits after the last frame; their softmax is the average of the five
            classifiers' probabilities.
        """
        states = None
        for maps in self.backbone.percepts(clip):
            states = self.grus(maps, states)
        logits: Tensor = self.classifiers(states, self.head)
        return logits


class BidirectionalGruRcn(nn.Module):
    """Five GRUs that read forwards and five that read backwards; needs the whole clip."""

    def __init__(
        self, num_classes: int, *, dropout: float, width: int, frames: int, size: int
    ) -> None:
        super().__init__()
        self.backbone = Vgg16(width)
        self.forwards = Grus(self.backbone.widths, width, stacked=False)
        self.backwards = Grus(self.backbone.widths, width, stacked=False)
        self.classifiers = Classifiers(dropout)
        self.head = nn.Linear(2 * sum(self.forwards.widths), num_classes)
        self.clip_spec = _clip_spec(frames, size)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The states of pool5's GRUs after each frame: `(B, 512, T, H / 32, W / 32)`."""
        percepts = self.backbone.percepts(clip)
        forwards, backwards, pool5 = None, None, []
        for first, last in zip(percepts, percepts[::-1], strict=True):
            forwards, backwards = self.forwards(first, forwards), self.backwards(last, backwards)
            pool5.append((forwards[3], backwards[3]))
        directions = zip(pool5, pool5[::-1], strict=True)
        return torch.stack([torch.cat([one[0], other[1]], 1) for one, other in directions], dim=2)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: as in `GruRcn`.

        Returns:
            `(B, K)` logits; their softmax is the average of the five classifiers' probabilities.
        """
        percepts = self.backbone.percepts(clip)
        forwards, backwards = None, None
        for first, last in zip(percepts, percepts[::-1], strict=True):
            forwards, backwards = self.forwards(first, forwards), self.backwards(last, backwards)
        assert forwards is not None
        assert backwards is not None
        both = [torch.cat(pair, dim=1) for pair in zip(forwards, backwards, strict=True)]
        logits: Tensor = self.classifiers(both, self.head)
        return logits


class Vgg16(nn.Module):
    """torchvision's VGG-16 without its classifier, whose maps on the way are looked at.

    Args:
        width: channels of the first layer, 64 in the paper; all others follow from it.

    Attributes:
        widths: channels of the five maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        below = 3
        for above, count in zip((1, 2, 4, 8, 8), (2, 2, 3, 3, 3), strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(below, above * width, 3, padding=1), nn.ReLU(inplace=True)]
                below = above * width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        hidden = 64 * width
        classifier = nn.Sequential(
            nn.Linear(8 * width * 7 * 7, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        self.neck = nn.Sequential()
        self.neck.add_module("avgpool", nn.AdaptiveAvgPool2d((7, 7)))
        self.neck.add_module("flatten", nn.Flatten())
        self.neck.add_module("classifier", classifier)
        self.widths = (2 * width, 4 * width, 8 * width, 8 * width, hidden)

    def percepts(self, clip: Tensor) -> list[list[Tensor]]:
        """Of each frame the maps of pool2 to pool5, and fc7 as a map of one pixel."""
        check_clip(clip, "GRU-RCN", least_size=32)
        maps = rearrange(clip, "b c t h w -> (b t) c h w")
        levels = []
        for number, layer in enumerate(self.features):
            maps = layer(maps)
            if number in POOLS:
                levels.append(maps)
        levels.append(self.neck(maps)[:, :, None, None])
        each = [rearrange(level, "(b t) c h w -> t b c h w", b=len(clip)) for level in levels]
        return [list(frame) for frame in zip(*each, strict=True)]


class Grus(nn.Module):
    """A GRU for each of the five maps: 3 x 3 kernels, but for fc7, which is a single pixel.

    Args:
        below: channels of the maps.
        width: channels of the first state; 64, 128, 256, 256 and 512 in the paper.
        stacked: each also sees the state of the one before it.
    """

    def __init__(self, below: Sequence[int], width: int, *, stacked: bool) -> None:
        super().__init__()
        self.widths = (width, 2 * width, 4 * width, 4 * width, 8 * width)
        lower = (0, *self.widths[:-1]) if stacked else (0,) * 5
        sizes = zip(below, lower, self.widths, (3, 3, 3, 3, 1), strict=True)
        self.cells = nn.ModuleList(ConvGRUCell(x + h, out, kernel) for x, h, out, kernel in sizes)
        self.stacked = stacked

    def forward(self, maps: Sequence[Tensor], states: Sequence[Tensor] | None) -> list[Tensor]:
        """One frame's maps and the states after the last one, to the new states."""
        new: list[Tensor] = []
        old = states or (None,) * len(self.cells)
        for cell, level, state in zip(self.cells, maps, old, strict=True):
            if self.stacked and new:
                lower = functional.adaptive_max_pool2d(new[-1], level.shape[2:])
                level = torch.cat([level, lower], dim=1)
            new.append(cell(level, state))
        return new


class Classifiers(nn.Module):
    """The five classifiers' average: each has its own columns of one linear layer.

    Args:
        dropout: before them.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout, self.average = nn.Dropout(dropout), AverageProbabilities()

    def forward(self, states: Sequence[Tensor] | None, head: nn.Linear) -> Tensor:
        """Five `(B, D, H, W)` to `(B, K)` logits whose softmax is the average of their own."""
        assert states is not None, "a clip has at least one frame"
        pooled = [self.dropout(state.mean(dim=(2, 3))) for state in states]
        weights = head.weight.split([one.shape[1] for one in pooled], dim=1)
        said = [
            functional.linear(one, weight, head.bias)
            for one, weight in zip(pooled, weights, strict=True)
        ]
        logits: Tensor = self.average(torch.stack(said, dim=1))
        return logits


def _clip_spec(frames: int, size: int) -> ClipSpec:
    return ClipSpec(frames, stride_frames=1, size=size, resize_short=round(size * 8 / 7))


def gru_rcn(
    num_classes: int = 101,
    *,
    dropout: float = 0.7,
    width: int = 64,
    frames: int = 10,
    size: int = 224,
) -> GruRcn:
    """GRU-RCN with five GRUs side by side.

    Args:
        num_classes: K; UCF101 has 101.
        dropout: share of each state that its classifier does without in training.
        width: channels of VGG's first layer and of the first state; published weights have 64.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels; any from 32 can be fed.
    """
    return GruRcn(
        num_classes, stacked=False, dropout=dropout, width=width, frames=frames, size=size
    )


def gru_rcn_stacked(
    num_classes: int = 101,
    *,
    dropout: float = 0.7,
    width: int = 64,
    frames: int = 10,
    size: int = 224,
) -> GruRcn:
    """GRU-RCN in which each GRU also sees the state of the one below it.

    Args:
        num_classes: K; UCF101 has 101.
        dropout: as in `gru_rcn`.
        width: as in `gru_rcn`.
        frames: as in `gru_rcn`.
        size: as in `gru_rcn`.
    """
    return GruRcn(num_classes, stacked=True, dropout=dropout, width=width, frames=frames, size=size)


def gru_rcn_bidirectional(
    num_classes: int = 101,
    *,
    dropout: float = 0.7,
    width: int = 64,
    frames: int = 10,
    size: int = 224,
) -> BidirectionalGruRcn:
    """GRU-RCN that reads the frames in both directions.

    Args:
        num_classes: K; UCF101 has 101.
        dropout: as in `gru_rcn`.
        width: as in `gru_rcn`.
        frames: as in `gru_rcn`.
        size: as in `gru_rcn`.
    """
    return BidirectionalGruRcn(num_classes, dropout=dropout, width=width, frames=frames, size=size)


NAMES = ((r"^backbone\.features\.features\.", "backbone.features."),)


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename the entries of torchvision's VGG-16, up to fc7; the rest stays as it is."""
    return rename(from_torchvision_vector(state, model), NAMES)


def from_vgg(state: State, model: nn.Module) -> State:
    """Rename the entries of a `single_frame` on VGG-16, as trained; the rest stays as it is."""
    return rename(from_single_frame(state, model), NAMES)


PAPER = "Ballas et al., Delving Deeper into Convolutional Networks for Video, ICLR 2016"
LAYOUTS = {"torchvision": from_torchvision, "single_frame": from_vgg}
MODELS = {
    name: ModelRow(build, PAPER, 2016, "recurrent", backbone="vgg16", layouts=LAYOUTS)
    for name, build in (
        ("gru_rcn", gru_rcn),
        ("gru_rcn_bidirectional", gru_rcn_bidirectional),
        ("gru_rcn_stacked", gru_rcn_stacked),
    )
}
