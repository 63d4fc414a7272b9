"""Flow without labels: what carries a frame back, what it costs where it does not fit."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from praxino.models import flow_losses
from praxino.models.flow_losses import (
    EPSILON,
    SSIM_WEIGHTS,
    charbonnier,
    inside,
    motion_loss,
    photometric_loss,
    smoothness_loss,
    ssim,
    ssim_loss,
    warp,
)


def texture(height: int = 64, width: int = 64, *, seed: int = 0) -> Tensor:
    """Soft blotches of colour, `(3, height, width)` in -0.5 to 0.5."""
    noise = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(noise, (height, width), mode="bicubic")[0].clamp(0, 1) - 0.5


def moving(u: int, v: int, frames: int = 2, size: int = 64) -> Tensor:
    """A clip `(1, 3, T, size, size)` whose content moves by u to the right and v down."""
    large = texture(2 * size, 2 * size)
    views = []
    for t in range(frames):
        y, x = size // 2 - t * v, size // 2 - t * u
        views.append(large[:, y : y + size, x : x + size])
    return torch.stack(views, dim=1)[None]


@pytest.mark.parametrize(("u", "v"), [(3, 0), (0, -2), (4, 1)])
def test_warping_undoes_a_known_shift(u: int, v: int) -> None:
    first, second = moving(u, v)[0].unbind(dim=1)
    flow = torch.tensor([u, v], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 64, 64)
    back = warp(second[None], flow)[0]
    torch.testing.assert_close(back[:, 4:-4, 4:-4], first[:, 4:-4, 4:-4], atol=1e-5, rtol=0)


def test_warping_reads_between_pixels_and_zero_outside() -> None:
    picture = torch.tensor([[0.0, 1.0, 4.0]]).view(1, 1, 1, 3)
    flow = torch.zeros(1, 2, 1, 3)
    flow[0, 0] = torch.tensor([0.25, 0.5, 0.5])
    assert warp(picture, flow).flatten().tolist() == pytest.approx([0.25, 2.5, 2.0])
    flow[0, 0] = 3.0
    assert not warp(picture, flow).any()


def test_warping_takes_maps_of_one_pixel() -> None:
    assert warp(torch.full((1, 3, 1, 1), 7.0), torch.zeros(1, 2, 1, 1)).unique().item() == 7


def test_the_penalty_of_nothing_is_the_least() -> None:
    found = charbonnier(torch.tensor([0.0, 1.0, -32.0]), alpha=0.4)
    assert found[0].item() == pytest.approx(EPSILON**0.8)
    assert found[1].item() == pytest.approx(1)
    assert found[2].item() == pytest.approx(16)


@pytest.mark.parametrize(("size", "left"), [(7, 5), (14, 12), (28, 22), (56, 44), (112, 90)])
def test_the_border_is_a_tenth_as_in_the_authors_masks(size: int, left: int) -> None:
    assert inside(torch.zeros(1, size, size + 3)).shape == (1, left, left + 3)


def test_equal_frames_cost_nothing() -> None:
    same = texture()[None]
    least = EPSILON**0.8
    assert photometric_loss(same, same).item() == pytest.approx(least)
    torch.testing.assert_close(ssim(same, same), torch.ones(1, 3, 8, 8))
    assert ssim_loss(same, same).item() == pytest.approx(0, abs=1e-4)


def test_colours_are_compared_in_bytes_within_the_border() -> None:
    first, second = torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20)
    second[..., 0] = 1.0  # in the border of two pixels
    assert photometric_loss(first, second).item() == pytest.approx(EPSILON**0.8)
    assert photometric_loss(first, first + 32 / 255).item() == pytest.approx(16)


def test_flow_that_is_the_same_everywhere_costs_nothing() -> None:
    flow = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(2, 2, 20, 20)
    least = 2 * EPSILON**0.6
    assert smoothness_loss(flow).item() == pytest.approx(2 / 3 * least)


def test_smoothness_by_hand() -> None:
    """u grows by 1 to the right, v by 1 downwards: each has one derivative of 1, and one of 0."""
    ramp = torch.arange(20.0).expand(20, 20)
    flow = torch.stack([ramp, ramp.T])[None]
    assert smoothness_loss(flow).item() == pytest.approx(2 / 3 * (1 + EPSILON**0.6), rel=1e-4)


def test_similarity_by_hand() -> None:
    """Of two even patches only their means differ."""
    first, second = torch.full((1, 1, 8, 8), 0.5), torch.full((1, 1, 8, 8), 0.25)
    expected = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert ssim(first, second).item() == pytest.approx(expected, rel=1e-3)


def test_similarity_looks_at_what_is_alike_not_how_bright() -> None:
    same, other = texture(seed=1)[None] + 0.5, texture(seed=2)[None] + 0.5
    inverse = 1 - same
    assert ssim(same, inverse).mean() < ssim(same, other).mean() < ssim(same, 0.9 * same).mean()


def test_patches_cover_pictures_of_any_size() -> None:
    assert ssim(torch.zeros(1, 1, 7, 7), torch.zeros(1, 1, 7, 7)).shape == (1, 1, 1, 1)
    assert ssim(torch.zeros(1, 1, 14, 17), torch.zeros(1, 1, 14, 17)).shape == (1, 1, 2, 3)


def flows_of(u: float, v: float, frames: int = 2, size: int = 64) -> list[Tensor]:
    """The same flow at all scales, in units of 20 pixels."""
    flow = torch.tensor([u, v]).repeat(frames - 1).view(1, -1, 1, 1) / 20
    return [flow.expand(1, -1, size >> level, size >> level) for level in range(1, 6)]


def test_the_right_flow_is_the_cheapest() -> None:
    clip = moving(4, -2, frames=3)
    costs = {
        (u, v): motion_loss(clip, flows_of(u, v, frames=3)).item()
        for u, v in [(4.0, -2.0), (0.0, 0.0), (-4.0, 2.0), (4.0, 2.0), (-2.0, 4.0), (8.0, -4.0)]
    }
    assert min(costs, key=lambda flow: costs[flow]) == (4, -2), costs


def test_all_losses_are_added_up_at_all_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def one(*maps: Tensor) -> Tensor:
        seen.append((maps[0].shape[1], maps[0].shape[2]))
        return torch.ones(())

    for name in ("photometric_loss", "smoothness_loss", "ssim_loss"):
        monkeypatch.setattr(flow_losses, name, one)
    total = motion_loss(moving(0, 0, frames=3), flows_of(0, 0, frames=3))
    assert total.item() == pytest.approx(5 + 5 + sum(SSIM_WEIGHTS))
    assert seen == [
        each for side in (32, 16, 8, 4, 2) for each in ((6, side), (4, side), (6, side))
    ]


def test_a_batch_costs_the_mean_of_its_clips() -> None:
    one, other = moving(3, 1), moving(0, 2)
    flows = flows_of(1, 1)
    both = motion_loss(torch.cat([one, other]), [flow.repeat(2, 1, 1, 1) for flow in flows])
    mean = (motion_loss(one, flows) + motion_loss(other, flows)) / 2
    torch.testing.assert_close(both, mean)


def test_a_known_translation_is_found_by_gradient_descent() -> None:
    """On the losses alone: every pixel's flow, at all scales, from zero."""
    clip = moving(4, -2)
    flows = [
        torch.zeros(1, 2, 64 >> level, 64 >> level, requires_grad=True) for level in range(1, 6)
    ]
    optimizer = torch.optim.Adam(flows, lr=0.02)
    costs = []
    for _ in range(80):
        loss = motion_loss(clip, flows)
        costs.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert costs[-1] < costs[0] / 2
    pixels = 20 * inside(flows[0][0].detach())
    error = (pixels - torch.tensor([4.0, -2.0]).view(2, 1, 1)).norm(dim=0)
    assert error.median() < 0.3
    assert error.mean() < 1  # a few pixels end in a valley of their own
