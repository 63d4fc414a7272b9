"""FstCN: its operator and its fusion on examples solved by hand, its parts and their sizes."""

from typing import Any

import pytest
import torch

from praxino.layer_table import layer_table
from praxino.models import create_model
from praxino.models.fstcn import fuse_by_sparsity, sparsity_concentration, transform_permute

SMALL: dict[str, Any] = {
    "frames": 14,
    "stride": 2,
    "size": 40,
    "hidden": 16,
}  # frames 0, 2, 4 and 9, 11, 13


def test_transform_permute_by_hand() -> None:
    """Two channels, two frames, one row of three positions; the new channels change places."""
    maps = torch.tensor(
        [
            [[[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]], [[[10.0, 20.0, 30.0]], [[40.0, 50.0, 60.0]]]],
        ]
    )
    assert maps.shape == (1, 2, 2, 1, 3)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    planes = transform_permute(maps, swap)
    # A plane for each position: a row for each frame, a column for each new channel.
    assert planes.tolist() == [
        [[[10.0, 1.0], [40.0, 4.0]], [[20.0, 2.0], [50.0, 5.0]], [[30.0, 3.0], [60.0, 6.0]]]
    ]
    summed = transform_permute(maps, torch.tensor([[1.0], [2.0]]))
    assert summed.shape == (1, 3, 2, 1)
    assert summed[0, 1, :, 0].tolist() == [2 + 2 * 20, 5 + 2 * 50]


def test_positions_are_counted_along_rows() -> None:
    maps = torch.arange(6.0).reshape(1, 1, 1, 2, 3)
    assert transform_permute(maps, torch.ones(1, 1)).flatten().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.0, 1.0, 0.0, 0.0], 1.0),
        ([0.25, 0.25, 0.25, 0.25], 0.0),
        ([0.5, 0.5, 0.0, 0.0], 1 / 3),  # (4 * 0.5 - 1) / 3
        ([0.7, 0.1, 0.1, 0.1], 0.6),  # (4 * 0.7 - 1) / 3
        ([7.0, 1.0, 1.0, 1.0], 0.6),  # scores that do not add up to one
    ],
)
def test_sparsity_concentration_by_hand(probabilities: list[float], expected: float) -> None:
    assert sparsity_concentration(torch.tensor(probabilities)).item() == pytest.approx(expected)


def test_a_sure_view_outweighs_an_unsure_one() -> None:
    views = torch.tensor([[0.4, 0.6], [1.0, 0.0]])  # SCI 0.2 and 1
    fused = fuse_by_sparsity(views)
    expected = [(0.2 * 0.4 + 1.0) / 1.2, 0.2 * 0.6 / 1.2]
    assert fused.tolist() == pytest.approx(expected)
    videos = fuse_by_sparsity(torch.stack([views, views.flip(1)]))
    assert videos[1].tolist() == pytest.approx(expected[::-1])


def test_views_that_know_nothing_count_alike() -> None:
    assert fuse_by_sparsity(torch.full((3, 5), 0.2)).tolist() == pytest.approx([0.2] * 5)


def test_one_class_cannot_be_judged() -> None:
    with pytest.raises(
        ValueError, match=r"at least 2 classes to compare, got 1 in probabilities of shape \(3, 1\)"
    ):
        sparsity_concentration(torch.ones(3, 1))


def test_motion_is_the_difference_of_the_frames_and_appearance_the_middle_one() -> None:
    """A clip that stands still moves nothing; only frames that are used matter."""
    torch.manual_seed(0)
    model: Any = create_model("fstcn", 3, **SMALL).eval()
    frame = torch.randn(1, 3, 1, 40, 40)
    still = frame.expand(-1, -1, 14, -1, -1)
    with torch.no_grad():
        nothing = model.forward_features(torch.zeros_like(still))
        torch.testing.assert_close(model.forward_features(still), nothing)
        assert model.forward_features(still + torch.randn(1, 3, 14, 1, 1)).ne(nothing).any()
        clip = torch.randn(1, 3, 14, 40, 40)
        logits = model(clip)
        for number in range(14):
            changed = clip.clone()
            changed[:, :, number] += 1
            matters = number in {0, 2, 4, 9, 11, 13}
            assert torch.equal(model(changed), logits) is not matters, number


def test_sizes_of_its_parts() -> None:
    with torch.device("meta"):
        model = create_model("fstcn")
    sizes = {row.name: row.size for row in layer_table(model)}
    assert sizes["input"] == (3, 30, 224, 224)
    assert sizes["temporal.short"] == (32, 5, 128)  # time x channels
    assert sizes["temporal.long"] == (32, 5, 128)
    assert sizes["head"] == (101,)


def test_says_which_clips_cannot_be() -> None:
    with pytest.raises(
        ValueError, match=r"frames=9 has no two frames that are difference=9 apart.*frames=10\."
    ):
        create_model("fstcn", frames=9)
    with pytest.raises(ValueError, match="at least 1 frame, got stride=0 and difference=9"):
        create_model("fstcn", stride=0)
    model = create_model("fstcn", 3, **SMALL)
    with pytest.raises(ValueError, match="FstCN was built for T=14, got T=13"):
        model(torch.zeros(1, 3, 13, 40, 40))
    with pytest.raises(ValueError, match="FstCN needs H and W of at least 25, got 24 x 40"):
        model(torch.zeros(1, 3, 14, 24, 40))
