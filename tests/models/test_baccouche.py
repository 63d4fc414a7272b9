"""Baccouche's 3D CNN: its sizes, and who is connected with whom in its second convolution."""

import torch

from praxino.layer_table import count_parameters, layer_table
from praxino.models import baccouche_3dcnn


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
