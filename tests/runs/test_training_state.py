"""Training states against a run that never stopped."""

import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import praxino
from praxino.checksums import SUMS, write_sums
from praxino.errors import EnvironmentFault
from praxino.runs.training_state import (
    Epoch,
    OtherFormat,
    Progress,
    World,
    has_state,
    keep_best,
    load_state,
    save_state,
)
from praxino.weights import checkpoint


def learner(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(7)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
    )
    # As train.py makes them: groups with a setting of their own, that torch does not know.
    groups = [
        {"params": list(model[:2].parameters()), "weight_decay": 0.01, "scale": 0.1},
        {"params": list(model[4].parameters()), "weight_decay": 0.0, "scale": 1.0},
    ]
    if name == "sgd":
        return model, torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    return model, torch.optim.AdamW(groups, lr=0.01)


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    """Losses of some steps; the data depends on the step, dropout on torch's generator."""
    losses = []
    for step in steps:
        data = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + step) * group["scale"]
        loss = model.train()(data).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def state_names(run) -> list[str]:
    return sorted(path.name for path in (run / "state").iterdir())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_run_goes_on_as_if_it_had_never_stopped(tmp_path, name):
    progress = Progress(
        epoch=2,
        step_in_epoch=1,
        step=5,
        loss_sum=1 / 3,
        hits=4,
        clips=9,
        spans=20,
        span_seconds=0.1 + 0.2,
        bad={"a.mp4@1.0-": ["partial", 3, 5], "b.mp4": ["failed", "b.mp4", "ends", "damaged"]},
        history=(Epoch(1, 2, 0.1, 0.7, 0.5), Epoch(2, 4, 0.05, 1 / 3, 0.5, 0.25, 1.0)),
        curves=(2, 1234),
    )
    model, optimizer = learner(name)
    learn(model, optimizer, range(5))
    save_state(tmp_path, model, optimizer, progress)
    after = learn(model, optimizer, range(5, 9))

    fresh, other = learner(name)
    torch.manual_seed(123)
    assert learn(*learner(name), range(5, 9)) != after
    assert load_state(tmp_path, fresh, other) == (progress, World.here(model), [])
    assert [group["scale"] for group in other.param_groups] == [0.1, 1.0]
    assert learn(fresh, other, range(5, 9)) == after
    for key, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


def test_dropout_draws_what_it_would_have_drawn(tmp_path):
    model, optimizer = learner("adamw")
    torch.rand(17)
    save_state(tmp_path, model, optimizer, Progress())
    drawn = nn.functional.dropout(torch.ones(100))
    torch.manual_seed(99)
    load_state(tmp_path, model, optimizer)
    assert torch.equal(nn.functional.dropout(torch.ones(100)), drawn)


def test_an_optimizer_that_has_done_nothing_yet(tmp_path):
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress())
    whole = learn(model, optimizer, range(3))
    model, optimizer = learner("sgd")
    learn(model, optimizer, range(2))
    load_state(tmp_path, model, optimizer)
    assert learn(model, optimizer, range(3)) == whole


def test_only_the_newest_two_states_are_kept(tmp_path):
    model, optimizer = learner("adamw")
    assert not has_state(tmp_path)
    for step in (1, 2, 9, 10, 100):
        save_state(tmp_path, model, optimizer, Progress(step=step))
        assert has_state(tmp_path)
        assert not [name for name in state_names(tmp_path) if name.endswith(".part")]
    assert state_names(tmp_path) == ["step-00000010-epoch-0000", "step-00000100-epoch-0000"]
    assert load_state(tmp_path, model, optimizer)[0].step == 100


def test_the_end_of_an_epoch_and_its_last_step_are_two_states(tmp_path):
    model, optimizer = learner("adamw")
    save_state(tmp_path, model, optimizer, Progress(step=4, epoch=0, step_in_epoch=4))
    save_state(tmp_path, model, optimizer, Progress(step=4, epoch=1))
    assert load_state(tmp_path, model, optimizer)[0] == Progress(step=4, epoch=1)
    assert state_names(tmp_path) == ["step-00000004-epoch-0000", "step-00000004-epoch-0001"]
    save_state(tmp_path, model, optimizer, Progress(step=4, epoch=1, spans=7))
    assert load_state(tmp_path, model, optimizer)[0].spans == 7
    assert len(state_names(tmp_path)) == 2


def test_what_a_kill_left_half_written_is_no_state(tmp_path):
    model, optimizer = learner("adamw")
    half = tmp_path / "state" / "step-00000003-epoch-0000.part"
    half.mkdir(parents=True)
    assert not has_state(tmp_path)
    with pytest.raises(ValueError, match="There is nothing to resume"):
        load_state(tmp_path, model, optimizer)
    (half / "half").touch()
    save_state(tmp_path, model, optimizer, Progress(step=3))
    assert state_names(tmp_path) == ["step-00000003-epoch-0000"]
    assert not (tmp_path / "state" / "step-00000003-epoch-0000" / "half").exists()


def test_nothing_to_resume(tmp_path):
    message = r"There is nothing to resume in .*\. Leave out --resume to start\."
    with pytest.raises(ValueError, match=message):
        load_state(tmp_path, *learner("adamw"))


def cut_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(folder):
    file = folder / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


DAMAGES = {
    "cut weights": (cut_weights, r"model\.safetensors has changed since it was written"),
    "flipped bit": (flip_a_bit, r"optimizer\.safetensors has changed since it was written"),
    "file gone": (lambda folder: (folder / "random.safetensors").unlink(), "No such file"),
    "other JSON": (write("state.json", b'{"progress'), "state.json has changed since it was"),
    "empty JSON": (write("state.json", b""), "state.json has changed since it was written"),
    "no text": (write("state.json", b"\xff\xfe"), "decode"),
    "JSON gone": (lambda folder: (folder / "state.json").unlink(), "No such file"),
    "sums gone": (lambda folder: (folder / "SHA256SUMS").unlink(), "No such file"),
    "empty sums": (write("SHA256SUMS", b""), "model.safetensors"),
    "other sums": (write("SHA256SUMS", b"\n x\n"), "model.safetensors"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_passed_over_and_named(tmp_path, damage):
    spoil, message = DAMAGES[damage]
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    learn(model, optimizer, range(2))
    save_state(tmp_path, model, optimizer, Progress(step=3))
    spoil(tmp_path / "state" / "step-00000003-epoch-0000")
    progress, _, lines = load_state(tmp_path, model, optimizer)
    assert progress.step == 1
    assert torch.equal(model[0].weight, learner("sgd")[0][0].weight)
    assert len(lines) == 1
    assert lines[0].startswith("step-00000003-epoch-0000 is damaged (")
    assert lines[0].endswith("); going back to the one before it.")
    assert re.search(message, lines[0])
    shutil.rmtree(tmp_path / "state" / "step-00000001-epoch-0000")
    message = rf"No whole training state is left in .*; start another run\. step.*{message}"
    with pytest.raises(ValueError, match=message) as caught:
        load_state(tmp_path, model, optimizer)
    assert "\n" not in str(caught.value)


def forge(folder, **changes):
    """Edit `state.json` and its sum, as somebody would who knows how."""
    said = json.loads((folder / "state.json").read_text())
    for path, value in changes.items():
        inner, (*names, last) = said, path.split("__")
        for name in names:
            inner = inner[name]
        inner[last] = value
    (folder / "state.json").write_text(json.dumps(said))
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    found = hashlib.sha256((folder / "state.json").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text("\n".join([*lines[:-1], f"{found}  state.json"]))


FORGERIES = [
    ({"progress": []}, "list indices"),
    ({"progress__step": "3"}, "step is '3'"),
    ({"progress__step": True}, "step is True"),
    ({"progress__epoch": -1}, "-1 is below 0"),
    ({"progress__loss_sum": float("nan")}, "nan is no number"),
    ({"progress__span_seconds": float("inf")}, "inf is no number"),
    ({"progress__bad": [1]}, r"bad is \[1\]"),
    ({"progress__best": None}, "best is None"),
    ({"progress__curves": [1]}, "values to unpack"),
    ({"progress__curves": ["a", "b"]}, "'a' is no number"),
    ({"progress__history": [{"epoch": 1}]}, "missing 4 required"),
    ({"progress__more": 1}, "unexpected keyword argument 'more'"),
    ({"world": {}}, "missing 4 required"),
    ({"optimizer": {"step": 1}}, "not enough values to unpack"),
    ({"optimizer": [1]}, "not a mapping"),
]


@pytest.mark.parametrize(("changes", "message"), FORGERIES)
def test_a_forged_state_is_passed_over_and_named(tmp_path, changes, message):
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    save_state(tmp_path, model, optimizer, Progress(step=3))
    forge(tmp_path / "state" / "step-00000003-epoch-0000", **changes)
    progress, _, lines = load_state(tmp_path, model, optimizer)
    assert progress.step == 1
    assert len(lines) == 1
    assert re.search(message, lines[0])


def test_the_sums_are_those_of_the_usual_tool(tmp_path):
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    folder = tmp_path / "state" / "step-00000001-epoch-0000"
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum here")
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=True)


def test_states_of_other_versions_are_refused_not_passed_over(tmp_path):
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    save_state(tmp_path, model, optimizer, Progress(step=2))
    folder = tmp_path / "state" / "step-00000002-epoch-0000"
    forge(folder, format=7, world__praxino="9.0")
    message = (
        rf"step-00000002-epoch-0000 has state format 7, and praxino {praxino.__version__} reads "
        r"format 1\. Finish this run with praxino 9\.0, or start another\."
    )
    with pytest.raises(OtherFormat, match=message):
        load_state(tmp_path, model, optimizer)
    (folder / "SHA256SUMS").unlink()  # as they were before there were sums
    (folder / "state.json").write_text('{"progress": {}, "optimizer": {}, "hashes": {}}')
    with pytest.raises(OtherFormat, match=r"format 0, .* 0\.1\.0\.dev0 or older, or start"):
        load_state(tmp_path, model, optimizer)


def test_the_best_model_of_the_state_comes_back(tmp_path):
    model, optimizer = learner("sgd")
    best = tmp_path / "best.safetensors"
    best.write_bytes(b"the best of epoch 1")
    first = Progress(step=1, best=keep_best(tmp_path))
    save_state(tmp_path, model, optimizer, first)
    assert load_state(tmp_path, model, optimizer)[2] == []

    best.write_bytes(b"the best of epoch 2, written before a kill")
    keep_best(tmp_path)
    lines = load_state(tmp_path, model, optimizer)[2]
    assert lines == ["best.safetensors was not that of step-00000001-epoch-0000; its copy is back."]
    assert best.read_bytes() == b"the best of epoch 1"
    best.unlink()
    load_state(tmp_path, model, optimizer)
    assert best.read_bytes() == b"the best of epoch 1"

    copies = sorted((tmp_path / "state").glob("best-*"))
    assert len(copies) == 2
    save_state(tmp_path, model, optimizer, dataclasses.replace(first, step=2))
    (left,) = (tmp_path / "state").glob("best-*")  # what no state names is removed
    assert left.read_bytes() == b"the best of epoch 1"

    best.unlink()
    left.unlink()
    with pytest.raises(ValueError, match=r"best\.safetensors and its copy have changed since they"):
        load_state(tmp_path, model, optimizer)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    with torch.no_grad():
        model[0].bias[3] = float("nan")
    message = r"0\.bias holds NaN or infinite weights after step 2\. The last whole state is kept"
    with pytest.raises(FloatingPointError, match=message):
        save_state(tmp_path, model, optimizer, Progress(step=2))
    with torch.no_grad():
        model[0].bias[3] = 0.0
    model[1].running_mean[2] = float("inf")  # no parameter, but of no more use
    with pytest.raises(FloatingPointError, match=r"1\.running_mean holds NaN or infinite weights"):
        save_state(tmp_path, model, optimizer, Progress(step=2))
    assert state_names(tmp_path) == ["step-00000001-epoch-0000"]


def test_a_state_whose_weights_are_no_numbers_is_passed_over(tmp_path):
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    save_state(tmp_path, model, optimizer, Progress(step=2))
    folder = tmp_path / "state" / "step-00000002-epoch-0000"
    weights = load_file(folder / "model.safetensors")
    weights["1.running_mean"][2] = float("nan")
    save_file(weights, folder / "model.safetensors")
    write_sums(folder, [path.name for path in folder.glob("*s*") if path.name != SUMS])
    progress, _, (line,) = load_state(tmp_path, model, optimizer)
    assert progress.step == 1
    assert "numbers in 1.running_mean are NaN or infinite" in line


def test_a_state_of_another_model_does_not_fit(tmp_path):
    save_state(tmp_path, *learner("adamw"), Progress(step=1))
    with pytest.raises(
        ValueError, match=r"step-00000001-epoch-0000 does not fit Linear, .* differences"
    ):
        load_state(tmp_path, nn.Linear(2, 2), learner("adamw")[1])


def full_disk(tensors, path, metadata=None):
    path.write_bytes(b"a part of")
    raise SafetensorError('Error while serializing: IoError(Os { code: 28, kind: "StorageFull" })')


def test_a_full_disk_leaves_the_old_state(tmp_path, monkeypatch):
    model, optimizer = learner("adamw")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full_disk)
        with pytest.raises(EnvironmentFault, match="Free some space"):
            save_state(tmp_path, model, optimizer, Progress(step=2))
    assert load_state(tmp_path, model, optimizer)[0] == Progress(step=1)
    save_state(tmp_path, model, optimizer, Progress(step=2))  # what lay there is no hindrance
    assert load_state(tmp_path, model, optimizer)[0] == Progress(step=2)
    assert state_names(tmp_path) == ["step-00000001-epoch-0000", "step-00000002-epoch-0000"]


# Everything that saving asks of the system: one after the other fails.
CALLS = [("fsync", number) for number in range(11)] + [("replace", number) for number in range(6)]


@pytest.mark.parametrize(("call", "number"), CALLS)
def test_any_failing_write_leaves_the_old_state(tmp_path, monkeypatch, call, number):
    reason = (errno.ENOSPC, errno.EIO, errno.EROFS)[number % 3]
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    real, calls = getattr(os, call), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == number + 1:
            raise OSError(reason, os.strerror(reason))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(EnvironmentFault, match=rf"Cannot write .*: {os.strerror(reason)}"):
            save_state(tmp_path, model, optimizer, Progress(step=2))
    names = [name for name in state_names(tmp_path) if "00000002" not in name]
    assert names == ["step-00000001-epoch-0000"]
    assert not list(tmp_path.rglob(".part-*"))
    assert not list(tmp_path.rglob("*.part"))
    assert load_state(tmp_path, model, optimizer)[2] == []  # that, or the new one if it is whole
