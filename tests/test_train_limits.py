"""What training refuses, and what it counts when it may go on."""

import dataclasses
import json
import os
import signal

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from praxino.datasets.clips import Clip
from praxino.datasets.folder import read_folder
from praxino.datasets.manifest import Manifest, Row
from praxino.errors import Stopped, VideoError
from praxino.recipe import DataConfig, ModelConfig, TrainConfig
from praxino.runs.training_state import has_state
from praxino.train import Listener, _batch, _ledger, _splits, freeze, train
from praxino.video.augmentation import Augmentation
from praxino.weights.checkpoint import load_model


@pytest.fixture
def config(two_actions) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(str(two_actions), val_fraction=0.25, workers=0),
        model=ModelConfig("small_3d", {"frames": 8, "size": 32}, weights=None),
        augmentation=Augmentation(crop="random"),
        epochs=1,
        batch_size=4,
    )


@pytest.fixture
def with_broken_val_video(config, two_actions, tmp_path) -> TrainConfig:
    """The same videos, and one for validation that cannot be read."""
    (tmp_path / "data").mkdir()
    for name in ("brighter", "darker"):
        (tmp_path / "data" / name).symlink_to(two_actions / name)
    (tmp_path / "data" / "broken.mp4").write_bytes(b"this is not a video" * 100)
    lines = ["video,label,split\n", "broken.mp4,darker,val\n"]
    for number, row in enumerate(read_folder(two_actions)):
        lines.append(f"{row.video},{row.labels[0]},{'train' if number % 4 else 'val'}\n")
    (tmp_path / "data" / "list.csv").write_text("".join(lines))
    data = DataConfig(str(tmp_path / "data" / "list.csv"), workers=0)
    return dataclasses.replace(config, data=data)


def test_a_broken_validation_video_stops_training(with_broken_val_video, tmp_path):
    with pytest.raises(VideoError, match=r"^broken\.mp4: ") as caught:
        train(with_broken_val_video, tmp_path / "run")
    assert str(caught.value).count("broken.mp4") == 1


def test_a_broken_validation_video_counts_as_wrong(with_broken_val_video, tmp_path):
    data = dataclasses.replace(with_broken_val_video.data, skip_bad=True)
    run = train(dataclasses.replace(with_broken_val_video, data=data), tmp_path / "run")
    notes = load_model(run).card.notes
    assert notes["val_hit_at_1"] <= 4 / 5
    lines = [json.loads(line) for line in (run / "items.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines].count("failed") == 1


def test_several_processes_are_refused(config, tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 2))
    message = r"Training on 2 processes is not built yet\. Start one, without torchrun\."
    with pytest.raises(ValueError, match=message):
        train(config, tmp_path / "run")
    assert not has_state(tmp_path / "run")


def test_a_second_ctrl_c_does_not_wait_for_the_step(config, tmp_path):
    def twice(epoch, done, steps, loss):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGINT"):
        train(config, tmp_path / "run", listener=Listener(step=twice))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    steps = [folder.name for folder in (tmp_path / "run" / "state").iterdir()]
    assert steps == ["step-00000000-epoch-0000"]  # nothing was saved the second time


def test_freezing_needs_parameters():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Linear(4, 2))
    message = r"The module '1' has no parameters to freeze; name one before it that has\."
    with pytest.raises(ValueError, match=message):
        freeze(model, "1", batch_norm=False)
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze(model, "0", batch_norm=False)
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning == ["2.weight", "2.bias"]


# --- one batch, and what the ledger makes of it --------------------------------------------------

ROWS = [Row("a.mp4", ("x",)), Row("b.mp4", ("x",), 1.0, 2.0), Row("c.mp4", ("y",))]
MANIFEST = Manifest.from_rows([*ROWS, Row("d.mp4", ("y",))], ".")
EXAMPLES = [
    Clip(0, torch.zeros(3, 2, 4, 4), 0),
    Clip(1, None, 0, VideoError("folder/b.mp4", "is damaged.", code="damaged")),
    Clip(2, torch.ones(3, 2, 4, 4), 1, short=(3, 5)),
]


def test_a_batch_is_what_could_be_read():
    clips, labels, bad = _batch(EXAMPLES, MANIFEST, True)
    assert clips.shape == (2, 3, 2, 4, 4)
    assert labels.tolist() == [0, 1]
    assert bad == {
        "b.mp4@1.0-2.0": ["failed", "folder/b.mp4", "is damaged.", "damaged"],
        "c.mp4": ["partial", 3, 5],
    }
    clips, labels, bad = _batch(EXAMPLES[1:2], MANIFEST, True)
    assert (len(clips), len(labels), len(bad)) == (0, 0, 1)


def test_a_video_that_cannot_be_read_stops_training_unless_told_otherwise():
    message = r"^b\.mp4: is damaged\. Pass --data\.skip-bad to train without such videos; they will"
    with pytest.raises(VideoError, match=message) as caught:
        _batch(EXAMPLES, MANIFEST, False)
    assert caught.value.code == "damaged"


def test_every_training_video_has_its_line_in_the_ledger():
    _, _, bad = _batch(EXAMPLES, MANIFEST, True)
    bad = json.loads(json.dumps(bad))  # as it comes back from a saved state
    ledger = _ledger(MANIFEST, {0, 1, 2}, bad)
    found = {entry.item: (entry.status, entry.code) for entry in ledger.entries.values()}
    assert found == {
        "a.mp4": ("ok", ""),
        "b.mp4@1.0-2.0": ("failed", "damaged"),
        "c.mp4": ("partial", "short"),
        "d.mp4": ("skipped", "not_drawn"),
    }


def test_no_validation_split_and_a_limit_for_each_class():
    split = MANIFEST.with_split("train")
    config = TrainConfig(data=DataConfig("list.csv", limit_per_class=1))
    train_set, val_set = _splits(split, config)
    assert [row.video for row in train_set] == ["a.mp4", "c.mp4"]
    assert val_set is None
