"""LRCN: the authors' CNN, what flow looks like to it, its loss at every step, and training."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from praxino.layer_table import layer_table
from praxino.models import convert_state_dict, create_model, lrcn, lrcn_flow
from praxino.models.lrcn import HybridNet, flow_pictures
from praxino.recipe import DataConfig, ModelConfig, TrainConfig
from praxino.train import train

SMALL: dict[str, Any] = {
    "backbone": "shufflenet_v2_x0_5",
    "hidden": 8,
    "frames": 3,
    "size": 32,
}


def test_the_sizes_of_the_authors_cnn() -> None:
    with torch.device("meta"):
        model = lrcn(frames=2)
    rows = {row.name: row for row in layer_table(model)}
    sizes = {name.rpartition(".")[2]: row.size for name, row in rows.items()}
    assert sizes["conv1"] == (96, 2, 111, 111)
    assert sizes["conv2"] == (384, 2, 26, 26)
    assert sizes["conv5"] == (384, 2, 13, 13)
    assert rows["backbone.neck.fc6"].kind == f"Linear({384 * 6 * 6}->4096)"
    assert rows["lstm"].parameters == 4 * 256 * (4096 + 256 + 2)


def test_fc7_is_one_layer_more() -> None:
    with torch.device("meta"):
        model = lrcn(frames=2, layer="fc7")
    rows = {row.name for row in layer_table(model)}
    assert {"backbone.neck.fc6", "backbone.neck.fc7"} < rows
    with pytest.raises(ValueError, match=r"^layer is 'fc6' or 'fc7', not 'fc8'\.$"):
        HybridNet("fc8")  # type: ignore[arg-type]


def test_the_authors_cnn_takes_its_own_size_only() -> None:
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=r"LRCN's own CNN was built for H=W=227, got 224 x 224"),
    ):
        lrcn()(torch.zeros(1, 3, 1, 224, 224))


def test_flow_is_seen_as_motion_and_its_speed_in_sixteenths_of_a_pixel() -> None:
    clip = torch.zeros(1, 2, 1, 1, 3)
    clip[0, :, 0, 0] = torch.tensor([[0.0, 3.0, -9.0], [0.0, 4.0, 0.0]])
    pictures = flow_pictures(clip)[0, :, 0, 0]
    assert pictures.T.tolist() == [[0, 0, 0], [48, 64, 80], [-128, 0, 127]]


def test_what_enters_the_flow_network_are_pixels() -> None:
    with torch.device("meta"):
        spec = lrcn_flow().clip_spec
    still, bound = ((value - spec.mean[0]) / spec.std[0] for value in (0.5, 1.0))
    assert (still, round(bound, 6)) == (0, 20)


def test_still_flow_has_a_gradient() -> None:
    clip = torch.zeros(1, 2, 1, 2, 2, requires_grad=True)
    flow_pictures(clip).sum().backward()
    assert clip.grad is not None
    assert clip.grad.isfinite().all()


def test_every_step_has_its_loss_and_the_answer_is_the_average_of_their_probabilities() -> None:
    torch.manual_seed(0)
    model = lrcn(3, **SMALL).eval()
    clip, labels = torch.randn(2, 3, 4, 32, 32), torch.tensor([2, 0])
    steps = model.forward_steps(clip)
    assert steps.shape == (2, 4, 3)
    loss, logits = model.loss(clip, labels)
    by_hand = torch.stack([cross_entropy(steps[:, t], labels) for t in range(4)]).mean()
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(logits.softmax(1), steps.softmax(2).mean(dim=1))
    torch.testing.assert_close(logits, model(clip))


def test_starts_from_imagenet_only_where_the_network_is_torchvisions() -> None:
    from praxino.models import published_weights

    assert published_weights("lrcn") == {}
    assert "imagenet" in published_weights("lrcn", backbone="resnet18")


def test_starts_from_a_network_that_was_trained_on_single_frames() -> None:
    frames = create_model("single_frame", 5, backbone="shufflenet_v2_x0_5")
    model = lrcn(3, **SMALL)
    converted = convert_state_dict(frames.state_dict(), source="single_frame", model=model)
    model.load_state_dict(converted, strict=True)
    assert torch.equal(model.state_dict()["head.weight"], converted["head.weight"])


def test_trains_with_the_ordinary_loop(two_actions: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        data=DataConfig(str(two_actions), val_fraction=0.25, workers=0, limit_per_class=4),
        model=ModelConfig("lrcn", SMALL, weights=None),
        epochs=1,
        batch_size=4,
    )
    run = train(config, tmp_path / "run")
    (line,) = (run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 2
    assert create_model("lrcn", weights=run / "last.safetensors", **SMALL).head.out_features == 2  # type: ignore[union-attr]
