"""Two streams: what each of them is fed, how flow is followed, and how scores are fused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from praxino.layer_table import count_parameters, layer_table, multiply_adds
from praxino.models import create_model
from praxino.models.cnn_m import CnnM
from praxino.models.flow_stack import FlowStack, along_trajectories, backward_flow, carried
from praxino.models.two_stream import for_flow, fused, join_streams, two_stream
from praxino.video.clip_spec import ClipSpec

# Flow in pixels, as a clip of zero mean and a deviation of one pixel.
PIXELS = ClipSpec(3, stride_frames=1, mean=(0.5, 0.5), std=(0.025, 0.025), inputs=("flow",))


def as_clip(frames: Tensor) -> Tensor:
    """The reference's picture of 2 L channels (u, v, u, v, ...) as a clip."""
    return frames.unflatten(1, (-1, 2)).transpose(1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "name", "options"),
    [
        ("two_stream/rgb_vgg16", "spatial_stream", {"backbone": "vgg16"}),
        ("two_stream/flow_vgg16", "temporal_stream", {"backbone": "vgg16"}),
        ("two_stream/flow_resnet152", "temporal_stream", {"backbone": "resnet152"}),
    ],
)
def test_equals_the_reference(
    equals_golden: Any, path: str, name: str, options: dict[str, Any]
) -> None:
    def forward(model: Any, frames: Tensor) -> Tensor:
        logits: Tensor = model(frames.unsqueeze(2) if name == "spatial_stream" else as_clip(frames))
        return logits

    equals_golden(path, name, "bryanyzhu", options=options, forward=forward, case=None)


@pytest.mark.parametrize(
    ("golden", "name", "backbone"),
    [
        ("rgb_vgg16", "spatial_stream", "vgg16"),
        ("flow_vgg16", "temporal_stream", "vgg16"),
        ("flow_resnet152", "temporal_stream", "resnet152"),
    ],
)
def test_multiply_adds_equal_the_reference(
    lab_goldens: Path, golden: str, name: str, backbone: str
) -> None:
    stored = json.loads((lab_goldens / "two_stream" / f"{golden}.json").read_text())
    with torch.device("meta"):
        model = create_model(name, backbone=backbone)
    assert multiply_adds(model) == round(stored["gmacs"] * 1e9)
    assert count_parameters(model) == stored["params"]


def test_cnn_m_has_the_sizes_of_its_paper() -> None:
    with torch.device("meta"):
        model = create_model("spatial_stream_cnn_m")
    rows = {row.name: row for row in layer_table(model, receptive_fields=False)}
    sizes = {name.rpartition(".")[2]: row.size for name, row in rows.items()}
    assert sizes["conv1"] == (96, 1, 109, 109)
    assert sizes["conv2"] == (256, 1, 26, 26)
    assert sizes["conv5"] == (512, 1, 13, 13)
    assert sizes["pool5"] == (512, 1, 6, 6)
    assert (sizes["fc6"], sizes["fc7"]) == ((4096,), (2048,))


def test_only_the_spatial_stream_normalises_twice() -> None:
    """And where it does, as the authors: by 2 + 1e-4 times the sum of five squares, to the 3/4."""
    names = [
        {name for name, layer in CnnM(3, size=41, second_norm=second).features.named_children()}
        for second in (True, False)
    ]
    assert names[0] - names[1] == {"norm2"}
    values = torch.arange(1.0, 8.0).view(1, 7, 1, 1)
    normed = CnnM(3, size=41).features.norm1(values).flatten()
    around = sum(float(v) ** 2 for v in (2, 3, 4, 5, 6))
    assert normed[3] == pytest.approx(4 / (2 + 1e-4 * around) ** 0.75, rel=1e-6)


@pytest.mark.parametrize("size", [41, 60, 112, 224])
def test_cnn_m_fits_its_hidden_layers_to_the_size(size: int) -> None:
    with torch.device("meta"):
        network = CnnM(20, size=size, second_norm=False)
        vector = network.neck(network.features(torch.empty(1, 20, size, size)))
    assert vector.shape == (1, 2048)


def test_cnn_m_refuses_what_would_vanish() -> None:
    with pytest.raises(ValueError, match=r"halves pictures five times: size is 41 or more, not 40"):
        CnnM(3, size=40)


# --- what the temporal stream is fed


def stack(flow: Tensor, **options: Any) -> Tensor:
    """Flow in pixels, `(B, 2, T, H, W)`, as the network's picture, in pixels."""
    settings = {"stacking": "flow", "bidirectional": False, "subtract_mean": False, **options}
    return FlowStack(settings.pop("flows", flow.shape[2]), **settings)(flow, PIXELS)


def test_components_are_interleaved() -> None:
    flow = torch.randn(2, 2, 3, 4, 5)
    stacked = stack(flow)
    assert stacked.shape == (2, 6, 4, 5)
    for number in range(3):
        assert torch.equal(stacked[:, 2 * number], flow[:, 0, number])
        assert torch.equal(stacked[:, 2 * number + 1], flow[:, 1, number])


def test_the_repeated_flow_of_the_last_frame_is_left_out() -> None:
    flow = torch.randn(1, 2, 4, 5, 5)
    assert torch.equal(stack(flow, flows=3), stack(flow[:, :, :3]))


def test_the_mean_of_each_component_of_each_flow_is_subtracted() -> None:
    flow = torch.randn(2, 2, 3, 6, 7) + torch.arange(6.0).view(1, 2, 3, 1, 1)
    stacked = stack(flow, subtract_mean=True)
    torch.testing.assert_close(stacked.mean(dim=(2, 3)), torch.zeros(2, 6), atol=1e-6, rtol=0)
    torch.testing.assert_close(stacked, stack(flow) - stack(flow).mean(dim=(2, 3), keepdim=True))


def test_a_trajectory_reads_flow_where_the_pixel_has_got_to() -> None:
    """Everything moves two pixels right, then what is in column 4 moves down."""
    flow = torch.zeros(1, 2, 2, 6, 8)
    flow[:, 0, 0] = 2.0
    flow[:, 1, 1, :, 4] = 3.0
    followed = stack(flow, stacking="trajectory")
    torch.testing.assert_close(followed[:, :2], stack(flow)[:, :2], atol=1e-5, rtol=0)
    down = followed[0, 3]  # v of the second flow
    torch.testing.assert_close(down[:, 2], torch.full((6,), 3.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(down[:, 4], torch.zeros(6), atol=1e-5, rtol=0)


def test_a_trajectory_goes_on_from_where_it_is() -> None:
    """Three fields that grow along x: each step lands further along."""
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 3, 16)
    field = torch.cat([0.1 * ramp, torch.zeros(1, 1, 3, 16)], dim=1)
    found = along_trajectories([field] * 3)
    x = torch.tensor(5.0)
    for step in found:
        torch.testing.assert_close(step[0, 0, 1, 5], 0.1 * x)
        x = x + 0.1 * x


def test_the_stack_in_the_clips_own_unit_is_the_same() -> None:
    """Trajectories are walked in pixels, however a clip is normalised."""
    pixels = 2 * torch.randn(1, 2, 3, 9, 9)
    other = ClipSpec(3, stride_frames=1, mean=(0.4, 0.5), std=(0.2, 0.1), inputs=("flow",))
    mean, std = (torch.tensor(v).view(1, 2, 1, 1, 1) for v in (other.mean, other.std))
    clip = (pixels / 40 + 0.5 - mean) / std
    stacker = FlowStack(3, stacking="trajectory", bidirectional=False, subtract_mean=False)
    found = as_clip(stacker(clip, other)) * std + mean
    expected = as_clip(stacker(pixels, PIXELS)) / 40 + 0.5
    torch.testing.assert_close(found, expected)


def test_flow_back_undoes_flow_ahead() -> None:
    """Of a smooth field: there and back again is where it began."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    ahead = torch.stack([3 + (rows / 9).sin(), 2 * (columns / 11).cos()]).unsqueeze(0)
    back = backward_flow(ahead)
    there_and_back = ahead + carried(back, ahead)
    assert there_and_back[..., 6:-6, 6:-6].abs().max() < 0.02
    assert ahead.add(-ahead.flip(3)).abs().max() > 1  # it is no constant field, which is easy


def test_both_ways_lead_from_the_middle_frame() -> None:
    """A constant motion of each pair: ahead as it is, back in the mirror, the nearest first."""
    flow = torch.arange(1.0, 5.0).view(1, 1, 4, 1, 1).expand(1, 2, 4, 5, 5)
    stacker = FlowStack(4, stacking="flow", bidirectional=True, subtract_mean=False)
    u = as_clip(stacker(flow, PIXELS))[0, 0, :, 2, 2]
    torch.testing.assert_close(u, torch.tensor([3.0, 4.0, -2.0, -1.0]))
    assert stacker.frame == 2
    assert FlowStack(4, stacking="flow", bidirectional=False, subtract_mean=False).frame == 0


def test_wrong_stacks_are_refused() -> None:
    common: dict[str, Any] = {"stacking": "flow", "subtract_mean": False}
    with pytest.raises(ValueError, match=r"flows must be 1 or more, got 0\."):
        FlowStack(0, bidirectional=False, **common)
    with pytest.raises(ValueError, match=r"flows must be an even number, 2 or more, got 5\."):
        FlowStack(5, bidirectional=True, **common)
    with pytest.raises(ValueError, match=r"stacking is 'flow' or 'trajectory', not 'paths'\."):
        FlowStack(2, stacking="paths", bidirectional=False, subtract_mean=False)  # type: ignore[arg-type]


def build(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    options = {"flows": 4, "size": 41, **options}
    if name.startswith("spatial"):
        del options["flows"]
    if not name.endswith(("cnn_m", "multi_task")):
        options = {"backbone": "resnet18", **options}
    return create_model(name, 4, **options).eval()


def clip_of(model: Any, batch: int = 3) -> Tensor:
    spec = model.clip_spec
    return torch.randn(batch, spec.channels, spec.frames, spec.size, spec.size)


def test_clips_hold_the_flows_or_one_more() -> None:
    model = build("temporal_stream")
    clip = clip_of(model)
    assert clip.shape[2] == 5
    with torch.no_grad():
        torch.testing.assert_close(model(clip), model(clip[:, :, :4]))
    message = r"stacks 4 flows, so T is 4 or 5, got T=6 in a clip of shape \(1, 2, 6, 41, 41\)"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 2, 6, 41, 41))
    with pytest.raises(ValueError, match=r"needs T of at least 4, got T=3 "):
        model(torch.zeros(1, 2, 3, 41, 41))


@pytest.mark.parametrize(
    ("bidirectional", "frame"),
    [pytest.param(False, 0, id="ahead"), pytest.param(True, 2, id="both")],
)
def test_the_spatial_stream_sees_the_frame_that_the_flow_is_about(
    bidirectional: bool, frame: int
) -> None:
    model = build("two_stream", bidirectional=bidirectional)
    clip = clip_of(model)
    other = clip.clone()
    with torch.no_grad():
        other[:, :3, [t for t in range(5) if t != frame]] += 1
        torch.testing.assert_close(model(other), model(clip))
        other[:, :3, frame] += 1
        assert (model(other) - model(clip)).abs().max() > 1e-5


# --- how scores are fused


def test_probabilities_or_logits_are_averaged() -> None:
    torch.manual_seed(0)
    spatial, temporal = 3 * torch.randn(2, 5, 4)
    both = torch.stack([spatial.softmax(1), temporal.softmax(1)])
    for weight in (1.0, 1.5):
        expected = (both[0] + weight * both[1]) / (1 + weight)
        found = fused(spatial, temporal, "probabilities", weight)
        torch.testing.assert_close(found.softmax(1), expected)
        expected = (spatial + weight * temporal) / (1 + weight)
        torch.testing.assert_close(fused(spatial, temporal, "logits", weight), expected)
    assert fused(torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]]), "probabilities", 1.0)[
        0
    ].softmax(0).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("fusion", ["probabilities", "logits"])
def test_streams_that_learnt_apart_are_joined(fusion: Any) -> None:
    spatial, temporal = build("spatial_stream"), build("temporal_stream")
    model = build("two_stream", fusion=fusion, flow_weight=1.5)
    join_streams(model, spatial, temporal)
    clip = clip_of(model)
    with torch.no_grad():
        alone = spatial(clip[:, :3, :1]), temporal(clip[:, 3:])
        for found, expected in zip(model.stream_logits(clip), alone, strict=True):
            torch.testing.assert_close(found, expected)
        torch.testing.assert_close(model(clip), fused(*alone, fusion, 1.5))
    assert count_parameters(model) == count_parameters(spatial) + count_parameters(temporal)


def test_streams_of_other_classes_are_not_joined() -> None:
    other = create_model("temporal_stream", 5, backbone="resnet18", flows=4, size=41)
    with pytest.raises(
        ValueError, match=r"The streams know 4 and 5 classes. Train both on the same"
    ):
        join_streams(build("two_stream"), build("spatial_stream"), other)  # type: ignore[arg-type]


def test_each_stream_learns_as_if_it_were_alone() -> None:
    """The gradient of each is that of its own cross entropy."""
    model = build("two_stream")
    clip, labels = clip_of(model), torch.tensor([0, 3, 1])
    loss, logits = model.loss(clip, labels)
    torch.testing.assert_close(logits, model(clip))
    spatial, temporal = model.stream_logits(clip)
    weight = model.spatial.get_parameter("features.conv1.weight")
    (alone,) = torch.autograd.grad(cross_entropy(spatial, labels), weight, retain_graph=True)
    (found,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(
        loss, cross_entropy(spatial, labels) + cross_entropy(temporal, labels)
    )


def test_wrong_fusions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"fusion is 'probabilities' or 'logits', not 'votes'\."):
        two_stream(backbone="resnet18", fusion="votes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"flow_weight must be above 0, got 0\.0\."):
        build("two_stream", flow_weight=0.0)


# --- two data sets


def test_a_clip_is_told_among_the_classes_of_its_own_data_set() -> None:
    model = build("temporal_stream_multi_task", first_classes=3)
    clip, labels = clip_of(model), torch.tensor([0, 3, 2])
    loss, logits = model.loss(clip, labels)
    first, second = logits[:, :3], logits[:, 3:]
    expected = cross_entropy(first[[0, 2]], torch.tensor([0, 2]), reduction="sum")
    expected = expected + cross_entropy(second[[1]], torch.tensor([0]), reduction="sum")
    torch.testing.assert_close(loss, expected / 3)
    assert model.task_logits(clip)[1].shape == (3, 1)


def test_a_batch_of_one_data_set_has_a_loss() -> None:
    model = build("temporal_stream_multi_task", first_classes=2)
    for labels in (torch.tensor([0, 1, 1]), torch.tensor([2, 3, 3])):
        assert model.loss(clip_of(model), labels)[0].isfinite()


def test_both_data_sets_have_classes() -> None:
    with pytest.raises(
        ValueError, match=r"first_classes=4 must leave classes for both data sets, of"
    ):
        build("temporal_stream_multi_task", first_classes=4)


# --- weights of images


def test_weights_for_colours_become_weights_for_flow() -> None:
    weight = torch.randn(8, 3, 5, 5)
    grown = for_flow(weight, 20)
    assert grown.shape == (8, 20, 5, 5)
    for channel in (0, 7, 19):
        torch.testing.assert_close(grown[:, channel], weight.mean(dim=1))


def test_both_streams_start_from_one_image_network(tmp_path: Any) -> None:
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18(num_classes=4).eval()
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    model: Any = create_model(
        "two_stream",
        4,
        backbone="resnet18",
        flows=4,
        size=41,
        weights=tmp_path / "resnet18.safetensors",
    ).eval()
    clip = clip_of(model)
    grey = clip.clone()
    # Flow that is the same everywhere in all channels is to the temporal stream what a grey picture
    # times 8 / 3 is to the network.
    grey[:, 3:] = grey[:, 3:4, :1]
    with torch.no_grad():
        spatial, temporal = model.stream_logits(grey)
        torch.testing.assert_close(spatial, network(grey[:, :3, 0]))
        picture = grey[:, 3:4, 0].expand(-1, 3, -1, -1) * 8 / 3
        torch.testing.assert_close(temporal, network(picture), rtol=1e-4, atol=1e-4)
    assert not model.head.weight[:, -1].any()
