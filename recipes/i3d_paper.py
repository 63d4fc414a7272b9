r"""The five networks of the I3D paper on Kinetics-400 (Carreira and Zisserman, CVPR 2017).

    praxino data import kinetics kinetics400 --videos kinetics400 --to runs/kinetics400.parquet
    praxino flow kinetics400 --output kinetics400-flow --method tvl1
    praxino train recipes/i3d_paper.py:lstm --run runs/i3d_paper_lstm
    praxino train recipes/i3d_paper.py:c3d --run runs/i3d_paper_c3d
    praxino train recipes/i3d_paper.py:two_stream --run runs/i3d_paper_two_stream
    praxino train recipes/i3d_paper.py:fused --run runs/i3d_paper_fused
    praxino train recipes/i3d_paper.py:i3d --run runs/i3d_paper_i3d

and each is tested on the whole of its videos, 10 s, with the clips that its recipe names:

    praxino evaluate runs/i3d_paper_c3d --data runs/kinetics400.parquet --split test --clips 15

The paper's settings: SGD from 0.1, ten times less whenever the validation loss stands still,
110,000 steps on 32 or 64 GPUs; videos resized to 256 pixels, of which 224 x 224 are cut anywhere,
and mirrored. One GPU sees far fewer clips in a step, so the rates here are ten times smaller, and
they fall at two fixed epochs. Not yet run here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/i3d_paper.py:tiny --run runs/i3d_paper_tiny
"""

import dataclasses

from praxino.recipe import ClipConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def lstm() -> TrainConfig:
    """Network a: an LSTM over 25 frames; tested on 50 frames, one clip."""
    return _network("lstm_inception", weights="imagenet")


def c3d() -> TrainConfig:
    """Network b: 3D convolutions, from nothing; tested on 15 clips of 16 frames."""
    return _network("c3d_i3d_paper", weights=None)


def two_stream() -> TrainConfig:
    """Network c: a frame and ten flows; tested on 25 clips."""
    return _network("two_stream_inception", weights="imagenet")


def fused() -> TrainConfig:
    """Network d: five frames and 50 flows; tested on 5 clips."""
    return _network("fused_3d_two_stream", weights="imagenet")


def i3d() -> TrainConfig:
    """Network e, from nothing: the inflated weights of ImageNet are in `i3d` and `i3d_flow`.

    Tested on one clip of 250 frames.
    """
    config = _network("two_stream_i3d", weights=None)
    return dataclasses.replace(config, batch_size=16)


def tiny() -> TrainConfig:
    """A small network d, which learns from nothing."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "fused_3d_two_stream",
            {"backbone": "resnet18", "places": 3, "flows": 3, "width": 64, "size": 64},
            weights=None,
        ),
        clip=ClipConfig(frames_per_second=8.0),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=5e-4),
        epochs=3,
        batch_size=8,
    )


def _network(model: str, weights: str | None) -> TrainConfig:
    return TrainConfig(
        data=DataConfig("runs/kinetics400.parquet", videos="kinetics400", flow="kinetics400-flow"),
        model=ModelConfig(model, weights=weights),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(
            "sgd",
            lr=1e-2,
            weight_decay=1e-4,
            schedule="steps",
            milestones=(20, 30),
            warmup_epochs=1.0,
        ),
        epochs=35,
        batch_size=32,
    )
