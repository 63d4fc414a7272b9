"""TSM: what moves where, the implementations whose weights it reads, and streams."""

from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.models import convert_state_dict, create_model, published_weights
from praxino.models.tsm import shift_both_ways, shift_forward
from praxino.weights.fitting import check_fit


def clip_of(frames: Tensor) -> Tensor:
    """References take frames as channels `(1, T * 3, H, W)` or `(1, T, 3, H, W)`."""
    return frames.reshape(1, -1, 3, *frames.shape[-2:]).transpose(1, 2)


# golden, model, the toolkit
GOLDENS = [
    ("tsm/tsm_mobilenetv2_8f", "tsm_mobilenet_v2", "mit_han_lab"),
    ("tsm/tsm_resnet50_8f", "tsm_r50", "mit_han_lab"),
    ("mmaction2/tsm_r50_1x1x8", "tsm_r50", "mmaction2"),
]


@pytest.mark.parametrize(("path", "name", "source"), GOLDENS)
def test_equals_the_reference(equals_golden: Any, path: str, name: str, source: str) -> None:
    equals_golden(path, name, source, forward=lambda model, frames: model(clip_of(frames)))


def of_frames(*numbers: int) -> Tensor:
    """One clip whose frames hold one number each, in 8 channels: `(T, 8, 1, 1)`."""
    return torch.tensor(numbers).view(-1, 1, 1, 1).expand(-1, 8, 1, 1).float()


def test_an_eighth_comes_from_the_next_frame_and_an_eighth_from_the_last() -> None:
    shifted = shift_both_ways(of_frames(1, 2, 3), frames=3)[:, :, 0, 0]
    assert shifted[:, 0].tolist() == [2, 3, 0]
    assert shifted[:, 1].tolist() == [0, 1, 2]
    assert (shifted[:, 2:] == torch.tensor([[1], [2], [3]])).all()


def test_online_an_eighth_comes_from_the_last_frame_and_nothing_from_the_next() -> None:
    shifted = shift_forward(of_frames(1, 2, 3), frames=3)[:, :, 0, 0]
    assert shifted[:, 0].tolist() == [0, 1, 2]
    assert (shifted[:, 1:] == torch.tensor([[1], [2], [3]])).all()


def test_clips_of_a_batch_stay_apart() -> None:
    both = of_frames(1, 2, 3, 4)
    assert shift_both_ways(both, frames=2)[:, 0, 0, 0].tolist() == [2, 0, 4, 0]
    assert shift_forward(both, frames=2)[:, 0, 0, 0].tolist() == [0, 1, 0, 3]


@pytest.mark.parametrize(
    ("name", "count"),
    [("tsm_r18", 8), ("tsm_r50", 16), ("tsm_r101", 18), ("tsm_mobilenet_v2", 10)],
)
def test_where_the_shifts_are(name: str, count: int) -> None:
    """In every block of a ResNet, in every other one of a deep one; behind shortcuts."""
    with torch.device("meta"):
        model: Any = create_model(name)
    assert sum(shifts for _, _, shifts in model._blocks()) == count


@pytest.mark.parametrize("name", ["tsm_r18", "tsm_mobilenet_v2"])
def test_a_stream_is_judged_as_its_clip(name: str) -> None:
    torch.manual_seed(0)
    model: Any = create_model(name, 5, online=True).eval()
    with torch.no_grad():
        for tensor in model.head.parameters():
            tensor.normal_()
        clip = torch.randn(2, 3, 4, 40, 40)
        state, judged = None, []
        for frame in clip.unbind(dim=2):
            logits, state = model.step(frame, state)
            judged.append(logits)
        torch.testing.assert_close(torch.stack(judged).mean(dim=0), model(clip))
        later = clip.clone()
        later[:, :, 2:] = 0  # what comes later changes nothing
        torch.testing.assert_close(
            model.forward_features(later)[:, :, :2], model.forward_features(clip)[:, :, :2]
        )


def test_a_stream_needs_a_model_that_waits_for_nothing() -> None:
    with torch.device("meta"):
        model: Any = create_model("tsm_r18")
    with pytest.raises(ValueError, match=r"next frame.*online=True"):
        model.step(torch.zeros(1, 3, 32, 32))


def test_a_share_leaves_something_to_the_frame_itself() -> None:
    with pytest.raises(ValueError, match="share must be at least 2, got 1"):
        create_model("tsm_r18", share=1)


def test_more_of_the_channels_can_move() -> None:
    torch.manual_seed(0)
    eighth: Any = create_model("tsm_r18", 3).eval()
    quarter: Any = create_model("tsm_r18", 3, share=4).eval()
    quarter.load_state_dict(eighth.state_dict())
    clip = torch.randn(1, 3, 2, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(quarter.forward_features(clip), eighth.forward_features(clip))


def test_reads_mmaction2s_mobilenet() -> None:
    """Stages and blocks there, one row of blocks in torchvision."""
    with torch.device("meta"):
        model = create_model("tsm_mobilenet_v2", 400)
    layers = ["conv1"]
    for stage, blocks in enumerate((1, 2, 3, 4, 3, 3, 1), start=1):
        for block in range(blocks):
            convolutions = 2 if stage == 1 else 3
            layers += [f"layer{stage}.{block}.conv.{number}" for number in range(convolutions)]
            if block:  # a shortcut, and so a shift
                layers[-3] += ".net"
    layers.append("conv2")
    own = iter(model.state_dict().values())
    state = {}
    for layer in layers:
        state[f"backbone.{layer}.conv.weight"] = next(own)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            state[f"backbone.{layer}.bn.{name}"] = next(own)
    state["cls_head.fc_cls.weight"], state["cls_head.fc_cls.bias"] = own
    check_fit(model, convert_state_dict(state, source="mmaction2", model=model), "mmaction2")


def test_reads_the_online_demonstration() -> None:
    """The authors' own names without the recogniser around the network."""
    with torch.device("meta"):
        model = create_model("tsm_mobilenet_v2", 27, online=True)
    flat = {f"conv.{a}.{b}.": f"conv.{3 * a + b}." for a in (0, 1) for b in (0, 1)}
    state = {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("backbone.features.").replace("head.", "classifier.")
        first = name.startswith("features.1.")
        moves = {"conv.0.0.": "conv.0.", "conv.0.1.": "conv.1."} if first else flat
        moves = moves | (
            {"conv.1.": "conv.3.", "conv.2.": "conv.4."}
            if first
            else {"conv.2.": "conv.6.", "conv.3.": "conv.7."}
        )
        old = next((old for old in moves if f".{old}" in name), None)
        state[name.replace(old, moves[old]) if old else name] = value
    assert "features.2.conv.7.weight" in state
    check_fit(model, convert_state_dict(state, source="mit_han_lab", model=model), "the demo")


def test_has_its_own_weights_and_its_backbones() -> None:
    assert {"imagenet", "kinetics400"} <= set(published_weights("tsm_r50"))


@pytest.mark.parametrize("source", ["mit_han_lab", "mmaction2"])
def test_reads_non_local_blocks(source: str) -> None:
    with torch.device("meta"):
        model: Any = create_model("tsm_nl_r50")
    names = {  # ours, the authors', mmaction2's
        "g.": ("g.0.", "g.0.conv."),
        "theta.": ("theta.", "theta.conv."),
        "phi.": ("phi.0.", "phi.0.conv."),
        "out.": ("W.0.", "conv_out.conv."),
        "norm.": ("W.1.", "conv_out.bn."),
    }
    wrapped, block_name = [("base_model.", ".nl."), ("backbone.", ".non_local_block.")][
        source == "mmaction2"
    ]
    state = {}
    for name, value in model.state_dict().items():
        if name.startswith("non_local."):
            _, block, rest = name.split(".", 2)
            part = next(part for part in names if rest.startswith(part))
            theirs = names[part][source == "mmaction2"] + rest.removeprefix(part)
            state[wrapped + block.replace("_", ".") + block_name + theirs] = value
            if source == "mit_han_lab" and part == "out.":
                bias = torch.zeros(len(value), device="meta")
                state[wrapped + block.replace("_", ".") + ".nl.W.0.bias"] = bias
        elif name.startswith("backbone."):
            name = name.removeprefix("backbone.features.")
            for block in model.non_local:
                dotted = block.replace("_", ".") + "."
                name = name.replace(dotted, dotted + "block.") if name.startswith(dotted) else name
            if source == "mmaction2":
                name = name.replace("downsample.0", "downsample.conv")
                name = name.replace("downsample.1", "downsample.bn")
                for number in "123":
                    name = name.replace(f"conv{number}.", f"conv{number}.conv.")
                    name = name.replace(f"bn{number}.", f"conv{number}.bn.")
            state[wrapped + name] = value
        else:
            theirs = ("new_fc.", "cls_head.fc_cls.")[source == "mmaction2"]
            state[name.replace("head.", theirs)] = value
    check_fit(model, convert_state_dict(state, source=source, model=model), source)


@pytest.mark.parametrize("name", ["tsm_r50", "tsm_nl_r50"])
def test_backbone_weights_leave_non_local_blocks_to_be_learned(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, 1000)
        state = create_model("single_frame", backbone="resnet50").state_dict()
    theirs = {
        name.removeprefix("backbone.features.").replace("head.", "fc."): value
        for name, value in state.items()
    }
    check_fit(model, convert_state_dict(theirs, source="torchvision", model=model), "resnet50")


def test_a_bias_before_a_norm_moves_its_mean() -> None:
    bias, mean = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 5.0])
    state = {
        "module.base_model.layer2.0.nl.W.0.bias": bias,
        "module.base_model.layer2.0.nl.W.1.running_mean": mean,
    }
    with torch.device("meta"):
        model = create_model("tsm_nl_r50")
    found = convert_state_dict(state, source="mit_han_lab", model=model)
    assert {name: value.tolist() for name, value in found.items()} == {
        "non_local.layer2_0.norm.running_mean": [4.0, 3.0]
    }


def test_non_local_blocks_see_the_future() -> None:
    with pytest.raises(ValueError, match=r"online=True .* non_local='gaussian'"):
        create_model("tsm_nl_r50", pairwise="gaussian", online=True)


def test_in_place_the_shortcut_carries_shifted_channels_too() -> None:
    model: Any = create_model("tsm_r18", 3, frames=2, size=32, in_place=True).eval()
    given: list[Tensor] = []
    block = model.backbone.features.layer1[0]
    block.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    with torch.no_grad():
        model(torch.randn(1, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0)))
    maps = given[0]  # (T, 64, 8, 8), after the max pooling behind a ReLU
    assert (maps[1, :8] == 0).all()  # the last frame has none after it
    assert (maps[0, 8:16] == 0).all()
    assert (maps[:, 16:] != 0).any()


def test_in_place_every_block_of_a_deep_network_shifts() -> None:
    with torch.device("meta"):
        models: list[Any] = [create_model("tsm_r101", 3, in_place=place) for place in (False, True)]
    assert [sum(row[2] for row in model._blocks()) for model in models] == [2 + 2 + 12 + 2, 33]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("module.base_model.layer1.0.{}conv1.{}weight", "mit_han_lab"),
        ("backbone.layer1.0.{}conv1.conv.{}weight", "mmaction2"),
    ],
)
def test_weights_say_where_they_shift(name: str, source: str) -> None:
    value = torch.zeros(64, 64, 3, 3)
    with torch.device("meta"):
        inside = create_model("tsm_r18", 3)
        whole = create_model("tsm_r18", 3, in_place=True)
    of_branch, of_block = {name.format("", "net."): value}, {name.format("net.", ""): value}
    expected = ["backbone.features.layer1.0.conv1.weight"]
    assert list(convert_state_dict(of_branch, source=source, model=inside)) == expected
    assert list(convert_state_dict(of_block, source=source, model=whole)) == expected
    with pytest.raises(ValueError, match="shifts whole blocks: build the model with in_place=True"):
        convert_state_dict(of_block, source=source, model=inside)
    with pytest.raises(ValueError, match="in residual branches: build the model with in_place=Fal"):
        convert_state_dict(of_branch, source=source, model=whole)


def test_refuses_weights_that_pool_time() -> None:
    with torch.device("meta"):
        model = create_model("tsm_r50", 3)
    name = "base_model.layer2.net.0.conv1.net.weight"
    with pytest.raises(ValueError, match=r"pools time before layer2 \(temporal_pool\)"):
        convert_state_dict({name: torch.zeros(1)}, source="mit_han_lab", model=model)


def test_a_mobilenet_has_no_blocks_to_shift_in_place() -> None:
    with pytest.raises(ValueError, match=r"in_place=True is for ResNets, .* is 'mobilenet_v2'"):
        create_model("tsm_mobilenet_v2", in_place=True)
