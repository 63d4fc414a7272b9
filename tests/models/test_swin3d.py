"""Video Swin against the references whose weights it loads."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn


def first_batch(model: Any, clip: Tensor) -> Tensor:
    """MMAction2 has a dimension for the views of a video."""
    logits: Tensor = model(clip[:, 0])
    return logits


# golden, model, toolkit, how it is fed; the small clips have sizes that windows do not divide
GOLDENS = [
    ("torchvision_video/swin3d_t", "swin3d_t", "torchvision", None),
    ("mmaction2/swin_tiny", "swin3d_t", "mmaction2", first_batch),
]


@pytest.mark.parametrize(("golden", "name", "source", "forward"), GOLDENS)
def test_equals_its_reference(
    golden: str, name: str, source: str, forward: Any, equals_golden: Callable[..., nn.Module]
) -> None:
    equals_golden(golden, name, source, forward=forward)
