"""A frozen CNN below a recurrent network: what is frozen, what is cached, what is padded."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from praxino.layer_table import layer_table
from praxino.models import cnn_gru, cnn_lstm, cnn_rnn, create_model
from praxino.models.cnn_lstm import CnnRnn

BUILDERS = (cnn_rnn, cnn_gru, cnn_lstm)


def small(build: Any = cnn_lstm, **options: Any) -> CnnRnn:
    torch.manual_seed(0)
    size: dict[str, Any] = {"backbone": "shufflenet_v2_x0_5", "hidden": 8, "size": 32}
    model: CnnRnn = build(3, **size | options).eval()
    return model


def clip_of(frames: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, frames, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("build", BUILDERS)
def test_a_frozen_cnn_answers_as_one_that_is_not(build: Any) -> None:
    frozen, free = small(build), small(build, frozen=False)
    free.load_state_dict(frozen.state_dict())
    with torch.no_grad():
        assert torch.equal(frozen(clip_of(3)), free(clip_of(3)))


def test_training_leaves_a_frozen_cnn_as_it_is() -> None:
    model = small().train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    head = model.head.weight.detach().clone()
    loss, _ = model.loss(clip_of(3), torch.tensor([0, 2]))
    loss.backward()
    optimizer.step()
    after = model.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert not torch.equal(model.head.weight, head)


def test_a_cnn_that_is_not_frozen_learns() -> None:
    model = small(frozen=False).train()
    model.loss(clip_of(3), torch.tensor([0, 2]))[0].backward()
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())


def test_vectors_can_be_kept_and_answered_later() -> None:
    model, clip = small(), clip_of(4)
    with torch.no_grad():
        vectors = model.vectors(clip)
        assert vectors.shape == (2, 4, 1024)
        assert torch.equal(model.answer_to(vectors), model(clip))


@pytest.mark.parametrize("answer", ["last", "mean"])
@pytest.mark.parametrize("build", BUILDERS)
def test_what_is_padded_changes_nothing(build: Any, answer: str) -> None:
    model = small(build, answer=answer)
    long, short = clip_of(5, batch=1), clip_of(3, batch=1)
    padded = torch.cat([short, torch.full((1, 3, 2, 32, 32), 9.0)], dim=2)
    with torch.no_grad():
        together = model(torch.cat([long, padded]), torch.tensor([5, 3]))
        alone = torch.cat([model(long), model(short)])
        assert not torch.allclose(model(padded), model(short), atol=1e-4)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [[0, 2], [2, 4], [2]])
def test_lengths_that_are_none_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"lengths are 2 numbers from 1 to T=3, .* got \["):
        small()(clip_of(3), torch.tensor(lengths))


def test_many_to_one_and_many_to_many() -> None:
    last, mean = small(), small(answer="mean")
    clip, labels = clip_of(3), torch.tensor([2, 0])
    with torch.no_grad():
        steps = last.forward_steps(clip)
        torch.testing.assert_close(last(clip), steps[:, -1])
        torch.testing.assert_close(mean(clip).softmax(1), steps.softmax(2).mean(dim=1))
        loss, logits = last.loss(clip, labels)
        torch.testing.assert_close(loss, cross_entropy(steps[:, -1], labels))
        torch.testing.assert_close(logits, last(clip))
        loss, logits = mean.loss(clip, labels)
        each = [cross_entropy(steps[:, t], labels) for t in range(3)]
        torch.testing.assert_close(loss, torch.stack(each).mean())
        torch.testing.assert_close(logits, mean(clip))


def test_unlike_a_mean_over_frames_it_knows_their_order() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(2, 4, 1024)
    for build in BUILDERS:
        model = small(build)
        with torch.no_grad():
            difference = model.answer_to(vectors.flip(1)) - model.answer_to(vectors)
        assert difference.abs().max() > 0.01, build.__name__


def test_a_window_grows_with_its_length_and_a_recurrent_network_does_not() -> None:
    def parameters(name: str, frames: int) -> int:
        with torch.device("meta"):
            model: Any = create_model(name, 3, backbone="shufflenet_v2_x0_5", frames=frames)
        return sum(row.parameters for row in layer_table(model, receptive_fields=False))

    assert parameters("cnn_lstm", 16) == parameters("cnn_lstm", 4)
    assert parameters("late_fusion_fc", 16) > parameters("late_fusion_fc", 4)


def test_layers_stand_above_one_another() -> None:
    for build in BUILDERS:
        model = small(build, layers=2)
        _, state = model.step(clip_of(1)[:, :, 0])
        states = state if build is not cnn_lstm else state[0]
        assert len(states) == 2, build.__name__


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 layer, got layers=0"):
        small(layers=0)
    with pytest.raises(ValueError, match=r"^answer is 'last' or 'mean', not 'first'\.$"):
        small(answer="first")
