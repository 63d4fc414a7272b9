"""Recurrent and causal models: a stream, piece by piece, beside a clip that is there at once.

Whoever has `step` and `forward_steps` is tested here.
"""

import inspect
import typing
from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.models import MODELS
from tests.models.test_every_model import clips, random_model

KINDS = {name: typing.get_type_hints(row.build)["return"] for name, row in MODELS.items()}
# Soft attention makes its first state of all frames; its own test begins a stream with that.
STREAMING = [
    name
    for name, kind in KINDS.items()
    if hasattr(kind, "step") and hasattr(kind, "forward_steps") and name != "soft_attention"
]


def pieces(model: Any, clip: Tensor) -> list[Tensor]:
    """What `step` takes: frames, or sub-clips of `step_frames`."""
    if hasattr(model, "step_frames"):
        return list(clip.split(model.step_frames, dim=2))
    return list(clip.unbind(2))


@pytest.mark.parametrize("name", STREAMING)
def test_a_stream_equals_the_clip(name: str) -> None:
    model = random_model(name)
    clip = clips(model)
    state, stream = None, []
    with torch.no_grad():
        for piece in pieces(model, clip):
            logits, state = model.step(piece, state)
            stream.append(logits)
        steps = model.forward_steps(clip)  # (B, T', 3)
    assert (steps[:, -1] - steps[:, 0]).abs().max() > 1e-4, "nothing happens here"
    torch.testing.assert_close(torch.stack(stream, dim=1), steps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STREAMING)
def test_what_is_to_come_changes_nothing(name: str) -> None:
    model = random_model(name)
    clip = clips(model, batch=1)
    length = pieces(model, clip)[0].shape[2] if hasattr(model, "step_frames") else 1
    with torch.no_grad():
        whole, first = model.forward_steps(clip), model.forward_steps(clip[:, :, :length])
    torch.testing.assert_close(whole[:, :1], first, rtol=1e-4, atol=1e-5)


def test_the_arguments_of_steps_have_the_same_order_everywhere() -> None:
    for name in STREAMING:
        assert list(inspect.signature(KINDS[name].step).parameters)[2] == "state", name
