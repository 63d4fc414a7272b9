"""The strip of used and unused frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from praxino.command.cli import run
from praxino.explain.skips import (
    DIM,
    SHOWN,
    UNUSED,
    USED,
    draw_skips,
    models_that_skip,
    used_frames,
)
from praxino.models import create_model
from praxino.models.skip_rnn import skip_lstm
from praxino.video.clip_spec import ClipSpec
from praxino.weights.checkpoint import Card, save_model


def test_unused_frames_are_grey_and_dim(tmp_path: Path) -> None:
    clip = torch.zeros(3, 12, 8, 8)
    clip[0] = 200 / 255  # red
    spec = ClipSpec(12, size=8, resize_short=8, mean=(0, 0, 0), std=(1, 1, 1))
    used = np.arange(12) % 3 == 0
    path = draw_skips(tmp_path / "strip.png", clip, spec, used)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))

    def count(colour: tuple[int, int, int]) -> float:
        return float((pixels == colour).all(axis=2).sum())

    grey = round(DIM * 0.299 * 200)
    assert count((200, 0, 0)) == 4 * 96 * 96
    assert count((grey, grey, grey)) == 8 * 96 * 96
    assert count(USED) / count(UNUSED) == 4 / 8
    assert pixels.shape[1] == SHOWN * 100 - 4 + 16, "ten in a row"


def test_says_what_the_model_uses() -> None:
    torch.manual_seed(0)
    model = skip_lstm(3, backbone="shufflenet_v2_x0_5", hidden=8, size=32)
    with torch.no_grad():
        model.rnn.update.weight.zero_()
        model.rnn.update.bias.fill_(-1.0)  # sigmoid 0.27: every other one
    used = used_frames(model, torch.randn(3, 5, 32, 32))
    assert used.tolist() == [True, False, True, False, True]


def test_who_skips() -> None:
    assert models_that_skip() == ["skip_gru", "skip_lstm"]
    with pytest.raises(ValueError, match=r"Small3d uses every frame\. These skip some: skip_gru, "):
        used_frames(create_model("small_3d"), torch.zeros(3, 4, 8, 8))


def test_from_the_command_line(
    tmp_path: Path, numbered_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {
        "backbone": "shufflenet_v2_x0_5",
        "frames": 5,
        "size": 32,
        "hidden": 8,
    }
    model: Any = skip_lstm(2, **options)
    card = Card("skip_lstm", options, ("sit", "stand"), model.clip_spec, {})
    save_model(tmp_path / "model.safetensors", model, card)
    command = ["explain", "skips", str(tmp_path / "model.safetensors"), str(numbered_video)]
    target = tmp_path / "strip.png"
    assert run([*command, "--output", str(target)]) == 0
    said = capsys.readouterr().out
    assert "of 5 frames used: #" in said, "the first frame is always used"
    assert target.stat().st_size > 1000
    assert run(["explain", "skips", "small_3d", str(numbered_video), "--output", str(target)]) == 2
    assert "uses every frame" in capsys.readouterr().err
