"""What a network is told that learns optical flow from frames alone, without anyone's flow.

Zhu, Lan, Newsam and Hauptmann, "Hidden Two-Stream Convolutional Networks for Action Recognition",
ACCV 2018, arXiv:1704.00389, Sec. 3.1: the second frame, carried back along the flow, should look
like the first one, pixel by pixel and in its structure; and flow should be smooth.

Notable: the sums and constants are those of the authors' Caffe layers, which the paper leaves open.
Differs from the authors' code: their photometric and smoothness layers divide by the number of
clips twice, so that 16 clips weigh a sixteenth; here a batch's loss is the mean of its clips'.
Frames are made smaller around the centres of pixels; theirs, from corner to corner.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-3  # of the Charbonnier penalty; keeps its slope finite at zero
SSIM_SIDE = 8  # pixels of a patch, and from one patch to the next
# From the finest scale, half the picture's size, to the coarsest. They multiply sums over patches,
# of which each scale has four times fewer than the one before.
SSIM_WEIGHTS = (0.01, 0.02, 0.04, 0.08, 0.16)


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """Pictures as they were before they moved: each pixel is read where the flow leads to.

    Args:
        pictures: `(N, C, H, W)`.
        flow: `(N, 2, H, W)` in pixels, u to the right and v down.

    Returns:
        `(N, C, H, W)`, interpolated between four pixels; what comes from outside is zero.
    """
    height, width = flow.shape[-2:]
    across = torch.arange(width, device=flow.device, dtype=flow.dtype)
    down = torch.arange(height, device=flow.device, dtype=flow.dtype)
    x, y = flow[:, 0] + across, flow[:, 1] + down[:, None]  # (N, H, W)
    # -1 to 1 are the outer edges of the outermost pixels.
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return functional.grid_sample(pictures, grid, align_corners=False)


def charbonnier(difference: Tensor, alpha: float) -> Tensor:
    """The generalised Charbonnier penalty of each number; EPSILON ** (2 alpha) is the least."""
    return (difference.square() + EPSILON**2) ** alpha


def inside(maps: Tensor) -> Tensor:
    """Without a border of a tenth of the shorter side, which flow may have carried away."""
    height, width = maps.shape[-2:]
    border = int(0.1 * min(height, width) + 0.5)
    return maps[..., border : height - border, border : width - border]


def photometric_loss(first: Tensor, warped: Tensor) -> Tensor:
    """How much colours differ: the mean of their Charbonnier penalties within the border (Eq. 1).

    Args:
        first: `(N, C, H, W)`, colours in a range of 1.
        warped: the next frames, carried back; the same shape.
    """
    return inside(charbonnier(255 * (first - warped), alpha=0.4)).mean()


def smoothness_loss(flow: Tensor) -> Tensor:
    """How much neighbours' flow differs, to the right and below (Eq. 3).

    Args:
        flow: `(N, 2 L, H, W)` in pixels of these maps.

    Returns:
        The four derivatives' Charbonnier penalties, added up; a third of their mean over flows and
        pixels, because the authors' layer counts three colours for each flow.
    """
    right = flow.diff(dim=-1, append=flow[..., -1:])
    below = flow.diff(dim=-2, append=flow[..., -1:, :])
    penalties = charbonnier(right, alpha=0.3) + charbonnier(below, alpha=0.3)
    return 2 / 3 * inside(penalties).mean()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of patches of 8 x 8 pixels, side by side (Eq. 4).

    Args:
        first: `(N, C, H, W)`.
        second: the same shape.

    Returns:
        `(N, C, ceil(H / 8), ceil(W / 8))`, 1 where they are equal. What a patch lacks at the right
        and below counts as zero, as in the authors' code.
    """
    # A Gaussian of which three sigmas are half a patch; its middle is the fifth of eight pixels.
    steps = torch.arange(SSIM_SIDE, device=first.device, dtype=first.dtype) - SSIM_SIDE // 2
    bell = (-steps.square() / (2 * (SSIM_SIDE / 6) ** 2)).exp()
    kernel = torch.outer(bell / bell.sum(), bell / bell.sum())

    def mean(maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        maps = functional.pad(maps, (0, -width % SSIM_SIDE, 0, -height % SSIM_SIDE))
        patches = rearrange(maps, "n c (h p) (w q) -> n c h w p q", p=SSIM_SIDE, q=SSIM_SIDE)
        return (patches * kernel).sum(dim=(-2, -1))

    m1, m2 = mean(first), mean(second)
    variances = mean(first.square()) - m1.square() + mean(second.square()) - m2.square()
    covariance = mean(first * second) - m1 * m2
    likeness = (2 * m1 * m2 + 1e-4) / (m1.square() + m2.square() + 1e-4)
    return likeness * (2 * covariance + 1e-3) / (variances + 1e-3)


def ssim_loss(first: Tensor, warped: Tensor) -> Tensor:
    """One minus the similarity, summed over the patches and channels of a clip (Eq. 5).

    Args:
        first: `(B, C, H, W)`, where C counts the colours of all frames of a clip.
        warped: the same shape.

    Returns:
        The mean over clips.
    """
    return (1 - ssim(first, warped)).sum() / len(first)


def motion_loss(clip: Tensor, flows: Sequence[Tensor]) -> Tensor:
    """All three losses of the flows of a clip at all scales, added up (Eq. 6).

    Args:
        clip: `(B, 3, T, H, W)`, colours in a range of 1.
        flows: from the finest to the coarsest, `(B, 2 (T - 1), h, w)`: u and v of each pair of
            frames, in units of 20 pixels of the clip.
    """
    # Local response norm over the three colours, against changes of light.
    frames = rearrange(clip, "b c t h w -> (b t) c h w")
    frames = functional.local_response_norm(frames, size=9, alpha=1.0, beta=0.7, k=1.0)
    total = clip.new_zeros(())
    for flow, weight in zip(flows, SSIM_WEIGHTS, strict=True):
        height, width = flow.shape[-2:]
        small = functional.interpolate(
            frames, (height, width), mode="bilinear", antialias=True, align_corners=False
        )
        small = rearrange(small, "(b t) c h w -> b t c h w", b=len(clip))
        # Under autocast, flow comes rounded.
        pixels = flow.to(clip.dtype) * (20 * height / clip.shape[-2])
        each = rearrange(pixels, "b (l c) h w -> (b l) c h w", c=2)
        warped = warp(small[:, 1:].flatten(0, 1), each)
        first = small[:, :-1].flatten(1, 2)  # (B, 3 (T - 1), h, w)
        warped = warped.view_as(first)
        total = total + photometric_loss(first, warped) + smoothness_loss(pixels)
        total = total + weight * ssim_loss(first, warped)
    return total
