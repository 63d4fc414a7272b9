r"""Recurrent convolutions on point lights: the plain cell, and the gated one.

    praxino data pointlight pointlight
    praxino train recipes/recurrent_conv.py:plain --run runs/recurrent_conv
    praxino train recipes/recurrent_conv.py:gated --run runs/conv_gru

`--tiny` makes either short.
"""

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def plain() -> TrainConfig:
    """The plain cell, h' = tanh(W_h * h + W_x * x + b), in three layers."""
    return _with("recurrent_conv")


def gated() -> TrainConfig:
    """ConvGRU cells in three layers."""
    return _with("conv_gru")


def _with(name: str) -> TrainConfig:
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv"),
        model=ModelConfig(name, {"frames": 8}, weights=None),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=2e-3, clip_norm=1.0),
        epochs=8,
        batch_size=8,
    )
