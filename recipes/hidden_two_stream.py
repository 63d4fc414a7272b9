r"""Hidden two-stream networks on UCF101 split 1: MotionNet, a temporal stream, then both as one.

Zhu et al., ACCV 2018. MotionNet needs no labels; the temporal stream first learns from flow that is
computed, as every temporal stream (`recipes/two_stream.py`); stacked on MotionNet it learns anew.

    praxino data import ucf101 ucfTrainTestlist/ --videos UCF-101/ --split 1 \
        --to runs/ucf101_1.parquet
    praxino flow UCF-101 --output UCF-101-flow --method tvl1
    praxino train recipes/hidden_two_stream.py:motion --run runs/hidden/motion
    praxino train recipes/two_stream.py:temporal --run runs/hidden/temporal
    python recipes/hidden_two_stream.py
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
decay too. Not yet run here, but for `tiny_motion` and `tiny`, in a minute each:

    praxino data pointlight pointlight
    praxino train recipes/hidden_two_stream.py:tiny_motion --run runs/hidden/tiny_motion
    praxino train recipes/hidden_two_stream.py:tiny --run runs/hidden/tiny
"""

from pathlib import Path
from typing import Any

from praxino.models import create_model
from praxino.models.hidden_two_stream import stack_streams
from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation
from praxino.weights.checkpoint import load_model, save_tensors

RUNS = Path("runs/hidden")
START = RUNS / "stacked0.safetensors"
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
    """MotionNet and VGG-16 learn together, after `python recipes/hidden_two_stream.py`."""
    return TrainConfig(
        data=DATA,
        model=ModelConfig("hidden_temporal_stream", {"backbone": "vgg16"}, weights=str(START)),
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
    options = {"backbone": stages[1].backbone.name, "flows": stages[0].motion.flows}
    model: Any = create_model(
        "hidden_temporal_stream",
        len(stages[1].classes),
        width=stages[0].motion.down[0][0].out_channels,
        **options,
    )
    stack_streams(model, *stages)
    save_tensors(to, model.state_dict())


if __name__ == "__main__":
    stack(RUNS / "motion", RUNS / "temporal", START)
