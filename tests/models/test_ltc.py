"""LTC: its clips may be long and small."""

import pytest
import torch

from praxino.layer_table import count_parameters
from praxino.models import ltc, ltc_flow


@pytest.mark.parametrize("frames", [20, 40, 60, 80, 100])
@pytest.mark.parametrize(("size", "positions"), [(58, 1), (71, 4)])
def test_the_hidden_layer_fits_every_clip_of_the_paper(
    frames: int, size: int, positions: int
) -> None:
    with torch.device("meta"):
        model = ltc(frames=frames, size=size)
        logits = model(torch.empty(1, 3, frames, size, size))
    assert logits.shape == (1, 101)
    assert model.fc6.in_features == 256 * (frames // 16) * positions


def test_the_streams_differ_in_their_first_weights_only() -> None:
    with torch.device("meta"):
        colours, flow = ltc(), ltc_flow()
    assert count_parameters(colours) - count_parameters(flow) == 64 * 27
    assert (colours.dropout.p, flow.dropout.p) == (0.5, 0.9)


def test_a_clip_that_vanishes_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"at least frames=16 and size=32, got frames=15 and size=58"
    ):
        ltc(frames=15)
    with pytest.raises(ValueError, match=r"got frames=100 and size=31\."):
        ltc_flow(size=31)
