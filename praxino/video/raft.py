"""RAFT, the learned optical flow: torchvision's network, its published weights, our frames.

Teed & Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020,
arXiv:2003.12039.

Notable: every pixel of one frame is compared with every pixel of the other, an eighth as fine; a
recurrent network then improves the flow in 12 steps, each looking into that table around where the
flow points now.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torchvision.models import optical_flow

from praxino.errors import EnvironmentFault
from praxino.weights.fitting import load_strict
from praxino.weights.published import Weights, fetch
from praxino.weights.reading import read_state

_SMALLEST = 128  # pixels a side: of an eighth of it, four scales are compared

# End-point errors as torchvision measured them, on Sintel's clean and final pictures. RAFT has no
# classes.
WEIGHTS = {
    "raft_small": Weights(
        url="https://download.pytorch.org/models/raft_small_C_T_V2-01064c6d.pth",
        sha256_prefix="01064c6d",
        megabytes=3.821,
        trained_on="FlyingChairs and FlyingThings3D",
        num_classes=0,
        licence="BSD-3-Clause (torchvision)",
        protocol="end-point error 1.9901 and 3.2831 pixels on Sintel's training set",
    ),
    "raft_large": Weights(
        url="https://download.pytorch.org/models/raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        sha256_prefix="ff5fadd5",
        megabytes=20.129,
        trained_on="FlyingChairs, FlyingThings3D, then Sintel, KITTI and HD1K",
        num_classes=0,
        licence="BSD-3-Clause (torchvision)",
        protocol="end-point error 1.819 and 3.067 pixels on Sintel's test set",
    ),
}


def build_raft(name: str) -> nn.Module:
    """Torchvision's network, without weights: `(B, 3, H, W)` RGB in -1 to 1, twice, to its steps.

    Args:
        name: `raft_small` or `raft_large`.
    """
    builders = {"raft_small": optical_flow.raft_small, "raft_large": optical_flow.raft_large}
    network: nn.Module = builders[name](weights=None)
    return network


@cache  # a training's worker asks for it at every clip
def load_raft(name: str, device: torch.device) -> nn.Module:
    """RAFT with its published weights, ready to be used; loaded once in a process.

    Args:
        name: `raft_small` or `raft_large`.
        device: where it computes.

    Raises:
        EnvironmentFault: the weights cannot be downloaded.
        ValueError: what came is not what was published.
    """
    try:
        path = fetch(WEIGHTS[name])
    except EnvironmentFault as error:
        reason = str(error).removesuffix(" Or start from scratch, with weights none.")
        raise EnvironmentFault(
            f"{reason} Or take a method without weights, dis for example."
        ) from None
    network = build_raft(name)
    load_strict(network, read_state(path), path.name)
    return network.eval().to(device)


@torch.no_grad()
def raft_flow(network: nn.Module, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The flow from each frame to the next, one pair at a time.

    Args:
        network: of `load_raft`.
        frames: `(T, H, W, 3)` uint8 RGB of any size.

    Returns:
        `(T - 1, H, W, 2)` in pixels: u, then v.
    """
    device = next(network.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1  # (T, 3, H, W)
    height, width = images.shape[-2:]
    # The network takes multiples of 8; the same on both sides, as the authors' code does.
    below, beside = (max(_SMALLEST, -(-side // 8) * 8) - side for side in (height, width))
    above, before = below // 2, beside // 2
    images = F.pad(images, (before, beside - before, above, below - above), mode="replicate")
    flow = [network(images[t : t + 1], images[t + 1 : t + 2])[-1] for t in range(len(images) - 1)]
    inner = torch.cat(flow)[
        ..., above : above + height, before : before + width
    ]  # (T - 1, 2, H, W)
    found: NDArray[np.float32] = inner.permute(0, 2, 3, 1).cpu().numpy()
    return found
