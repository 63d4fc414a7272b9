"""Ji's 3D CNN: its hard-wired layer, and where its parameters are."""

import pytest
import torch
from torch import Tensor

from praxino.layer_table import count_parameters
from praxino.models import ji_3dcnn, ji_3dcnn_kth
from praxino.models.ji import HardwiredLayer


def test_the_parameters_are_where_the_paper_has_them() -> None:
    model = ji_3dcnn()
    counts = {
        name: count_parameters(model.shape.get_submodule(name))
        + count_parameters(model.motion.get_submodule(name))
        for name in ("c2", "s3", "c4", "s5")
    }
    assert counts == {"c2": 1480, "s3": 92, "c4": 3810, "s5": 156}
    assert count_parameters(model.c6) == 289_536
    assert model.head.weight.numel() == 384
    assert count_parameters(model) - model.head.bias.numel() == 295_458


def test_there_are_33_maps_of_7_frames() -> None:
    shape, motion = HardwiredLayer((60, 40))(torch.rand(1, 3, 7, 60, 60))
    assert shape.shape == (1, 3, 7, 60, 40)
    assert motion.shape == (1, 2, 6, 60, 40)
    assert shape[0, :, :, 0, 0].numel() + motion[0, :, :, 0, 0].numel() == 33
    assert not any(parameter.requires_grad for parameter in HardwiredLayer((60, 40)).parameters())


def test_grey_and_gradients_of_a_ramp() -> None:
    """Brightness 0.01 per column and 0.02 per row, all of it green."""
    columns, rows = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="xy")
    ramp = 0.01 * columns + 0.02 * rows  # (60, 40)
    clip = torch.zeros(1, 3, 7, 60, 40)
    clip[:, 1] = ramp
    grey, in_x, in_y = HardwiredLayer((60, 40))(clip)[0][0]
    torch.testing.assert_close(grey[0], 0.587 * ramp)
    torch.testing.assert_close(in_x, torch.full_like(in_x, 0.00587))
    torch.testing.assert_close(in_y, torch.full_like(in_y, 0.01174))


def moving(right: float, down: float) -> Tensor:
    """Waves that move by so many pixels from frame to frame."""
    columns, rows = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="xy")
    frames = [
        0.5
        + 0.2 * torch.sin((columns - right * t) * 0.7)
        + 0.2 * torch.sin((rows - down * t) * 0.5)
        for t in range(7)
    ]
    return torch.stack(frames).expand(1, 3, 7, 60, 40)


@pytest.mark.parametrize(("right", "down"), [(0.5, 0.0), (0.0, -0.5), (1.0, 0.5), (-0.3, 0.8)])
def test_the_flow_is_how_far_things_move(right: float, down: float) -> None:
    flow = HardwiredLayer((60, 40))(moving(right, down))[1][0]
    found = flow[:, :, 5:-5, 5:-5].mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, torch.tensor([right, down]), rtol=0.1, atol=0.02)


def test_nothing_moves_in_the_dark() -> None:
    noise = 0.001 * torch.randn(1, 3, 7, 60, 40, generator=torch.Generator().manual_seed(0))
    assert HardwiredLayer((60, 40))(noise)[1].abs().max() < 0.1
    assert not HardwiredLayer((60, 40))(torch.zeros(1, 3, 7, 60, 40))[1].any()


def test_a_picture_gets_its_shape_back() -> None:
    """A disc cut out at 60 x 40 and squeezed into a square is round again."""
    columns, rows = torch.meshgrid(torch.arange(60.0), torch.arange(60.0), indexing="xy")
    squeezed = (((columns - 29.5) * 2 / 3) ** 2 + (rows - 29.5) ** 2 < 12**2).float()
    grey = HardwiredLayer((60, 40))(squeezed.expand(1, 3, 7, 60, 60))[0][0, 0, 0]
    assert (grey > 0.5).any(dim=1).sum() == 24
    assert (grey > 0.5).any(dim=0).sum() == 24


def test_the_channels_do_not_meet_before_the_last_layer() -> None:
    torch.manual_seed(0)
    model = ji_3dcnn().eval()
    still = torch.rand(1, 3, 1, 60, 60).expand(1, 3, 7, 60, 60)
    moved = torch.cat([still[:, :, :4], still[:, :, 4:].roll(1, dims=4)], dim=2)
    with torch.no_grad():
        before, after = model.forward_features(still), model.forward_features(moved)
    assert before.shape == (1, 78, 1, 7, 4)
    shape_maps = before[:, :54].unflatten(1, (18, 3))
    assert torch.equal(shape_maps[:, :, 0], shape_maps[:, :, 2])  # nothing moves
    assert not torch.equal(before[:, 54:], after[:, 54:])


def test_the_network_for_kth_ends_in_128_features_too() -> None:
    with torch.device("meta"):
        model = ji_3dcnn_kth()
        assert model.forward_features(torch.empty(1, 3, 9, 80, 80)).shape == (1, 138, 1, 4, 6)
        assert model(torch.empty(1, 3, 9, 80, 80)).shape == (1, 6)
    assert model.head.in_features == 128
