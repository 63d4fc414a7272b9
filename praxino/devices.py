"""What this machine offers: a device to compute on, cores to decode with."""

import os


def default_device() -> str:
    """`cuda` where there is a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_workers() -> int:
    """Loader processes: one core is left to the model, and more than eight do not help."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(0, min(8, cores - 1))
