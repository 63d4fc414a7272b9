"""Optical flow against motions whose flow is known."""

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from praxino.errors import EnvironmentFault
from praxino.video.flow import FLOW_METHODS, compute_flow, flow_from_bytes, flow_to_bytes


def wavy(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """A picture without end, in 0 to 255, with structure in all directions."""
    rng = np.random.default_rng(3)
    total = np.zeros(np.broadcast(x, y).shape)
    for wavelength in (7, 11, 17, 29, 50):
        for _ in range(3):
            angle, phase = rng.uniform(0, 2 * np.pi, 2)
            wave = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / wavelength
            total += np.sqrt(wavelength) * np.sin(wave + phase)
    return np.clip(127.5 + 7 * total, 0, 255)


def moved(
    kind: str, size: tuple[int, int] = (96, 128)
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Two frames and the flow between them."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(float)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    matrix, shift = np.eye(2), np.zeros(2)
    if kind == "translation":
        shift = np.array([2.3, -1.4])
    elif kind == "rotation":
        angle = np.radians(2)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    else:  # zoom
        matrix *= 1.04
    around = np.stack([x - centre_x, y - centre_y], axis=-1)
    flow = around @ (matrix - np.eye(2)).T + shift
    # Where a pixel of the second frame came from.
    back = (around - shift) @ np.linalg.inv(matrix).T
    second = wavy(back[..., 0] + centre_x, back[..., 1] + centre_y)
    frames = np.stack([wavy(x, y), second]).round().astype(np.uint8)
    return np.repeat(frames[..., None], 3, axis=-1), flow


def end_point_error(flow: NDArray[np.floating], truth: NDArray[np.float64], edge: int = 12):
    """Mean length of the difference; without the edge, where what comes in was never seen."""
    inner = np.s_[..., edge:-edge, edge:-edge, :]
    return np.linalg.norm(flow[inner] - truth[inner], axis=-1).mean()


@pytest.mark.parametrize("kind", ["translation", "rotation", "zoom"])
@pytest.mark.parametrize("method", FLOW_METHODS)
def test_flow_is_the_motion(method, kind):
    frames, truth = moved(kind)
    flow = compute_flow(frames, method)
    assert flow.shape == (1, 96, 128, 2)
    assert flow.dtype == np.float32
    assert end_point_error(flow[0], truth) < 0.25


def test_bytes_there_and_back():
    flow = np.linspace(-20, 20, 4001, dtype=np.float32)
    there = flow_to_bytes(flow)
    assert there.dtype == np.uint8
    assert np.abs(flow_from_bytes(there) - flow).max() <= 20 / 255 + 1e-5
    assert flow_to_bytes(np.array([-50.0, -20, 0, 20, 50])).tolist() == [0, 0, 128, 255, 255]
    assert flow_to_bytes(np.array([-3.0, 3.0]), bound=3).tolist() == [0, 255]
    assert (flow_to_bytes(flow_from_bytes(np.arange(256, dtype=np.uint8))) == np.arange(256)).all()


def test_bytes_refuse_what_is_no_flow():
    with pytest.raises(ValueError, match=r"above 0, got 0"):
        flow_to_bytes(np.zeros(2), bound=0)
    with pytest.raises(ValueError, match="NaN or infinity"):
        flow_to_bytes(np.array([np.nan]))
    with pytest.raises(TypeError, match="uint8, got float64"):
        flow_from_bytes(np.zeros(2))


def test_frames_that_have_no_flow():
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=r"'diss'\. Did you mean 'dis'"):
        compute_flow(frames, "diss")
    with pytest.raises(ValueError, match="give 2 or more, got 1"):
        compute_flow(frames[:1])
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\), got \(2, 32, 32\)"):
        compute_flow(frames[..., 0])
    with pytest.raises(ValueError, match="16 x 16 pixels, got 32 x 8"):
        compute_flow(frames[:, :8])
    with pytest.raises(TypeError, match="got float32"):
        compute_flow(frames.astype(np.float32))


def test_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'praxino\[flow\]'"):
        compute_flow(np.zeros((2, 32, 32, 3), np.uint8), "dis")
