"""How a model's answers are computed: by which engine, and in how many bits."""

from dataclasses import dataclass
from typing import Literal, get_args

Engine = Literal["torch", "compile", "openvino"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Computing:
    """The choices of `predict` and `evaluate` that `praxino.engines` carries out.

    Args:
        engine: `torch`, operation by operation; `compile`, by `torch.compile`, which needs a C++
            compiler; or `openvino`, on a CPU, which needs the package of that name.
        precision: `fp32`; `bf16`, which halves the digits, so that processors with units for it are
            faster; or `auto`, `bf16` where there are such units.

    Raises:
        ValueError: there is no such engine or precision.
    """

    engine: Engine = "torch"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for kind, one, all_ in (
            ("engine", self.engine, get_args(Engine)),
            ("precision", self.precision, get_args(Precision)),
        ):
            if one not in all_:
                raise ValueError(f"There is no {kind} {one!r}; there are {', '.join(all_)}.")
