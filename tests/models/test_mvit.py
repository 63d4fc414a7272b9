"""MViT and MViTv2 against the references whose weights they load."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn


def first_batch(model: Any, clip: Tensor) -> Tensor:
    """MMAction2 has a dimension for the views of a video."""
    logits: Tensor = model(clip[:, 0])
    return logits


def probabilities(model: Any, clip: Tensor) -> list[Tensor]:
    """PySlowFast answers with probabilities, and has logits underneath."""
    logits = model(clip)
    return [logits.softmax(1), logits]


# golden, model, options, toolkit, how it is fed
GOLDENS: list[tuple[str, str, dict[str, Any], str, Any]] = [
    ("torchvision_video/mvit_v2_s", "mvit_v2_s", {}, "torchvision", None),
    ("pytorchvideo/mvit_base_16x4", "mvit_v1_b", {"pool_eps": 1e-5}, "pytorchvideo", None),
    ("pyslowfast/mvit_b_16x4", "mvit_v1_b", {}, "pyslowfast", probabilities),
    ("pyslowfast/mvitv2_s_16x4", "mvit_v2_s", {}, "pyslowfast", probabilities),
    ("mmaction2/mvit_small", "mvit_v2_s", {}, "mmaction2", first_batch),
]


@pytest.mark.slow
@pytest.mark.parametrize(("golden", "name", "options", "source", "forward"), GOLDENS)
def test_equals_its_reference(
    golden: str,
    name: str,
    options: dict[str, Any],
    source: str,
    forward: Any,
    equals_golden: Callable[..., nn.Module],
) -> None:
    equals_golden(golden, name, source, options=options, forward=forward, case=None)
