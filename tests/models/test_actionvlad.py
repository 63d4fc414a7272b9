"""VLAD by hand, against the authors' formula, and the ways in which two streams meet."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from praxino.errors import EnvironmentFault
from praxino.models import convert_state_dict, create_model
from praxino.models.actionvlad import (
    FLOW_SHARE,
    RGB_SHARE,
    NetVlad,
    _stacked,
    _vlad_entry,
    actionvlad,
    actionvlad_two_stream,
    late_fusion_of,
    start_from_clips,
    vgg16_conv5,
)

SMALL: dict[str, Any] = {"frames": 2, "size": 32, "centres": 3, "width": 8}
FLOWS: dict[str, Any] = {**SMALL, "frames": 4, "stack": 2, "places": 2}


def built(name: str, options: dict[str, Any], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return create_model(name, 3, **options).eval()


def clip_for(model: Any, batch: int = 1) -> Tensor:
    spec = model.clip_spec
    shape = (batch, spec.channels, spec.frames, spec.size, spec.size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_equals_the_reference(filler: Any, lab_goldens: Path) -> None:
    """The authors' TensorFlow formula, run in torch: unnormalised and normalised."""

    def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
        entries = (_vlad_entry(name.removeprefix("NetVLAD."), v) for name, v in state.items())
        return dict(entry for found in entries for entry in found)

    def run(layer: NetVlad, maps: Tensor) -> list[Tensor]:
        features = maps.reshape(2, 3 * 7 * 7, 512)  # two videos of three frames
        return [layer.residuals(features), layer(features)]

    golden = filler.load(lab_goldens / "actionvlad" / "netvlad.json")
    layer = NetVlad(512, 64)
    errors = filler.check(golden, lambda: layer, convert, run, None)
    assert max(errors.values()) < 2e-4
    assert sum(parameter.numel() for parameter in layer.parameters()) == golden["params"]


CENTRES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
FEATURES = torch.tensor([[[3.0, 0.0], [0.6, 0.8], [0.8, 0.6]]])  # of length one: (1, 0), ...


@pytest.mark.parametrize("hard", [True, False])
def test_sums_what_differs_from_the_nearest_centre(hard: bool) -> None:
    """With alpha = 1000 the softmax gives a feature to one centre, as hard assignment does."""
    layer = NetVlad(2, 2, hard=hard)
    layer.start_from(CENTRES)
    sums = layer.residuals(FEATURES)
    torch.testing.assert_close(sums, torch.tensor([[[-0.2, 0.6], [0.6, -0.2]]]))
    vector = layer(FEATURES)
    each = normalize(sums, dim=2).flatten(1)
    torch.testing.assert_close(vector, each / 2**0.5)


def test_a_centre_without_features_is_zero() -> None:
    layer = NetVlad(2, 3, hard=True)
    layer.start_from(torch.cat([CENTRES, -CENTRES[:1]]))
    assert layer(FEATURES)[0, 4:].tolist() == [0, 0]
    assert layer(FEATURES).norm().item() == pytest.approx(1)


def test_assignment_starts_as_distances_to_the_centres() -> None:
    layer = NetVlad(2, 2, alpha=3.0)
    layer.start_from(CENTRES)
    features = normalize(FEATURES, dim=2)
    distances = (features[:, :, None] - CENTRES).square().sum(3)
    expected = (-3.0 * distances).softmax(2)
    assert layer.assign is not None
    torch.testing.assert_close(layer.assign(features).softmax(2), expected)


@torch.no_grad()
def test_assignment_is_not_rounded_by_autocast() -> None:
    torch.manual_seed(0)
    layer, features = NetVlad(8, 4), torch.randn(1, 50, 8)
    exact = layer(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(features), exact)
        assert (features @ features.mT).dtype == torch.bfloat16  # autocast was on


@torch.no_grad()
def test_neither_order_nor_place_matters() -> None:
    model = built("actionvlad", SMALL)
    torch.testing.assert_close(
        model.vlad(torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(0))),
        model.vlad(torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(0)).flip(1)),
    )
    clip = clip_for(model)
    torch.testing.assert_close(model(clip), model(clip.flip(2)), rtol=1e-4, atol=1e-5)


def test_features_are_taken_before_the_relu() -> None:
    model = built("actionvlad", SMALL)
    assert isinstance(model.backbone[-1], nn.Conv2d)
    assert model.forward_features(clip_for(model)).shape == (1, 64, 2, 2, 2)
    assert model.head.in_features == 3 * 64


def test_stacks_of_flow_are_spread_over_the_clip() -> None:
    clip = torch.arange(10.0).repeat(2, 1)[None, :, :, None, None]  # frame numbers in u and v
    clip[:, 1] += 100
    stacks = _stacked(clip, stack=3, places=3).flatten(3).squeeze(-1)  # (1, 6, 3)
    assert stacks[0, :, 0].tolist() == [0, 100, 1, 101, 2, 102]
    assert stacks[0, ::2, 1].tolist() == [4, 5, 6]  # 3.5 is rounded to even
    assert stacks[0, ::2, 2].tolist() == [7, 8, 9]
    assert _stacked(clip, stack=4, places=1)[0, ::2, 0].flatten().tolist() == [3, 4, 5, 6]


@torch.no_grad()
@pytest.mark.parametrize(
    ("fusion", "bags"),
    [
        ("concat", [(8, 128)]),  # 2 stacks of 2 x 2 positions
        ("early", [(16, 64)]),
        ("late", [(8, 64), (8, 64)]),
    ],
)
def test_streams_meet_in_three_ways(fusion: str, bags: list[tuple[int, int]]) -> None:
    model = built("actionvlad_two_stream", FLOWS | {"fusion": fusion})
    clip = clip_for(model, batch=2)
    assert [tuple(bag.shape[1:]) for _, bag in model.bags(clip)] == bags
    assert model(clip).shape == (2, 3)
    rgb_only = model(torch.cat([clip[:, :3], 0 * clip[:, 3:]], dim=1))
    assert not torch.allclose(model(clip), rgb_only)


@torch.no_grad()
def test_late_fusion_is_a_third_and_two_thirds_of_the_logits() -> None:
    flow = built("actionvlad_flow", FLOWS, seed=1)
    rgb = built("actionvlad", SMALL)
    both = built("actionvlad_two_stream", FLOWS, seed=2)
    both.load_state_dict(late_fusion_of(rgb, flow))
    clip = clip_for(both)
    seen = clip[:, :3, [0, 2]]  # where the stacks begin
    expected = RGB_SHARE * rgb(seen) + FLOW_SHARE * flow(clip[:, 3:])
    torch.testing.assert_close(both(clip), expected)


@pytest.mark.parametrize("name", ["actionvlad", "actionvlad_two_stream"])
def test_k_means_finds_the_centres(name: str) -> None:
    model = built(name, SMALL if name == "actionvlad" else FLOWS)
    clips = [clip_for(model, batch=2) + shift for shift in (-2.0, 0.0, 2.0)]
    spread = {False: 0.0, True: 0.0}
    for asked in (False, True):
        if asked:
            assert start_from_clips(model, clips, features=30) == 30
        with torch.no_grad():
            for clip in clips:
                for layer, bag in model.bags(clip):
                    bag = normalize(bag, dim=2).flatten(0, 1)
                    spread[asked] += torch.cdist(bag, layer.centres).amin(1).sum().item()
    assert spread[True] < 0.5 * spread[False]
    layer, _ = model.bags(clips[0])[0]
    torch.testing.assert_close(layer.assign.weight, 2000 * layer.centres)


def test_k_means_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("actionvlad", SMALL | {"centres": 9})
    with pytest.raises(ValueError, match="There is no clip to find centres in: give clips"):
        start_from_clips(model, [])
    with pytest.raises(ValueError, match="9 centres need as many features, got 8: give more clips"):
        start_from_clips(model, [clip_for(model)])
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        EnvironmentFault, match=r"needs scikit-learn, which .* praxino\[classical\]"
    ):
        start_from_clips(model, [clip_for(model)])


def test_both_stages_lower_the_loss() -> None:
    """The classifier alone, then also the centres and conv5."""
    model = built("actionvlad", SMALL)
    clip, labels = clip_for(model, batch=2), torch.tensor([0, 2])
    start_from_clips(model, [clip])
    vlad, conv5 = list(model.vlad.parameters()), model.backbone[24:]
    for stage, lr in ((1, 1e-3), (2, 1e-4)):
        losses = []
        learning = list(model.head.parameters())
        learning += [*vlad, *conv5.parameters()] if stage == 2 else []
        optimizer = torch.optim.Adam(learning, lr=lr, eps=1e-4)
        for _ in range(2):
            loss = cross_entropy(model(clip), labels)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(cross_entropy(model(clip), labels).item())
        assert losses == sorted(losses, reverse=True), stage
        assert len(set(losses)) == 3


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@torch.no_grad()
def test_reads_the_authors_network(stream: str) -> None:
    """In TensorFlow's axes; colours are blue first; what they trained with is left out."""
    model = built(
        "actionvlad" if stream == "rgb" else "actionvlad_flow", FLOWS if stream == "flow" else SMALL
    )
    theirs = {"global_step": torch.zeros(()), "stream0/vgg_16/fc6/weights": torch.zeros(7, 7, 2, 2)}
    stages = [
        f"conv{s}/conv{s}_{n}" for s, c in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, c + 1)
    ]
    layers = [one for one in model.backbone if isinstance(one, nn.Conv2d)]
    for place, layer in zip(stages, layers, strict=True):
        weight = layer.weight.flip(1) if layer.in_channels == 3 else layer.weight
        theirs[f"stream0/vgg_16/{place}/weights"] = weight.permute(2, 3, 1, 0)
        theirs[f"stream0/vgg_16/{place}/biases"] = layer.bias
    theirs["stream0/vgg_16/conv1/conv1_1/weights/Adam"] = torch.zeros(1)
    theirs["stream0/NetVLAD/centers"] = model.vlad.centres
    theirs["stream0/NetVLAD/vlad_W"] = model.vlad.assign.weight.T[None, None]
    theirs["stream0/NetVLAD/vlad_B"] = model.vlad.assign.bias
    theirs["stream0/classifier/logits/weights"] = model.head.weight.T
    theirs["stream0/classifier/logits/biases"] = model.head.bias
    found = convert_state_dict(theirs, source="rohitgirdhar", model=model)
    own = model.state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], own[name]) for name in own)


@torch.no_grad()
def test_imagenet_weights_reach_colours_and_flow() -> None:
    model = built("actionvlad_two_stream", FLOWS)
    torch.manual_seed(1)
    state = {f"features.{name}": value for name, value in vgg16_conv5(3, 8).state_dict().items()}
    state |= {"classifier.6.weight": torch.zeros(2, 2), "classifier.6.bias": torch.zeros(2)}
    found = convert_state_dict(state, source="torchvision", model=model)
    first = state["features.0.weight"]
    assert torch.equal(found["rgb.0.weight"], first)
    assert found["flow.0.weight"].shape == (8, 4, 3, 3)
    torch.testing.assert_close(found["flow.0.weight"][:, 3], first.mean(1))
    assert torch.equal(found["flow.28.bias"], state["features.28.bias"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("actionvlad", {"centres": 0}, "centres must be at least 1, got 0"),
        ("actionvlad", {"alpha": 0.0}, r"alpha must be above 0, got 0\.0"),
        ("actionvlad_flow", {"stack": 5, "frames": 4}, "stack must be from 1 to frames=4, got 5"),
        ("actionvlad_flow", {"places": 0}, "places must be at least 1, got 0"),
        (
            "actionvlad_two_stream",
            {"fusion": "mid"},
            "fusion must be 'concat' or 'early' or 'late', got 'mid'",
        ),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(name, 3, **options)


def test_a_fusion_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="fusion is one of concat, early, late, not 'mid'"):
        actionvlad_two_stream(3, fusion="mid")  # type: ignore[arg-type]


def test_centres_of_another_shape_are_refused() -> None:
    layer = actionvlad(3, **SMALL).vlad
    with pytest.raises(ValueError, match=r"are \(3, 64\), got \(2, 64\): build it with as many"):
        layer.start_from(torch.zeros(2, 64))
