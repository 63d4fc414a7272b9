"""The litmus test: what it feeds, what it asks, what it concludes."""

import dataclasses
import json
import runpy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import praxino.litmus
from praxino.command.cli import run
from praxino.datasets.pointlight import CLASSES, Answer
from praxino.litmus import (
    LitmusResult,
    LitmusVideos,
    as_dict,
    is_order_blind,
    litmus,
    markdown_rows,
    small_model,
    to_clips,
)
from praxino.models import create_model, list_models
from praxino.video.clip_spec import FLOW_MEAN, FLOW_STD, ClipSpec

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
EVERY: dict[str, Any] = runpy.run_path(str(BENCHMARKS / "litmus.py"))
SPEC = ClipSpec(4, size=2, resize_short=2, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))


def numbered(videos: int = 1, frames: int = 8) -> Any:
    """Frame i is grey of value i, two by two pixels."""
    pixels = np.zeros((videos, frames, 2, 2, 3), np.uint8)
    return pixels + np.arange(frames, dtype=np.uint8)[:, None, None, None]


@pytest.mark.parametrize(
    ("phase", "frames"), [(0.0, [0, 2, 4, 6]), (0.5, [1, 3, 5, 7]), (0.49, [0, 2, 4, 6])]
)
def test_frames_are_spread_over_the_whole_video(phase: float, frames: list[int]) -> None:
    clip = to_clips(numbered(), SPEC, np.array([phase]))
    assert clip.shape == (1, 3, 4, 2, 2)
    assert (clip[0, 0, :, 0, 0] * 255).round().tolist() == frames


def test_a_clip_longer_than_the_video_repeats_frames() -> None:
    clip = to_clips(numbered(), dataclasses.replace(SPEC, frames=16), np.array([0.0]))
    assert (clip[0, 0, :, 0, 0] * 255).round().tolist() == [i // 2 for i in range(16)]


def test_clips_are_normalised_by_channel() -> None:
    clip = to_clips(numbered(frames=1), dataclasses.replace(SPEC, frames=1), np.array([0.0]))
    assert clip[0, :, 0, 0, 0].tolist() == [0.0, -1.0, -4.0]


def test_clips_have_the_size_that_the_model_wants() -> None:
    spec = dataclasses.replace(SPEC, size=6, resize_short=6)
    assert to_clips(numbered(), spec, np.array([0.0])).shape == (1, 3, 4, 6, 6)


@pytest.mark.parametrize(
    ("name", "blind"),
    [("small_2d", True), ("small_3d", False), ("toy_late_fusion", True), ("toy_3d", False)],
)
def test_the_design_tells_who_is_blind_to_order(name: str, blind: bool) -> None:
    assert is_order_blind(small_model(name, 5)) is blind


def test_layers_that_start_at_zero_do_not_count_as_blind() -> None:
    class Ramp(nn.Module):
        """The mean over frames, plus a weighted one whose weight is zero at first."""

        def __init__(self) -> None:
            super().__init__()
            self.clip_spec = SPEC
            self.gate = nn.Parameter(torch.zeros(1))

        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            frames = clip.mean((3, 4))  # (B, 3, T)
            return frames.mean(2) + self.gate * (frames * torch.arange(4)).sum(2)

    assert not is_order_blind(Ramp())


def test_answers_that_hardly_depend_on_the_clip_are_not_blind_for_that() -> None:
    class Quiet(nn.Module):
        """The last frame, a millionth of the answer."""

        def __init__(self) -> None:
            super().__init__()
            self.clip_spec = SPEC

        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            return 1 + 1e-6 * clip[:, :, -1].mean((2, 3))  # (B, 3)

    assert not is_order_blind(Quiet())


def result(order: float, *, blind: bool) -> LitmusResult:
    answers = {
        "appearance": Answer(40, 48, 0.125),
        "motion": Answer(90, 180, 0.2),
        "order": Answer(order, 100, 0.5),
    }
    return LitmusResult("net", (16, 64, 64), 10**6, 10**9, 12, 60.0, answers, blind)


@pytest.mark.parametrize(
    ("order", "blind", "verdict"),
    [
        (80, False, "sees order, as built"),
        (59, False, "could see order, has not learnt it yet"),
        (59, True, "blind to order, as built"),
        (80, True, "sees order, and cannot: look for a leak"),
    ],
)
def test_the_verdict(order: float, blind: bool, verdict: str) -> None:
    assert result(order, blind=blind).verdict == verdict


def test_the_table() -> None:
    lines = markdown_rows([result(80, blind=False)])
    assert lines[2] == (
        "| net | 16×64×64 | 1.00 M | 1 G | 12 | 60 | 0.83 | 0.50 | 0.80 | sees order, as built |"
    )
    assert lines[3].split("|")[7:10] == [" 0.12 ", " 0.20 ", " 0.50 "]
    assert as_dict(result(80, blind=False))["answers"]["order"] == 0.8


def test_each_question_is_asked_among_its_own_classes() -> None:
    classes = (*CLASSES["motion"], *CLASSES["appearance"])
    labels = np.arange(len(classes))
    # Right within each set, and always less than the first class of the other set.
    scores = np.eye(len(classes)) + 0.01
    scores[: len(CLASSES["motion"]), len(CLASSES["motion"])] = 5
    scores[len(CLASSES["motion"]) :, 0] = 5
    answers = praxino.litmus._answers(scores / scores.sum(1, keepdims=True), labels, classes)
    assert [answer.accuracy for answer in answers.values()] == [1.0, 1.0, 1.0]


def test_no_epochs_are_refused() -> None:
    nothing = LitmusVideos(numbered(), np.zeros(1, np.int64), np.ones(1, bool), ("a", "b"))
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        litmus("mine", lambda classes: create_model("toy_3d", classes), nothing, epochs=0)


def flow_spec(**changes: Any) -> ClipSpec:
    found = {"frames": 4, "size": 32, "resize_short": 32, "inputs": ("flow",)}
    return ClipSpec(**(found | {"mean": FLOW_MEAN, "std": FLOW_STD} | changes))


def test_models_that_want_flow_are_fed_flow() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (32, 40, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (9, 9), 3)
    moving = np.stack([smooth[:, 8 - 2 * t : 40 - 2 * t] for t in range(4)])  # 2 pixels a frame
    spec = flow_spec(inputs=("rgb", "flow"), mean=(0.0,) * 3 + FLOW_MEAN, std=(1.0,) * 3 + FLOW_STD)
    clip = to_clips(moving[None], spec, np.array([0.0]))
    assert clip.shape == (1, 5, 4, 32, 32)
    u, v = clip[0, 3:, :, 8:24, 8:24].mean((2, 3)) * 20  # pixels
    assert u.tolist() == pytest.approx([2.0] * 4, abs=0.3)
    assert v.tolist() == pytest.approx([0.0] * 4, abs=0.3)


def test_flow_played_backwards_points_the_other_way() -> None:
    class Mean(nn.Module):
        """Forgets the order of what it sees, after a sine or a cosine."""

        def __init__(self, wave: Any) -> None:
            super().__init__()
            self.wave, self.clip_spec = wave, flow_spec()

        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            return self.wave(clip).mean((2, 3, 4))

    assert is_order_blind(Mean(torch.cos))  # how fast things move, and not in which direction
    assert not is_order_blind(Mean(torch.sin))


def test_every_model_stands_under_one_line() -> None:
    names = [name for line in EVERY["LINES"] for name in line.names()]
    assert sorted(names) == list_models()
    assert EVERY["line_of"]("i3d_flow").model == "i3d"


def test_a_line_is_for_one_design() -> None:
    """Of one class, or of one that is another's twin."""
    for line in EVERY["LINES"]:
        builders = [praxino.models.MODELS[name].build for name in line.names()]
        found = {build.__annotations__["return"].__name__ for build in builders}
        assert len(found) == 1 or line.model == "c3d_depth", line.model


def test_thin_divides_channels_and_keeps_colours_classes_and_loudness() -> None:
    torch.manual_seed(0)
    model: Any = create_model("r3d_18", 5, frames=4, size=16)
    EVERY["thin"](model.eval(), 8)
    assert model.stem.conv.weight.shape == (8, 3, 3, 7, 7)
    assert model.stage4[1].conv2.conv.weight.shape == (64, 64, 3, 3, 3)
    assert model.stage4[1].conv2.norm.running_var.shape == (64,)
    assert model.head.weight.shape == (5, 64)
    # As kaiming_normal_ would have begun it at this width: a variance of 2 / fan.
    deviation = model.stage4[1].conv2.conv.weight.std().item()
    assert deviation == pytest.approx((2 / (64 * 27)) ** 0.5, rel=0.02)
    assert model(torch.zeros(1, 3, 4, 16, 16)).shape == (1, 5)


def test_thin_keeps_groups_and_what_it_is_told_to_keep() -> None:
    layers = nn.Sequential(nn.Conv2d(24, 32, 1), nn.Conv2d(32, 32, 3, groups=32), nn.Linear(16, 16))
    EVERY["thin"](layers, 4, whole="2")
    assert layers[0].weight.shape == (8, 24, 1, 1)  # the first layer sees what it is fed
    assert layers[1].weight.shape == (8, 1, 3, 3)
    assert layers[1].groups == 8
    assert layers[2].weight.shape == (16, 16)


def test_a_line_whose_settings_have_changed_is_run_again(tmp_path: Path) -> None:
    line = EVERY["line_of"]("small_3d")
    done = dataclasses.asdict(result(80, blind=False)) | {"model": "small_3d"}
    entries = [{"settings": line.settings() | {"lr": 7.0}, **done, "seconds": 1.0}]
    file = tmp_path / "litmus.jsonl"
    assert EVERY["read_results"](file) == {}
    file.write_text(json.dumps(entries[0]) + "\n")
    assert EVERY["read_results"](file) == {}
    entries.append({"settings": line.settings(), **done})
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    found = EVERY["read_results"](file)
    expected = dataclasses.replace(result(80, blind=False), model="small_3d")
    assert found == {"small_3d": expected}
    text = EVERY["page"](found, "A machine.")
    assert "| small_3d | 16×64×64 | 1.00 M | 1 G | 12 | 60 | 0.83 | 0.50 | 0.80 |" in text
    assert "Not run yet: small_2d, " in text
    assert "| i3d | i3d_flow | channels ÷ 8 |" in text


def test_the_page_is_of_the_results() -> None:
    """The table; the rest of the page says what it says."""
    found = EVERY["read_results"](BENCHMARKS / "litmus.jsonl")
    lines = (BENCHMARKS / "litmus.md").read_text(encoding="utf-8").splitlines()
    assert set(markdown_rows(list(found.values()))) <= set(lines)
    for passed in found.values():
        assert "leak" not in passed.verdict, passed


@pytest.mark.slow
def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(praxino.litmus, "VIDEOS_PER_CLASS", {"motion": 10, "appearance": 10})
    own = tmp_path / "own.py"
    own.write_text(
        "from praxino.models import toy_3d\n\n"
        "def build(num_classes):\n    return toy_3d(num_classes)\n\n"
        "def number(num_classes):\n    return 3\n\n"
        "def bare(num_classes):\n    from torch import nn\n    return nn.Linear(1, 1)\n"
    )
    videos = str(tmp_path / "videos")
    command = ["litmus", "toy_late_fusion", f"{own}:build", "--epochs", "1", "--videos", videos]
    assert run([*command, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found] == ["toy_late_fusion", f"{own}:build"]
    assert [row["order_blind"] for row in found] == [True, False]
    assert run([*command[:2], *command[3:], "--output", str(tmp_path / "litmus.md")]) == 0
    assert "| toy_late_fusion | 20×64×64 |" in (tmp_path / "litmus.md").read_text()
    assert "chance" in capsys.readouterr().out
    for wrong, message in (
        ([], "Name a model, for example: praxino litmus small_3d"),
        (["toy_4d"], "There is no model named 'toy_4d'. Did you mean 'toy_3d'"),
        ([f"{own}:biuld"], "has no model 'biuld'. Did you mean 'build'"),
        ([f"{own}:number"], "must return a torch.nn.Module, not int"),
        ([f"{own}:bare"], "has no clip_spec"),
        ([f"{tmp_path}/none.py:build"], "There is no model file"),
    ):
        assert run(["litmus", *wrong]) == 2
        assert message in capsys.readouterr().err
