"""Baccouche's 3D CNN, whose maps are connected with whom, and the LSTM above it."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from praxino.layer_table import count_parameters, layer_table
from praxino.models import baccouche_3dcnn, baccouche_lstm, convert_state_dict


def test_nine_frames_become_120_numbers() -> None:
    sizes = {row.name: row.size for row in layer_table(baccouche_3dcnn())}
    assert sizes["c1"] == (7, 5, 48, 28)
    assert sizes["s1"] == (7, 5, 24, 14)
    assert sizes["c2_own"] == (14, 3, 20, 10)
    assert sizes["c2_pairs"] == (21, 3, 20, 10)
    assert sizes["s2"] == (35, 3, 10, 5)
    assert sizes["c3"] == (5, 1, 8, 3)


def test_the_parameters_by_hand() -> None:
    model = baccouche_3dcnn()
    assert count_parameters(model.c1) == 7 * (7 * 7 * 5 + 1)
    assert count_parameters(model.c2_own) == 14 * (5 * 5 * 3 + 1)
    assert count_parameters(model.c2_pairs) == 21 * (2 * 5 * 5 * 3 + 1)
    assert count_parameters(model.c3) == 5 * (35 * 27 + 1)
    assert count_parameters(model) == 1722 + 14 + 1064 + 3171 + 70 + 4730 + 121 * 50 + 51 * 6


def test_each_pair_of_maps_meets_once() -> None:
    pairs = {tuple(pair) for pair in baccouche_3dcnn().pairs.view(21, 2).tolist()}
    assert pairs == {(a, b) for a in range(7) for b in range(7) if a < b}


def test_a_map_reaches_two_of_its_own_and_six_in_common() -> None:
    torch.manual_seed(0)
    model = baccouche_3dcnn()
    maps = torch.zeros(1, 7, 5, 24, 14)
    maps[:, 3] = 1.0
    with torch.no_grad():
        own, pairs = model.c2_own(maps), model.c2_pairs(maps[:, model.pairs])
        silent_own = model.c2_own(torch.zeros_like(maps))
        silent_pairs = model.c2_pairs(torch.zeros(1, 42, 5, 24, 14))
    assert (own != silent_own).any(dim=(2, 3, 4)).nonzero()[:, 1].tolist() == [6, 7]
    assert (pairs != silent_pairs).any(dim=(2, 3, 4)).sum() == 6


def test_only_brightness_counts() -> None:
    torch.manual_seed(0)
    model = baccouche_3dcnn().eval()
    green = torch.zeros(1, 3, 9, 54, 54)
    green[:, 1] = torch.rand(9, 54, 54)
    grey = 0.587 * green[:, 1:2].expand(-1, 3, -1, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(model(green), model(grey))


def clip_of(frames: int) -> Tensor:
    return torch.rand(2, 3, frames, 20, 20, generator=torch.Generator().manual_seed(1))


def test_the_lstm_stands_on_the_same_descriptors() -> None:
    torch.manual_seed(0)
    front, model = baccouche_3dcnn(4).eval(), baccouche_lstm(3).eval()
    converted = convert_state_dict(front.state_dict(), source="baccouche_3dcnn", model=model)
    model.load_state_dict(converted, strict=True)
    clip = clip_of(18)
    with torch.no_grad():
        maps = model.forward_features(clip)
        assert maps.shape == (2, 5, 2, 8, 3)
        for number, subclip in enumerate(clip.split(9, dim=2)):
            expected = front.forward_features(subclip)[:, :, 0]
            torch.testing.assert_close(maps[:, :, number], expected)


def test_the_lstm_has_50_units_on_120_numbers() -> None:
    model = baccouche_lstm()
    assert count_parameters(model.lstm) == 4 * 50 * (120 + 50 + 2)
    assert model.clip_spec.frames == 8 * 9


def test_each_step_has_its_loss_and_the_front_none_of_it() -> None:
    torch.manual_seed(0)
    model, clip, labels = baccouche_lstm(3), clip_of(18), torch.tensor([2, 0])
    loss, logits = model.loss(clip, labels)
    loss.backward()
    assert all(parameter.grad is None for parameter in model.front.parameters())
    with torch.no_grad():
        steps = model.forward_steps(clip)
    each = [cross_entropy(steps[:, number], labels) for number in (0, 1)]
    torch.testing.assert_close(loss, torch.stack(each).mean())
    torch.testing.assert_close(logits.softmax(1), steps.softmax(2).mean(dim=1))


def test_frames_come_in_nines() -> None:
    with pytest.raises(ValueError, match=r"takes 9 frames at a time, got T=20\. Feed 18 frames\."):
        baccouche_lstm()(clip_of(20))
    with pytest.raises(ValueError, match="needs T of at least 9, got T=8"):
        baccouche_lstm()(clip_of(8))
