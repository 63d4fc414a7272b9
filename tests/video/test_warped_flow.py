"""A camera that moves over a scene in which a square moves: only the square is left."""

import numpy as np
import pytest
from numpy.typing import NDArray

from praxino.video.flow import compute_flow
from praxino.video.warped_flow import camera_motion, warp_flow


def texture(x: NDArray[np.float64], y: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Blotches of all sizes without end, 0 to 255, with corners enough for features."""
    lattice = np.random.default_rng(seed).uniform(0, 255, (64, 64))
    total = np.zeros(x.shape)
    for size, share in ((4, 0.4), (9, 0.35), (20, 0.25)):
        column, row = x / size + 40, y / size + 40
        left, top = np.floor(column).astype(int), np.floor(row).astype(int)
        right, below = column - left, row - top
        right, below = (3 - 2 * right) * right**2, (3 - 2 * below) * below**2
        corner = [[lattice[(top + j) % 64, (left + i) % 64] for i in (0, 1)] for j in (0, 1)]
        upper = corner[0][0] * (1 - right) + corner[0][1] * right
        lower = corner[1][0] * (1 - right) + corner[1][1] * right
        total += share * (upper * (1 - below) + lower * below)
    return np.clip((total - 127.5) * 1.8 + 127.5, 0, 255)


HEIGHT, WIDTH, SIDE = 120, 160, 36
LEFT, TOP, MOTION = 60.0, 40.0, np.array([3.0, 2.0])  # of the square, in the scene


def filmed(camera: NDArray[np.float64], moved: float) -> NDArray[np.uint8]:
    """The scene through a camera: `camera` takes the scene's (x, y, 1) to the picture's."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    scene = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(camera).T
    x, y = scene[..., 0] / scene[..., 2], scene[..., 1] / scene[..., 2]
    left, top = LEFT + moved * MOTION[0], TOP + moved * MOTION[1]
    inside = (x >= left) & (x < left + SIDE) & (y >= top) & (y < top + SIDE)
    grey = np.where(inside, texture(x - left, y - top, seed=1), texture(x, y, seed=0))
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)


PAN = np.array([[1, 0, -4.0], [0, 1, 1.5], [0, 0, 1]])
_COSINE, _SINE = np.cos(np.radians(2)), np.sin(np.radians(2))
TURN_AND_ZOOM = np.array(
    [[1.02 * _COSINE, -_SINE, 3.0], [_SINE, 1.02 * _COSINE, -4.0], [1e-4, -5e-5, 1]]
)
REGIONS = np.zeros((2, HEIGHT, WIDTH), bool)  # the background, the middle of the square
REGIONS[0, 12:-12, 12:-12] = True
REGIONS[0, 25:95, 45:120] = False
REGIONS[1, 50:66, 70:86] = True


@pytest.mark.parametrize(
    ("camera", "method"), [(PAN, "dis"), (PAN, "tvl1"), (TURN_AND_ZOOM, "dis")]
)
def test_the_camera_goes_and_the_square_stays(camera, method):
    frames = np.stack([filmed(np.eye(3), 0), filmed(camera, 1)])
    flow = compute_flow(frames, method)
    background, square = REGIONS
    assert np.linalg.norm(flow[0][background], axis=-1).mean() > 2
    warped = warp_flow(frames, flow)
    assert np.linalg.norm(warped[0][background], axis=-1).mean() < 0.25
    assert warped[0][square].mean(0) == pytest.approx(MOTION, abs=0.25)
    assert warped.dtype == np.float32


def test_the_homography_is_the_cameras():
    frames = np.stack([filmed(np.eye(3), 0), filmed(TURN_AND_ZOOM, 1)])
    found = camera_motion(frames[0], frames[1], compute_flow(frames)[0])
    corners = np.array([[0, 0, 1], [WIDTH, 0, 1], [0, HEIGHT, 1], [WIDTH, HEIGHT, 1.0]])
    ours, true = corners @ found.T, corners @ TURN_AND_ZOOM.T
    assert np.abs(ours[:, :2] / ours[:, 2:] - true[:, :2] / true[:, 2:]).max() < 0.5


def test_people_do_not_count():
    """Somebody who fills the picture would pass for the camera, were it not known where he is."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    person = np.s_[:, 40:]

    def frame(moved: float) -> NDArray[np.uint8]:
        grey = texture(x, y, seed=0)
        grey[person] = texture(x - 3 * moved, y, seed=1)[person]
        return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)

    frames = np.stack([frame(0), frame(1)])
    flow = compute_flow(frames)
    blind = warp_flow(frames, flow)
    assert blind[0, 20:100, 5:30, 0].mean() == pytest.approx(-3, abs=0.3)
    seeing = warp_flow(frames, flow, people=[np.array([[35.0, 0, WIDTH, HEIGHT]])])
    assert seeing[0, 20:100, 60:140, 0].mean() == pytest.approx(3, abs=0.3)
    assert np.abs(seeing[0, 20:100, 5:30]).mean() < 0.1
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, 35:] = True
    assert np.abs(warp_flow(frames, flow, people=[mask]) - seeing).max() < 0.1


def test_without_matches_the_camera_stands_still():
    frames = np.full((2, 64, 64, 3), 90, np.uint8)
    flow = np.ones((1, 64, 64, 2), np.float32)
    assert (warp_flow(frames, flow) == flow).all()


def test_what_does_not_belong_together():
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(2, 32, 32, 2\), got \(1, 32, 32, 2\)"):
        warp_flow(frames, np.zeros((1, 32, 32, 2)))
    with pytest.raises(ValueError, match="2 flows need as many sets of people, got 1"):
        warp_flow(frames, np.zeros((2, 32, 32, 2)), people=[np.zeros((0, 4))])
    for wrong in (np.zeros((3, 5)), np.zeros((9, 9), bool)):
        with pytest.raises(ValueError, match=r"boxes \(N, 4\) or a mask \(32, 32\) of bool, got"):
            warp_flow(frames, np.zeros((2, 32, 32, 2)), people=[wrong, wrong])
