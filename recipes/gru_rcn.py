r"""GRU-RCN on UCF101 split 1 (Ballas et al., ICLR 2016): first VGG-16 alone, then the GRUs.

    praxino data import ucf101 ucfTrainTestlist/ --videos UCF-101/ --split 1 \
        --to runs/ucf101_1.parquet
    praxino train recipes/gru_rcn.py:vgg --run runs/gru_rcn_vgg
    praxino train recipes/gru_rcn.py:ucf101 --run runs/gru_rcn
    praxino evaluate runs/gru_rcn --data runs/ucf101_1.parquet --split test

`stacked` and `bidirectional` stand in the place of `ucf101`. Published, means of three splits: VGG
78.3 %, GRU-RCN 79.9 %, in two directions 80.7 %. Ten frames a clip and dropout of 0.7 are the
paper's; rates and epochs are ours. Not yet run here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/gru_rcn.py:tiny --run runs/gru_rcn_tiny
"""

import dataclasses

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation

VGG = "runs/gru_rcn_vgg/last.safetensors"


def vgg() -> TrainConfig:
    """VGG-16 on single frames."""
    return TrainConfig(
        data=DataConfig("runs/ucf101_1.parquet", videos="UCF-101", val_split=""),
        model=ModelConfig("single_frame", {"backbone": "vgg16", "frames": 1}, weights="imagenet"),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig("sgd", lr=1e-3, weight_decay=5e-4),
        epochs=30,
        batch_size=32,
    )


def ucf101() -> TrainConfig:
    """Five GRUs on ten frames in a row; VGG does not learn."""
    return TrainConfig(
        data=DataConfig("runs/ucf101_1.parquet", videos="UCF-101", val_split=""),
        model=ModelConfig("gru_rcn", weights=VGG, freeze_until="backbone"),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig("adam", lr=1e-4, weight_decay=0.0),
        epochs=30,
        batch_size=16,
    )


def stacked() -> TrainConfig:
    """Each GRU sees the state of the one below it."""
    return _as("gru_rcn_stacked")


def bidirectional() -> TrainConfig:
    """Five GRUs forwards, five backwards."""
    return _as("gru_rcn_bidirectional")


def _as(name: str) -> TrainConfig:
    config = ucf101()
    return dataclasses.replace(config, model=dataclasses.replace(config.model, name=name))


def tiny() -> TrainConfig:
    """A thin VGG, which here learns with the GRUs."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "gru_rcn", {"width": 8, "frames": 8, "size": 64, "dropout": 0.2}, weights=None
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=1e-3),
        epochs=3,
        batch_size=8,
    )
