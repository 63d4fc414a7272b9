r"""Skip RNN (Campos et al., ICLR 2018) on UCF101 split 1: which frames are worth a look?

    praxino data import ucf101 ucfTrainTestlist/ --videos UCF-101/ --split 1 \
        --to runs/ucf101_1.parquet
    praxino train recipes/skip_rnn.py:ucf101 --run runs/skip_lstm
    praxino evaluate runs/skip_lstm --data runs/ucf101_1.parquet --split test --clips 1 --crops 1

The authors' settings in all their tasks: Adam at 1e-4, gradients of length 1 at most, 256 sequences
a step, 110 units. Theirs are numbers, tones, and MNIST's pixels one by one; a hundred frames of
UCF101 are ours, so there is no number to reach. `gru` has GRUs, `two_layers` has two LSTMs. What a
frame costs is `--model.options.frame_cost`. Not yet run here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/skip_rnn.py:tiny --run runs/skip_lstm_tiny
"""

import dataclasses

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, Option, TrainConfig
from praxino.video.augmentation import Augmentation


def ucf101() -> TrainConfig:
    """One LSTM over a hundred frames."""
    return _with("skip_lstm", {})


def two_layers() -> TrainConfig:
    """Two LSTMs; the upper one decides."""
    return _with("skip_lstm", {"layers": 2})


def gru() -> TrainConfig:
    """One GRU."""
    return _with("skip_gru", {})


def _with(name: str, options: dict[str, Option]) -> TrainConfig:
    return TrainConfig(
        data=DataConfig("runs/ucf101_1.parquet", videos="UCF-101", val_split=""),
        model=ModelConfig(
            name,
            {"frames": 100, "hidden": 110, "frame_cost": 1e-4, **options},
            weights="imagenet",
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(
            "adam",
            lr=1e-4,
            weight_decay=0.0,
            schedule="constant",
            warmup_epochs=0.0,
            clip_norm=1.0,
        ),
        epochs=100,
        batch_size=256,
    )


def tiny() -> TrainConfig:
    """A small CNN, which here learns with the LSTM; frames are dear."""
    config = _with("skip_lstm", {"backbone": "shufflenet_v2_x0_5", "frames": 16, "size": 64})
    options = config.model.options | {"hidden": 64, "frozen": False, "frame_cost": 0.05}
    return dataclasses.replace(
        config,
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig("skip_lstm", options, weights=None),
        optim=dataclasses.replace(config.optim, lr=1e-3),
        epochs=3,
        batch_size=8,
    )
