"""Sizes, receptive fields and multiply-adds, against gradients, published counts and small sums."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.layer_table import LayerRow, count_parameters, layer_table, multiply_adds
from praxino.models import create_model
from praxino.video.clip_spec import FLOW_MEAN, FLOW_STD, IMAGENET_MEAN, IMAGENET_STD, ClipSpec

SHAPE = (2, 7, 9, 10)


class Folded(nn.Module):
    """Frames in the batch, then joined two by two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, stride=2, dilation=2, padding=1)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.conv2 = nn.Conv3d(4, 6, (2, 1, 1), groups=2)

    def forward(self, clip: Tensor) -> Tensor:
        maps = self.pool(self.conv1(rearrange(clip, "b c t h w -> (b t) c h w")))
        return self.conv2(rearrange(maps, "(b t) c h w -> b c t h w", b=len(clip)))


class Branches(nn.Module):
    """A wide and a narrow branch, added and concatenated; one of them delayed by a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv3d(2, 3, (1, 5, 3), padding=(0, 2, 1))
        self.narrow = nn.Conv3d(2, 3, (3, 1, 1), padding=(1, 0, 0))
        self.last = nn.Conv3d(6, 2, 1)

    def forward(self, clip: Tensor) -> Tensor:
        wide, narrow = self.wide(clip), self.narrow(clip)
        late = torch.cat([torch.zeros_like(wide[:, :, :1]), wide[:, :, :-1]], dim=2)
        return self.last(torch.cat([late + narrow, narrow], dim=1))


class Shifted(nn.Module):
    """Half of the channels moved by a frame, written in place into an empty tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 4, (1, 3, 3))

    def forward(self, clip: Tensor) -> Tensor:
        shifted = torch.cat([clip[:, :1].roll(1, dims=2), clip[:, 1:]], dim=1)
        return self.conv(shifted)


class Attention(nn.Module):
    """Each place of a frame looks at all others of that frame, frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(2, 2)

    def forward(self, clip: Tensor) -> Tensor:
        tokens = self.project(rearrange(clip, "b c t h w -> (b t) (h w) c"))
        looked = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
        return rearrange(looked, "(b t) (h w) c -> b c t h w", b=len(clip), h=clip.shape[3])


class EarlyThenUp(nn.Module):
    """Time folded into channels in groups, then a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(14, 7, 3, stride=2, groups=7)
        self.up = nn.ConvTranspose2d(7, 4, 3, stride=2, padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        return self.up(self.conv(rearrange(clip, "b c t h w -> b (t c) h w")))


class Pooled(nn.Module):
    """Pooling to sizes that do not divide the map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 3, 3, padding=2)
        self.pool = nn.AdaptiveAvgPool3d((None, 4, 5))
        self.average = nn.AvgPool3d(2, stride=(1, 2, 1), padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        return self.average(self.pool(self.conv(clip)))


class Stream(nn.Module):
    """Each frame adds to what was seen so far, until all is seen; then all frames are stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Conv2d(2, 2, 5, padding=2)
        self.last = nn.Conv3d(2, 2, 1)

    def forward(self, clip: Tensor) -> Tensor:
        state, maps = torch.zeros_like(clip[:, :, 0]), []
        for frame in clip.unbind(2):
            state = self.widen(state) + frame
            maps.append(state)
        return self.last(torch.stack(maps, dim=2))


def seen_by_gradient(model: nn.Module, output_of: Callable[[Tensor], Tensor]) -> tuple[int, ...]:
    """The largest extent over all outputs of the inputs with a gradient that is not zero."""
    clip = torch.rand(1, *SHAPE, requires_grad=True)
    output = output_of(clip).flatten()
    largest = [0, 0, 0]
    for units in torch.eye(len(output)).split(500):
        (gradients,) = torch.autograd.grad(
            output, clip, units, retain_graph=True, is_grads_batched=True
        )
        touched = gradients.abs().amax((1, 2)) > 0  # (units, T, H, W)
        for axis, others in enumerate([(2, 3), (1, 3), (1, 2)]):
            along = touched.any(others[1]).any(others[0])
            first, last = along.int().argmax(1), along.flip(1).int().argmax(1)
            extents = (along.shape[1] - last - first) * along.any(1)
            largest[axis] = max(largest[axis], int(extents.max()))
    return tuple(largest)


@pytest.mark.parametrize(
    "kind", [Folded, Branches, Shifted, Attention, EarlyThenUp, Pooled, Stream]
)
def test_receptive_field_is_where_gradients_come_from(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind()
    for parameter in model.parameters():
        parameter.data = parameter.data.abs() + 0.1  # nothing cancels
    table = {row.name: row.receptive_field for row in layer_table(model, SHAPE)}
    for name, module in model.named_children():
        if kind in (Attention, Stream):
            continue
        outputs: list[Tensor] = []
        handle = module.register_forward_hook(lambda m, i, out: outputs.append(out))  # noqa: B023

        def output_of(clip: Tensor) -> Tensor:
            outputs.clear()  # noqa: B023
            model(clip)
            return outputs[0]  # noqa: B023

        assert table[name] == seen_by_gradient(model, output_of), name
        handle.remove()
    last = layer_table(model, SHAPE)[-1].receptive_field
    assert last == seen_by_gradient(model, model)


def test_attention_sees_its_frame_and_no_other() -> None:
    assert layer_table(Attention(), SHAPE)[-1].receptive_field == (1, 9, 10)


def test_many_scores_of_attention_are_followed_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    few = layer_table(Attention(), SHAPE)
    monkeypatch.setattr("praxino.receptive_field._MOST_SCORES", 1)
    assert layer_table(Attention(), SHAPE) == few


def test_billions_of_scores_do_not_fill_the_memory() -> None:
    rows = layer_table(Attention(), (2, 40, 78, 78))  # 40 x 6084 x 6084, as in a large transformer
    assert rows[-1].receptive_field == (1, 78, 78)


def test_writing_into_a_part_widens_the_whole() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(2, 2, 1)

        def forward(self, clip: Tensor) -> Tensor:
            moved = torch.zeros_like(clip)
            moved[:, :, 1:] = clip[:, :, :-1]
            return self.conv(moved)

    # A frame in truth; what is written in place is only known as a whole.
    assert layer_table(InPlace(), SHAPE)[-1].receptive_field == (6, 9, 10)


def test_an_unknown_operation_joins_everything() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(2, 2, 1)

        def forward(self, clip: Tensor) -> Tensor:
            return self.conv(clip.sort(dim=2).values)

    assert layer_table(Sorted(), SHAPE)[-1].receptive_field == SHAPE[1:]


def test_positions_to_pick_are_followed_when_they_are_known() -> None:
    class Every(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(2, 2, (2, 1, 1))

        def forward(self, clip: Tensor) -> Tensor:
            return self.conv(clip[:, :, torch.tensor([0, 3, 6])])

    assert layer_table(Every(), SHAPE)[-1].receptive_field == (4, 1, 1)


def test_rows_of_a_small_network_by_hand() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(2, 4, (1, 3, 3), stride=(1, 2, 2), bias=False)
            self.norm = nn.BatchNorm3d(4)
            self.relu = nn.ReLU()
            self.head = nn.Linear(4, 5)

        def forward(self, clip: Tensor) -> Tensor:
            return self.head(self.relu(self.norm(self.conv(clip))).mean((2, 3, 4)))

    model = Net()
    assert layer_table(model, (2, 3, 9, 7)) == [
        LayerRow("input", "Input", (2, 3, 9, 7), (1, 1, 1), 0, 0),
        LayerRow("conv", "Conv3D(1x3x3, 2->4)", (4, 3, 4, 3), (1, 3, 3), 36 * 4 * 18, 72),
        LayerRow("norm", "BatchNorm3d", (4, 3, 4, 3), (1, 3, 3), 0, 8),
        LayerRow("", "GlobalAvgPool", (4,), (3, 9, 7), 0, 0),
        LayerRow("head", "Linear(4->5)", (5,), (3, 9, 7), 20, 25),
    ]
    assert multiply_adds(model, (2, 3, 9, 7)) == 36 * 4 * 18 + 20
    assert count_parameters(model) == 72 + 8 + 25


def test_a_layer_that_runs_twice_has_two_rows_and_counts_its_parameters_once() -> None:
    layer = nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0))
    rows = layer_table(nn.Sequential(layer, layer), SHAPE)
    assert [row.receptive_field for row in rows] == [(1, 1, 1), (3, 1, 1), (5, 1, 1)]
    assert [row.parameters for row in rows] == [0, 14, 0]


def test_weights_lent_to_a_function_are_counted() -> None:
    class Lends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(2, 3, 1)

        def forward(self, clip: Tensor) -> Tensor:
            return nn.functional.conv3d(clip, self.conv.weight, self.conv.bias)

    (row,) = layer_table(Lends(), SHAPE)[1:]
    assert (row.kind, row.parameters) == ("Conv3D(1x1x1, 2->3)", 9)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv3d(2, 3, 1), nn.BatchNorm3d(3), nn.Dropout())
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer_table(model, SHAPE)
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model)


def test_several_streams_are_channels_of_one_clip() -> None:
    class TwoStreams(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rgb, self.flow = nn.Conv3d(3, 2, (1, 5, 1)), nn.Conv3d(2, 2, (3, 5, 1))
            self.clip_spec = ClipSpec(
                6,
                size=8,
                resize_short=8,
                inputs=("rgb", "flow"),
                mean=IMAGENET_MEAN + FLOW_MEAN,
                std=IMAGENET_STD + FLOW_STD,
            )

        def forward(self, clip: Tensor) -> Tensor:
            return (self.rgb(clip[:, :3])[:, :, 1:-1] + self.flow(clip[:, 3:])).mean((3, 4))

    assert layer_table(TwoStreams())[-1].receptive_field == (3, 8, 8)


def test_a_model_without_a_clip_spec_needs_a_shape() -> None:
    with pytest.raises(ValueError, match=r"Conv3d has no clip_spec: say clip_shape=\(C, T, H, W\)"):
        layer_table(nn.Conv3d(3, 4, 3))


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 0, 8, 8)])
def test_a_clip_shape_has_four_sizes(shape: Any) -> None:
    with pytest.raises(
        ValueError, match=r"clip_shape is \(C, T, H, W\), each at least 1, got \(3, "
    ):
        layer_table(nn.Conv3d(3, 4, 3), shape)


# torchvision states multiply-adds in units of 10^9, and parameters.
TORCHVISION = [
    ("r3d_18", (3, 16, 112, 112)),
    ("mc3_18", (3, 16, 112, 112)),
    ("r2plus1d_18", (3, 16, 112, 112)),
    ("s3d", (3, 16, 224, 224)),
    pytest.param("mvit_v2_s", (3, 16, 224, 224), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "shape"), TORCHVISION)
def test_counts_what_torchvision_states(name: str, shape: tuple[int, int, int, int]) -> None:
    from torchvision.models import get_model, get_model_weights

    stated = get_model_weights(name).DEFAULT.meta
    rows = layer_table(get_model(name, weights=None), shape)
    assert round(sum(row.multiply_adds for row in rows) / 1e9, 3) == stated["_ops"]
    assert sum(row.parameters for row in rows) == stated["num_params"]
    assert rows[-1].receptive_field == shape[1:]


def test_counting_needs_no_receptive_fields() -> None:
    model = create_model("toy_3d")
    fast, full = layer_table(model, receptive_fields=False), layer_table(model)
    assert [row.multiply_adds for row in fast] == [row.multiply_adds for row in full]
    assert {row.receptive_field for row in fast[1:]} == {(0, 0, 0)}
    assert multiply_adds(model) == sum(row.multiply_adds for row in full)
