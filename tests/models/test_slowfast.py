"""SlowFast: against the reference implementations, and what each pathway sees."""

from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.models import create_model
from praxino.models.slowfast import SlowFast, slowfast_r50_4x16


def small(**options: Any) -> SlowFast:
    torch.manual_seed(0)
    return slowfast_r50_4x16(3, frames=16, size=32, width=16, **options).eval()


def windows(model: Any, slow: Tensor, fast: Tensor) -> list[Tensor]:
    """What PySlowFast evaluates by, and the logits below it."""
    logits = model.forward_windows(slow, fast)
    return [logits.softmax(-1).mean((1, 2)), logits[:, None]]


def pathways(model: Any, slow: Tensor, fast: Tensor) -> Tensor:
    result: Tensor = model.forward_pathways(slow, fast)
    return result


def first_view(model: Any, views: Tensor) -> Tensor:
    result: Tensor = model(views[:, 0])
    return result


GOLDENS = [
    ("mmaction2/slowfast_r50_4x16", "slowfast_mmaction2_r50_4x16", "small", first_view),
    ("pytorchvideo/slowfast_r50", "slowfast_r50", None, pathways),
    ("pyslowfast/slowfast_8x8_r50", "slowfast_r50", None, windows),
]


@pytest.mark.parametrize(
    ("path", "name", "case", "forward"),
    [pytest.param(*row, marks=[] if row[2] else [pytest.mark.slow]) for row in GOLDENS],
    ids=[row[0] for row in GOLDENS],
)
def test_equals_the_reference(
    equals_golden: Any, path: str, name: str, case: str | None, forward: Any
) -> None:
    equals_golden(path, name, path.split("/")[0], case=case, forward=forward)


def test_fast_is_joined_to_slow_four_times() -> None:
    """The fused channels of the paper's table 1."""
    with torch.device("meta"):
        model: Any = create_model("slowfast_r50_4x16")
    stages = (model.slow.res2, model.slow.res3, model.slow.res4, model.slow.res5)
    assert [stage[0].conv_a.conv.in_channels for stage in stages] == [80, 320, 640, 1280]
    assert [stage[0].conv_a.conv.kernel_size[0] for stage in stages] == [1, 1, 3, 3]
    assert model.head.in_features == 2048 + 256


def test_features_and_logits_come_from_the_same_maps() -> None:
    """Fast is averaged over alpha frames first, and then over what is left."""
    model, clip = small(), torch.randn(2, 3, 16, 32, 32)
    with torch.no_grad():
        features = model.forward_features(clip)
        logits = model.head(features.mean((2, 3, 4)))
        torch.testing.assert_close(model(clip), logits)
        _, fast = model.pathways(clip)
        torch.testing.assert_close(
            features[:, -64:].mean((2, 3, 4)), model.fast(fast).mean((2, 3, 4))
        )
    assert features.shape == (2, 512 + 64, 2, 1, 1)


def test_only_the_first_blocks_of_a_wide_res4_span_time() -> None:
    with torch.device("meta"):
        model: Any = create_model("slowfast_16x8_r101_50_50")
    for pathway in (model.slow, model.fast):
        kernels = [block.conv_a.conv.kernel_size[0] for block in pathway.res4]
        assert kernels == [3] * 6 + [1] * 17


def test_a_clip_must_have_whole_groups_of_frames() -> None:
    with pytest.raises(ValueError, match=r"multiple of alpha=8, got T=30 in a clip of shape \(1, "):
        small()(torch.zeros(1, 3, 30, 32, 32))


def test_pathways_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="alpha=8 times the frames of Slow, got T=16 and T=4"):
        small().forward_pathways(torch.zeros(1, 3, 4, 32, 32), torch.zeros(1, 3, 16, 32, 32))


# Written down from PySlowFast's and PyTorchVideo's rule, torch.linspace rounded down.
SLOW_FRAMES = [
    (4, 32, "spread", [0, 4, 8, 13, 17, 22, 26, 31]),
    (8, 32, "spread", [0, 10, 20, 31]),
    (8, 32, "strided", [0, 8, 16, 24]),
    (8, 8, "spread", [0]),
]


@pytest.mark.parametrize(("alpha", "frames", "slow_frames", "expected"), SLOW_FRAMES)
def test_which_frames_slow_sees(
    alpha: int, frames: int, slow_frames: str, expected: list[int]
) -> None:
    model: Any = create_model("slowfast_r50", 3, alpha=alpha, slow_frames=slow_frames, width=16)
    clip = torch.arange(frames)[None, None, :, None, None].expand(1, 3, -1, 8, 8).float()
    slow, fast = model.pathways(clip)
    assert slow[0, 0, :, 0, 0].tolist() == expected
    assert torch.equal(fast, clip)


@pytest.mark.parametrize("lateral_norm", [True, False])
def test_what_follows_a_lateral_convolution(lateral_norm: bool) -> None:
    """Batch norm and ReLU, so that Slow is handed nothing below zero; neither in MMAction2."""
    model = small(lateral_norm=lateral_norm)
    handed: list[Tensor] = []
    for lateral in model.lateral.values():
        assert hasattr(lateral, "norm") == lateral_norm
        lateral.register_forward_hook(lambda module, inputs, output: handed.append(output))
    with torch.no_grad():
        model(torch.randn(1, 3, 16, 32, 32))
    assert len(handed) == 4
    assert all((maps >= 0).all() == lateral_norm for maps in handed)


def test_how_many_blocks_of_res4_span_time() -> None:
    """Of 23 in a ResNet-101, by the numbers in the name: of Slow and of Fast."""

    def spanning(name: str) -> list[int]:
        with torch.device("meta"):
            model: Any = create_model(name, 3, width=8)
        kernels = [
            [block.conv_a.conv.kernel_size[0] for block in way.res4]
            for way in (model.slow, model.fast)
        ]
        assert all(row == sorted(row, reverse=True) for row in kernels)
        return [row.count(3) for row in kernels]

    assert spanning("slowfast_8x8_r101_50_50") == [6, 6]
    assert spanning("slowfast_8x8_r101_50_101") == [6, 23]
    assert spanning("slowfast_r101") == [23, 23]
