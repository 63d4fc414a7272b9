"""The models that stand on a 2D network: single frame, late fusion, early fusion."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, softmax

from praxino.models import create_model
from praxino.models.backbone_2d import Backbone2d, from_torchvision
from praxino.models.single_frame import AverageProbabilities


def build(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_model(name, **{"num_classes": 4, "frames": 3, "size": 32, **options}).eval()


def clip(frames: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, frames, size, size, generator=torch.Generator().manual_seed(1))


def test_softmax_of_the_result_is_the_average_probability() -> None:
    logits = 5 * torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    average = AverageProbabilities()(logits)
    torch.testing.assert_close(softmax(average, 1), softmax(logits, 2).mean(1))


def test_one_frame_keeps_its_logits_to_the_last_bit() -> None:
    logits = 100 * torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(AverageProbabilities()(logits), logits[:, 0])


def test_certain_frames_average_without_overflow() -> None:
    average = AverageProbabilities()(torch.tensor([[[1e4, 0.0], [0.0, 1e4]]]))
    torch.testing.assert_close(softmax(average, 1), torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize("name", ["single_frame_resnet18", "late_fusion_pool_resnet18", "small_2d"])
def test_the_order_of_frames_does_not_matter(name: str) -> None:
    model = build(name)
    with torch.no_grad():
        torch.testing.assert_close(model(clip().flip(2)), model(clip()))


@pytest.mark.parametrize(
    "name", ["late_fusion_fc_resnet18", "early_fusion_resnet18", "small_3d", "toy_3d"]
)
def test_the_order_of_frames_matters(name: str) -> None:
    options: dict[str, Any] = {"frames": 4} if name != "toy_3d" else {}
    torch.manual_seed(0)
    model = create_model(name, 4, **options, **({"size": 32} if options else {})).eval()
    with torch.no_grad():
        difference = model(clip(4).flip(2)) - model(clip(4))
    assert difference.abs().max() > 1e-4


def test_late_fusion_classifies_the_mean_of_all_places_and_times() -> None:
    model = build("late_fusion_pool_resnet18")
    with torch.no_grad():
        expected = model.head(model.forward_features(clip()).mean((2, 3, 4)))
        torch.testing.assert_close(model(clip()), expected)


def test_late_fusion_with_a_hidden_layer_sees_every_frame_and_place() -> None:
    model = build("late_fusion_fc_resnet18", size=64)
    assert model.hidden.in_features == 3 * 512 * 2 * 2
    with pytest.raises(
        ValueError, match=r"was built for T=3, got T=5 in a clip of shape \(2, 3, 5"
    ):
        model(clip(5, 64))
    with pytest.raises(ValueError, match=r"was built for H=W=64, got 32 x 32 in a clip of shape"):
        model(clip(3, 32))


def test_early_fusion_stacks_frame_after_frame() -> None:
    model = build("early_fusion_resnet18")
    first = model.backbone.features.conv1
    assert first.weight.shape == (64, 9, 7, 7)
    with torch.no_grad():
        first.weight[:, 3:].zero_()  # deaf to all but the first frame
        changed = clip()
        changed[:, :, 1:] = 0
        torch.testing.assert_close(model(changed), model(clip()))


def test_early_fusion_needs_its_number_of_frames() -> None:
    with pytest.raises(ValueError, match=r"Early fusion was built for T=3, got T=4 .*option `fram"):
        build("early_fusion_resnet18")(clip(4))


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"normalisation must be 'imagenet' or 'symmetric', got"):
        build("single_frame_resnet18", normalisation="tf")


def test_symmetric_normalisation_maps_pixels_to_minus_one_and_one() -> None:
    spec = build("single_frame_resnet18", normalisation="symmetric").clip_spec
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_an_unknown_backbone_gets_a_hint() -> None:
    with pytest.raises(
        ValueError, match=r"no image network named 'resnet81'\. Did you mean 'resnet18'\?"
    ):
        Backbone2d("resnet81")


def test_a_network_without_a_linear_classifier_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"squeezenet1_1 does not end in a linear layer but in AdaptiveAvgPool2d"
    ):
        Backbone2d("squeezenet1_1")


def test_a_vision_transformer_takes_one_size_only() -> None:
    with torch.device("meta"):
        model: Any = create_model("single_frame", backbone="vit_b_32")
        with pytest.raises(ValueError, match="takes H=W=224, got 96 x 96"):
            model(torch.zeros(1, 3, 1, 96, 96))


# One of each family that is cut in its own way, with the size to try it at.
FAMILIES = [
    ("alexnet", 64),
    ("convnext_tiny", 64),
    ("densenet121", 64),
    ("efficientnet_b0", 64),
    ("googlenet", 64),
    ("maxvit_t", 224),
    ("mnasnet0_5", 64),
    ("mobilenet_v2", 64),
    ("mobilenet_v3_small", 64),
    ("regnet_y_400mf", 64),
    ("resnet18", 64),
    ("shufflenet_v2_x0_5", 64),
    ("swin_t", 64),
    ("vit_b_32", 224),
]
FAST = ("alexnet", "mnasnet0_5", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5")


@pytest.mark.parametrize(
    ("backbone", "size"),
    [pytest.param(*f, marks=[] if f[0] in FAST else [pytest.mark.slow]) for f in FAMILIES],
)
def test_one_frame_gives_what_torchvision_gives(backbone: str, size: int) -> None:
    """The network, cut into features, neck and head, still computes the same."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    options = {"init_weights": True} if backbone == "googlenet" else {}
    theirs = get_model(backbone, weights=None, **options).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # some heads start at zero
            parameter.add_(0.01 * torch.randn_like(parameter))
    ours: Any = create_model("single_frame", 1000, backbone=backbone).eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict(), ours))
    frames = clip(1, size)
    with torch.no_grad():
        expected = theirs(frames[:, :, 0])
        torch.testing.assert_close(ours(frames), expected, rtol=1e-4, atol=1e-5)
        features = ours.forward_features(frames)
    assert features.shape[:3] == (2, features.shape[1], 1)


def test_published_densenets_have_old_names() -> None:
    old = {
        "features.denseblock1.denselayer1.norm.1.weight": torch.zeros(4),
        "features.denseblock1.denselayer1.conv.2.weight": torch.zeros(4, 4, 3, 3),
        "classifier.weight": torch.zeros(2, 4),
        "classifier.bias": torch.zeros(2),
    }
    assert set(from_torchvision(old, torch.nn.Identity())) == {
        "backbone.features.features.denseblock1.denselayer1.norm1.weight",
        "backbone.features.features.denseblock1.denselayer1.conv2.weight",
        "head.weight",
        "head.bias",
    }


def test_same_padding_is_tensorflows() -> None:
    """An edge in the last column, under a kernel that picks the pixel to the right."""
    padded: Any = Backbone2d("mobilenet_v2", same_padding=True).features
    layer = padded.features[0][0]
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, :, 1, 2] = 1.0
    even, odd = torch.arange(6.0), torch.arange(5.0)
    with torch.no_grad():
        of_even = layer(even.expand(1, 3, 6, 6))[0, 0, 0]
        of_odd = layer(odd.expand(1, 3, 5, 5))[0, 0, 0]
    # 6 pixels: windows start at 0, 2, 4, one pixel of padding on the right. 5: at -1, 1, 3.
    assert of_even.tolist() == [3 * 2, 3 * 4, 0]
    assert of_odd.tolist() == [3 * 1, 3 * 3, 0]


def frames_of(path: Path, count: int) -> torch.Tensor:
    """Some frames, centre square, 224 pixels: `(1, 3, T, 224, 224)` in [0, 1]."""
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    picked = [images[i] for i in np.linspace(0, len(images) - 1, count).astype(int)]
    pixels = torch.from_numpy(np.stack(picked)).permute(0, 3, 1, 2).float() / 255
    height, width = pixels.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[:, :, top : top + side, left : left + side]
    return interpolate(square, (224, 224), mode="bilinear", antialias=True).transpose(0, 1)[None]


def test_real_imagenet_weights_see_what_is_there(lab_data: Path) -> None:
    model: Any = create_model(
        "single_frame_mobilenet_v2",
        weights=lab_data / "weights" / "mobilenet_v2_imagenet1k.safetensors",
        same_padding=True,
        normalisation="symmetric",
    ).eval()
    pixels = frames_of(lab_data / "clips" / "v_BaseballPitch_g01_c01.avi", count=4)
    with torch.no_grad():
        scores = softmax(model((pixels - 0.5) / 0.5), dim=1)[0]
    croquet_ball = 522  # ImageNet's nearest to a pitcher on a lawn is a small ball on a lawn
    assert scores.argmax() == croquet_ball
    assert scores[croquet_ball] > 0.4


@pytest.mark.parametrize(("name", "learns"), [("small_3d", True), pytest.param("small_2d", False)])
def test_only_the_3d_network_learns_which_way_a_dot_moves(name: str, learns: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = create_model(name, 2, frames=8, size=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        clips = torch.full((size, 3, 8, 32, 32), -1.0)
        labels = torch.randint(2, (size,), generator=generator)
        starts = torch.randint(4, (size,), generator=generator)
        rows = torch.randint(4, 24, (size,), generator=generator)
        for number in range(size):
            for moment in range(8):
                step = moment if labels[number] else 7 - moment
                column = int(starts[number]) + 3 * step
                clips[number, :, moment, rows[number] : rows[number] + 4, column : column + 4] = 1
        return clips, labels

    for _ in range(25):
        clips, labels = batch(16)
        loss = torch.nn.functional.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clips, labels = batch(64)
    with torch.no_grad():
        accuracy = (model(clips).argmax(1) == labels).float().mean()
    assert accuracy > 0.95 if learns else accuracy < 0.75
