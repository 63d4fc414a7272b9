"""Ego-RNN against its authors' code; its attention, its streams and its motion task."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.models import convert_state_dict, create_model
from praxino.models.ego_rnn import BOUND as model_bound
from praxino.models.ego_rnn import (
    GREY_MEAN,
    GREY_STD,
    EgoRnn,
    EgoRnnMotion,
    ego_rnn,
    ego_rnn_flow,
    ego_rnn_motion,
    from_ego_rnn,
    from_swathikirans,
    join_streams,
)
from praxino.video.flow import BOUND
from praxino.weights.fitting import check_fit
from praxino.weights.shapes_only import ShapesOnly

SMALL: dict[str, Any] = {"backbone": "resnet18", "hidden": 8, "frames": 3, "size": 64}


def small(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_model(name, 3, **SMALL, **options).eval()


def clip_of(channels: int, frames: int = 3, size: int = 64, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, frames, size, size, generator=generator)


def test_the_network_of_colours_equals_the_authors(equals_golden: Any) -> None:
    def forward(model: Any, frames: Tensor) -> list[Tensor]:
        clip = frames.permute(1, 2, 0, 3, 4)  # (T, B, 3, H, W) there
        return [model(clip), model.forward_features(clip)[:, :, -1].mean(dim=(2, 3))]

    equals_golden(
        "ego_rnn/attention_convlstm", "ego_rnn", "swathikirans", forward=forward, case=None
    )


def test_the_network_of_flow_equals_the_authors(equals_golden: Any) -> None:
    def forward(model: Any, stack: Tensor) -> list[Tensor]:
        clip = stack.unflatten(1, (5, 2)).transpose(1, 2)  # x and y of a frame, then of the next
        return [model(clip), model.forward_features(clip).mean(dim=(2, 3, 4))]

    equals_golden(
        "ego_rnn/flow_resnet34", "ego_rnn_flow", "swathikirans", forward=forward, case=None
    )


@pytest.mark.parametrize("name", ["ego_rnn", "ego_rnn_convlstm", "ego_rnn_motion"])
def test_a_stream_equals_its_clip(name: str) -> None:
    model = small(name)
    clip = clip_of(model.clip_spec.channels)
    state, said = None, []
    with torch.no_grad():
        for frame in clip.unbind(dim=2):
            logits, state = model.step(frame, state)
            said.append(logits)
        torch.testing.assert_close(torch.stack(said, dim=1), model.forward_steps(clip))
        torch.testing.assert_close(said[-1], model(clip))


def test_looks_at_the_likeliest_object() -> None:
    """An ImageNet class that always wins, and that is one channel of the map."""
    model = small("ego_rnn")
    with torch.no_grad():
        model.objects.bias[7] = 1e6
        model.objects.weight[7] = functional.one_hot(torch.tensor(5), 512).float()
        clip = clip_of(3)
        maps, plain = model.frame_maps(clip.transpose(1, 2).flatten(0, 1))
        expected = maps[:, 5].flatten(1).softmax(dim=1).view(2, 3, 2, 2)
        found = model.attention(clip)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(found.sum(dim=(2, 3)), torch.ones(2, 3))
        fed = model._weigh(maps, plain)
        torch.testing.assert_close(fed[3], plain[3] * found[1, 0])


def test_the_weighed_map_has_no_norm_and_no_relu() -> None:
    model = small("ego_rnn")
    last = model.backbone.features.layer4[-1]
    with torch.no_grad():
        last.conv2.weight.zero_()
        last.bn2.bias.fill_(-1e6)
        usual, plain = model.frame_maps(clip_of(3)[:, :, 0])
    assert not usual.any()  # nothing survives the ReLU after such a norm
    assert plain.any()  # `conv2(x) + x` with conv2 at zero is x


def test_without_attention_there_is_none_to_show() -> None:
    with pytest.raises(ValueError, match=r"built without attention. Build ego_rnn, which has"):
        small("ego_rnn_convlstm").attention(clip_of(3))


def test_the_joint_network_takes_flow_from_the_middle() -> None:
    model = small("ego_rnn_joint", flow_frames=2)
    clip = clip_of(5, frames=6)
    with torch.no_grad():
        expected = model(clip)
        apart = model.forward_streams(clip[:, :3], clip[:, 3:, 2:4])
        torch.testing.assert_close(apart, expected)
        torch.testing.assert_close(model.attention(clip), model.rgb.attention(clip[:, :3]))
        clip[:, 3:, :2] = clip[:, 3:, 4:] = 9.0
        torch.testing.assert_close(model(clip), expected)


def test_the_joint_network_takes_flow_from_anywhere_in_training() -> None:
    model = small("ego_rnn_joint", flow_frames=2)
    taken = set()

    def note(flow: Tensor) -> Tensor:
        taken.add(tuple(flow[0, 0, :, 0, 0].tolist()))
        return torch.zeros(1, 512, 1, 1, 1)

    model.flow.forward_features = note
    model.rgb.forward_features = lambda frames: torch.zeros(1, 8, 1, 1, 1)
    clip = torch.zeros(1, 5, 4, 64, 64)
    clip[:, 3] = torch.arange(4.0).view(4, 1, 1)
    for _ in range(30):
        model.train().forward_features(clip)
    assert taken == {(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)}


def test_joins_the_streams_weights() -> None:
    rgb, flow = (
        small("ego_rnn"),
        create_model("ego_rnn_flow", 3, backbone="resnet18", size=64, frames=3),
    )
    joint = small("ego_rnn_joint", flow_frames=3)
    head = joint.head.weight.clone()
    joint.load_state_dict(join_streams(rgb.state_dict(), flow.state_dict(), joint))
    clip = clip_of(5)
    with torch.no_grad():
        torch.testing.assert_close(joint.rgb(clip[:, :3]), rgb(clip[:, :3]))
        torch.testing.assert_close(joint.flow(clip[:, 3:]), flow.eval()(clip[:, 3:]))
    assert torch.equal(joint.head.weight, head)


# --- the motion task ------------------------------------------------------------------------------


def flow_clip(pixels: Tensor) -> Tensor:
    """A clip without colours whose flow has these lengths, to the left; `(B, 5, T, H, W)`."""
    share = (-pixels / BOUND + 1) / 2
    u = (share - GREY_MEAN[0]) / GREY_STD[0]
    v = torch.full_like(u, (0.5 - GREY_MEAN[1]) / GREY_STD[1])
    return torch.stack([*[torch.zeros_like(u)] * 3, u, v], dim=1)


def test_a_cell_moves_by_the_share_of_its_pixels_that_do() -> None:
    model = small("ego_rnn_motion", threshold=1.5)
    pixels = torch.zeros(1, 3, 64, 64)
    pixels[:, 0] = 1.4  # too short
    pixels[:, 1, :32, :8] = 1.6  # a quarter of the first cell
    pixels[:, 2, 32:, 32:] = 19.0
    moving = model.moving(flow_clip(pixels))
    assert model_bound == BOUND
    assert moving.tolist() == [
        [[[0.0, 0.0], [0.0, 0.0]], [[0.25, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]
    ]


def test_the_loss_of_still_or_moving() -> None:
    """By hand: two cells of one frame, whose answers are all "still" first, then all "moving"."""
    model = small("ego_rnn_motion")
    answers = torch.tensor([[0.0, 1.0, 2.0, 0.0]])  # still of both cells, then moving of both
    loss = model.motion_loss(answers, torch.tensor([[[[0.75, 0.25]]]]))
    right = torch.tensor([2.0, 1.0]).exp() / (torch.tensor([2.0, 1.0]).exp() + 1)
    torch.testing.assert_close(loss, -right.log().mean())


@pytest.mark.parametrize(("distance", "expected"), [("squared", 0.125), ("absolute", 0.25)])
def test_the_loss_of_how_much_moves(distance: str, expected: float) -> None:
    model = small("ego_rnn_motion", task="regression", distance=distance)
    loss = model.motion_loss(torch.tensor([[0.0, 100.0]]), torch.tensor([[[[0.0, 1.0]]]]))
    assert loss.item() == pytest.approx(expected)  # one half is said of the first cell


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_loss_adds_the_task(task: str) -> None:
    clip, labels = clip_of(5), torch.tensor([0, 2])
    model = small("ego_rnn_motion", task=task, task_weight=0.0)
    plain, logits = model.loss(clip, labels)
    torch.testing.assert_close(logits, model(clip))
    torch.testing.assert_close(plain, functional.cross_entropy(logits, labels))
    model.task_weight = 2.0
    loss, _ = model.loss(clip, labels)
    assert loss.item() > plain.item()
    loss.backward()
    for layer in (model.motion, model.squeeze, model.backbone.features.layer4[-1].conv2):
        assert layer.weight.grad.any()


@pytest.mark.slow
def test_learns_what_moves() -> None:
    """Where a bright patch is, there is motion: after some steps the task knows it."""
    torch.manual_seed(0)
    model = create_model("ego_rnn_motion", 2, **SMALL | {"frames": 1})
    assert isinstance(model, EgoRnnMotion)
    pixels = torch.zeros(4, 1, 64, 64)
    for number, (row, column) in enumerate([(0, 0), (0, 32), (32, 0), (32, 32)]):
        pixels[number, 0, row : row + 32, column : column + 32] = 10.0
    clip = flow_clip(pixels)
    clip[:, :3] = pixels.unsqueeze(1) / 5 - 1
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(12):
        optimizer.zero_grad()
        model.loss(clip, torch.tensor([0, 1, 0, 1]))[0].backward()
        optimizer.step()
    _, plain = model.frame_maps(clip[:, :3, 0])
    answers = model.motion(model.squeeze(plain.relu()).flatten(1))
    assert model.motion_loss(answers, model.moving(clip)).item() < 0.1


def test_the_task_needs_its_size() -> None:
    model = small("ego_rnn_motion")
    with pytest.raises(ValueError, match="motion task was built for H=W=64, got 32 x 32"):
        model(clip_of(5, size=32))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ego_rnn", {"backbone": "resnet50"}, "backbone must be 'resnet18' or 'resnet34'"),
        ("ego_rnn_flow", {"backbone": "vgg16"}, "backbone must be 'resnet18' or"),
        ("ego_rnn_motion", {"task": "both"}, "task must be 'classification' or 'regression'"),
        ("ego_rnn_motion", {"task_weight": -1.0}, r"at least 0 and threshold .* task_weight=-1.0"),
        ("ego_rnn_motion", {"threshold": 25.0}, "threshold between 0 and 20 pixels, got .*=25.0"),
        ("ego_rnn_joint", {"frames": 4}, "frames=4 has no flow_frames=5 to take. Give from 1 to 4"),
    ],
)
def test_refuses_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(name, 3, **options)


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ego_rnn, {"backbone": "resnet50"}, "backbone is 'resnet18' or 'resnet34', not 'resnet50'"),
        (ego_rnn_flow, {"backbone": "vgg16"}, "is a ResNet, such as 'resnet34', not 'vgg16'"),
        (
            ego_rnn_motion,
            {"task": "both"} | SMALL,
            "is 'classification' or 'regression', not 'both'",
        ),
        (ego_rnn_motion, {"distance": "cosine"} | SMALL, "'squared' or 'absolute', not 'cosine'"),
    ],
)
def test_refuses_choices_in_python_too(build: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(3, **options)


# --- weights --------------------------------------------------------------------------------------


def test_imagenet_weights_name_the_objects() -> None:
    """All of the ResNet is taken, its classifier too; ConvLSTM and head stay."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18()
    model = small("ego_rnn")
    memory = model.memory.of_input.weight.clone()
    model.load_state_dict(_converted(network, model))
    assert torch.equal(model.memory.of_input.weight, memory)
    frame = clip_of(3)[:, :, 0]
    with torch.no_grad():
        maps, _ = model.frame_maps(frame)
        torch.testing.assert_close(model.objects(maps.mean(dim=(2, 3))), network.eval()(frame))


def test_imagenet_weights_become_those_of_flow() -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18()
    for name in ("ego_rnn_flow", "ego_rnn_joint"):
        model: Any = create_model(name, 3, backbone="resnet18", size=64)
        state = _converted(network, model)
        check_fit(model, state, name)
        first = state[
            next(n for n in state if n.endswith("conv1.weight") and len(state[n][0]) == 10)
        ]
        torch.testing.assert_close(first[:, 9], network.conv1.weight.mean(dim=1))
        torch.testing.assert_close(first[:, 0], first[:, 9])


def _converted(network: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    return convert_state_dict(network.state_dict(), source="torchvision", model=model)


def test_the_task_is_added_to_a_trained_network_and_taken_off() -> None:
    plain, motion = small("ego_rnn"), small("ego_rnn_motion")
    added = from_ego_rnn(plain.state_dict(), motion)
    check_fit(motion, added, "ego_rnn")
    assert torch.equal(added["motion.weight"], motion.motion.weight)
    assert torch.equal(added["head.weight"], plain.head.weight)
    check_fit(plain, from_ego_rnn(added, plain), "ego_rnn_motion")


def test_without_attention_the_authors_object_classifier_is_left() -> None:
    with torch.device("meta"):
        model = EgoRnn(61, attention=False, backbone="resnet18")
        state = {
            f"lstm_cell.conv_{gate}_{letters}.weight": torch.zeros(512, 512, 3, 3)
            for gate in "ifco"
            for letters in ("xx", "hh")
        }
        state |= {f"lstm_cell.conv_{gate}_xx.bias": torch.zeros(512) for gate in "ifco"}
        state |= {"resNet.fc.weight": torch.zeros(1000, 512), "classifier.1.bias": torch.zeros(61)}
    assert sorted(from_swathikirans(state, model)) == [
        "head.bias",
        "memory.of_input.bias",
        "memory.of_input.weight",
        "memory.of_state.weight",
    ]


def authors_names(model: EgoRnn) -> dict[str, Tensor]:
    """The weights of a network of colours as the authors' code names them."""
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        part, _, leaf = name.removeprefix("memory.of_").rpartition(".")
        if name.startswith("memory."):
            letters = "xx" if part == "input" else "hh"
            for gate, weights in zip("ifco", value.chunk(4), strict=True):
                state[f"lstm_cell.conv_{gate}_{letters}.{leaf}"] = weights
        elif name.startswith("head."):
            state |= {f"classifier.1.{leaf}": value, f"fc.{leaf}": value}
        else:
            renamed = name.replace("backbone.features.", "resNet.").replace(
                "objects.", "resNet.fc."
            )
            state[renamed] = value
    return state | {"weight_softmax": state["resNet.fc.weight"]}


def test_reads_the_authors_joint_network() -> None:
    model = small("ego_rnn_joint", flow_frames=2)
    state = {f"frameModel.{name}": value for name, value in authors_names(model.rgb).items()}
    for name, value in model.flow.state_dict().items():
        theirs = name.replace("head.", "fc_action.").replace("backbone.features.", "")
        state[f"flowModel.{theirs}"] = value
    for part, value in model.head.state_dict().items():
        state |= {f"fc2.{part}": value, f"classifier.1.{part}": value}
    found = convert_state_dict(state, source="swathikirans", model=model)
    own = model.state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], value) for name, value in own.items())


def test_flow_with_the_wearers_motion() -> None:
    with ShapesOnly():
        model: Any = create_model("ego_rnn_flow", stream="flow")
    assert model.clip_spec.inputs == ("flow",)
