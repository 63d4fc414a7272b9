"""T3D: its layer over several spans of time, and what a 3D network learns from a frozen 2D one."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from praxino.layer_table import layer_table
from praxino.models import create_model
from praxino.models.t3d import TemporalTransition, TwoToThree, match_pairs


def test_kernels_of_several_depths_stand_side_by_side() -> None:
    with torch.device("meta"):
        model = create_model("t3d_121", 3)
    rows = {row.name: row for row in layer_table(model, (3, 32, 64, 64))}
    for number, (channels, depths, out) in enumerate(
        [
            (256, (1, 3, 6), (384, 8, 8, 8)),
            (768, (1, 3, 4), (384, 4, 4, 4)),
            (1152, (1, 3, 4), (384, 2, 2, 2)),
        ],
        start=1,
    ):
        kinds = [rows[f"transition{number}.branches.{i}.conv"].kind for i in range(3)]
        assert kinds == [
            f"Conv3D({d}x{s}x{s}, {channels}->128)" for d, s in zip(depths, (1, 3, 3), strict=True)
        ]
        assert rows[f"transition{number}.pool"].size == out


def test_each_depth_sees_as_many_frames_as_it_says() -> None:
    torch.manual_seed(0)
    layer = TemporalTransition(2, 3, (1, 3, 6)).eval()
    still = torch.zeros(1, 2, 12, 4, 4)
    flash = still.clone()
    flash[:, :, 6] = 1.0
    for branch, frames in zip(layer.branches, ([6], [5, 6, 7], [3, 4, 5, 6, 7, 8]), strict=True):
        changed = (branch(flash) != branch(still)).any(4).any(3).any(1)[0]
        assert changed.nonzero().flatten().tolist() == frames


def test_says_how_many_frames_it_needs() -> None:
    model = create_model("t3d_121", 3, growth=4).eval()
    with pytest.raises(ValueError, match=r"T3d needs T of at least 15, got T=14"):
        model(torch.zeros(1, 3, 14, 32, 32))
    with pytest.raises(ValueError, match=r"T3d needs H and W of at least 29, got 28 x 32"):
        model(torch.zeros(1, 3, 16, 28, 32))


def tiny_transfer() -> TwoToThree:
    """A 2D network that reports the mean colour and more, and a small 3D network."""
    torch.manual_seed(0)
    frames_model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return TwoToThree(frames_model, 8, create_model("small_3d", 5, frames=4, size=16))


def test_learns_in_the_3d_network_only() -> None:
    transfer = tiny_transfer().train()
    before = {name: value.clone() for name, value in transfer.frames_model.state_dict().items()}
    clip = torch.randn(4, 3, 4, 16, 16)
    loss = cross_entropy(transfer(clip, clip), torch.tensor([0, 1, 0, 1]))
    loss.backward()
    assert not transfer.frames_model.training
    with_gradient = {n for n, p in transfer.named_parameters() if p.grad is not None}
    assert with_gradient == {
        name
        for name, _ in transfer.named_parameters()
        if not name.startswith(("frames_model.", "clip_model.head."))
    }
    # Not even the running statistics of its norms move.
    for name, value in transfer.frames_model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_averages_what_the_2d_network_says_of_each_frame() -> None:
    transfer = tiny_transfer().eval()
    frames, clip = torch.randn(2, 3, 4, 16, 16), torch.randn(2, 3, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(transfer(frames.flip(2), clip), transfer(frames, clip))
        assert not torch.allclose(transfer(frames, clip.flip(2)), transfer(frames, clip))
    sizes = [layer.weight.shape for layer in transfer.match if isinstance(layer, nn.Linear)]
    assert sizes == [(512, 8 + 128), (128, 512), (2, 128)]


def test_half_of_the_pairs_match() -> None:
    pairs = match_pairs(101, np.random.default_rng(0))
    assert sorted(pairs.frames) == list(range(101))
    assert pairs.matches.sum() == 50
    np.testing.assert_array_equal(pairs.frames == pairs.clips, pairs.matches == 1)
    # Neither the matches nor what does not match is sorted or biased.
    generator = np.random.default_rng(1)
    drawn = [match_pairs(4, generator) for _ in range(3000)]
    first = np.mean([pairs.matches[0] for pairs in drawn])
    assert first == pytest.approx(0.5, abs=0.04)
    others = Counter((int(p.frames[i]), int(p.clips[i])) for p in drawn for i in range(4))
    wrong = [others[f, c] for f in range(4) for c in range(4) if f != c]
    assert min(wrong) > 0.8 * max(wrong)


def test_the_generator_decides_the_pairs() -> None:
    first, again = (match_pairs(20, np.random.default_rng(7)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_single_moment_has_nothing_to_differ_from() -> None:
    with pytest.raises(ValueError, match=r"do not match need at least 2 moments, got 1\."):
        match_pairs(1, np.random.default_rng(0))


def test_a_small_3d_network_learns_to_match() -> None:
    """Moments are bright or dark in each colour; some pairs of two moments look alike."""
    generator = np.random.default_rng(0)
    torch.manual_seed(0)

    def moments(count: int) -> Tensor:
        colours = torch.from_numpy(generator.choice([-1.0, 1.0], size=(count, 3, 1, 1, 1))).float()
        return colours + 0.2 * torch.randn(count, 3, 4, 8, 8)

    def judged(clips: Tensor) -> tuple[Tensor, Tensor]:
        pairs = match_pairs(len(clips), generator)
        return transfer(clips[pairs.frames], clips[pairs.clips]), torch.from_numpy(pairs.matches)

    transfer = tiny_transfer().train()
    learning = [p for p in transfer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        logits, matches = judged(moments(64))
        cross_entropy(logits, matches).backward()
        optimizer.step()
    with torch.no_grad():
        logits, matches = judged(moments(1024))
    right: Any = (logits.argmax(1) == matches).double().mean()
    assert right > 0.7  # chance is 0.5
