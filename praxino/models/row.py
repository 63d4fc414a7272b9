"""A line of the table of models, and a published number that a model must reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from praxino.weights.fitting import State
from praxino.weights.published import Weights

Layout = Callable[[State, nn.Module], State]

FAMILIES = {
    "frames": "a 2D network judges each frame; scores are averaged",
    "fusion": "2D networks that join their frames early, late or slowly",
    "3d": "kernels that span time as well as space",
    "inflated": "2D networks whose kernels were grown into time",
    "factorised": "3D kernels split into space and time, or into channels",
    "pathways": "a slow and a fast pathway over one clip",
    "efficient": "few multiply-adds, for phones and laptops",
    "shift": "2D networks that move channels between frames",
    "recurrent": "what was seen so far is a state that each frame changes",
    "two-stream": "one network sees colours, one optical flow; what they say is joined",
    "aggregation": "features of all frames and positions are put together in one bag",
    "attention": "what is looked at depends on what is seen: positions, frames, regions",
    "teaching": "the small networks of lectures and laptops",
}


@dataclass(frozen=True)
class ModelRow:
    """One line of the table of models.

    Args:
        build: the function; its arguments are `num_classes` and the model's options. Its return
            annotation is the model's class, by which `convert_state_dict` knows a model.
        paper: where the architecture was published: authors, title, venue.
        year: of the paper.
        family: one of `FAMILIES`.
        inputs: the streams it takes, in the order of the clip's channels.
        weights: published weights by name; training starts from the first, unless told otherwise.
        backbone: the 2D network it stands on, unless its option `backbone` names another; that
            network's published ImageNet weights fit.
        layouts: functions that turn another toolkit's names into ours, by toolkit; the same for
            all models of a class.
    """

    build: Callable[..., nn.Module]
    paper: str
    year: int
    family: str
    inputs: tuple[str, ...] = ("rgb",)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    backbone: str | None = None
    layouts: Mapping[str, Layout] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"A family is one of {', '.join(FAMILIES)}, not {self.family!r}.")


@dataclass(frozen=True)
class Published:
    """What a paper or a model zoo states of an architecture; `praxino verify` checks it.

    Numbers are written as they are printed there: `"28.0 M"` claims three digits, `"33,371,472"`
    all of them.

    Args:
        model: a name in the table; of several, joined by " + ", parameters are added up.
        source: who states it, and where: "SlowFast paper, table 1".
        options: of the builder, and `num_classes`.
        clip: (C, T, H, W) that `multiply_adds` and `sizes` are for; None: the model's own.
        parameters: how many the model has.
        multiply_adds: for one clip; convolutions and matrix products. Within 1 % is equal.
        sizes: (C, T, H, W) of a layer's output by the name that `praxino models NAME` prints.
        receptive_fields: (T, H, W) of a layer, likewise.
        layer_multiply_adds: of single layers, likewise.
        erratum: why the source is wrong, where it is; its numbers are then expected to differ.
    """

    model: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    clip: tuple[int, int, int, int] | None = None
    parameters: str | None = None
    multiply_adds: str | None = None
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    receptive_fields: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    layer_multiply_adds: Mapping[str, str] = field(default_factory=dict)
    erratum: str | None = None
