"""The mean over windows of a map, as networks are tested on clips larger than they learned on."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool3d


class WindowMean(nn.Module):
    """Means over all windows of a map, each step one position further.

    Args:
        window: T, H and W in positions of the map.
    """

    def __init__(self, window: tuple[int, int, int]) -> None:
        super().__init__()
        self.window = window

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to what windows there are; a map that is smaller is one window."""
        fitting = [min(size, most) for size, most in zip(maps.shape[2:], self.window, strict=True)]
        return avg_pool3d(maps, fitting, stride=1)
