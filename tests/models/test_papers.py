"""Architectures against what their authors published, and against reference implementations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.layer_table import count_parameters, layer_table, multiply_adds
from praxino.models import create_model

# name, options, parameters, and where the number stands
PUBLISHED = [
    ("r3d_18", {"num_classes": 400}, 33_371_472, "torchvision"),
    ("c3d", {"num_classes": 101}, 78_409_573, "mmaction2, 78.4M"),
    ("c3d", {"num_classes": 400}, 79_634_576, "the I3D paper's table, 79M"),
    ("single_frame", {"backbone": "resnet18"}, 11_689_512, "torchvision"),
    ("single_frame", {"backbone": "mobilenet_v2"}, 3_504_872, "torchvision"),
    ("single_frame", {"backbone": "vgg16"}, 138_357_544, "torchvision"),
    ("single_frame", {"backbone": "googlenet"}, 6_624_904, "torchvision, without aux"),
    ("single_frame", {"backbone": "convnext_tiny"}, 28_589_128, "torchvision"),
    ("single_frame", {"backbone": "swin_t"}, 28_288_354, "torchvision"),
    ("single_frame", {"backbone": "vit_b_16"}, 86_567_656, "torchvision"),
    ("late_fusion_pool", {"backbone": "efficientnet_b0"}, 5_288_548, "torchvision"),
    ("toy_late_fusion", {"num_classes": 1}, 2952 + 25, "3*12*9 + 12 + 12*24*9 + 24, and a head"),
    ("toy_early_fusion", {"num_classes": 1}, 9108 + 25, "60*12*9 + 12 + 12*24*9 + 24, and a head"),
    ("toy_3d", {"num_classes": 1}, 8784 + 25, "3*12*27 + 12 + 12*24*27 + 24, and a head"),
]


@pytest.mark.parametrize(("name", "options", "expected", "source"), PUBLISHED)
def test_has_the_published_number_of_parameters(
    name: str, options: dict[str, Any], expected: int, source: str
) -> None:
    with torch.device("meta"):
        assert count_parameters(create_model(name, **options)) == expected, source


# The three columns of the lecture: layer, size (C x T x H x W), receptive field (T x H x W).
# Two entries are mended: early fusion's kernel takes 3 * 20 channels, not 3 * 10, and the 3D CNN's
# last size has its T, which the slide left out.
LECTURE = {
    "toy_late_fusion": """
        Input                 3 x 20 x 64 x 64
        Conv2D(3x3, 3->12)    12 x 20 x 64 x 64   1 x 3 x 3
        Pool2D(4x4)           12 x 20 x 16 x 16   1 x 6 x 6
        Conv2D(3x3, 12->24)   24 x 20 x 16 x 16   1 x 14 x 14
        GlobalAvgPool         24 x 1 x 1 x 1      20 x 64 x 64
    """,
    "toy_early_fusion": """
        Input                 3 x 20 x 64 x 64
        Conv2D(3x3, 60->12)   12 x 64 x 64        20 x 3 x 3
        Pool2D(4x4)           12 x 16 x 16        20 x 6 x 6
        Conv2D(3x3, 12->24)   24 x 16 x 16        20 x 14 x 14
        GlobalAvgPool         24 x 1 x 1          20 x 64 x 64
    """,
    "toy_3d": """
        Input                  3 x 20 x 64 x 64
        Conv3D(3x3x3, 3->12)   12 x 20 x 64 x 64   3 x 3 x 3
        Pool3D(4x4x4)          12 x 5 x 16 x 16    6 x 6 x 6
        Conv3D(3x3x3, 12->24)  24 x 5 x 16 x 16    14 x 14 x 14
        GlobalAvgPool          24 x 1 x 1 x 1      20 x 64 x 64
    """,
}


def by(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))


@pytest.mark.parametrize("name", LECTURE)
def test_reproduces_the_column_of_the_lecture(name: str) -> None:
    *rows, head = layer_table(create_model(name))
    found = [
        f"{row.kind} {by(row.size)} {by(row.receptive_field) if number else ''}".split()
        for number, row in enumerate(rows)
    ]
    assert found == [line.split() for line in LECTURE[name].strip().splitlines()]
    assert head.kind == "Linear(24->10)"


def test_c3d_multiply_adds_layer_by_layer() -> None:
    rows = layer_table(create_model("c3d", 101))
    convolutions = {r.name: r.multiply_adds for r in rows if r.kind.startswith("Conv")}
    in_g = {name: round(count / 1e9, 3) for name, count in convolutions.items()}
    assert in_g == {
        "conv1a": 1.040,
        "conv2a": 11.098,
        "conv3a": 5.549,
        "conv3b": 11.098,
        "conv4a": 2.775,
        "conv4b": 5.549,
        "conv5a": 0.694,
        "conv5b": 0.694,
    }
    assert round(sum(convolutions.values()) / 1e9, 3) == 38.497
    # The lecture's rows for these three are 27 times too large.
    hidden = [r.multiply_adds for r in rows if r.kind.startswith("Linear")]
    assert hidden == [8192 * 4096, 4096 * 4096, 4096 * 101]


def test_c3d_pools_its_last_map_to_four_by_four() -> None:
    rows = {row.name: row.size for row in layer_table(create_model("c3d"))}
    assert rows["pool4"] == (512, 2, 7, 7)
    assert rows["pool5"] == (512, 1, 4, 4)


def test_small_3d_is_cheap() -> None:
    assert multiply_adds(create_model("small_3d", 10)) < 0.3e9


def test_r3d_needs_many_times_the_parameters_of_its_2d_twin() -> None:
    with torch.device("meta"):
        flat = count_parameters(create_model("single_frame_resnet18", 400))
        deep = count_parameters(create_model("r3d_18", 400))
    assert deep / flat == pytest.approx(2.9, abs=0.1)


def image(frames: Tensor) -> Tensor:
    """A clip of one frame."""
    return frames[:, :, None]


def still(frames: Tensor) -> Tensor:
    """A clip of four equal frames."""
    return frames[:, :, None].expand(-1, -1, 4, -1, -1)


# golden, case, model, options, the toolkit whose names it uses, what to feed
SMALL, NATIVE = "small", None
GOLDENS = [
    ("torchvision_video/r3d_18", SMALL, "r3d_18", {}, "torchvision", None),
    ("torchvision_video/r3d_18", NATIVE, "r3d_18", {}, "torchvision", None),
    ("torchvision_image/resnet18", SMALL, "single_frame_resnet18", {}, "torchvision", image),
    ("torchvision_image/resnet18", SMALL, "late_fusion_pool_resnet18", {}, "torchvision", still),
    (
        "torchvision_image/resnet18",
        SMALL,
        "early_fusion_resnet18",
        {"frames": 4},
        "torchvision",
        still,
    ),
    (
        "torchvision_image/googlenet",
        SMALL,
        "single_frame",
        {"backbone": "googlenet"},
        "torchvision",
        still,
    ),
    (
        "torchvision_image/vgg16",
        NATIVE,
        "single_frame",
        {"backbone": "vgg16"},
        "torchvision",
        image,
    ),
    ("c3d/c3d_sports1m", NATIVE, "c3d", {}, "caffe_port", None),
    ("mmaction2/c3d_sports1m_ucf101", NATIVE, "c3d", {}, "mmaction2", lambda clip: clip[:, 0]),
]


@pytest.mark.parametrize(
    ("path", "case", "name", "options", "source", "feed"),
    [pytest.param(*row, marks=[] if row[1] else [pytest.mark.slow]) for row in GOLDENS],
    ids=[f"{row[0]}-{row[2]}-{row[1] or 'native'}" for row in GOLDENS],
)
def test_equals_the_reference(
    equals_golden: Any,
    path: str,
    case: str | None,
    name: str,
    options: dict[str, Any],
    source: str,
    feed: Any,
) -> None:
    """Under the same made-up weights and input, the same numbers."""

    def forward(model: Any, clip: Tensor) -> list[Tensor]:
        logits = model(feed(clip) if feed else clip)
        return [logits, logits.softmax(1)]

    equals_golden(
        path,
        name,
        source,
        options=options,
        forward=forward,
        case=case,
        same_parameters=not name.startswith("early_fusion"),  # its first layer sees all frames
    )


@pytest.mark.parametrize("path", ["torchvision_video/r3d_18", "c3d/c3d_sports1m"])
def test_multiply_adds_equal_the_reference(lab_goldens: Path, path: str) -> None:
    stored = json.loads((lab_goldens / f"{path}.json").read_text())
    model = create_model(path.split("/")[1].removesuffix("_sports1m"))
    assert multiply_adds(model) == round(stored["gmacs"] * 1e9)
