"""Warped flow: what is left of the flow when the camera's own motion is taken out.

Wang & Schmid, "Action Recognition with Improved Trajectories", ICCV 2013; as an input of networks
in Wang et al., "Temporal Segment Networks", ECCV 2016, arXiv:1608.00859.

A camera that turns, or looks at something flat or far, moves the picture by a homography. It is
found by RANSAC from two kinds of matches: features of both frames (texture tells), and corners with
their flow (they fill the places where features are few). People move by themselves, so matches on
them can be left out.

Differs: features are ORB, not SURF, which is patented in many places and no longer in OpenCV. The
flow is not computed anew on a straightened second frame; the flow that is there is straightened,
`H^-1(x + f(x)) - x`, which is the same where flow is right, and has no black edges.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxino.video.flow import check_frames, import_opencv

_FEATURES, _CORNERS = 1000, 1000
_FEWEST = 25  # matches that agree; with fewer, the authors take the camera for still
_TOLERANCE = 1.0  # pixels by which a match that agrees may be off

People = NDArray[Any]


def warp_flow(
    frames: NDArray[np.uint8],
    flow: NDArray[np.floating[Any]],
    *,
    people: Sequence[People] | None = None,
) -> NDArray[np.float32]:
    """Take the camera's motion out of flow.

    Args:
        frames: `(T, H, W, 3)` uint8 RGB.
        flow: `(T - 1, H, W, 2)` in pixels, from each frame to the next.
        people: for each of the first T - 1 frames, where no motion is the camera's: `(N, 4)` boxes
            in pixels, x and y of the upper left and the lower right corner, or a mask `(H, W)` of
            bool; or None.

    Returns:
        `(T - 1, H, W, 2)` float32 in pixels.

    Raises:
        TypeError: the frames are not uint8.
        ValueError: shapes that do not belong together.
        EnvironmentFault: OpenCV is not installed.
    """
    frames = check_frames(frames)
    if flow.shape != (len(frames) - 1, *frames.shape[1:3], 2):
        raise ValueError(
            f"The flow of frames of shape {frames.shape} has the shape "
            f"{(len(frames) - 1, *frames.shape[1:3], 2)}, got {flow.shape}."
        )
    if people is not None and len(people) != len(flow):
        raise ValueError(f"{len(flow)} flows need as many sets of people, got {len(people)}.")
    everybody: Sequence[People | None] = [None] * len(flow) if people is None else people
    warped = np.empty(flow.shape, np.float32)
    for t in range(len(flow)):
        camera = camera_motion(frames[t], frames[t + 1], flow[t], everybody[t])
        warped[t] = _straightened(flow[t], camera)
    return warped


def camera_motion(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    flow: NDArray[np.floating[Any]],
    people: People | None = None,
) -> NDArray[np.float64]:
    """The homography by which the camera moves the picture from one frame to the next.

    Args:
        first: `(H, W, 3)` uint8 RGB.
        second: likewise.
        flow: `(H, W, 2)` from the first to the second, in pixels.
        people: boxes or a mask of the first frame whose matches do not count; or None.

    Returns:
        `(3, 3)`: takes (x, y, 1) of the first frame to the second; the identity where fewer than
        25 matches agree on any motion.

    Raises:
        ValueError: neither boxes nor a mask of the frame's size.
        EnvironmentFault: OpenCV is not installed.
    """
    cv2 = import_opencv()
    first_grey = cv2.cvtColor(np.ascontiguousarray(first), cv2.COLOR_RGB2GRAY)
    second_grey = cv2.cvtColor(np.ascontiguousarray(second), cv2.COLOR_RGB2GRAY)
    allowed = _without_people(first_grey.shape, people)
    features = _feature_matches(first_grey, second_grey, allowed)
    pairs = np.concatenate([features, _flow_matches(first_grey, flow, allowed)])
    if len(pairs) < _FEWEST:
        return np.eye(3)
    cv2.setRNGSeed(0)  # the same camera for the same frames
    found, agree = cv2.findHomography(pairs[:, 0], pairs[:, 1], cv2.RANSAC, _TOLERANCE)
    if found is None or int(agree.sum()) < _FEWEST or abs(np.linalg.det(found)) < 1e-6:
        return np.eye(3)
    camera: NDArray[np.float64] = found
    return camera


def _without_people(size: tuple[int, int], people: People | None) -> NDArray[np.uint8]:
    """255 where matches count, 0 on people."""
    allowed = np.full(size, 255, np.uint8)
    if people is None:
        return allowed
    people = np.asarray(people)
    if people.dtype == bool and people.shape == size:
        allowed[people] = 0
        return allowed
    if people.dtype == bool or (people.size and (people.ndim != 2 or people.shape[1] != 4)):
        raise ValueError(
            f"People are boxes (N, 4) or a mask {size} of bool, got {people.dtype} of shape "
            f"{people.shape}."
        )
    for x1, y1, x2, y2 in people.reshape(-1, 4):
        allowed[max(0, int(y1)) : max(0, int(y2) + 1), max(0, int(x1)) : max(0, int(x2) + 1)] = 0
    return allowed


def _feature_matches(
    first: NDArray[np.uint8], second: NDArray[np.uint8], allowed: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """`(N, 2, 2)`: x and y in the first frame, and in the second."""
    cv2 = import_opencv()
    finder = cv2.ORB_create(nfeatures=_FEATURES, fastThreshold=10, edgeThreshold=15)
    points, words = finder.detectAndCompute(first, allowed)
    others, other_words = finder.detectAndCompute(second, None)
    if words is None or other_words is None:
        return np.empty((0, 2, 2), np.float32)
    # Only pairs that are each other's best.
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words, other_words)
    pairs = [(points[one.queryIdx].pt, others[one.trainIdx].pt) for one in matches]
    return np.asarray(pairs, np.float32).reshape(-1, 2, 2)


def _flow_matches(
    first: NDArray[np.uint8], flow: NDArray[np.floating[Any]], allowed: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """`(N, 2, 2)`: corners, where no aperture hides a part of the motion, and where they flow."""
    cv2 = import_opencv()
    corners = cv2.goodFeaturesToTrack(first, _CORNERS, 0.001, 5, mask=allowed)
    if corners is None:
        return np.empty((0, 2, 2), np.float32)
    corners = corners.reshape(-1, 2)
    # The median of 5 x 5 keeps a corner from flowing with what moves behind it.
    calm = cv2.merge([cv2.medianBlur(np.float32(flow[..., axis]), 5) for axis in (0, 1)])
    x, y = corners.round().astype(int).T
    return np.stack([corners, corners + calm[y, x]], axis=1)


def _straightened(
    flow: NDArray[np.floating[Any]], camera: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Where each pixel would have gone, had the camera stood still."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    here = np.stack([x, y], axis=-1)  # (H, W, 2)
    there = np.concatenate([here + flow, np.ones((height, width, 1))], axis=-1)
    back = there @ np.linalg.inv(camera).T  # (H, W, 3)
    straight: NDArray[np.float32] = (back[..., :2] / back[..., 2:] - here).astype(np.float32)
    return straight
