import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from praxino import models
from praxino.datasets.folder import read_folder
from praxino.errors import VideoError
from praxino.evaluate import evaluate
from praxino.models import create_model, published_weights
from praxino.predict import predict
from praxino.recipe import ClipConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.train import (
    Listener,
    _clip_spec,
    _for_training,
    _optimizer,
    _schedule,
    freeze,
    train,
)
from praxino.video.augmentation import Augmentation
from praxino.video.clip_spec import ClipSpec
from praxino.weights import checkpoint


@pytest.fixture
def config(two_actions) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(str(two_actions), val_fraction=0.25, workers=0),
        model=ModelConfig("small_3d", {"frames": 8, "size": 32}, weights=None),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(lr=0.003),
        epochs=3,
        batch_size=4,
    )


def contents(run):
    """All that a run came to, as comparable values."""
    weights = load_file(run / "last.safetensors")
    state = sorted((run / "state").glob("step-*"))[-1]
    return (
        {name: tensor.tolist() for name, tensor in weights.items()},
        {name: t.tolist() for name, t in load_file(state / "optimizer.safetensors").items()},
        {name: t.tolist() for name, t in load_file(state / "random.safetensors").items()},
        (run / "metrics.jsonl").read_text(),
    )


def test_learns_what_only_order_tells_and_fills_the_run_folder(config, tmp_path):
    run = train(dataclasses.replace(config, epochs=15), tmp_path / "run")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 16))
    assert max(line["val_hit_at_1"] for line in lines) == 1.0
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    names = {path.name.split(".out")[0] for path in run.iterdir()}
    assert names >= {
        "config.json", "best.safetensors", "last.safetensors", "state", "metrics.jsonl",
        "training_items.jsonl", "items.jsonl", "predictions.parquet", "confusion.png",
        "result.json", "report.html",
    }  # fmt: skip
    assert any(path.name.startswith("events") for path in run.iterdir())
    model = checkpoint.load_model(run)
    assert model.classes == ("brighter", "darker")
    assert model.card.notes["val_hit_at_1"] == 1.0
    counts = [
        json.loads(line)["status"]
        for line in (run / "training_items.jsonl").read_text().splitlines()
    ]
    assert counts == ["ok"] * 12


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("stop_after", [1, 3, 5, 9])
def test_an_interrupted_run_ends_with_the_same_numbers(config, tmp_path, workers, stop_after):
    config = dataclasses.replace(
        config,
        model=ModelConfig("small_3d", {"frames": 8, "size": 32}, weights=None),
        data=dataclasses.replace(config.data, workers=workers),
    )
    whole = train(config, tmp_path / "whole")
    steps = 0

    def interrupt(epoch, done, count, loss):
        nonlocal steps
        steps += 1
        if steps == stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", listener=Listener(step=interrupt))
    cut = train(config, tmp_path / "cut", resume=True)
    assert contents(whole) == contents(cut)


def test_a_damaged_newest_state_falls_back_and_says_so(config, tmp_path):
    run = train(config, tmp_path / "run")
    newest = sorted((run / "state").glob("step-*"))[-1]
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    whole = contents(train(config, tmp_path / "whole"))
    said = []
    train(config, run, resume=True, listener=Listener(said=said.append))
    assert any(f"{newest.name} is damaged (model.safetensors has changed" in line for line in said)
    assert contents(run) == whole
    for folder in (run / "state").glob("step-*"):
        (folder / "state.json").write_text("{}")
    with pytest.raises(ValueError, match="No whole training state is left in"):
        train(config, run, resume=True)


def test_a_folder_that_holds_a_run_is_not_overwritten(config, tmp_path):
    run = train(dataclasses.replace(config, epochs=1), tmp_path / "run")
    with pytest.raises(ValueError, match=r"already holds a run\. Resume it with --resume"):
        train(config, run)
    with pytest.raises(ValueError, match="was started with other settings of epochs"):
        train(config, run, resume=True)
    with pytest.raises(ValueError, match="There is no run to resume in"):
        train(config, tmp_path / "none", resume=True)


def test_a_bad_video_stops_training_or_is_counted(config, two_actions, tmp_path):
    rows = [f"{row.video},{row.labels[0]}\n" for row in read_folder(two_actions)]
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("brighter", "darker"):
        (folder / name).symlink_to(two_actions / name)
    (folder / "bad.mp4").write_bytes(b"this is not a video" * 100)
    (folder / "list.csv").write_text("".join(["video,label\n", *rows, "bad.mp4,darker\n"]))
    data = DataConfig(str(folder / "list.csv"), val_split="", workers=0)
    config = dataclasses.replace(config, data=data, epochs=1)
    with pytest.raises(VideoError, match=r"bad\.mp4: .* Pass --data\.skip-bad to train without"):
        train(config, tmp_path / "stops")
    config = dataclasses.replace(config, data=dataclasses.replace(data, skip_bad=True))
    run = train(config, tmp_path / "counts")
    lines = [json.loads(line) for line in (run / "training_items.jsonl").read_text().splitlines()]
    assert len(lines) == 17
    assert [line["item"] for line in lines if line["status"] == "failed"] == ["bad.mp4"]


def test_a_loss_that_is_no_number_names_the_videos(config, tmp_path):
    config = dataclasses.replace(
        config, optim=OptimConfig("sgd", lr=1e30, clip_norm=0.0, warmup_epochs=0)
    )
    with pytest.raises(FloatingPointError, match=r"The loss is (nan|inf) at learning rate"):
        train(config, tmp_path / "run")


def test_no_training_videos(config, two_actions, tmp_path):
    (tmp_path / "only_test.csv").write_text("video,label,split\nbrighter/0.mp4,brighter,test\n")
    data = DataConfig(str(tmp_path / "only_test.csv"), str(two_actions), val_split="")
    with pytest.raises(ValueError, match="No video is in split 'train'"):
        train(dataclasses.replace(config, data=data), tmp_path / "run")


def test_learning_rate_curve():
    config = TrainConfig()
    curve = [_schedule(step, 2, 6, config) for step in range(6)]
    assert curve == pytest.approx([0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    flat = TrainConfig(optim=OptimConfig(schedule="constant"))
    assert [_schedule(step, 2, 6, flat) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_learning_rate_in_steps():
    """Ten steps in each of five epochs."""
    steps = OptimConfig(schedule="steps", milestones=(1, 3), gamma=0.5)
    config = TrainConfig(optim=steps, epochs=5)
    curve = [_schedule(step, 0, 50, config) for step in range(50)]
    assert curve == [1.0] * 10 + [0.5] * 20 + [0.25] * 20
    fading = TrainConfig(optim=OptimConfig(schedule="exponential", gamma=0.5), epochs=5)
    assert [_schedule(step, 0, 50, fading) for step in (0, 9, 10, 20, 49)] == [
        1,
        1,
        0.5,
        0.25,
        1 / 16,
    ]


def test_clip_spec_changes_keep_one_spacing_and_the_margin():
    spec = ClipSpec(16, stride_frames=2, size=112, resize_short=128)
    assert _clip_spec(spec, ClipConfig(frames_per_second=5.0)) == dataclasses.replace(
        spec, frames_per_second=5.0, stride_frames=None
    )
    assert _clip_spec(spec, ClipConfig(size=56)).resize_short == 64
    assert _clip_spec(spec, ClipConfig()) == spec


def test_freezing_saves_gradients_and_keeps_batch_norms_still():
    model = create_model("single_frame", num_classes=3, backbone="resnet18", frames=2)
    layer = next(name for name, _ in model.named_modules() if name.endswith("layer2"))
    still = freeze(model, layer, batch_norm=False)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert any("layer1" in name for name in frozen)
    assert all("layer3" not in name and "layer4" not in name for name in frozen)
    assert all(name in learning for name, _ in model.named_parameters() if "layer3" in name)
    assert len(still) == 1 + 4 + 5  # the stem's, two blocks of layer1, two of layer2
    with pytest.raises(ValueError, match="no module 'layer9' to freeze until"):
        freeze(model, "layer9", batch_norm=False)


def test_only_what_is_named_is_trained():
    model = create_model("single_frame", num_classes=3, backbone="resnet18", frames=2)
    still = freeze(model, None, batch_norm=False, train_only=("head.*", "*.layer4.1.*"))
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(learning) == 2 + 2 + 4  # the head; two convolutions and two norms of a block
    assert all(name.startswith("head.") or ".layer4.1." in name for name in learning)
    assert len(still) == 20 - 2
    with pytest.raises(ValueError, match=r"no parameter 'haed\.\*' to train only"):
        freeze(model, None, batch_norm=False, train_only=("haed.*",))
    with pytest.raises(ValueError, match=r"Nothing is left to train .* train_only=\('\*\.layer1"):
        freeze(model, None, batch_norm=False, train_only=("*.layer1.*",))


def test_what_is_named_learns_at_its_own_rate():
    model = create_model("single_frame", num_classes=3, backbone="resnet18", frames=2)
    scales = {"*.layer4.*": 0.5, "*.layer4.1.*": 0.25}
    optim = OptimConfig(name="adam", eps=1e-4, weight_decay=0.1, lr_scales=scales)
    optimizer = _optimizer(model, TrainConfig(optim=optim), 0.02)
    assert type(optimizer) is torch.optim.Adam
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {group["eps"] for group in optimizer.param_groups} == {1e-4}
    layers = model.backbone.features
    assert rates[id(model.head.weight)] == rates[id(layers.layer3[0].conv1.weight)] == 0.02
    assert rates[id(layers.layer4[0].conv1.weight)] == 0.01
    assert rates[id(layers.layer4[1].bn1.bias)] == 0.005
    with pytest.raises(ValueError, match=r"no parameter 'neck\.\*' to give a learning rate of its"):
        _optimizer(model, TrainConfig(optim=OptimConfig(lr_scales={"neck.*": 1.0})), 0.02)


def test_frozen_batch_norms_do_not_move(config, tmp_path):
    config = dataclasses.replace(
        config, epochs=1, model=dataclasses.replace(config.model, freeze_batch_norm=True)
    )
    torch.manual_seed(config.seed)
    before = create_model("small_3d", num_classes=2, frames=8, size=32).state_dict()
    norms = [n for n, m in create_model("small_3d", num_classes=2, frames=8, size=32)
             .named_modules() if isinstance(m, nn.BatchNorm3d)]  # fmt: skip
    after = load_file(train(config, tmp_path / "run") / "last.safetensors")
    assert norms
    for name in norms:
        assert torch.equal(after[f"{name}.running_mean"], before[f"{name}.running_mean"])
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert "head.weight" in changed


def test_crops_of_published_weights_keep_a_margin_in_training() -> None:
    """X3D-S is published on crops of 182 from 182; trained it is on 160 from 182."""
    config = TrainConfig(model=ModelConfig("x3d_s", weights="kinetics400"))
    own = create_model("x3d_s").clip_spec
    tested = dataclasses.replace(own, size=182, resize_short=182)
    found = _for_training(tested, config)
    assert (found.size, found.resize_short) == (own.size, own.resize_short)
    assert found.size < found.resize_short
    roomy = dataclasses.replace(tested, size=100)
    assert _for_training(roomy, config) == roomy


def test_whole_videos_of_published_weights_are_cut_to_clips_in_training() -> None:
    """I3D is published on 250 frames, the whole video; trained it is on 64, or on what is asked."""
    tested = dataclasses.replace(create_model("i3d", size=32).clip_spec, frames=250)
    model = ModelConfig("i3d", {"size": 32}, weights="kinetics400")
    assert _for_training(tested, TrainConfig(model=model)).frames == 64
    asked = dataclasses.replace(model, options={"size": 32, "frames": 16})
    assert _for_training(tested, TrainConfig(model=asked)).frames == 16


def test_the_card_has_the_options_of_published_weights(
    config, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them, `load_model` would build another network than was trained."""
    row = dataclasses.replace(
        published_weights("r3d_18")["kinetics400"],
        num_classes=3,
        layout="torchvision",
        options={"pool": "max"},
        clip={},
    )
    table = dataclasses.replace(models.MODELS["small_2d"], weights={"loudest": row})
    monkeypatch.setitem(models.MODELS, "small_2d", table)
    monkeypatch.setattr(models, "fetch", lambda weights: tmp_path / "loudest.safetensors")
    monkeypatch.setattr(models, "convert_state_dict", lambda state, **_: state)
    save_file(create_model("small_2d", 3).state_dict(), tmp_path / "loudest.safetensors")

    asked = {"frames": 8, "size": 32}
    model = ModelConfig("small_2d", asked, weights="loudest")
    trained = checkpoint.load_model(
        train(dataclasses.replace(config, model=model, epochs=1), tmp_path / "run")
    )
    assert trained.card.options == {**asked, "pool": "max"}
    assert trained.of_frames == "max"


def test_a_model_with_a_loss_of_its_own_is_trained_by_it(config, tmp_path, monkeypatch):
    def loss(self, clips, labels):
        logits = self(clips)
        return (logits - 10.0).pow(2).mean(), logits

    kind = type(create_model("small_3d", 2))
    monkeypatch.setattr(kind, "loss", loss, raising=False)
    run = train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["train_loss"] > 50  # and not a cross entropy
    smooth = dataclasses.replace(config, optim=OptimConfig(label_smoothing=0.1))
    message = r"small_3d has a loss of its own, which knows no label_smoothing=0\.1\. Leave it at 0"
    with pytest.raises(ValueError, match=message):
        train(smooth, tmp_path / "other")


@pytest.fixture
def of_flow(config) -> TrainConfig:
    """A network that sees nothing but flow."""
    return dataclasses.replace(
        config,
        model=ModelConfig("ltc_flow", {"frames": 16, "size": 32}, weights=None),
        data=dataclasses.replace(config.data, flow="farneback"),
        epochs=1,
    )


def test_a_model_of_flow_is_trained_and_remembers_what_computed_its_flow(of_flow, tmp_path):
    run = train(of_flow, tmp_path / "run")
    model = checkpoint.load_model(run)
    assert model.card.notes["flow"] == "farneback"
    protocol = json.loads((run / "result.json").read_text())["protocol"]
    assert protocol["flow"] == "farneback"
    video = next(Path(of_flow.data.source).rglob("*.mp4"))
    own, other = (predict(video, model, clips=1, flow=flow) for flow in (None, "dis"))
    assert not np.allclose(own.scores, other.scores, rtol=0, atol=0)
    same = evaluate(model, of_flow.data.source, clips=1, workers=0)
    assert same.protocol["flow"] == "farneback"


def test_flow_is_asked_for_of_models_that_see_it_only(config, of_flow, tmp_path):
    model = create_model("small_3d", 2, frames=8, size=32)
    with pytest.raises(
        ValueError, match=r"flow='dis' is for models that see flow, and this one sees rgb\."
    ):
        predict(np.zeros((8, 32, 32, 3), np.uint8), model, flow="dis")
    wrong = dataclasses.replace(of_flow, data=dataclasses.replace(of_flow.data, flow="diss"))
    with pytest.raises(ValueError, match=r"'diss' is neither\. Did you mean 'dis'\?"):
        train(wrong, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.safetensors"))
