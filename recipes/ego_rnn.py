r"""Ego-RNN on GTEA61, stage by stage, as its authors train it (Sudhakaran and Lanz, BMVC 2018).

The folder in which the data set was prepared is found through the environment variable GTEA61.

    praxino data import gtea61 --videos $GTEA61 --to runs/gtea61.parquet --flow runs/gtea61_flow
    praxino train recipes/ego_rnn.py:stage_1 --run runs/ego_rnn_stage_1
    praxino train recipes/ego_rnn.py:stage_2 --run runs/ego_rnn_stage_2
    praxino train recipes/ego_rnn.py:flow --run runs/ego_rnn_flow
    python benchmarks/ego_rnn.py join runs/ego_rnn_stage_2 runs/ego_rnn_flow \
        --to runs/ego_rnn_joined.safetensors
    praxino train recipes/ego_rnn.py:joint --run runs/ego_rnn_joint
    praxino evaluate runs/ego_rnn_joint --data runs/gtea61.parquet --videos $GTEA61 \
        --split test --clips 1 --crops 1 --flow runs/gtea61_flow

`motion` and `motion_regression` stand in the place of `stage_2`. The first command packs the flow
that comes with the data set. `python benchmarks/ego_rnn.py table` does all of this for 7 and 16
frames. Nothing has been trained on GTEA61 with this code yet: no accuracy of ours is known.

What differs from the authors' code: SGD looks ahead (Nesterov), biases and norms do not decay, and
an epoch leaves out the videos that fill no batch. They test after each epoch on S2 and keep the
best; here the last epoch is the result, because S2 is the test set. The flow network is tested with
`--clips 5`, as theirs.
"""

import dataclasses
import os

from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation

CONVOLUTIONS = "backbone.features.layer4.*.conv?.weight"  # not those of the shortcut
MEMORY = ("memory.*", "head.*")


def stage_1() -> TrainConfig:
    """The ConvLSTM and the classifier learn; the ResNet stays as ImageNet made it. 300 epochs."""
    return TrainConfig(
        data=DataConfig(
            "runs/gtea61.parquet",
            videos=os.environ.get("GTEA61", "gtea61"),
            val_split="",
        ),
        model=ModelConfig("ego_rnn", {"frames": 25}, weights="imagenet", train_only=MEMORY),
        augmentation=Augmentation(
            crop="multi_scale_corner", corner_scales=(1.0, 0.875, 0.75, 0.65625)
        ),
        optim=OptimConfig(
            name="adam",
            lr=1e-3,
            eps=1e-4,
            weight_decay=4e-5,
            schedule="steps",
            milestones=(25, 75, 150),
            gamma=0.1,
            warmup_epochs=0.0,
            clip_norm=0.0,
        ),
        epochs=300,
        batch_size=32,
    )


def stage_2() -> TrainConfig:
    """The convolutions of the ResNet's last layer and its classifier of objects learn as well."""
    config = stage_1()
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model,
            weights="runs/ego_rnn_stage_1/last.safetensors",
            train_only=(*MEMORY, CONVOLUTIONS, "objects.*"),
        ),
        optim=dataclasses.replace(config.optim, lr=1e-4, milestones=(25, 75)),
        epochs=150,
    )


def convlstm_stage_1() -> TrainConfig:
    """Stage 1 without attention."""
    config = stage_1()
    model = dataclasses.replace(config.model, name="ego_rnn_convlstm")
    return dataclasses.replace(config, model=model)


def convlstm_stage_2() -> TrainConfig:
    """Stage 2 without attention."""
    config = stage_2()
    model = dataclasses.replace(
        config.model,
        name="ego_rnn_convlstm",
        weights="runs/ego_rnn_convlstm_stage_1/last.safetensors",
        train_only=(*MEMORY, CONVOLUTIONS),
    )
    return dataclasses.replace(config, model=model)


def motion() -> TrainConfig:
    """Stage 2 with the motion task: is a cell still, or does it move?"""
    config = _with_flow(stage_2())
    model = dataclasses.replace(
        config.model,
        name="ego_rnn_motion",
        options={**config.model.options, "task": "classification", "task_weight": 1.0},
        train_only=(*config.model.train_only, "squeeze.*", "motion.*"),
    )
    return dataclasses.replace(config, model=model)


def motion_regression() -> TrainConfig:
    """Stage 2 with the motion task: how large is the share of a cell that moves?"""
    config = motion()
    options = {**config.model.options, "task": "regression", "distance": "squared"}
    return dataclasses.replace(config, model=dataclasses.replace(config.model, options=options))


def flow() -> TrainConfig:
    """The network of warped flow, all of it, from ImageNet weights. 750 epochs."""
    config = _with_flow(stage_1())
    return dataclasses.replace(
        config,
        model=ModelConfig("ego_rnn_flow", {"frames": 5}, weights="imagenet"),
        optim=OptimConfig(
            name="sgd",
            lr=1e-2,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="steps",
            milestones=(150, 300, 500),
            gamma=0.5,
            warmup_epochs=0.0,
            clip_norm=0.0,
        ),
        epochs=750,
    )


def joint() -> TrainConfig:
    """Both networks and one classifier; the flow's last layer at a hundredth of the rate."""
    config = _with_flow(stage_1())
    return dataclasses.replace(
        config,
        model=ModelConfig(
            "ego_rnn_joint",
            {"frames": 25},
            weights="runs/ego_rnn_joined.safetensors",
            train_only=(
                "head.*",
                "rgb.memory.*",
                "rgb.objects.*",
                f"rgb.{CONVOLUTIONS}",
                "flow.backbone.features.layer4.*",
            ),
        ),
        optim=OptimConfig(
            name="sgd",
            lr=1e-2,
            lr_scales={"flow.*": 0.01},
            momentum=0.9,
            weight_decay=5e-4,
            schedule="exponential",
            gamma=0.99,
            warmup_epochs=0.0,
            clip_norm=0.0,
        ),
        epochs=250,
    )


def tiny_stage_1() -> TrainConfig:
    """Stage 1 on point lights (`praxino data pointlight pointlight`), in a minute."""
    return _tiny(stage_1())


def tiny_motion() -> TrainConfig:
    """The motion task on point lights, from nothing."""
    return _tiny(motion())


def tiny_flow() -> TrainConfig:
    """The network of flow on point lights."""
    return _tiny(flow())


def tiny_joint() -> TrainConfig:
    """Both streams on point lights, from nothing."""
    return _tiny(joint())


def _with_flow(config: TrainConfig) -> TrainConfig:
    """Of the pictures that come with the data set, packed."""
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, flow="runs/gtea61_flow")
    )


def _tiny(config: TrainConfig) -> TrainConfig:
    options = {**config.model.options, "backbone": "resnet18", "size": 64}
    options["frames"] = min(int(options["frames"]), 8)
    if config.model.name != "ego_rnn_flow":
        options["hidden"] = 16
    return dataclasses.replace(
        config,
        data=DataConfig("pointlight/manifest.csv", val_split="", limit_per_class=8),
        # Nothing is trained before, so all of it learns.
        model=dataclasses.replace(config.model, options=options, weights=None, train_only=()),
        augmentation=Augmentation(crop="centre"),
        epochs=2,
        batch_size=8,
    )
