"""Which frames matter, and a captioner of a made-up vocabulary."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.models.temporal_attention import (
    END,
    AttentiveLstm,
    Captioner,
    temporal_attention,
)

WORDS = ("<end>", "a", "man", "cat", "runs", "sleeps")


def small(**options: Any) -> Any:
    torch.manual_seed(0)
    options = {"backbone": "resnet18", "hidden": 8, "frames": 3, "size": 32} | options
    return temporal_attention(4, **options).eval()


def captioner(words: int = len(WORDS), seed: int = 0) -> Captioner:
    torch.manual_seed(seed)
    return Captioner(words, vector=4, word=6, hidden=16, dropout=0.0).eval()


@pytest.fixture
def videos() -> Tensor:
    """Two videos of five frames: a man runs, a cat sleeps."""
    torch.manual_seed(1)
    return torch.eye(4)[:2, None] * 3 + 0.1 * torch.randn(2, 5, 4)


SENTENCES = torch.tensor([[1, 2, 4, END], [1, 3, 5, END]])


@torch.no_grad()
def test_attention_by_hand() -> None:
    """e = tanh(v) with all matrices one and h zero; then the mean by these weights, half of it."""
    torch.manual_seed(0)
    lstm = AttentiveLstm(vector=1, word=0, hidden=2)
    for layer in (lstm.of_frame, lstm.matters):
        nn.init.ones_(layer.weight)
    nn.init.zeros_(lstm.of_frame.bias)
    nn.init.zeros_(lstm.gate.bias)
    vectors = torch.tensor([[[0.0], [1.0], [-2.0]]])
    look = lstm(vectors, (torch.zeros(1, 2), torch.zeros(1, 2)))
    weights = vectors[..., 0].tanh().softmax(1)
    torch.testing.assert_close(look.weights, weights)
    torch.testing.assert_close(look.context, 0.5 * (weights * vectors[..., 0]).sum(1, keepdim=True))


@torch.no_grad()
def test_frames_are_weighed_and_their_order_does_not_matter() -> None:
    model = small()
    clip = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    weights = model.attention(clip)
    assert weights.shape == (2, 3, 1, 1)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 1, 1))
    torch.testing.assert_close(model.attention(clip.flip(2)), weights.flip(1))
    torch.testing.assert_close(model(clip.flip(2)), model(clip))


def test_each_look_depends_on_the_one_before() -> None:
    model = small(looks=2)
    clip = torch.randn(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    first, second = model._look(clip)
    assert not torch.equal(first.weights, second.weights)


def test_a_captioner_learns_what_it_is_told(videos: Tensor) -> None:
    model = captioner()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    first = model.loss(videos, SENTENCES).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss = model.loss(videos, SENTENCES)
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert loss.item() < 0.2 < 4 < first
    for beam in (1, 3):
        said = [model.describe(video, beam=beam) for video in videos]
        assert [" ".join(WORDS[word] for word in one.words) for one in said] == [
            "a man runs",
            "a cat sleeps",
        ]
        assert said[0].weights.shape == (3, 5)
        torch.testing.assert_close(said[0].weights.sum(dim=1), torch.ones(3))


@torch.no_grad()
def test_what_follows_the_end_costs_nothing(videos: Tensor) -> None:
    model = captioner()
    padded = torch.tensor([[1, 2, 4, END, END, 3], [1, 3, 5, END, END, END]])
    torch.testing.assert_close(model.loss(videos, padded), model.loss(videos, SENTENCES))
    longer = torch.tensor([[1, 2, 4, 4, END], [1, 3, 5, 5, END]])
    assert not torch.isclose(model.loss(videos, longer), model.loss(videos, SENTENCES))


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_best_of_all_sentences(videos: Tensor, seed: int) -> None:
    """Of three words and at most three long there are few enough to try them all."""
    model, longest = captioner(words=3, seed=seed), 3
    sentences = [
        (*words, *([END] if length < longest else []))
        for length in range(longest + 1)
        for words in itertools.product((1, 2), repeat=length)
    ]
    logs = {words: -model.loss(videos[:1], torch.tensor([words])).item() for words in sentences}
    best = max(logs, key=lambda words: logs[words])
    found = model.describe(videos[0], beam=len(sentences), longest=longest)
    assert found.words == tuple(word for word in best if word != END)
    assert found.log_probability == pytest.approx(logs[best], abs=1e-5)
    greedy = model.describe(videos[0], beam=1, longest=longest)
    assert greedy.log_probability <= found.log_probability + 1e-6


@torch.no_grad()
def test_steps_are_what_the_whole_sentence_is(videos: Tensor) -> None:
    model = captioner()
    logits = model(videos, SENTENCES)
    assert logits.shape == (2, 4, len(WORDS))
    state, last = model.begin(videos), None
    for position in range(4):
        said, look = model.step(videos, state, last)
        torch.testing.assert_close(said, logits[:, position])
        state, last = (look.shown, look.kept), SENTENCES[:, position]


def test_what_it_cannot_take_is_refused(videos: Tensor) -> None:
    with pytest.raises(ValueError, match="looks must be at least 1, got 0"):
        small(looks=0)
    with pytest.raises(
        ValueError, match="words must be at least 2, the end and another one, got 1"
    ):
        Captioner(1)
    with pytest.raises(ValueError, match=r"vectors of shape \(B, T, 4\), got \(2, 5, 3\)"):
        captioner()(videos[..., :3], SENTENCES)
    with pytest.raises(ValueError, match="beam and longest must be at least 1, got 0 and 30"):
        captioner().describe(videos[0], beam=0)
