"""Do these weights fit this model: names, shapes and dtypes; and then loaded, strictly."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from praxino.shortened import printable

State = dict[str, Tensor]

# Where toolkits keep the weights beside other things, and what wrappers put before every name:
# DataParallel, Lightning, torch.compile.
_KEYS = ("state_dict", "model_state", "model_state_dict", "model", "blobs")
_PREFIXES = ("module.", "model.", "_orig_mod.")


def unwrapped(found: Mapping[str, Any]) -> State:
    """The tensors by name in what a toolkit saved, without a prefix that all names share."""
    for key in _KEYS:
        if isinstance(found.get(key), Mapping):
            found = found[key]
    state = {
        name: value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    for prefix in _PREFIXES * 2:  # any of them may stand before any other
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def rename(state: State, rules: Iterable[tuple[str, str]]) -> State:
    """Rename entries by regular expressions, each applied to what the one before left."""
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def differences(model: nn.Module, state: State) -> list[str]:
    """What keeps these weights from fitting this model, one line each; counters may be missing.

    Only names, shapes and dtypes are compared, so both may be on the meta device. Floating point
    numbers of any precision fit each other.
    """
    own = model.state_dict()
    found = [
        f"{name} is missing"
        for name in own
        # Files from before torch 0.4.1 lack the counter.
        if name not in state and not name.endswith("num_batches_tracked")
    ]
    found += [f"{printable(name)} is not in the model" for name in state if name not in own]
    for name, value in own.items():
        if name not in state:
            continue
        given = state[name]
        if given.shape != value.shape:
            found.append(f"{name} is {tuple(given.shape)}, the model has {tuple(value.shape)}")
        elif given.dtype != value.dtype and not (
            given.is_floating_point() and value.is_floating_point()
        ):
            found.append(f"{name} is {given.dtype}, the model has {value.dtype}")
    return found


def check_fit(model: nn.Module, state: State, where: str) -> None:
    """Refuse weights whose names, shapes or dtypes are not the model's.

    Args:
        model: may be on the meta device.
        state: under the model's own names; may be on the meta device.
        where: the file, for the message.

    Raises:
        ValueError: the first ten differences, and how many there are.
    """
    found = differences(model, state)
    if found:
        more = f"; and {len(found) - 10} more" if len(found) > 10 else ""
        raise ValueError(
            f"{where} does not fit {type(model).__name__}, {len(found)} differences: "
            + "; ".join(found[:10])
            + more
        )


def load_strict(model: nn.Module, state: State, where: str, *, assign: bool = False) -> None:
    """Load weights that fit name by name and shape by shape, or change nothing.

    Args:
        model: gets the weights.
        state: under the model's own names; `num_batches_tracked` may be missing.
        where: the file, for the message.
        assign: put these very tensors into the model, whose own may be on the meta device.

    Raises:
        ValueError: names, shapes or dtypes differ (the first ten are listed), or a weight is not a
            finite number.
    """
    check_fit(model, state, where)
    own = model.state_dict()
    # In the model's own precision, where what was finite may no longer be.
    fitting = {name: value.to(own[name].dtype) for name, value in state.items()}
    for name, value in fitting.items():
        bad = 0 if not value.is_floating_point() else int((~value.isfinite()).sum())
        if bad:
            raise ValueError(
                f"{where}: {bad} of {value.numel()} numbers in {name} are NaN or infinite: the "
                "file is damaged, or its training diverged. Take another checkpoint."
            )
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    model.load_state_dict(counters | fitting, assign=assign)
