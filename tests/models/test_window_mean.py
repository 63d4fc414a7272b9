"""Means over the windows of a map."""

import torch

from praxino.models.window_mean import WindowMean


def test_a_map_smaller_than_the_window_is_one_window() -> None:
    maps = torch.arange(2.0 * 3).reshape(1, 1, 1, 2, 3)
    mean = WindowMean((4, 2, 2))
    torch.testing.assert_close(mean(maps), torch.tensor([2.0, 3.0]).reshape(1, 1, 1, 1, 2))
    torch.testing.assert_close(mean(maps[..., :1]), torch.tensor(1.5).reshape(1, 1, 1, 1, 1))
