"""MotionNet as its authors wrote it, and the streams that stand on it."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from praxino.layer_table import count_parameters
from praxino.models import create_model
from praxino.models.flow_losses import motion_loss
from praxino.models.hidden_two_stream import (
    FLOW_STD,
    MotionNet,
    as_pictures,
    from_bryanyzhu,
    from_bryanyzhu_bgr,
    from_torchvision,
    hidden_temporal_stream,
    hidden_two_stream,
    motionnet,
    stack_streams,
)
from praxino.models.two_stream import temporal_stream
from praxino.recipe import DataConfig, ModelConfig, TrainConfig
from praxino.train import train
from praxino.weights.checkpoint import Card, load_model, save_model

ROOT = Path(__file__).parents[2]

SMALL = {"flows": 2, "size": 32, "width": 8}
STACKED = SMALL | {"backbone": "resnet18"}


def small(name: str, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    sizes = SMALL if name == "motionnet" else STACKED
    return create_model(name, 3, **(sizes | options)).eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.mark.parametrize("case", ["small", pytest.param(None, marks=pytest.mark.slow)])
def test_equals_the_authors_motionnet(
    equals_golden: Callable[..., nn.Module], case: str | None
) -> None:
    """Blue, green and red of one frame after the other, as Caffe has them."""
    model: Any = equals_golden(
        "hidden_two_stream/motionnet",
        "motionnet",
        "bryanyzhu",
        forward=lambda model, frames: model.motion(
            frames.unflatten(1, (11, 3)).transpose(1, 2)  # (N, 3, 11, H, W)
        ),
        case=case,
        num_classes=3,
        same_parameters=False,  # it has a classifier too
    )
    assert count_parameters(model.motion) == 42_319_860


def test_clips_of_red_green_and_blue_give_what_caffe_gives_for_its_order(clip: Tensor) -> None:
    model = small("motionnet")
    first = model.motion.down[0][0]
    state = {"conv1.weight": first.weight.detach()}
    flipped = from_bryanyzhu_bgr(state, model)["motion.down.0.0.weight"]
    frames = clip.transpose(1, 2).flatten(1, 2)
    expected = first(clip.flip(1).transpose(1, 2).flatten(1, 2))
    found = torch.conv2d(frames, flipped, first.bias, padding=1)
    torch.testing.assert_close(found, expected)


def test_flow_comes_at_five_scales(clip: Tensor) -> None:
    flows = small("motionnet").flows(clip)
    assert [tuple(flow.shape) for flow in flows] == [
        (2, 4, side, side) for side in (16, 8, 4, 2, 1)
    ]


def test_pictures_of_flow_are_bytes_less_128() -> None:
    flow = torch.tensor([-3.0, -1.0, 0.0, 0.5, 3.0]).view(1, 5, 1, 1).expand(1, 5, 4, 4)
    found = as_pictures(flow)
    assert found.shape == (1, 5, 8, 8)
    middle = 255 * FLOW_STD * found[0, :, 4, 4] + 128
    assert middle.tolist() == pytest.approx([0, 0, 127.5, 191.25, 255], abs=1e-3)
    # What Caffe's upsampling adds around a picture is byte 0, not flow 0.
    corner = 255 * FLOW_STD * found[0, 4, 0, 0] + 128
    assert corner.item() == pytest.approx(255 * 0.75**2, abs=1e-3)


def test_pictures_of_flow_are_upsampled_bilinearly() -> None:
    flow = torch.zeros(1, 1, 4, 4)
    flow[..., 2:] = 1.0
    row = 255 * FLOW_STD * as_pictures(flow)[0, 0, 4] + 128
    assert row[2:6].tolist() == pytest.approx([127.5, 159.375, 223.125, 255], abs=1e-3)


def test_motionnet_learns_from_frames_alone(clip: Tensor) -> None:
    """Labels move its classifier, and nothing below it."""
    model = small("motionnet")
    gradients = []
    for labels in (torch.tensor([0, 1]), torch.tensor([2, 2])):
        loss, logits = model.loss(clip, labels)
        assert torch.equal(logits, model(clip))
        expected = motion_loss(clip, model.flows(clip)) + cross_entropy(logits, labels)
        torch.testing.assert_close(loss, expected)
        model.zero_grad()
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    assert all(
        torch.equal(gradients[0][name], gradients[1][name]) != name.startswith("head.")
        for name in gradients[0]
    )
    assert all(gradient.any() for gradient in gradients[0].values())


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_stack_learns_both(clip: Tensor, weight: float) -> None:
    model, labels = small("hidden_temporal_stream", motion_weight=weight), torch.tensor([0, 2])
    loss, logits = model.loss(clip, labels)
    torch.testing.assert_close(logits, model(clip))
    own = motion_loss(clip, model.motion(clip))
    torch.testing.assert_close(loss, cross_entropy(logits, labels) + weight * own)


def test_two_streams_learn_as_if_each_were_alone(clip: Tensor) -> None:
    model, labels = small("hidden_two_stream"), torch.tensor([0, 2])
    nn.init.normal_(model.head.weight)
    loss, logits = model.loss(clip, labels)
    torch.testing.assert_close(logits, model(clip))
    streams = model.stream_logits(clip)
    both = sum(cross_entropy(stream, labels) for stream in streams)
    torch.testing.assert_close(loss, both + motion_loss(clip, model.motion(clip)))
    mean = (streams[0].softmax(dim=1) + streams[1].softmax(dim=1)) / 2
    torch.testing.assert_close(logits.softmax(dim=1), mean)
    likewise = small("hidden_two_stream", fusion="logits", flow_weight=3.0)
    likewise.load_state_dict(model.state_dict())
    torch.testing.assert_close(likewise(clip), (streams[0] + 3 * streams[1]) / 4)


@torch.no_grad()
def test_the_spatial_stream_sees_colours_as_imagenet_wants_them(clip: Tensor) -> None:
    model = small("hidden_two_stream")
    nn.init.normal_(model.head.weight)
    colours = clip + torch.tensor(model.clip_spec.mean).view(3, 1, 1, 1)  # 0 to 1
    frame = (colours[:, :, 0] - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    vector = torch.cat(
        [model.spatial.neck(model.spatial.features(frame)), torch.zeros(2, 512), torch.ones(2, 1)],
        dim=1,
    )
    torch.testing.assert_close(model.stream_logits(clip)[0], model.head(vector))


@torch.no_grad()
@pytest.mark.parametrize("name", ["hidden_temporal_stream", "hidden_two_stream"])
def test_segments_are_averaged(clip: Tensor, name: str) -> None:
    options: dict[str, Any] = {"fusion": "logits"} if name == "hidden_two_stream" else {}
    one, two = small(name, **options), small(name, segments=2, **options)
    nn.init.normal_(one.head.weight)
    two.load_state_dict(one.state_dict())
    other = clip.flip(2)
    both = torch.cat([clip, other], dim=2)
    torch.testing.assert_close(two(both), (one(clip) + one(other)) / 2)
    assert two.forward_features(both).shape[2] == 2
    assert (two.clip_spec.frames, two.clip_spec.snippet, two.clip_spec.spread) == (6, 3, True)
    labels = torch.tensor([0, 1])
    motion = (motion_loss(clip, one.motion(clip)) + motion_loss(other, one.motion(other))) / 2
    cross = two.loss(both, labels)[0] - motion
    logits = two.stream_logits(both) if name == "hidden_two_stream" else [two(both)]
    torch.testing.assert_close(cross, sum(cross_entropy(each, labels) for each in logits))


@torch.no_grad()
def test_both_stages_are_stacked(clip: Tensor) -> None:
    motion = small("motionnet", seed=1)
    temporal = temporal_stream(3, backbone="resnet18", flows=2, size=32).eval()
    model = small("hidden_temporal_stream")
    stack_streams(model, motion, temporal)
    flow = model.motion(clip)[0]
    assert torch.equal(flow, motion.flows(clip)[0])
    expected = temporal.head(temporal.backbone.neck(temporal.backbone.features(as_pictures(flow))))
    torch.testing.assert_close(model(clip), expected)
    with pytest.raises(ValueError, match=r"These two stages does not fit HiddenTemporalStream, "):
        stack_streams(model, motion, temporal_stream(3, backbone="resnet18", flows=3, size=32))


@torch.no_grad()
def test_the_recipe_stacks_two_runs(clip: Tensor, tmp_path: Path) -> None:
    options: dict[str, Any] = {"backbone": "resnet18", "flows": 2, "same_padding": True}
    stages = {
        "motionnet": (small("motionnet"), dict(SMALL)),
        "temporal_stream": (temporal_stream(3, **options), options),
    }
    for name, (model, kept) in stages.items():
        card = Card(name, kept, ("a", "b", "c"), model.clip_spec, {})
        save_model(tmp_path / f"{name}.safetensors", model, card)
    recipe = runpy.run_path(str(ROOT / "recipes" / "hidden_two_stream.py"))
    paths = [str(tmp_path / f"{name}.safetensors") for name in (*stages, "both")]
    recipe["main"]([*paths[:2], "--to", paths[2]])
    both = small("hidden_temporal_stream", same_padding=True, weights=paths[2])
    assert torch.equal(both.motion(clip)[0], stages["motionnet"][0].flows(clip)[0])
    assert torch.equal(both.head.weight, stages["temporal_stream"][0].head.weight)


@torch.no_grad()
@pytest.mark.parametrize("name", ["hidden_temporal_stream", "hidden_two_stream"])
def test_a_stage_before_is_found_out_in_a_file(name: str, clip: Tensor, tmp_path: Any) -> None:
    from safetensors.torch import save_file

    motion = small("motionnet", seed=1)
    save_file(motion.state_dict(), tmp_path / "motion.safetensors")
    model = small(name, weights=tmp_path / "motion.safetensors")
    assert torch.equal(model.motion(clip)[0], motion.flows(clip)[0])


@torch.no_grad()
def test_imagenet_weights_go_to_each_stream() -> None:
    from torchvision.models import resnet18

    torch.manual_seed(2)
    source = resnet18(num_classes=3)
    model = small("hidden_two_stream")
    model.load_state_dict(from_torchvision(source.state_dict(), model))
    assert torch.equal(model.spatial.features.conv1.weight, source.conv1.weight)
    mean = source.conv1.weight.mean(dim=1, keepdim=True).expand(-1, 4, -1, -1)
    assert torch.equal(model.temporal.features.conv1.weight, mean)
    spatial, temporal = (head(torch.ones(1, 512)) for head in (source.fc, source.fc))
    found = model.head(torch.cat([torch.ones(1, 512), torch.zeros(1, 512), torch.ones(1, 1)], 1))
    torch.testing.assert_close(found, spatial)
    torch.testing.assert_close(found, temporal)


def test_the_authors_stack_is_renamed() -> None:
    """All of their layers, those that compute constants too; their VGG-16 sees bytes less 128."""
    with torch.device("meta"):
        model = hidden_temporal_stream(101)
    golden_names = {}
    for name, value in model.state_dict().items():
        golden_names[_in_caffe(name)] = torch.zeros(value.shape)
    first = "conv1_1_vgg16.weight"
    golden_names[first] = torch.ones_like(golden_names[first])
    constants = {
        "predict_flow2_scale20.weight": torch.tensor(20.0),
        "boudary_1.weight": torch.tensor(20.0),
        "predict_flow2_scale_upsample.weight": torch.zeros(20, 1, 4, 4),
        "FlowDeltas6_0.weight": torch.zeros(2, 1, 3, 3),
        "FlowScale6_0.weight": torch.tensor(0.625),
    }
    found = from_bryanyzhu(golden_names | constants, model)
    own = model.state_dict()
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        name: tuple(value.shape) for name, value in own.items()
    }
    weight = found["backbone.features.features.0.weight"]
    assert weight.unique().item() == pytest.approx(255 * FLOW_STD)


def _in_caffe(name: str) -> str:
    """The name that a weight of ours has in the authors' prototxt."""
    *layer, leaf = name.split(".")
    match layer:
        case ["motion", "down", level, part]:
            return f"conv{int(level) + 1}{'' if part == '0' else '_1'}.{leaf}"
        case ["motion", "predict", level]:
            return f"conv_pr{6 - int(level)}.{leaf}"
        case ["motion", "up", level, "0"]:
            return f"deconv{5 - int(level)}.{leaf}"
        case ["motion", "up_flow", level]:
            return f"upsample_flow{6 - int(level)}to{5 - int(level)}.{leaf}"
        case ["motion", "smooth", level]:
            return f"smooth_conv{5 - int(level)}.{leaf}"
        case ["backbone", "features", "features", number]:
            stages = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
            where = {n: (s, i) for s, stage in enumerate(stages, 1) for i, n in enumerate(stage, 1)}
            stage, place = where[int(number)]
            return f"conv{stage}_{place}_vgg16.{leaf}"
        case ["backbone", "neck", "classifier", number]:
            return f"fc{6 if number == '0' else 7}_vgg16.{leaf}"
        case ["head"]:
            return f"fc8_vgg16.{leaf}"
    raise AssertionError(name)


def test_vgg_forgets_as_the_authors_do() -> None:
    with torch.device("meta"):
        model = hidden_temporal_stream(101)
    dropouts = [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == [0.9, 0.8]


def test_options_and_clips_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="flows and width must be at least 1, got 0 and 64"):
        motionnet(3, flows=0)
    with pytest.raises(ValueError, match="segments must be at least 1, got 0"):
        hidden_temporal_stream(3, **STACKED | {"segments": 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"motion_weight must be at least 0, got -1\.0"):
        hidden_two_stream(3, **STACKED | {"motion_weight": -1.0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fusion is 'probabilities' or 'logits', not 'votes'"):
        hidden_two_stream(3, **STACKED | {"fusion": "votes"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"flow_weight must be above 0, got 0\.0"):
        hidden_two_stream(3, **STACKED | {"flow_weight": 0.0})  # type: ignore[arg-type]
    wrong = r"MotionNet halves pictures five times: H and W must be multiples of 32, got 32 x 40"
    with pytest.raises(ValueError, match=wrong):
        small("motionnet")(torch.zeros(1, 3, 3, 32, 40))
    with pytest.raises(ValueError, match=r"was built for T=3, got T=11 in a clip of shape"):
        small("motionnet")(torch.zeros(1, 3, 11, 32, 32))


def test_weights_start_with_the_variance_of_their_inputs() -> None:
    torch.manual_seed(0)
    network: Any = MotionNet(2, 32)
    up = network.up[0][0]
    assert up.weight.std().item() == pytest.approx((2 / (up.out_channels * 16)) ** 0.5, rel=0.02)
    assert not up.bias.any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["motionnet", "hidden_temporal_stream"])
def test_a_stage_is_trained_and_goes_on_to_the_next(
    name: str, two_actions: Any, tmp_path: Any
) -> None:
    motion = train(
        TrainConfig(
            data=DataConfig(str(two_actions), val_fraction=0.25, workers=0),
            model=ModelConfig("motionnet", dict(SMALL), weights=None),
            epochs=2,
            batch_size=4,
        ),
        tmp_path / "motion",
    )
    options = SMALL if name == "motionnet" else STACKED
    run = train(
        TrainConfig(
            data=DataConfig(str(two_actions), val_fraction=0.25, workers=0),
            model=ModelConfig(name, dict(options), weights=str(motion / "last.safetensors")),
            epochs=1,
            batch_size=4,
        ),
        tmp_path / "run",
    )
    lines = [json.loads(line) for line in (motion / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["train_loss"] < lines[0]["train_loss"]
    model: Any = load_model(run)
    assert model.classes == ("brighter", "darker")
    before: Any = load_model(motion)
    shift = (model.motion.predict[4].weight - before.motion.predict[4].weight).abs().max()
    assert 0 < shift < 0.01


def test_a_whole_file_of_other_classes_brings_more_than_its_motionnet(tmp_path: Path) -> None:
    trained = small("hidden_temporal_stream", seed=1)
    path = tmp_path / "net.safetensors"
    save_file(trained.state_dict(), path)
    options = STACKED | {"weights": path}
    other = create_model("hidden_temporal_stream", 5, **options)  # its classifier starts anew
    own = other.state_dict()
    for name, value in trained.state_dict().items():
        assert name.startswith("head.") or torch.equal(own[name], value), name
