"""The 3D CNN under the first LSTM for actions: 9 frames become 120 numbers.

Baccouche, Mamalet, Wolf, Garcia and Baskurt, "Sequential Deep Learning for Human Action
Recognition", HBU 2011.

Notable: a sixteenth of the parameters of Ji's 3D CNN; absolute values between convolution and
subsampling; and a sparse second convolution, in which each map of the first has two of its own and
each pair of maps one in common. The paper trains it on clips of 9 frames to name the action, and
then feeds its 120 numbers (`forward_features(clip).flatten(1)`), clip after clip, to an LSTM.
Differs from the paper: its clips are cut out around the person and locally normalised in contrast,
ours are only squeezed to the same 54 x 34 pixels, in grey. It leaves the squashing function and the
width of the hidden layer unsaid; ours are tanh, after subsampling as in LeNet-5, and 50 units.
"""

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.video.clip_spec import ClipSpec

__all__ = ["baccouche_3dcnn"]

FRAMES, HEIGHT, WIDTH = 9, 54, 34


class Baccouche3d(nn.Module):
    """Layers C1 R1 S1, C2 R2 S2, C3, N1 and N2 of the paper; N2 is `head`."""

    grey: Tensor
    pairs: Tensor

    def __init__(self, num_classes: int) -> None:
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
        self.n1 = nn.Linear(120, 50)
        self.head = nn.Linear(50, num_classes)
        self.clip_spec = ClipSpec(
            FRAMES,
            stride_frames=1,
            size=HEIGHT,
            resize_short=HEIGHT,
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            fit="stretch",
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The paper's descriptor of a clip, as a map: `(B, 5, 1, 8, 3)`, 120 numbers."""
        check_clip(clip, "Baccouche's 3D CNN", frames=FRAMES)
        frames = (clip * self.grey).sum(dim=1)  # (B, 9, H, W)
        frames = functional.interpolate(frames, (HEIGHT, WIDTH), mode="bilinear", antialias=True)
        maps = self.s1(self.c1(frames.unsqueeze(1)).abs())  # (B, 7, 5, 24, 14)
        both = [self.c2_own(maps), self.c2_pairs(maps[:, self.pairs])]
        maps = self.s2(torch.cat(both, dim=1).abs())  # (B, 35, 3, 10, 5)
        return torch.tanh(self.c3(maps))

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


PAPER = "Baccouche et al., Sequential Deep Learning for Human Action Recognition, HBU 2011"
MODELS = {
    "baccouche_3dcnn": ModelRow(baccouche_3dcnn, PAPER, 2011, "3d"),
}
