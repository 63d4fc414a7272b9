r"""Hidden two-stream networks on UCF101 split 1: MotionNet, a temporal stream, then both as one.

Zhu et al., ACCV 2018. MotionNet needs no labels; the temporal stream first learns from flow that is
computed, as every temporal stream (`recipes/two_stream.py`); stacked on MotionNet it learns anew.

    praxino data import ucf101 ucfTrainTestlist/ --videos UCF-101/ --split 1 \
        --to runs/ucf101_1.parquet
    praxino flow UCF-101 --output UCF-101-flow --method tvl1
    praxino train recipes/hidden_two_stream.py:motion --run runs/hidden/motion
    praxino train recipes/two_stream.py:temporal --run runs/hidden/temporal
    python recipes/hidden_two_stream.py runs/hidden/motion runs/hidden/temporal \
        --to runs/hidden/stacked0.safetensors
    praxino train recipes/hidden_two_stream.py:stacked --run runs/hidden/stacked
    praxino evaluate runs/hidden/stacked --data runs/ucf101_1.parquet --videos UCF-101 \
        --clips 25 --crops 10

The command in Python puts the one on the other. No flow is computed once this is trained; what a
spatial stream (`recipes/two_stream.py:spatial`) says is joined by `praxino fuse`.

The schedules are those of the authors' solvers. MotionNet: 400,000 steps of 16 clips, of which an
epoch has 596, Adam at 3.2e-5, halved after 100,000 and after each 50,000 from 200,000 to 350,000.
Stacked: 16,000 steps of 128 clips (they add up 16 batches of 8), of which an epoch has 74, SGD at
1e-6 for MotionNet and a thousand times that for VGG-16, ten times less after 5,000 and after 9,500.
SGD's momentum is Nesterov's here; and transposed convolutions, whose biases stay zero as theirs do,
decay too.

UT-Interaction across places, from the temporal stream of `recipes/ut_interaction_flow.py`, where
the list of videos is made too; and likewise from set 2 to set 1:

    praxino train recipes/ut_interaction_flow.py:train_on_set1 --run runs/ut_flow1
    praxino train recipes/hidden_two_stream.py:ut_motion1 --run runs/hidden/ut_motion1
    python recipes/hidden_two_stream.py runs/hidden/ut_motion1 runs/ut_flow1 \
        --to runs/hidden/ut_stacked1.safetensors
    praxino train recipes/hidden_two_stream.py:ut_train_on_set1 --run runs/hidden/ut1
    praxino evaluate runs/hidden/ut1 --data runs/ut_set2.parquet \
        --videos $PRAXINO_LAB_DATA/ut-interaction --clips 10 --crops 1

Not yet run here, but for `tiny_motion` and `tiny`, in a minute each:

    praxino data pointlight pointlight
    praxino train recipes/hidden_two_stream.py:tiny_motion --run runs/hidden/tiny_motion
    praxino train recipes/hidden_two_stream.py:tiny --run runs/hidden/tiny
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from praxino.models import create_model
from praxino.models.hidden_two_stream import stack_streams
from praxino.recipe import ClipConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation
from praxino.weights.checkpoint import load_model, save_tensors

RUNS = Path("runs/hidden")
LAB = Path(os.environ.get("PRAXINO_LAB_DATA", "../shared/data"))
TINY: dict[str, Any] = {"flows": 4, "size": 64, "width": 8}
DATA = DataConfig("runs/ucf101_1.parquet", videos="UCF-101", val_split="")


def motion() -> TrainConfig:
    """MotionNet learns flow; its accuracy is that of the mean direction things move in."""
    return TrainConfig(
        data=DATA,
        model=ModelConfig("motionnet", weights=None),
        augmentation=Augmentation(crop="multi_scale_corner", corner_scales=(1.0, 0.875, 0.75)),
        optim=OptimConfig(
            "adam",
            lr=3.2e-5,
            lr_scales={"motion.up*.bias": 0.0},
            weight_decay=4e-4,
            schedule="steps",
            milestones=(168, 336, 419, 503, 587),
            gamma=0.5,
            warmup_epochs=0.0,
            clip_norm=0.0,
        ),
        epochs=671,
        batch_size=16,
    )


def stacked() -> TrainConfig:
    """MotionNet and VGG-16 learn together, once both are in one file."""
    return TrainConfig(
        data=DATA,
        model=ModelConfig(
            "hidden_temporal_stream",
            {"backbone": "vgg16"},
            weights=str(RUNS / "stacked0.safetensors"),
        ),
        augmentation=motion().augmentation,
        optim=OptimConfig(
            "sgd",
            lr=1e-6,
            lr_scales={
                "motion.up*.bias": 0.0,
                "backbone.*": 1000.0,
                "head.*": 1000.0,
                "backbone.*.bias": 2000.0,
                "head.bias": 2000.0,
            },
            weight_decay=5e-4,
            schedule="steps",
            milestones=(68, 128),
            warmup_epochs=0.0,
            clip_norm=0.0,
        ),
        epochs=216,
        batch_size=128,
    )


def ut_motion1() -> TrainConfig:
    """A thinner MotionNet on set 1 of UT-Interaction (a parking lot)."""
    return _ut("motionnet", "runs/ut_set2.parquet", None, epochs=60)


def ut_motion2() -> TrainConfig:
    """A thinner MotionNet on set 2 of UT-Interaction (a windy lawn)."""
    return _ut("motionnet", "runs/ut_set1.parquet", None, epochs=60)


def ut_train_on_set1() -> TrainConfig:
    """Train on set 1, test on set 2: MotionNet and MobileNetV2 together."""
    start = RUNS / "ut_stacked1.safetensors"
    return _ut("hidden_temporal_stream", "runs/ut_set2.parquet", start, epochs=30)


def ut_train_on_set2() -> TrainConfig:
    """Train on set 2, test on set 1: MotionNet and MobileNetV2 together."""
    start = RUNS / "ut_stacked2.safetensors"
    return _ut("hidden_temporal_stream", "runs/ut_set1.parquet", start, epochs=30)


def _ut(model: str, manifest: str, start: Path | None, *, epochs: int) -> TrainConfig:
    """What the first stage and the last one share: frames a tenth of a second apart."""
    options: dict[str, Any] = {"size": 128, "width": 16}
    scales = {}
    if start is not None:
        options |= {"backbone": "mobilenet_v2", "same_padding": True}
        scales = {"motion.*": 0.1, "backbone.*": 0.3}
    return TrainConfig(
        data=DataConfig(manifest, videos=str(LAB / "ut-interaction"), val_split=""),
        model=ModelConfig(
            model,
            options,
            weights=None if start is None else str(start),
            freeze_batch_norm=start is not None,
        ),
        clip=ClipConfig(frames_per_second=10.0, fit="stretch", resize_short=160),
        augmentation=Augmentation(crop="random_sides", sides=(0.7, 1.0)),
        optim=OptimConfig("adam", lr=3e-4, lr_scales=scales, weight_decay=1e-4, clip_norm=0.0),
        epochs=epochs,
        clips_per_video=2,
        batch_size=8,
    )


def tiny_motion() -> TrainConfig:
    """A thin MotionNet on point lights."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig("motionnet", dict(TINY), weights=None),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=0.0),
        epochs=3,
        batch_size=8,
    )


def tiny() -> TrainConfig:
    """A ResNet-18 on the MotionNet of `tiny_motion`."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "hidden_temporal_stream",
            TINY | {"backbone": "resnet18"},
            weights=str(RUNS / "tiny_motion" / "last.safetensors"),
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=0.0, lr_scales={"motion.*": 0.1}),
        epochs=3,
        batch_size=8,
    )


def stack(motion: Path, temporal: Path, to: Path) -> None:
    """Write what the last stage starts from.

    Args:
        motion: the run of `motion`.
        temporal: the run of `recipes/two_stream.py:temporal`, on the same videos.
        to: a `.safetensors` file.

    Raises:
        ValueError: one of them does not fit.
    """
    stages: list[Any] = [load_model(motion), load_model(temporal)]
    network = stages[0].motion
    model: Any = create_model(
        "hidden_temporal_stream",
        len(stages[1].classes),
        flows=network.flows,
        width=network.down[0][0].out_channels,
        backbone=stages[1].backbone.name,
        same_padding=stages[1].card.options.get("same_padding", False),
    )
    stack_streams(model, *stages)
    save_tensors(to, model.state_dict())


def main(arguments: list[str]) -> None:
    """Put a MotionNet and a temporal stream into one file."""
    parser = argparse.ArgumentParser(description="One network of two that were trained.")
    parser.add_argument("motion", type=Path, help="a run of MotionNet")
    parser.add_argument("temporal", type=Path, help="a run of a temporal stream")
    parser.add_argument("--to", type=Path, required=True, help="a .safetensors file")
    said = parser.parse_args(arguments)
    stack(said.motion, said.temporal, said.to)


if __name__ == "__main__":
    main(sys.argv[1:])
