"""TRN: what two, three, ... frames mean to one another, in this order.

Zhou et al., "Temporal Relational Reasoning in Videos", ECCV 2018, arXiv:1711.08496.

Notable: 2D features of a few frames are laid side by side in the order of time, so that two fully
connected layers can tell opening from closing; the multi-scale network sums such relations between
all numbers of frames.
Differs from the paper: the last layers of all scales are one `head`, whose bias is the sum of
theirs. In training each scale draws three relations; the authors' code draws in testing too, so
that no result comes twice. Here a test takes the mean over all relations instead, which is what
draws give on average.
"""

from dataclasses import replace
from itertools import combinations
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from praxino.models import bn_inception
from praxino.models.backbone_2d import MMACTION2_RESNET_NAMES, Backbone2d
from praxino.models.backbone_2d import from_torchvision as from_torchvision_network
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["trn_bn_inception", "trn_r18", "trn_r50", "trn_r101"]

DRAWN = 3  # relations for each scale


class Relation(nn.Module):
    """What a number of frames mean to one another; the first of the two layers (Eq. 1).

    Args:
        frames: T of the clip.
        scale: how many of them are related.
        channels: D of a frame's vector.
        width: of the result.
    """

    def __init__(self, frames: int, scale: int, channels: int, width: int) -> None:
        super().__init__()
        self.sets = list(combinations(range(frames), scale))  # each in the order of time
        self.drawn = min(DRAWN, len(self.sets))
        self.layer = nn.Linear(scale * channels, width)

    def forward(self, vectors: Tensor, test_relations: str) -> Tensor:
        """`(B, T, D)` to `(B, width)`: the sum over `drawn` sets of frames."""
        if self.training:
            sets = [self.sets[i] for i in torch.randperm(len(self.sets))[: self.drawn]]
        else:
            sets = self.sets if test_relations == "all" else self.sets[: self.drawn]
        together = vectors[:, torch.tensor(sets, device=vectors.device)]  # (B, sets, scale, D)
        related = self.layer(together.flatten(2)).relu()  # (B, sets, width)
        return self.drawn * related.mean(dim=1)


class Trn(nn.Module):
    """A 2D network, a short vector for each frame, and relations; see `TrnOptions`."""

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        *,
        frames: int = 8,
        size: int = 224,
        multiscale: bool = True,
        test_relations: Literal["all", "first"] = "all",
        dropout: float = 0.8,
    ) -> None:
        super().__init__()
        if frames < 2:
            raise ValueError(f"frames must be at least 2, got {frames}: one has no relation.")
        if test_relations not in ("all", "first"):
            raise ValueError(f"test_relations is 'all' or 'first', not {test_relations!r}.")
        self.frames, self.test_relations = frames, test_relations
        self.backbone = Backbone2d(backbone)
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(self.backbone.out_features, 256)
        scales = range(frames, 1, -1) if multiscale else [frames]
        width = 256 if multiscale else 512
        self.relations = nn.ModuleList(Relation(frames, scale, 256, width) for scale in scales)
        self.head = nn.Linear(width * len(self.relations), num_classes)
        self.clip_spec = ClipSpec(frames, size=size, resize_short=round(size * 8 / 7))
        if backbone == "bn_inception":  # bytes, less their mean
            self.clip_spec = replace(self.clip_spec, mean=bn_inception.MEAN, std=bn_inception.STD)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "TRN", frames=self.frames)
        return self.backbone.maps(clip)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; T is its `frames`.

        Returns:
            `(B, K)` logits.
        """
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, T, D)
        vectors = self.embed(self.dropout(vectors)).relu()  # (B, T, 256)
        related = [relation(vectors, self.test_relations) for relation in self.relations]
        logits: Tensor = self.head(torch.cat(related, dim=1))
        return logits


class TrnOptions(TypedDict, total=False):
    """Options of every TRN.

    Attributes:
        frames: T; 8 by default. The network takes no other.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        multiscale: relations between 2, 3, ... T frames, as by default, or between T only.
        test_relations: "all": a scale is the mean over all sets of so many frames; "first": over
            the first three, for comparisons with code that draws three.
        dropout: before a frame's vector is made, in training; 0.8 by default.
    """

    frames: int
    size: int
    multiscale: bool
    test_relations: Literal["all", "first"]
    dropout: float


def trn_r18(num_classes: int = 174, **options: Unpack[TrnOptions]) -> Trn:
    """TRN on ResNet-18.

    Args:
        num_classes: K; Something-Something has 174.
        **options: see `TrnOptions`.
    """
    return Trn(num_classes, "resnet18", **options)


def trn_r50(num_classes: int = 174, **options: Unpack[TrnOptions]) -> Trn:
    """TRN on ResNet-50: 26.6 million parameters, 32.8 G multiply-adds for 8 x 224 x 224.

    Args:
        num_classes: K; Something-Something has 174.
        **options: see `TrnOptions`.
    """
    return Trn(num_classes, "resnet50", **options)


def trn_r101(num_classes: int = 174, **options: Unpack[TrnOptions]) -> Trn:
    """TRN on ResNet-101.

    Args:
        num_classes: K; Something-Something has 174.
        **options: see `TrnOptions`.
    """
    return Trn(num_classes, "resnet101", **options)


def trn_bn_inception(num_classes: int = 174, **options: Unpack[TrnOptions]) -> Trn:
    """TRN on BN-Inception, as in the paper: 13.1 million parameters, 16.3 G for 8 x 224 x 224.

    Args:
        num_classes: K; Something-Something has 174.
        **options: see `TrnOptions`.
    """
    return Trn(num_classes, "bn_inception", **options)


_MMACTION2_NAMES = (
    *MMACTION2_RESNET_NAMES,
    (r"^cls_head\.fc_cls\.", "embed."),
    (r"^cls_head\.consensus\.", "consensus."),
)
# The authors' code wraps torchvision's networks, and BN-Inception.
_ZHOUBOLEI_NAMES = (
    (r"^module\.", ""),
    (r"^base_model\.", "backbone.features."),
    (r"^new_fc\.", "embed."),
)


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's TRN recogniser, and join its last layers."""
    return _joined(rename(state, _MMACTION2_NAMES), model)


def from_zhoubolei(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' TRN, and join its last layers.

    On BN-Inception the result wants its colours as their code does: blue, green, red.
    """
    network = {
        name.removeprefix("base_model."): value
        for name, value in state.items()
        if name.startswith("base_model.")
    }
    if bn_inception.is_caffe(network):
        rest = {name: value for name, value in state.items() if name[:11] != "base_model."}
        network = bn_inception.from_caffe(network)
        state = rest | {f"base_model.{name}": value for name, value in network.items()}
    return _joined(rename(state, _ZHOUBOLEI_NAMES), model)


def from_zhoubolei_bgr(state: State, model: nn.Module) -> State:
    """The same on BN-Inception, for colours that are red, green, blue, as everywhere here."""
    renamed = from_zhoubolei(state, model)
    first = "backbone.features.conv1.conv.weight"
    return renamed | {first: bn_inception.in_rgb(renamed[first])}


def _joined(state: State, model: nn.Module) -> State:
    """One head for all scales: what several layers add up is one layer of what goes into them."""
    assert isinstance(model, Trn)
    weights, biases = [], []
    for number, relation in enumerate(model.relations):
        assert isinstance(relation, Relation)
        # Of the single scale there is one classifier, not a list of them.
        single = "consensus.classifier.1.weight" in state
        theirs = "consensus.classifier" if single else f"consensus.fc_fusion_scales.{number}"
        for name in ("weight", "bias"):
            state[f"relations.{number}.layer.{name}"] = state.pop(f"{theirs}.1.{name}")
        weights.append(state.pop(f"{theirs}.3.weight"))
        biases.append(relation.drawn * state.pop(f"{theirs}.3.bias"))  # once for every relation
    return state | {
        "head.weight": torch.cat(weights, dim=1),
        "head.bias": torch.stack(biases).sum(0),
    }


def from_torchvision(state: State, model: nn.Module) -> State:
    """The entries of a torchvision network; relations and head are still to be learned."""
    found = from_torchvision_network(state, model)
    own = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(("embed.", "relations.", "head."))
    }
    return found | own


LAYOUTS = {
    "torchvision": from_torchvision,
    "mmaction2": from_mmaction2,
    "zhoubolei": from_zhoubolei,
    "zhoubolei_bgr": from_zhoubolei_bgr,
}


def _weights(data: str, end: str, trained_on: str, top1: float, top5: float) -> Weights:
    config = f"trn_imagenet-pretrained-r50_8xb16-1x1x8-50e_{data}-rgb"
    return Weights(
        url=f"https://download.openmmlab.com/mmaction/v1.0/recognition/trn/{config}/{config}_{end}.pth",
        sha256_prefix=end.split("-")[1],
        trained_on=trained_on,
        num_classes=174,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol="video level, 2 clips of 8 frames over the whole span, 3 crops of 256",
        layout="mmaction2",
        clip={"size": 256, "resize_short": 256},
    )


WEIGHTS_R50 = {
    "something_v1": _weights("sthv1", "20220815-e13db2e9", "Something-Something V1", 33.65, 62.22),
    "something_v2": _weights("sthv2", "20220815-e01617db", "Something-Something V2", 51.20, 78.42),
}

PAPER = "Zhou et al., Temporal Relational Reasoning in Videos, ECCV 2018"
MODELS = {
    "trn_bn_inception": ModelRow(
        trn_bn_inception, PAPER, 2018, "fusion", backbone="bn_inception", layouts=LAYOUTS
    ),
    "trn_r101": ModelRow(trn_r101, PAPER, 2018, "fusion", backbone="resnet101", layouts=LAYOUTS),
    "trn_r18": ModelRow(trn_r18, PAPER, 2018, "fusion", backbone="resnet18", layouts=LAYOUTS),
    "trn_r50": ModelRow(
        trn_r50, PAPER, 2018, "fusion", weights=WEIGHTS_R50, backbone="resnet50", layouts=LAYOUTS
    ),
}

PUBLISHED = (
    Published(
        "trn_r50",
        "MMAction2's model zoo",
        clip=(3, 8, 256, 256),
        parameters="26.64 M",
        multiply_adds="42.94 G",
    ),
)
