"""Checkpoints against safetensors itself."""

import json

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from praxino.errors import EnvironmentFault
from praxino.models import create_model
from praxino.video.clip_spec import ClipSpec
from praxino.weights import checkpoint
from praxino.weights.checkpoint import (
    BEST,
    LAST,
    Card,
    classes_line,
    find_checkpoint,
    load_model,
    read_card,
    save_model,
    weights_hash,
)

OPTIONS = {"frames": 8, "size": 32}
CARD = Card(
    "small_3d",
    OPTIONS,
    ("kick", "punch", "wave"),
    # Not the model's own: what it was trained with is what counts.
    ClipSpec(8, frames_per_second=5.0, size=32, resize_short=40, mean=(0.1, 0.2, 0.3)),
    {"epoch": 3, "val_hit_at_1": 0.75, "trained_on": "a hash", "val_loss": None},
)


def small(classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("small_3d", num_classes=classes, **OPTIONS)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint file, and the model that is in it."""
    model = small()
    save_model(tmp_path / "model.safetensors", model, CARD)
    return tmp_path / "model.safetensors", model


# --- models --------------------------------------------------------------------------------------


def test_a_loaded_model_is_the_saved_one(saved):
    path, model = saved
    loaded = load_model(path)
    assert loaded.card == read_card(path) == CARD
    assert loaded.classes == ("kick", "punch", "wave")
    assert loaded.clip_spec == CARD.clip_spec != model.clip_spec
    assert not loaded.training
    clip = torch.rand(2, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(clip), model.eval()(clip))


def test_the_file_is_plain_safetensors_with_json(saved):
    path, model = saved
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(model.state_dict())
        said = json.loads(file.metadata()["praxino"])
    assert said["model"] == "small_3d"
    assert said["options"] == OPTIONS
    assert said["classes"] == ["kick", "punch", "wave"]
    assert said["clip_spec"]["frames_per_second"] == 5.0
    assert said["notes"]["val_hit_at_1"] == 0.75


def test_weights_that_are_no_contiguous_block_are_saved_too(tmp_path):
    model = small()
    model.head.weight = nn.Parameter(model.head.weight.detach().t().contiguous().t())
    assert not model.head.weight.is_contiguous()
    save_model(tmp_path / "model.safetensors", model, CARD)
    assert torch.equal(load_model(tmp_path / "model.safetensors").head.weight, model.head.weight)


def test_the_best_checkpoint_of_a_run_comes_before_the_last(tmp_path):
    save_model(tmp_path / LAST, small(), CARD)
    assert find_checkpoint(tmp_path) == tmp_path / LAST
    save_model(tmp_path / BEST, small(seed=1), CARD)
    assert find_checkpoint(tmp_path) == tmp_path / BEST
    assert find_checkpoint(str(tmp_path / LAST)) == tmp_path / LAST
    assert torch.equal(load_model(tmp_path).head.weight, small(seed=1).head.weight)


def test_no_checkpoint_there(tmp_path):
    with pytest.raises(ValueError, match=r"holds no checkpoint \(best\.safetensors or last\.safet"):
        find_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"There is no checkpoint or run folder at .*nowhere\."):
        load_model(tmp_path / "nowhere")


def test_files_that_are_no_checkpoint(saved, tmp_path):
    path, _ = saved
    (tmp_path / "text.safetensors").write_text("these are no weights, whatever the name says")
    with pytest.raises(ValueError, match=r"text\.safetensors is not a whole safetensors file: "):
        read_card(tmp_path / "text.safetensors")
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        load_model(tmp_path / "empty.safetensors")
    for kept in (4, 100, path.stat().st_size // 2, path.stat().st_size - 1):
        (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:kept])
        with pytest.raises(ValueError, match=r"cut\.safetensors is not a whole safetensors"):
            load_model(tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match=r"There is no file .*missing\.safetensors"):
        read_card(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_somebody_elses_weights_have_no_card(tmp_path, metadata):
    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors", metadata)
    message = r"holds weights but no praxino model card.* pass it as --model\.weights"
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "foreign.safetensors")


def test_weights_that_do_not_fit_what_the_card_says(tmp_path):
    save_model(tmp_path / "model.safetensors", small(classes=5), CARD)
    message = r"model\.safetensors does not fit .* 2 differences: head\.weight is \(5, \d+\), the m"
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "model.safetensors")


def test_the_hash_names_the_weights(saved):
    path, model = saved
    name = weights_hash(model)
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")
    assert weights_hash(load_model(path)) == weights_hash(small()) == name
    assert weights_hash(small(seed=1)) != name
    with torch.no_grad():
        model.head.weight[1, 2] = torch.nextafter(model.head.weight[1, 2], torch.tensor(2.0))
    assert weights_hash(model) != name


def test_the_hash_covers_numbers_that_are_counted_not_learnt():
    model = nn.Sequential(nn.BatchNorm1d(2))
    before = weights_hash(model)
    model[0].num_batches_tracked += 1
    assert weights_hash(model) != before


def test_classes_in_a_line():
    assert classes_line(["kick", "punch", "wave"]) == "kick, punch, wave (3 classes)"
    assert classes_line("abcdefgh") == "a, b, c, d, e, f, ... (8 classes)"
    assert classes_line("abc", shown=2) == "a, b, ... (3 classes)"


# --- a full disk ---------------------------------------------------------------------------------


def full_disk(tensors, path, metadata=None):
    path.write_bytes(b"a part of")
    raise SafetensorError('Error while serializing: IoError(Os { code: 28, kind: "StorageFull" })')


def test_a_full_disk_leaves_the_old_checkpoint(saved, monkeypatch):
    path, _ = saved
    before = path.read_bytes()
    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(EnvironmentFault, match=r"Cannot write .*StorageFull.*Free some space\."):
        save_model(path, small(seed=1), CARD)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
