"""Which region speaks for an action, and which may."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from praxino.models import convert_state_dict
from praxino.models.actionvlad import vgg16_conv5
from praxino.models.rstar_cnn import LEAST_OVERLAP, MOST_OVERLAP, WINDOWS, overlap, rstar_cnn


def small() -> Any:
    torch.manual_seed(0)
    return rstar_cnn(3, hidden=8, width=8, frames=2, size=64).eval()


PERSON = torch.tensor([[[0.0, 0.0, 40.0, 40.0]]])
CANDIDATES = torch.tensor(
    [
        [
            [
                [0.0, 0.0, 40.0, 40.0],  # the person: overlaps too much
                [0.0, 0.0, 20.0, 32.0],
                [24.0, 0.0, 64.0, 40.0],
                [50.0, 50.0, 64.0, 64.0],  # does not overlap
                [0.0, 20.0, 40.0, 60.0],
            ]
        ]
    ]
)


def test_overlap_by_hand() -> None:
    found = overlap(PERSON[:, :, None], CANDIDATES)[0, 0]
    torch.testing.assert_close(found, torch.tensor([1, 0.4, 0.25, 0, 1 / 3]))


def test_windows_of_the_grid_may_all_speak() -> None:
    overlaps = overlap(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor(WINDOWS))
    assert len(set(WINDOWS)) == 19
    assert ((overlaps > LEAST_OVERLAP) & (overlaps < MOST_OVERLAP)).all()


class Shares(nn.Module):
    """Stands for conv5_3: each colour's brightness at every sixteenth pixel."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames[:, :, ::16, ::16]


def planted() -> Any:
    """phi is how bright each colour of a region is at its brightest."""
    model = small()
    model.backbone = Shares()
    model._phi = lambda maps, boxes: _brightest(maps, boxes)
    model.head = nn.Linear(6, 2, bias=False)
    with torch.no_grad():  # w sees red only; w_s sees green for class 0 and blue for class 1
        model.head.weight.copy_(torch.tensor([[1.0, 0, 0, 0, 10, 0], [2.0, 0, 0, 0, 0, 10]]))
    return model


def _brightest(maps: Tensor, boxes: Tensor) -> Tensor:
    from torchvision.ops import roi_pool

    rows = torch.cat([torch.zeros(boxes.shape[1], 1), boxes[0]], dim=1)
    return roi_pool(maps, rows, 1, 1 / 16).flatten(1)[None]


@torch.no_grad()
def test_the_score_is_the_persons_and_the_best_regions() -> None:
    model, clip = planted(), torch.zeros(1, 3, 1, 64, 64)
    clip[0, 0, 0, :16, :16] = 1  # red at the upper left
    clip[0, 1, 0, 48:, :16] = 2  # green at the lower left, which the last candidate holds
    clip[0, 2, 0, :16, 48:] = 3  # blue at the upper right, which the third holds
    logits, which = model.score_regions(clip, PERSON, CANDIDATES)
    assert which.tolist() == [[[4, 2]]]
    assert logits.tolist() == [[[1 + 20, 2 + 30]]]


@torch.no_grad()
def test_a_person_without_regions_is_scored_alone() -> None:
    model, clip = planted(), torch.zeros(1, 3, 1, 64, 64)
    clip[0, :, 0, :16, :16] = 1
    logits, which = model.score_regions(clip, PERSON, CANDIDATES[:, :, [0, 3]])
    assert which.tolist() == [[[-1, -1]]]
    assert logits.tolist() == [[[1, 2]]]


def test_ten_regions_are_drawn_in_training() -> None:
    model = small().train()
    drawn: list[int] = []
    phi = model._phi
    model._phi = lambda maps, boxes: (drawn.append(boxes.shape[1]), phi(maps, boxes))[1]
    clip = torch.randn(1, 3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    firsts = set()
    for _ in range(6):
        cross_entropy(model(clip), torch.tensor([1])).backward()
        windows = torch.tensor(WINDOWS)[None, None] * 64
        person = torch.tensor([[[0.0, 0.0, 64.0, 64.0]]])
        firsts.add(model.score_regions(clip, person, windows)[1][0, 0, 0].item())
    assert set(drawn) == {1, 10}
    assert len(firsts) > 1
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
def test_frames_probabilities_are_averaged() -> None:
    model = small()
    clip = torch.randn(1, 3, 2, 64, 64, generator=torch.Generator().manual_seed(1))
    each = torch.stack([model(clip[:, :, :1]).softmax(1), model(clip[:, :, 1:]).softmax(1)])
    torch.testing.assert_close(model(clip).softmax(1), each.mean(0))


def test_two_steps_of_training_lower_the_loss() -> None:
    model = small()
    clip = torch.randn(2, 3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(3):
        loss = cross_entropy(model(clip), torch.tensor([0, 2]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 3


def test_imagenet_weights_fill_all_but_the_head() -> None:
    model = small()
    state = {f"features.{name}": value for name, value in vgg16_conv5(3, 8).state_dict().items()}
    for number, layer in ((0, model.fc6), (3, model.fc7), (6, model.head)):
        state |= {f"classifier.{number}.{leaf}": p + 1 for leaf, p in layer.state_dict().items()}
    found = convert_state_dict(state, source="torchvision", model=model)
    assert found.keys() == model.state_dict().keys()
    assert torch.equal(found["backbone.28.weight"], state["features.28.weight"])
    assert torch.equal(found["fc7.weight"], model.fc7.weight + 1)
    assert torch.equal(found["head.weight"], model.head.weight)


@pytest.mark.parametrize(
    ("persons", "candidates", "message"),
    [
        (
            PERSON[0],
            CANDIDATES,
            r"person_boxes must be \(B, T, 4\) = \(1, 1, 4\), .*, got \(1, 4\)",
        ),
        (PERSON, CANDIDATES[0], r"candidate_boxes must be .* = \(1, 1, N, 4\), .* got \(1, 5, 4\)"),
        (PERSON, CANDIDATES[:, :, :0], r"at least one in each frame, got \(1, 1, 0, 4\)"),
        (
            PERSON[..., [2, 1, 0, 3]],
            CANDIDATES,
            r"got \[40\.0, 0\.0, 0\.0, 40\.0\], which has no h",
        ),
    ],
)
def test_boxes_that_are_none_are_refused(persons: Tensor, candidates: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().forward_regions(torch.zeros(1, 3, 1, 64, 64), persons, candidates)
