from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from praxino.command.cli import run
from praxino.explain.convolution import (
    DONE,
    KERNEL_COLOUR,
    NOW,
    answer_to_a_shift,
    comparison,
    over_time,
    sliding_frames,
    through_time,
)
from praxino.models import create_model


def area(frame: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((frame == np.array(colour)).all(axis=2).sum())


def test_shapes_of_the_weights_are_those_of_the_lecture():
    assert over_time(3, 64, 16).weight.shape == (64, 3 * 16, 3, 3)
    assert through_time(3, 64).weight.shape == (64, 3, 3, 3, 3)
    clip = torch.zeros(1, 3, 16, 8, 8)
    assert through_time(3, 64)(clip).shape == (1, 64, 16, 8, 8)
    assert over_time(3, 64, 16)(clip.flatten(1, 2)).shape == (1, 64, 8, 8)


@given(seed=st.integers(0, 2**31), frames=st.integers(8, 16), channels=st.integers(1, 3))
def test_only_the_3d_convolution_moves_with_what_happens(seed, frames, channels):
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(channels, frames, 6, 6, generator=generator)
    flat, deep = over_time(channels, 4, frames), through_time(channels, 4)
    for layer in (flat, deep):
        torch.nn.init.normal_(layer.weight, generator=generator)
    assert answer_to_a_shift(deep, clip) < 1e-5
    assert answer_to_a_shift(flat, clip) > 0.5


def test_whole_models_inherit_it():
    clip = torch.randn(1, 3, 12, 32, 32, generator=torch.Generator().manual_seed(0))
    later = clip.roll(1, dims=2)
    torch.manual_seed(0)
    deep = create_model("small_3d", num_classes=2, frames=12, size=32).eval().features[0]
    with torch.no_grad():
        moved = deep(later)[:, :, 4:9]
        torch.testing.assert_close(moved, deep(clip)[:, :, 3:8])
        flat = create_model("early_fusion_resnet18", num_classes=2, frames=12, size=32).eval()
        one, two = flat.forward_features(clip), flat.forward_features(later)
    assert (one - two).norm() > 0.2 * one.norm()


def test_comparison_says_shapes_counts_and_what_a_shift_does():
    flat, deep = comparison()
    assert "64×3×16×3×3 = 27,648, slide over y and x, give 64×H×W" in flat
    assert "64×3×3×3×3 = 5,184, slide over t, y and x, give 64×16×H×W" in deep
    assert deep.endswith("differs by 0%")
    assert int(flat.rsplit(" ", 1)[1].rstrip("%")) > 100


def test_film_slides_in_three_directions_and_fills_a_clip():
    frames = list(sliding_frames())
    assert len(frames) == 27  # 3 x 3 x 3 places of a 3 x 3 x 3 kernel in 5 x 5 x 5 cells
    below = [frame[245:] for frame in frames]
    done = [area(frame, DONE) for frame in below]
    assert done[0] == 0
    assert all(one < two for one, two in pairwise(done))
    assert len({area(frame, NOW) > 0 for frame in below}) == 1
    kernels = [frame == np.array(KERNEL_COLOUR) for frame in below]
    places = [np.argwhere(kernel.all(axis=2)).mean(axis=0) for kernel in kernels]
    assert len({tuple(np.round(place)) for place in places}) == 27  # nowhere twice
    above = [area(frame[:245], DONE) for frame in frames]
    assert above[0] == above[9] == above[18] == 0  # the 2D kernel begins again


def test_from_the_command_line(tmp_path, capsys):
    assert run(["explain", "convolution", "--output", str(tmp_path / "slide.gif")]) == 0
    assert "27,648" in capsys.readouterr().out
    with Image.open(tmp_path / "slide.gif") as picture:
        assert picture.n_frames == 27
    assert run(["explain", "convolution", "--output", str(tmp_path / "slide.jpg")]) == 2
    assert "as 'slide.jpg': use .gif or .mp4" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["slide.gif"]


def test_a_film_as_mp4(tmp_path):
    assert run(["explain", "convolution", "--output", str(tmp_path / "slide.mp4")]) == 0
    assert (tmp_path / "slide.mp4").stat().st_size > 1000
