"""Karpathy's networks: when their frames meet, what their streams see, and their average."""

from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.layer_table import layer_table
from praxino.models import (
    create_model,
    karpathy_average,
    karpathy_early_fusion,
    karpathy_late_fusion,
    karpathy_single_frame,
    slow_fusion,
)
from praxino.models.karpathy import Karpathy

BUILDERS = (karpathy_single_frame, karpathy_early_fusion, karpathy_late_fusion, slow_fusion)


def small(build: Any, **options: Any) -> Karpathy:
    torch.manual_seed(0)
    model: Karpathy = build(3, hidden=8, **options).eval()
    return model


def clip_for(model: Karpathy, batch: int = 1) -> Tensor:
    spec = model.clip_spec
    generator = torch.Generator().manual_seed(1)
    shape = (batch, 3, spec.frames, spec.size, spec.size)
    return 50 * torch.randn(shape, generator=generator)


# model, frames of the maps and frames seen after the first, second and third convolution
WHEN = [
    ("karpathy_single_frame", [1, 1, 1], [1, 1, 1]),
    ("karpathy_early_fusion", [1, 1, 1], [10, 10, 10]),
    ("karpathy_late_fusion", [2, 2, 2], [1, 1, 1]),
    ("slow_fusion", [4, 2, 1], [4, 6, 10]),
]


@pytest.mark.parametrize(("name", "frames", "seen"), WHEN)
def test_the_frames_meet_where_the_paper_says(
    name: str, frames: list[int], seen: list[int]
) -> None:
    rows = {row.name: row for row in layer_table(create_model(name, hidden=8))}
    first_three = [rows[f"streams.whole.conv{number}"] for number in (1, 2, 3)]
    assert [row.size[1] for row in first_three] == frames
    assert [row.receptive_field[0] for row in first_three] == seen
    assert rows["fc6"].receptive_field[0] == rows["input"].size[1]


def test_the_towers_of_late_fusion_are_one() -> None:
    model = small(karpathy_late_fusion)
    clip = clip_for(model)
    with torch.no_grad():
        maps, swapped = model.forward_features(clip), model.forward_features(clip.flip(2))
        assert maps.shape == (1, 256, 2, 7, 7)
        torch.testing.assert_close(swapped, maps.flip(2))
        assert not torch.allclose(model(clip.flip(2)), model(clip))  # their order does matter


@pytest.mark.parametrize("build", BUILDERS)
def test_the_fovea_sees_the_middle_and_the_context_everything(build: Any) -> None:
    model = small(build, multiresolution=True)
    clip = clip_for(model)
    edge = clip.clone()
    edge[..., :44, :] += 100
    with torch.no_grad():
        maps, changed = model.forward_features(clip), model.forward_features(edge)
        assert model(clip).shape == (1, 3)
    assert maps.shape == (1, 512, 2 if build is karpathy_late_fusion else 1, 7, 7)
    assert torch.equal(maps[:, :256], changed[:, :256])
    assert not torch.equal(maps[:, 256:], changed[:, 256:])


def test_the_fovea_is_the_very_middle_and_the_context_is_halved() -> None:
    model = small(karpathy_single_frame, multiresolution=True)
    seen = {}
    for name, stream in model.streams.items():
        first: Any = stream.get_submodule("conv1")
        first.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    clip = torch.arange(178.0).expand(1, 3, 1, 178, 178)  # each pixel is its column
    with torch.no_grad():
        model(clip)
    assert seen["fovea"][0, 0, 0, 0].tolist() == [44.0 + column for column in range(89)]
    assert seen["context"][0, 0, 0, 0].tolist() == [0.5 + 2 * column for column in range(89)]


def test_the_average_of_two_networks_by_hand() -> None:
    members = [small(karpathy_single_frame), small(slow_fusion)]
    for member, bias in zip(members, ([0.9, 0.1], [0.5, 0.5]), strict=True):
        member.head = torch.nn.Linear(8, 2)
        torch.nn.init.zeros_(member.head.weight)
        member.head.bias = torch.nn.Parameter(torch.tensor(bias).log())
    logits = karpathy_average(members)(torch.zeros(1, 3, 16, 170, 170))
    torch.testing.assert_close(logits.softmax(1), torch.tensor([[0.7, 0.3]]))


def test_each_member_of_an_average_sees_its_own_frames() -> None:
    assert karpathy_average([small(build) for build in BUILDERS]).frames == [
        [7],
        list(range(3, 13)),
        [0, 15],
        list(range(3, 13)),
    ]


def test_an_average_needs_networks_for_the_same_thing() -> None:
    with pytest.raises(ValueError, match=r"for the same classes and size; got classes: none\."):
        karpathy_average([])
    mixed = [small(karpathy_single_frame), small(karpathy_single_frame, multiresolution=True)]
    with pytest.raises(ValueError, match=r"got classes: 3 of 170 pixels, 3 of 178 pixels\."):
        karpathy_average(mixed)


@pytest.mark.parametrize("build", BUILDERS)
def test_pixels_of_up_to_255_do_not_upset_a_fresh_network(build: Any) -> None:
    model = small(build)
    with torch.no_grad():
        scores = model(clip_for(model, batch=2)).softmax(1)
    torch.testing.assert_close(scores, torch.full_like(scores, 1 / 3), rtol=0.1, atol=0)
