"""Every recipe in recipes/ can be begun: its model is built, and what it trains is there."""

import dataclasses
import importlib.util
import typing
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch

from praxino.models import create_model, published_weights
from praxino.models.table import MODELS
from praxino.recipe import DataConfig, TrainConfig, tiny
from praxino.train import freeze
from praxino.weights.checkpoint import Card, load_model, save_model
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


def test_actionvlad_begins_from_centres_of_its_training_videos(
    two_actions: Path, tmp_path: Path
) -> None:
    recipe = module_of(RECIPES[0].parent / "actionvlad.py")
    started = tmp_path / "start.safetensors"
    config = recipe.tiny()
    config = dataclasses.replace(
        config,
        data=DataConfig(str(two_actions)),
        model=dataclasses.replace(config.model, weights=str(started)),
    )
    assert recipe.find_centres(config, None, videos=3) == 3 * 8 * 4 * 4  # of 8 frames of 64 pixels
    model: Any = create_model("actionvlad", weights=started, **config.model.options)
    torch.testing.assert_close(model.vlad.assign.weight, 2000 * model.vlad.centres)
    lengths = model.vlad.centres.norm(dim=1)
    assert (lengths < 1.001).all()  # means of features of length one
    assert (lengths < 0.999).any()


def test_actionvlad_joins_two_streams_that_were_trained_apart(tmp_path: Path) -> None:
    recipe = module_of(RECIPES[0].parent / "actionvlad.py")
    small = {"frames": 4, "size": 32, "width": 8, "centres": 2}
    streams: dict[str, Any] = {}
    for name, more in (("actionvlad", {}), ("actionvlad_flow", {"stack": 2, "places": 2})):
        torch.manual_seed(len(name))
        streams[name] = create_model(name, 3, **small, **more).eval()
        card = Card(name, small | more, ("a", "b", "c"), streams[name].clip_spec, {})
        save_model(tmp_path / f"{name}.safetensors", streams[name], card)
    paths = [tmp_path / f"{name}.safetensors" for name in streams]
    recipe.join(*paths, tmp_path / "both.safetensors")
    both = load_model(tmp_path / "both.safetensors")
    clip = torch.randn(1, 5, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rgb = streams["actionvlad"](clip[:, :3, [0, 2]])
        expected = rgb / 3 + 2 * streams["actionvlad_flow"](clip[:, 3:]) / 3
        torch.testing.assert_close(both(clip), expected)
