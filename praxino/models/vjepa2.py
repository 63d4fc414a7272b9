"""V-JEPA 2: a vision transformer pre-trained to predict its own features, and an attentive probe.

Assran et al., "V-JEPA 2: Self-Supervised Video Models Enable Understanding, Prediction and
Planning", 2025, arXiv:2506.09985.

Notable: positions are rotations of queries and keys, a third of each head for time, height and
width; the probe has blocks of self-attention, then one query that gathers what is classified.
Only encoder and probe are here; the predictor of the pre-training has no part in the answer.
Differs from transformers: nothing, it answers as the network there; files of the authors' own code,
with its names, are not read.
The blocks are those of transformers (`pip install 'praxino[models]'`).
"""

from typing import TypedDict, Unpack

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.from_transformers import transformers_for
from praxino.models.row import ModelRow
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["vjepa2_g", "vjepa2_h", "vjepa2_l"]


class Options(TypedDict, total=False):
    """How a network departs from the published one.

    Args:
        frames: T of `clip_spec`; any multiple of 2 can be fed.
        size: H and W, in pixels; a multiple of `patch`.
        patch: height and width of a patch, in pixels.
        width: D of the tokens.
        depth: number of blocks.
        heads: of each attention.
        expansion: the width inside of each MLP of the encoder, as a multiple of D.
        probe_depth: blocks of self-attention in the probe.
    """

    frames: int
    size: int
    patch: int
    width: int
    depth: int
    heads: int
    expansion: float
    probe_depth: int


class VJepa2(nn.Module):
    """A vision transformer over patches of two frames, and a probe that gathers its tokens.

    Args:
        num_classes: K.
        **options: all of `Options`.
    """

    def __init__(self, num_classes: int, **options: Unpack[Options]) -> None:
        super().__init__()
        library = transformers_for("V-JEPA 2")
        size = options["size"]
        self.places = (size // options["patch"], size // options["patch"])
        config = library.VJEPA2Config(
            frames_per_clip=options["frames"],
            crop_size=size,
            patch_size=options["patch"],
            hidden_size=options["width"],
            num_hidden_layers=options["depth"],
            num_attention_heads=options["heads"],
            mlp_ratio=options["expansion"],
            num_pooler_layers=options["probe_depth"],
            num_labels=num_classes,
            pred_num_hidden_layers=0,
        )
        whole = library.VJEPA2ForVideoClassification(config)
        self.encoder = whole.vjepa2.encoder
        self.probe = whole.pooler
        self.head = whole.classifier
        self.clip_spec = ClipSpec(
            options["frames"],
            stride_frames=4,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The encoder's tokens, which the probe is given: `(B, D, T / 2, H / 16, W / 16)`."""
        check_clip(clip, "V-JEPA 2", size=self.clip_spec.size, least_frames=2)
        tokens = self.encoder(clip.transpose(1, 2)).last_hidden_state  # (B, T' H' W', D)
        result: Tensor = tokens.transpose(1, 2).unflatten(2, (clip.shape[2] // 2, *self.places))
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, of the size and normalised as `self.clip_spec` says; the last
                frame of an odd T is not seen.

        Returns:
            `(B, K)` logits.
        """
        tokens = self.forward_features(clip).flatten(2).transpose(1, 2)  # (B, T' H' W', D)
        logits: Tensor = self.head(self.probe(tokens))
        return logits


_LARGE: Options = {
    "frames": 16,
    "size": 256,
    "patch": 16,
    "width": 1024,
    "depth": 24,
    "heads": 16,
    "expansion": 4.0,
    "probe_depth": 3,
}


def vjepa2_l(num_classes: int = 174, **options: Unpack[Options]) -> VJepa2:
    """V-JEPA 2 on ViT-L: 16 frames of 256 pixels; see `Options`."""
    return VJepa2(num_classes, **(_LARGE | options))


def vjepa2_h(num_classes: int = 174, **options: Unpack[Options]) -> VJepa2:
    """V-JEPA 2 on ViT-H: 16 frames of 256 pixels; see `Options`."""
    huge: Options = {"width": 1280, "depth": 32}
    return VJepa2(num_classes, **(_LARGE | huge | options))


def vjepa2_g(num_classes: int = 174, **options: Unpack[Options]) -> VJepa2:
    """V-JEPA 2 on ViT-g: 64 frames of 384 pixels; see `Options`."""
    giant: Options = {
        "frames": 64,
        "size": 384,
        "width": 1408,
        "depth": 40,
        "heads": 22,
        "expansion": 48 / 11,
    }
    return VJepa2(num_classes, **(_LARGE | giant | options))


def _of_hub(
    repository: str, data: str, num_classes: int, top1: float, clips: int, frames: int, stride: int
) -> Weights:
    """A probe, and how the authors' settings for inference test it.

    Their accuracy is no accuracy of this network: it is of a probe that is given the tokens of
    several clips at once, for Diving48 even those of four depths of the encoder.
    """
    size = 384 if "384" in repository else 256
    return Weights(
        url=f"https://huggingface.co/facebook/{repository}/resolve/main/model.safetensors",
        sha256_prefix=None,
        trained_on=f"{data}, on frozen features",
        num_classes=num_classes,
        licence=f"see huggingface.co/facebook/{repository}",
        protocol=(
            f"the authors' top-1 of {top1} is of {clips} clips of {frames} frames with stride "
            f"{stride} that the probe sees together, 3 crops of {size}; of 1 clip none is published"
        ),
        layout="transformers",
        options={"frames": frames} if "fpc32" in repository else {},
        clip={"stride_frames": stride, "resize_short": size},
    )


WEIGHTS_L = {
    "something_v2": _of_hub(
        "vjepa2-vitl-fpc16-256-ssv2", "Something-Something V2", 174, 73.7, 2, 16, 4
    ),
    "diving48": _of_hub("vjepa2-vitl-fpc32-256-diving48", "Diving48", 48, 89.0, 4, 32, 2),
}
WEIGHTS_G = {
    "something_v2": _of_hub(
        "vjepa2-vitg-fpc64-384-ssv2", "Something-Something V2", 174, 77.3, 2, 64, 2
    ),
    "diving48": _of_hub("vjepa2-vitg-fpc32-384-diving48", "Diving48", 48, 90.2, 4, 32, 2),
}


def from_transformers(state: State, model: nn.Module) -> State:
    """Rename the entries of transformers' `VJEPA2ForVideoClassification`; drop the predictor."""
    rules = (
        (r"^vjepa2\.encoder\.", "encoder."),
        (r"^pooler\.", "probe."),
        (r"^classifier\.", "head."),
    )
    kept = {k: v for k, v in state.items() if not k.startswith("vjepa2.predictor.")}
    return rename(kept, rules)


LAYOUTS = {"transformers": from_transformers}

PAPER = "Assran et al., V-JEPA 2: Self-Supervised Video Models Enable Understanding, 2025"
MODELS = {
    "vjepa2_g": ModelRow(vjepa2_g, PAPER, 2025, "attention", weights=WEIGHTS_G, layouts=LAYOUTS),
    "vjepa2_h": ModelRow(vjepa2_h, PAPER, 2025, "attention", layouts=LAYOUTS),
    "vjepa2_l": ModelRow(vjepa2_l, PAPER, 2025, "attention", weights=WEIGHTS_L, layouts=LAYOUTS),
}
