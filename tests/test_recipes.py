"""Every recipe in recipes/ can be begun: its model is built, and what it trains is there."""

import importlib.util
import typing
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from praxino.models import create_model, published_weights
from praxino.models.table import MODELS
from praxino.recipe import TrainConfig, tiny
from praxino.train import freeze
from praxino.weights.shapes_only import ShapesOnly

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.py"))


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recipes() -> list[Any]:
    found = []
    for path in RECIPES:
        for name, made in vars(module_of(path)).items():
            is_recipe = isinstance(made, FunctionType) and made.__module__ == f"recipe_{path.stem}"
            if is_recipe and not name.startswith("_"):
                wants = typing.get_type_hints(made)
                if wants == {"return": TrainConfig}:
                    found.append(pytest.param(made, id=f"{path.stem}:{name}"))
    return found


@pytest.mark.parametrize("recipe", recipes())
def test_a_recipe_builds_its_model_and_finds_what_it_trains(recipe: Any) -> None:
    config = recipe()
    assert recipe.__doc__
    model = config.model
    assert model.name in MODELS
    with ShapesOnly():
        # Of two data sets in one network both need classes.
        classes = int(model.options.get("first_classes", 1)) + 2
        network = create_model(model.name, classes, **model.options)
    freeze(network, model.freeze_until, model.freeze_batch_norm, model.train_only)
    assert any(parameter.requires_grad for parameter in network.parameters())
    weights = model.weights
    if weights not in (None, "auto") and not weights.endswith(".safetensors"):
        assert weights in published_weights(model.name, **model.options)
    assert tiny(config).epochs == 2
