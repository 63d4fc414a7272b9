"""Training while the machine fails: the disk, the loader processes, the numbers."""

import dataclasses
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from praxino.command import cli
from praxino.datasets import clips
from praxino.datasets.workers import LoaderFault
from praxino.errors import EXIT_ENVIRONMENT, EnvironmentFault, Stopped
from praxino.ledger import Ledger
from praxino.recipe import DataConfig, ModelConfig, TrainConfig
from praxino.runs.training_state import load_state
from praxino.train import Listener, train
from praxino.video.augmentation import Augmentation

training = sys.modules[train.__module__]


@pytest.fixture(scope="module")
def config(two_actions) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(str(two_actions), val_split="", workers=0),
        model=ModelConfig("small_3d", {"frames": 4, "size": 16}, weights=None),
        augmentation=Augmentation(crop="random"),
        epochs=2,
        batch_size=4,
        save_every_seconds=0.0,
    )


def newest(run: Path) -> Path:
    return sorted((run / "state").glob("step-*"))[-1]


def came_to(run: Path) -> dict[str, object]:
    optimizer = load_file(newest(run) / "optimizer.safetensors")
    return {
        "weights": (run / "last.safetensors").read_bytes(),
        "optimizer": {name: tensor.tolist() for name, tensor in optimizer.items()},
        "metrics": (run / "metrics.jsonl").read_text(),
        "items": (run / "training_items.jsonl").read_text(),
    }


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> dict[str, object]:
    return came_to(train(config, tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture(scope="module")
def stopped_once(config, tmp_path_factory) -> Path:
    def stop(epoch, done, steps, loss):
        if (epoch, done) == (0, 3):
            os.kill(os.getpid(), signal.SIGTERM)

    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stopped):
        train(config, run, listener=Listener(step=stop))
    return run


@pytest.fixture
def stopped(stopped_once, tmp_path) -> Path:
    """A copy of a run that was stopped after its third step."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


def left_overs(run: Path) -> list[Path]:
    return [path for path in run.rglob("*") if path.name.endswith(".part") or ".part-" in path.name]


def is_whole(run: Path) -> bool:
    """Whether the newest state can be loaded without passing over another."""
    model = training.create_model("small_3d", num_classes=2, frames=4, size=16)
    optimizer = training._optimizer(model, TrainConfig(), 0.001)
    return load_state(run, model, optimizer)[2] == []


# --- the disk ------------------------------------------------------------------------------------


def with_file_limit(limit: int, words: list[str]) -> tuple[int, str]:
    """A command in a process whose files must not grow: its exit code and standard error."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(into, 2)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            sys.stderr = open(2, "w")
            code = cli.run(words)
            sys.stderr.flush()
            os._exit(code)
        finally:
            os._exit(99)
    os.close(into)
    with open(out) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


@pytest.mark.slow
def test_files_that_cannot_grow_end_the_run_in_one_line(config, stopped, whole):
    words = ["train", config.data.source, "--run", str(stopped), "--resume"]
    before = newest(stopped).name
    largest = max(path.stat().st_size for path in stopped.rglob("*") if path.is_file())
    for limit in [0, 50, 300, 1000, 20_000, *(largest * k // 6 for k in range(1, 6))]:
        code, text = with_file_limit(limit, words)
        said = text.splitlines()
        assert code == EXIT_ENVIRONMENT, (limit, said)
        assert "Cannot write" in said[-1], limit
        assert "Free some space" in said[-1], limit
        assert not any("Traceback" in line for line in said)
        assert newest(stopped).name == before
        assert not left_overs(stopped)
        assert is_whole(stopped)
    train(config, stopped, resume=True)
    assert came_to(stopped) == whole


FULL = """
set -e
mount -t tmpfs -o size=16m tmpfs "$1"
cp -r "$2" "$1/run"
dd if=/dev/zero of="$1/ballast" bs=1k count=$4 2> /dev/null || true
set +e
"$3" -m praxino train "$5" --run "$1/run" --resume 2> "$1/../log"
echo $? > "$1/../code"
rm "$1/ballast"
cp -r "$1/run" "$1/../copy"
"""


@pytest.mark.slow
@pytest.mark.parametrize("free_kilobytes", [100, 1500, 4000])
def test_a_full_disk_ends_the_run_in_one_line(config, stopped, whole, tmp_path, free_kilobytes):
    (tmp_path / "disk").mkdir()
    used = sum(path.stat().st_size for path in stopped.rglob("*")) // 1024
    ballast = str(16 * 1024 - used - free_kilobytes)
    place = [str(tmp_path / "disk"), str(stopped), sys.executable, ballast, config.data.source]
    try:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", FULL, "sh", *place], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if not (tmp_path / "code").exists():
        pytest.skip(f"a small disk needs the right to mount: {done.stderr}")
    said = (tmp_path / "log").read_text()
    assert (tmp_path / "code").read_text() == f"{EXIT_ENVIRONMENT}\n", said
    assert "No space left on device" in said.splitlines()[-1] or "StorageFull" in said
    assert "Traceback" not in said
    run = tmp_path / "copy"
    assert not left_overs(run)
    assert is_whole(run)
    train(config, run, resume=True)
    assert came_to(run) == whole


@pytest.mark.parametrize("what", ["ledger", "report"])
def test_what_is_written_last_can_fail_too(config, stopped, whole, monkeypatch, what):
    def full(*args, **kwargs):
        raise EnvironmentFault("Cannot write x: No space left on device. Free some space.")

    with monkeypatch.context() as patch:
        if what == "ledger":
            patch.setattr(Ledger, "write", full)
        else:
            patch.setattr(training, "write_report", full)
        with pytest.raises(EnvironmentFault, match="No space left on device"):
            train(config, stopped, resume=True)
    train(config, stopped, resume=True)
    assert came_to(stopped) == whole


# --- loader processes ----------------------------------------------------------------------------


def with_workers(config: TrainConfig) -> TrainConfig:
    data = dataclasses.replace(config.data, workers=2, stall_seconds=1.0)
    return dataclasses.replace(config, data=data, save_every_seconds=1000.0)


@pytest.mark.parametrize("step", [2, 4])
def test_a_killed_loader_process_costs_nothing(config, tmp_path, whole, step):
    run = tmp_path / "run"

    def kill_one(epoch, done, steps, loss):
        if (epoch, done) == (0, step):
            multiprocessing.active_children()[0].kill()

    with pytest.raises(LoaderFault, match=r"^Loader process \d+ was ended by signal SIGKILL"):
        train(with_workers(config), run, listener=Listener(step=kill_one))
    assert newest(run).name >= "step-00000002-epoch-0000"
    train(config, run, resume=True)
    assert came_to(run) == whole


def test_a_loader_process_that_hangs_costs_nothing(config, tmp_path, whole, monkeypatch):
    run, real = tmp_path / "run", clips.open_video
    os.mkfifo(tmp_path / "pipe")

    def hanging(path, **options):
        if Path(path).name == "3.mp4" and (run / "last.safetensors").exists():  # second epoch
            (tmp_path / "pipe").read_bytes()  # nobody writes
        return real(path, **options)

    begun = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(clips, "open_video", hanging)
        message = r"^Reading (brighter|darker)/3\.mp4.* takes longer than 1 seconds\."
        with pytest.raises(LoaderFault, match=message):
            train(with_workers(config), run)
    assert time.monotonic() - begun < 60
    assert newest(run).name >= "step-00000004-epoch-0001"
    train(config, run, resume=True)
    assert came_to(run) == whole


def test_validation_hangs_are_told_as_well(config, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    data = dataclasses.replace(config.data, val_split="val", workers=1, stall_seconds=1.0)

    def hang(self, index):
        (tmp_path / "pipe").read_bytes()

    monkeypatch.setattr(clips.TestViews, "__getitem__", hang)
    with pytest.raises(LoaderFault, match=r"^Reading .*\.mp4 takes longer than 1 seconds\."):
        train(dataclasses.replace(config, data=data), tmp_path / "run")
    assert newest(tmp_path / "run").name == "step-00000003-epoch-0000"


# --- numbers -------------------------------------------------------------------------------------


def test_a_gradient_that_is_no_number_stops_before_the_step(config, tmp_path, monkeypatch):
    real, steps = Accelerator.clip_grad_norm_, []

    def exploding(self, parameters, limit):
        steps.append(real(self, parameters, limit))
        return torch.tensor(float("inf")) if len(steps) == 3 else steps[-1]

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Accelerator, "clip_grad_norm_", exploding)
        message = (
            r"^The norm of the gradient is inf at learning rate .*, on: \w+/\d\.mp4, .*\. The last "
            r"whole state is kept; start again with a tenth of --optim\.lr\.$"
        )
        with pytest.raises(FloatingPointError, match=message):
            train(config, run)
    assert newest(run).name == "step-00000002-epoch-0000"
    assert is_whole(run)


def test_gradients_are_looked_at_also_where_none_is_clipped(config, tmp_path, monkeypatch):
    limits = []
    real = Accelerator.clip_grad_norm_

    def noted(self, parameters, limit):
        limits.append(limit)
        return real(self, parameters, limit)

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", noted)
    optim = dataclasses.replace(config.optim, clip_norm=0.0)
    train(dataclasses.replace(config, optim=optim, epochs=1), tmp_path / "run")
    assert set(limits) == {float("inf")}


def test_an_epoch_without_a_readable_video_is_an_error(config, tmp_path):
    folder = tmp_path / "data"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            (folder / name / f"{number}.mp4").write_bytes(b"this is not a video" * 100)
    data = dataclasses.replace(config.data, source=str(folder), skip_bad=True)
    message = (
        r"^Not one of the 8 training videos could be read in epoch 1, the first is [ab]/\d\.mp4\. "
    )
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(config, data=data), tmp_path / "run")


def test_a_batch_without_a_readable_video_is_passed_over(config, two_actions, tmp_path):
    folder = Path(shutil.copytree(two_actions, tmp_path / "data"))
    for number in range(8):  # half of all, so that batches of one are often empty
        (folder / "darker" / f"{number}.mp4").write_bytes(b"this is not a video" * 100)
    data = dataclasses.replace(config.data, source=str(folder), skip_bad=True)
    model = dataclasses.replace(config.model, options={"frames": 8, "size": 32})
    config = dataclasses.replace(config, data=data, model=model, batch_size=1, epochs=1)
    run = train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (run / "training_items.jsonl").read_text().splitlines()]
    assert sorted(line["status"] for line in lines) == ["failed"] * 8 + ["ok"] * 8
