"""Flow beside the colours of a clip."""

import cv2
import numpy as np
import pytest
import torch

from praxino.errors import VideoError
from praxino.video import transforms
from praxino.video.augmentation import Augmentation
from praxino.video.clip_spec import FLOW_MEAN, FLOW_STD, IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.video.flow import FLOW_METHODS
from praxino.video.motion import Motion

BOTH = ("rgb", "flow")
SPEC = ClipSpec(
    4,
    stride_frames=1,
    size=48,
    resize_short=48,
    inputs=BOTH,
    mean=IMAGENET_MEAN + FLOW_MEAN,
    std=IMAGENET_STD + FLOW_STD,
)


def moving(speeds: list[int], size: int = 64) -> np.ndarray:
    """Frames of a texture that moves to the right by so many pixels from each to the next."""
    noise = np.random.default_rng(0).integers(0, 255, (size, size + 60, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (9, 9), 3)
    places = 40 - np.cumsum([0, *speeds])
    return np.stack([smooth[:, place : place + size] for place in places])


def pixels_of(flow: np.ndarray) -> list[float]:
    """The mean flow of each frame's middle, in pixels."""
    return (flow[:, 16:48, 16:48].astype(float) / 255 * 40 - 20).mean((1, 2)).tolist()


def test_each_frame_is_given_the_flow_to_the_next_one():
    frames = moving([1, 2, 3])
    clip = Motion().add(frames, BOTH, "a.mp4", np.arange(4))
    assert clip.shape == (4, 64, 64, 5)
    assert clip.dtype == np.uint8
    assert np.array_equal(clip[..., :3], frames)
    for found, u in zip(pixels_of(clip[..., 3:]), [1, 2, 3, 3], strict=True):
        assert found == pytest.approx([u, 0], abs=0.3)


def test_nothing_is_computed_for_models_of_colours():
    frames = moving([1])
    assert Motion().add(frames, ("rgb",), "a.mp4", np.arange(2)) is frames


def test_where_a_short_video_begins_again_nothing_moves():
    frames = moving([2, 2, -4])
    flow = Motion().add(frames, ("flow",), "a.mp4", np.array([0, 1, 2, 0]))[..., 3:]
    assert [found[0] for found in pixels_of(flow)] == pytest.approx([2, 2, 0, 0], abs=0.3)


def test_a_video_of_one_frame_has_no_flow():
    frames = np.repeat(moving([1])[:1], 4, axis=0)
    message = r"a\.mp4: shows one frame in a clip of 4, and flow leads from one frame to another\."
    with pytest.raises(VideoError, match=message):
        Motion().add(frames, BOTH, "a.mp4", np.zeros(4, int))


def test_the_source_is_a_method_or_a_folder(tmp_path):
    assert Motion("farneback").method == "farneback"
    assert set(FLOW_METHODS) >= {"farneback", "dis", "tvl1"}
    with pytest.raises(ValueError, match=r"'disc' is neither\. Did you mean 'dis'\?"):
        Motion("disc")
    with pytest.raises(ValueError, match=r"is a method or a folder that `praxino flow` has filled"):
        Motion(str(tmp_path / "nothing"))


def test_in_a_mirror_everything_moves_to_the_other_side():
    frames = Motion().add(moving([3, 3, 3]), BOTH, "a.mp4", np.arange(4))
    frames[..., 4] = 128  # what stands still by the byte
    still = Augmentation(crop="centre", brightness=0, contrast=0, saturation=0)
    plain, mirrored = (
        transforms.train_transform(frames, SPEC, np.random.default_rng(0), still, flip=flip)
        for flip in (False, True)
    )
    assert plain.shape == (5, 4, 48, 48)
    assert torch.equal(mirrored[:3], plain[:3].flip(-1))
    assert mirrored[3].mean() * 20 == pytest.approx(-3, abs=0.4)
    assert torch.allclose(mirrored[3].flip(-1) + plain[3], torch.tensor(2 / 255), atol=1e-6)
    assert torch.equal(mirrored[4], plain[4])


def test_ten_crops_mirror_flow_too():
    frames = Motion().add(moving([3, 3, 3]), BOTH, "a.mp4", np.arange(4))
    views = transforms.test_views(frames, SPEC, 10)
    assert views.shape == (10, 5, 4, 48, 48)
    assert (views[:, 3].mean((1, 2, 3)) * 20).round().tolist() == [3] * 5 + [-3] * 5


def test_streams_come_in_the_order_of_the_inputs():
    spec = ClipSpec(
        4, size=48, resize_short=48, inputs=("flow", "grey"), mean=(0.0,) * 3, std=(1.0,) * 3
    )
    frames = Motion().add(moving([0, 0, 0], size=48), spec.inputs, "a.mp4", np.arange(4))
    clip = transforms.test_views(frames, spec)[0]
    assert clip.shape == (3, 4, 48, 48)
    assert clip[:2].unique().tolist() == pytest.approx([128 / 255])
    assert torch.equal(clip[2:], transforms.to_grey(transforms.to_clip(frames[..., :3])))


def test_differences_of_colours_come_from_neighbours():
    frames = np.zeros((3, 48, 48, 3), np.uint8)
    frames[1], frames[2] = 51, 255
    spec = ClipSpec(
        3, size=48, resize_short=48, inputs=("rgb_difference",), mean=(0.0,) * 3, std=(1.0,) * 3
    )
    clip = transforms.test_views(frames, spec)[0]
    assert clip[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.8, 0.8])
    with pytest.raises(ValueError, match=r"A difference needs two frames, got a clip of shape \("):
        transforms.test_views(frames[:1], spec)


def test_flow_that_is_missing_is_told():
    message = "A clip of rgb and flow needs other channels than the 0 behind the colours"
    with pytest.raises(ValueError, match=message):
        transforms.test_views(moving([1, 1, 1]), SPEC)
