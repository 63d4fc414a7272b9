"""Recurrent convolutions: maps in every layer, the reach of a stream, and what stacks share."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.layer_table import count_parameters, layer_table
from praxino.models import conv_gru, convert_state_dict, recurrent_conv
from praxino.models.recurrent_conv import RecurrentConv

BUILDERS = (recurrent_conv, conv_gru)


def small(build: Any, **options: Any) -> RecurrentConv:
    torch.manual_seed(0)
    model: RecurrentConv = build(3, **{"width": 4, "frames": 4, "size": 16} | options).eval()
    return model


@pytest.mark.parametrize("build", BUILDERS)
def test_every_layer_is_a_map_half_as_large_as_the_one_below(build: Any) -> None:
    model = small(build)
    _, state = model.step(torch.randn(2, 3, 20, 13))
    assert [tuple(maps.shape) for maps in state] == [
        (2, 4, 20, 13),
        (2, 8, 10, 7),
        (2, 16, 5, 4),
    ]


def test_the_parameters_by_hand() -> None:
    pairs = ((3, 16), (16, 32), (32, 64))
    plain = sum(9 * (below + own) * own + own for below, own in pairs)
    gated = sum(9 * (below + own) * 3 * own + 3 * own for below, own in pairs)
    with torch.device("meta"):
        assert count_parameters(recurrent_conv(10).cells) == plain
        assert count_parameters(conv_gru(10).cells) == gated


@pytest.mark.parametrize("build", BUILDERS)
def test_the_last_answer_sees_the_stream_from_its_beginning(build: Any) -> None:
    model = small(build, frames=9)
    clip = torch.randn(1, 3, 9, 16, 16, requires_grad=True)
    model(clip)[0, 0].backward()
    assert clip.grad is not None
    seen = clip.grad.abs().amax(dim=(0, 1, 3, 4))
    assert (seen > 0).all()
    rows = layer_table(model)
    assert rows[-1].receptive_field[0] == 9


@pytest.mark.parametrize("build", BUILDERS)
def test_the_answer_is_that_of_the_last_frame(build: Any) -> None:
    model, clip = small(build), torch.randn(2, 3, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_steps(clip)[:, -1], model(clip))
        assert not torch.allclose(model(clip), model(clip.flip(2)), atol=1e-4)


def test_weights_of_a_stack_of_conv_grus_fit() -> None:
    model = small(conv_gru, layers=2)
    torch.manual_seed(1)
    theirs: dict[str, Tensor] = {}
    for number, (below, own) in enumerate(((3, 4), (4, 8))):
        for gate in ("reset", "update", "out"):
            layer = nn.Conv2d(below + own, own, 3)
            name = f"ConvGRUCell_{number:02d}.{gate}_gate"
            theirs |= {f"{name}.weight": layer.weight.data, f"{name}.bias": layer.bias.data}  # type: ignore[union-attr]
    converted = convert_state_dict(theirs, source="jacobkimmel", model=model)
    model.load_state_dict(converted, strict=True)
    of_reset = model.state_dict()["cells.1.of_reset.weight"]
    torch.testing.assert_close(of_reset, theirs["ConvGRUCell_01.out_gate.weight"][:, 4:])


def test_a_network_of_no_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 layer, got layers=0"):
        small(conv_gru, layers=0)
