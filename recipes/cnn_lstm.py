r"""A frozen CNN below an LSTM, on UCF101 split 1.

    praxino data import ucf101 ucfTrainTestlist/ --videos UCF-101/ --split 1 \
        --to runs/ucf101_1.parquet
    praxino train recipes/cnn_lstm.py:ucf101 --run runs/cnn_lstm
    praxino evaluate runs/cnn_lstm --data runs/ucf101_1.parquet --split test --clips 1 --crops 1

A pattern rather than a paper: the schedule is ours. Not yet run here.

On point lights, in a minute. ImageNet's weights would be fetched; without them the CNN has to learn
too:

    praxino data pointlight pointlight
    praxino train recipes/cnn_lstm.py:tiny --run runs/cnn_lstm_tiny
"""

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def ucf101() -> TrainConfig:
    """Sixteen frames over the whole video."""
    return TrainConfig(
        data=DataConfig("runs/ucf101_1.parquet", videos="UCF-101", val_split=""),
        model=ModelConfig("cnn_lstm", {"frames": 16}, weights="imagenet"),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(lr=1e-3),
        epochs=30,
        batch_size=32,
    )


def tiny() -> TrainConfig:
    """A small CNN, which here learns with the LSTM."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "cnn_lstm",
            {
                "backbone": "shufflenet_v2_x0_5",
                "frames": 8,
                "size": 64,
                "hidden": 64,
                "frozen": False,
            },
            weights=None,
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=1e-3),
        epochs=3,
        batch_size=8,
    )
