r"""LRCN on UCF101 split 1 (Donahue et al., CVPR 2015): colours, flow, and both together.

    praxino data import ucf101 ucfTrainTestlist/ --videos UCF-101/ --split 1 \
        --to runs/ucf101_1.parquet
    praxino train recipes/lrcn.py:frames --run runs/lrcn_frames
    praxino train recipes/lrcn.py:ucf101 --run runs/lrcn
    praxino train recipes/lrcn.py:ucf101_flow --run runs/lrcn_flow
    praxino evaluate runs/lrcn --data runs/ucf101_1.parquet --split test
    praxino evaluate runs/lrcn_flow --data runs/ucf101_1.parquet --split test

The authors' settings: SGD at 0.001 and ten times that for the classifier, L2 of 0.005, 24 clips of
16 frames a step (397 steps are an epoch); for colours 30,000 steps with a tenth of the rate after
each 10,000, for flow 50,000 and 20,000. Both start from CNNs that have learnt ImageNet and then
UCF101 frame by frame (5,000 steps for colours). Nobody publishes theirs any more: AlexNet takes its
place, so the settings are theirs and the network below the LSTM is not; and of flow it starts from
ImageNet's weights, because `frames` sees colours. Not yet run here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/lrcn.py:tiny --run runs/lrcn_tiny
"""

import dataclasses

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation


def frames() -> TrainConfig:
    """First stage: AlexNet on single frames."""
    lstm = ucf101()
    return dataclasses.replace(
        lstm,
        model=ModelConfig("single_frame", {"backbone": "alexnet", "frames": 1}, weights="imagenet"),
        optim=dataclasses.replace(lstm.optim, schedule="constant", milestones=()),
        epochs=13,
    )


def ucf101() -> TrainConfig:
    """Colours: an LSTM of 256 units, above what `frames` has learnt."""
    return TrainConfig(
        data=DataConfig("runs/ucf101_1.parquet", videos="UCF-101", val_split=""),
        model=ModelConfig(
            "lrcn", {"backbone": "alexnet"}, weights="runs/lrcn_frames/last.safetensors"
        ),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(
            "sgd",
            lr=1e-3,
            lr_scales={"head.*": 10.0},
            weight_decay=5e-3,
            schedule="steps",
            milestones=(25, 50),
            warmup_epochs=0.0,
        ),
        epochs=75,
        batch_size=24,
    )


def ucf101_flow() -> TrainConfig:
    """Flow: an LSTM of 1,024 units, trained longer."""
    colours = ucf101()
    return dataclasses.replace(
        colours,
        model=dataclasses.replace(colours.model, name="lrcn_flow", weights="imagenet"),
        optim=dataclasses.replace(colours.optim, milestones=(50, 101), clip_norm=15.0),
        epochs=126,
    )


def tiny() -> TrainConfig:
    """A small network, all of which learns from nothing."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "lrcn",
            {
                "backbone": "shufflenet_v2_x0_5",
                "frames": 8,
                "size": 64,
                "hidden": 64,
                "dropout": 0.2,
            },
            weights=None,
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=1e-3),
        epochs=3,
        batch_size=8,
    )
