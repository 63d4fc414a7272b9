r"""R*CNN on HMDB51: the whole frame, and the window that speaks for the action.

    praxino data import hmdb51 testTrainMulti_7030_splits --videos hmdb51 --split 1 \
        --to runs/hmdb51_1.parquet
    praxino train recipes/rstar_cnn.py:hmdb51 --run runs/rstar_cnn
    praxino evaluate runs/rstar_cnn --data runs/hmdb51_1.parquet --split test --clips 10 --crops 1

Gkioxari et al. (ICCV 2015) recognise actions in pictures whose people have boxes, 90.9 % on
Stanford 40; there is no number for videos without boxes. With boxes, call `forward_regions`. The
schedule is that of their solver: SGD at 0.0001, ten times less after 30,000 of 40,000 steps of two
pictures, which are 13 and 17 epochs of VOC 2012; conv1 and conv2 stay as they are. Not yet run
here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/rstar_cnn.py:tiny --run runs/rstar_cnn_tiny
"""

from praxino.recipe import ClipConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def hmdb51() -> TrainConfig:
    """One frame of a video at a time, 600 pixels."""
    return TrainConfig(
        data=DataConfig("runs/hmdb51_1.parquet", videos="hmdb51", val_split=""),
        model=ModelConfig("rstar_cnn", weights="imagenet", freeze_until="backbone.7"),
        clip=ClipConfig(frames=1),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(
            "sgd",
            lr=1e-4,
            weight_decay=5e-4,
            schedule="steps",
            milestones=(13,),
            warmup_epochs=0.0,
            clip_norm=0.0,
        ),
        epochs=17,
        batch_size=2,
    )


def tiny() -> TrainConfig:
    """A thin network that learns from nothing."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "rstar_cnn", {"frames": 2, "size": 64, "width": 8, "hidden": 64}, weights=None
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=5e-4),
        epochs=3,
        batch_size=8,
    )
