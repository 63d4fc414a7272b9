r"""C3D below an LSTM (Montes et al., NIPS workshop 2016), on a manifest of ActivityNet's videos.

    praxino train recipes/c3d_lstm.py:activitynet --run runs/c3d_lstm

The manifest, `runs/activitynet.parquet`, has a row for each activity and each stretch between two
activities, whose label `(background)` comes first in the order of characters. The authors'
settings: 100 epochs at 1e-5, 256 sequences of 20 clips a step, half of the units left out,
background counting 0.3. Theirs is RMSprop, which is Adam without momentum, and here it is Adam. Not
yet run here.

On point lights, in a minute, where no class is background:

    praxino data pointlight pointlight
    praxino train recipes/c3d_lstm.py:tiny --run runs/c3d_lstm_tiny
"""

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def activitynet() -> TrainConfig:
    """Twenty clips of 16 frames; C3D as Sports-1M made it."""
    return TrainConfig(
        data=DataConfig("runs/activitynet.parquet", val_split=""),
        model=ModelConfig("c3d_lstm", weights="sports1m"),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(
            "adam", lr=1e-5, weight_decay=0.0, schedule="constant", warmup_epochs=0.0
        ),
        epochs=100,
        batch_size=256,
    )


def tiny() -> TrainConfig:
    """A thin C3D, which here learns with the LSTM."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "c3d_lstm",
            {
                "steps": 2,
                "size": 64,
                "width": 8,
                "hidden": 64,
                "background_weight": 1.0,
                "frozen": False,
            },
            weights=None,
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=1e-3),
        epochs=3,
        batch_size=8,
    )
