"""ViViT: a vision transformer over tubelets, patches of two frames.

Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021, arXiv:2103.15691.

Notable: model 1 of the paper, attention over all places and times at once, of which weights were
released for PyTorch; tubelets of 2 x 16 x 16; a class token; GELU by its tanh approximation.
Differs from the paper: models 2 to 4, which factorise attention, are not here, and training starts
at random rather than from an image network's weights (Sec. 3.4). From transformers: nothing, it
answers as the network there.
The network is that of transformers (`pip install 'praxino[models]'`).
"""

from typing import TypedDict, Unpack

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.from_transformers import transformers_for
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["vivit_b", "vivit_l"]


class Options(TypedDict, total=False):
    """How a network departs from the published one.

    Args:
        frames: T, a multiple of 2.
        size: H and W, in pixels; a multiple of `patch`.
        patch: height and width of a tubelet, in pixels.
        width: D of the tokens.
        depth: number of blocks.
        heads: of each attention.
        hidden: width inside of each MLP.
    """

    frames: int
    size: int
    patch: int
    width: int
    depth: int
    heads: int
    hidden: int


class ViViT(nn.Module):
    """A vision transformer over tubelets; its class token is classified.

    Args:
        num_classes: K.
        **options: all of `Options`.
    """

    def __init__(self, num_classes: int, **options: Unpack[Options]) -> None:
        super().__init__()
        library = transformers_for("ViViT")
        frames, size, patch = options["frames"], options["size"], options["patch"]
        self.grid = (frames // 2, size // patch, size // patch)
        config = library.VivitConfig(
            num_frames=frames,
            image_size=size,
            tubelet_size=[2, patch, patch],
            hidden_size=options["width"],
            num_hidden_layers=options["depth"],
            num_attention_heads=options["heads"],
            intermediate_size=options["hidden"],
        )
        self.network = library.VivitModel(config, add_pooling_layer=False)
        self.head = nn.Linear(options["width"], num_classes)
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=2,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The normalised tokens of the last block but the class token.

        They are `(B, D, T / 2, H / 16, W / 16)`.
        """
        return self._tokens(clip)[:, 1:].transpose(1, 2).unflatten(2, self.grid)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, of the size and normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        logits: Tensor = self.head(self._tokens(clip)[:, 0])
        return logits

    def _tokens(self, clip: Tensor) -> Tensor:
        check_clip(clip, "ViViT", frames=self.clip_spec.frames, size=self.clip_spec.size)
        tokens: Tensor = self.network(clip.transpose(1, 2)).last_hidden_state
        return tokens  # (B, 1 + T' H' W', D)


_BASE: Options = {
    "frames": 32,
    "size": 224,
    "patch": 16,
    "width": 768,
    "depth": 12,
    "heads": 12,
    "hidden": 3072,
}


def vivit_b(num_classes: int = 400, **options: Unpack[Options]) -> ViViT:
    """ViViT-B/16x2: 89.0 million parameters, 452 G multiply-adds; see `Options`."""
    return ViViT(num_classes, **(_BASE | options))


def vivit_l(num_classes: int = 400, **options: Unpack[Options]) -> ViViT:
    """ViViT-L/16x2: 24 blocks, 1024 wide; see `Options`."""
    large: Options = {"width": 1024, "depth": 24, "heads": 16, "hidden": 4096}
    return ViViT(num_classes, **(_BASE | large | options))


WEIGHTS_B = {
    "kinetics400": Weights(
        url="https://huggingface.co/google/vivit-b-16x2-kinetics400/resolve/main/pytorch_model.bin",
        sha256_prefix=None,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="see huggingface.co/google/vivit-b-16x2-kinetics400",
        layout="transformers",
    )
}


def from_transformers(state: State, model: nn.Module) -> State:
    """Rename the entries of transformers' `VivitForVideoClassification`, old or new."""
    rules = (
        (r"^vivit\.encoder\.layer\.", "vivit.layers."),  # before 5
        (r"\.attention\.attention\.query\.", ".attention.q_proj."),
        (r"\.attention\.attention\.key\.", ".attention.k_proj."),
        (r"\.attention\.attention\.value\.", ".attention.v_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"(\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"^vivit\.", "network."),
        (r"^classifier\.", "head."),
    )
    return rename(state, rules)


LAYOUTS = {"transformers": from_transformers}

PAPER = "Arnab et al., ViViT: A Video Vision Transformer, ICCV 2021"
MODELS = {
    "vivit_b": ModelRow(vivit_b, PAPER, 2021, "attention", weights=WEIGHTS_B, layouts=LAYOUTS),
    "vivit_l": ModelRow(vivit_l, PAPER, 2021, "attention", layouts=LAYOUTS),
}

PUBLISHED = (
    Published(
        "vivit_b",
        "transformers, VivitForVideoClassification of its default size",
        options={"num_classes": 400},
        parameters="88,954,000",
        multiply_adds="451.52 G",
    ),
)
