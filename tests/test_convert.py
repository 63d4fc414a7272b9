"""Another toolkit's weights, made into a checkpoint that predicts."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from praxino.command import cli
from praxino.convert import Conversion, convert
from praxino.errors import EnvironmentFault
from praxino.models import convert_state_dict, create_model
from praxino.predict import predict
from praxino.weights.checkpoint import load_model

OPTIONS = {"frames": 8, "size": 32}


def small(classes: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("small_3d", num_classes=classes, **OPTIONS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Weights that fit `small()`, wrapped as toolkits wrap them, without the counters."""
    state = {
        f"_orig_mod.{name}": value
        for name, value in small().state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(state, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_what_was_converted_rebuilds_its_model_and_predicts(
    file: Path, tmp_path: Path, numbered_video: Path
) -> None:
    output = tmp_path / "new" / "ours.safetensors"
    done = convert(file, "small_3d", output=output, **OPTIONS)
    model = load_model(output)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    names = ("class 0", "class 1", "class 2")
    assert done == Conversion(output, None, len(model.state_dict()), parameters, names)
    assert model.classes == names
    assert model.card.options == OPTIONS
    assert model.card.notes == {"converted_from": "net.safetensors", "layout": None}
    clip = torch.rand(1, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(clip), small().eval()(clip))
    assert predict(numbered_video, model).classes == names
    # ... and it can be trained from.
    again = create_model("small_3d", weights=output, **OPTIONS)
    assert torch.equal(again.head.weight, model.head.weight)


def torchvision_r3d() -> dict[str, torch.Tensor]:
    """The state of torchvision's `r3d_18` with five classes, its numbers all halves."""
    from torchvision.models.video import r3d_18

    return {
        name: torch.full_like(value, 0.5)
        for name, value in r3d_18(num_classes=5).state_dict().items()
    }


@pytest.mark.parametrize("source", [None, "torchvision"])
def test_the_command_reads_another_toolkits_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str | None
) -> None:
    save_file(torchvision_r3d(), tmp_path / "theirs.safetensors")
    (tmp_path / "classes.txt").write_text("\n".join("abcde") + "\n")
    said = ["convert", str(tmp_path / "theirs.safetensors"), "--model", "r3d_18"]
    said += ["--output", str(tmp_path / "ours.safetensors"), "--num-classes", "5"]
    said += ["--classes", str(tmp_path / "classes.txt"), "--options.size", "64"]
    assert cli.run(said + (["--source", source] if source else [])) == 0
    model = load_model(tmp_path / "ours.safetensors")
    assert (model.classes, model.clip_spec.size) == (tuple("abcde"), 64)
    assert model.card.notes["layout"] == "torchvision"
    assert model.stem.conv.weight.unique().tolist() == [0.5]
    words = " ".join(capsys.readouterr().out.split())
    assert re.search(r"theirs\.safetensors by the names of torchvision; it fits r3d_18\.", words)
    assert re.search(r"ours\.safetensors: \d+ tensors, 33,\d{3},\d{3} parameters, 5 classes", words)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": "small_3e"}, "There is no model named 'small_3e'. Did you mean"),
    "another model": ({"model": "c3d"}, r"net\.safetensors does not fit C3d, \d+ differences"),
    "no toolkit": ({"source": "pytorchvideo"}, "Small3d cannot read weights of 'pytorchvideo'"),
    "classes": ({"num_classes": 4}, r"net\.safetensors knows 3 classes, not 4\."),
    "no classes": ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
    "an option": ({"frame": 8}, "small_3d has no option 'frame'. Did you mean 'frames'"),
    "itself": ({"output": "net.safetensors"}, r"net\.safetensors is the file to be read\. Name"),
    "no output": ({"output": None}, r"net\.safetensors is the file to be read\. Name another"),
    "a folder": ({"output": "."}, r"Cannot write .*: it is a folder"),
    "no file": ({"file": "gone.pth"}, r"There is no weights file '.*gone\.pth'"),
    "no list": ({"classes": "gone.txt"}, r"There is no file .*gone\.txt\."),
    "a short list": (
        {"classes": b"a\nb"},
        r"list\.txt names 2 classes, .*net\.safetensors knows 3",
    ),
    "a name twice": ({"classes": b"a\nb\na"}, r"list\.txt, line 3: 'a' is there twice\."),
    "an empty line": ({"classes": b"a\n\nb"}, r"list\.txt, line 2: '' is no name\."),
    "escapes": ({"classes": b"a\n\x1b[31m\nb"}, r"list\.txt, line 2: '\\x1b\[31m' is no name\."),
    "no text": ({"classes": b"a\n\xff\nb"}, r"list\.txt is not UTF-8\. Save it as UTF-8\."),
    "a long list": ({"classes": b"x" * 1_000_001}, r"list\.txt is larger than 1,000,000 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing_behind(tmp_path: Path, file: Path, name: str) -> None:
    changes, message = REFUSED[name]
    said: dict[str, Any] = {"file": file.name, "model": "small_3d", "output": "ours.safetensors"}
    said |= changes
    for key in ("file", "output", "classes"):
        if isinstance(said.get(key), bytes):
            (tmp_path / "list.txt").write_bytes(said[key])
            said[key] = "list.txt"
        if said.get(key) is not None:
            said[key] = tmp_path / said[key]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    options = {} if said["model"] == "c3d" else OPTIONS
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        convert(said.pop("file"), said.pop("model"), **said, **options)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_beside_it_is_not_written_over(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ValueError, match=r"net\.safetensors is there already\. Name the output\."):
        convert(tmp_path / "net.pth", "small_3d", **OPTIONS)
    torch.save(small().state_dict(), tmp_path / "other.pth")
    assert convert(tmp_path / "other.pth", "small_3d", **OPTIONS).path == (
        tmp_path / "other.safetensors"
    )


def test_a_folder_that_cannot_be_made(tmp_path: Path, file: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(EnvironmentFault, match=r"Cannot write .*: .*taken cannot be written to"):
        convert(file, "small_3d", output=tmp_path / "taken" / "a.safetensors", **OPTIONS)


def test_the_command_fails_in_one_line(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["convert", str(file), "--model", "c3d", "--output", str(tmp_path / "ours.safetensors")]
    assert cli.run(said) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "does not fit C3d" in printed.err
    assert not (tmp_path / "ours.safetensors").exists()


@pytest.mark.parametrize("key", ["state_dict", "model_state", None])
@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", ""])
def test_states_are_converted_as_they_are_published(key: str | None, prefix: str) -> None:
    state = torchvision_r3d()
    model = create_model("r3d_18", num_classes=5)
    given: Any = {prefix + name: value for name, value in state.items()}
    if key is not None:
        given = {"epoch": 3, key: given}
    model.load_state_dict(convert_state_dict(given, source="torchvision", model=model))
    assert model.head.bias.tolist() == [0.5] * 5


def test_states_that_a_layout_cannot_make_sense_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumbles(state: Any, model: Any) -> Any:
        return state["conv1.weight"]

    model = small()
    monkeypatch.setattr("praxino.models.layouts_of", lambda _: {"theirs": stumbles})
    with pytest.raises(
        ValueError, match=r"^These are no weights of Small3d as theirs names them: .*conv1\.weight"
    ):
        convert_state_dict({"a": torch.zeros(1)}, source="theirs", model=model)
