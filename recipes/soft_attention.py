r"""Soft attention on HMDB51 (Sharma et al., ICLR workshop 2016), on maps of ImageNet's GoogLeNet.

    praxino data import hmdb51 testTrainMulti_7030_splits --videos hmdb51 --split 1 \
        --to runs/hmdb51_1.parquet
    praxino train recipes/soft_attention.py:hmdb51 --run runs/soft_attention
    praxino evaluate runs/soft_attention --data runs/hmdb51_1.parquet --split test
    praxino explain attention runs/soft_attention kick.mp4 --output attention

Published: 41.3 % with lambda = 1. Not yet run here. As the authors' code has it: 15 epochs of Adam,
128 clips a step, L2 of 1e-5, and LSTMs of 1,024 units for this data set; the convolutions do not
learn.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/soft_attention.py:tiny --run runs/soft_attention_tiny
"""

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation

LEARNING = ("begin_*", "where.*", "cells.*", "out.*", "head.*")


def hmdb51() -> TrainConfig:
    """Thirty frames at 30 a second."""
    return TrainConfig(
        data=DataConfig("runs/hmdb51_1.parquet", videos="hmdb51", val_split=""),
        model=ModelConfig(
            "soft_attention", {"hidden": 1024}, weights="imagenet", train_only=LEARNING
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(
            "adam", lr=1e-4, weight_decay=1e-5, schedule="constant", warmup_epochs=0.0
        ),
        epochs=15,
        batch_size=128,
    )


def tiny() -> TrainConfig:
    """One thin LSTM on a small network that learns with it."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "soft_attention",
            {"backbone": "mobilenet_v2", "frames": 8, "size": 64, "hidden": 64, "layers": 1},
            weights=None,
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=1e-5),
        epochs=3,
        batch_size=8,
    )
