import json

import numpy as np
import pytest
import torch
from PIL import Image

from praxino.command.cli import run
from praxino.explain.attention import (
    DARK,
    attention_of,
    draw_attention,
    models_with_attention,
    overlay,
    shares,
)
from praxino.models import create_model
from praxino.video.clip_spec import ClipSpec


def test_what_is_looked_at_stays_bright() -> None:
    frames = np.full((2, 40, 40, 3), 200, np.uint8)
    maps = torch.zeros(2, 2, 2)
    maps[0, 0, 1], maps[1], maps[0, 1, 0] = 0.8, 0.4, -5.0
    shown = overlay(frames, maps)
    assert shown[0, 0, -1].tolist() == [200] * 3  # the strongest place of all frames
    assert shown[0, 0, 0].tolist() == [200 * DARK] * 3
    assert shown[0, -1, 0].tolist() == [200 * DARK] * 3  # below zero is nothing
    assert np.unique(shown[1]).tolist() == [round(200 * (DARK + (1 - DARK) / 2))]
    assert shares(maps) == pytest.approx([1 / 3, 2 / 3])


def test_nothing_looked_at_is_dark() -> None:
    shown = overlay(np.full((1, 8, 8, 3), 100, np.uint8), torch.zeros(1, 2, 2))
    assert np.unique(shown).tolist() == [100 * DARK]
    assert shares(torch.zeros(1, 2, 2)) == [0]


def test_pictures_hold_frames_and_what_is_seen_of_them(tmp_path) -> None:
    clip = torch.full((3, 10, 16, 16), 0.2)
    spec = ClipSpec(10, size=16, resize_short=16, mean=(0, 0, 0), std=(1, 1, 1))
    maps = torch.zeros(10, 1, 1)
    maps[4] = 1.0
    files = draw_attention(tmp_path, clip, spec, maps)
    assert [path.name for path in files] == ["attention.png", "attention.gif", "attention.json"]
    with Image.open(files[0]) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    bright = (pixels == 51).all(axis=2).sum()
    assert bright == 11 * 112 * 112  # ten frames, and the one that is looked at once more
    assert (pixels == round(51 * DARK)).all(axis=2).sum() >= 9 * 112 * 112
    with Image.open(files[1]) as picture:
        assert (picture.size, picture.n_frames) == ((32, 16), 3)  # equal neighbours are one
    numbers = json.loads(files[2].read_text())
    assert numbers["share_of_frames"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert np.array(numbers["maps"]).shape == (10, 1, 1)


def test_colours_are_found_among_the_streams(tmp_path) -> None:
    spec = ClipSpec(
        1, size=8, resize_short=8, inputs=("flow", "rgb"), mean=(0.5,) * 5, std=(0.5,) * 5
    )
    clip = torch.cat([torch.ones(2, 1, 8, 8), torch.zeros(3, 1, 8, 8)])
    files = draw_attention(tmp_path, clip, spec, torch.ones(1, 1, 1))
    with Image.open(files[0]) as picture:
        assert (np.asarray(picture.convert("RGB")) == 128).all(axis=2).sum() >= 2 * 112 * 112
    flow = ClipSpec(1, size=8, resize_short=8, inputs=("flow",), mean=(0.5,) * 2, std=(0.5,) * 2)
    with pytest.raises(ValueError, match="looks at flow, and attention is laid over colours"):
        draw_attention(tmp_path, clip[:2], flow, torch.ones(1, 1, 1))


def test_a_model_without_attention_is_refused() -> None:
    names = models_with_attention()
    assert {"attention_pooling", "soft_attention", "temporal_attention"} <= set(names)
    model = create_model("small_2d", 2, frames=2, size=32)
    with pytest.raises(ValueError, match=r"Small2d has no attention to show\. These have: .*soft_"):
        attention_of(model, torch.zeros(3, 2, 32, 32))


@pytest.mark.parametrize("name", ["attention_pooling", "soft_attention", "temporal_attention"])
def test_attention_is_a_map_of_each_frame(name: str) -> None:
    model = create_model(name, 2, backbone="resnet18", frames=3, size=64)
    places = (1, 1) if name == "temporal_attention" else (2, 2)
    assert attention_of(model, torch.randn(3, 3, 64, 64)).shape == (3, *places)


def test_from_the_command_line(two_actions, tmp_path, capsys) -> None:
    from praxino.weights.checkpoint import Card, save_model

    options = {"backbone": "resnet18", "hidden": 8, "frames": 4, "size": 32}
    model = create_model("temporal_attention", 2, **options)
    file, video = tmp_path / "model.safetensors", str(two_actions / "darker" / "0.mp4")
    save_model(file, model, Card("temporal_attention", options, ("a", "b"), model.clip_spec, {}))
    assert run(["explain", "attention", str(file), video, "--output", str(tmp_path / "seen")]) == 0
    said = capsys.readouterr().out
    assert "1 x 1 places in each of 4 frames; frame " in said
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [
        "attention.gif",
        "attention.json",
        "attention.png",
    ]
    assert run(["explain", "attention", "c3d", video, "--output", str(tmp_path / "no")]) == 2
    assert "C3d has no attention to show" in capsys.readouterr().err


def test_before_and_after_stand_side_by_side(tmp_path) -> None:
    clip = torch.full((3, 2, 16, 16), 0.2)
    spec = ClipSpec(2, size=16, resize_short=16, mean=(0, 0, 0), std=(1, 1, 1))
    before, after = torch.zeros(2, 1, 1), torch.zeros(2, 1, 1)
    before[0] = after[:] = 1.0
    files = draw_attention(tmp_path, clip, spec, before, after)
    with Image.open(files[0]) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels == 51).all(axis=2).sum() == (2 + 1 + 2) * 112 * 112
    with Image.open(files[1]) as picture:
        assert (picture.size, picture.n_frames) == ((48, 16), 2)
    numbers = json.loads(files[2].read_text())
    assert numbers["after"]["share_of_frames"] == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"The clip has 2 frames and the attention 3. Compare mod"):
        draw_attention(tmp_path, clip, spec, before, torch.ones(3, 1, 1))


def test_before_and_after_a_task_was_added(made_up_gtea61, tmp_path, capsys) -> None:
    """Two models of the same frames, one of which is fed flow too, on a folder of pictures."""
    from praxino.weights.checkpoint import Card, save_model

    pytest.importorskip("cv2")
    options = {"backbone": "resnet18", "hidden": 8, "frames": 4, "size": 64}
    files = [tmp_path / f"{name}.safetensors" for name in ("ego_rnn", "ego_rnn_motion")]
    for file in files:
        model = create_model(file.stem, 2, **options)
        save_model(file, model, Card(file.stem, options, ("a", "b"), model.clip_spec, {}))
    video = made_up_gtea61 / "processed_frames2" / "S2" / "close_jar" / "1" / "rgb"
    command = ["explain", "attention", str(files[0]), str(video), f"--output={tmp_path / 'seen'}"]
    assert run([*command, f"--after={files[1]}"]) == 0
    assert "2 x 2 places in each of 4 frames" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "seen" / "attention.json").read_text())
    assert np.array(numbers["after"]["maps"]).shape == (4, 2, 2)
    assert np.array(numbers["after"]["maps"]).sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
