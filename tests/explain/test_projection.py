import numpy as np
import pytest
import torch
from torch import nn

from praxino.explain.projection import project_units
from praxino.models import create_model


class ByHand(nn.Module):
    """Two frames of one pixel: a, b = relu(x0 - x1), relu(x1 - x0); y = 2 a - 3 b, then relu."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 2, (2, 1, 1), bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv3d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 1.0]]).view(2, 1, 2, 1, 1))
            self.second.weight.copy_(torch.tensor([[2.0, -3.0], [1.0, 4.0]]).view(2, 2, 1, 1, 1))

    def forward(self, clip):
        return self.second(self.relu(self.first(clip)))


# The clip is (3, 1): the first layer gives (3 - 1, 6 + 1) = (2, 7), both on. With (1, 3) it gives
# (-2, 5), so the first of its units is off. Unit 0 of the second layer has the gradient (2, -3)
# there, unit 1 has (1, 4).
@pytest.mark.parametrize(
    ("frames", "channel", "method", "activation", "expected"),
    [
        ((3, 1), 0, "gradient", 2 * 2 - 3 * 7, (2 * 1 - 3 * 2, -2 * 1 - 3 * 1)),
        ((3, 1), 0, "guided", 2 * 2 - 3 * 7, (2 * 1, 2 * -1)),  # the -3 does not pass
        ((3, 1), 1, "guided", 2 + 4 * 7, (1 + 4 * 2, -1 + 4 * 1)),
        ((1, 3), 1, "gradient", 4 * 5, (4 * 2, 4 * 1)),
        ((1, 3), 1, "guided", 4 * 5, (4 * 2, 4 * 1)),  # the first unit is off
        ((1, 3), 1, "deconvnet", 4 * 5, (1 + 4 * 2, -1 + 4 * 1)),  # which a deconvnet ignores
        ((1, 3), 0, "deconvnet", -3 * 5, (2 * 1, 2 * -1)),
        ((1, 3), 0, "guided", -3 * 5, (0, 0)),
    ],
)
def test_projection_equals_the_numbers_worked_out_by_hand(
    frames, channel, method, activation, expected
):
    clip = torch.tensor(frames, dtype=torch.float32).view(1, 2, 1, 1)
    found = project_units(ByHand(), clip, "second", channels=(channel,), method=method)
    assert found.relus == 1
    (unit,) = found.units
    assert (unit.channel, unit.position, unit.activation) == (channel, (0, 0, 0), activation)
    assert unit.projection.flatten().tolist() == list(expected)


def test_max_pooling_sends_back_to_the_largest_only():
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool3d((2, 2, 2))

        def forward(self, clip):
            return self.pool(torch.relu(clip))

    clip = torch.arange(8.0).view(1, 2, 2, 2)
    (unit,) = project_units(Pooled(), clip, "pool").units
    assert unit.activation == 7
    assert unit.projection.flatten().tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    assert unit.share_of_frames.tolist() == [0, 1]


def test_strongest_channels_come_first_and_their_strongest_place_is_taken():
    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, clip):
            return self.layer(clip * 1).mul_(5)  # in place: the layer's own result must be kept

    clip = torch.zeros(3, 4, 5, 5)
    clip[0, 1, 2, 3], clip[2, 3, 0, 4] = 1.0, 6.0
    found = project_units(Same(), clip, "layer", count=2)
    assert [(unit.channel, unit.position, unit.activation) for unit in found.units] == [
        (2, (3, 0, 4), 6.0),
        (0, (1, 2, 3), 1.0),
    ]
    assert found.units[0].projection.count_nonzero() == 1
    assert found.relus == 0


@pytest.mark.parametrize("inplace", [True, False])
def test_gradient_is_that_of_autograd(inplace):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU(inplace), nn.Conv3d(4, 2, 3)).double()
    clip = torch.randn(3, 6, 8, 8, dtype=torch.double)
    found = project_units(model, clip, "2", method="gradient", count=1)
    pixels = clip.clone().requires_grad_()
    answer = model(pixels[None])[0]
    answer[(found.units[0].channel, *found.units[0].position)].backward()
    torch.testing.assert_close(found.units[0].projection, pixels.grad)


def test_the_model_is_as_before():
    model = create_model("small_3d", num_classes=4, frames=8, size=32).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clip = torch.randn(3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    one = project_units(model, clip, "features.1.0", count=3)
    assert model.training
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(value.grad is None and value.requires_grad for value in model.parameters())
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = project_units(model, clip, "features.1.0", count=3)
    assert torch.equal(one.units[2].projection, again.units[2].projection)


@pytest.mark.parametrize(
    ("name", "options", "layer", "relus", "axes"),
    [
        ("r3d_18", {}, "stage4", True, 3),
        ("single_frame_mobilenet_v2", {"frames": 2, "size": 32}, "backbone.features", False, 3),
        ("early_fusion_resnet18", {"frames": 2, "size": 32}, "backbone.features.layer2", True, 3),
        ("small_3d", {"frames": 8, "size": 32}, "head", True, 1),
    ],
)
def test_any_layer_of_any_model(name, options, layer, relus, axes):
    model = create_model(name, num_classes=4, **options)
    frames, size = options.get("frames", 4), options.get("size", 32)
    clip = torch.randn(3, frames, size, size, generator=torch.Generator().manual_seed(1))
    found = project_units(model, clip, layer, count=2)
    assert (found.relus > 0) == relus
    for unit in found.units:
        assert len(unit.position) == axes
        assert unit.projection.shape == clip.shape
        assert unit.projection.abs().sum() > 0
        assert unit.share_of_frames.sum().item() == pytest.approx(1)


def test_fed_alike_a_network_says_the_same_with_its_relus_replaced():
    model = create_model("small_3d", num_classes=4, frames=8, size=32).eval()
    clip = torch.randn(3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(clip[None])[0]
    for method in ("guided", "deconvnet", "gradient"):
        found = project_units(model, clip, "head", count=4, method=method)
        for unit in found.units:
            np.testing.assert_allclose(unit.activation, logits[unit.channel], rtol=1e-5)


def test_mistakes_are_explained():
    model = create_model("toy_3d")
    clip = torch.zeros(3, 20, 64, 64)
    with pytest.raises(ValueError, match=r"Toy3d has no layer 'conv3'; praxino models lists them"):
        project_units(model, clip, "conv3")
    with pytest.raises(ValueError, match="conv1 has channels 0 to 11, not 12"):
        project_units(model, clip, "conv1", channels=(12,))
    with pytest.raises(ValueError, match="At least 1 unit is to be shown, got 0"):
        project_units(model, clip, "conv1", count=0)
    with pytest.raises(ValueError, match="A method is guided, deconvnet, gradient, not 'magic'"):
        project_units(model, clip, "conv1", method="magic")


def test_a_layer_that_runs_twice_or_not_at_all_or_without_gradient_or_gives_no_map():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.never, self.cut, self.flat = (nn.Identity() for _ in range(4))

        def forward(self, clip):
            self.flat(clip.flatten())
            return self.twice(self.twice(clip)) + self.cut(clip.detach())

    clip = torch.zeros(1, 2, 3, 3)
    for layer, said in (
        ("twice", "twice runs 2 times in a clip, and a unit is of one"),
        ("never", "never runs 0 times in a clip"),
        ("cut", "No gradient leads from cut to the clip"),
        ("flat", r"flat gives \(18,\), which is no map"),
    ):
        with pytest.raises(ValueError, match=said):
            project_units(Odd(), clip, layer)
