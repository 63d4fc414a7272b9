"""The table of all models, and how to find and build them."""

import fnmatch
import inspect
import logging
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from praxino.did_you_mean import did_you_mean
from praxino.models.freeze import freeze_batch_norm
from praxino.models.single_frame import (
    single_frame,
    single_frame_mobilenet_v2,
    single_frame_resnet18,
)
from praxino.models.small_3d import small_2d, small_3d
from praxino.weights import Weights

__all__ = [
    "MODELS",
    "ModelRow",
    "create_model",
    "freeze_batch_norm",
    "list_models",
    "single_frame",
    "single_frame_mobilenet_v2",
    "single_frame_resnet18",
    "small_2d",
    "small_3d",
]

log = logging.getLogger("praxino")


@dataclass(frozen=True)
class ModelRow:
    """One line of the table of models.

    Args:
        build: the function; its arguments are `num_classes` and the model's options.
        paper: where the architecture was published.
        year: of the paper.
        weights: published weights by name.
    """

    build: Callable[..., nn.Module]
    paper: str
    year: int
    weights: Mapping[str, Weights] = field(default_factory=dict)


_KARPATHY = "Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014"
_JI = "after Ji et al., 3D CNNs for Human Action Recognition, TPAMI 2013"

MODELS: dict[str, ModelRow] = {
    "single_frame": ModelRow(single_frame, _KARPATHY, 2014),
    "single_frame_mobilenet_v2": ModelRow(single_frame_mobilenet_v2, _KARPATHY, 2014),
    "single_frame_resnet18": ModelRow(single_frame_resnet18, _KARPATHY, 2014),
    "small_2d": ModelRow(small_2d, _JI, 2013),
    "small_3d": ModelRow(small_3d, _JI, 2013),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of models that match a shell pattern, sorted."""
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
        num_classes: K; None: as many as the weights have, or the builder's default.
        weights: a published set by name, a file, or None: random weights.
        **options: keyword arguments of the model's builder.

    Raises:
        ValueError: no model or no weights of that name.
        TypeError: no option of that name.
    """
    if name not in MODELS:
        raise ValueError(f"There is no model named {name!r}.{did_you_mean(name, MODELS)}")
    row = MODELS[name]
    known = options_of(row.build)
    for option in options:
        if option not in known:
            raise TypeError(f"{name} has no option {option!r}.{did_you_mean(option, known)}")
    if num_classes is not None:
        options["num_classes"] = num_classes
    model = row.build(**options)
    if weights is not None:
        raise ValueError(f"{name} has no weights {str(weights)!r}.")
    return model


def options_of(build: Callable[..., nn.Module]) -> list[str]:
    """Names of the keyword arguments of a builder, `num_classes` left out."""
    names: list[str] = []
    for parameter in inspect.signature(build).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:  # annotated Unpack[SomeTypedDict]
            names += typing.get_type_hints(typing.get_args(parameter.annotation)[0])
        elif parameter.name != "num_classes":
            names.append(parameter.name)
    return names
