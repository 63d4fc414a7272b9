"""I3D against its reference, its end points, and its TensorFlow names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from praxino.layer_table import layer_table
from praxino.models import convert_state_dict, create_model
from praxino.models.i3d import I3d, MaxPool, same_padding
from praxino.weights.fitting import load_strict


@pytest.mark.parametrize("case", ["small", pytest.param(None, marks=pytest.mark.slow)])
def test_equals_the_reference(equals_golden: Any, case: str | None) -> None:
    """The small clip is of 17 x 193 x 210, where every layer pads by other amounts."""

    def over_time(model: Any, clip: Tensor) -> Tensor:
        logits: Tensor = model.logits_over_time(clip)
        return logits

    equals_golden("i3d_inception/i3d_rgb", "i3d", "piergiaj", forward=over_time, case=case)


def test_end_points_of_64_frames() -> None:
    """As the released code lists them."""
    with torch.device("meta"):
        model: Any = create_model("i3d").eval()
        sizes = {}

        def note(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, result: Tensor) -> None:
                sizes[name] = tuple(result.shape[1:])

            return hook

        for name, child in model.named_children():
            child.register_forward_hook(note(name))
        model(torch.zeros(1, 3, 64, 224, 224))
    assert list(sizes.items())[:-2] == [
        ("conv1a", (64, 32, 112, 112)),
        ("pool2a", (64, 32, 56, 56)),
        ("conv2b", (64, 32, 56, 56)),
        ("conv2c", (192, 32, 56, 56)),
        ("pool3a", (192, 32, 28, 28)),
        ("mixed3b", (256, 32, 28, 28)),
        ("mixed3c", (480, 32, 28, 28)),
        ("pool4a", (480, 16, 14, 14)),
        ("mixed4b", (512, 16, 14, 14)),
        ("mixed4c", (512, 16, 14, 14)),
        ("mixed4d", (512, 16, 14, 14)),
        ("mixed4e", (528, 16, 14, 14)),
        ("mixed4f", (832, 16, 14, 14)),
        ("pool5a", (832, 8, 7, 7)),
        ("mixed5b", (832, 8, 7, 7)),
        ("mixed5c", (1024, 8, 7, 7)),
    ]


def test_the_inception_block_and_its_inflation_side_by_side() -> None:
    """Branch by branch the same channels, and each 3 x 3 has become 3 x 3 x 3."""
    with torch.device("meta"):
        googlenet, model = create_model("single_frame", backbone="googlenet"), create_model("i3d")
    flat, grown = layer_table(googlenet, (3, 1, 64, 64)), layer_table(model, (3, 8, 64, 64))
    in_2d = [r for r in flat if ".inception3a." in r.name and r.kind.startswith("Conv")]
    in_3d = [r for r in grown if r.name.startswith("mixed3b.") and r.kind.startswith("Conv")]
    assert [r.kind for r in in_2d] == [
        "Conv2D(1x1, 192->64)",
        "Conv2D(1x1, 192->96)",
        "Conv2D(3x3, 96->128)",
        "Conv2D(1x1, 192->16)",
        "Conv2D(3x3, 16->32)",
        "Conv2D(1x1, 192->32)",
    ]
    assert [r.kind.replace("x1x1,", "x1,").replace("x3x3,", "x3,") for r in in_3d] == [
        r.kind.replace("2D", "3D") for r in in_2d
    ]
    assert [r.size for r in in_3d] == [(r.size[0], 4, 8, 8) for r in in_2d]
    times = [b.multiply_adds / a.multiply_adds for a, b in zip(in_2d, in_3d, strict=True)]
    assert times == [4, 4, 3 * 4, 4, 3 * 4, 4]


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "before", "after"),
    [
        (8, 7, 2, 2, 3),  # the odd zero goes to the end
        (9, 7, 2, 3, 3),
        (8, 3, 1, 1, 1),
        (8, 3, 2, 0, 1),
        (9, 3, 2, 1, 1),
        (8, 2, 2, 0, 0),
        (9, 2, 2, 0, 1),
        (1, 7, 2, 3, 3),
    ],
)
def test_pads_as_tensorflow_does(
    length: int, kernel: int, stride: int, before: int, after: int
) -> None:
    assert same_padding(length, kernel, stride) == (before, after)


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 10, 11), (1, 2, 3)])
@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3), (2, 2, 2)])
def test_pools_as_if_zeros_were_padded(size: Any, kernel: Any) -> None:
    maps = torch.rand(1, 2, *size)  # past a ReLU
    stride = (kernel[0] > 1) + 1, 2, 2
    t, h, w = (same_padding(*each) for each in zip(size, kernel, stride, strict=True))
    padded = functional.pad(maps, (*w, *h, *t))
    expected = functional.max_pool3d(padded, kernel, stride)
    assert torch.equal(MaxPool(kernel, stride)(maps), expected)


def small(name: str = "i3d", classes: int = 3) -> Any:
    torch.manual_seed(0)
    return create_model(name, classes, frames=8, size=32).eval()


def test_logits_are_the_mean_over_time() -> None:
    model = small()
    clip = torch.randn(2, 3, 33, 40, 48)
    with torch.no_grad():
        over_time = model.logits_over_time(clip)
        torch.testing.assert_close(model(clip), over_time.mean(dim=2))
        assert over_time.shape == (2, 3, 4)  # 33 frames are 5 steps
        assert model.vectors_over_time(clip).shape == (2, 1024, 4)
        assert model.logits_over_time(clip[:, :, :8]).shape == (2, 3, 1)


def tensorflow_names(model: I3d, scope: str) -> dict[str, Tensor]:
    """The model's weights as DeepMind's checkpoints have them."""
    convolutions = {"conv1a": "Conv3d_1a_7x7", "conv2b": "Conv3d_2b_1x1", "conv2c": "Conv3d_2c_3x3"}
    for name, _ in model.named_children():
        if name.startswith("mixed"):
            block = f"Mixed_{name[-2:]}"
            second = "Conv3d_0a_3x3" if name == "mixed5b" else "Conv3d_0b_3x3"
            convolutions |= {
                f"{name}.branch0": f"{block}/Branch_0/Conv3d_0a_1x1",
                f"{name}.branch1.0": f"{block}/Branch_1/Conv3d_0a_1x1",
                f"{name}.branch1.1": f"{block}/Branch_1/Conv3d_0b_3x3",
                f"{name}.branch2.0": f"{block}/Branch_2/Conv3d_0a_1x1",
                f"{name}.branch2.1": f"{block}/Branch_2/{second}",
                f"{name}.branch3.1": f"{block}/Branch_3/Conv3d_0b_1x1",
            }
    variables = {
        f"{scope}Logits/Conv3d_0c_1x1/conv_3d/w": model.head.weight.T[None, None, None],
        f"{scope}Logits/Conv3d_0c_1x1/conv_3d/b": model.head.bias,
    }
    for ours, theirs in convolutions.items():
        unit: Any = model.get_submodule(ours)
        norm = {
            "beta": unit.norm.bias,
            "moving_mean": unit.norm.running_mean,
            "moving_variance": unit.norm.running_var,
        }
        variables[f"{scope}{theirs}/conv_3d/w"] = unit.conv.weight.permute(2, 3, 4, 1, 0)
        for leaf, value in norm.items():
            variables[f"{scope}{theirs}/batch_norm/{leaf}"] = value[None, None, None, None]
    return {name: value.detach().contiguous() for name, value in variables.items()}


@pytest.mark.parametrize(
    ("name", "scope"),
    [("i3d", "RGB/inception_i3d/"), ("i3d_flow", "Flow/inception_i3d/"), ("i3d", "")],
)
def test_reads_the_names_of_tensorflow(name: str, scope: str, tmp_path: Path) -> None:
    model = small(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            for value in (module.bias, module.running_mean, module.running_var):
                assert value is not None
                nn.init.uniform_(value, 0.5, 1.5)
    variables = tensorflow_names(model, scope)
    assert len(variables) == 2 + 57 * 4
    converted = convert_state_dict(variables, source="deepmind", model=model)
    for key, value in converted.items():
        assert torch.equal(value, model.state_dict()[key]), key
    other = small(name)
    load_strict(other, converted, "made up")
    clip = torch.randn(1, other.channels, 9, 33, 40)
    with torch.no_grad():
        assert torch.equal(other(clip), model(clip))
    save_file(variables, tmp_path / "i3d.safetensors")
    # Which layout a file has is found by its names.
    from_file = create_model(name, weights=tmp_path / "i3d.safetensors").eval()
    with torch.no_grad():
        assert torch.equal(from_file(clip), model(clip))


def test_refuses_weights_of_the_other_stream() -> None:
    model = small("i3d_flow")
    converted = convert_state_dict(
        tensorflow_names(small(), "RGB/inception_i3d/"), source="deepmind", model=model
    )
    expected = r"conv1a\.conv\.weight is \(64, 3, 7, 7, 7\), the model has \(64, 2, 7, 7, 7\)"
    with pytest.raises(ValueError, match=expected):
        load_strict(model, converted, "rgb.safetensors")


def test_refuses_a_clip_of_the_other_stream() -> None:
    with pytest.raises(ValueError, match=r"I3D needs C=2, got C=3 in a clip of shape \(1, 3, 8, "):
        small("i3d_flow")(torch.zeros(1, 3, 8, 32, 32))
