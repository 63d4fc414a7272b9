"""What methods of flow share: grey images, smaller copies of them, and looking them up elsewhere.

All on tensors, batched, on any device. Images are `(B, 1, H, W)` float32 in 0 to 255, flow is
`(B, 2, H, W)` in pixels: u, then v.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_LUMA = (0.299, 0.587, 0.114)  # red, green and blue in BT.601's grey


def grey_images(frames: NDArray[np.uint8], device: torch.device) -> Tensor:
    """`(T, H, W, 3)` uint8 RGB as `(T, 1, H, W)` float32 grey in 0 to 255."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return (pixels.float() @ torch.tensor(_LUMA, device=device)).unsqueeze(1)  # (T, 1, H, W)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Each channel of `(B, C, H, W)` under a Gaussian; sigma in pixels, edges repeated."""
    reach = min(max(1, round(3 * sigma)), min(images.shape[-2:]) - 1)
    places = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)  # (C, 1, 1, 2 reach + 1)
    for kernel, padding in (
        (weights, (reach, reach, 0, 0)),
        (weights.transpose(2, 3), (0, 0, reach, reach)),
    ):
        padded = F.pad(images, padding, mode="replicate")
        images = F.conv2d(padded, kernel, groups=images.shape[1])
    return images


def pyramid(images: Tensor, scales: int, step: float) -> list[Tensor]:
    """Images and smaller copies of them, each `step` times as large as the one before.

    It ends before `scales` where the next copy would be smaller than 16 pixels.
    """
    # So much blur that what the smaller copy cannot hold is gone; the rule is IPOL 2013's.
    sigma = 0.6 * (step**-2 - 1) ** 0.5
    copies = [images]
    while len(copies) < scales:
        height, width = (round(side * step) for side in copies[-1].shape[-2:])
        if min(height, width) < 16:
            break
        copies.append(_resized(blurred(copies[-1], sigma), (height, width)))
    return copies


def enlarged(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow of a smaller copy as flow of a larger one; its pixels are longer there."""
    height, width = flow.shape[-2:]
    ratios = torch.tensor([size[1] / width, size[0] / height], device=flow.device)
    return _resized(flow, size) * ratios[:, None, None]


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def slopes(images: Tensor) -> Tensor:
    """Central differences of `(B, 1, H, W)`: `(B, 2, H, W)`, along x and along y; 0 at the edge."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return torch.cat([along_x, along_y], dim=1)


def looked_up(images: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel's value where its flow leads, by bicubic interpolation.

    Args:
        images: `(B, C, H, W)`.
        flow: `(B, 2, H, W)` in pixels.

    Returns:
        `(B, C, H, W)`, and `(B, 1, H, W)` whether that place is inside the image; outside of it
        the nearest value at the edge is given.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]  # (B, H, W)
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    inside = (grid.abs() <= 1).all(-1).unsqueeze(1)
    values = F.grid_sample(images, grid, "bicubic", padding_mode="border", align_corners=True)
    return values, inside
