"""GRU-RCN: the five maps it reads, its five classifiers, stacked and in two directions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.layer_table import count_parameters
from praxino.models import (
    convert_state_dict,
    create_model,
    gru_rcn,
    gru_rcn_bidirectional,
    gru_rcn_stacked,
)
from praxino.models.backbone_2d import Backbone2d

BUILDERS = (gru_rcn, gru_rcn_stacked, gru_rcn_bidirectional)


def small(build: Any) -> Any:
    torch.manual_seed(0)
    return build(3, width=2, frames=3, size=32).eval()


def clip_of(frames: int, size: int = 32) -> Tensor:
    shape = (2, 3, frames, size, size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_the_five_maps_of_the_paper() -> None:
    with torch.device("meta"):
        model = gru_rcn()
        (maps,) = model.backbone.percepts(torch.zeros(1, 3, 1, 224, 224))
        states = model.grus(maps, None)
    assert [tuple(level.shape[1:]) for level in maps] == [
        (128, 56, 56),
        (256, 28, 28),
        (512, 14, 14),
        (512, 7, 7),
        (4096, 1, 1),
    ]
    assert [tuple(state.shape[1:]) for state in states] == [
        (64, 56, 56),
        (128, 28, 28),
        (256, 14, 14),
        (256, 7, 7),
        (512, 1, 1),
    ]


def test_the_parameters_by_hand() -> None:
    below, own, area = (128, 256, 512, 512, 4096), (64, 128, 256, 256, 512), (9, 9, 9, 9, 1)
    sizes = list(zip(below, own, area, strict=True))
    side_by_side = sum(3 * h * (a * (x + h) + 1) for x, h, a in sizes)
    # Stacked, each but the first also sees the 64, 128, 256 and 256 channels below it.
    stacked = side_by_side + sum(
        3 * h * a * lower for h, a, lower in zip(own[1:], area[1:], own, strict=False)
    )
    with torch.device("meta"):
        assert count_parameters(gru_rcn().grus) == side_by_side
        assert count_parameters(gru_rcn_stacked().grus) == stacked
        both = gru_rcn_bidirectional()
        assert count_parameters(both.forwards) == count_parameters(both.backwards) == side_by_side
        assert count_parameters(gru_rcn().backbone) == 138_357_544 - 4097 * 1000


def kinds(module: nn.Module) -> list[str]:
    return [str(layer) for layer in module.modules() if not isinstance(layer, nn.Sequential)]


def test_vgg_has_torchvisions_layers_and_names() -> None:
    with torch.device("meta"):
        model, theirs = gru_rcn(), Backbone2d("vgg16")
        ours: Any = model.backbone
        assert kinds(ours.features) == kinds(theirs.features)
        assert [*kinds(ours.neck), "Dropout(p=0.5, inplace=False)"] == kinds(theirs.neck)
        state = {
            name.replace("features.features", "features").replace("neck.", ""): value
            for name, value in theirs.state_dict().items()
        }
        state |= {"classifier.6.weight": torch.empty(5, 4096), "classifier.6.bias": torch.empty(5)}
        converted = convert_state_dict(state, source="torchvision", model=model)
        model.load_state_dict(converted, strict=True)
        trained = create_model("single_frame", 5, backbone="vgg16").state_dict()
        converted = convert_state_dict(trained, source="single_frame", model=model)
        model.load_state_dict(converted, strict=True)


@pytest.mark.parametrize("build", BUILDERS)
def test_the_answer_is_the_average_of_five_classifiers(build: Any) -> None:
    model = small(build)
    widths = [2, 4, 8, 8, 16] if build is not gru_rcn_bidirectional else [4, 8, 16, 16, 32]
    states = [torch.randn(2, width, 3, 3) for width in widths]
    with torch.no_grad():
        logits = model.classifiers(states, model.head)
        start, said = 0, []
        for state in states:
            columns = model.head.weight[:, start : start + state.shape[1]]
            said.append((state.mean(dim=(2, 3)) @ columns.T + model.head.bias).softmax(1))
            start += state.shape[1]
    assert start == model.head.in_features
    torch.testing.assert_close(logits.softmax(1), torch.stack(said).mean(dim=0))


@pytest.mark.parametrize("build", [gru_rcn, gru_rcn_stacked])
def test_the_answer_is_that_of_the_last_frame(build: Any) -> None:
    model, clip = small(build), clip_of(3)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_steps(clip)[:, -1], model(clip))


def maps_of(model: Any, frames: int) -> list[list[Tensor]]:
    """Made-up maps in VGG's place, which differ from frame to frame."""
    generator = torch.Generator().manual_seed(2)
    sizes = (8, 4, 2, 1, 1)
    return [
        [
            torch.randn(1, width, side, side, generator=generator)
            for width, side in zip(model.backbone.widths, sizes, strict=True)
        ]
        for _ in range(frames)
    ]


def test_only_the_stacked_one_tells_higher_layers_what_lower_ones_remember() -> None:
    for build, tells in ((gru_rcn, False), (gru_rcn_stacked, True)):
        model = small(build)
        (maps,) = maps_of(model, 1)
        changed = [maps[0] + 1, *maps[1:]]
        with torch.no_grad():
            one, other = model.grus(maps, None), model.grus(changed, None)
        same = [torch.equal(a, b) for a, b in zip(one, other, strict=True)]
        assert same == ([False] * 5 if tells else [False, True, True, True, True])


def test_two_directions_reversed_are_two_directions_exchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small(gru_rcn_bidirectional)
    frames = maps_of(model, 3)
    model.backwards.load_state_dict(model.forwards.state_dict())
    monkeypatch.setattr(model.backbone, "percepts", lambda clip: clip)
    with torch.no_grad():
        maps = model.forward_features(frames)  # (1, 16, 3, 1, 1)
        turned = model.forward_features(frames[::-1])
    assert maps.shape == (1, 16, 3, 1, 1)
    torch.testing.assert_close(turned, torch.cat(maps.flip(2).chunk(2, 1)[::-1], dim=1))
    assert not torch.allclose(maps[:, :8, 0], maps[:, 8:, 0])


def test_two_directions_have_no_stream() -> None:
    assert not hasattr(gru_rcn_bidirectional(3, width=2), "step")


def test_pictures_have_32_pixels_or_more() -> None:
    with pytest.raises(ValueError, match="GRU-RCN needs H and W of at least 32, got 31 x 31"):
        small(gru_rcn)(clip_of(1, 31))
