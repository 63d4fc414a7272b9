r"""Two-stream networks on UCF101 split 1: each stream by itself, then their scores together.

    praxino data import ucf101 ucfTrainTestlist/ --videos UCF-101/ --split 1 \
        --to runs/ucf101_1.parquet
    praxino flow UCF-101 --output UCF-101-flow --method tvl1
    praxino train recipes/two_stream.py:spatial --run runs/spatial
    praxino train recipes/two_stream.py:temporal --run runs/temporal
    praxino evaluate runs/spatial --data runs/ucf101_1.parquet --clips 25 --crops 10
    praxino evaluate runs/temporal --data runs/ucf101_1.parquet --clips 25 --crops 10 \
        --flow UCF-101-flow
    praxino fuse runs/spatial/predictions.parquet runs/temporal/predictions.parquet \
        --weights 1,2

The SVM of the first paper learns from the scores of the training videos, so evaluate both with
`--split train --output runs/spatial_train` too, and fuse with `--by svm --train` and those two.

`temporal_cnn_m` and `multi_task` are Simonyan and Zisserman's (NIPS 2014): from nothing, 256 clips
a step, 80,000 steps (an epoch has 37), 0.01 and ten times less after 50,000 and 70,000. Published
for split 1: 81.0 % from flow; for the mean of three splits 73.0 % from frames, 83.7 % from flow,
86.9 % by the average of both and 88.0 % by the SVM. Their spatial stream starts from CNN-M-2048
with ImageNet's weights, which are in a format that praxino does not read.

`spatial` and `temporal` are Wang et al.'s (arXiv:1507.02159) on VGG-16 from ImageNet's weights:
10,000 steps at 0.001, ten times less after each 4,000; and 30,000 at 0.005, after each 10,000. They
have 79.8 % from frames, 85.7 % from flow and 90.9 % from both, 1 : 2, on split 1.

Differs from both: SGD's momentum is Nesterov's. Not yet run here, but for `tiny`:

    praxino data pointlight pointlight
    praxino train recipes/two_stream.py:tiny --run runs/two_stream_tiny
"""

import dataclasses

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation

DATA = DataConfig("runs/ucf101_1.parquet", videos="UCF-101", val_split="", flow="UCF-101-flow")


def spatial() -> TrainConfig:
    """A frame of each video, VGG-16."""
    return TrainConfig(
        data=DATA,
        model=ModelConfig("spatial_stream", {"backbone": "vgg16"}, weights="imagenet"),
        augmentation=Augmentation(crop="multi_scale_corner"),
        optim=OptimConfig(
            "sgd",
            lr=1e-3,
            weight_decay=5e-4,
            schedule="steps",
            milestones=(108, 216),
            warmup_epochs=0.0,
        ),
        epochs=270,
        batch_size=256,
    )


def temporal() -> TrainConfig:
    """Ten flows of each video, VGG-16."""
    frames = spatial()
    return dataclasses.replace(
        frames,
        model=ModelConfig(
            "temporal_stream", {"backbone": "vgg16", "dropout": 0.8}, weights="imagenet"
        ),
        optim=dataclasses.replace(frames.optim, lr=5e-3, milestones=(270, 540)),
        epochs=811,
    )


def temporal_cnn_m() -> TrainConfig:
    """Ten flows of each video, CNN-M-2048 from nothing."""
    return TrainConfig(
        data=DATA,
        model=ModelConfig("temporal_stream_cnn_m", weights=None),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(
            "sgd",
            lr=1e-2,
            weight_decay=5e-4,
            schedule="steps",
            milestones=(1351, 1892),
            warmup_epochs=0.0,
        ),
        epochs=2162,
        batch_size=256,
    )


def multi_task() -> TrainConfig:
    """The same on UCF101 and HMDB51 at once, from a manifest of both.

    Its classes are called "hmdb51/clap" and "ucf101/Archery", so that those of HMDB51 come first.
    """
    alone = temporal_cnn_m()
    both = dataclasses.replace(DATA, source="runs/hmdb51_and_ucf101.parquet", videos=".")
    return dataclasses.replace(
        alone,
        data=both,
        model=ModelConfig("temporal_stream_multi_task", {"first_classes": 51}, weights=None),
        epochs=1570,  # of 51 steps
        optim=dataclasses.replace(alone.optim, milestones=(980, 1372)),
    )


def tiny() -> TrainConfig:
    """Both streams on CNN-M-2048 in a minute or two, on point lights."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "two_stream_cnn_m", {"flows": 4, "size": 64, "dropout": 0.2}, weights=None
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=3e-4),
        epochs=3,
        batch_size=8,
    )
