import dataclasses
import json

import pytest

from praxino.recipe import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    from_json,
    load_recipe,
    tiny,
    to_json,
)
from praxino.video.augmentation import Augmentation

CONFIG = TrainConfig(
    data=DataConfig("videos", limit_per_class=3),
    model=ModelConfig("c3d", {"frames": 8, "dropout": 0.5}, weights=None),
    augmentation=Augmentation(scale=(0.25, 1.0)),
    optim=OptimConfig("sgd", lr=0.1),
    epochs=7,
)


def test_json_round_trip():
    assert from_json(to_json(CONFIG)) == CONFIG


def test_unknown_settings_are_refused_with_the_nearest():
    said = json.loads(to_json(CONFIG))
    said["optim"]["momentun"] = 0.8
    with pytest.raises(
        ValueError, match=r"OptimConfig has no setting 'momentun'\. Did you mean 'mo"
    ):
        from_json(json.dumps(said))


def test_broken_json_is_refused():
    with pytest.raises(ValueError, match=r"config\.json is not JSON: Expecting"):
        from_json("{")
    with pytest.raises(ValueError, match="optim must be settings of OptimConfig, got 3"):
        from_json('{"optim": 3}')


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(epochs=0), "epochs must be at least 1, got 0"),
        (lambda: TrainConfig(clips_per_video=0), "clips_per_video must be at least 1, got 0"),
        (lambda: TrainConfig(batch_size=-4), "batch_size must be at least 1, got -4"),
        (lambda: TrainConfig(seed=-1), "seed must be at least 0 and below 9223372036854775808"),
        (lambda: TrainConfig(save_every_seconds=float("nan")), "save_every_seconds must be"),
        (lambda: DataConfig(val_fraction=2.0), "val_fraction must be above 0 and below 1, got 2"),
        (lambda: DataConfig(limit_per_class=0), "limit_per_class must be above 0, got 0"),
        (lambda: DataConfig(workers=-1), "workers must be at least 0, got -1"),
        (lambda: OptimConfig(lr=0.0), "lr must be above 0, got 0"),
        (lambda: OptimConfig(label_smoothing=5), "label_smoothing must be at least 0 and below 1"),
        (lambda: OptimConfig(clip_norm=-1.0), "clip_norm must be at least 0, got -1"),
        (lambda: OptimConfig(gamma=0.0), "gamma must be above 0, got 0"),
        (lambda: OptimConfig(lr_scales={"a.*": -1.0}), r"lr_scales of 'a\.\*' .* 0, got -1"),
        (lambda: OptimConfig(schedule="steps"), r"go together, got .* milestones=\(\)"),
        (lambda: OptimConfig(milestones=(5,)), r"got schedule='cosine' and milestones=\(5,\)"),
        (lambda: OptimConfig(schedule="steps", milestones=(0, 5)), r"at least 1, got \(0, 5\)"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_none_can_be_said_on_a_command_line():
    assert ModelConfig(weights="none").weights is None


def test_tiny_changes_how_long_and_nothing_about_the_model():
    small = tiny(CONFIG)
    assert (small.epochs, small.data.limit_per_class, small.batch_size) == (2, 4, 4)
    assert dataclasses.replace(small, epochs=7, data=CONFIG.data, batch_size=None) == CONFIG


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "kitchen.py"
    path.write_text(
        "from praxino.recipe import TrainConfig\n"
        "def kitchen():\n    return TrainConfig(epochs=3)\n"
        "def wrong():\n    return 3\n"
    )
    return path


def test_a_recipe_is_a_function_in_a_file(recipe_file):
    assert load_recipe(f"{recipe_file}:kitchen") == TrainConfig(epochs=3)


def test_recipe_errors(recipe_file, tmp_path):
    with pytest.raises(ValueError, match=r"has no recipe 'kitchn'\. Did you mean 'kitchen'"):
        load_recipe(f"{recipe_file}:kitchn")
    with pytest.raises(ValueError, match="must return a TrainConfig, not int"):
        load_recipe(f"{recipe_file}:wrong")
    recipe_file.write_text("import nothing_of_that_name\n")
    with pytest.raises(ValueError, match=r"kitchen\.py, line 1: ModuleNotFoundError: No module"):
        load_recipe(f"{recipe_file}:kitchen")
    recipe_file.write_text("def kitchen():\n    return 1 / 0\n")
    with pytest.raises(ValueError, match=r"kitchen\.py, line 2: ZeroDivisionError"):
        load_recipe(f"{recipe_file}:kitchen")
    recipe_file.write_text("x = 1\ndef kitchen(:\n")
    with pytest.raises(ValueError, match=r"kitchen\.py, line 2: SyntaxError"):
        load_recipe(f"{recipe_file}:kitchen")
    with pytest.raises(ValueError, match="There is no recipe file"):
        load_recipe(str(tmp_path / "none.py:x"))
