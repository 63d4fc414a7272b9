"""Optical flow: where every pixel of a frame goes until the next one.

    frames = video.frames(range(11)).pixels      # (11, H, W, 3) uint8
    flow = compute_flow(frames, "tvl1")          # (10, H, W, 2) float32: pixels, u then v

Flow is `I(t + 1, x + u, y + v) = I(t, x, y)`: brightness stays while things move; u points to the
right and v down. Two-stream networks are fed its bytes: `flow_to_bytes` keeps what lies within
20 pixels, in 256 steps, as the flow files that they were trained on do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxino.did_you_mean import did_you_mean
from praxino.errors import EnvironmentFault
from praxino.video.flow_methods import FLOW_METHODS as FLOW_METHODS

FlowFunction = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_PIXELS_AT_ONCE = 2**21  # of a batch on tensors

BOUND = 20.0  # pixels; two-stream networks since Simonyan & Zisserman's are fed flow within it


def compute_flow(
    frames: NDArray[np.uint8], method: str = "dis", *, device: str | None = None
) -> NDArray[np.float32]:
    """The flow from each frame to the next.

    Args:
        frames: `(T, H, W, 3)` uint8 RGB; T is at least 2, H and W at least 16.
        method: one of `FLOW_METHODS`.
        device: `cpu`, `cuda`, ... for the methods on tensors (`lucas_kanade`, `torch_tvl1`,
            `raft`); the GPU if there is one and this is no loader's worker. OpenCV's compute on
            the CPU.

    Returns:
        `(T - 1, H, W, 2)` float32 in pixels: u (to the right), then v (down).

    Raises:
        TypeError: the frames are not uint8.
        ValueError: another shape, fewer than two frames, or no such method.
        EnvironmentFault: OpenCV, which the method needs, is not installed; RAFT's weights cannot
            be downloaded; there is no such device.
    """
    frames = check_frames(frames)
    return flow_function(method, device=device)(frames)


def flow_function(method: str, *, device: str | None = None) -> FlowFunction:
    """What computes flow by this method: it takes the frames of `compute_flow`, many times over.

    Args:
        method: as `compute_flow`.
        device: as `compute_flow`.

    Raises:
        ValueError: no such method.
        EnvironmentFault: as `compute_flow`.
    """
    if method not in FLOW_METHODS:
        raise ValueError(f"There is no flow method {method!r}.{did_you_mean(method, FLOW_METHODS)}")
    if method in ("farneback", "dis", "tvl1"):
        pair = _opencv_pair(method)
        return lambda frames: _pair_by_pair(frames, pair)
    return _on_tensors(method, device)


def check_frames(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frames, if flow can be computed from them.

    Raises:
        TypeError: not uint8.
        ValueError: not `(T, H, W, 3)`, fewer than two frames, or smaller than 16 x 16 pixels.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8:
        raise TypeError(f"Flow is computed from uint8 RGB in 0 to 255, got {frames.dtype}.")
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"Frames have the shape (T, H, W, 3), got {frames.shape}.")
    if len(frames) < 2:
        raise ValueError(
            f"Flow leads from one frame to the next: give 2 or more, got {len(frames)}."
        )
    if min(frames.shape[1:3]) < 16:
        raise ValueError(
            f"Flow needs frames of at least 16 x 16 pixels, got {frames.shape[2]} x "
            f"{frames.shape[1]}. Enlarge them first."
        )
    return frames


def flow_to_bytes(flow: NDArray[np.floating[Any]], bound: float = BOUND) -> NDArray[np.uint8]:
    """Flow in 8 bits: 0 is `-bound`, 255 is `bound`, and what lies outside is clipped.

    No byte is exactly zero flow: it becomes 128, which reads as 1/255 of the bound.

    Args:
        flow: of any shape, in pixels.
        bound: pixels, above 0.

    Raises:
        ValueError: the bound is not above 0, or the flow holds numbers that are none.
    """
    _check_bound(bound)
    if not np.isfinite(flow).all():
        raise ValueError("The flow holds NaN or infinity. Compute it again from whole frames.")
    # In float32: the values of flow, and cheap. rint takes halves to the even side, as cvRound of
    # the program that made the published flow files does.
    steps = (np.asarray(flow, dtype=np.float32) + bound) * np.float32(255 / (2 * bound))
    return np.clip(np.rint(steps), 0, 255).astype(np.uint8)


def flow_from_bytes(flow_bytes: NDArray[np.uint8], bound: float = BOUND) -> NDArray[np.float32]:
    """Flow in pixels from what `flow_to_bytes` made of it: within half a step, `bound / 255`.

    Args:
        flow_bytes: of any shape, uint8.
        bound: as it was given to `flow_to_bytes`.

    Raises:
        TypeError: not uint8.
        ValueError: the bound is not above 0.
    """
    _check_bound(bound)
    flow_bytes = np.asarray(flow_bytes)
    if flow_bytes.dtype != np.uint8:
        raise TypeError(f"Flow in bytes is uint8, got {flow_bytes.dtype}.")
    return flow_bytes * np.float32(2 * bound / 255) - np.float32(bound)


def _check_bound(bound: float) -> None:
    if not 0 < bound < float("inf"):
        raise ValueError(f"The bound of flow is in pixels, above 0, got {bound}.")


def import_opencv() -> Any:
    """OpenCV with its contributed modules, where TV-L1 is.

    Raises:
        EnvironmentFault: it is not installed, or does not load.
    """
    try:
        import cv2
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        reason = "which is not installed" if missing else f"which does not load: {error}"
        raise EnvironmentFault(
            f"This way of computing flow needs OpenCV, {reason}. "
            "To install it: pip install 'praxino[flow]'"
        ) from None
    return cv2


def _on_tensors(method: str, device: str | None) -> FlowFunction:
    from torch.utils.data import get_worker_info

    from praxino.devices import choose_device

    # A forked process cannot use the GPU, and loader workers are forked.
    place = choose_device("cpu" if device is None and get_worker_info() else device)
    if method in ("raft", "raft_small"):
        from praxino.video.raft import load_raft, raft_flow

        model = load_raft("raft_large" if method == "raft" else method, place)
        return lambda frames: raft_flow(model, frames)

    from praxino.video.flow_pyramid import grey_images
    from praxino.video.lucas_kanade import lucas_kanade
    from praxino.video.tvl1 import tvl1

    def from_grey(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = frames.shape[1:3]
        at_once = max(1, _PIXELS_AT_ONCE // (height * width))  # pairs; large ones take memory
        flows = []
        for start in range(0, len(frames) - 1, at_once):
            images = grey_images(frames[start : start + at_once + 1], place)
            first, second = images[:-1], images[1:]
            flow = (
                tvl1(first, second) if method == "torch_tvl1" else lucas_kanade(first, second).flow
            )
            flows.append(flow.permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(flows)

    return from_grey


def _pair_by_pair(
    frames: NDArray[np.uint8],
    pair: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    cv2 = import_opencv()
    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.stack([pair(grey[t], grey[t + 1]) for t in range(len(grey) - 1)])


def _opencv_pair(
    method: str,
) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]:
    """A function from two grey frames to the flow between them, by OpenCV."""
    cv2 = import_opencv()
    if method == "farneback":
        # The settings of OpenCV's own example: 3 levels, windows of 15, polynomials over 5 pixels.
        def farneback(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
            return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)

        return farneback
    if method == "dis":
        matcher = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    else:
        try:
            matcher = cv2.optflow.DualTVL1OpticalFlow_create()
        except AttributeError:
            raise EnvironmentFault(
                "This OpenCV has no contributed modules, and TV-L1 is one of them. "
                "To install them: pip install 'praxino[flow]'"
            ) from None
    return lambda first, second: matcher.calc(first, second, None)
