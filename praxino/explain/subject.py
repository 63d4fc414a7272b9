"""What is to be explained: a model of the table, or a checkpoint."""

from pathlib import Path

import torch
from torch import nn

from praxino.did_you_mean import did_you_mean
from praxino.models import MODELS, create_model
from praxino.weights.checkpoint import load_model


def open_subject(source: str, weights: str | None = None) -> nn.Module:
    """Build a model by its name, or load one from a file, in eval mode.

    Args:
        source: a name in the table of models, a checkpoint or a run folder.
        weights: for a name: published weights or a file, as `create_model` takes them; None:
            random ones, the same each time.

    Raises:
        ValueError: neither a model nor a file, or weights for a checkpoint, which has its own.
    """
    if source in MODELS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return create_model(source, weights=weights).eval()
    if not Path(source).exists():
        raise ValueError(
            f"There is no model named {source!r}, and no checkpoint or run folder at that place."
            f"{did_you_mean(source, MODELS)}"
        )
    if weights is not None:
        raise ValueError(f"{source} has weights of its own; --weights={weights} is for a name.")
    return load_model(source)
