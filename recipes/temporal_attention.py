r"""Temporal attention as a recogniser, on HMDB51.

    praxino data import hmdb51 testTrainMulti_7030_splits --videos hmdb51 --split 1 \
        --to runs/hmdb51_1.parquet
    praxino train recipes/temporal_attention.py:hmdb51 --run runs/temporal_attention
    praxino evaluate runs/temporal_attention --data runs/hmdb51_1.parquet --split test \
        --clips 1 --crops 1

Yao et al. (ICCV 2015) describe videos and recognise nothing, so there is no number to reach, and
the schedule is ours but for what it shares with theirs: 28 frames, 64 videos a step, L2 of 1e-4,
and convolutions that do not learn. Not yet run here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/temporal_attention.py:tiny --run runs/temporal_attention_tiny
"""

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def hmdb51() -> TrainConfig:
    """28 frames over the whole video."""
    return TrainConfig(
        data=DataConfig("runs/hmdb51_1.parquet", videos="hmdb51", val_split=""),
        model=ModelConfig(
            "temporal_attention", weights="imagenet", train_only=("decoder.*", "head.*")
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-4, weight_decay=1e-4, clip_norm=10.0),
        epochs=30,
        batch_size=64,
    )


def tiny() -> TrainConfig:
    """A thin LSTM on a small network that learns with it."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "temporal_attention",
            {"backbone": "mobilenet_v2", "frames": 8, "size": 64, "hidden": 64},
            weights=None,
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=1e-4),
        epochs=3,
        batch_size=8,
    )
