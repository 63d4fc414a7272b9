import json

import numpy as np
import pytest
import torch
from PIL import Image

from praxino.command.cli import run
from praxino.explain.projection import Projections, Unit
from praxino.explain.units import clip_of, draw_units
from praxino.models import create_model
from praxino.video.clip_spec import ClipSpec


def test_the_clip_is_the_middle_of_the_video(numbered_video):
    model = create_model("small_3d", num_classes=2, frames=16, size=32)
    model.clip_spec = ClipSpec(
        16, stride_frames=1, size=32, resize_short=48, mean=(0, 0, 0), std=(1, 1, 1)
    )
    clip = clip_of(model, numbered_video)
    assert clip.shape == (3, 16, 32, 32)
    numbers = clip.mean(dim=(0, 2, 3)) * 255 / 4
    np.testing.assert_allclose(numbers.numpy(), np.arange(22, 38), atol=0.3)


def test_pictures_hold_frames_and_projection(tmp_path):
    clip, projection = torch.full((3, 10, 8, 8), 0.2), torch.zeros(3, 10, 8, 8)
    projection[:, 3] = 1.0
    projection[:, 5] = -1.0
    unit = Unit(7, (1, 0, 0), 2.5, projection)
    spec = ClipSpec(10, size=8, resize_short=8, mean=(0, 0, 0), std=(1, 1, 1))
    files = draw_units(tmp_path, clip, spec, Projections("conv", "guided", 3, (unit,)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "conv-0007.png",
        "conv.gif",
        "conv.json",
    ]
    assert {path.name for path in files} == {path.name for path in tmp_path.iterdir()}
    with Image.open(tmp_path / "conv-0007.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for value in (51, 255, 0):  # the frames, what excites, what inhibits
        assert (pixels == value).all(axis=2).sum() >= 112 * 112
    with Image.open(tmp_path / "conv.gif") as picture:
        assert picture.n_frames > 1
    numbers = json.loads((tmp_path / "conv.json").read_text())
    assert numbers["units"][0]["share_of_frames"] == [0, 0, 0, 0.5, 0, 0.5, 0, 0, 0, 0]
    assert (numbers["layer"], numbers["method"], numbers["relus"]) == ("conv", "guided", 3)


def test_from_the_command_line(trained_run, two_actions, tmp_path, capsys):
    video, folder = str(two_actions / "darker" / "0.mp4"), tmp_path / "units"
    line = ["explain", "units", str(trained_run), video, "--layer", "features.1.0"]
    assert run([*line, "--count", "2", "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.count("most of it in frame") == 2
    assert len(list(folder.glob("features.1.0-*.png"))) == 2
    assert run([*line, "--channel", "3", "5", "--output", str(folder / "b")]) == 0
    names = sorted(path.name for path in (folder / "b").glob("*.png"))
    assert names == ["features.1.0-0003.png", "features.1.0-0005.png"]


@pytest.mark.slow
def test_a_model_without_relus_is_said_to_have_none(two_actions, tmp_path, capsys):
    video = str(two_actions / "darker" / "0.mp4")
    line = ["explain", "units", "single_frame_mobilenet_v2", video, "--layer", "backbone.features"]
    assert run([*line, "--count", "1", "--output", str(tmp_path / "a")]) == 0
    assert "plain gradient" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "layer", "code", "said"),
    [
        ("toy_3d", "conv9", 2, "Toy3d has no layer 'conv9'; praxino models lists them. Did you"),
        ("i3d_flow", "conv1a", 2, "looks at flow, and a video file has rgb"),
        ("toy_9d", "conv1", 2, "There is no model named 'toy_9d'"),
    ],
)
def test_mistakes_are_one_line(model, layer, code, said, numbered_video, tmp_path, capsys):
    line = ["explain", "units", model, str(numbered_video), "--layer", layer]
    assert run([*line, "--output", str(tmp_path / "a")]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_file_that_is_no_video(broken_video, tmp_path, capsys):
    line = ["explain", "units", "toy_3d", str(broken_video), "--layer", "conv1"]
    assert run([*line, "--output", str(tmp_path / "a")]) != 0
    error = capsys.readouterr().err
    assert "broken.mp4" in error
    assert "Traceback" not in error
    assert not (tmp_path / "a").exists()
