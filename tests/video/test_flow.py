"""Optical flow against motions whose flow is known."""

import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from praxino.errors import EnvironmentFault
from praxino.video.flow import FLOW_METHODS, compute_flow, flow_from_bytes, flow_to_bytes
from praxino.video.flow_pyramid import grey_images
from praxino.video.lucas_kanade import confidence, lucas_kanade
from praxino.video.tvl1 import tvl1


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
@pytest.mark.parametrize("method", [name for name in FLOW_METHODS if "raft" not in name])
def test_flow_is_the_motion(method, kind):
    frames, truth = moved(kind)
    flow = compute_flow(frames, method)
    assert flow.shape == (1, 96, 128, 2)
    assert flow.dtype == np.float32
    assert end_point_error(flow[0], truth) < 0.25


def test_our_tvl1_is_opencvs():
    for kind in ("translation", "rotation", "zoom"):
        frames, _ = moved(kind)
        ours, theirs = (
            compute_flow(frames, "torch_tvl1", device="cpu"),
            compute_flow(frames, "tvl1"),
        )
        assert end_point_error(ours[0], theirs[0]) < 0.03


@pytest.mark.parametrize("method", [tvl1, lambda *pair: lucas_kanade(*pair).flow])
def test_a_pairs_flow_does_not_depend_on_its_neighbours(method):
    frames = [moved(kind, (48, 64))[0] for kind in ("translation", "rotation")]
    still = np.zeros_like(frames[0])
    pairs = [grey_images(pair, torch.device("cpu")) for pair in (frames[0], still, frames[1])]
    together = method(torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs]))
    for number, (first, second) in enumerate(pairs):
        alone = method(first[None], second[None])
        assert torch.allclose(together[number], alone[0], atol=0.01)
    assert together[1].abs().max() == 0


@pytest.mark.parametrize("method", ["torch_tvl1", "lucas_kanade"])
def test_large_frames_are_taken_one_pair_at_a_time(method, monkeypatch):
    (first, second), _ = moved("rotation", (160, 48))  # higher than a strip of the median
    frames = np.stack([first, second, first])
    together = compute_flow(frames, method, device="cpu")
    monkeypatch.setattr("praxino.video.flow._PIXELS_AT_ONCE", 1)
    one_by_one = compute_flow(frames, method, device="cpu")
    assert np.abs(one_by_one - together).mean() < 1e-4  # rounding, which iterations enlarge
    assert np.abs(one_by_one - together).max() < 0.05
    monkeypatch.setattr("praxino.video.tvl1._MEDIAN_ROWS", 1000)
    assert (compute_flow(frames, method, device="cpu") == one_by_one).all()


def slanted_bar(shift_x: float, shift_y: float) -> NDArray[np.uint8]:
    """A bright bar at 30 degrees on black, from edge to edge, anti-aliased."""
    y, x = np.mgrid[:96, :96].astype(float)
    across = (y - 48 - shift_y) * np.cos(np.pi / 6) - (x - 48 - shift_x) * np.sin(np.pi / 6)
    grey = 200 / (1 + np.exp((np.abs(across) - 8) / 0.7))
    return np.repeat(grey[..., None], 3, axis=-1).round().astype(np.uint8)


def test_the_aperture_problem_is_visible():
    """A bar that moves along itself does not seem to move, and its confidence says why."""
    pair = grey_images(
        np.stack([slanted_bar(0, 0), slanted_bar(1.5, 0)]), torch.device("cpu")
    )  # to the right: in part along itself
    # Coarser scales would see the ends of the bar, at the edges of the picture.
    flow, sure = lucas_kanade(pair[:1], pair[1:], scales=1)
    edge = (pair[0, 0] > 80) & (pair[0, 0] < 120)
    edge[:20] = edge[-20:] = edge[:, :20] = edge[:, -20:] = False
    u, v = flow[0][:, edge].mean(1).tolist()
    # Only the part of (1.5, 0) across the bar, along (-sin 30, cos 30), is seen.
    assert u == pytest.approx(1.5 * 0.25, abs=0.1)
    assert v == pytest.approx(-1.5 * 0.5 * np.cos(np.pi / 6), abs=0.1)
    # A square has the same edges, and corners, where both directions are seen.
    square = torch.zeros(1, 1, 96, 96)
    square[..., 32:64, 32:64] = 200
    there = confidence(square)[0]
    on_edge, at_corner = there[48, 32].item(), there[32, 32].item()
    assert on_edge < at_corner / 100
    assert sure[0][edge].max() < at_corner / 20
    assert there[5, 5] == 0


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
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cv2", None)
        with pytest.raises(EnvironmentFault, match=r"not installed\. .*'praxino\[flow\]'"):
            compute_flow(frames, "dis")
        assert (compute_flow(frames, "lucas_kanade", device="cpu") == 0).all()

    class Broken:
        def find_spec(self, name, path, target=None):
            if name == "cv2":
                raise ImportError("libGL.so.1: cannot open shared object file")

    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "cv2", raising=False)
        patch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
        with pytest.raises(EnvironmentFault, match=r"does not load: libGL\.so\.1.*praxino\[flow\]"):
            compute_flow(frames, "tvl1")
    with monkeypatch.context() as patch:  # the package without "contrib" in its name
        patch.delattr("cv2.optflow", raising=True)
        with pytest.raises(EnvironmentFault, match=r"no contributed modules.*praxino\[flow\]"):
            compute_flow(frames, "tvl1")


def test_in_a_loaders_worker_the_gpu_is_not_touched(monkeypatch):
    frames, _ = moved("translation", (32, 32))
    monkeypatch.setattr("praxino.devices.default_device", lambda: "cuda:77")
    with pytest.raises(EnvironmentFault, match="This machine has no"):
        compute_flow(frames, "lucas_kanade")
    monkeypatch.setattr("torch.utils.data.get_worker_info", lambda: "a worker")
    assert compute_flow(frames, "lucas_kanade").shape == (1, 32, 32, 2)
