"""What this machine offers: a device to compute on, cores to decode with."""

import os
from typing import TYPE_CHECKING

from praxino.errors import EnvironmentFault

if TYPE_CHECKING:
    import torch


def default_device() -> str:
    """`cuda` where there is a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_device(name: str | None = None) -> "torch.device":
    """The device that a user names, or the default one.

    Raises:
        ValueError: no device is called that.
        EnvironmentFault: it is not in this machine.
    """
    import torch

    try:
        device = torch.device(default_device() if name is None else name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"There is no device {name!r}. It is cpu, cuda, cuda:1 ... or mps.")
    found = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}
    if (device.index or 0) >= found[device.type]:
        raise EnvironmentFault(f"This machine has no {name}; {found['cuda']} CUDA GPUs are here.")
    return device


def cores() -> int:
    """Cores that this process may use, where the system tells; otherwise all there are."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_workers() -> int:
    """Loader processes: one core is left to the model, and more than eight do not help."""
    return max(0, min(8, cores() - 1))
