"""Cells of recurrent networks: what each does in one step."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.layer_table import count_parameters
from praxino.models.recurrent_cells import (
    ConvGRU,
    ConvGRUCell,
    ConvLSTMCell,
    ConvRNNCell,
    ResetFirstGRU,
    ResetFirstGRUCell,
    from_jacobkimmel,
)


def test_ego_rnns_cell_has_eight_convolutions_and_four_biases() -> None:
    with torch.device("meta"):
        cell = ConvLSTMCell(512, 512)
    assert count_parameters(cell) == 8 * 512 * 512 * 9 + 4 * 512 == 18_876_416


def test_a_conv_lstm_of_one_pixel_is_torchs_lstm() -> None:
    torch.manual_seed(0)
    cell: Any = ConvLSTMCell(3, 5, kernel=1)
    reference = torch.nn.LSTMCell(3, 5)
    with torch.no_grad():
        reference.weight_ih.copy_(cell.of_input.weight.flatten(1))
        reference.weight_hh.copy_(cell.of_state.weight.flatten(1))
        reference.bias_ih.copy_(cell.of_input.bias)
        reference.bias_hh.zero_()
        state, expected = None, None
        for frame in torch.randn(4, 2, 3):
            state = cell(frame[:, :, None, None], state)
            expected = reference(frame, expected)
            torch.testing.assert_close(state[0][:, :, 0, 0], expected[0])
            torch.testing.assert_close(state[1][:, :, 0, 0], expected[1])


def test_the_gates_of_a_conv_lstm_start_as_layers_of_their_own() -> None:
    torch.manual_seed(0)
    cell: Any = ConvLSTMCell(32, 32)
    deviation = (2 / (32 * 9 + 32 * 9)) ** 0.5  # Xavier; of one layer of 128 it would be smaller
    assert cell.of_input.weight.std().item() == pytest.approx(deviation, rel=0.05)
    assert not cell.of_input.bias.any()


def test_a_kernel_without_a_middle_is_refused() -> None:
    with pytest.raises(ValueError, match="ConvLSTMCell needs an odd kernel, got kernel=4: 1, 3"):
        ConvLSTMCell(3, 5, kernel=4)


def test_the_plain_cell_by_hand() -> None:
    cell: Any = ConvRNNCell(1, 1, kernel=1)
    with torch.no_grad():
        for parameter, value in zip(cell.parameters(), (2.0, 0.5, -1.0), strict=True):
            parameter.fill_(value)  # of the input, its bias, of the state
        first = cell(torch.full((1, 1, 1, 1), 0.25))
        second = cell(torch.zeros(1, 1, 1, 1), first)
    assert first.item() == pytest.approx(math.tanh(2 * 0.25 + 0.5))
    assert second.item() == pytest.approx(math.tanh(0.5 - first.item()))


def test_a_conv_gru_of_one_pixel_is_the_printed_gru_with_its_gate_turned_round() -> None:
    torch.manual_seed(0)
    cell: Any = ConvGRUCell(3, 5, kernel=1)
    printed: Any = ResetFirstGRUCell(3, 5)
    with torch.no_grad():
        for ours, theirs in (
            (printed.of_input, cell.of_input),
            (printed.of_state, cell.of_state),
            (printed.of_reset, cell.of_reset),
        ):
            ours.weight.copy_(theirs.weight.flatten(1))
        printed.of_input.bias.copy_(cell.of_input.bias)
        for tensor in (printed.of_input.weight, printed.of_input.bias, printed.of_state.weight):
            tensor[5:10] *= -1  # how much is new, there; how much stays, here
        state, expected = None, None
        for frame in torch.randn(4, 2, 3):
            state = cell(frame[:, :, None, None], state)
            expected = printed(frame, expected)
            torch.testing.assert_close(state[:, :, 0, 0], expected)


def printed_and_torchs() -> tuple[Any, Any]:
    """Both GRUs with the same numbers wherever they have the same weights."""
    torch.manual_seed(0)
    printed, torchs = ResetFirstGRUCell(3, 5), nn.GRUCell(3, 5)
    with torch.no_grad():
        torchs.weight_ih.copy_(printed.of_input.weight)
        torchs.bias_ih.copy_(printed.of_input.bias)
        torchs.weight_hh.copy_(torch.cat([printed.of_state.weight, printed.of_reset.weight]))
        torchs.bias_hh.zero_()
    return printed, torchs


def test_the_printed_gru_is_not_torchs() -> None:
    printed, torchs = printed_and_torchs()
    vectors, state = torch.randn(2, 3), torch.randn(2, 5)
    with torch.no_grad():
        difference = (printed(vectors, state) - torchs(vectors, state)).abs().max()
    assert difference > 1e-3


def test_the_printed_gru_is_torchs_where_nothing_is_reset_in_part() -> None:
    printed, torchs = printed_and_torchs()
    vectors, state = torch.randn(2, 3), torch.randn(2, 5)
    with torch.no_grad():
        for reset in (-50.0, 50.0):  # all or nothing of every unit
            printed.of_input.bias[:5] = torchs.bias_ih[:5] = reset
            torch.testing.assert_close(printed(vectors, state), torchs(vectors, state))
        # From zeros there is nothing to reset.
        torch.testing.assert_close(printed(vectors), torchs(vectors))


def test_layers_of_the_printed_gru_go_on_where_they_stopped() -> None:
    torch.manual_seed(0)
    gru, vectors = ResetFirstGRU(3, 5, layers=2), torch.randn(2, 6, 3)
    with torch.no_grad():
        whole, last = gru(vectors)
        start, state = gru(vectors[:, :4])
        rest, state = gru(vectors[:, 4:], state)
    assert whole.shape == (2, 6, 5)
    torch.testing.assert_close(torch.cat([start, rest], dim=1), whole)
    torch.testing.assert_close(torch.stack(state), torch.stack(last))


def test_each_cell_of_a_conv_gru_has_a_kernel() -> None:
    with pytest.raises(ValueError, match=r"a kernel for each cell, got 2 widths and 1 kernels\."):
        ConvGRU(3, (4, 4), (3,))


def test_conv_gru_equals_the_reference(lab_goldens: Path, filler: Any) -> None:
    golden = filler.load(lab_goldens / "recurrent/convgru.json")

    def forward(model: Any, sequence: Tensor) -> list[Tensor]:
        state = None
        for maps in sequence:
            state = model(maps, state)
        return state  # type: ignore[return-value]

    def build() -> nn.Module:
        model = ConvGRU(8, (32, 64, 16), (3, 5, 3))
        assert count_parameters(model) == golden["params"]
        return model

    errors = filler.check(golden, build, lambda state: from_jacobkimmel(state, build()), forward)
    assert max(errors.values()) < 2e-5


def test_gates_of_the_reference_that_are_no_conv_gru_are_named() -> None:
    with pytest.raises(KeyError, match=r"ConvGRUCell_00\.reset_gate\.weight"):
        from_jacobkimmel({}, ConvGRU(8, (32,), (3,)))
