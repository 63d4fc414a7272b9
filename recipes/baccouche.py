r"""Baccouche et al. (HBU 2011): a 3D CNN on nine frames, then an LSTM on what it makes of them.

The manifest, `runs/kth.parquet`, has a row for each stretch of KTH's videos in which somebody acts.

    praxino train recipes/baccouche.py:kth_3dcnn --run runs/baccouche_3dcnn
    praxino train recipes/baccouche.py:kth_lstm --run runs/baccouche_lstm

The two stages and the sizes are the paper's, the schedules ours. Not yet run here.

On point lights, in a minute each:

    praxino data pointlight pointlight
    praxino train recipes/baccouche.py:tiny_3dcnn --run runs/baccouche_3dcnn_tiny
    praxino train recipes/baccouche.py:tiny_lstm --run runs/baccouche_lstm_tiny
"""

import dataclasses

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def kth_3dcnn() -> TrainConfig:
    """First stage: the 3D CNN names the action of nine frames."""
    return TrainConfig(
        data=DataConfig("runs/kth.parquet", val_split=""),
        model=ModelConfig("baccouche_3dcnn", weights=None),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=2e-3),
        epochs=60,
        clips_per_video=4,
        batch_size=32,
    )


def kth_lstm() -> TrainConfig:
    """Second stage: the LSTM alone, on eight such clips in a row."""
    first = kth_3dcnn()
    return dataclasses.replace(
        first,
        model=ModelConfig("baccouche_lstm", weights="runs/baccouche_3dcnn/last.safetensors"),
        epochs=30,
    )


def tiny_3dcnn() -> TrainConfig:
    """The first stage on point lights."""
    data = DataConfig("pointlight/manifest.csv", limit_per_class=8)
    return dataclasses.replace(kth_3dcnn(), data=data, epochs=3, clips_per_video=1, batch_size=8)


def tiny_lstm() -> TrainConfig:
    """The second stage on point lights."""
    weights = "runs/baccouche_3dcnn_tiny/last.safetensors"
    model = ModelConfig("baccouche_lstm", {"steps": 4}, weights=weights)
    return dataclasses.replace(tiny_3dcnn(), model=model)
