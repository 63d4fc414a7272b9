"""2D networks grown into time: what a still video gives, and what cannot be grown."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from praxino.layer_table import layer_table
from praxino.models import create_model
from praxino.models.inflation import FlatLayer, inflate, like_i3d, pad_time

# One of every kind that torchvision has, the smallest.
KINDS = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "vgg11",
    "vgg16",
    "vgg11_bn",
]


def flat_network(name: str) -> Any:
    """A classification network with norms that have seen something."""
    torch.manual_seed(0)
    options = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    if options:
        options["init_weights"] = False
    network = models.get_model(name, weights=None, **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network


def still(image: Tensor, frames: int) -> Tensor:
    return image[:, :, None].expand(-1, -1, frames, -1, -1)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def image_for(name: str) -> Tensor:
    size = 96 if name == "inception_v3" else 64
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def a_still_video_gives_what_its_frame_gives(name: str, frames: int) -> None:
    network = flat_network(name)
    grown = inflate(network, border="replicate")
    assert set(grown.state_dict()) == set(network.state_dict())
    image = image_for(name)
    with torch.no_grad():
        assert relative(grown(still(image, frames)), network(image)) < 2e-5


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "shufflenet_v2_x0_5"])
def test_a_still_video_gives_what_its_frame_gives(name: str) -> None:
    a_still_video_gives_what_its_frame_gives(name, frames=9)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_still_video_gives_what_its_frame_gives_in_each_kind_of_network(name: str) -> None:
    a_still_video_gives_what_its_frame_gives(name, frames=5)


@pytest.mark.slow
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_network_is_grown_or_refused(name: str) -> None:
    """Traced and grown only: no numbers, so that the largest cost no memory."""
    if name.startswith("regnet"):  # torchvision computes its widths with tensors
        pytest.skip("cannot be built without numbers; its kinds are tested with them")
    options = {"aux_logits": False, "init_weights": False}
    with torch.device("meta"):
        named = options if name in ("googlenet", "inception_v3") else {}
        network = models.get_model(name, weights=None, **named)
        if name.startswith(("maxvit", "swin", "vit")):
            with pytest.raises(ValueError, match=r" cannot be inflated: its "):
                inflate(network)
        else:
            grown = inflate(network)
            assert set(grown.state_dict()) == set(network.state_dict())


def test_zeros_at_the_border_show_there_and_not_in_the_middle() -> None:
    network = flat_network("resnet18")
    flat = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool, network.layer1)
    image = image_for("resnet18")
    with torch.no_grad():
        expected = flat(image)[:, :, None]
        maps = inflate(flat)(still(image, 32))  # (1, 64, 16, 16, 16)
        repeated = inflate(flat, border="replicate")(still(image, 32))
    # The stem's 7 frames and four kernels of 3, of which each carries a zero one step further.
    assert relative(maps[:, :, 6:10], expected.expand(-1, -1, 4, -1, -1)) < 1e-5
    for step in (0, 1, -2, -1):
        assert relative(maps[:, :, step], expected[:, :, 0]) > 0.1
    assert relative(repeated, expected.expand_as(repeated)) < 1e-5


def test_inflated_googlenet_has_the_layers_of_i3d() -> None:
    """The paper's kernels and strides come out of the rule, and its sizes out of both."""
    with torch.device("meta"):
        ours = create_model("inflated", 400, backbone="googlenet")
        i3d = create_model("i3d")
    found, expected = (
        [
            (row.kind, row.size, row.parameters)
            for row in layer_table(model, (3, 16, 64, 64))
            if row.kind.startswith(("Conv", "Pool"))
        ]
        for model in (ours, i3d)
    )
    assert found == expected
    assert len(found) == 57 + 13


def test_the_rule_is_the_users() -> None:
    """Time only where a name says so, as in networks with 3 x 1 x 1 kernels."""
    seen: list[FlatLayer] = []

    def rule(layer: FlatLayer) -> tuple[int, int]:
        seen.append(layer)
        return (3 if layer.name.endswith("conv1") else 1), 1

    grown = inflate(flat_network("resnet18"), rule=rule)
    assert seen[:3] == [
        FlatLayer("conv1", pools=False, kernel=7, stride=2, scale=1),
        FlatLayer("maxpool", pools=True, kernel=3, stride=2, scale=2),
        FlatLayer("layer1.0.conv1", pools=False, kernel=3, stride=1, scale=4),
    ]
    assert {layer.scale for layer in seen if layer.name.startswith("layer4.1")} == {32}
    kernels: dict[str, Any] = {
        name: module.kernel_size
        for name, module in grown.named_modules()
        if isinstance(module, nn.Conv3d)
    }
    assert kernels["conv1"] == (3, 7, 7)
    assert kernels["layer1.0.conv1"] == (3, 3, 3)
    assert kernels["layer1.0.conv2"] == (1, 3, 3)


@pytest.mark.parametrize(
    ("layer", "in_time"),
    [
        (FlatLayer("", False, kernel=7, stride=2, scale=1), (7, 2)),
        (FlatLayer("", True, kernel=3, stride=2, scale=2), (1, 1)),
        (FlatLayer("", False, kernel=3, stride=2, scale=4), (3, 1)),
        (FlatLayer("", True, kernel=3, stride=2, scale=8), (3, 2)),
        (FlatLayer("", True, kernel=3, stride=1, scale=8), (3, 1)),
        (FlatLayer("", False, kernel=4, stride=4, scale=1), (4, 2)),
    ],
)
def test_i3ds_rule(layer: FlatLayer, in_time: tuple[int, int]) -> None:
    assert like_i3d(layer) == in_time


def test_a_rule_without_a_kernel_is_refused() -> None:
    expected = r"The rule gives conv1 a kernel of 0 and a stride of 1 in time; both must be at l"
    with pytest.raises(ValueError, match=expected):
        inflate(flat_network("resnet18"), rule=lambda layer: (0, 1))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_share_the_sum_of_all(channels: int) -> None:
    """So what is the same in all channels is seen as grey was."""
    network = flat_network("resnet18")
    grown = inflate(network, border="replicate", channels=channels)
    grey = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = grown(still(grey.expand(-1, channels, -1, -1), 3))
        assert relative(found, network(grey.expand(-1, 3, -1, -1))) < 2e-5


def test_each_layer_keeps_its_mode() -> None:
    """A frozen norm stays frozen where the rest trains."""
    network = flat_network("resnet18").train()
    network.bn1.eval()
    grown: Any = inflate(network)
    assert grown.training
    assert grown.layer1.get_submodule("0.bn1").training
    assert not grown.bn1.training


def test_the_2d_network_stays_as_it_is() -> None:
    network = flat_network("resnet18")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    grown = inflate(network)
    assert not grown.training
    for value in grown.state_dict().values():
        value.zero_()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


class Flat(nn.Module):
    """A network of one operation."""

    def __init__(self, operation: Any, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.operation, self.layer = operation, layer
        self.table = nn.Parameter(torch.zeros(3, 4, 5))

    def forward(self, maps: Tensor) -> Any:
        return self.operation(self, maps)


REFUSED = [
    (lambda self, maps: maps.softmax(1), None, "its call of softmax has"),
    (lambda self, maps: maps.mean((0, 2, 3)), None, "its call of mean has"),
    (lambda self, maps: maps.permute(3, 2, 1, 0), None, r"axes \(3, 2, 1, 0\) has"),
    (lambda self, maps: torch.cat([maps, maps], 2), None, "its call of cat along dimension 2 has"),
    (lambda self, maps: maps.flatten(2), None, "its call of flatten along dimension 2 has"),
    (lambda self, maps: maps[:, :, 0], None, "its call of getitem has"),
    (lambda self, maps: maps + self.table, None, r"its tensor table of shape \(3, 4, 5\) has"),
    (lambda self, maps: maps if maps.sum() > 0 else -maps, None, "what it does depends on the si"),
    (lambda self, maps: self.layer(maps), nn.LPPool2d(2, 3), "its layer layer, a LPPool2d, has no"),
    (
        lambda self, maps: self.layer(maps),
        nn.Conv2d(3, 3, 3, padding="same"),
        "a convolution with zeros 'same' as its padding has",
    ),
    (
        lambda self, maps: self.layer(maps),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"),
        r"a convolution with circular \(1, 1\) as its padding has no counterpart with time",
    ),
]


@pytest.mark.parametrize(("operation", "layer", "reason"), REFUSED)
def test_what_knows_no_time_is_refused(operation: Any, layer: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^Flat cannot be inflated: .*{reason}"):
        inflate(Flat(operation, layer))


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2, divisor_override=3),
        nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
        nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.MaxPool2d(2, stride=1, dilation=2),
        nn.AdaptiveAvgPool2d((2, 3)),
    ],
)
def test_poolings_keep_their_options(pool: nn.Module) -> None:
    image = torch.randn(2, 3, 8, 7, generator=torch.Generator().manual_seed(3))
    grown = inflate(nn.Sequential(pool), border="replicate")(still(image, 5))
    torch.testing.assert_close(grown, pool(image)[:, :, None].expand_as(grown))


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "frames"),
    [
        (4, 3, 1, [0, 0, 1, 2, 3, 3]),
        (4, 3, 2, [0, 1, 2, 3, 3]),  # the odd frame comes after
        (5, 3, 2, [0, 0, 1, 2, 3, 4, 4]),
        (4, 4, 4, [0, 1, 2, 3]),
        (1, 4, 4, [0, 0, 0, 0]),
        (4, 1, 2, [0, 1, 2, 3]),
    ],
)
def test_pads_time(length: int, kernel: int, stride: int, frames: list[int]) -> None:
    clip = torch.arange(1.0, length + 1).reshape(1, 1, length, 1, 1)
    repeated = pad_time(clip, kernel, stride, "replicate")
    assert repeated.flatten().tolist() == [frame + 1.0 for frame in frames]
    zeros = pad_time(clip, kernel, stride, "zeros").flatten()
    assert len(zeros) == len(frames)
    assert zeros[zeros > 0].tolist() == clip.flatten().tolist()
