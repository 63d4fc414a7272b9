import dataclasses

import pytest

from praxino.video.clip_spec import CHANNELS, ClipSpec


@pytest.mark.parametrize(
    ("spec", "spread", "words"),
    [
        (ClipSpec(16, frames_per_second=5.0), False, "16 frames at 5 per second"),
        (ClipSpec(16, frames_per_second=12.5), False, "16 frames at 12.5 per second"),
        (ClipSpec(8, stride_frames=2), False, "8 frames, stride 2"),
        (ClipSpec(25), True, "25 frames over the whole span"),
        (ClipSpec(25, even=True), True, "25 frames over the whole span"),
    ],
)
def test_spacing(spec, spread, words):
    assert (spec.spread, spec.sampling) == (spread, words)


def test_a_clip_has_one_spacing():
    message = (
        r"one spacing: got frames_per_second=5\.0 and stride_frames=2\. Set one of them to None"
    )
    with pytest.raises(ValueError, match=message):
        ClipSpec(16, frames_per_second=5.0, stride_frames=2)
    with pytest.raises(ValueError, match="one spacing"):
        dataclasses.replace(ClipSpec(16, stride_frames=2), frames_per_second=5.0)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["frames", "frames_per_second", "stride_frames", "size", "resize_short"]
)
def test_numbers_are_above_zero(name, value):
    with pytest.raises(ValueError, match=rf"ClipSpec\.{name} must be above 0, got {value}\."):
        ClipSpec(**{"frames": 16, name: value})


def test_a_crop_fits_the_short_side():
    assert ClipSpec(16, size=112, resize_short=112).size == 112
    message = r"A crop of size=113 does not fit a short side of resize_short=112 pixels\."
    with pytest.raises(ValueError, match=message):
        ClipSpec(16, size=113, resize_short=112)


def test_how_a_picture_becomes_a_square():
    assert ClipSpec(16, fit="stretch").fit == "stretch"
    with pytest.raises(ValueError, match=r"fit is 'crop' or 'stretch', not 'pad'\."):
        ClipSpec(16, fit="pad")


def test_inputs_are_known_streams():
    two = ClipSpec(16, inputs=("rgb", "flow"), mean=(0.5,) * 5, std=(1.0,) * 5)
    assert (two.inputs, two.channels) == (("rgb", "flow"), 5)
    message = "a number for each of the 5 channels of rgb and flow, got"
    with pytest.raises(ValueError, match=message):
        ClipSpec(16, inputs=("rgb", "flow"))
    message = "Unknown input 'depth'; the inputs are rgb, flow, rgb_difference, warped_flow"
    with pytest.raises(ValueError, match=message):
        ClipSpec(16, inputs=("rgb", "depth"))
    widths = {"rgb": 3, "flow": 2, "rgb_difference": 3, "warped_flow": 2, "grey": 1}
    assert CHANNELS == widths


def test_cannot_be_changed_by_accident_and_can_be_compared():
    spec = ClipSpec(16)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.frames = 8
    assert spec == ClipSpec(16) != ClipSpec(8)
    assert len({spec, ClipSpec(16)}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ()}, "inputs names no stream; the inputs are rgb, flow"),
        ({"mean": (0.5, float("nan"), 0.5)}, r"mean must be finite numbers, got \(0\.5, nan"),
        ({"std": (0.5, 0.0, 0.5)}, r"std must be numbers above 0, got \(0\.5, 0\.0, 0\.5\)"),
        ({"std": (0.5, float("inf"), 0.5)}, "std must be numbers above 0"),
        ({"mean": (0.5,)}, r"a number for each of the 3 channels of rgb, got \(0\.5,\) and"),
        ({"std": (0.5,) * 5}, "a number for each of the 3 channels of rgb"),
    ],
)
def test_normalisation_is_that_of_the_channels(options, message):
    with pytest.raises(ValueError, match=message):
        ClipSpec(16, **options)


def test_snippets_share_out_the_frames():
    assert ClipSpec(18, snippet=6).sampling == "3 x 6 frames in a row over the whole span"
    with pytest.raises(ValueError, match=r"frames=16 are not whole snippets of snippet=6 frames"):
        ClipSpec(16, snippet=6)
    with pytest.raises(ValueError, match=r"frames=16 are not whole snippets of snippet=0 frames"):
        ClipSpec(16, snippet=0)
    with pytest.raises(ValueError, match=r"Snippets of snippet=6 frames .* stride_frames=1 they"):
        ClipSpec(18, snippet=6, stride_frames=1)
