"""Lucas and Kanade's optical flow, dense and from coarse to fine, with its confidence.

Lucas & Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision",
IJCAI 1981; the confidence after Shi & Tomasi, "Good Features to Track", CVPR 1994.

Notable: the aperture problem can be seen. A pixel tells one equation, `I_x u + I_y v + I_t = 0`,
and flow has two unknowns; so all pixels of a window are taken to move alike. Along a straight edge
they all tell the same equation, the structure tensor (the sum of slope times slope) has one
eigenvalue near zero, and only the motion across the edge is found. The smaller eigenvalue is the
confidence.
Differs: windows are Gaussians, not boxes; every pixel has flow, and where the window tells nothing
it keeps that of the coarser scale.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from praxino.video.flow_pyramid import blurred, enlarged, looked_up, pyramid, slopes


class ConfidentFlow(NamedTuple):
    """Flow, and how much of it the image can tell.

    Args:
        flow: `(B, 2, H, W)` in pixels: u, then v.
        confidence: `(B, H, W)`, the smaller eigenvalue of the structure tensor in squared grey
            levels per pixel: near 0 where nothing is to be seen, or only an edge.
    """

    flow: Tensor
    confidence: Tensor


@torch.no_grad()
def lucas_kanade(
    first: Tensor,
    second: Tensor,
    *,
    window: float = 2.5,
    scales: int = 5,
    warps: int = 3,
    noise: float = 2.0,
) -> ConfidentFlow:
    """The flow from `first` to `second`.

    Args:
        first: `(B, 1, H, W)` float grey in 0 to 255; H and W at least 16.
        second: likewise.
        window: standard deviation of the Gaussian window, in pixels of each scale.
        scales: copies of the images, each half as large; fewer where they would be tiny.
        warps: at each scale, how often the second image is looked up anew along the flow.
        noise: grey levels; directions in which the image is flatter than this are left alone.
    """
    copies = zip(
        reversed(pyramid(blurred(first, 0.8), scales, 0.5)),
        reversed(pyramid(blurred(second, 0.8), scales, 0.5)),
        strict=True,
    )
    flow = first.new_zeros(len(first), 2, 1, 1)
    for small_first, small_second in copies:
        flow = enlarged(flow, (small_first.shape[-2], small_first.shape[-1]))
        looks = torch.cat([small_second, slopes(small_second)], dim=1)  # (B, 3, H, W)
        for _ in range(warps):
            seen, inside = looked_up(looks, flow)
            # The mean slope of both images halves the error of the linear model.
            slope = (slopes(small_first) + seen[:, 1:]) / 2 * inside
            change = seen[:, :1] - small_first
            flow = flow + _step(slope, change, window, noise)
    return ConfidentFlow(flow, confidence(first, window))


def confidence(images: Tensor, window: float = 2.5) -> Tensor:
    """The smaller eigenvalue of the structure tensor.

    Args:
        images: `(B, 1, H, W)` float grey in 0 to 255.
        window: as `lucas_kanade`.

    Returns:
        `(B, H, W)`, at least 0.
    """
    xx, xy, yy = _structure_tensor(slopes(blurred(images, 0.8)), window)
    # Eigenvalues of a symmetric 2 x 2 matrix: mean of the diagonal, plus and minus this.
    spread = ((xx - yy) / 2).square().add(xy.square()).sqrt()
    return ((xx + yy) / 2 - spread).clamp_min(0)


def _structure_tensor(slope: Tensor, window: float) -> tuple[Tensor, Tensor, Tensor]:
    x, y = slope.unbind(1)
    xx, xy, yy = blurred(torch.stack([x * x, x * y, y * y], dim=1), window).unbind(1)
    return xx, xy, yy  # (B, H, W) each


def _step(slope: Tensor, change: Tensor, window: float, noise: float) -> Tensor:
    """The least-squares step of each window, `(B, 2, H, W)`."""
    xx, xy, yy = _structure_tensor(slope, window)
    xt, yt = blurred(slope * change, window).unbind(1)
    # Damped: along directions without slope there is no step, where the plain inverse explodes.
    xx, yy = xx + noise**2, yy + noise**2
    determinant = xx * yy - xy.square()
    return torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], dim=1) / determinant.unsqueeze(1)
