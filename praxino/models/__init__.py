"""How to find, build and load models.

Each model is a function in its paper's file, and can be had from here: `praxino.models.c3d()`. The
table (`table.py`) gives it a name for the command line and for checkpoints.
"""

import contextlib
import dataclasses
import fnmatch
import functools
import inspect
import logging
import re
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from praxino.checked_json import checked
from praxino.did_you_mean import did_you_mean
from praxino.errors import EnvironmentFault
from praxino.models.actionvlad import *
from praxino.models.attention_pooling import *
from praxino.models.baccouche import *
from praxino.models.backbone_2d import imagenet_weights
from praxino.models.beyond_short_snippets import *
from praxino.models.c2d import *
from praxino.models.c3d import *
from praxino.models.c3d_lstm import *
from praxino.models.cnn_lstm import *
from praxino.models.csn import *
from praxino.models.densenet3d import *
from praxino.models.early_fusion import *
from praxino.models.ego_rnn import *
from praxino.models.frame_difference import *
from praxino.models.fstcn import *
from praxino.models.gru_rcn import *
from praxino.models.hara_r2plus1d import *
from praxino.models.hidden_two_stream import *
from praxino.models.i3d import *
from praxino.models.i3d_paper import *
from praxino.models.i3d_resnet import *
from praxino.models.inflated import *
from praxino.models.ji import *
from praxino.models.karpathy import *
from praxino.models.key_volume import *
from praxino.models.late_fusion import *
from praxino.models.lrcn import *
from praxino.models.ltc import *
from praxino.models.mc3 import *
from praxino.models.mvit import *
from praxino.models.non_local import *
from praxino.models.one_channel import OneChannel, to_one_channel
from praxino.models.preact_resnet3d import *
from praxino.models.r2plus1d import *
from praxino.models.r3d import *
from praxino.models.r3d_jf import *
from praxino.models.recurrent_conv import *
from praxino.models.resnet3d import *
from praxino.models.resnext3d import *
from praxino.models.rev_mvit import *
from praxino.models.row import Layout, ModelRow
from praxino.models.rstar_cnn import *
from praxino.models.s3d import *
from praxino.models.semi_transformer import *
from praxino.models.single_frame import *
from praxino.models.skip_rnn import *
from praxino.models.slow import *
from praxino.models.slowfast import *
from praxino.models.small_3d import *
from praxino.models.soft_attention import *
from praxino.models.swin3d import *
from praxino.models.t3d import *
from praxino.models.table import MODELS
from praxino.models.tanet import *
from praxino.models.temporal_attention import *
from praxino.models.timesformer import *
from praxino.models.tin import *
from praxino.models.toy_columns import *
from praxino.models.tpn import *
from praxino.models.trn import *
from praxino.models.tsm import *
from praxino.models.tsn import *
from praxino.models.two_stream import *
from praxino.models.two_stream_fusion import *
from praxino.models.uniformer import *
from praxino.models.videomae import *
from praxino.models.vivit import *
from praxino.models.vjepa2 import *
from praxino.models.wide_resnet3d import *
from praxino.models.x3d import *
from praxino.shortened import shortened
from praxino.video.clip_spec import CHANNELS, ClipSpec
from praxino.weights.fitting import State, differences, load_strict, unwrapped
from praxino.weights.published import Weights, fetch, forget
from praxino.weights.reading import holds_weights, read_state
from praxino.weights.shapes_only import ShapesOnly

log = logging.getLogger("praxino")

_OTHER_CLASSES = re.compile(r"head\.(weight|bias) is \(")  # of the lines that `differences` gives

# Who asks for one of these settings of `clip_spec` decides about the other one too.
_GO_TOGETHER = {"size": "resize_short", "stride_frames": "frames_per_second"}


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
            toolkit's checkpoint in one of the model's layouts), or None: random weights.
        **options: keyword arguments of the model's builder; those that are not given are as the
            published weights need them. And `grey=True` of every model of clips in colour: it is
            turned into one of one channel, with its weights (`one_channel.py`).

    Raises:
        ValueError: no model or no weights of that name, weights that do not fit, or an option that
            is of the wrong type or out of range.
        TypeError: no option of that name.
        EnvironmentFault: published weights cannot be downloaded, or the model stands on an extra
            that is not installed.
    """
    row = _row(name)
    known = option_types(name)
    for option, value in options.items():
        if option not in known:
            raise TypeError(f"{name} has no option {option!r}.{did_you_mean(option, known)}")
        options[option] = checked(known[option], value, name, option)
    grey = options.pop("grey", False)
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"{name}: num_classes must be at least 1, got {num_classes}.")
    if weights is not None:
        published = published_weights(name, **options)
        source = published.get(str(weights))
        if source is None and not holds_weights(weights):
            hint = did_you_mean(str(weights), published) or " Nobody has published any: use none."
            raise ValueError(
                f"{name} has no weights {str(weights)!r}, and there is no such file.{hint}"
            )
    asked = {*options, *(_GO_TOGETHER[option] for option in options if option in _GO_TOGETHER)}
    if weights is not None and source is not None:
        options = {**source.options, **options}
    classes = {} if num_classes is None else {"num_classes": num_classes}
    try:
        model = row.build(**classes, **options)
    except EnvironmentFault:
        raise
    except (
        RuntimeError,
        TypeError,
        ArithmeticError,
    ) as error:  # a layer of no size, or of more than memory
        reason = str(error).strip().partition("\n")[0]
        said = ", ".join(f"{key}={value!r}" for key, value in (classes | options).items())
        raise ValueError(f"{name} cannot be built with {said}: {reason}") from None
    if weights is not None:
        # Weights are in colour, but for a file that was saved of the grey model itself.
        if grey and source is None and _fits(_state_in(weights), to_one_channel(model), {}):
            model, grey = to_one_channel(model), False
        keep_head = num_classes is None
        load_weights(model, name, source or Path(weights), keep_head=keep_head, asked=asked)
    return to_one_channel(model) if grey else model


def options_with(name: str, weights: str | Path | None, **options: Any) -> dict[str, Any]:
    """All options that `create_model` builds a model with: those given, and those of the weights.

    Args:
        name: one of `list_models()`.
        weights: as `create_model` takes them.
        **options: as given to `create_model`.
    """
    source = published_weights(name, **options).get(str(weights))
    return {**({} if source is None else source.options), **options}


def load_weights(
    model: nn.Module,
    name: str,
    source: Weights | str | Path,
    *,
    keep_head: bool = False,
    layout: str | None = None,
    asked: Collection[str] = (),
) -> str | None:
    """Load published weights or a file into a model, strictly; after an error it is unchanged.

    Args:
        model: built by `create_model(name)`.
        name: its name in the table.
        source: a row of `published_weights(name)`, or a file.
        keep_head: whether the model gets the weights' classes; otherwise it keeps its own number
            of classes, and where that differs, its own new head.
        layout: whose names a file has; None: those under which it comes nearest to fitting.
        asked: settings of the model's `clip_spec` that stay, whatever published weights say.

    Returns:
        The layout that was read; None: our own names.

    Raises:
        ValueError: the file cannot be read or does not fit; the first ten differences are listed.
        EnvironmentFault: published weights cannot be downloaded.
    """
    path = fetch(source) if isinstance(source, Weights) else Path(source)
    state, model = _state_in(path), _named_by(model)
    if isinstance(source, Weights):
        layout = source.layout
    layout = layout or _layout_of(state, name, model)
    before, ours = model.head, state
    try:
        if layout is not None:
            ours = convert_state_dict(state, source=layout, model=model)
        ours = _with_head(model, ours, path.name, keep_head)
        load_strict(model, ours, path.name)
    except ValueError as error:
        model.head = before
        if isinstance(source, Weights):
            if source.sha256_prefix is None:
                forget(source)  # that it does not fit may well be the file's fault
            raise
        raise ValueError(f"{error}{_what_fits(state, name, model)}") from None
    if isinstance(source, Weights):
        spec: Any = model.clip_spec
        said = {"mean": source.mean, "std": source.std}
        changes: dict[str, Any] = {
            key: _for_streams(spec, getattr(spec, key), value)
            for key, value in said.items()
            if value is not None
        }
        changes |= {key: value for key, value in source.clip.items() if key not in asked}
        model.clip_spec = dataclasses.replace(spec, **changes)
    return layout


def _for_streams(
    spec: ClipSpec, own: tuple[float, ...], published: tuple[float, ...]
) -> tuple[float, ...]:
    """A mean or deviation for all channels; weights for images say only that of the colours."""
    if len(published) == len(own) and spec.inputs != ("rgb_difference",):
        return published
    streams = [CHANNELS[name] for name in spec.inputs]
    starts = [sum(streams[:number]) for number in range(len(streams))]
    parts = {
        name: published if name == "rgb" else own[start : start + width]
        for name, start, width in zip(spec.inputs, starts, streams, strict=True)
    }
    return tuple(value for part in parts.values() for value in part)


def _state_in(path: str | Path) -> State:
    return unwrapped(read_state(Path(path)))


def _named_by(model: nn.Module) -> nn.Module:
    """The network whose names weights have, once the prefix that all of them share is off."""
    return model.model if isinstance(model, OneChannel) else model


def _with_head(model: nn.Module, state: State, where: str, keep_head: bool) -> State:
    """Make the classifiers of a model and of weights agree: one gets the other's classes."""
    head: Any = model.head
    bias = state.get("head.bias")
    found = len(bias) if bias is not None and bias.ndim == 1 else head.out_features
    if found == head.out_features:
        return state
    if keep_head:
        model.head = nn.Linear(head.in_features, found)
        return state
    log.info(
        "%s: the weights know %d classes; a new head for %d starts at random",
        where,
        found,
        head.out_features,
    )
    return state | {f"head.{key}": value for key, value in head.state_dict().items()}


def _layout_of(state: State, name: str, model: nn.Module) -> str | None:
    """The layout under which a file comes nearest to fitting; None: it has our own names.

    Other classes count for nothing: a layout that only brings a part of a model, and leaves the
    rest as it is, would fit a whole file of other classes better than the file's own names do.
    """
    candidates: dict[str | None, State] = {None: state}
    for layout, convert in _row(name).layouts.items():
        # A file in another layout lacks names, or has shapes, that this conversion counts on.
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, RuntimeError):
            candidates[layout] = convert(state, model)

    def misfits(layout: str | None) -> int:
        return sum(not _OTHER_CLASSES.match(x) for x in differences(model, candidates[layout]))

    return min(candidates, key=misfits)


def _what_fits(state: State, name: str, model: nn.Module) -> str:
    """For an error: which option, or which relatives, have the names and shapes of these weights.

    Tried are the model with each option that is a choice, and all models that share its layouts.
    """
    found = {key: value.to("meta") for key, value in state.items()}
    layouts = _row(name).layouts
    if _fits(found, model, layouts):
        return ""  # it is something else that is wrong
    if not _looks_like(found, model, layouts):
        return ""  # nor like any of the relatives, which have the same names

    def built_fits(name: str, **options: Any) -> bool:
        with contextlib.suppress(ValueError), ShapesOnly():
            return _fits(found, create_model(name, **options), layouts)
        return False  # no such combination of options

    if built_fits(name):
        return f" By its names and shapes it fits {name} without these options."
    for option, kind in option_types(name).items():
        for value in (True, False) if kind is bool else typing.get_args(kind):
            if isinstance(value, str | bool) and built_fits(name, **{option: value}):
                return f" By its names and shapes it fits {name} with {option}={value!r}."
    relatives = [other for other, row in MODELS.items() if layouts and row.layouts is layouts]
    fitting = [other for other in relatives if other != name and built_fits(other)]
    return f" By its names and shapes it fits {' or '.join(fitting)}." if fitting else ""


def _looks_like(state: State, model: nn.Module, layouts: Mapping[str, Layout]) -> bool:
    """Whether a quarter of the model's names are there in some layout, as in all its relatives."""
    model = _named_by(model)
    own = set(model.state_dict())
    for convert in (lambda state, model: state, *layouts.values()):
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, RuntimeError):
            if 4 * len(own & convert(state, model).keys()) >= len(own):
                return True
    return False


def _fits(state: State, model: nn.Module, layouts: Mapping[str, Layout]) -> bool:
    """Whether weights fit in some layout, for any number of classes."""
    model = _named_by(model)
    for convert in (lambda state, model: state, *layouts.values()):
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, RuntimeError):
            found = differences(model, convert(state, model))
            if all(_OTHER_CLASSES.match(line) for line in found):
                return True
    return False


def convert_state_dict(state: Mapping[str, Any], *, source: str, model: nn.Module) -> State:
    """Rename (and reshape where need be) another toolkit's weights to ours.

    Args:
        state: tensors by name, as that toolkit saves them: also under a key such as `state_dict`
            beside other things, or all with a prefix such as `module.`.
        source: the toolkit, one of `layouts_of(model)`.
        model: one of this package's models, with as many classes as the weights.

    Returns:
        What `model.load_state_dict` takes, strictly.

    Raises:
        ValueError: no model of this package, it has no layout of that name, or what is given is
            not in this layout.
    """
    layouts = layouts_of(model)
    if source not in layouts:
        raise ValueError(
            f"{type(model).__name__} cannot read weights of {source!r}."
            f"{did_you_mean(source, layouts)}"
        )
    try:
        return layouts[source](unwrapped(state), model)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        # It lacks names, or has shapes, that this conversion counts on.
        reason = shortened(str(error).partition("\n")[0])
        raise ValueError(
            f"These are no weights of {type(model).__name__} as {source} names them: {reason}."
        ) from None


def layouts_of(model: nn.Module) -> Mapping[str, Layout]:
    """Whose weights a model can read: functions from their names to ours, by toolkit.

    Raises:
        ValueError: no model of this package.
    """
    kind = type(model)
    if kind not in _layouts_by_class():
        raise ValueError(
            f"{kind.__name__} is no model of praxino.models, so no other toolkit's names are known."
        )
    return _layouts_by_class()[kind]


@functools.cache
def _layouts_by_class() -> dict[type, Mapping[str, Layout]]:
    return {typing.get_type_hints(row.build)["return"]: row.layouts for row in MODELS.values()}


def published_weights(name: str, **options: Any) -> Mapping[str, Weights]:
    """Published weights of a model, by the names that `create_model(weights=...)` takes.

    Args:
        name: one of `list_models()`.
        **options: of the builder; `backbone` decides which ImageNet weights fit.
    """
    row = _row(name)
    backbone = options.get("backbone", row.backbone)
    if backbone is None:
        return row.weights
    return {**row.weights, **imagenet_weights(backbone)}


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
    return {**kinds, "grey": bool}


def _row(name: str) -> ModelRow:
    if name not in MODELS:
        raise ValueError(f"There is no model named {name!r}.{did_you_mean(name, MODELS)}")
    return MODELS[name]
