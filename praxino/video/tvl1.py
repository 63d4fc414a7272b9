"""TV-L1 optical flow on tensors: batched, on a GPU or a CPU.

Zach, Pock & Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007; with
the details of Sanchez, Meinhardt-Llopis & Facciolo, "TV-L1 Optical Flow Estimation", Image
Processing On Line 2013.

Notable: brightness may differ a lot in a few places (L1), and flow may jump at edges (total
variation); every pixel is computed in the same way, which is why it suits a GPU.
Differs: a median filter cleans the flow before each warp, after Wedel et al., "An Improved
Algorithm for TV-L1 Optical Flow", 2009, and as OpenCV does. A pair stops by itself when it has
converged, so that its flow does not depend on the others of the batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from praxino.video.flow_pyramid import blurred, enlarged, looked_up, pyramid, slopes

_CHECKED_EVERY = 10  # iterations; a look at the convergence makes a GPU wait
_MEDIAN_ROWS = 128  # at once: 25 neighbours of each pixel take memory


@torch.no_grad()
def tvl1(
    first: Tensor,
    second: Tensor,
    *,
    attachment: float = 0.15,
    tightness: float = 0.3,
    time_step: float = 0.25,
    scales: int = 5,
    scale_step: float = 0.5,
    warps: int = 5,
    iterations: int = 50,
    tolerance: float = 0.01,
) -> Tensor:
    """The flow from `first` to `second`.

    Args:
        first: `(B, 1, H, W)` float grey in 0 to 255; H and W at least 16.
        second: likewise.
        attachment: lambda; the larger, the closer to the brightness, the less smooth.
        tightness: theta; how far the smooth flow may be from the one that fits the brightness.
        time_step: tau of the dual's ascent; up to 0.125 it is proven to converge, up to 0.25 it
            does.
        scales: copies of the images, the first of full size; fewer where they would be tiny.
        scale_step: size of a copy over that of the one before, in (0, 1).
        warps: at each scale, how often the second image is looked up anew along the flow.
        iterations: at most so many after each warp.
        tolerance: pixels that the flow may still move in an iteration, root mean square.

    Returns:
        `(B, 2, H, W)` in pixels: u, then v.
    """
    # Both by one smoothing, as IPOL 2013 does first of all; it calms the slopes.
    first_copies = pyramid(blurred(first, 0.8), scales, scale_step)
    second_copies = pyramid(blurred(second, 0.8), scales, scale_step)
    flow = first_copies[-1].new_zeros(len(first), 2, *first_copies[-1].shape[-2:])
    for small_first, small_second in zip(
        reversed(first_copies), reversed(second_copies), strict=True
    ):
        size = (small_first.shape[-2], small_first.shape[-1])
        if flow.shape[-2:] != size:
            flow = enlarged(flow, size)
        dual = flow.new_zeros(*flow.shape[:2], 2, *size)  # (B, 2, 2, H, W): of u and v, along x, y
        looks = torch.cat([small_second, slopes(small_second)], dim=1)  # (B, 3, H, W)
        for _ in range(warps):
            flow = _median(flow)
            seen, inside = looked_up(looks, flow)
            slope = seen[:, 1:] * inside  # what leaves the picture has no brightness to compare
            # The residual I1(x + u) - I0 is linear around this flow: rest + slope . flow.
            rest = seen[:, :1] - (slope * flow).sum(1, keepdim=True) - small_first
            flow, dual = _minimised(
                flow, dual, slope, rest, attachment, tightness, time_step, iterations, tolerance
            )
    return flow


def _minimised(
    flow: Tensor,
    dual: Tensor,
    slope: Tensor,
    rest: Tensor,
    attachment: float,
    tightness: float,
    time_step: float,
    iterations: int,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """Flow and dual after one warp; pairs that have converged are taken out of the batch."""
    final_flow, final_dual = flow.clone(), dual.clone()
    going = torch.arange(len(flow), device=flow.device)
    steepness = slope.square().sum(1, keepdim=True).clamp_min(1e-10)
    limit, rate = attachment * tightness, time_step / tightness
    for iteration in range(1, iterations + 1):
        residual = rest + (slope * flow).sum(1, keepdim=True)
        # The thresholding step: towards equal brightness, along the slope, by a bounded amount.
        step = (residual / steepness).clamp_(-limit, limit)
        before = flow
        flow = torch.addcmul(flow, step, slope, value=-1) + tightness * _divergence(dual)
        grown = _forward_differences(flow)  # (B, 2, 2, H, W)
        length = grown.square().sum(2, keepdim=True).sqrt_()
        dual = torch.add(dual, grown, alpha=rate).div_(length.mul_(rate).add_(1))
        if iteration % _CHECKED_EVERY == 0 or iteration == iterations:
            moved = (flow - before).square().sum(1).mean((1, 2))  # (B,)
            done = (moved < tolerance**2) | (iteration == iterations)
            if done.any():
                final_flow[going[done]], final_dual[going[done]] = flow[done], dual[done]
                going = going[~done]
                if not len(going):
                    break
                flow, dual, slope, rest, steepness = (
                    tensor[~done] for tensor in (flow, dual, slope, rest, steepness)
                )
    return final_flow, final_dual


def _forward_differences(flow: Tensor) -> Tensor:
    """`(B, 2, H, W)` to `(B, 2, 2, H, W)`: along x, along y; 0 at the far edge."""
    grown = flow.new_zeros(*flow.shape[:2], 2, *flow.shape[-2:])
    torch.sub(flow[..., :, 1:], flow[..., :, :-1], out=grown[:, :, 0, :, :-1])
    torch.sub(flow[..., 1:, :], flow[..., :-1, :], out=grown[:, :, 1, :-1, :])
    return grown


def _divergence(dual: Tensor) -> Tensor:
    """The negative adjoint of `_forward_differences`: `(B, 2, 2, H, W)` to `(B, 2, H, W)`."""
    along_x, along_y = dual.unbind(2)
    # What forward differences leave 0 at the far edge stays 0 in the dual, too.
    out = along_x + along_y
    out[..., :, 1:] -= along_x[..., :, :-1]
    out[..., 1:, :] -= along_y[..., :-1, :]
    return out


def _median(flow: Tensor) -> Tensor:
    """The median of 5 x 5 pixels, of u and v each."""
    padded = F.pad(flow, (2, 2, 2, 2), mode="replicate")
    result = torch.empty_like(flow)
    for top in range(0, flow.shape[2], _MEDIAN_ROWS):
        strip = padded[:, :, top : top + _MEDIAN_ROWS + 4]
        around = strip.unfold(2, 5, 1).unfold(3, 5, 1).flatten(4)  # (B, 2, rows, W, 25)
        result[:, :, top : top + _MEDIAN_ROWS] = around.median(dim=-1).values
    return result
