"""C3D: the features that people took from it, its weights, and the search for its depth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from praxino.models import convert_state_dict, create_model, published_weights
from praxino.models.c3d import DEPTHS, C3d, c3d_depth, c3d_video_features
from praxino.video.sampling import dense_windows
from praxino.weights.fitting import differences


class FcSix(C3d):
    """Its fc6 features are the first pixels of the clip, so that they can be worked out by hand."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def fc6_features(self, clip: Tensor) -> Tensor:
        return clip[:, 0, 0, 0, :2]


def test_the_features_of_a_video_are_the_mean_of_its_clips_with_length_one() -> None:
    clips = torch.zeros(3, 3, 16, 112, 112)
    clips[:, 0, 0, 0, :2] = torch.tensor([[9.0, 0.0], [0.0, 4.0], [0.0, 8.0]])  # mean (3, 4)
    torch.testing.assert_close(c3d_video_features(FcSix(), clips), torch.tensor([0.6, 0.8]))


def test_the_features_of_a_video_need_a_clip() -> None:
    with pytest.raises(ValueError, match=r"at least one clip, got \(0, 3, 16, 112, 112\)"):
        c3d_video_features(FcSix(), torch.zeros(0, 3, 16, 112, 112))


def test_the_features_windows_are_sixteen_frames_that_overlap_by_eight() -> None:
    with torch.device("meta"):
        spec: Any = create_model("c3d").clip_spec
    windows = dense_windows(np.arange(40) / 25, spec, hop_frames=8)
    assert windows[:, 0].tolist() == [0, 8, 16, 24]
    assert windows[:, -1].tolist() == [15, 23, 31, 39]


@pytest.mark.parametrize("depths", DEPTHS)
def test_the_kernels_are_as_deep_as_asked(depths: Any) -> None:
    with torch.device("meta"):
        model = c3d_depth(depths=depths)
    layers = (model.conv1a, model.conv2a, model.conv3a, model.conv4a, model.conv5a)
    assert tuple(layer.kernel_size[0] for layer in layers) == DEPTHS[depths]


def test_unknown_depths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"depths is one of 1, 3, 5, 7, inc.*, decr.*, not '4'"):
        c3d_depth(depths="4")  # type: ignore[arg-type]


def test_what_looks_at_one_frame_at_a_time_sees_motion_only_through_pooling() -> None:
    torch.manual_seed(0)
    flat, deep = (c3d_depth(3, depths=depths, size=32).eval() for depths in ("1", "3"))
    clip = torch.randn(1, 3, 16, 32, 32)
    swapped = clip[:, :, [1, 0, *range(2, 16)]]  # the second pooling takes both of these at once
    with torch.no_grad():
        torch.testing.assert_close(flat(swapped), flat(clip))
        assert not torch.allclose(deep(swapped), deep(clip))


def test_weights_without_a_classifier_leave_ours_alone(lab_goldens: Path) -> None:
    golden = json.loads((lab_goldens / "mmaction2/c3d_sports1m_ucf101.json").read_text())
    with torch.device("meta"):
        model: Any = create_model("c3d", 487)
        backbone = {
            name.removeprefix("backbone."): torch.empty(shape)
            for name, shape, _ in golden["state_dict"]
            if name.startswith("backbone.")
        }
    layout = published_weights("c3d")["sports1m_mmaction2_backbone"].layout
    converted = convert_state_dict(backbone, source=layout, model=model)
    assert differences(model, converted) == []
    assert converted["head.weight"].data_ptr() == model.head.weight.data_ptr()
    ours = {name: value for name, value in converted.items() if name != "head.bias"}
    incomplete = convert_state_dict(ours, source=layout, model=model)
    assert differences(model, incomplete) == ["head.bias is missing"]


def test_the_caffe_weights_get_our_order_of_colours() -> None:
    with torch.device("meta"):
        model = create_model("c3d")
    state = {"conv1.weight": torch.arange(3.0).view(1, 3, 1, 1, 1), "fc8.bias": torch.zeros(487)}
    layout = published_weights("c3d")["sports1m"].layout
    converted = convert_state_dict(state, source=layout, model=model)
    assert converted["conv1a.weight"].flatten().tolist() == [2.0, 1.0, 0.0]
    assert "head.bias" in converted


def test_numbered_layers_of_the_caffe_weights_have_names_here() -> None:
    """Layers without weights are counted, too: a ReLU after each, and poolings."""
    with torch.device("meta"):
        model: Any = create_model("c3d", 101)
    numbers = (0, 3, 6, 8, 11, 13, 16, 18)
    theirs = [f"features.{n}" for n in numbers] + [f"classifier.{n}" for n in (0, 3, 6)]
    ours = [name.removesuffix(".weight") for name in model.state_dict() if name.endswith(".weight")]
    assert len(theirs) == len(ours) == 11
    state = {
        f"{their}.{leaf}": model.state_dict()[f"{our}.{leaf}"]
        for their, our in zip(theirs, ours, strict=True)
        for leaf in ("weight", "bias")
    }
    converted = convert_state_dict(state, source="jfzhang95", model=model)
    assert differences(model, converted) == []


def test_pixels_of_up_to_255_do_not_upset_a_fresh_network() -> None:
    torch.manual_seed(0)
    model = c3d_depth(3, size=32).eval()
    with torch.no_grad():
        logits = model(50 * torch.randn(2, 3, 16, 32, 32))
    assert logits.abs().max() < 3
