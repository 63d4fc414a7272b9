"""What the rows of published weights state, each of them against itself."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from praxino.models import MODELS, create_model
from praxino.video.clip_spec import ClipSpec
from praxino.weights.published import Weights, evenly

DATA_SETS = {
    "Charades": "charades",
    "Diving48": "diving48",
    "GTEA61": "gtea61",
    "HMDB51": "hmdb51",
    "IG-65M": "ig65m",
    "Jester": "jester",
    "Kinetics-400": "kinetics400",
    "Kinetics-600": "kinetics600",
    "Kinetics-700": "kinetics700",
    "Kinetics-710": "kinetics710",
    "Moments in Time": "moments",
    "STAIR Actions": "stair",
    "Something-Something V1": "something_v1",
    "Something-Something V2": "something_v2",
    "Sports-1M": "sports1m",
    "UCF101": "ucf101",
}
CLASSES = {
    "charades": 157,
    "diving48": 48,
    "hmdb51": 51,
    "jester": 27,
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics700": 700,
    "kinetics710": 710,
    "something_v1": 174,
    "something_v2": 174,
    "sports1m": 487,
    "ucf101": 101,
}
ROWS = [
    (model, key, weights) for model, row in MODELS.items() for key, weights in row.weights.items()
]
each_row = pytest.mark.parametrize(
    ("model", "key", "weights"), ROWS, ids=[f"{model}-{key}" for model, key, _ in ROWS]
)


def data_set(weights: Weights) -> str:
    """The data set whose classes they tell apart, as keys name it; several are joined."""
    last = re.split(r", (?:then|on) ", weights.trained_on.removesuffix(", on frozen features"))[-1]
    named = [
        DATA_SETS[name]
        for part in last.split(" + ")
        for name in DATA_SETS
        if re.match(rf"{re.escape(name)}\b", part)
    ]
    assert len(named) == len(last.split(" + ")), f"{last} is not in DATA_SETS"
    return "_".join(named)


@pytest.fixture(scope="module")
def tested() -> Any:
    """The clip specification for which a row's accuracy holds."""
    built: dict[str, ClipSpec] = {}

    def spec(model: str, weights: Weights) -> ClipSpec:
        name = f"{model} {sorted(weights.options.items())}"
        if name not in built:
            with torch.device("meta"):
                network: Any = create_model(model, **weights.options)
            built[name] = network.clip_spec
        own = vars(built[name])
        return ClipSpec(**{**own, **weights.clip})

    return spec


# --- names ---------------------------------------------------------------------------------------


@each_row
def test_a_name_begins_with_the_data_set(model: str, key: str, weights: Weights) -> None:
    name = data_set(weights)
    assert re.match(rf"{name}(_|$)", key), (key, name)
    assert weights.num_classes == CLASSES.get(name, weights.num_classes)


@pytest.mark.parametrize("model", [model for model, row in MODELS.items() if row.weights])
def test_a_second_toolkit_is_named_after_the_data_set(model: str) -> None:
    first: dict[str, str] = {}  # who published the first weights for a data set
    for key, weights in MODELS[model].weights.items():
        name = data_set(weights)
        publisher = first.setdefault(name, weights.layout)
        said = key.startswith(f"{name}_{weights.layout}")
        assert said == (weights.layout != publisher), key


# --- protocols -----------------------------------------------------------------------------------


def spacings(protocol: str) -> Iterator[tuple[str, float]]:
    """What a protocol says of the distance between frames."""
    for value in re.findall(r"at ([\d.]+) (?:per second|fps)", protocol):
        yield "frames_per_second", float(value)
    for value in re.findall(r"(?:with |frames, )(?:stride |every )(\d+)", protocol):
        yield "stride_frames", float(value)
    if re.search(r"over the whole|spread over the video", protocol):
        yield "spread", 1.0
    if "consecutive" in protocol:
        yield "stride_frames", 1.0


def disagreements(protocol: str, spec: ClipSpec) -> list[str]:
    """What a protocol says that is not what the clip specification says."""
    said = [("frames", float(n)) for n in re.findall(r"(\d+) (?:consecutive )?frames", protocol)]
    said += spacings(protocol)
    crops = re.search(
        r"(?:(\d+) crops? of|centre crop of) (\d+)"
        r"(?: from (?:a short side of )?(\d+)|, the short side (\d+))?",
        protocol,
    )
    if crops is not None:
        said.append(("size", float(crops[2])))
        if crops[1] == "3":  # along the longer side, so that all of the shorter one is seen
            said.append(("resize_short", float(crops[2])))
        said += [("resize_short", float(side)) for side in crops.groups()[2:] if side]
    return [
        f"{name} {value:g}, not {getattr(spec, name)}"
        for name, value in said
        if getattr(spec, name) is None
        or value != pytest.approx(float(getattr(spec, name)), rel=0.005)
    ]


@each_row
def test_a_protocol_agrees_with_the_clip(
    tested: Any, model: str, key: str, weights: Weights
) -> None:
    if weights.protocol:
        assert disagreements(weights.protocol, tested(model, weights)) == []


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("10 clips of 16 frames, every 8th, 3 crops of 224", ["frames 16, not 8"]),
        ("1 clip of 8 frames with stride 4", ["stride_frames 4, not 8"]),
        ("1 clip of 8 frames at 3.75 per second", ["frames_per_second 3.75, not None"]),
        ("8 frames over the whole span, 1 crop of 224", ["spread 1, not False"]),
        ("8 consecutive frames", ["stride_frames 1, not 8"]),
        ("5 clips, 1 crop of 224 from 256", ["resize_short 256, not 224"]),
        ("10 clips x 3 crops of 256", ["size 256, not 224", "resize_short 256, not 224"]),
        ("10 clips, centre crop of 112", ["size 112, not 224"]),
        ("10 clips x 3 crops of 224, the short side 224", []),
    ],
)
def test_a_protocol_that_disagrees_is_found(protocol: str, expected: list[str]) -> None:
    spec = ClipSpec(8, stride_frames=8, size=224, resize_short=224)
    assert disagreements(protocol, spec) == expected


@each_row
def test_an_accuracy_comes_with_the_way_it_was_measured(
    model: str, key: str, weights: Weights
) -> None:
    """And many labels at once with how the views' scores were joined."""
    assert bool(weights.protocol) >= bool(weights.accuracy)
    if "mAP" in weights.accuracy:
        assert "maximum over all views" in weights.protocol
    assert all(0 < percent < 100 for percent in weights.accuracy.values())
    if {"top1", "top5"} <= set(weights.accuracy):
        assert weights.accuracy["top1"] < weights.accuracy["top5"]


def test_frames_are_laid_evenly_from_the_first_to_the_last() -> None:
    """8 of 64 frames at 30 per second, as `torch.linspace(0, 63, 8)` chooses them: 9 apart."""
    assert evenly(8, 8) == {"stride_frames": None, "frames_per_second": 30 / 9}
    apart = torch.linspace(0, 63, 8).diff() / 30
    assert torch.allclose(apart, torch.tensor(1 / evenly(8, 8)["frames_per_second"]))
