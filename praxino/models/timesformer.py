"""TimeSformer: a vision transformer whose blocks attend over time, then over space.

Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?", ICML 2021,
arXiv:2102.05095.

Notable: patches of one frame; in "divided" attention each patch looks along time at its own place,
then, together with the class token, over its own frame. Two other kinds: "joint" attention over all
places and times at once, and "space" alone, whose frames meet only in a mean.
Differs from transformers: there, a network with space attention returns one answer for each frame.
The blocks are those of transformers (`pip install 'praxino[models]'`).
"""

from typing import Any, Literal, TypedDict, Unpack

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.from_transformers import transformers_for
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights, evenly

__all__ = [
    "timesformer_b",
    "timesformer_b_joint",
    "timesformer_b_space",
    "timesformer_hr",
    "timesformer_l",
]

Attention = Literal["divided_space_time", "joint_space_time", "space_only"]

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


class Options(TypedDict, total=False):
    """How a network departs from the published one.

    Args:
        frames: T.
        size: H and W, in pixels; a multiple of `patch`.
        patch: height and width of a patch, in pixels.
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


class TimeSformer(nn.Module):
    """A vision transformer over the patches of all frames; its class token is classified.

    Args:
        num_classes: K.
        attention: who looks at whom.
        stride: frames of the video from one frame of the clip to the next.
        **options: all of `Options`.
    """

    def __init__(
        self, num_classes: int, attention: Attention, stride: int, **options: Unpack[Options]
    ) -> None:
        super().__init__()
        library = transformers_for("TimeSformer")
        frames, size, patch = options["frames"], options["size"], options["patch"]
        self.attention: Attention = attention
        self.places = (size // patch, size // patch)
        config = library.TimesformerConfig(
            attention_type=attention,
            num_frames=frames,
            image_size=size,
            patch_size=patch,
            hidden_size=options["width"],
            num_hidden_layers=options["depth"],
            num_attention_heads=options["heads"],
            intermediate_size=options["hidden"],
        )
        self.network = library.TimesformerModel(config)
        self.head = nn.Linear(options["width"], num_classes)
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=stride,
            size=size,
            resize_short=size,  # three crops along the longer side
            mean=MEAN,
            std=STD,
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The normalised tokens of the last block but the class token: `(B, D, T, H', W')`.

        H' and W' are 14 for patches of 16 in pictures of 224 pixels. With space attention T is 1,
        because the frames have been averaged.
        """
        tokens = self._tokens(clip)[:, 1:].transpose(1, 2)  # (B, D, H' W' T): time runs fastest
        times = tokens.shape[2] // (self.places[0] * self.places[1])
        return tokens.unflatten(2, (*self.places, times)).permute(0, 1, 4, 2, 3)

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
        spec = self.clip_spec
        check_clip(clip, "TimeSformer", frames=spec.frames, size=spec.size)
        tokens = self.network.embeddings(clip.transpose(1, 2))  # (B, 1 + H' W' T, D)
        tokens = self.network.encoder(tokens).last_hidden_state
        if self.attention == "space_only":  # (B T, 1 + H' W', D)
            tokens = tokens.unflatten(0, (len(clip), spec.frames)).mean(1)
        normed: Tensor = self.network.layernorm(tokens)
        return normed


_BASE: Options = {
    "frames": 8,
    "size": 224,
    "patch": 16,
    "width": 768,
    "depth": 12,
    "heads": 12,
    "hidden": 3072,
}


def timesformer_b(num_classes: int = 400, **options: Unpack[Options]) -> TimeSformer:
    """TimeSformer with divided attention: 8 frames, 121.6 million parameters; see `Options`."""
    return TimeSformer(num_classes, "divided_space_time", 32, **(_BASE | options))


def timesformer_b_joint(num_classes: int = 400, **options: Unpack[Options]) -> TimeSformer:
    """TimeSformer with joint attention: 86.1 million parameters; see `Options`."""
    return TimeSformer(num_classes, "joint_space_time", 32, **(_BASE | options))


def timesformer_b_space(num_classes: int = 400, **options: Unpack[Options]) -> TimeSformer:
    """TimeSformer with space attention only: 86.1 million parameters; see `Options`."""
    return TimeSformer(num_classes, "space_only", 32, **(_BASE | options))


def timesformer_hr(num_classes: int = 400, **options: Unpack[Options]) -> TimeSformer:
    """TimeSformer-HR: 16 frames of 448 pixels; see `Options`."""
    given: Options = {"frames": 16, "size": 448}
    return TimeSformer(num_classes, "divided_space_time", 16, **(_BASE | given | options))


def timesformer_l(num_classes: int = 400, **options: Unpack[Options]) -> TimeSformer:
    """TimeSformer-L: 96 frames of 224 pixels; see `Options`."""
    given: Options = {"frames": 96}
    return TimeSformer(num_classes, "divided_space_time", 4, **(_BASE | given | options))


_MMACTION2 = "https://download.openmmlab.com/mmaction/v1.0/recognition/timesformer/"


def _of_hub(
    repository: str, trained_on: str, num_classes: int, top1: float, top5: float
) -> Weights:
    frames, stride, size = (16, 16, 448) if "-hr-" in repository else (8, 32, 224)
    if trained_on.endswith("V2"):
        clip: dict[str, Any] = {"stride_frames": None}
        spacing = "over the whole span"
    else:
        clip = evenly(frames, stride)
        spacing = f"at {clip['frames_per_second']:.3g} per second"
    return Weights(
        url=f"https://huggingface.co/facebook/{repository}/resolve/main/pytorch_model.bin",
        sha256_prefix=None,
        trained_on=f"ImageNet-21k, then {trained_on}",
        num_classes=num_classes,
        licence=f"see huggingface.co/facebook/{repository}",
        accuracy={"top1": top1, "top5": top5},
        protocol=(
            f"of the authors' file before its conversion, video level, 1 clip of {frames} frames "
            f"{spacing}, 3 crops of {size}"
        ),
        layout="transformers",
        clip=clip,
    )


def _of_mmaction2(kind: str, date_and_hash: str, top1: float, top5: float) -> Weights:
    config = f"timesformer_{kind}_8xb8-8x32x1-15e_kinetics400-rgb"
    return Weights(
        url=f"{_MMACTION2}{config}/{config}_{date_and_hash}.pth",
        sha256_prefix=date_and_hash.split("-")[1],
        trained_on="ImageNet-21k, then Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 1 clip of 8 frames with stride 32, 3 crops of 224",
        layout="mmaction2",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


WEIGHTS_DIVIDED = {
    "kinetics400": _of_hub("timesformer-base-finetuned-k400", "Kinetics-400", 400, 77.9, 93.2),
    "kinetics600": _of_hub("timesformer-base-finetuned-k600", "Kinetics-600", 600, 79.1, 94.4),
    "something_v2": _of_hub(
        "timesformer-base-finetuned-ssv2", "Something-Something V2", 174, 59.1, 85.6
    ),
    "kinetics400_mmaction2": _of_mmaction2("divST", "20220815-a4d0d01f", 77.69, 93.45),
}
WEIGHTS_JOINT = {
    "kinetics400": _of_mmaction2("jointST", "20220815-8022d1c0", 76.95, 93.28),
}
WEIGHTS_SPACE = {
    "kinetics400": _of_mmaction2("spaceOnly", "20220815-78f05367", 76.93, 92.88),
}
WEIGHTS_HR = {
    "kinetics400": _of_hub("timesformer-hr-finetuned-k400", "Kinetics-400", 400, 79.6, 94.0),
    "kinetics600": _of_hub("timesformer-hr-finetuned-k600", "Kinetics-600", 600, 81.8, 95.8),
    "something_v2": _of_hub(
        "timesformer-hr-finetuned-ssv2", "Something-Something V2", 174, 61.8, 86.9
    ),
}


def from_transformers(state: State, model: nn.Module) -> State:
    """Rename the entries of transformers' `TimesformerForVideoClassification`."""
    return rename(state, ((r"^timesformer\.", "network."), (r"^classifier\.", "head.")))


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of mmaction2's recogniser, whatever its attention."""
    # With divided attention, time is attended to first.
    divided = any(".attentions.1." in name for name in state)
    kinds = ("temporal_attention", "attention") if divided else ("attention",)
    norms = ("temporal_layernorm", "layernorm_before") if divided else ("layernorm_before",)
    rules = [
        (r"^backbone\.cls_token$", "network.embeddings.cls_token"),
        (r"^backbone\.pos_embed$", "network.embeddings.position_embeddings"),
        (r"^backbone\.time_embed$", "network.embeddings.time_embeddings"),
        (r"^backbone\.patch_embed\.", "network.embeddings.patch_embeddings."),
        (r"^backbone\.norm\.", "network.layernorm."),
        (r"^backbone\.transformer_layers\.layers\.", "network.encoder.layer."),
        (r"\.ffns\.0\.layers\.0\.0\.", ".intermediate.dense."),
        (r"\.ffns\.0\.layers\.1\.", ".output.dense."),
        (r"\.ffns\.0\.norm\.", ".layernorm_after."),
        (r"\.norms\.0\.", ".layernorm_before."),
        (r"\.norms\.1\.", ".layernorm_after."),
        (r"\.attentions\.0\.temporal_fc\.", ".temporal_dense."),
        (r"^cls_head\.fc_cls\.", "head."),
    ]
    for number, (kind, norm) in enumerate(zip(kinds, norms, strict=True)):
        rules += [
            (rf"\.attentions\.{number}\.norm\.", f".{norm}."),
            (rf"\.attentions\.{number}\.attn\.in_proj_", f".{kind}.attention.qkv."),
            (rf"\.attentions\.{number}\.attn\.out_proj\.", f".{kind}.output.dense."),
        ]
    return rename(state, rules)


def from_facebookresearch(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' own code."""
    rules = (
        (r"^model\.", ""),
        (r"^(cls_token)$", r"network.embeddings.\1"),
        (r"^pos_embed$", "network.embeddings.position_embeddings"),
        (r"^time_embed$", "network.embeddings.time_embeddings"),
        (r"^patch_embed\.proj\.", "network.embeddings.patch_embeddings.projection."),
        (r"^norm\.", "network.layernorm."),
        (r"^blocks\.", "network.encoder.layer."),
        (r"\.temporal_norm1\.", ".temporal_layernorm."),
        (r"\.temporal_fc\.", ".temporal_dense."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.temporal_attn\.", ".temporal_attention."),
        (r"\.attn\.", ".attention."),
        (r"(attention)\.qkv\.", r"\1.attention.qkv."),
        (r"(attention)\.proj\.", r"\1.output.dense."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    )
    return rename(state, rules)


LAYOUTS = {
    "transformers": from_transformers,
    "mmaction2": from_mmaction2,
    "facebookresearch": from_facebookresearch,
}

PAPER = "Bertasius et al., Is Space-Time Attention All You Need?, ICML 2021"
MODELS = {
    name: ModelRow(build, PAPER, 2021, "attention", weights=weights, layouts=LAYOUTS)
    for name, build, weights in (
        ("timesformer_b", timesformer_b, WEIGHTS_DIVIDED),
        ("timesformer_b_joint", timesformer_b_joint, WEIGHTS_JOINT),
        ("timesformer_b_space", timesformer_b_space, WEIGHTS_SPACE),
        ("timesformer_hr", timesformer_hr, WEIGHTS_HR),
        ("timesformer_l", timesformer_l, {}),
    )
}

PUBLISHED = (
    Published(
        "timesformer_b",
        "transformers, TimesformerForVideoClassification of its default size",
        options={"num_classes": 400},
        parameters="121,566,352",
        multiply_adds="195.83 G",
    ),
    Published("timesformer_b", "MMAction2's model zoo", parameters="122 M", multiply_adds="196 G"),
    Published("timesformer_b_joint", "MMAction2's model zoo", parameters="86.11 M"),
    Published("timesformer_b_space", "MMAction2's model zoo", parameters="86.11 M"),
)
