"""Optical flow as a picture of many channels, for 2D networks; and how to follow it.

Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos", NIPS
2014, arXiv:1406.2199, Sec. 3.1.

Differs from the paper: flow that looks back is the inverse of the flow that looks ahead, not
computed from swapped frames.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.video.clip_spec import ClipSpec

Stacking = Literal["flow", "trajectory"]

FLOW_RANGE = 40.0  # pixels from a clip's 0 to its 1, before it is normalised


class FlowStack(nn.Module):
    """A clip of flow as one picture of 2 L channels, less its mean motion (Sec. 3.1).

    Args:
        flows: L.
        stacking: "flow" stacks the flows of L successive frames, as they stand at each pixel;
            "trajectory" reads each of them where the flows before have carried the pixel.
        bidirectional: the frame is the middle one: half of the flows lead on from it, half of them
            back; otherwise it is the first one, and all lead on.
        subtract_mean: from each component of each flow.

    Raises:
        ValueError: no flow, an odd number of them that should lead both ways, or another stacking.
    """

    def __init__(
        self,
        flows: int,
        *,
        stacking: Stacking,
        bidirectional: bool,
        subtract_mean: bool,
    ) -> None:
        super().__init__()
        if flows < 1 or (bidirectional and flows % 2):
            need = "an even number, 2 or more" if bidirectional else "1 or more"
            raise ValueError(f"flows must be {need}, got {flows}.")
        if stacking not in ("flow", "trajectory"):
            raise ValueError(f"stacking is 'flow' or 'trajectory', not {stacking!r}.")
        self.flows, self.stacking, self.bidirectional = flows, stacking, bidirectional
        self.subtract_mean = subtract_mean

    @property
    def frame(self) -> int:
        """The frame that the stack is about; the spatial stream sees it."""
        return self.flows // 2 if self.bidirectional else 0

    def forward(self, flow: Tensor, spec: ClipSpec) -> Tensor:
        """Stack flows.

        Args:
            flow: `(B, 2, T, H, W)`, T = L, or L + 1: the last frame's repeats the one before it.
            spec: how it was normalised; flow is the last of its inputs.

        Returns:
            `(B, 2 L, H, W)`: u and v of the first flow, of the second flow, ... ; where the stack
            is bidirectional those that lead back come last.
        """
        fields = flow[:, :, : self.flows]
        if self.bidirectional or self.stacking == "trajectory":
            # Normalised flow is not yet a way to go.
            mean, std = (fields.new_tensor(v[-2:]).view(2, 1, 1, 1) for v in (spec.mean, spec.std))
            pixels = (fields * std + mean - 0.5) * FLOW_RANGE
            ahead, before = pixels[:, :, self.frame :], pixels[:, :, : self.frame].flip(2)
            parts = [ahead.unbind(2), [backward_flow(field) for field in before.unbind(2)]]
            if self.stacking == "trajectory":
                parts = [along_trajectories(part) for part in parts]
            stacked = torch.stack([field for part in parts for field in part], dim=2)
            fields = (stacked / FLOW_RANGE + 0.5 - mean) / std
        if self.subtract_mean:
            fields = fields - fields.mean(dim=(3, 4), keepdim=True)
        return rearrange(fields, "b c l h w -> b (l c) h w")


def carried(field: Tensor, displacement: Tensor) -> Tensor:
    """A field as it is found by pixels that have moved: `field(p + displacement(p))`, bilinear.

    Args:
        field: `(B, C, H, W)`; outside of it is what stands at its border.
        displacement: `(B, 2, H, W)`, u and v in pixels.

    Returns:
        `(B, C, H, W)`.
    """
    height, width = field.shape[-2:]
    rows = torch.arange(height, device=field.device, dtype=field.dtype).view(1, height, 1)
    columns = torch.arange(width, device=field.device, dtype=field.dtype).view(1, 1, width)
    # Centres of pixels, from -1 to 1 between the outer edges of the picture.
    x = (2 * (columns + displacement[:, 0]) + 1) / width - 1
    y = (2 * (rows + displacement[:, 1]) + 1) / height - 1
    grid = torch.stack([x, y], dim=-1)  # (B, H, W, 2)
    return functional.grid_sample(
        field, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def along_trajectories(flows: Iterable[Tensor]) -> list[Tensor]:
    """Flows where the pixels of the first frame have got to (Eq. 2).

    Args:
        flows: L fields `(B, 2, H, W)` in pixels, in the order in which they carry on.

    Returns:
        L fields; the first is as it was.
    """
    found: list[Tensor] = []
    travelled = None
    for flow in flows:
        found.append(flow if travelled is None else carried(flow, travelled))
        travelled = found[-1] if travelled is None else travelled + found[-1]
    return found


def backward_flow(flow: Tensor, steps: int = 5) -> Tensor:
    """The flow from the second of two frames back to the first.

    What has come to a pixel q has moved by `flow(p)` with `p + flow(p) = q`; so it goes back by the
    `b` with `b = -flow(q + b)`, which is found by trying again.

    Args:
        flow: `(B, 2, H, W)` in pixels, from the first frame to the second.
        steps: how often to try; more than needed for smooth motion.
    """
    back = -flow
    for _ in range(steps):
        back = -carried(flow, back)
    return back


def check_flows(clip: Tensor, model: str, flows: int, *, channels: int, size: int | None) -> None:
    """Refuse a clip that has not the frames for a stack of L flows.

    Args:
        clip: should be `(B, C, T, H, W)`, T = L, or L + 1.
        model: its name, for the message.
        flows: L.
        channels: C.
        size: H and W, where the model takes no other.

    Raises:
        ValueError: naming the axis that is wrong, its value and what it should be.
        TypeError: the clip holds integers.
    """
    check_clip(clip, model, channels=channels, least_frames=flows, size=size)
    if clip.shape[2] > flows + 1:
        raise ValueError(
            f"{model} stacks {flows} flows, so T is {flows} or {flows + 1}, got T={clip.shape[2]} "
            f"in a clip of shape {tuple(clip.shape)}. Build another one with the option `flows`."
        )
