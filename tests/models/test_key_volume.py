"""Key volumes: planted ones are found, and only they learn."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from praxino.models import convert_state_dict
from praxino.models.key_volume import key_volume, key_volume_flow

SMALL: dict[str, Any] = {
    "backbone": "resnet18",
    "volumes": 5,
    "stretch": 2,
    "crop": 32,
    "frames": 4,
    "size": 48,
}


def small(build: Any = key_volume, **options: Any) -> Any:
    torch.manual_seed(0)
    return build(2, **SMALL | options).eval()


def test_the_bag_holds_crops_of_stretches() -> None:
    """Two stretches of two frames, times four corners and the centre."""
    model = small(volumes=10)
    clip = torch.rand(1, 3, 5, 48, 48, generator=torch.Generator().manual_seed(0))
    volumes = model._cut(clip)
    assert volumes.shape == (1, 2, 5, 3, 2, 32, 32)  # the fifth frame is left over
    assert torch.equal(volumes[0, 1, 1], clip[0, :, 2:4, :32, 16:])
    assert torch.equal(volumes[0, 0, 2], clip[0, :, :2, 16:, :32])
    assert torch.equal(volumes[0, 0, 4], clip[0, :, :2, 8:40, 8:40])
    assert model.bag(clip).shape == (1, 10, 3, 2, 32, 32)
    assert model.forward_features(clip).shape[:3] == (1, 512, 10)


@pytest.mark.parametrize(
    ("build", "stretch"), [(key_volume, 2), (key_volume, 1), (key_volume_flow, 2)]
)
def test_what_moves_is_proposed(build: Any, stretch: int) -> None:
    """Something flickers in the lower right corner of the last two frames, where 48 - 16 begins."""
    model = small(build, volumes=1, stretch=stretch)
    channels = model.clip_spec.channels
    clip = torch.zeros(1, channels, 4, 48, 48)
    clip[:, :, 3, 40:, 40:] = 5
    number = model.propose(clip).item()
    assert divmod(number, 5) == (3 if stretch == 1 else 1, 3)


class Brightness(nn.Module):
    """Stands for the network: how red and how green a volume is, as a map of one pixel."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames.mean(dim=(2, 3), keepdim=True)[:, :2]


def planted(key: str) -> tuple[Any, Tensor]:
    """Six volumes of noise; the fourth is red, which class 0 scores, the second is green."""
    model = small(key=key)
    model.backbone.features, model.backbone.neck = Brightness(), nn.Flatten()
    model.head = nn.Linear(2, 2)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(2) * 20)
        model.head.bias.zero_()
    bag = 0.1 * torch.randn(1, 6, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    bag[:, 3, 0] += 1
    bag[:, 1, 1] += 1
    return model, bag


@pytest.mark.parametrize("key", ["max", "stochastic"])
def test_a_planted_volume_is_the_key(key: str) -> None:
    model, bag = planted(key)
    model.train()
    model.dropout.p = 0.0
    assert model.choose(model.score(bag)).tolist() == [[3, 1]]
    assert model.eval()(clip := torch.zeros(1, 3, 4, 48, 48)).shape == (1, 2), clip.shape
    torch.testing.assert_close(
        model.forward_bag(bag), model.score(bag)[:, [3, 1], [0, 1]], rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("key", ["max", "stochastic"])
def test_only_key_volumes_learn(key: str) -> None:
    model, bag = planted(key)
    model.train()
    model.dropout.p = 0.0
    bag.requires_grad_()
    cross_entropy(model.forward_bag(bag), torch.tensor([1])).backward()
    assert bag.grad is not None
    learning = bag.grad.abs().sum(dim=(0, 2, 3, 4, 5)) > 0
    assert learning.tolist() == [False, True, False, True, False, False]


def test_max_learns_where_the_action_is() -> None:
    """From a random classifier: half of the bags hold one red volume of ten, the others none."""
    model, _ = planted("max")
    torch.manual_seed(0)
    model.head.reset_parameters()
    model.train()
    model.dropout.p = 0.0
    bags = 0.1 * torch.randn(8, 10, 3, 2, 32, 32)
    where = torch.randint(10, (4,))
    bags[torch.arange(4), where, 0] += 1
    labels = torch.tensor([0] * 4 + [1] * 4)
    optimizer = torch.optim.Adam(model.head.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model.forward_bag(bags), labels).backward()
        optimizer.step()
    assert model.choose(model.score(bags[:4]))[:, 0].tolist() == where.tolist()
    assert model.forward_bag(bags).argmax(1).tolist() == labels.tolist()


def test_draws_follow_the_scores() -> None:
    model = small(key="stochastic")
    scores = torch.tensor([1.0, 2.0, 5.0]).log().view(1, 3, 1).expand(4000, 3, 1)
    shares = model.choose(scores).flatten().bincount(minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.125, 0.25, 0.625]), rtol=0, atol=0.03)


@torch.no_grad()
def test_flow_is_stacked_and_starts_from_colours() -> None:
    model = small(key_volume_flow)
    assert model.backbone.features.conv1.in_channels == 4
    state = {
        name.removeprefix("backbone.features."): value
        for name, value in small().state_dict().items()
        if name.startswith("backbone.")
    }
    found = convert_state_dict(state, source="torchvision", model=model)
    torch.testing.assert_close(
        found["backbone.features.conv1.weight"][:, 2], state["conv1.weight"].mean(dim=1)
    )
    model.load_state_dict(found)
    assert model(torch.randn(2, 2, 4, 48, 48)).shape == (2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "best"}, "key is one of max, stochastic, not 'best'"),
        ({"stretch": 5}, "stretch must be from 1 to frames=4, got 5"),
        ({"crop": 49}, "crop must be from 1 to size=48, got 49"),
        ({"volumes": 0}, "volumes must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
