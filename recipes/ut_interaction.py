r"""UT-Interaction across places: train on one set, test on the other.

The clips (Ryoo and Aggarwal, SDHA 2010) and the ImageNet weights of MobileNetV2 are found through
the environment variable PRAXINO_LAB_DATA. A direction in three commands:

    praxino data import ut_interaction --videos $PRAXINO_LAB_DATA/ut-interaction \
        --test set2 --to runs/ut_set2.parquet
    praxino train recipes/ut_interaction.py:train_on_set1 --run runs/ut_set2
    praxino evaluate runs/ut_set2 --data runs/ut_set2.parquet \
        --videos $PRAXINO_LAB_DATA/ut-interaction --clips 2 --crops 1
"""

import os
from pathlib import Path

from praxino.recipe import (
    ClipConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)
from praxino.video.augmentation import Augmentation

LAB = Path(os.environ.get("PRAXINO_LAB_DATA", "../shared/data"))


def train_on_set1() -> TrainConfig:
    """Train on set 1 (a parking lot), test on set 2 (a windy lawn)."""
    return _across("runs/ut_set2.parquet")


def train_on_set2() -> TrainConfig:
    """Train on set 2 (a windy lawn), test on set 1 (a parking lot)."""
    return _across("runs/ut_set1.parquet")


def _across(manifest: str) -> TrainConfig:
    """Differences between frames only: what the place looks like says nothing about the other."""
    return TrainConfig(
        data=DataConfig(manifest, videos=str(LAB / "ut-interaction"), val_split=""),
        model=ModelConfig(
            "frame_difference",
            {"frames": 25, "size": 112, "same_padding": True, "gain": 2.0},
            weights=str(LAB / "weights" / "mobilenet_v2_imagenet1k.safetensors"),
            # The weights come with their batch norms folded into the convolutions.
            freeze_batch_norm=True,
            freeze_until="backbone.features.features.6",
        ),
        # The two people stand at the sides of the picture: a square crop would lose one of them.
        clip=ClipConfig(fit="stretch", resize_short=160),
        augmentation=Augmentation(crop="random_sides", sides=(0.7, 1.0), brightness=0.5),
        optim=OptimConfig(
            lr=1e-3,
            backbone_lr_scale=0.3,
            weight_decay=1e-4,
            warmup_epochs=3,
            label_smoothing=0.1,
            clip_norm=0.0,
        ),
        epochs=30,
        batch_size=8,
    )
