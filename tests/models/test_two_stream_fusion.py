"""Fusion of two streams' maps, and of the moments of a clip."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from praxino.layer_table import count_parameters
from praxino.models import create_model
from praxino.models.two_stream_fusion import ConvFusion, bilinear_features, start_from_streams

SMALL = {"chunks": 3, "chunk_stride": 4, "chunk_jitter": 2, "flows": 2, "size": 41}
FUSIONS = ["sum", "max", "concat", "conv", "bilinear", "conv3d"]


def build(name: str = "two_stream_fusion_cnn_m", **options: Any) -> Any:
    torch.manual_seed(0)
    if name == "two_stream_fusion":
        options = {"hidden": 16, **options}
    return create_model(name, 4, **{**SMALL, **options}).eval()


def clip_of(model: Any, batch: int = 2) -> Tensor:
    spec = model.clip_spec
    generator = torch.Generator().manual_seed(1)
    # Bytes less their mean, as CNN-M wants them.
    return 60 * torch.randn(batch, 5, spec.frames, spec.size, spec.size, generator=generator)


def maps() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    spatial, temporal = torch.rand(2, 2, 6, 5, 7, 7, generator=generator)
    return spatial, temporal


def test_conv_starts_as_a_quarter_and_three_quarters() -> None:
    spatial, temporal = maps()
    expected = 0.25 * spatial + 0.75 * temporal
    torch.testing.assert_close(ConvFusion(6, 1)(spatial, temporal), expected)


def test_conv3d_starts_as_a_blur_of_them() -> None:
    """A bell of deviation 1 over 27 positions, whose weights sum to 1."""
    spatial, temporal = maps()
    fusion = ConvFusion(6, 3)
    kernel = fusion.conv.weight[2, 2]  # what the third channel takes of the third spatial one
    assert float(kernel.sum().detach()) == pytest.approx(0.25)
    assert float((kernel[0, 0, 0] / kernel[1, 1, 1]).detach()) == pytest.approx(
        torch.tensor(-1.5).exp().item()
    )
    weights = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1, 1, 1)
    flat = (weights * torch.ones(2, 1, 6, 3, 5, 5)).unbind()
    torch.testing.assert_close(
        fusion(flat[0], flat[1])[:, :, 1, 1:-1, 1:-1], torch.full((1, 6, 3, 3), 0.25**2 + 0.75**2)
    )
    assert fusion(spatial, temporal).shape == spatial.shape


def test_bilinear_features_are_products_over_places() -> None:
    spatial, temporal = maps()
    found = bilinear_features(spatial, temporal)
    product = sum(
        spatial[0, :, t, y, x, None] * temporal[0, None, :, t, y, x]
        for t in range(5)
        for y in range(7)
        for x in range(7)
    )
    roots = torch.as_tensor(product).sqrt().flatten()
    torch.testing.assert_close(found[0], roots / roots.norm())
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("keep_temporal", [True, False])
def test_every_fusion_classifies(fusion: Any, keep_temporal: bool) -> None:
    model = build(fusion=fusion, keep_temporal=keep_temporal)
    clip, labels = clip_of(model), torch.tensor([0, 3])
    loss, logits = model.loss(clip, labels)
    torch.testing.assert_close(logits, model(clip))
    streams = model.stream_logits(clip)
    assert len(streams) == 1 + keep_temporal
    torch.testing.assert_close(loss, sum(cross_entropy(one, labels) for one in streams))
    mean = torch.stack([one.softmax(1) for one in streams]).mean(dim=0)
    torch.testing.assert_close(logits.softmax(1), mean)
    channels = {"concat": 1024, "bilinear": 1024}.get(fusion, 512)
    assert model.forward_features(clip).shape == (2, channels, 3, 2, 2)


def test_sum_and_max_are_what_they_say() -> None:
    for fusion, merge in (("sum", torch.add), ("max", torch.maximum)):
        model = build(fusion=fusion)
        clip = clip_of(model)
        with torch.no_grad():
            expected = merge(*model.stream_maps(clip))
            torch.testing.assert_close(model.forward_features(clip), expected)


def test_moments_are_frames_with_their_flows() -> None:
    """Of 15 frames: flows 2, 6, 10 and the one after each; the colours of the latter."""
    model = build()
    clip = clip_of(model)
    assert clip.shape[2] == 2 * (4 + 2) + 2 + 1 == 15
    assert model._starts(15) == [2, 6, 10]
    assert model._starts(10) == [0, 4, 8]  # no frame to spare
    with torch.no_grad():
        before = model(clip)
        other = clip.clone()
        other[:, 3:, [0, 1, 4, 5, 8, 9, 12, 13, 14]] += 60
        other[:, :3, [t for t in range(15) if t not in (3, 7, 11)]] += 60
        torch.testing.assert_close(model(other), before)
        for channel, frame in ((0, 7), (3, 6), (4, 11)):
            other = clip.clone()
            other[:, channel, frame, :20] += 60  # not of all: its mean is subtracted
            assert (model(other) - before).abs().max() > 1e-5


def test_training_draws_the_distance_of_moments() -> None:
    model = build().train()
    torch.manual_seed(0)
    drawn = {tuple(model._starts(15)) for _ in range(60)}
    assert {starts[1] - starts[0] for starts in drawn} == {2, 3, 4, 5, 6}
    assert all(starts[0] >= 0 and starts[2] + 2 <= 15 for starts in drawn)
    # A shorter clip holds smaller distances only.
    assert {s[1] - s[0] for s in (model._starts(10) for _ in range(60))} == {2, 3, 4}


def test_pooling_over_moments_or_in_each_of_them() -> None:
    """The mean of moments that are all alike is each of them; so is their maximum."""
    deep, flat = build(fusion="sum", pool="3d"), build(fusion="sum", pool="2d")
    flat.load_state_dict(deep.state_dict())
    clip = clip_of(deep)
    still = clip[:, :, 3:4].expand(-1, -1, 15, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(deep(still), flat(still))
        assert (deep(clip) - flat(clip)).abs().max() > 1e-5


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"chunk_jitter is less than the stride; got 3, 4 and 4\."):
        build(chunk_jitter=4)
    with pytest.raises(ValueError, match=r"TwoStreamFusion needs T of at least 10, got T=9 "):
        build()(torch.zeros(1, 5, 9, 41, 41))
    with pytest.raises(ValueError, match=r"needs H and W of at least 32, got 31 x 31"):
        build("two_stream_fusion", size=32)(torch.zeros(1, 5, 15, 31, 31))
    from praxino.models import two_stream_fusion

    with pytest.raises(ValueError, match=r"fusion is 'sum', 'max', .* or 'conv3d', not 'votes'\."):
        two_stream_fusion(fusion="votes", hidden=8)  # type: ignore[arg-type]


@pytest.mark.parametrize("fusion", ["conv3d", "concat"])
def test_begins_with_trained_streams(fusion: Any) -> None:
    """Right after that its temporal stream is the one that was trained."""
    options = {"flows": 2, "size": 41}
    torch.manual_seed(1)
    spatial = create_model("spatial_stream_cnn_m", 4, size=41).eval()
    temporal = create_model("temporal_stream_cnn_m", 4, **options).eval()
    model = build(fusion=fusion)
    start_from_streams(model, spatial, temporal)  # type: ignore[arg-type]
    clip = clip_of(model)
    still = clip[:, :, 3:4].expand(-1, -1, 15, -1, -1)
    with torch.no_grad():
        fused, own = model.stream_logits(still)
        torch.testing.assert_close(own, temporal(still[:, 3:, :3]))
        if fusion == "concat":  # half of what each map would say, before the first hidden ReLU
            spatial_maps, temporal_maps = (
                stream.forward_features(part)
                for stream, part in ((spatial, still[:, :3, :1]), (temporal, still[:, 3:, :3]))
            )
            pooled = [
                spatial.backbone.neck.pool5(m.squeeze(2)) for m in (spatial_maps, temporal_maps)
            ]  # type: ignore[union-attr, operator]
            mean = sum(pooled) / 2
            hidden = list(spatial.backbone.neck.children())[1:]  # type: ignore[union-attr]
            expected = spatial.head(torch.nn.Sequential(*hidden)(mean))  # type: ignore[operator]
            torch.testing.assert_close(fused, expected)


def test_begins_with_the_network_of_images(tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from torchvision.models import VGG

    from praxino.models.two_stream_fusion import _vgg16_convolutions

    torch.manual_seed(0)
    network = VGG(torch.nn.Sequential(*_vgg16_convolutions(3), torch.nn.MaxPool2d(2)))
    network.classifier = torch.nn.Sequential(
        *(torch.nn.Linear(25088, 16), torch.nn.ReLU(), torch.nn.Dropout()),
        *(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(16, 9)),
    )
    save_file(network.state_dict(), tmp_path / "vgg16.safetensors")
    model = build("two_stream_fusion", size=32, weights=tmp_path / "vgg16.safetensors")
    frames = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.spatial(frames), network.features[:-1](frames))
        torch.testing.assert_close(model.hidden.fc6.weight, network.classifier[0].weight)
        torch.testing.assert_close(model.temporal_hidden.fc7.bias, network.classifier[3].bias)
    first = model.temporal.get_parameter("0.weight")
    torch.testing.assert_close(first[:, 3], network.features[0].weight.mean(dim=1))


def test_the_pairs_of_streams_have_their_parameters() -> None:
    """Nothing but the fusing convolution is added to the two streams: 3 x 3 x 3 x 1024 x 512."""
    with torch.device("meta"):
        streams = [create_model(name, 101) for name in ("spatial_stream", "temporal_stream")]
        joined = create_model("two_stream_fusion", 101)
    added = count_parameters(joined) - sum(map(count_parameters, streams))
    assert added == 27 * 1024 * 512 + 512
