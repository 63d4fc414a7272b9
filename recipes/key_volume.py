r"""Key volume mining on UCF101 (Zhu et al., CVPR 2016), on ImageNet's VGG-16.

    praxino data import ucf101 ucfTrainTestlist --videos ucf101 --split 1 --to runs/ucf101_1.parquet
    praxino train recipes/key_volume.py:rgb --run runs/key_volume_rgb
    praxino train recipes/key_volume.py:flow --run runs/key_volume_flow
    praxino evaluate runs/key_volume_rgb --data runs/ucf101_1.parquet --split test \
        --clips 1 --crops 1

Published: 93.1 % for both streams together, mean of three splits. The paper's abstract and figures
are what this follows; the learning rates are those usual for VGG-16 with two streams (0.001, ten
times less twice), not known to be the paper's. Not yet run here.

On UT-Interaction, one place for training and the other for the test; the list of videos is made as
in `recipes/ut_interaction.py`. Not yet run here either:

    praxino train recipes/key_volume.py:ut_interaction_set1 --run runs/key_volume_ut1
    praxino evaluate runs/key_volume_ut1 --data runs/ut_set2.parquet \
        --videos $PRAXINO_LAB_DATA/ut-interaction --clips 1 --crops 1

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/key_volume.py:tiny --run runs/key_volume_tiny
"""

import os
from pathlib import Path

from praxino.recipe import ClipConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation

LAB = Path(os.environ.get("PRAXINO_LAB_DATA", "../shared/data"))


def rgb() -> TrainConfig:
    """Colours: 25 volumes of a video in a bag."""
    return _stream("key_volume")


def flow() -> TrainConfig:
    """Flow: 25 stacks of ten."""
    return _stream("key_volume_flow")


def tiny() -> TrainConfig:
    """Six volumes of a small network."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "key_volume",
            {"backbone": "mobilenet_v2", "frames": 8, "size": 64, "crop": 48, "volumes": 6},
            weights=None,
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=5e-4),
        epochs=3,
        batch_size=8,
    )


def ut_interaction_set1() -> TrainConfig:
    """Flow: train on set 1 of UT-Interaction, test on set 2."""
    return _ut_interaction("runs/ut_set2.parquet")


def ut_interaction_set2() -> TrainConfig:
    """Flow: train on set 2 of UT-Interaction, test on set 1."""
    return _ut_interaction("runs/ut_set1.parquet")


def _ut_interaction(manifest: str) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(manifest, videos=str(LAB / "ut-interaction"), val_split="", flow="dis"),
        model=ModelConfig(
            "key_volume_flow",
            {"backbone": "resnet18", "frames": 25, "stretch": 5, "size": 128, "crop": 112},
            weights="imagenet",
        ),
        # The two people stand at the sides of the picture: a square crop would lose one of them.
        clip=ClipConfig(frames_per_second=10.0, fit="stretch"),
        augmentation=Augmentation(crop="random_sides", sides=(0.7, 1.0)),
        optim=OptimConfig(
            lr=1e-3, backbone_lr_scale=0.3, weight_decay=1e-4, warmup_epochs=3, label_smoothing=0.1
        ),
        epochs=30,
        batch_size=8,
    )


def _stream(model: str) -> TrainConfig:
    return TrainConfig(
        data=DataConfig("runs/ucf101_1.parquet", videos="ucf101", val_split="", flow="tvl1"),
        model=ModelConfig(model, weights="imagenet"),
        augmentation=Augmentation(crop="multi_scale_corner"),
        optim=OptimConfig(
            "sgd",
            lr=1e-3,
            weight_decay=5e-4,
            schedule="steps",
            milestones=(20, 30),
            warmup_epochs=0.0,
        ),
        epochs=35,
        batch_size=16,
    )
