from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from praxino.command.cli import run
from praxino.explain.filters import (
    choose_layer,
    colours,
    describe,
    draw_filters,
    first_convolutions,
)
from praxino.explain.subject import open_subject
from praxino.models import create_model
from praxino.video.clip_spec import ClipSpec


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("c3d", "conv1a", (64, 3, 3, 3, 3)),
        ("i3d", "conv1a.conv", (64, 3, 7, 7, 7)),
        ("i3d_flow", "conv1a.conv", (64, 2, 7, 7, 7)),
        ("single_frame", "backbone.features.conv1", (64, 3, 1, 7, 7)),
        ("slowfast_r50", "fast.conv1.conv", (8, 3, 5, 7, 7)),  # more frames than Slow's
        ("toy_early_fusion", "conv1", (12, 3, 20, 3, 3)),
        ("ji_3dcnn", "shape.c2", (6, 1, 3, 7, 7)),
    ],
)
def test_first_convolution_is_found_in_any_kind_of_model(name, layer, shape, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: self)  # nothing on meta has numbers
    found = first_convolutions(on_meta(name))
    assert choose_layer(found) == layer
    assert found[layer].shape == shape


def test_frames_of_early_fusion_are_those_of_the_clip():
    model = create_model("toy_early_fusion")
    filters = first_convolutions(model)["conv1"]
    clip = torch.zeros(1, 3, 20, 64, 64)
    clip[0, 1, 7, 10, 10] = 1  # green, of the eighth frame
    with torch.no_grad():
        answer = model.conv1(clip.transpose(1, 2).flatten(1, 2)) - model.conv1.bias[:, None, None]
    torch.testing.assert_close(answer[0, :, 10, 10], filters[:, 1, 7, 1, 1])


def test_each_filter_is_scaled_by_its_own_largest_weight():
    filters = torch.zeros(2, 3, 1, 1, 2)
    filters[0, 0, 0, 0] = torch.tensor([4.0, -4.0])
    filters[1, 1, 0, 0] = torch.tensor([0.5, 0.25])
    pixels = colours(filters)
    assert pixels[0, 0, 0].tolist() == [[255, 128, 128], [0, 128, 128]]  # grey is zero
    assert pixels[1, 0, 0].tolist() == [[128, 255, 128], [128, 191, 128]]


def test_flow_is_white_without_motion_and_opposite_directions_have_opposite_colours():
    filters = torch.zeros(1, 2, 1, 1, 3)
    filters[0, 0, 0, 0] = torch.tensor([2.0, 0.0, -2.0])
    right, none, left = colours(filters)[0, 0, 0].tolist()
    assert (right, none, left) == ([255, 0, 0], [255, 255, 255], [0, 255, 255])


def test_a_filter_of_zeros_is_no_fault():
    assert (colours(torch.zeros(1, 3, 2, 3, 3)) == 128).all()
    assert (colours(torch.zeros(1, 2, 2, 3, 3)) == 255).all()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_grid_plays_through_the_frames_of_the_filters(channels, tmp_path):
    filters = torch.randn(10, channels, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    draw_filters(tmp_path / "a.gif", filters, "ten filters")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 4
        assert picture.info["duration"] == 250
        shown = []
        for number in range(4):
            picture.seek(number)
            shown.append(np.asarray(picture.convert("RGB")))
    assert all((one != two).any() for one, two in pairwise(shown))
    draw_filters(tmp_path / "a.png", filters, "ten filters")
    with Image.open(tmp_path / "a.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.png"]


def test_how_filters_are_described():
    assert describe("conv1a", torch.zeros(64, 3, 3, 5, 5)) == (
        "conv1a: 64 filters, 3 frames of 5x5, RGB"
    )
    assert describe("c", torch.zeros(768, 2, 1, 16, 16)) == (
        "c: 96 of 768 filters, 1 frame of 16x16, flow"
    )


def test_what_cannot_be_drawn(tmp_path):
    filters = torch.zeros(2, 3, 1, 3, 3)
    with pytest.raises(ValueError, match=r"Cannot draw filters as 'a.jpg': use .gif"):
        draw_filters(tmp_path / "a.jpg", filters, "")
    with pytest.raises(ValueError, match="at least 1 filter, got 0"):
        draw_filters(tmp_path / "a.gif", filters, "", most=0)
    model = nn.Linear(3, 2)
    model.clip_spec = ClipSpec(4)
    with pytest.raises(ValueError, match="Linear has no convolution that sees 1, 2 or 3 channels"):
        first_convolutions(model)
    with pytest.raises(ValueError, match="'conv2' is no first convolution; there is conv1"):
        choose_layer({"conv1": filters}, "conv2")
    assert not list(tmp_path.iterdir())


def test_random_weights_are_the_same_each_time():
    before = torch.random.get_rng_state()
    one, two = (open_subject("toy_3d").state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_from_the_command_line(trained_run, tmp_path, capsys):
    assert run(["explain", "filters", str(trained_run), "--output", str(tmp_path / "a.gif")]) == 0
    assert "Drawn: features.0.0: 16 filters, 3 frames of 5x5, RGB" in capsys.readouterr().out
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toy_3dd"], "no model named 'toy_3dd', and no checkpoint or run folder at that place. D"),
        (["toy_3d", "--layer", "conv2"], "'conv2' is no first convolution; there is conv1. Did"),
        (["toy_3d", "--most", "0"], "at least 1 filter, got 0"),
        (["toy_3d", "--weights", "kinetics"], "toy_3d has no weights 'kinetics'"),
    ],
)
def test_mistakes_are_one_line(arguments, said, tmp_path, capsys):
    output = tmp_path / "a.gif"
    assert run(["explain", "filters", *arguments, "--output", str(output)]) == 2
    assert said in capsys.readouterr().err
    assert not output.exists()


def test_a_checkpoint_has_weights_of_its_own(trained_run):
    with pytest.raises(ValueError, match="has weights of its own; --weights=imagenet is for a na"):
        open_subject(str(trained_run), "imagenet")
