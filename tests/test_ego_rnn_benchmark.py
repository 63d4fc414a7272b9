"""The scripts around Ego-RNN: table, search and join, on data made up for it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from praxino.models import create_model
from praxino.weights.checkpoint import Card, load_model, save_model

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "ego_rnn.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_ego_rnn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_three_sets_at_least_of_each_form_of_the_task(script: ModuleType) -> None:
    assert all(len(sets) >= 3 for sets in script.SETS.values())
    for sets in script.SETS.values():
        assert len({tuple(settings.items()) for settings in sets}) == len(sets)


@pytest.mark.slow
def test_fills_the_table(
    script: ModuleType, made_up_gtea61: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(made_up_gtea61), f"--to={tmp_path}", "--tiny"]
    script.main(["table", *arguments, "--frames=5"])
    said = capsys.readouterr().out
    table = (tmp_path / "table.md").read_text()
    assert table in said
    rows = [line for line in table.splitlines() if line.endswith("% |")]
    assert [row.split("|")[1].strip() for row in rows] == [
        "ConvLSTM",
        "ConvLSTM with attention",
        "Warped flow",
        "Two streams, trained jointly",
        "With the motion task, still or moving",
        "With the motion task, how much",
    ]
    script.main(["table", *arguments, "--frames=5"])  # nothing is trained or measured twice
    again = capsys.readouterr().out
    assert "epochs" not in again
    assert table in again


@pytest.mark.slow
def test_searches_around_the_task(
    script: ModuleType, made_up_gtea61: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SETS", {name: sets[-2:] for name, sets in script.SETS.items()})
    script.main(["sweep", str(made_up_gtea61), f"--to={tmp_path}", "--tiny", "--frames=3"])
    table = (tmp_path / "sweep.md").read_text()
    assert table.count("still or moving | task_weight 1.0, lr") == 2
    assert "| how much moves | task_weight 3.0, lr 0.0001, distance absolute |" in table
    assert "**" in table  # the best
    model = load_model(tmp_path / "motion_regression_3_set_1")
    assert model.distance == "absolute"


def saved(folder: Path, name: str, classes: tuple[str, ...]) -> Path:
    options = {"backbone": "resnet18", "frames": 3, "size": 64}
    options |= {} if name == "ego_rnn_flow" else {"hidden": 8}
    model = create_model(name, len(classes), **options)
    path = folder / f"{name}_{'_'.join(classes)}.safetensors"
    save_model(path, model, Card(name, options, classes, model.clip_spec, {}))  # type: ignore[arg-type]
    return path


def test_joins_two_runs(script: ModuleType, tmp_path: Path) -> None:
    rgb, flow = (saved(tmp_path, name, ("a", "b")) for name in ("ego_rnn", "ego_rnn_flow"))
    script.main(["join", str(rgb), str(flow), f"--to={tmp_path / 'joined.safetensors'}"])
    options = {"backbone": "resnet18", "frames": 3, "size": 64, "hidden": 8, "flow_frames": 3}
    joined = create_model(
        "ego_rnn_joint", 2, weights=tmp_path / "joined.safetensors", **options
    ).state_dict()
    expected = load_model(flow).state_dict()
    assert all((joined[f"flow.{name}"] == value).all() for name, value in expected.items())
    with pytest.raises(ValueError, match="join wants a run of ego_rnn, got one of ego_rnn_flow"):
        script.join(flow, rgb, tmp_path / "no.safetensors")
    other = saved(tmp_path, "ego_rnn_flow", ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"know 2 and 3 classes that are not the same. Train both"):
        script.join(rgb, other, tmp_path / "no.safetensors")
