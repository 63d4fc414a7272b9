"""What a run needs to go on as if it had never stopped: saved whole, checked, loaded.

Each state is a new folder, `state/step-00000200-epoch-0005`: weights, optimizer and random numbers
as safetensors, the rest in `state.json`, and `SHA256SUMS` over all of it (for `sha256sum -c` too).
A folder gets its name when it is whole and on the disk, so that a kill at any moment leaves a whole
one; the one before it is kept as well. Beside them lies a second copy of the best model, which,
unlike the last one, could not be made again.
"""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from praxino import __version__
from praxino.atomic import atomic_write, disk_faults, fsync, write_text
from praxino.checksums import SUMS, changed_files, file_hash, write_sums
from praxino.weights.checkpoint import BEST, save_tensors
from praxino.weights.fitting import load_strict

FORMAT = 1
KEPT_STATES = 2
_TENSORS = ("model.safetensors", "optimizer.safetensors", "random.safetensors")

# All that reading a file which is not what we wrote can come to.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError)


class OtherFormat(ValueError):
    """A state that another version of praxino has written, and this one cannot read."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What one epoch came to; the line of `metrics.jsonl`."""

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_hit_at_1: float
    val_loss: float | None = None
    val_hit_at_1: float | None = None


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Args:
        epoch: the epoch under way, from 0.
        step_in_epoch: steps of it that are done.
        step: steps done since the start.
        batch_size: clips in a step; the default depends on the device, and must not change.
        loss_sum: of the epoch under way.
        hits: training clips classified correctly in the epoch under way.
        clips: training clips seen in the epoch under way.
        spans: training clips seen since the start.
        span_seconds: how long their labelled spans were, summed.
        bad: what was wrong with videos that could not be read, or not completely: for each one
            the arguments of its line in the ledger.
        history: the epochs that are over.
        curves: files of TensorBoard curves, and the bytes of the last, as `Curves.position` says.
        best: the SHA-256 of the best model's file; empty if there is none yet.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    batch_size: int = 0
    loss_sum: float = 0.0
    hits: int = 0
    clips: int = 0
    spans: int = 0
    span_seconds: float = 0.0
    bad: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    history: tuple[Epoch, ...] = ()
    curves: tuple[int, int] = (0, 0)
    best: str = ""


@dataclasses.dataclass(frozen=True)
class World:
    """What a run's numbers depend on, beside its settings and its videos.

    Args:
        praxino: the version that wrote the state.
        torch: the version.
        device: `cpu` or `cuda`.
        threads: with which the CPU computes; it adds up in another order for another number.
    """

    praxino: str
    torch: str
    device: str
    threads: int

    @classmethod
    def here(cls, model: nn.Module) -> "World":
        """This very process, and where the model is."""
        device = next(model.parameters()).device.type
        return cls(__version__, str(torch.__version__), device, torch.get_num_threads())


def save_state(
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write all that is needed to go on: weights, optimizer, random numbers, position.

    Raises:
        FloatingPointError: a weight is no number any more; the states before this one are kept.
        EnvironmentFault: the disk is full or fails; the states before this one are kept.
    """
    for name, tensor in model.state_dict().items():  # buffers too, as the mean of a batch norm
        if not tensor.isfinite().all():
            raise FloatingPointError(
                f"{name} holds NaN or infinite weights after step {progress.step}. The last whole "
                f"state is kept; start again with a tenth of --optim.lr."
            )
    # Steps do not tell apart the end of an epoch before and after it was measured.
    folder = run / "state" / f"step-{progress.step:08d}-epoch-{progress.epoch:04d}"
    building = folder.with_name(folder.name + ".part")
    slots, numbers = _flatten_optimizer(optimizer)
    files = {
        "model.safetensors": dict(model.state_dict()),
        "optimizer.safetensors": slots,
        "random.safetensors": _random_state(),
    }
    said = {
        "format": FORMAT,
        "world": dataclasses.asdict(World.here(model)),
        "progress": dataclasses.asdict(progress),
        "optimizer": numbers,
    }
    try:
        with disk_faults(folder):
            for left_over in (run / "state").glob("*.part"):  # of a run killed while it saved
                shutil.rmtree(left_over, ignore_errors=True)
            building.mkdir(parents=True)
            for name, content in files.items():
                tensors = {key: value.contiguous() for key, value in content.items()}
                save_tensors(building / name, tensors)
            write_text(building / "state.json", json.dumps(said))
            write_sums(building, (*files, "state.json"))
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or the same as this one
            os.replace(building, folder)
            fsync(folder.parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    _remove_old(run)


def keep_best(run: Path) -> str:
    """Copy the best model to where states are kept; gives its SHA-256, for `Progress.best`."""
    found = file_hash(run / BEST)
    with atomic_write(_spare(run, found)) as temporary:
        shutil.copyfile(run / BEST, temporary)
    return found


def load_state(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, World, list[str]]:
    """Go back to the newest whole state, and to the best model of that moment.

    Returns:
        Where the run stands, what it ran on, and a line for each damaged state passed over.

    Raises:
        ValueError: there is no state, none of those kept is whole, or another version of praxino
            wrote it.
    """
    passed_over = []
    for folder in reversed(_states(run)):
        try:
            said = _checked(folder)
            progress, world = _progress(said["progress"]), World(**said["world"])
            weights = load_file(folder / "model.safetensors")
            slots = _unflatten(load_file(folder / "optimizer.safetensors"), said["optimizer"])
            random = load_file(folder / "random.safetensors")
            best = _find_best(run, progress.best)
            load_strict(model, weights, str(folder))
        except OtherFormat:
            raise
        except _DAMAGE as error:
            passed_over.append(
                f"{folder.name} is damaged ({error}); going back to the one before it."
            )
            continue
        # Settings never change in a run, so its groups are those that the optimizer was made with.
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": slots, "param_groups": groups})
        _restore_random(random)
        if best is not None:
            with atomic_write(run / BEST) as temporary:
                shutil.copyfile(best, temporary)
            passed_over.append(f"{BEST} was not that of {folder.name}; its copy is back.")
        return progress, world, passed_over
    if passed_over:
        lines = " ".join(passed_over)
        raise ValueError(f"No whole training state is left in {run}; start another run. {lines}")
    raise ValueError(f"There is nothing to resume in {run}. Leave out --resume to start.")


def has_state(run: Path) -> bool:
    """Whether a run can be resumed."""
    return bool(_states(run))


def _states(run: Path) -> list[Path]:
    folders = (run / "state").glob("step-*") if (run / "state").is_dir() else []
    return sorted(folder for folder in folders if folder.suffix != ".part")


def _remove_old(run: Path) -> None:
    """Remove all states but the newest, and the copies of best models that none of them names."""
    states = _states(run)
    for old in states[:-KEPT_STATES]:
        shutil.rmtree(old, ignore_errors=True)
    try:
        texts = [(one / "state.json").read_text(encoding="utf-8") for one in states[-KEPT_STATES:]]
        named = {_spare(run, json.loads(text)["progress"]["best"]) for text in texts}
    except _DAMAGE:
        return  # nobody knows what a damaged state needs
    for spare in set((run / "state").glob("best-*")) - named:
        spare.unlink(missing_ok=True)


def _spare(run: Path, found: str) -> Path:
    return run / "state" / f"best-{found[:16]}.safetensors"


def _find_best(run: Path, expected: str) -> Path | None:
    """The copy of the best model that must take its place again; None if it is in its place."""
    if not expected:
        return None
    for path in (run / BEST, _spare(run, expected)):
        if path.is_file() and file_hash(path) == expected:
            return None if path == run / BEST else path
    raise ValueError(f"{BEST} and its copy have changed since they were written")


def _checked(folder: Path) -> dict[str, Any]:
    """What `state.json` says, after all files were compared with their sums."""
    text = (folder / "state.json").read_text(encoding="utf-8")
    if not (folder / SUMS).is_file() and '"hashes"' in text:
        raise _other_format(folder, 0, "0.1.0.dev0 or older")
    for name in changed_files(folder, (*_TENSORS, "state.json")):
        raise ValueError(f"{name} has changed since it was written")
    said: dict[str, Any] = json.loads(text)
    if said["format"] != FORMAT:
        raise _other_format(folder, said["format"], said["world"]["praxino"])
    return said


def _other_format(folder: Path, found: Any, version: str) -> OtherFormat:
    return OtherFormat(
        f"{folder} has state format {found}, and praxino {__version__} reads format {FORMAT}. "
        f"Finish this run with praxino {version}, or start another."
    )


def _progress(said: dict[str, Any]) -> Progress:
    """Where the run stands, checked: the file may have been edited by hand."""
    history = tuple(Epoch(**epoch) for epoch in said["history"])
    progress = Progress(**{**said, "history": history, "curves": tuple(said["curves"])})
    for name, value in vars(Progress()).items():
        found = getattr(progress, name)
        # bool is an int to Python, and a whole number is a float to nobody but JSON.
        if type(found) is not type(value):
            raise ValueError(f"{name} is {found!r}")
    files, size = progress.curves
    numbers: list[Any] = [files, size, progress.loss_sum, progress.span_seconds]
    for epoch in history:
        numbers += [value for value in vars(epoch).values() if value is not None]
    for number in [*numbers, *(n for n in vars(progress).values() if isinstance(n, int))]:
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{number!r} is no number")
        if isinstance(number, int) and number < 0:
            raise ValueError(f"{number} is below 0")
    return progress


def _flatten_optimizer(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's slots, `3.exp_avg` for the fourth parameter: tensors, and plain numbers."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                numbers[f"{index}.{name}"] = value
    return tensors, numbers


def _unflatten(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> dict[int, dict[str, Any]]:
    slots: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **numbers}.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    return slots


def _random_state() -> dict[str, Tensor]:
    """Torch's generators, which dropout draws from; all else is drawn from (seed, epoch, video)."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
