r"""Attentional pooling on HMDB51 (Girdhar and Ramanan, NIPS 2017), on ImageNet's ResNet-101.

    praxino data import hmdb51 testTrainMulti_7030_splits --videos hmdb51 --split 1 \
        --to runs/hmdb51_1.parquet
    praxino train recipes/attention_pooling.py:hmdb51 --run runs/attention_pooling
    praxino evaluate runs/attention_pooling --data runs/hmdb51_1.parquet --split test \
        --clips 25 --crops 1
    praxino explain attention runs/attention_pooling kick.mp4 --output attention

The schedule is that of the authors' configuration for MPII's pictures: SGD at 0.001, a third of it
after every 5,000 of 12,000 steps of 128 pictures, which are 42 of 100 epochs there. Not yet run
here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/attention_pooling.py:tiny --run runs/attention_pooling_tiny
"""

from praxino.recipe import ClipConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def hmdb51() -> TrainConfig:
    """One frame of a video at a time, 450 of 480 pixels; 25 are averaged in the test."""
    return TrainConfig(
        data=DataConfig("runs/hmdb51_1.parquet", videos="hmdb51", val_split=""),
        model=ModelConfig("attention_pooling", weights="imagenet", freeze_batch_norm=True),
        clip=ClipConfig(frames=1),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(
            "sgd",
            lr=1e-3,
            weight_decay=5e-4,
            schedule="steps",
            milestones=(42, 84),
            gamma=0.33,
            warmup_epochs=0.0,
            clip_norm=0.0,
        ),
        epochs=100,
        batch_size=128,
    )


def tiny() -> TrainConfig:
    """A small network that learns with its attention."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "attention_pooling",
            {"backbone": "mobilenet_v2", "frames": 8, "size": 64, "dropout": 0.2},
            weights=None,
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=5e-4),
        epochs=3,
        batch_size=8,
    )
