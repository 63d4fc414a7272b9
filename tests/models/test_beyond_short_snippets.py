"""Beyond short snippets: what each pooling can tell, and what five LSTMs are taught."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from praxino.models import convert_state_dict, create_model
from praxino.models.beyond_short_snippets import DeepLstm, FeaturePooling
from praxino.weights.fitting import check_fit

TINY: dict[str, Any] = {"backbone": "resnet18", "hidden": 8, "size": 32}
WINDOWS = {"frames": 6, "window": 2, "stride": 2}


def pooling(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_model(
        "beyond_short_snippets_pooling", 3, pooling=kind, **{**TINY, **WINDOWS, **options}
    ).eval()


def clip_of(frames: int) -> Tensor:
    return torch.randn(2, 3, frames, 32, 32, generator=torch.Generator().manual_seed(1))


# Whether logits change when frames change places within a window, and when windows do.
ORDER = [
    ("conv", False, False),
    ("late", False, False),
    ("slow", False, False),
    ("local", False, True),
    ("time_conv", True, False),
]


@pytest.mark.parametrize(("kind", "within", "between"), ORDER)
def test_what_order_each_pooling_knows(kind: str, within: bool, between: bool) -> None:
    model, clip = pooling(kind), clip_of(6)
    with torch.no_grad():
        logits = model(clip)
        inside = model(clip[:, :, [1, 0, 3, 2, 5, 4]])
        windows = model(clip[:, :, [4, 5, 0, 1, 2, 3]])
    assert torch.allclose(logits, inside, atol=1e-6) != within
    assert torch.allclose(logits, windows, atol=1e-6) != between


def test_poolings_of_one_frame_say_the_same() -> None:
    """Growing a network changes nothing until it has seen more."""
    clip = clip_of(1)
    one = {"frames": 1, "window": 1, "stride": 1}
    with torch.no_grad():
        logits = [pooling(kind, **one)(clip) for kind in ("conv", "late", "slow", "local")]
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0])


@pytest.mark.parametrize("kind", ["conv", "late", "slow", "time_conv"])
def test_grows_with_its_weights(kind: str) -> None:
    """From 6 frames to 30, with the same parameters."""
    short, long = pooling(kind), pooling(kind, frames=30)
    long.load_state_dict(short.state_dict())
    assert long(clip_of(30)).shape == (2, 3)


def test_repeated_frames_change_no_maximum() -> None:
    model, clip = pooling("conv"), clip_of(2)
    with torch.no_grad():
        torch.testing.assert_close(model(clip), model(clip[:, :, [0, 1, 1, 0, 1]]))


@pytest.mark.parametrize("kind", ["conv", "late", "slow", "local"])
def test_windows_join_at_the_layers_of_figure_2(kind: str) -> None:
    """By hand, from the frames' features."""
    model, clip = pooling(kind), clip_of(6)
    with torch.no_grad():
        features = model.backbone.maps(clip).mean(dim=(3, 4)).transpose(1, 2)  # (B, 6, D)
        windows = features.unflatten(1, (3, 2)).amax(dim=2)  # (B, 3, D)
        if kind == "conv":
            expected = model.fc2(model.fc1(features.amax(dim=1)))
        elif kind == "late":
            expected = model.fc2(model.fc1(features)).amax(dim=1)
        elif kind == "slow":
            expected = model.fc2(model.fc1(windows).amax(dim=1))
        else:
            expected = model.fc2(model.fc1(windows)).flatten(1)
        torch.testing.assert_close(model(clip), model.head(expected))


def test_googlenet_is_best_without_hidden_layers() -> None:
    model = pooling("conv", hidden=0)
    clip = clip_of(4)
    with torch.no_grad():
        features = model.backbone.maps(clip).mean(dim=(3, 4)).amax(dim=2)
        torch.testing.assert_close(model(clip), model.head(features))


def test_alexnet_brings_its_hidden_layers() -> None:
    with torch.device("meta"):
        images: Any = create_model("single_frame", backbone="alexnet")
        own: dict[str, Any] = {"backbone": "alexnet", "cells": 6}
        model: Any = create_model("beyond_short_snippets_pooling", 3, **own)
    theirs = {
        name.removeprefix("backbone.features.").replace("backbone.neck.", ""): value
        for name, value in images.state_dict().items()
    }
    theirs["classifier.6.weight"] = theirs.pop("head.weight")
    theirs["classifier.6.bias"] = theirs.pop("head.bias")
    found = convert_state_dict(theirs, source="torchvision", model=model)
    check_fit(model, found, "alexnet")
    assert found["fc1.0.weight"] is theirs["classifier.1.weight"]
    assert found["fc2.0.bias"] is theirs["classifier.4.bias"]
    with torch.device("meta"):
        other: Any = create_model("beyond_short_snippets_pooling", 3, hidden=8, **own)
    check_fit(other, convert_state_dict(theirs, source="torchvision", model=other), "alexnet")


def lstm(**options: Any) -> Any:
    torch.manual_seed(0)
    return create_model("beyond_short_snippets_lstm", 3, layers=2, **TINY, **options).eval()


def test_a_stream_says_what_the_clip_says() -> None:
    model, clip, state = lstm(answer="last"), clip_of(4), None
    with torch.no_grad():
        steps = model.forward_steps(clip)
        for number in range(4):
            logits, state = model.step(clip[:, :, number], state)
            torch.testing.assert_close(logits, steps[:, number])
        torch.testing.assert_close(model(clip), logits)


def test_has_five_lstms_of_512() -> None:
    with torch.device("meta"):
        model: Any = create_model("beyond_short_snippets_lstm")
    assert (model.lstm.num_layers, model.lstm.hidden_size) == (5, 512)


STEPS = torch.tensor([[[0.0, 2.0], [1.0, -1.0], [3.0, 0.0]]])


@pytest.mark.parametrize(
    ("answer", "weights"), [("weighted", [1 / 6, 2 / 6, 3 / 6]), ("mean", [1 / 3] * 3)]
)
def test_probabilities_of_all_frames_are_averaged(answer: Any, weights: list[float]) -> None:
    model = DeepLstm(2, "rgb", answer=answer, backbone="shufflenet_v2_x0_5", hidden=4)
    expected = torch.einsum("t,btk->bk", torch.tensor(weights), STEPS.softmax(dim=2))
    torch.testing.assert_close(model.together(STEPS).softmax(dim=1), expected)


def test_other_answers() -> None:
    small: dict[str, Any] = {"backbone": "shufflenet_v2_x0_5", "hidden": 4}
    probabilities = STEPS.softmax(dim=2)
    largest = DeepLstm(2, "rgb", answer="max", **small).together(STEPS).exp()
    torch.testing.assert_close(largest, probabilities.amax(dim=1))
    last = DeepLstm(2, "rgb", answer="last", **small).together(STEPS)
    assert torch.equal(last, STEPS[:, 2])


def test_later_mistakes_count_more() -> None:
    model, clip, labels = lstm(), clip_of(3), torch.tensor([0, 2])
    loss, logits = model.loss(clip, labels)
    steps = model.forward_steps(clip)
    each = [cross_entropy(steps[:, number], labels) for number in range(3)]
    torch.testing.assert_close(loss, (each[0] + 2 * each[1] + 3 * each[2]) / 6)
    torch.testing.assert_close(logits, model(clip))


def test_flow_is_a_picture_whose_third_channel_is_zero() -> None:
    torch.manual_seed(0)
    flow: Any = create_model("beyond_short_snippets_lstm_flow", 3, layers=2, **TINY).eval()
    colours = lstm()
    colours.load_state_dict(flow.state_dict())
    clip = clip_of(2)
    clip[:, 2] = 0
    with torch.no_grad():
        torch.testing.assert_close(flow(clip[:, :2]), colours(clip))


def test_says_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"pooling is one of conv, .*, not 'early'"):
        FeaturePooling(3, "rgb", pooling="early")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'slow' is told from 'conv' by its hidden layers"):
        pooling("slow", hidden=0)
    with pytest.raises(ValueError, match=r"window must be from 1 to frames=6 .* got window=7"):
        pooling("slow", window=7)
    with pytest.raises(ValueError, match="window=2 and stride=0"):
        pooling("local", stride=0)
    with pytest.raises(ValueError, match=r"answer is one of weighted, .*, not 'first'"):
        DeepLstm(3, "rgb", answer="first")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1 LSTM, got layers=0"):
        create_model("beyond_short_snippets_lstm", layers=0)
    with pytest.raises(ValueError, match="was built for T=6, got T=8"):
        pooling("local")(clip_of(8))
    with pytest.raises(ValueError, match="needs T of at least 2, got T=1"):
        pooling("slow")(clip_of(1))
