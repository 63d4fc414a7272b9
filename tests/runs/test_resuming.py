"""A stopped run that goes on in a world that has changed, or with a part of it damaged."""

import dataclasses
import hashlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from praxino.datasets.synthetic_volumes import WINDOW, render_volumes
from praxino.errors import Stopped
from praxino.models.small_3d import small_3d
from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig, to_json
from praxino.runs.curves import Curves
from praxino.runs.resuming import changes_of_world
from praxino.runs.training_state import World
from praxino.train import Listener, train
from praxino.video.augmentation import Augmentation

KILLING = Path(__file__).parents[2] / "fuzz" / "kill_training.py"
STOPPED_AFTER = 5  # steps: in the second epoch of three, of three steps each


def came_to(run: Path) -> dict[str, object]:
    """All that a run came to: SHA-256 of files, and every point of the curves."""
    names = ["best.safetensors", "last.safetensors", "metrics.jsonl", "predictions.parquet"]
    state = sorted((run / "state").glob("step-*"))[-1]
    files = [run / name for name in [*names, "training_items.jsonl", "items.jsonl"]]
    files += [state / f"{name}.safetensors" for name in ("model", "optimizer", "random")]
    found: dict[str, object] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    progress = json.loads((state / "state.json").read_text())["progress"]
    del progress["curves"]  # in how many files they are, depends on how often it was stopped
    curves = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    points = {
        name: [(point.step, point.value) for point in curves.Scalars(name)]
        for name in curves.Tags()["scalars"]
    }
    return {**found, "progress": progress, "curves": points}


def stop_after(steps: int, name: str = "SIGINT") -> Listener:
    done = []

    def step(epoch, step_in_epoch, count, loss):
        done.append(loss)
        if len(done) == steps:
            os.kill(os.getpid(), getattr(signal, name))

    return Listener(step=step)


@pytest.fixture(scope="module")
def config(two_actions) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(str(two_actions), val_fraction=0.25, workers=0),
        model=ModelConfig("small_3d", {"frames": 4, "size": 16}, weights=None),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(lr=0.003),
        epochs=3,
        batch_size=4,
    )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> dict[str, object]:
    """What the run comes to if it is left alone."""
    return came_to(train(config, tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture(scope="module")
def stopped_once(config, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stopped):
        train(config, run, listener=stop_after(STOPPED_AFTER))
    return run


@pytest.fixture
def stopped(stopped_once, tmp_path) -> Path:
    """A copy of a run that was stopped in its second epoch."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


def go_on(config: TrainConfig, run: Path) -> list[str]:
    said: list[str] = []
    train(config, run, resume=True, listener=Listener(said=said.append))
    return said


# --- the same again ------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_random_it_comes_to_the_same(tmp_path):
    for options in (["--runs", "2", "--seed", "7"], ["--runs", "1", "--signal", "TERM"]):
        command = [sys.executable, str(KILLING), *options, "--epochs", "4", "--json", "found.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads((tmp_path / "found.json").read_text())["training"]
        assert found["equal"] == found["runs"] <= found["stops"]
        assert (found["tracebacks"], found["states_found_damaged"]) == (0, 0)
        assert found["slowest_exit_seconds"] < 10
        assert set(found["exit_codes"]) == {"137" if found["signal"] == "KILL" else "143"}


@pytest.mark.slow
def test_a_kill_while_saving_leaves_a_readable_state(tmp_path):
    command = [sys.executable, str(KILLING), "--saves", "4", "--json", "found.json"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "found.json").read_text())["saves"]
    assert found["newest_unreadable"]["praxino"] == 0


FOUND = {
    "different": (["run-01: best.safetensors"], "Not as if left alone: run-01: best.safetensors"),
    "states_found_damaged": (2, "states found damaged: 2, expected 0."),
    "tracebacks": (1, "tracebacks: 1, expected 0."),
    "groups_that_live_on": (1, "groups that live on: 1, expected 0."),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_killing_script_fails_for_whatever_it_finds(monkeypatch, name):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the script sets, and is put back
    problems = runpy.run_path(str(KILLING))["problems"]
    good = {"different": [], **dict.fromkeys(list(FOUND)[1:], 0)}
    saves = {"newest_unreadable": {"praxino": 0}}
    assert problems({"training": good, "saves": saves}) == problems({}) == []
    found, line = FOUND[name]
    assert problems({"training": {**good, name: found}}) == [line]
    saves["newest_unreadable"]["praxino"] = 3
    assert problems({"saves": saves})[0].endswith("unreadable after 3 kills, expected 0.")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_every_signal_that_means_the_end_saves_first(config, tmp_path, whole, name):
    run = tmp_path / "run"
    with pytest.raises(Stopped, match=name):
        train(config, run, listener=stop_after(4, name))
    assert sorted((run / "state").glob("step-*"))[-1].name == "step-00000004-epoch-0001"
    assert any("Resuming at epoch 2, step 4." in line for line in go_on(config, run))
    assert came_to(run) == whole


def test_on_volumes_it_comes_to_the_same(config, tmp_path):
    manifest = render_volumes(tmp_path / "volumes", volumes_per_class=10, slices=8, size=16)
    data = DataConfig(str(manifest), workers=0, window=WINDOW["nodule"])
    config = dataclasses.replace(config, data=data, epochs=2)
    left_alone = came_to(train(config, tmp_path / "whole"))
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        train(config, run, listener=stop_after(4))
    other = dataclasses.replace(data, window=(40, 80))
    with pytest.raises(ValueError, match="was started with other settings of data"):
        train(dataclasses.replace(config, data=other), run, resume=True)
    assert any("Resuming at epoch 2, step 4." in line for line in go_on(config, run))
    assert came_to(run) == left_alone


def test_a_stop_in_validation_or_in_the_last_evaluation(config, tmp_path, whole, monkeypatch):
    module = sys.modules[train.__module__]
    run = tmp_path / "run"

    def stop(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)  # the rest of a long validation

    for name, steps in (("score_videos", 3), ("evaluate", 9)):
        begun = time.monotonic()
        with monkeypatch.context() as patch:
            patch.setattr(module, name, stop)
            with pytest.raises(Stopped, match="SIGTERM"):
                train(config, run, resume=run.exists())
        assert time.monotonic() - begun < 50
        newest = sorted((run / "state").glob("step-*"))[-1].name
        assert newest.startswith(f"step-{steps:08d}")
    go_on(config, run)
    assert came_to(run) == whole


def test_a_stop_at_the_end_of_an_epoch_draws_no_point_twice(config, tmp_path, whole, monkeypatch):
    run, real, asked = tmp_path / "run", Curves.add, []

    def add(self, name, value, step):
        real(self, name, value, step)
        if name == "val/loss" and not asked:
            asked.append(step)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Curves, "add", add)
    with pytest.raises(Stopped):
        train(config, run)
    go_on(config, run)
    assert came_to(run) == whole


def test_a_run_stopped_before_its_first_state_begins_again(config, tmp_path, whole, monkeypatch):
    module = sys.modules[train.__module__]
    run = tmp_path / "run"

    def killed(*args, **kwargs):
        raise Stopped(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(module.training_state, "save_state", killed)
        with pytest.raises(Stopped):
            train(config, run)
    said = go_on(config, run)
    assert said[0] == f"The run in {run} was stopped before its first step; it begins again."
    assert came_to(run) == whole


def test_a_clock_that_jumps_changes_nothing(config, stopped, whole, monkeypatch):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 86400)
    go_on(config, stopped)
    assert came_to(stopped) == whole


# --- damage --------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink], ids=["flip", "cut", "gone"])
def test_what_can_be_made_again_is_made_again(config, stopped, whole, damage):
    (stopped / ".part-left-by-a-kill").touch()
    for name in ("best.safetensors", "last.safetensors", "metrics.jsonl"):
        damage(stopped / name)
    said = go_on(config, stopped)
    assert any("best.safetensors was not that of step-0" in line for line in said)
    assert came_to(stopped) == whole
    assert not (stopped / ".part-left-by-a-kill").exists()


def test_the_last_model_is_made_again_also_after_the_last_epoch(config, stopped, whole):
    go_on(config, stopped)
    cut(stopped / "last.safetensors")
    (stopped / "metrics.jsonl").unlink()
    go_on(config, stopped)
    assert came_to(stopped) == whole


def test_curves_that_are_gone_are_missed(config, stopped, whole):
    for path in stopped.glob("events*"):
        path.unlink()
    said = go_on(config, stopped)
    assert f"A part of the TensorBoard curves in {stopped} is missing." in said
    found = came_to(stopped)
    assert {name: value for name, value in found.items() if name != "curves"} == {
        name: value for name, value in whole.items() if name != "curves"
    }


@pytest.mark.parametrize("name", ["config.json", "manifest.parquet", "video_sizes.json"])
def test_what_a_run_was_started_with_must_be_whole(config, stopped, name):
    before = (stopped / name).read_bytes()
    if name == "config.json":  # still a config, of another run
        (stopped / name).write_bytes(before.replace(b'"epochs": 3', b'"epochs": 4'))
    else:
        flip(stopped / name)
    with pytest.raises(ValueError, match=rf"{name} has changed since the run was started\."):
        go_on(config, stopped)
    (stopped / name).write_bytes(before)
    (stopped / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="SHA256SUMS or a file that it names is gone or damaged"):
        go_on(config, stopped)


# --- another world: the table in docs/resuming.md ------------------------------------------------


def test_other_workers_and_another_pace_of_saving_change_nothing(config, stopped, whole):
    data = dataclasses.replace(config.data, workers=2, stall_seconds=100.0, skip_bad=True)
    now = dataclasses.replace(config, data=data, save_every_seconds=0.0)
    said = go_on(now, stopped)
    assert not any("differ" in line for line in said)
    assert came_to(stopped) == whole


REFUSED = {
    "batch_size": {"batch_size": 2},
    "epochs": {"epochs": 9},
    "seed": {"seed": 1},
    "clips_per_video": {"clips_per_video": 2},
    "optim": {"optim": OptimConfig(lr=0.1)},
    "model": {"model": ModelConfig("small_2d", {"frames": 4, "size": 16}, weights=None)},
    "augmentation": {"augmentation": Augmentation(crop="centre")},
    "mixed_precision": {"mixed_precision": "bf16"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_settings_are_refused(config, stopped, name):
    message = rf"was started with other settings of {name}\. Resume it without changing them, or"
    with pytest.raises(ValueError, match=message):
        go_on(dataclasses.replace(config, **REFUSED[name]), stopped)
    data = dataclasses.replace(config.data, val_fraction=0.5)
    with pytest.raises(ValueError, match="was started with other settings of data"):
        go_on(dataclasses.replace(config, data=data), stopped)


def test_the_default_batch_size_stays_that_of_the_first_machine(config, tmp_path):
    config = dataclasses.replace(config, batch_size=None)
    with pytest.raises(Stopped):
        train(config, tmp_path / "run", listener=stop_after(1))
    (newest,) = (tmp_path / "run" / "state").glob("step-00000001-*")
    assert json.loads((newest / "state.json").read_text())["progress"]["batch_size"] == 8


def test_other_versions_threads_and_devices_are_told():
    here = World.here(small_3d(2))
    assert here == World("0.1.0", str(torch.__version__), "cpu", torch.get_num_threads())
    assert changes_of_world(here, here) == []
    then = World("0.0.9", "2.11.0", "cuda", 64)
    assert changes_of_world(then, here) == [
        f"This run was on {name} {old} and goes on with {getattr(here, name)}: the numbers may "
        f"differ slightly."
        for name, old in vars(then).items()
    ]


def test_a_run_on_other_versions_says_so_and_goes_on(config, stopped, monkeypatch):
    monkeypatch.setattr(World, "here", classmethod(lambda cls, model: cls("9", "9", "cpu", 1)))
    said = go_on(config, stopped)
    assert any("goes on with 9: the numbers may differ slightly." in line for line in said)


@pytest.fixture
def moved(config, stopped, two_actions, tmp_path) -> TrainConfig:
    """The videos in another place."""
    folder = shutil.copytree(two_actions, tmp_path / "videos")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, source=str(folder)))


def test_videos_in_another_place_change_nothing(moved, stopped, whole):
    said = go_on(moved, stopped)
    assert not any("changed" in line or "lists" in line for line in said)
    assert came_to(stopped) == whole


def test_changed_videos_are_told_and_lost_ones_refused(moved, stopped):
    videos = Path(moved.data.source)
    with (videos / "darker" / "3.mp4").open("ab") as file:
        file.write(b"x")
    shutil.copy(videos / "darker" / "0.mp4", videos / "darker" / "8.mp4")
    said = go_on(moved, stopped)
    assert any(
        line == "1 of 16 videos have changed since the run was started, the first is "
        "darker/3.mp4: the numbers will differ."
        for line in said
    )
    assert any(
        line == f"{videos} now lists 1 more and 0 fewer spans; the run goes on with those it was "
        f"started with."
        for line in said
    )
    (videos / "darker" / "3.mp4").unlink()
    message = (
        rf"1 of 16 videos that the run was started with are no longer in {videos}, the first is "
        r"darker/3\.mp4\. Put them back, or name the folder that they are in now\."
    )
    with pytest.raises(ValueError, match=message):
        go_on(moved, stopped)


def test_a_list_that_is_gone_changes_nothing(config, two_actions, tmp_path, whole):
    table = tmp_path / "list.csv"
    names = [(name, f"{name}/{i}.mp4") for name in ("brighter", "darker") for i in range(8)]
    table.write_text("video,label\n" + "".join(f"{video},{name}\n" for name, video in names))
    data = dataclasses.replace(config.data, source=str(table), videos=str(two_actions))
    config = dataclasses.replace(config, data=data)
    with pytest.raises(Stopped):
        train(config, tmp_path / "run", listener=stop_after(2))
    table.unlink()
    go_on(config, tmp_path / "run")
    assert came_to(tmp_path / "run")["best.safetensors"] == whole["best.safetensors"]


def test_two_runs_in_one_folder(config, stopped):
    said = []

    def second(line):
        with pytest.raises(ValueError, match="is in use by this very process"):
            train(config, stopped, resume=True)
        with pytest.raises(ValueError, match="is in use by this very process"):
            train(config, stopped)
        said.append(line)

    train(config, stopped, resume=True, listener=Listener(said=second))
    assert said


def test_settings_are_those_of_the_run_where_none_are_given(config, stopped):
    go_on(TrainConfig(), stopped)
    assert (stopped / "config.json").read_text() == to_json(config)
