"""Runs on volumes: the window goes along, and models in colour become models of one channel."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from praxino.command.cli import run as praxino
from praxino.datasets.manifest import Manifest
from praxino.datasets.synthetic_volumes import WINDOW, render_volumes
from praxino.evaluate import _tell_of_window, evaluate, evaluate_again
from praxino.explain.units import clip_of
from praxino.models import create_model
from praxino.models.one_channel import OneChannel, to_one_channel
from praxino.predict import predict
from praxino.recipe import DataConfig, ModelConfig, TrainConfig, read_config
from praxino.train import train
from praxino.video.augmentation import Augmentation
from praxino.weights.checkpoint import Card, load_model, read_card, save_model

NODULES = WINDOW["nodule"]
OPTIONS = {"frames": 8, "size": 16}
ONE_CLIP: dict[str, Any] = {"split": "test", "clips": 1, "crops": 1, "workers": 0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    return render_volumes(folder, volumes_per_class=10, slices=8, size=16)


def trained(manifest: Path, run: Path, **model: Any) -> Path:
    config = TrainConfig(
        data=DataConfig(str(manifest), workers=0, window=NODULES),
        model=ModelConfig("small_3d", **{"options": OPTIONS, "weights": None, **model}),
        augmentation=Augmentation(crop="centre"),
        epochs=1,
        batch_size=6,  # two steps
    )
    return train(config, run)


@pytest.fixture(scope="module")
def run(manifest, tmp_path_factory) -> Path:
    return trained(manifest, tmp_path_factory.mktemp("runs") / "nodules")


@pytest.fixture
def one(manifest) -> Path:
    """A volume."""
    volumes = Manifest.read(manifest)
    return volumes.path(volumes[0])


@pytest.fixture(autouse=True)
def _nothing_told_yet():
    _tell_of_window.cache_clear()


# --- the window ----------------------------------------------------------------------------------


def test_the_window_of_the_training_is_taken_without_being_told(run, manifest, one, caplog) -> None:
    assert read_card(run / "last.safetensors").window == NODULES
    told = evaluate(run, manifest, window=NODULES, **ONE_CLIP)
    silent = evaluate(run, manifest, **ONE_CLIP)
    np.testing.assert_array_equal(silent.scores, told.scores)
    assert silent.protocol == told.protocol
    assert silent.decoding.window == silent.protocol["window"] == NODULES
    found, expected = predict(one, run), predict(one, run, window=NODULES)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.decoding.window == NODULES
    assert not caplog.messages
    brain = evaluate(run, manifest, window=(40, 80), **ONE_CLIP)
    assert np.abs(brain.scores - silent.scores).max() > 1e-3  # or nothing would be compared


def test_another_window_is_said_in_one_line(run, manifest, one, tmp_path, caplog) -> None:
    result = evaluate(run, manifest, window=(40, 80), **ONE_CLIP)
    predict(one, run, window=(40, 80))
    line = "The window is 40, 80, and the model was trained with -400, 1400: its answers may be"
    assert caplog.messages == [f"{line} wrong."]
    result.save(tmp_path)
    again, _ = evaluate_again(tmp_path / "result.json", workers=0)
    assert again.protocol["window"] == (40, 80)
    assert again.numbers() == result.numbers()


def test_a_model_of_which_no_window_is_known(manifest, one, tmp_path, caplog) -> None:
    model = create_model("small_3d", 2, **OPTIONS)
    predict(one, model, window=NODULES)  # it has no card, so nobody knows better
    assert not caplog.messages
    card = Card("small_3d", dict(OPTIONS), ("nodule", "vessel"), model.clip_spec, {})
    save_model(tmp_path / "model.safetensors", model, card)
    assert predict(one, tmp_path / "model.safetensors").decoding.window is None
    predict(one, tmp_path / "model.safetensors", window=NODULES)
    assert caplog.messages == [
        "The window is -400, 1400, and the model knows of none: its answers may be wrong."
    ]


def test_videos_and_arrays_have_no_window(run, numbered_video) -> None:
    assert predict(numbered_video, run, clips=1).decoding.window is None
    assert predict(numbered_video, run, clips=1, untrusted=True).decoding.window is None
    assert predict(np.zeros((9, 20, 20, 3), np.uint8), run, clips=1).decoding.window is None


def test_an_untrusted_volume_is_refused_as_ever(run, one) -> None:
    with pytest.raises(ValueError, match="volumes are read without a locked process"):
        predict(one, run, untrusted=True)


def test_explaining_shows_a_volume_as_in_training(run, one) -> None:
    model = load_model(run)
    clip = clip_of(model, one)
    del model.card
    assert (clip_of(model, one) - clip).abs().max() > 0.05  # from black to white it is 2


def with_card(run: Path, to: Path, change: Any) -> Path:
    """A copy of a checkpoint with another card."""
    source = run / "last.safetensors"
    said = json.loads(json.loads(header_of(source))["__metadata__"]["praxino"])
    change(said)
    save_file(load_file(source), to, {"praxino": json.dumps(said)})
    return to


def header_of(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


def test_files_from_before_there_was_a_window(run, tmp_path) -> None:
    old = with_card(run, tmp_path / "old.safetensors", lambda said: said.pop("window"))
    assert load_model(old).card.window is None


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ([40, 0], "model card: A window is a centre and a width above 0, got 40.0 and 0.0"),
        ([1, 2, 3], "window must be a list of 2: a number, a number or null"),
        (["40", "80"], "window must be a list of 2"),
    ],
)
def test_a_card_with_a_window_that_is_none(run, tmp_path, window, said) -> None:
    path = with_card(
        run, tmp_path / "x.safetensors", lambda card: card.__setitem__("window", window)
    )
    with pytest.raises(ValueError, match=said):
        load_model(path)


def test_the_command_line(manifest, one, tmp_path, capsys, caplog) -> None:
    words = ["train", str(manifest), "--model.name", "small_3d", "--model.options.frames", "8"]
    words += ["--model.options.size", "16", "--epochs", "1", "--data.workers", "0"]
    assert praxino([*words, "--run", str(tmp_path / "a"), "--window", "-400", "1400"]) == 0
    assert read_config(tmp_path / "a" / "config.json").data.window == NODULES
    again = [*words, "--run", str(tmp_path / "b"), "--window", "40", "80", "--data.window", "1"]
    assert praxino([*again, "2"]) == 2
    assert "--window 40 80 is short for --data.window, which is another" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    assert praxino(["predict", str(one), "--model", str(tmp_path / "a"), "--window", "1", "9"]) == 0
    line = (
        "The window is 1, 9, and the model was trained with -400, 1400: its answers may be wrong."
    )
    assert caplog.messages.count(line) == 1
    caplog.clear()
    assert praxino(["predict", str(one), "--model", str(tmp_path / "a")]) == 0
    assert not caplog.messages


# --- one channel ---------------------------------------------------------------------------------


def test_a_model_in_colour_is_trained_saved_and_used_as_one_of_one_channel(
    manifest, one, tmp_path
) -> None:
    torch.manual_seed(0)
    colour = create_model("small_3d", 2, **OPTIONS)
    card = Card("small_3d", dict(OPTIONS), ("nodule", "vessel"), colour.clip_spec, {})
    save_model(tmp_path / "colour.safetensors", colour, card)
    grey = {**OPTIONS, "grey": True}
    begun: Any = create_model("small_3d", 2, weights=tmp_path / "colour.safetensors", **grey)
    expected = to_one_channel(colour).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in begun.state_dict().items())

    run = trained(
        manifest, tmp_path / "run", options=grey, weights=str(tmp_path / "colour.safetensors")
    )
    assert read_card(run / "best.safetensors").options == grey
    model = load_model(run)
    assert isinstance(model, OneChannel)
    assert model.clip_spec.inputs == ("grey",)
    moved = [not torch.equal(value, expected[name]) for name, value in model.state_dict().items()]
    assert any(moved)
    direct = predict(one, model)
    np.testing.assert_array_equal(predict(one, run / "best.safetensors").scores, direct.scores)
    assert direct.decoding.window == NODULES

    # Its file is one to begin with, too; also with other classes.
    clip = torch.rand(1, 1, 8, 16, 16)
    again: Any = create_model("small_3d", weights=run / "best.safetensors", **grey).eval()
    with torch.no_grad():
        assert torch.equal(again(clip), model(clip))
    other: Any = create_model("small_3d", 5, weights=run / "best.safetensors", **grey)
    assert other.head.out_features == 5
    with pytest.raises(ValueError, match="it fits small_3d with grey=True"):
        create_model("small_3d", 2, weights=run / "best.safetensors", **OPTIONS)
