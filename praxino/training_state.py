"""What a run needs to go on as if it had never stopped: saved whole, checked, loaded.

Each state is a new folder, `state/step-00000200`, of safetensors and JSON with their hashes, which
gets its name when it is whole, so that a kill at any moment leaves a whole one.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from praxino.atomic import write_text
from praxino.checkpoint import save_tensors
from praxino.weights import load_strict

KEPT_STATES = 2


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Args:
        epoch: the epoch under way, from 0.
        step_in_epoch: steps of it that are done.
        step: steps done since the start.
        loss_sum: of the epoch under way.
        hits: training clips classified correctly in the epoch under way.
        clips: training clips seen in the epoch under way.
        spans: training clips seen since the start.
        span_seconds: how long their labelled spans were, summed.
        bad: what was wrong with videos that could not be read, or not completely: for each one
            the arguments of its line in the ledger.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    hits: int = 0
    clips: int = 0
    spans: int = 0
    span_seconds: float = 0.0
    bad: dict[str, list[Any]] = dataclasses.field(default_factory=dict)


def save_state(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write all that is needed to go on: weights, optimizer, random numbers, position."""
    folder = run / "state" / f"step-{progress.step:08d}"
    for left_over in (run / "state").glob("*.part"):  # of a run that was killed while it saved
        shutil.rmtree(left_over, ignore_errors=True)
    building = folder.with_name(folder.name + ".part")
    building.mkdir(parents=True)
    slots, plain = _flatten_optimizer(optimizer)
    files = {
        "model.safetensors": dict(model.state_dict()),
        "optimizer.safetensors": slots,
        "random.safetensors": _random_state(),
    }
    hashes = {}
    try:
        for name, content in files.items():
            tensors = {key: value.contiguous() for key, value in content.items()}
            save_tensors(building / name, tensors)
            hashes[name] = _file_hash(building / name)
        said = {"progress": dataclasses.asdict(progress), "optimizer": plain, "hashes": hashes}
        write_text(building / "state.json", json.dumps(said))
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(building, folder)
    for old in _states(run)[:-KEPT_STATES]:
        shutil.rmtree(old, ignore_errors=True)


def load_state(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, list[str]]:
    """Go back to the newest whole state.

    Returns:
        Where the run stands, and a line for each damaged state that was passed over.

    Raises:
        ValueError: there is no state, or none of those kept is whole.
    """
    passed_over = []
    for folder in reversed(_states(run)):
        try:
            said = _checked(folder)
        except (OSError, ValueError, KeyError) as error:
            passed_over.append(f"{folder.name} is damaged ({error}); going back to the one before")
            continue
        load_strict(model, load_file(folder / "model.safetensors"), str(folder))
        _restore_optimizer(
            optimizer, load_file(folder / "optimizer.safetensors"), said["optimizer"]
        )
        _restore_random(load_file(folder / "random.safetensors"))
        return Progress(**said["progress"]), passed_over
    if passed_over:
        raise ValueError(f"No whole training state is left in {run}: {'; '.join(passed_over)}.")
    raise ValueError(f"There is nothing to resume in {run}. Leave out --resume to start.")


def has_state(run: Path) -> bool:
    """Whether a run can be resumed."""
    return bool(_states(run))


def _states(run: Path) -> list[Path]:
    folders = (run / "state").glob("step-*") if (run / "state").is_dir() else []
    return sorted(folder for folder in folders if folder.suffix != ".part")


def _checked(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    for name, expected in said["hashes"].items():
        if _file_hash(folder / name) != expected:
            raise ValueError(f"{name} has changed since it was written")
    return said


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any]:
    """An optimizer's state as named tensors and JSON."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, slots in state["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                numbers[f"{index}.{name}"] = value
    return tensors, {"groups": state["param_groups"], "numbers": numbers}


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: Any
) -> None:
    slots: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **plain["numbers"]}.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": plain["groups"]})


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
