"""Files of weights: found, checked, converted, refused."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from praxino.weights import reading as module
from praxino.weights.fitting import load_strict, rename
from praxino.weights.reading import read_state


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


TENSORS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.count": torch.tensor(3)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "a.pth is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "a.pth is a web page, not weights"),
        (b"", "a.pth is empty"),
        (b"garbage that is no zip", "a.pth cannot be read as weights: "),
        (pickled([1, 2]), "a.pth cannot be read as weights: it holds a list, not tensors by name"),
        (pickled({"epoch": 3}), "a.pth cannot be read as weights: it holds no tensors by name"),
    ],
)
def test_what_is_no_weights_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_state(tmp_path / "a.pth")


class Burglar:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_nothing_in_a_checkpoint_can_run(tmp_path: Path) -> None:
    trace = tmp_path / "was-here"
    torch.save({"state_dict": TENSORS, "extra": Burglar(trace)}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth cannot be read as weights: "):
        read_state(tmp_path / "evil.pth")
    assert not trace.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no weights file '.*gone\.pth'"):
        read_state(tmp_path / "gone.pth")


def test_a_cut_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-4])
    with pytest.raises(ValueError, match=r"a\.safetensors is not a whole safetensors file"):
        read_state(tmp_path / "a.safetensors")


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"net\.onnx: weights are \.safetensors or .*not '\.onnx'"):
        read_state(tmp_path / "net.onnx")


@pytest.mark.parametrize("key", ["state_dict", "model_state", "model_state_dict", "model"])
def test_tensors_are_found_under_the_usual_keys(tmp_path: Path, key: str) -> None:
    prefixed = {f"module.{name}": value for name, value in TENSORS.items()}
    torch.save({"epoch": 3, key: prefixed}, tmp_path / "a.pth")
    assert set(read_state(tmp_path / "a.pth")) == set(TENSORS)


def test_tensors_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    shared = torch.ones(2)
    torch.save({"a": shared, "b": shared}, tmp_path / "a.pth")
    assert set(read_state(tmp_path / "a.pth")) == {"a", "b"}


def test_rules_are_applied_in_turn() -> None:
    found = rename({"layer1.fc.weight": torch.zeros(1)}, ((r"^layer(\d)", r"stage\1"), ("fc", "x")))
    assert list(found) == ["stage1.x.weight"]


def test_old_files_may_lack_the_counter_of_batch_norm() -> None:
    model = nn.BatchNorm1d(2)
    state = {k: v + 1 for k, v in model.state_dict().items() if k != "num_batches_tracked"}
    load_strict(model, state, "old.pth")
    assert model.weight.tolist() == [2, 2]


def test_half_precision_becomes_single() -> None:
    model = nn.Linear(1, 1)
    load_strict(model, {"weight": torch.ones(1, 1).half(), "bias": torch.ones(1).half()}, "h")
    assert model.weight.dtype == torch.float32


def test_ten_differences_are_listed_and_all_are_counted() -> None:
    model = nn.Linear(1, 1)
    state = {f"extra{number}": torch.zeros(1) for number in range(11)}
    with pytest.raises(
        ValueError,
        match=r"^f\.pth does not fit Linear, 13 differences: weight is missing; bias is missing; "
        r"extra0 is not in the model; .*extra7 is not in the model; and 3 more$",
    ):
        load_strict(model, state, "f.pth")


def test_the_reader_of_pickles_is_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(TENSORS, tmp_path / "a.pth")
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("unpickled in this process"))
    assert set(read_state(tmp_path / "a.pth")) == set(TENSORS)
    assert module.PICKLED[0] == ".pth"
