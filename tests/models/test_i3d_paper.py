"""The five networks of the I3D paper: what they see, what they cost, and how streams join."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from praxino.layer_table import count_parameters, layer_table
from praxino.models import convert_state_dict, create_model
from praxino.models.i3d_paper import join_streams
from praxino.weights.fitting import check_fit

TINY: dict[str, Any] = {"backbone": "resnet18", "size": 32}

# Parameters with 400 classes, by hand. Inception-v1 without its classifier has 5,599,904.
TRUNK = 5_599_904
LSTM = 4 * 512 * (1024 + 512) + 2 * 4 * 512
FLOW_STEM = 17 * 64 * 7 * 7  # 20 channels where there were three
C3D = 27 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 3 * 512 * 512)
NORMS = 2 * (64 + 128 + 2 * 256 + 4 * 512 + 2 * 4096)
PARAMETERS = {
    "lstm_inception": TRUNK + LSTM + 513 * 400,
    "c3d_i3d_paper": C3D + 8192 * 4096 + 4096 * 4096 + NORMS + 4097 * 400,
    "two_stream_inception": 2 * TRUNK + FLOW_STEM + 2049 * 400 + 400,
    "fused_3d_two_stream": 2 * TRUNK + FLOW_STEM + 27 * 2048 * 512 + 2 * 512 + 513 * 400,
    # The streams' classifiers have one bias.
    "two_stream_i3d": 12_697_264 + 12_675_312 - 400,
}


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_counts_the_parameters_of_the_table(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert count_parameters(create_model(name)) == parameters


def test_sees_the_seconds_of_the_table() -> None:
    seconds = {}
    for name in PARAMETERS:
        with torch.device("meta"):
            spec: Any = create_model(name).clip_spec
        # Where flow alone spans the clip, its last frame is there for the flow before it.
        flows = spec.frames % 2 if name in ("two_stream_inception", "fused_3d_two_stream") else 0
        seconds[name] = (spec.frames - flows) / spec.frames_per_second
    assert seconds == {
        "lstm_inception": 5.0,
        "c3d_i3d_paper": 0.64,
        "two_stream_inception": 0.4,
        "fused_3d_two_stream": 2.0,
        "two_stream_i3d": 2.56,
    }


def test_fuses_maps_of_five_by_seven_by_seven() -> None:
    with torch.device("meta"):
        model = create_model("fused_3d_two_stream")
    rows = {row.name: row.size for row in layer_table(model, receptive_fields=False)}
    assert rows["fuse.0"] == (512, 5, 7, 7)
    assert rows["pool"] == (512, 3, 4, 4)


def test_c3d_halves_time_from_the_first_pooling_on() -> None:
    with torch.device("meta"):
        model = create_model("c3d_i3d_paper")
    rows = {row.name: row.size for row in layer_table(model, receptive_fields=False)}
    sizes = [rows[f"features.pool{number}"] for number in range(1, 6)]
    assert sizes == [
        (64, 8, 56, 56),
        (128, 4, 28, 28),
        (256, 2, 14, 14),
        (512, 1, 7, 7),
        (512, 1, 4, 4),
    ]


def lstm() -> Any:
    torch.manual_seed(0)
    return create_model("lstm_inception", 3, hidden=4, frames=3, **TINY).eval()


def test_a_stream_says_what_the_clip_says() -> None:
    model, clip, state = lstm(), torch.randn(2, 3, 3, 32, 32), None
    with torch.no_grad():
        steps = model.forward_steps(clip)
        for number in range(3):
            logits, state = model.step(clip[:, :, number], state)
            torch.testing.assert_close(logits, steps[:, number])
        torch.testing.assert_close(model(clip), logits)


def test_the_lstm_learns_from_its_answers_after_every_frame() -> None:
    model, clip, labels = lstm(), torch.randn(2, 3, 3, 32, 32), torch.tensor([0, 2])
    loss, logits = model.loss(clip, labels)
    steps = model.forward_steps(clip)
    each = [cross_entropy(steps[:, number], labels) for number in range(3)]
    torch.testing.assert_close(loss, sum(each) / 3)
    torch.testing.assert_close(logits, model(clip))


class Recorder(nn.Module):
    """In place of a network: keeps what it was shown."""

    def maps(self, clip: Tensor) -> Tensor:
        self.shown = clip
        return torch.zeros(len(clip), 512, clip.shape[2], 1, 1)


@pytest.mark.parametrize("frames", [6, 7])
def test_each_place_has_a_frame_and_the_flows_that_follow(frames: int) -> None:
    model: Any = create_model("fused_3d_two_stream", 3, places=2, flows=3, width=8, **TINY).eval()
    model.spatial, model.temporal = Recorder(), Recorder()
    model.fuse = nn.Identity()
    time = torch.arange(float(frames)).view(1, 1, frames, 1, 1)
    model.forward_features(time + 100 * torch.arange(5.0).view(1, 5, 1, 1, 1))
    assert model.spatial.shown.squeeze().tolist() == [[0, 3], [100, 103], [200, 203]]
    flows = [[300, 303], [400, 403], [301, 304], [401, 404], [302, 305], [402, 405]]
    assert model.temporal.shown.squeeze().tolist() == flows


def test_trunks_start_from_one_network_of_images() -> None:
    model: Any = create_model("fused_3d_two_stream", 5, backbone="resnet18", size=32, width=8)
    with torch.device("meta"):
        names = create_model("single_frame_resnet18").state_dict()
    theirs = {
        name.replace("backbone.features.", "").replace("head.", "fc."): torch.randn(value.shape)
        for name, value in names.items()
        if "tracked" not in name
    }
    found = convert_state_dict(theirs, source="torchvision", model=model)
    check_fit(model, found, "resnet18")
    first = theirs["conv1.weight"]
    assert torch.equal(found["spatial.features.conv1.weight"], first)
    mean = first.mean(dim=1, keepdim=True).expand(-1, 20, -1, -1)
    torch.testing.assert_close(found["temporal.features.conv1.weight"], mean)
    assert torch.equal(found["head.weight"], model.head.weight)


def two_i3d() -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    names = ("two_stream_i3d", "i3d", "i3d_flow")
    model, rgb, flow = (create_model(name, 3, frames=8, size=32).eval() for name in names)
    join_streams(model, rgb, flow)  # type: ignore[arg-type]
    return model, rgb, flow


def test_two_stream_i3d_adds_logits() -> None:
    model, rgb, flow = two_i3d()
    clip = torch.randn(2, 5, 20, 32, 32)  # more than one step in time
    with torch.no_grad():
        torch.testing.assert_close(model(clip), rgb(clip[:, :3]) + flow(clip[:, 3:]))


def test_each_i3d_learns_by_its_own_loss() -> None:
    model, rgb, flow = two_i3d()
    clip, labels = torch.randn(2, 5, 8, 32, 32), torch.tensor([0, 2])
    with torch.no_grad():
        own = [rgb(clip[:, :3]), flow(clip[:, 3:])]
        middle = (rgb.head.bias + flow.head.bias) / 2  # which they share
        own = [
            one - stream.head.bias + middle for one, stream in zip(own, (rgb, flow), strict=True)
        ]
        loss, logits = model.loss(clip, labels)
        torch.testing.assert_close(loss, sum(cross_entropy(one, labels) for one in own))
        torch.testing.assert_close(logits, model(clip))


def test_says_what_it_cannot_do() -> None:
    with torch.device("meta"):
        model: Any = create_model("two_stream_i3d", 3, frames=8)
        rgb: Any = create_model("i3d", 3)
        flow: Any = create_model("i3d_flow", 4)
    with pytest.raises(ValueError, match="The streams know 3 and 4 classes"):
        join_streams(model, rgb, flow)
    with pytest.raises(ValueError, match="places must be at least 1, got 0"):
        create_model("fused_3d_two_stream", places=0)
    with pytest.raises(ValueError, match="flows must be at least 1, got 0"):
        create_model("fused_3d_two_stream", flows=0)
    with torch.device("meta"):
        model = create_model("c3d_i3d_paper")
        with pytest.raises(ValueError, match="was built for T=16, got T=8"):
            model(torch.zeros(1, 3, 8, 112, 112))
