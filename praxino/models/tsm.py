"""TSM: a 2D network that hands some of its channels to the frames next to it.

Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019,
arXiv:1811.08383.

Notable: the shift costs neither parameters nor multiply-adds; it stands inside the residual branch
(Sec. 3.3), so that the shortcut still carries each frame whole. With `online` the channels come
from the past only, and `step` judges a stream frame by frame (Sec. 3.4).
Differs from the paper: nothing; ResNets of 23 blocks and more in their third stage shift in every
other block, as the authors' code does.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypedDict, Unpack

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import MMACTION2_RESNET_NAMES, Backbone2d
from praxino.models.backbone_2d import from_torchvision as from_torchvision_network
from praxino.models.clip_shape import check_clip
from praxino.models.non_local import NonLocal
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["tsm_mobilenet_v2", "tsm_nl_r50", "tsm_r18", "tsm_r34", "tsm_r50", "tsm_r101"]

Shift = Callable[[Tensor], Tensor]
Pairwise = Literal["embedded_gaussian", "gaussian", "dot_product"]


def shift_both_ways(maps: Tensor, frames: int, share: int = 8) -> Tensor:
    """Move channels between neighbouring frames.

    Args:
        maps: `(B * T, C, H, W)`.
        frames: T.
        share: every `share`-th part of the channels moves in each direction.

    Returns:
        The same shape: the first part of the channels comes from the next frame, the second part
        from the frame before; where there is none, zeros. The rest stays.
    """
    clips = rearrange(maps, "(b t) c h w -> b t c h w", t=frames)
    fold = maps.shape[1] // share
    from_next, from_last, kept = clips.split([fold, fold, maps.shape[1] - 2 * fold], dim=2)
    none = torch.zeros_like(from_next[:, :1])
    from_next = torch.cat([from_next[:, 1:], none], dim=1)
    from_last = torch.cat([none, from_last[:, :-1]], dim=1)
    return torch.cat([from_next, from_last, kept], dim=2).flatten(0, 1)


def shift_forward(maps: Tensor, frames: int, share: int = 8) -> Tensor:
    """Give each frame channels of the frame before it, none of the next.

    Args:
        maps: `(B * T, C, H, W)`.
        frames: T.
        share: every `share`-th part of the channels moves.

    Returns:
        The same shape: the first part of the channels comes from the frame before, zeros for the
        first frame. The rest stays.
    """
    clips = rearrange(maps, "(b t) c h w -> b t c h w", t=frames)
    fold = maps.shape[1] // share
    none = torch.zeros_like(clips[:, :1, :fold])
    from_last = torch.cat([none, clips[:, :-1, :fold]], dim=1)
    return torch.cat([from_last, clips[:, :, fold:]], dim=2).flatten(0, 1)


class Tsm(nn.Module):
    """A ResNet or MobileNetV2 of torchvision with shifts; see `TsmOptions` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        *,
        frames: int = 8,
        size: int = 224,
        share: int = 8,
        online: bool = False,
        in_place: bool = False,
        dropout: float = 0.5,
        non_local: Pairwise | None = None,
    ) -> None:
        super().__init__()
        if online and non_local:
            raise ValueError(
                f"online=True waits for no frame, and non_local={non_local!r} looks at all of "
                "them: choose one."
            )
        if share < 2:
            raise ValueError(
                f"share must be at least 2, got {share}: two parts move, one each way."
            )
        if in_place and not backbone.startswith("resnet"):
            raise ValueError(f"in_place=True is for ResNets, the backbone is {backbone!r}.")
        self.share, self.online, self.in_place = share, online, in_place
        self.backbone = Backbone2d(backbone)
        # One dropout, as in the authors' code, whatever the network had.
        self.backbone.neck = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)
        )
        # After every other block of the second and third stage.
        self.non_local = nn.ModuleDict(
            {
                name: NonLocal(
                    block.bn3.num_features,
                    pairwise=non_local,
                    scale=False,
                    pool="embedding",
                    out_bias=False,
                )
                for name, block, _ in self._blocks()
                if non_local
                and name in ("layer2_0", "layer2_2", "layer3_0", "layer3_2", "layer3_4")
            }
        )
        self.head = nn.Linear(self.backbone.out_features, num_classes)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)
        self.clip_spec = ClipSpec(frames, size=size, resize_short=round(size * 8 / 7))

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H / 32, W / 32)`, rounded up."""
        # Non-local blocks halve maps of a sixteenth of the clip's size.
        check_clip(clip, "TSM", least_size=17 if self.non_local else 1)
        frames = clip.shape[2]
        move = shift_forward if self.online else shift_both_ways
        maps = rearrange(clip, "b c t h w -> (b t) c h w")
        maps = self._maps(maps, lambda maps: move(maps, frames, self.share), frames)
        return rearrange(maps, "(b t) d h w -> b d t h w", t=frames)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits, the average of the frames'.
        """
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, T, D)
        logits: Tensor = self.head(vectors.mean(dim=1))
        return logits

    def step(
        self, frame: Tensor, state: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Judge the next frame of a stream.

        Args:
            frame: `(B, 3, H, W)`, normalised as `self.clip_spec` says.
            state: what the last call returned; None: the stream begins.

        Returns:
            `(B, K)` logits of this frame, and the state for the next call: the channels that it
            is to get, on MobileNetV2 some 100 KB in all. The average of the logits is what
            `forward` gives for the whole clip.

        Raises:
            ValueError: the model was not built with `online=True`, so it needs the next frame too.
        """
        if not self.online:
            raise ValueError(
                "This TSM also takes channels from the next frame, so it cannot judge a stream: "
                "build it with online=True, and take weights that were trained so."
            )
        check_clip(frame.unsqueeze(2), "TSM")
        before = iter(state) if state is not None else None
        after: list[Tensor] = []

        def shift(maps: Tensor) -> Tensor:
            fold = maps.shape[1] // self.share
            after.append(maps[:, :fold])
            from_last = torch.zeros_like(after[-1]) if before is None else next(before)
            return torch.cat([from_last, maps[:, fold:]], dim=1)

        maps = self._maps(frame, shift, frames=1)
        logits: Tensor = self.head(self.backbone.neck(maps))
        return logits, tuple(after)

    def _maps(self, maps: Tensor, shift: Shift, frames: int) -> Tensor:
        for name, block, shifts in self._blocks():
            if not shifts:
                maps = block(maps)
            elif self.in_place:
                maps = block(shift(maps))
            else:
                maps = shifted_residual(block, maps, shift)
            if name in self.non_local:
                clips = rearrange(maps, "(b t) c h w -> b c t h w", t=frames)
                maps = rearrange(self.non_local[name](clips), "b c t h w -> (b t) c h w")
        return maps

    def _blocks(self) -> Iterator[tuple[str, Any, bool]]:
        """The network's parts in the order in which they run: name, part, whether it shifts."""
        stages = dict(self.backbone.features.named_children())
        third = stages.get("layer3")
        deep = isinstance(third, nn.Sequential) and len(third) >= 23
        every = 2 if deep and not self.in_place else 1
        for stage_name, stage in stages.items():
            blocks = stage if isinstance(stage, nn.Sequential) else [stage]
            for number, block in enumerate(blocks):
                # Of a MobileNet the blocks that have a shortcut, of a ResNet all that are blocks.
                has_branch = getattr(block, "use_res_connect", hasattr(block, "conv1"))
                yield f"{stage_name}_{number}", block, has_branch and number % every == 0


def shifted_residual(block: Any, maps: Tensor, shift: Shift) -> Tensor:
    """A residual block of torchvision, whose branch sees shifted maps.

    Args:
        block: of a ResNet or of MobileNetV2.
        maps: `(B * T, C, H, W)`.
        shift: moves what the branch is given; the shortcut stays as it is.
    """
    shifted = shift(maps)
    if hasattr(block, "use_res_connect"):  # MobileNetV2's inverted bottleneck
        return maps + block.conv(shifted)
    branch = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(shifted)))))
    if hasattr(block, "conv3"):  # ResNet-50 and deeper
        branch = block.bn3(block.conv3(block.relu(branch)))
    shortcut = maps if block.downsample is None else block.downsample(maps)
    result: Tensor = block.relu(branch + shortcut)
    return result


class TsmOptions(TypedDict, total=False):
    """Options of every TSM.

    Attributes:
        frames: T of `clip_spec`; 8 by default. Any T can be fed.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        share: an eighth of the channels moves in each direction by default.
        online: channels come from the frame before only, not from the next, so that `step` can
            judge a stream.
        in_place: the shortcut carries shifted channels too, the paper's weaker form (Sec. 3.3);
            what the toolkits call `shift_place="block"`.
        dropout: before the last layer, in training; 0.5 by default.
    """

    frames: int
    size: int
    share: int
    online: bool
    in_place: bool
    dropout: float


def tsm_r18(num_classes: int = 400, **options: Unpack[TsmOptions]) -> Tsm:
    """TSM on ResNet-18; see `TsmOptions`."""
    return Tsm(num_classes, "resnet18", **options)


def tsm_r34(num_classes: int = 400, **options: Unpack[TsmOptions]) -> Tsm:
    """TSM on ResNet-34; see `TsmOptions`."""
    return Tsm(num_classes, "resnet34", **options)


def tsm_r50(num_classes: int = 400, **options: Unpack[TsmOptions]) -> Tsm:
    """TSM on ResNet-50: 24.3 million parameters, 32.7 G for 8 x 224 x 224; see `TsmOptions`."""
    return Tsm(num_classes, "resnet50", **options)


def tsm_r101(num_classes: int = 400, **options: Unpack[TsmOptions]) -> Tsm:
    """TSM on ResNet-101, which shifts in every other block; see `TsmOptions`."""
    return Tsm(num_classes, "resnet101", **options)


def tsm_nl_r50(
    num_classes: int = 400,
    *,
    pairwise: Pairwise = "embedded_gaussian",
    **options: Unpack[TsmOptions],
) -> Tsm:
    """TSM on ResNet-50 with five non-local blocks.

    Args:
        num_classes: K.
        pairwise: what two positions mean to one another, see `non_local.BlockOptions`.
        **options: see `TsmOptions`; not `online`.
    """
    return Tsm(num_classes, "resnet50", non_local=pairwise, **options)


def tsm_mobilenet_v2(num_classes: int = 400, **options: Unpack[TsmOptions]) -> Tsm:
    """TSM on MobileNetV2: 2.7 million parameters, 2.4 G for 8 x 224 x 224; see `TsmOptions`."""
    return Tsm(num_classes, "mobilenet_v2", **options)


# MobileNetV2's blocks are flat lists of layers there, nested ones in torchvision; the first block
# lacks the pointwise convolution.
_MIT_HAN_LAB_NAMES = (
    (r"^module\.", ""),
    (r"^base_model\.", ""),
    (r"\.net\.", "."),
    (r"^layer(\d)\.(\d+)\.nl\.", r"non_local.layer\1_\2."),
    (r"^(non_local.*)\.g\.0\.", r"\1.g."),
    (r"^(non_local.*)\.theta\.", r"\1.theta."),
    (r"^(non_local.*)\.phi\.0\.", r"\1.phi."),
    (r"^(non_local.*)\.W\.0\.", r"\1.out."),
    (r"^(non_local.*)\.W\.1\.", r"\1.norm."),
    (r"^layer(\d)\.(\d+)\.block\.", r"layer\1.\2."),
    (r"^(features\.\d+\.conv)\.([01])\.", r"\1.0.\2."),
    (r"^(features\.1\.conv)\.3\.", r"\1.1."),
    (r"^(features\.1\.conv)\.4\.", r"\1.2."),
    (r"^(features\.(?!1\.)\d+\.conv)\.3\.", r"\1.1.0."),
    (r"^(features\.\d+\.conv)\.4\.", r"\1.1.1."),
    (r"^(features\.\d+\.conv)\.6\.", r"\1.2."),
    (r"^(features\.\d+\.conv)\.7\.", r"\1.3."),
    (r"^(new_fc|fc|classifier)\.", "head."),
    (r"^(?!head\.|non_local\.)", "backbone.features."),
)

_MMACTION2_NAMES = (
    (r"\.net\.", "."),
    (r"^backbone\.layer(\d)\.(\d+)\.non_local_block\.", r"non_local.layer\1_\2."),
    (r"^(non_local.*)\.g\.0\.conv\.", r"\1.g."),
    (r"^(non_local.*)\.theta\.conv\.", r"\1.theta."),
    (r"^(non_local.*)\.phi\.0\.conv\.", r"\1.phi."),
    (r"^(non_local.*)\.conv_out\.conv\.", r"\1.out."),
    (r"^(non_local.*)\.conv_out\.bn\.", r"\1.norm."),
    (r"^(backbone\.layer\d\.\d+)\.block\.", r"\1."),
    *MMACTION2_RESNET_NAMES,
    (r"^cls_head\.fc_cls\.", "head."),
)

# Of MobileNetV2: mmaction2 counts stages and blocks, torchvision blocks only.
_MMACTION2_MOBILENET_NAMES = (
    (r"\.net\.", "."),
    (r"^backbone\.", ""),
    (r"^conv1\.conv\.", "features.0.0."),
    (r"^conv1\.bn\.", "features.0.1."),
    (r"^conv2\.conv\.", "features.18.0."),
    (r"^conv2\.bn\.", "features.18.1."),
    *(
        (rf"^layer{stage}\.{block}\.", f"features.{first + block}.")
        for stage, first, blocks in (
            (1, 1, 1),
            (2, 2, 2),
            (3, 4, 3),
            (4, 7, 4),
            (5, 11, 3),
            (6, 14, 3),
            (7, 17, 1),
        )
        for block in range(blocks)
    ),
    (r"^(features\.1\.conv)\.1\.conv\.", r"\1.1."),
    (r"^(features\.1\.conv)\.1\.bn\.", r"\1.2."),
    (r"\.conv\.([01])\.conv\.", r".conv.\1.0."),
    (r"\.conv\.([01])\.bn\.", r".conv.\1.1."),
    (r"\.conv\.2\.conv\.", ".conv.2."),
    (r"\.conv\.2\.bn\.", ".conv.3."),
    (r"^cls_head\.fc_cls\.", "head."),
    (r"^(?!head\.|non_local\.)", "backbone.features."),
)


def from_torchvision(state: State, model: nn.Module) -> State:
    """The entries of a torchvision network; non-local blocks are still to be learned."""
    own = {name: value for name, value in model.state_dict().items() if name[:10] == "non_local."}
    return own | from_torchvision_network(state, model)


def _check_place(state: State, model: nn.Module) -> None:
    """Refuse what has the same weights and computes something else with them."""
    if any(re.search(r"layer2\.net\.", name) for name in state):
        raise ValueError(
            "This TSM pools time before layer2 (temporal_pool), which praxino's has no option for."
        )
    shifts_blocks = any(re.search(r"layer\d\.\d+\.(block\.)?net\.", name) for name in state)
    shifts_branches = any(re.search(r"layer\d\.\d+\..*conv1\..*net\.", name) for name in state)
    in_place = getattr(model, "in_place", False)
    if (shifts_blocks and not in_place) or (shifts_branches and in_place):
        raise ValueError(
            f"This TSM shifts {'whole blocks' if shifts_blocks else 'in residual branches'}: build "
            f"the model with in_place={shifts_blocks}."
        )


def from_mit_han_lab(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' TSM, or of their online demo's MobileNetV2."""
    _check_place(state, model)
    state = rename(state, _MIT_HAN_LAB_NAMES)
    for name in [name for name in state if re.match(r"non_local\..*\.out\.bias$", name)]:
        # A bias before a norm only moves the mean that the norm takes away.
        mean = name.replace("out.bias", "norm.running_mean")
        state[mean] = state[mean] - state.pop(name)
    return state


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's TSM recogniser."""
    _check_place(state, model)
    mobilenet = any(name.startswith("backbone.layer7.") for name in state)
    return rename(state, _MMACTION2_MOBILENET_NAMES if mobilenet else _MMACTION2_NAMES)


LAYOUTS = {
    "torchvision": from_torchvision,
    "mit_han_lab": from_mit_han_lab,
    "mmaction2": from_mmaction2,
}

_HAN_LAB = "https://hanlab18.mit.edu/projects/tsm/models/"
_OPENMMLAB = "https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/"

# By their names in the files of the authors and of MMAction2: trained on, and K.
_DATA = {
    "kinetics": ("Kinetics-400", 400),
    "something": ("Something-Something V1", 174),
    "somethingv2": ("Something-Something V2", 174),
    "kinetics400": ("Kinetics-400", 400),
    "sthv2": ("Something-Something V2", 174),
}
_256 = {"size": 256, "resize_short": 256}


def _of_the_authors(data: str, network: str, end: str, top1: float) -> Weights:
    """A row of the authors' zoo; `end` says how many segments, epochs, and whether it is dense."""
    trained_on, num_classes = _DATA[data]
    frames = 16 if end.startswith("16") else 8
    clip: dict[str, Any] = {}
    if "dense" in end:
        protocol = "video level, 10 clips of 8 frames, every 8th, 3 crops of 256"
        clip |= {"stride_frames": 8, **_256}
    elif data == "kinetics":
        protocol = f"video level, {frames} frames over the whole span, 1 crop of 224"
    else:
        protocol = f"video level, 2 clips of {frames} frames over the whole span, 3 crops of 256"
        clip |= _256
    return Weights(
        url=f"{_HAN_LAB}TSM_{data}_RGB_{network}_shift8_blockres_avg_segment{end}.pth",
        sha256_prefix=None,
        trained_on=trained_on,
        num_classes=num_classes,
        licence="MIT (temporal-shift-module)",
        accuracy={"top1": top1},
        protocol=protocol,
        layout="mit_han_lab",
        options={"frames": 16} if frames == 16 else {},
        clip=clip,
    )


def _of_mmaction2(
    network: str,
    data: str,
    end: str,
    top1: float,
    top5: float,
    *,
    frames: int = 8,
    pairwise: str | None = None,
) -> Weights:
    trained_on, num_classes = _DATA[data]
    clips = "2 clips" if data == "sthv2" else "1 clip"  # Something-Something is sampled twice
    options: dict[str, Any] = {} if frames == 8 else {"frames": frames}
    config = f"tsm_imagenet-pretrained-{network}_8xb16-1x1x{frames}-50e_{data}-rgb"
    return Weights(
        url=f"{_OPENMMLAB}{config}/{config}_{end}.pth",
        sha256_prefix=end.split("-")[1],
        trained_on=trained_on,
        num_classes=num_classes,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": top1, "top5": top5},
        protocol=(
            f"video level, {clips} of {frames} frames over the whole span, 10 crops of 224, "
            "5 of them mirrored"
        ),
        layout="mmaction2",
        options=options if pairwise is None else options | {"pairwise": pairwise},
    )


WEIGHTS_R50 = {
    "kinetics400": _of_the_authors("kinetics", "resnet50", "8_e50", 71.2),
    "kinetics400_16_frames": _of_the_authors("kinetics", "resnet50", "16_e50", 72.6),
    "kinetics400_dense": _of_the_authors("kinetics", "resnet50", "8_e100_dense", 74.1),
    "kinetics400_mmaction2": _of_mmaction2("r50", "kinetics400", "20220831-64d69186", 72.95, 90.45),
    "kinetics400_mmaction2_16_frames": _of_mmaction2(
        "r50", "kinetics400", "20220831-042b1748", 74.64, 91.42, frames=16
    ),
    "something_v1": _of_the_authors("something", "resnet50", "8_e45", 47.2),
    "something_v2": _of_the_authors("somethingv2", "resnet50", "8_e45", 61.2),
    "something_v2_16_frames": _of_the_authors("somethingv2", "resnet50", "16_e45", 63.1),
}
WEIGHTS_NL_R50 = {
    "kinetics400_dense": _of_the_authors("kinetics", "resnet50", "8_e100_dense_nl", 75.6),
    **{
        f"kinetics400_mmaction2_{pairwise}": _of_mmaction2(
            f"r50-nl-{pairwise.replace('_', '-')}",
            "kinetics400",
            end,
            top1,
            top5,
            pairwise=pairwise,
        )
        for pairwise, end, top1, top5 in (
            ("dot_product", "20220831-108bfde5", 74.17, 90.95),
            ("embedded_gaussian", "20220831-35eddb57", 74.45, 91.11),
            ("gaussian", "20220831-7e54dacf", 73.37, 90.82),
        )
    },
}
WEIGHTS_R101 = {
    "something_v1": _of_the_authors("something", "resnet101", "8_e45", 48.7),
    "something_v2": _of_the_authors("somethingv2", "resnet101", "8_e45", 63.3),
    "something_v2_mmaction2": _of_mmaction2("r101", "sthv2", "20221122-cb2cc64e", 60.49, 85.99),
}
WEIGHTS_MOBILENET_V2 = {
    "kinetics400_dense": _of_the_authors("kinetics", "mobilenetv2", "8_e100_dense", 69.5),
    # Gestures, from the authors' demonstration.
    "jester_online": Weights(
        url=f"{_HAN_LAB}mobilenetv2_jester_online.pth.tar",
        sha256_prefix=None,
        trained_on="Jester",
        num_classes=27,
        licence="MIT (temporal-shift-module)",
        layout="mit_han_lab",
        options={"online": True},
    ),
}

PAPER = "Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019"
MODELS = {
    name: ModelRow(
        build,
        PAPER,
        2019,
        "shift",
        weights=weights,
        backbone=backbone,
        layouts=LAYOUTS,
    )
    for name, build, backbone, weights in (
        ("tsm_mobilenet_v2", tsm_mobilenet_v2, "mobilenet_v2", WEIGHTS_MOBILENET_V2),
        ("tsm_nl_r50", tsm_nl_r50, "resnet50", WEIGHTS_NL_R50),
        ("tsm_r101", tsm_r101, "resnet101", WEIGHTS_R101),
        ("tsm_r18", tsm_r18, "resnet18", {}),
        ("tsm_r34", tsm_r34, "resnet34", {}),
        ("tsm_r50", tsm_r50, "resnet50", WEIGHTS_R50),
    )
}

_METAFILE, _README = "MMAction2 0.24 model zoo", "MMAction2 1.0 model zoo"
PUBLISHED = (
    Published(
        "tsm_r50",
        _METAFILE,
        options={"num_classes": 400},
        clip=(3, 8, 224, 224),
        parameters="24,327,632",
        multiply_adds="32,965,562,368",
    ),
    Published("tsm_r50", _METAFILE, clip=(3, 16, 224, 224), multiply_adds="65,931,124,736"),
    Published("tsm_mobilenet_v2", _METAFILE, parameters="2,736,272"),
    Published("tsm_nl_r50", _METAFILE, parameters="31,682,000"),
    Published("tsm_nl_r50", _METAFILE, options={"pairwise": "gaussian"}, parameters="28,007,888"),
    Published("tsm_nl_r50", _README, multiply_adds="61.30 G"),
    Published("tsm_nl_r50", _README, options={"pairwise": "gaussian"}, multiply_adds="59.06 G"),
    Published(
        "tsm_r101",
        _README,
        options={"num_classes": 174},
        parameters="42.86 M",
        multiply_adds="62.66 G",
    ),
)
