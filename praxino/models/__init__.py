"""The table of all models, and how to find, build and load them.

Each model is a function; the table gives it a name for the command line and for checkpoints.
"""

import contextlib
import dataclasses
import fnmatch
import inspect
import logging
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from praxino.checked_json import checked
from praxino.did_you_mean import did_you_mean
from praxino.models.backbone_2d import LAYOUTS as FRAME_LAYOUTS
from praxino.models.backbone_2d import imagenet_weights
from praxino.models.c3d import LAYOUTS as C3D_LAYOUTS
from praxino.models.c3d import WEIGHTS as C3D_WEIGHTS
from praxino.models.c3d import c3d
from praxino.models.early_fusion import LAYOUTS as EARLY_FUSION_LAYOUTS
from praxino.models.early_fusion import (
    early_fusion,
    early_fusion_mobilenet_v2,
    early_fusion_resnet18,
)
from praxino.models.frame_difference import frame_difference
from praxino.models.late_fusion import LAYOUTS_FC as LATE_FUSION_FC_LAYOUTS
from praxino.models.late_fusion import LAYOUTS_POOL as LATE_FUSION_POOL_LAYOUTS
from praxino.models.late_fusion import (
    late_fusion_fc,
    late_fusion_fc_mobilenet_v2,
    late_fusion_fc_resnet18,
    late_fusion_pool,
    late_fusion_pool_mobilenet_v2,
    late_fusion_pool_resnet18,
)
from praxino.models.r3d import LAYOUTS as R3D_LAYOUTS
from praxino.models.r3d import WEIGHTS as R3D_18_WEIGHTS
from praxino.models.r3d import r3d_18
from praxino.models.single_frame import (
    single_frame,
    single_frame_mobilenet_v2,
    single_frame_resnet18,
)
from praxino.models.slow_fusion import slow_fusion
from praxino.models.small_3d import small_2d, small_3d
from praxino.models.toy_columns import toy_3d, toy_early_fusion, toy_late_fusion
from praxino.weights.fitting import State, differences, load_strict
from praxino.weights.published import Weights, fetch
from praxino.weights.reading import read_state

__all__ = [
    "MODELS",
    "ModelRow",
    "c3d",
    "convert_state_dict",
    "create_model",
    "early_fusion",
    "early_fusion_mobilenet_v2",
    "early_fusion_resnet18",
    "frame_difference",
    "late_fusion_fc",
    "late_fusion_fc_mobilenet_v2",
    "late_fusion_fc_resnet18",
    "late_fusion_pool",
    "late_fusion_pool_mobilenet_v2",
    "late_fusion_pool_resnet18",
    "list_models",
    "load_weights",
    "option_types",
    "options_of",
    "published_weights",
    "r3d_18",
    "single_frame",
    "single_frame_mobilenet_v2",
    "single_frame_resnet18",
    "slow_fusion",
    "small_2d",
    "small_3d",
    "toy_3d",
    "toy_early_fusion",
    "toy_late_fusion",
]

log = logging.getLogger("praxino")

Layout = Callable[[State, nn.Module], State]


@dataclass(frozen=True)
class ModelRow:
    """One line of the table of models.

    Args:
        build: the function; its arguments are `num_classes` and the model's options.
        paper: where the architecture was published.
        year: of the paper.
        inputs: the streams it takes, in the order of `forward`'s arguments.
        weights: published weights by name.
        backbone: the 2D network it stands on, unless its option `backbone` names another; that
            network's published ImageNet weights fit.
        layouts: functions that turn another toolkit's names into ours, by toolkit.
    """

    build: Callable[..., nn.Module]
    paper: str
    year: int
    inputs: tuple[str, ...] = ("rgb",)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    backbone: str | None = None
    layouts: Mapping[str, Layout] = field(default_factory=dict)


_KARPATHY = "Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014"
_TSN = "after Wang et al., Temporal Segment Networks, ECCV 2016"
_C3D = "Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks, ICCV 2015"
_R3D = "Tran et al., A Closer Look at Spatiotemporal Convolutions, CVPR 2018"
_JI = "after Ji et al., 3D CNNs for Human Action Recognition, TPAMI 2013"
_TOY = "Johnson, EECS 498 lecture 18: Videos, 2020"


def _on_2d(
    build: Callable[..., nn.Module], layouts: Mapping[str, Layout], backbone: str
) -> ModelRow:
    return ModelRow(build, _KARPATHY, 2014, backbone=backbone, layouts=layouts)


MODELS: dict[str, ModelRow] = {
    "c3d": ModelRow(c3d, _C3D, 2015, weights=C3D_WEIGHTS, layouts=C3D_LAYOUTS),
    "early_fusion": _on_2d(early_fusion, EARLY_FUSION_LAYOUTS, "resnet18"),
    "early_fusion_mobilenet_v2": _on_2d(
        early_fusion_mobilenet_v2, EARLY_FUSION_LAYOUTS, "mobilenet_v2"
    ),
    "early_fusion_resnet18": _on_2d(early_fusion_resnet18, EARLY_FUSION_LAYOUTS, "resnet18"),
    "frame_difference": ModelRow(
        frame_difference, _TSN, 2016, backbone="mobilenet_v2", layouts=FRAME_LAYOUTS
    ),
    "late_fusion_fc": _on_2d(late_fusion_fc, LATE_FUSION_FC_LAYOUTS, "resnet18"),
    "late_fusion_fc_mobilenet_v2": _on_2d(
        late_fusion_fc_mobilenet_v2, LATE_FUSION_FC_LAYOUTS, "mobilenet_v2"
    ),
    "late_fusion_fc_resnet18": _on_2d(late_fusion_fc_resnet18, LATE_FUSION_FC_LAYOUTS, "resnet18"),
    "late_fusion_pool": _on_2d(late_fusion_pool, LATE_FUSION_POOL_LAYOUTS, "resnet18"),
    "late_fusion_pool_mobilenet_v2": _on_2d(
        late_fusion_pool_mobilenet_v2, FRAME_LAYOUTS, "mobilenet_v2"
    ),
    "late_fusion_pool_resnet18": _on_2d(late_fusion_pool_resnet18, FRAME_LAYOUTS, "resnet18"),
    "r3d_18": ModelRow(r3d_18, _R3D, 2018, weights=R3D_18_WEIGHTS, layouts=R3D_LAYOUTS),
    "single_frame": _on_2d(single_frame, FRAME_LAYOUTS, "resnet18"),
    "single_frame_mobilenet_v2": _on_2d(single_frame_mobilenet_v2, FRAME_LAYOUTS, "mobilenet_v2"),
    "single_frame_resnet18": _on_2d(single_frame_resnet18, FRAME_LAYOUTS, "resnet18"),
    "slow_fusion": ModelRow(slow_fusion, _KARPATHY, 2014),
    "small_2d": ModelRow(small_2d, _JI, 2013),
    "small_3d": ModelRow(small_3d, _JI, 2013),
    "toy_3d": ModelRow(toy_3d, _TOY, 2020),
    "toy_early_fusion": ModelRow(toy_early_fusion, _TOY, 2020),
    "toy_late_fusion": ModelRow(toy_late_fusion, _TOY, 2020),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of models that match a shell pattern such as `single_frame*`, sorted."""
    return sorted(fnmatch.filter(MODELS, pattern))


def create_model(
    name: str,
    num_classes: int | None = None,
    *,
    weights: str | Path | None = None,
    **options: Any,
) -> nn.Module:
    """Build a model whose name is a string.

    Args:
        name: one of `list_models()`.
        num_classes: K; None: as many as the weights have, or the builder's default. When the
            weights have another number, `head` starts anew and the log says so.
        weights: a published set by name (downloaded once), a file (`.safetensors`, or another
            toolkit's `.pth` in one of the model's layouts), or None: random weights.
        **options: keyword arguments of the model's builder.

    Raises:
        ValueError: no model or no weights of that name, weights that do not fit, or an option that
            is of the wrong type or out of range.
        TypeError: no option of that name.
        EnvironmentFault: published weights cannot be downloaded.
    """
    row = _row(name)
    known = option_types(name)
    for option, value in options.items():
        if option not in known:
            raise TypeError(f"{name} has no option {option!r}.{did_you_mean(option, known)}")
        options[option] = checked(known[option], value, name, option)
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"{name}: num_classes must be at least 1, got {num_classes}.")
    if weights is not None:
        published = published_weights(name, **options)
        source = published.get(str(weights))
        if source is None and not Path(weights).is_file():
            hint = did_you_mean(str(weights), published) or " Nobody has published any: use none."
            raise ValueError(
                f"{name} has no weights {str(weights)!r}, and there is no such file.{hint}"
            )
    classes = {} if num_classes is None else {"num_classes": num_classes}
    try:
        model = row.build(**classes, **options)
    except (
        RuntimeError,
        TypeError,
        ArithmeticError,
    ) as error:  # a layer of no size, or of more than memory
        reason = str(error).strip().partition("\n")[0]
        said = ", ".join(f"{key}={value!r}" for key, value in (classes | options).items())
        raise ValueError(f"{name} cannot be built with {said}: {reason}") from None
    if weights is not None:
        load_weights(model, name, source or Path(weights), keep_head=num_classes is None)
    return model


def load_weights(
    model: nn.Module, name: str, source: Weights | str | Path, *, keep_head: bool = False
) -> None:
    """Load published weights or a file into a model, strictly; after an error it is unchanged.

    Args:
        model: built by `create_model(name)`.
        name: its name in the table.
        source: a row of `published_weights(name)`, or a file.
        keep_head: whether the model gets the weights' classes; otherwise it keeps its own number
            of classes, and where that differs, its own new head.

    Raises:
        ValueError: the file cannot be read or does not fit; the first ten differences are listed.
        EnvironmentFault: published weights cannot be downloaded.
    """
    path = fetch(source) if isinstance(source, Weights) else Path(source)
    state = read_state(path)
    layout = source.layout if isinstance(source, Weights) else _layout_of(state, name, model)
    if layout is not None:
        state = _row(name).layouts[layout](state, model)
    bias = state.get("head.bias")
    found = len(bias) if bias is not None and bias.ndim == 1 else None
    head: Any = model.head
    if found is not None and found != head.out_features:
        if keep_head:
            head = nn.Linear(head.in_features, found)
        else:
            log.info(
                "%s: the weights know %d classes; a new head for %d starts at random",
                name,
                found,
                head.out_features,
            )
            state |= {f"head.{key}": value for key, value in head.state_dict().items()}
    before, model.head = model.head, head
    try:
        load_strict(model, state, path.name)
    except ValueError:
        model.head = before
        raise
    if isinstance(source, Weights) and source.mean is not None and source.std is not None:
        spec: Any = model.clip_spec
        model.clip_spec = dataclasses.replace(spec, mean=source.mean, std=source.std)


def _layout_of(state: State, name: str, model: nn.Module) -> str | None:
    """The layout under which a file comes nearest to fitting; None: it has our own names."""
    candidates: dict[str | None, State] = {None: state}
    for layout, convert in _row(name).layouts.items():
        # A file in another layout lacks names, or has shapes, that this conversion counts on.
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, RuntimeError):
            candidates[layout] = convert(state, model)
    return min(candidates, key=lambda layout: len(differences(model, candidates[layout])))


def convert_state_dict(state: State, *, source: str, name: str, model: nn.Module) -> State:
    """Rename another toolkit's weights to ours.

    Args:
        state: tensors by name, as that toolkit saves them.
        source: the toolkit, one of `MODELS[name].layouts`.
        name: the model's name in the table.
        model: built by `create_model(name)`.

    Raises:
        ValueError: the model has no layout of that name.
    """
    layouts = _row(name).layouts
    if source not in layouts:
        raise ValueError(
            f"{name} cannot read weights of {source!r}.{did_you_mean(source, layouts)}"
        )
    return layouts[source](state, model)


def published_weights(name: str, **options: Any) -> Mapping[str, Weights]:
    """Published weights of a model, by the names that `create_model(weights=...)` takes.

    Args:
        name: one of `list_models()`.
        **options: of the builder; `backbone` decides which ImageNet weights fit.
    """
    row = _row(name)
    backbone = options.get("backbone", row.backbone)
    return imagenet_weights(backbone) if backbone is not None else row.weights


def options_of(name: str) -> list[str]:
    """Names of the options that `create_model(name, ...)` takes."""
    return list(option_types(name))


def option_types(name: str) -> dict[str, Any]:
    """The options that `create_model(name, ...)` takes, with their annotations."""
    build = _row(name).build
    hints = typing.get_type_hints(build)
    kinds: dict[str, Any] = {}
    for parameter in inspect.signature(build).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:  # annotated Unpack[SomeTypedDict]
            kinds |= typing.get_type_hints(typing.get_args(hints[parameter.name])[0])
        elif parameter.name != "num_classes":
            kinds[parameter.name] = hints[parameter.name]
    return kinds


def _row(name: str) -> ModelRow:
    if name not in MODELS:
        raise ValueError(f"There is no model named {name!r}.{did_you_mean(name, MODELS)}")
    return MODELS[name]
