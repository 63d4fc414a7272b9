"""Models of grey clips: they say of one channel what the model in colour says of three equal."""

import dataclasses
from typing import Any

import pytest
import torch

from praxino.layer_table import multiply_adds
from praxino.models import create_model
from praxino.models.one_channel import to_one_channel
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD
from praxino.weights.checkpoint import Card, load_model, save_model

# The smallest that show it: a stem, TensorFlow's padding, two pathways, 2D kernels, patches.
MODELS: dict[str, dict[str, Any]] = {
    "r3d_18": {"frames": 4, "size": 32},
    "i3d": {"frames": 9, "size": 32},
    "slowfast_r50": {"size": 32},
    "single_frame_resnet18": {"frames": 2, "size": 32},
    "small_3d": {"frames": 4, "size": 32},
}


def _clips(spec, grey_values: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(n).view(-1, 1, 1, 1) for n in (spec.mean, spec.std))
    return (grey_values - mean) / std  # (B, C, T, H, W)


@pytest.mark.parametrize("name", MODELS)
def test_a_grey_clip_is_seen_as_three_equal_channels_were(name) -> None:
    torch.manual_seed(0)
    model: Any = create_model(name, 3, **MODELS[name]).eval()
    spec = model.clip_spec
    # One mean for all channels, but deviations of their own.
    model.clip_spec = dataclasses.replace(spec, mean=(0.4,) * 3, std=(0.2, 0.25, 0.3))
    grey = to_one_channel(model).eval()
    values = torch.rand(2, 1, spec.frames, spec.size, spec.size)
    with torch.no_grad():
        expected, got = model(_clips(model.clip_spec, values)), grey(_clips(grey.clip_spec, values))
        features = grey.forward_features(_clips(grey.clip_spec, values))
    assert grey.clip_spec.inputs == ("grey",)
    assert (len(grey.clip_spec.mean), len(grey.clip_spec.std)) == (1, 1)
    assert expected.std() > 1e-4
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        features,
        model.forward_features(_clips(model.clip_spec, values)),
        rtol=1e-3,
        atol=1e-3 * float(features.abs().max()),
    )
    assert isinstance(grey.head, torch.nn.Linear)


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_builds_it_again(name, tmp_path) -> None:
    torch.manual_seed(0)
    model: Any = create_model(name, 3, grey=True, **MODELS[name]).eval()
    card = Card(name, {**MODELS[name], "grey": True}, ("a", "b", "c"), model.clip_spec, {})
    save_model(tmp_path / "grey.safetensors", model, card)
    loaded: Any = load_model(tmp_path / "grey.safetensors")
    begun: Any = create_model(name, weights=tmp_path / "grey.safetensors", **card.options).eval()
    spec = model.clip_spec
    clip = torch.randn(1, 1, spec.frames, spec.size, spec.size)
    with torch.no_grad():
        assert torch.equal(loaded(clip), model(clip))
        assert torch.equal(begun(clip), model(clip))


def test_other_means_become_a_bias_that_is_exact_inside_the_clip() -> None:
    torch.manual_seed(0)
    model: Any = create_model("small_3d", 3).eval()
    model.clip_spec = dataclasses.replace(model.clip_spec, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    grey = to_one_channel(model).eval()
    values = torch.rand(1, 1, 8, 64, 64)
    stem, grey_stem = model.features[0][0], grey.model.features[0][0]  # type: ignore[index]
    with torch.no_grad():
        expected = stem(_clips(model.clip_spec, values))
        got = grey_stem(_clips(grey.clip_spec, values).expand(-1, 3, -1, -1, -1))
    inside = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(got[inside], expected[inside], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(got, expected, atol=1e-3)  # the border, as the docstring says


def test_the_model_in_colour_stays_and_the_grey_one_is_cheaper_and_learns() -> None:
    model: Any = create_model("small_3d", 3, frames=4, size=32)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    grey = to_one_channel(model)
    assert multiply_adds(grey) < multiply_adds(model)
    assert grey.training
    grey(torch.rand(2, 1, 4, 32, 32)).sum().backward()
    assert all(weight.grad is not None for weight in grey.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model(torch.rand(2, 3, 4, 32, 32)).shape == (2, 3)


def test_refuses_what_cannot_be_made_grey() -> None:
    with pytest.raises(ValueError, match=r"I3d takes \('flow',\), and only models of \('rgb',\)"):
        to_one_channel(create_model("i3d_flow", 3))
    model: Any = torch.nn.Linear(2, 2)
    model.clip_spec = create_model("small_3d", 3).clip_spec
    with pytest.raises(ValueError, match=r"Linear has no convolution of three channels, so it can"):
        to_one_channel(model)
    with pytest.raises(ValueError, match=r"The one-channel Small3d needs C=1, got C=3 in a clip"):
        to_one_channel(create_model("small_3d", 3))(torch.rand(1, 3, 4, 32, 32))


def test_inflated_networks_take_grey_clips_with_their_own_weights() -> None:
    torch.manual_seed(0)
    colour: Any = create_model("inflated", 3, frames=4, size=32).eval()
    grey: Any = create_model("inflated", 3, stream="grey", frames=4, size=32).eval()
    assert grey.clip_spec.inputs == ("grey",)
    state = colour.state_dict()
    first = next(name for name, value in state.items() if value.ndim == 5)
    state[first] = state[first].sum(dim=1, keepdim=True)
    grey.load_state_dict(state)
    clip = torch.randn(2, 1, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(clip), colour(clip.expand(-1, 3, -1, -1, -1)))
