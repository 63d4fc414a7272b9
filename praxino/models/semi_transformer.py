"""The action transformer's head on whole frames: the middle frame asks, all frames answer.

After Girdhar et al., "Video Action Transformer Network", CVPR 2019, arXiv:1812.02707, as a port at
github.com/ppriyank/Video-Action-Transformer-Network-Pytorch- (transformer_v2.py) has it for clips.

Notable: a frame becomes one vector; the middle frame's vector is the query, those of all frames are
keys and values, and 16 heads of three units each, with nothing shared or exchanged between heads,
refine the query in turn. What they end with has length one before it is classified.
Differs from the paper: that one detects. There, I3D's map is asked by each person's box, and the
answer is where and what; here there are no boxes, a ResNet-50 sees the frames, and keys and values
are the same vectors, with no weights of their own. As in the port, norms divide by a standard
deviation of N - 1 plus eps, and a frame's place is told before its map becomes a vector.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import Backbone2d, from_torchvision_map
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename

__all__ = ["semi_transformer_r50"]

HEADS, UNITS = 16, 3


class Norm(nn.Module):
    """A layer norm by the deviation of N - 1, to which eps is added."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, vectors: Tensor) -> Tensor:
        """`(..., width)`, any axes before it."""
        centred = vectors - vectors.mean(dim=-1, keepdim=True)
        return self.alpha * centred / (vectors.std(dim=-1, keepdim=True) + self.eps) + self.bias


class Unit(nn.Module):
    """One query asks frames, and changes (the paper's "Tx unit").

    Args:
        width: of query, keys and values.
        dropout: of what was answered, and in and behind the two layers after it.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.linear1 = nn.Linear(width, width // 2)
        self.linear2 = nn.Linear(width // 2, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, frames: Tensor) -> Tensor:
        """`(B, width)` and `(B, T, width)` to `(B, width)`."""
        weights = (torch.einsum("bd,btd->bt", query, frames) / query.shape[1] ** 0.5).softmax(1)
        answer = torch.einsum("bt,btd->bd", weights, frames)
        query = self.norm1(self.dropout(answer) + query)
        changed = self.linear2(self.dropout(self.linear1(query).relu()))
        normed: Tensor = self.norm2(query + self.dropout(changed))
        return normed


class SemiTransformer(nn.Module):
    """A 2D network, a vector for each frame, and heads; see `semi_transformer_r50`."""

    places: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str,
        dropout: float,
        frames: int,
        size: int,
        picture_width: int | None,
    ) -> None:
        super().__init__()
        self.picture = (size, picture_width or size)
        self.backbone = Backbone2d(backbone)
        self.backbone.neck = nn.Identity()
        channels, height, width = self.backbone.map_shape(*self.picture)
        vector = channels // 2
        self.norm_maps = nn.BatchNorm2d(channels)
        self.register_buffer("places", _places(frames, channels))
        # Spans the whole map; where in it something was is known from here on by weights only.
        self.to_vector = nn.Conv2d(channels, vector, (height, width), bias=False)
        self.norm_vectors = Norm(vector)
        self.heads = nn.ModuleList(
            nn.ModuleList(Unit(vector // HEADS, dropout) for _ in range(UNITS))
            for _ in range(HEADS)
        )
        self.head = nn.Linear(vector, num_classes)
        nn.init.kaiming_normal_(self.to_vector.weight, mode="fan_out")
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)
        self.clip_spec = ClipSpec(frames, size=size, resize_short=round(size * 8 / 7))

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "The semi-transformer", frames=self.clip_spec.frames)
        if clip.shape[3:] != self.picture:
            height, width = self.picture
            raise ValueError(
                f"The semi-transformer was built for {height} x {width} pixels, got "
                f"{clip.shape[3]} x {clip.shape[4]} in a clip of shape {tuple(clip.shape)}. Feed "
                "those, or build another one with the options `size` and `picture_width`."
            )
        return self.backbone.maps(clip)

    def describe(self, clip: Tensor) -> Tensor:
        """What is classified, and what clips can be compared by: `(B, 1024)` of length one.

        Args:
            clip: as `forward` takes it.
        """
        maps = rearrange(self.forward_features(clip), "b d t h w -> (b t) d h w")
        maps = rearrange(self.norm_maps(maps), "(b t) d h w -> b t d h w", b=len(clip))
        maps = maps * math.sqrt(maps.shape[2]) + self.places[..., None, None]
        vectors = self.to_vector(maps.flatten(0, 1)).relu().flatten(1)  # (B * T, vector)
        vectors = self.norm_vectors(vectors.unflatten(0, maps.shape[:2]))
        frames = vectors.unflatten(2, (HEADS, -1))  # (B, T, heads, vector / heads)
        answers = []
        for number, units in enumerate(self.heads):
            query = frames[:, frames.shape[1] // 2, number]
            for unit in units:  # type: ignore[attr-defined]
                query = unit(query, frames[:, :, number])
            answers.append(query)
        return F.normalize(torch.cat(answers, dim=1), dim=1)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)` of the T, H and W the model was built for, normalised as
                `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        logits: Tensor = self.head(self.describe(clip))
        return logits


def _places(frames: int, channels: int) -> Tensor:
    """Sines of each frame's number in even channels, cosines in odd ones: `(1, T, D)`.

    As in the port: wavelengths go up to the square of those usual, and neighbours differ in theirs.
    """
    numbers = torch.arange(channels)
    angles = torch.arange(frames)[:, None] / 10000 ** (2 * numbers / channels)
    return torch.where(numbers % 2 == 0, angles.sin(), angles.cos())[None]


def semi_transformer_r50(
    num_classes: int = 625,
    *,
    dropout: float = 0.3,
    frames: int = 4,
    size: int = 224,
    picture_width: int | None = None,
) -> SemiTransformer:
    """The middle frame asks all frames, on ResNet-50.

    Args:
        num_classes: K; the port tells 625 people of MARS apart.
        dropout: in the heads, in training.
        frames: T; no other can be fed.
        size: H and, but for the next option, W, in pixels; no other can be fed.
        picture_width: W, where it is not H: the port's pictures of people are 224 x 112.
    """
    return SemiTransformer(
        num_classes,
        backbone="resnet50",
        dropout=dropout,
        frames=frames,
        size=size,
        picture_width=picture_width,
    )


_RESNET = ("conv1", "bn1", "", "", "layer1", "layer2", "layer3", "layer4")
_PPRIYANK_NAMES = (
    *((rf"^base\.{n}\.", f"backbone.features.{name}.") for n, name in enumerate(_RESNET) if name),
    (r"^tail\.bn1\.", "norm_maps."),
    (r"^tail\.bn2\.", "norm_vectors."),
    (r"^tail\.pos_embd\.pe$", "places"),
    (r"^tail\.Qpr\.", "to_vector."),
    *((rf"^(tail\.list_layers\.\d+)\.T{n + 1}\.", rf"\1.{n}.") for n in range(UNITS)),
    (r"^tail\.list_layers\.(\d+\.\d)\.norm_", r"heads.\1.norm"),
    (r"^tail\.list_layers\.(\d+\.\d)\.ff\.linear_", r"heads.\1.linear"),
    (r"^tail\.classifier\.", "head."),
)


def from_ppriyank(state: State, model: nn.Module) -> State:
    """Rename the entries of the port's `Semi_Transformer`."""
    return rename(state, _PPRIYANK_NAMES)


LAYOUTS = {"torchvision": from_torchvision_map, "ppriyank": from_ppriyank}

PAPER = "Girdhar et al., Video Action Transformer Network, CVPR 2019"
MODELS = {
    "semi_transformer_r50": ModelRow(
        semi_transformer_r50, PAPER, 2019, "attention", backbone="resnet50", layouts=LAYOUTS
    ),
}

PUBLISHED = (
    Published(
        "semi_transformer_r50",
        "the port at github.com/ppriyank/Video-Action-Transformer-Network-Pytorch-",
        options={"picture_width": 112},
        clip=(3, 4, 224, 112),
        parameters="83,088,561",
        multiply_adds="8.611 G",
    ),
)
