"""Everything a training run is told, as frozen dataclasses; a recipe is a function returning one.

Settings are two levels deep, so that `--optim.lr 0.05` on the command line names one of them.
No torch here: recipes must be cheap to read.
"""

import dataclasses
import importlib.util
import json
import math
import traceback
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from praxino.checked_json import checked, parse_json, read_json
from praxino.did_you_mean import did_you_mean
from praxino.shortened import printable
from praxino.video.augmentation import Augmentation
from praxino.video.decoding import Backend, Decoding, Window

Option = bool | int | float | str


@dataclass(frozen=True)
class ModelConfig:
    """Which network, and what it starts from.

    Args:
        name: a name from `praxino models`.
        options: keyword arguments of the model's builder.
        weights: a published set by name (`imagenet`), a `.safetensors` file, `none`: from scratch,
            or `auto`: the published set if there is one.
        freeze_until: train only what comes after the module of this name; the rest, batch norm
            included, stays as it is.
        freeze_batch_norm: keep every batch norm's statistics and weights as loaded.
        train_only: train only the parameters whose names match one of these shell patterns, such
            as `head.*`; batch norms that are not among them stay as they are. Empty: all.
    """

    name: str = "single_frame_resnet18"
    options: dict[str, Option] = field(default_factory=dict)
    weights: str | None = "auto"
    freeze_until: str | None = None
    freeze_batch_norm: bool = False
    train_only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.weights in ("none", "None", ""):  # a command line cannot say None
            object.__setattr__(self, "weights", None)


@dataclass(frozen=True)
class ClipConfig:
    """Changes to the model's own clip specification; None keeps what the model says.

    Args:
        frames: how many frames a clip has.
        frames_per_second: the clip's own rate.
        stride_frames: every n-th frame of the video instead.
        size: pixels of the square that enters the model.
        resize_short: pixels of the short side before cropping.
        fit: crop a square, or stretch the whole picture into one.
    """

    frames: int | None = None
    frames_per_second: float | None = None
    stride_frames: int | None = None
    size: int | None = None
    resize_short: int | None = None
    fit: Literal["crop", "stretch"] | None = None

    def __post_init__(self) -> None:
        _check(self, above=0, frames=None, frames_per_second=None, stride_frames=None)
        _check(self, above=0, size=None, resize_short=None)


@dataclass(frozen=True)
class DataConfig:
    """Where the videos are and how they are divided.

    Args:
        source: a folder of class folders, or a manifest (CSV or Parquet).
        videos: where a manifest's videos are, if not beside it.
        val_split: the name of the split to choose the best epoch on; empty: no validation, the
            last epoch is the result.
        val_fraction: the share of the training videos to set aside, by group, when the source
            has no such split.
        limit_per_class: use only so many training videos of each class; None: all.
        skip_bad: leave out videos that cannot be read, and count them; otherwise they stop the run.
        workers: loader processes; None: one for each core but one, at most 8.
        stall_seconds: a loader process that reads one clip for longer than this hangs, which stops
            the run.
        backend: what decodes the videos.
        untrusted: decode in locked processes of their own, bounded in memory and time.
        window: of volumes: the centre and the width of what is shown, in Hounsfield units of CT.
        flow: for models that want it: the method that computes it from each clip, or a folder that
            `praxino flow` has filled.
    """

    source: str = ""
    videos: str | None = None
    val_split: str = "val"
    val_fraction: float = 0.2
    limit_per_class: int | None = None
    skip_bad: bool = False
    workers: int | None = None
    stall_seconds: float = 50.0
    backend: Backend = "pyav"
    untrusted: bool = False
    window: Window | None = None
    flow: str = "dis"

    def __post_init__(self) -> None:
        _check(self, above=0, val_fraction=1, limit_per_class=None, stall_seconds=None)
        _check(self, least=0, workers=None)
        self.decoding  # noqa: B018  (checks them)

    @property
    def decoding(self) -> Decoding:
        """How the videos are to be decoded."""
        return Decoding(self.backend, self.untrusted, self.window)


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move.

    Args:
        name: the optimizer; "adam" is that of older papers, whose weight decay is L2.
        lr: peak learning rate; None: 0.001 from scratch, 0.0002 from published weights.
        backbone_lr_scale: everything but the head learns at `lr` times this.
        lr_scales: what learns at another rate: by a shell pattern of parameters' names, `lr` times
            this. Of several that match, the last one holds.
        momentum: how much of the last step SGD repeats.
        weight_decay: decoupled (AdamW) or L2 (Adam, SGD); biases and norms are left out.
        eps: what Adam and AdamW add to the size of a gradient before they divide by it.
        schedule: the curve after warm-up: down to zero (cosine), flat, `gamma` times less at each
            of the `milestones` (steps), or after every epoch (exponential).
        milestones: how many epochs lie before each step.
        gamma: what the learning rate is multiplied by.
        warmup_epochs: linear, from zero.
        clip_norm: largest gradient norm; 0: no limit.
        label_smoothing: share of the target that the cross entropy gives to all classes alike.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float | None = None
    backbone_lr_scale: float = 1.0
    lr_scales: dict[str, float] = field(default_factory=dict)
    momentum: float = 0.9
    weight_decay: float = 0.01
    eps: float = 1e-8
    schedule: Literal["cosine", "constant", "steps", "exponential"] = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup_epochs: float = 1.0
    clip_norm: float = 5.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check(self, above=0, lr=None, eps=None, gamma=None)
        _check(self, least=0, backbone_lr_scale=None, weight_decay=None, warmup_epochs=None)
        _check(self, least=0, clip_norm=None, momentum=1, label_smoothing=1)
        for pattern, scale in self.lr_scales.items():
            if not 0 <= scale < math.inf:
                raise ValueError(f"lr_scales of {pattern!r} must be at least 0, got {scale}.")
        if (self.schedule == "steps") != bool(self.milestones):
            raise ValueError(
                f"schedule='steps' and milestones go together, got schedule={self.schedule!r} and "
                f"milestones={self.milestones}."
            )
        if min(self.milestones, default=1) < 1:
            raise ValueError(f"milestones are whole epochs, at least 1, got {self.milestones}.")


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Args:
        data: the videos.
        model: the network.
        clip: changes to what the network is fed.
        augmentation: how training clips vary.
        optim: how the weights move.
        epochs: passes over the training videos.
        clips_per_video: clips drawn from each video in an epoch.
        batch_size: clips in a step; None: 8 on a CPU, 32 on a GPU.
        seed: of the order, the clips, the augmentations and the first weights.
        mixed_precision: `auto` is bf16 on a GPU that has it and float32 elsewhere.
        save_every_seconds: seconds of work that a power cut may cost.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optim: OptimConfig = field(default_factory=OptimConfig)
    epochs: int = 20
    clips_per_video: int = 1
    batch_size: int | None = None
    seed: int = 0
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    save_every_seconds: float = 60.0

    def __post_init__(self) -> None:
        _check(self, least=1, epochs=None, clips_per_video=None, batch_size=None)
        _check(self, least=0, seed=2**63, save_every_seconds=None)


def _check(
    config: Any, *, least: float | None = None, above: float | None = None, **below: float | None
) -> None:
    """Refuse a number that is out of range, or no number; `below` gives each one's upper limit."""
    for name, limit in below.items():
        value = getattr(config, name)
        if value is None:
            continue
        said = f"at least {least}" if least is not None else f"above {above}"
        good = value >= least if least is not None else value > above
        if limit is not None:
            said, good = f"{said} and below {limit}", good and value < limit
        if not (good and math.isfinite(value)):
            raise ValueError(f"{name} must be {said}, got {value}.")


def tiny(config: TrainConfig) -> TrainConfig:
    """The same run in about two minutes on a laptop: two epochs over a few videos of each class."""
    data = dataclasses.replace(config.data, limit_per_class=4)
    return dataclasses.replace(config, data=data, epochs=2, batch_size=4)


def load_recipe(reference: str) -> TrainConfig:
    """Call the recipe `path/to/file.py:function`.

    The file is the user's own Python and is executed.

    Raises:
        ValueError: the file or the function does not exist, is no Python source, or returns
            something else.
    """
    made = call_function(reference, "recipe")
    if not isinstance(made, TrainConfig):
        raise ValueError(f"{reference} must return a TrainConfig, not {type(made).__name__}.")
    return made


def call_function(reference: str, what: str, *arguments: Any) -> Any:
    """Call a user's own function, `path/to/file.py:function`.

    Args:
        reference: the file, a colon, the function's name.
        what: that it makes, for messages: "recipe".
        *arguments: of the function.

    Raises:
        ValueError: the file or the function does not exist, is no Python source, or fails.
    """
    name, _, function_name = reference.rpartition(":")
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"There is no {what} file {name!r}.")
    if path.suffix != ".py":  # compiled Python would run too, and nobody can read it
        raise ValueError(f"A {what} is a function in a .py file, got {name!r}.")
    spec = importlib.util.spec_from_file_location(f"{what}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        functions = _functions_in(module)
        made = functions[function_name](*arguments) if function_name in functions else None
    except Exception as error:  # the user's own code: name the line of it
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else "?")
        what = printable(str(error).strip().partition("\n")[0])
        raise ValueError(f"{name}, line {line}: {type(error).__name__}: {what}") from None
    if function_name not in functions:
        raise ValueError(
            f"{name} has no {what} {function_name!r}.{did_you_mean(function_name, functions)}"
        )
    return made


def _functions_in(module: types.ModuleType) -> dict[str, Callable[[], Any]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, types.FunctionType)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def to_json(config: TrainConfig) -> str:
    """The settings as readable JSON; `from_json` gives the same config back."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str | bytes, where: str = "config.json") -> TrainConfig:
    """Read settings written by `to_json`; nothing in them is ever run.

    Raises:
        ValueError: not JSON, a setting this version does not know (the nearest is named), or a
            value of the wrong type or out of range.
    """
    config: TrainConfig = checked(TrainConfig, parse_json(text, where), where)
    return config


def read_config(path: str | Path) -> TrainConfig:
    """Read the `config.json` of a run folder.

    Raises:
        ValueError: no such file, or what `from_json` refuses.
    """
    config: TrainConfig = checked(TrainConfig, read_json(path), printable(path))
    return config


def with_defaults(config: Any) -> Any:
    """A class like the config's own whose defaults are the config's values."""
    hints, fields = typing.get_type_hints(type(config)), []
    for one in dataclasses.fields(config):
        value, kind = getattr(config, one.name), hints[one.name]
        if dataclasses.is_dataclass(value):
            kind = with_defaults(value)
            fields.append((one.name, kind, dataclasses.field(default_factory=kind)))
        elif isinstance(value, dict):
            copy: Any = dataclasses.field(default_factory=partial(dict, value))
            fields.append((one.name, kind, copy))
        else:
            fields.append((one.name, kind, dataclasses.field(default=value)))
    copied = dataclasses.make_dataclass(type(config).__name__, fields, frozen=True)
    # The help texts live in the docstring; cyclopts takes a class of module `types` for built in.
    copied.__doc__, copied.__module__ = type(config).__doc__, __name__
    return copied


def as_config(base: Any, parsed: Any) -> Any:
    """What was parsed into a class of `with_defaults`, as the real config."""
    values = {}
    for one in dataclasses.fields(base):
        old, new = getattr(base, one.name), getattr(parsed, one.name)
        if dataclasses.is_dataclass(old):
            new = as_config(old, new)
        elif isinstance(old, dict):
            new = {**old, **new}
        values[one.name] = new
    return dataclasses.replace(base, **values)
