"""X3D against the implementations whose weights it reads."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.layer_table import count_parameters, multiply_adds
from praxino.models import convert_state_dict, create_model
from praxino.models.x3d import x3d_xs

SMALL, NATIVE = "small", None
# golden, case, model, whether the reference's first shortcut has a norm, the toolkit
GOLDENS = [
    ("pytorchvideo/efficient_x3d_xs", SMALL, "x3d_xs", True, "pytorchvideo"),
    ("pytorchvideo/efficient_x3d_s", SMALL, "x3d_s", True, "pytorchvideo"),
    ("mmaction2/x3d_s_13x6", SMALL, "x3d_s", True, "mmaction2"),
    ("pytorchvideo/x3d_xs", NATIVE, "x3d_xs", False, "pytorchvideo"),
    pytest.param(
        "pytorchvideo/x3d_s", NATIVE, "x3d_s", False, "pytorchvideo", marks=pytest.mark.slow
    ),
    pytest.param(
        "pytorchvideo/x3d_m", NATIVE, "x3d_m", False, "pytorchvideo", marks=pytest.mark.slow
    ),
    pytest.param("pyslowfast/x3d_m", NATIVE, "x3d_m", True, "pyslowfast", marks=pytest.mark.slow),
]


def logits(model: Any, clip: Tensor) -> Tensor:
    result: Tensor = model(clip[:, 0] if clip.ndim == 6 else clip)  # mmaction2 has an axis of views
    return result


def probabilities_and_projection(model: Any, clip: Tensor) -> list[Tensor]:
    found = logits(model, clip)
    return [found.softmax(1), found[:, None, None, None]]


@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize(("path", "case", "name", "reference_has_norm", "source"), GOLDENS)
def test_equals_the_reference(
    equals_golden: Any,
    path: str,
    case: str | None,
    name: str,
    reference_has_norm: bool,
    source: str,
    has_norm: bool,
) -> None:
    """With a norm in the first shortcut or without, whatever the reference has there."""
    equals_golden(
        path,
        name,
        source,
        options={"first_shortcut_norm": has_norm},
        forward=probabilities_and_projection if source == "pyslowfast" else logits,
        case=case,
        same_norms=has_norm == reference_has_norm,
        same_parameters=has_norm == reference_has_norm,
    )


@pytest.mark.parametrize("name", ["x3d_xs", "x3d_s", "x3d_m", "x3d_l"])
def test_has_the_published_number_of_parameters(name: str) -> None:
    """As pytorchvideo's networks have, whose first shortcut has no norm."""
    with torch.device("meta"):
        model = create_model(name)
    assert count_parameters(model) == (6_153_384 if name == "x3d_l" else 3_794_274)


def test_multiply_adds_equal_the_reference() -> None:
    assert multiply_adds(create_model("x3d_s")) == 1_962_892_112
    # Of a larger crop four windows are averaged before the head, where the reference has four
    # heads' results averaged.
    at_test = multiply_adds(create_model("x3d_m"), (3, 16, 256, 256))
    assert at_test + 3 * 2048 * 400 == 6_185_725_184


def test_time_is_kept_up_to_the_pooling() -> None:
    with torch.device("meta"):
        model: Any = create_model("x3d_s")
        features = model.forward_features(torch.zeros(1, 3, 13, 160, 160))
    assert features.shape == (1, 432, 13, 5, 5)


def test_windows_and_clip_differ_only_past_the_training_size() -> None:
    torch.manual_seed(0)
    windows: Any = create_model("x3d_xs", 3).eval()
    clip: Any = create_model("x3d_xs", 3, pool="clip").eval()
    clip.load_state_dict(windows.state_dict())
    generator = torch.Generator().manual_seed(1)
    small = torch.randn(1, 3, 4, 160, 160, generator=generator)
    long = torch.randn(1, 3, 6, 160, 160, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(windows(small), clip(small))
        # Three windows of four frames each, judged one by one.
        maps = windows.forward_features(long)
        judged = [
            windows.head(windows.fc1(maps[:, :, i : i + 4].mean(dim=(2, 3, 4))).relu())
            for i in range(3)
        ]
        torch.testing.assert_close(windows(long), sum(judged) / 3)
        assert not torch.allclose(windows(long), clip(long), rtol=1e-4)


def test_pool_has_two_ways() -> None:
    with pytest.raises(ValueError, match=r"pool is 'windows' or 'clip', not 'max'"):
        x3d_xs(pool="max")  # type: ignore[arg-type]


def test_a_norm_that_is_folded_gives_its_shift_to_the_next_sum() -> None:
    """A shortcut without a norm has no bias of its own."""
    torch.manual_seed(0)
    model: Any = create_model("x3d_xs", 3, first_shortcut_norm=True).eval()
    norm = model.res2[0].shortcut.norm
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    names = {"spatial": "backbone.conv1_s.conv", "temporal": "backbone.conv1_t.conv"}
    state = {
        name.replace("conv1.spatial", names["spatial"])
        .replace("conv1.temporal", names["temporal"])
        .replace("conv1.norm", "backbone.conv1_t.bn"): value
        for name, value in model.state_dict().items()
    }
    other: Any = create_model("x3d_xs", 3).eval()
    other.load_state_dict(convert_state_dict(state, source="mmaction2", model=other))
    clip = torch.randn(1, 3, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(other(clip), model(clip), rtol=1e-4, atol=1e-5)
