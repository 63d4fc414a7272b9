"""I3D against its reference, and its TensorFlow names."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.models import convert_state_dict, create_model
from praxino.models.i3d import pad_same


@pytest.mark.parametrize("case", ["small", pytest.param(None, marks=pytest.mark.slow)])
def test_equals_the_reference(equals_golden: Any, case: str | None) -> None:
    """The small clip is of 17 x 193 x 210, where every layer pads by other amounts."""

    def over_time(model: Any, clip: Tensor) -> Tensor:
        logits: Tensor = model.logits_over_time(clip)
        return logits

    equals_golden("i3d_inception/i3d_rgb", "i3d", "piergiaj", forward=over_time, case=case)
