"""Published weights: found by name, checked, converted to our names, loaded strictly."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

State = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """One published set of weights: where it is, what it reached, and how to read it.

    Args:
        url: of the file.
        sha256_prefix: the first hexadecimal digits of its SHA-256.
        trained_on: the data set.
        num_classes: K.
        licence: of the weights, or of the code they came with where they state none.
        accuracy: percentages by metric, as published.
        protocol: how these were measured.
        layout: whose names the file uses, a key of the model's `layouts`.
        megabytes: the size of the file, as published.
        mean: what to subtract, where it differs from the model's own `clip_spec`.
        std: what to divide by, where it differs from the model's own `clip_spec`.
    """

    url: str
    sha256_prefix: str
    trained_on: str
    num_classes: int
    licence: str
    accuracy: Mapping[str, float] = field(default_factory=dict)
    protocol: str = ""
    layout: str = "torchvision"
    megabytes: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def load_strict(model: nn.Module, state: State, where: str) -> None:
    """Load weights that fit name by name and shape by shape, or change nothing.

    Args:
        model: gets the weights.
        state: under the model's own names; `num_batches_tracked` may be missing.
        where: the file, for the message.

    Raises:
        ValueError: names or shapes differ; the first ten are listed.
    """
    own = model.state_dict()
    for name, value in own.items():
        if name.endswith("num_batches_tracked") and name not in state:
            state = {**state, name: value}  # files from before torch 0.4.1 lack the counter
    differences = [f"{name} is missing" for name in own if name not in state]
    differences += [f"{name} is not in the model" for name in state if name not in own]
    differences += [
        f"{name} is {tuple(state[name].shape)}, the model has {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if differences:
        more = f"; and {len(differences) - 10} more" if len(differences) > 10 else ""
        raise ValueError(
            f"{where} does not fit {type(model).__name__}, {len(differences)} differences: "
            + "; ".join(differences[:10])
            + more
        )
    model.load_state_dict(state, strict=True)
