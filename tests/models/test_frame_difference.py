import numpy as np
import pytest
import torch

from praxino.models import create_model
from praxino.models.frame_difference import frame_difference
from praxino.video import transforms


def small(**options):
    return frame_difference(3, backbone="resnet18", frames=7, size=64, **options).eval()


def test_what_does_not_change_is_not_seen():
    model = small()
    still = torch.rand(1, 3, 1, 64, 64).expand(-1, -1, 7, -1, -1)
    assert model.differences(still).abs().max() == 0
    other_place = torch.rand(1, 3, 1, 64, 64).expand(-1, -1, 7, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(model(still), model(other_place))


def test_three_differences_make_a_picture():
    clip = torch.zeros(1, 3, 7, 2, 2)
    values = [0.0, 0.1, 0.3, 0.6, 0.5, 0.1, 0.8]
    for index, value in enumerate(values):
        clip[:, :, index] = value
    pictures = small(gain=2.0).differences(clip)  # (1, 3, 2, 2, 2)
    np.testing.assert_allclose(
        pictures[0, :, :, 0, 0].T, [[0.2, 0.4, 0.6], [-0.2, -0.8, 1.0]], atol=1e-6
    )


def test_frames_must_come_three_to_a_picture_and_one():
    with pytest.raises(ValueError, match="so T must be 3 n \\+ 1, such as 25; got frames=8"):
        frame_difference(3, frames=8)
    with pytest.raises(ValueError, match=r"need T = 3 n \+ 1, got T=8 in a clip of shape"):
        small()(torch.zeros(1, 3, 8, 64, 64))


def test_takes_the_labs_imagenet_weights(lab_data):
    path = lab_data / "weights" / "mobilenet_v2_imagenet1k.safetensors"
    model = create_model("frame_difference", num_classes=6, same_padding=True, weights=path).eval()
    frame = np.random.default_rng(0).integers(0, 255, (25, 64, 64, 3), dtype=np.uint8)
    clip = transforms.normalise(transforms.to_clip(frame), (0.5,) * 3, (0.5,) * 3)[None]
    with torch.no_grad():
        assert model(clip).isfinite().all()
        assert model.forward_features(clip).shape == (1, 1280, 8, 2, 2)
