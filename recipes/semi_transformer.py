r"""The semi-transformer on HMDB51, from ImageNet's ResNet-50.

    praxino data import hmdb51 testTrainMulti_7030_splits --videos hmdb51 --split 1 \
        --to runs/hmdb51_1.parquet
    praxino train recipes/semi_transformer.py:hmdb51 --run runs/semi_transformer
    praxino evaluate runs/semi_transformer --data runs/hmdb51_1.parquet --split test \
        --clips 1 --crops 1

The port that it is equal to tells people apart and states no accuracy and no schedule for actions;
this one is ours. Not yet run here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/semi_transformer.py:tiny --run runs/semi_transformer_tiny
"""

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def hmdb51() -> TrainConfig:
    """Eight frames over the whole video."""
    return TrainConfig(
        data=DataConfig("runs/hmdb51_1.parquet", videos="hmdb51", val_split=""),
        model=ModelConfig("semi_transformer_r50", {"frames": 8}, weights="imagenet"),
        augmentation=Augmentation(crop="multi_scale_corner"),
        optim=OptimConfig("adam", lr=1e-4, weight_decay=5e-4, backbone_lr_scale=0.5),
        epochs=30,
        batch_size=32,
    )


def tiny() -> TrainConfig:
    """Four frames of 64 pixels, from nothing."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig("semi_transformer_r50", {"size": 64}, weights=None),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=5e-4),
        epochs=2,
        batch_size=8,
    )
