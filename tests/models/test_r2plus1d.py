"""R(2+1)D in its four released forms."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.models import convert_state_dict, create_model
from praxino.models.r2plus1d import channels_between


def without_views(model: nn.Module, clip: Tensor) -> Any:
    """mmaction2 feeds `(B, views, C, T, H, W)`."""
    return model(clip[:, 0])


def windows(model: Any, clip: Tensor) -> list[Tensor]:
    """pytorchvideo's probabilities, the mean over windows, and the scores of each window."""
    maps = model.windows(model.forward_features(clip))
    scores = model.head(maps.permute(0, 2, 3, 4, 1))
    return [scores.softmax(-1).mean((1, 2, 3)), scores]


GOLDENS = [
    ("torchvision_video/r2plus1d_18", "small", "r2plus1d_18", "torchvision", None),
    ("mmaction2/r2plus1d_r34_8x8", "small", "r2plus1d_34", "mmaction2", without_views),
    ("pytorchvideo/r2plus1d_r50", None, "r2plus1d_r50", "pytorchvideo", windows),
]


@pytest.mark.parametrize(
    ("path", "case", "name", "source", "forward"),
    [pytest.param(*row, marks=[] if row[1] else [pytest.mark.slow]) for row in GOLDENS],
    ids=[row[0] for row in GOLDENS],
)
def test_equals_the_reference(
    equals_golden: Any, path: str, case: str | None, name: str, source: str, forward: Any
) -> None:
    equals_golden(path, name, source, case=case, forward=forward)


def test_the_channels_between_make_the_parameters_equal() -> None:
    assert channels_between(64, 64) == 144  # (27 * 64 * 64) / (9 * 64 + 3 * 64), nothing is lost
    assert 9 * 64 * 144 + 3 * 144 * 64 == 27 * 64 * 64
    assert channels_between(64, 128) == 230  # 230.4
    assert channels_between(3, 64, side=7) == 83  # 28224 / 339 = 83.3


@pytest.mark.slow
def test_the_34_layers_on_ig65m_read_torchvisions_names() -> None:
    """They are torchvision's, but for the channels between in three convolutions."""
    from torchvision.models.video.resnet import (
        BasicBlock,
        Conv2Plus1D,
        R2Plus1dStem,
        VideoResNet,
    )

    theirs = VideoResNet(BasicBlock, [Conv2Plus1D] * 4, [3, 4, 6, 3], R2Plus1dStem, num_classes=5)
    for stage, width in ((theirs.layer2, 128), (theirs.layer3, 256), (theirs.layer4, 512)):
        stage[0].conv2[0] = Conv2Plus1D(width, width, channels_between(width, width))
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    theirs.eval()
    ours = create_model("r2plus1d_34_ig65m", 5).eval()
    ours.load_state_dict(convert_state_dict(theirs.state_dict(), source="torchvision", model=ours))
    clip = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(clip), theirs(clip))
