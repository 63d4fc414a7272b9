"""Skip RNN: equal to the reference, what a skipped frame does, and what frames cost."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from praxino.layer_table import count_parameters
from praxino.models import convert_state_dict, create_model, skip_gru, skip_lstm
from praxino.models.skip_rnn import SkipCnnRnn, SkipRnn, from_gitabcworld

BUILDERS = (skip_gru, skip_lstm)


@pytest.mark.parametrize(("name", "layers"), [("skip_lstm", 1), ("multi_skip_lstm", 2)])
def test_equals_the_reference(lab_goldens: Path, filler: Any, name: str, layers: int) -> None:
    golden = filler.load(lab_goldens / f"recurrent/{name}.json")

    def build() -> nn.Module:
        return SkipRnn(12, 20, cell="lstm", layers=layers)

    def forward(model: Any, sequence: Tensor) -> list[Tensor]:
        shown, used, _ = model(sequence)
        return [shown, used.unsqueeze(2)]

    assert count_parameters(build()) == golden["params"]
    errors = filler.check(golden, build, lambda state: from_gitabcworld(state, build()), forward)
    assert max(errors.values()) < 2e-6
    assert errors["update_gates"] == 0


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_references_names_in_a_whole_model(cell: str) -> None:
    with torch.device("meta"):
        model: Any = create_model(
            f"skip_{cell}", backbone="shufflenet_v2_x0_5", hidden=20, layers=2
        )
        theirs = {
            name.removeprefix("rnn.")
            .replace("update.weight", "weight_uh")
            .replace("update.bias", "bias_uh"): value
            for name, value in model.state_dict().items()
            if name.startswith("rnn.")
        }
        for layer in (0, 1):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                theirs[f"{kind}.{layer}"] = theirs.pop(f"cells.{layer}.{kind}")
        converted = convert_state_dict(theirs, source="gitabcworld", model=model)
        model.load_state_dict(converted, strict=True)


def recurrent(cell: Any, update: float, layers: int = 1) -> SkipRnn:
    """Whose count grows by the same number with each frame."""
    torch.manual_seed(0)
    rnn = SkipRnn(4, 6, cell=cell, layers=layers)
    with torch.no_grad():
        rnn.update.weight.zero_()
        rnn.update.bias.fill_(torch.logit(torch.tensor(update)))
    return rnn


@pytest.mark.parametrize(
    ("update", "used"),
    [
        (0.9, [1, 1, 1, 1, 1, 1, 1]),
        (0.4, [1, 0, 1, 0, 1, 0, 1]),  # 0.4 is rounded down, 0.8 up
        (0.2, [1, 0, 0, 1, 0, 0, 1]),
        (0.01, [1, 0, 0, 0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_frame_is_used_when_the_count_rounds_to_one(
    cell: Any, update: float, used: list[int]
) -> None:
    rnn = recurrent(cell, update)
    with torch.no_grad():
        assert rnn(torch.randn(2, 7, 4))[1].tolist() == [used, used]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_skipped_frame_changes_nothing_whatever_it_shows(cell: Any) -> None:
    rnn, vectors = recurrent(cell, 0.4, layers=2), torch.randn(1, 5, 4)
    changed = vectors.clone()
    changed[:, [1, 3]] = 100.0
    with torch.no_grad():
        shown, _, state = rnn(vectors)
        other, _, _ = rnn(changed)
    assert torch.equal(shown, other)
    assert torch.equal(shown[:, 1], shown[:, 0])
    assert not torch.equal(shown[:, 2], shown[:, 1])
    assert len(state.layers) == 2


@pytest.mark.parametrize(("cell", "kind"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_without_skips_it_is_torchs_own(cell: Any, kind: Any) -> None:
    rnn, vectors = recurrent(cell, 0.999, layers=2), torch.randn(2, 5, 4)
    torchs = kind(4, 6, 2, batch_first=True)
    torchs.load_state_dict(
        {
            f"{name}_l{layer}": value
            for layer in (0, 1)
            for name, value in rnn.cells[layer].state_dict().items()
        }
    )
    with torch.no_grad():
        torch.testing.assert_close(rnn(vectors)[0], torchs(vectors)[0])


def test_rounding_lets_gradients_through() -> None:
    rnn = recurrent("lstm", 0.4)
    rnn(torch.randn(1, 3, 4))[0].sum().backward()
    assert rnn.update.weight.grad is not None
    assert rnn.update.weight.grad.any()


def test_begins_by_using_frames_and_remembering() -> None:
    rnn: Any = SkipRnn(4, 6, cell="lstm", layers=2)
    assert rnn.update.bias.item() == 1
    for cell in rnn.cells:
        assert cell.bias_ih[6:12].tolist() == [1.0] * 6
        assert not (cell.bias_ih[:6] == 1).any()


def small(build: Any = skip_lstm, **options: Any) -> SkipCnnRnn:
    torch.manual_seed(0)
    size: dict[str, Any] = {"backbone": "shufflenet_v2_x0_5", "hidden": 8, "size": 32}
    model: SkipCnnRnn = build(3, **size | options).eval()
    return model


@pytest.mark.parametrize("build", BUILDERS)
def test_each_used_frame_costs(build: Any) -> None:
    clip, labels = torch.randn(2, 3, 4, 32, 32), torch.tensor([0, 2])
    model = small(build, frame_cost=0.25)
    with torch.no_grad():
        used = model.used_frames(clip)
        loss, logits = model.loss(clip, labels)
        torch.testing.assert_close(logits, model(clip))
    assert used.shape == (2, 4)
    assert set(used.flatten().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(loss - cross_entropy(logits, labels), 0.25 * used.sum() / 2)


def test_the_cost_alone_teaches_it_to_skip() -> None:
    model = small(frame_cost=1.0).train()
    clip, labels = torch.randn(2, 3, 6, 32, 32), torch.tensor([0, 2])
    optimizer = torch.optim.SGD(model.rnn.parameters(), lr=0.5)
    before = model.used_frames(clip).sum()
    for _ in range(20):
        optimizer.zero_grad()
        model.loss(clip, labels)[0].backward()
        optimizer.step()
    assert model.used_frames(clip).sum() < before


def test_in_a_stream_the_cnn_rests_while_no_frame_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = small(), []
    maps = model.backbone.maps

    def counted(clip: Tensor) -> Tensor:
        seen.append(clip.shape[2])
        return maps(clip)

    monkeypatch.setattr(model.backbone, "maps", counted)
    with torch.no_grad():
        model.rnn.update.weight.zero_()
        model.rnn.update.bias.fill_(-1.0)  # sigmoid 0.27: used, skipped, used
        state = None
        for frame in torch.randn(1, 3, 5, 32, 32).unbind(2):
            _, state = model.step(frame, state)
    assert len(seen) == 3


def test_a_frozen_cnn_has_no_gradient() -> None:
    model = small().train()
    model.loss(torch.randn(2, 3, 2, 32, 32), torch.tensor([0, 2]))[0].backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert not model.backbone.training


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 layer, got layers=0"):
        small(layers=0)
    with pytest.raises(ValueError, match=r"frame_cost is 0 or more, got -0\.5"):
        small(frame_cost=-0.5)


# The tasks of the paper that need no data, shortened.


def learn(rnn: SkipRnn, head: nn.Linear, steps: int, loss_of: Any) -> tuple[float, float]:
    """Train; the last number that `loss_of` gives beside its loss, and the share of used steps."""
    parameters = [*rnn.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        loss, measured, used = loss_of(generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return measured.item(), used.mean().item()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_adds_up_two_marked_numbers_of_ten(cell: Any) -> None:
    torch.manual_seed(0)
    rnn, head = SkipRnn(2, 32, cell=cell), nn.Linear(32, 1)

    def loss_of(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        numbers, marks = torch.rand(64, 10, generator=generator) - 0.5, torch.zeros(64, 10)
        for start in (0, 5):
            marks[range(64), torch.randint(start, start + 5, (64,), generator=generator)] = 1
        shown, used, _ = rnn(torch.stack([numbers, marks], dim=2))
        loss = (head(shown[:, -1])[:, 0] - (numbers * marks).sum(dim=1)).square().mean()
        return loss, loss, used

    error, used = learn(rnn, head, 150, loss_of)
    assert error < 0.03, "who always says zero has 1/6"
    assert used > 0.5, "it has to look for the marks"


@pytest.mark.slow
def test_tells_frequencies_apart_and_saves_samples() -> None:
    torch.manual_seed(0)
    rnn, head = SkipRnn(1, 24, cell="gru"), nn.Linear(24, 2)

    def loss_of(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.randint(2, (64,), generator=generator)
        u, phase = torch.rand(64, generator=generator), torch.rand(64, 1, generator=generator)
        period = torch.where(labels == 1, 12 + 8 * u, 3 + 3 * u)[:, None]
        wave = torch.sin(2 * torch.pi * (torch.arange(20) / period + phase))
        shown, used, _ = rnn(wave[..., None])
        logits = head(shown[:, -1])
        loss = cross_entropy(logits, labels) + 0.02 * used.sum(dim=1).mean()
        return loss, (logits.argmax(dim=1) == labels).float().mean(), used

    right, used = learn(rnn, head, 220, loss_of)
    assert right > 0.95
    assert used < 0.7
