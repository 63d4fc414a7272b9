"""Cells of recurrent networks: what each does in one step."""

from typing import Any

import pytest
import torch

from praxino.layer_table import count_parameters
from praxino.models.recurrent_cells import ConvLSTMCell


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
