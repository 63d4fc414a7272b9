"""Our models against what reference implementations computed."""

import importlib.util
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from praxino.layer_table import count_parameters
from praxino.models import convert_state_dict, create_model
from praxino.weights.fitting import State


@pytest.fixture
def filler(lab_goldens: Path) -> Any:
    """The code that made the references' weights and inputs."""
    spec = importlib.util.spec_from_file_location("filler", lab_goldens / "filler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def equals_golden(filler: Any, lab_goldens: Path) -> Callable[..., Any]:
    """Under the same made-up weights and input, the same numbers, parameters and norms.

    The function takes the golden ("torchvision_video/r3d_18"), our model's name and the toolkit
    whose names the golden uses; `options` of the builder; `forward(model, *inputs)` where the
    reference is fed or answers otherwise than by logits (a list gives the first outputs; what is
    left over is not compared); `case` "small" or None (the native input); `same_norms=False` where
    the reference has layers that it does not use, with the reason beside it; `parameters` likewise.
    """

    def check(
        path: str,
        name: str,
        source: str,
        *,
        options: dict[str, Any] | None = None,
        forward: Callable[..., Tensor | list[Tensor]] | None = None,
        case: str | None = "small",
        num_classes: int | None = None,
        same_norms: bool = True,
        same_parameters: bool = True,
    ) -> nn.Module:
        page = Path(__file__).parents[2] / "docs" / "reading_weights.md"
        assert f"`{name}`" in page.read_text(encoding="utf-8"), f"{page} says nothing of {name}"
        golden = filler.load(lab_goldens / f"{path}.json")
        outputs = golden["output"]
        classes = num_classes or outputs[0]["shape"][1]
        model = create_model(name, classes, **(options or {}))

        def run(model: nn.Module, *inputs: Tensor) -> list[Tensor]:
            found = forward(model, *inputs) if forward else model(*inputs)
            return (found if isinstance(found, list) else [found])[: len(outputs)]

        def convert(state: State) -> State:
            return convert_state_dict(state, source=source, model=model)

        errors = filler.check(golden, lambda: model, convert, run, case)
        assert max(errors.values()) < 2e-4
        if same_parameters:
            assert count_parameters(model) == golden["params"]
        if same_norms:
            assert norms_of(model) == norms_in(golden)
        return model

    return check


def norms_of(model: nn.Module) -> dict[str, int]:
    """How many normalisation layers of each kind, eps and momentum, as goldens count them."""
    kinds = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
    found: Counter[str] = Counter()
    for module in model.modules():
        if isinstance(module, kinds):
            momentum = getattr(module, "momentum", None)
            tail = "" if momentum is None else f" momentum={momentum:g}"
            found[_norm(f"{type(module).__name__} eps={module.eps:g}{tail}")] += 1
    return dict(found)


def norms_in(golden: dict[str, Any]) -> dict[str, int]:
    """The same of a golden; other modules that have an eps are left out."""
    found: Counter[str] = Counter()
    for kind, count in golden["norms"].items():
        if kind.split()[0].endswith(("Norm", "Norm1d", "Norm2d", "Norm3d")):
            found[_norm(kind)] += count
    return dict(found)


def _norm(kind: str) -> str:
    """In two or three dimensions, on one machine or several: the same numbers."""
    return re.sub("(Sync)?BatchNorm([123]d)?", "BatchNorm", kind)
