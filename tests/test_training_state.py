"""Training states against a run that never stopped."""

import re
import shutil

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from praxino import checkpoint
from praxino.errors import EnvironmentFault
from praxino.training_state import Progress, has_state, load_state, save_state


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
    )
    model, optimizer = learner(name)
    learn(model, optimizer, range(5))
    save_state(tmp_path, model, optimizer, progress)
    after = learn(model, optimizer, range(5, 9))

    fresh, other = learner(name)
    torch.manual_seed(123)
    assert learn(*learner(name), range(5, 9)) != after
    assert load_state(tmp_path, fresh, other) == (progress, [])
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
    assert state_names(tmp_path) == ["step-00000010", "step-00000100"]
    assert load_state(tmp_path, model, optimizer)[0].step == 100


def test_a_state_of_the_same_step_takes_the_place_of_the_old_one(tmp_path):
    model, optimizer = learner("adamw")
    save_state(tmp_path, model, optimizer, Progress(step=4, epoch=0, step_in_epoch=4))
    save_state(tmp_path, model, optimizer, Progress(step=4, epoch=1))
    assert load_state(tmp_path, model, optimizer)[0] == Progress(step=4, epoch=1)
    assert state_names(tmp_path) == ["step-00000004"]


def test_what_a_kill_left_half_written_is_no_state(tmp_path):
    model, optimizer = learner("adamw")
    (tmp_path / "state" / "step-00000003.part").mkdir(parents=True)
    assert not has_state(tmp_path)
    with pytest.raises(ValueError, match="There is nothing to resume"):
        load_state(tmp_path, model, optimizer)
    (tmp_path / "state" / "step-00000003.part" / "half").touch()
    save_state(tmp_path, model, optimizer, Progress(step=3))
    assert state_names(tmp_path) == ["step-00000003"]
    assert not (tmp_path / "state" / "step-00000003" / "half").exists()


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


DAMAGES = {
    "cut weights": (cut_weights, r"model\.safetensors has changed since it was written"),
    "flipped bit": (flip_a_bit, r"optimizer\.safetensors has changed since it was written"),
    "file gone": (lambda folder: (folder / "random.safetensors").unlink(), "No such file"),
    "no JSON": (lambda folder: (folder / "state.json").write_text('{"progress'), "Unterminated"),
    "empty JSON": (lambda folder: (folder / "state.json").write_text("{}"), "hashes"),
    "no text": (lambda folder: (folder / "state.json").write_bytes(b"\xff\xfe"), "decode"),
    "JSON gone": (lambda folder: (folder / "state.json").unlink(), "No such file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_passed_over_and_named(tmp_path, damage):
    spoil, message = DAMAGES[damage]
    model, optimizer = learner("sgd")
    save_state(tmp_path, model, optimizer, Progress(step=1))
    learn(model, optimizer, range(2))
    save_state(tmp_path, model, optimizer, Progress(step=3))
    spoil(tmp_path / "state" / "step-00000003")
    progress, lines = load_state(tmp_path, model, optimizer)
    assert progress.step == 1
    assert torch.equal(model[0].weight, learner("sgd")[0][0].weight)
    assert len(lines) == 1
    assert lines[0].startswith("step-00000003 is damaged (")
    assert re.search(message, lines[0])
    shutil.rmtree(tmp_path / "state" / "step-00000001")
    with pytest.raises(
        ValueError, match=rf"No whole training state is left in .*: step.*{message}"
    ):
        load_state(tmp_path, model, optimizer)


def test_a_state_of_another_model_does_not_fit(tmp_path):
    save_state(tmp_path, *learner("adamw"), Progress(step=1))
    with pytest.raises(ValueError, match=r"step-00000001 does not fit Linear, .* differences"):
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
    assert load_state(tmp_path, model, optimizer) == (Progress(step=1), [])
    save_state(tmp_path, model, optimizer, Progress(step=2))  # what lay there is no hindrance
    assert load_state(tmp_path, model, optimizer) == (Progress(step=2), [])
    assert state_names(tmp_path) == ["step-00000001", "step-00000002"]
