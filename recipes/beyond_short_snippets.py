r"""Beyond short snippets on UCF101 split 1 (Yue-Hei Ng et al., CVPR 2015): 1, 30, 120 frames.

    praxino data import ucf101 ucfTrainTestlist/ --videos UCF-101/ --split 1 \
        --to runs/ucf101_1.parquet
    praxino train recipes/beyond_short_snippets.py:one_frame --run runs/snippets_1
    praxino train recipes/beyond_short_snippets.py:thirty_frames --run runs/snippets_30
    praxino train recipes/beyond_short_snippets.py:all_frames --run runs/snippets_120
    praxino train recipes/beyond_short_snippets.py:lstm --run runs/snippets_lstm
    praxino evaluate runs/snippets_120 --data runs/ucf101_1.parquet --split test --clips 1

Each stage begins with what the one before has learnt: a network of one frame has the same
parameters as one of 120, only its maximum has less to choose from. UCF101's videos last 7 s, so its
frames are a sixth of a second apart; Sports-1M's are a second apart, as the models have it unless
told otherwise. Published for UCF101 with pretraining on Sports-1M, all three splits: 88.2 % for
pooling over 120 frames and 88.6 % for the LSTM, both with flow.

Flow is trained in the same way: `one_frame_flow` into runs/snippets_1_flow, then `lstm_flow`;
`praxino fuse` averages the scores.
The learning rates are ours, for one GPU; the paper's are for many machines that write to the same
weights. Not yet run here.

On point lights, in a minute:

    praxino data pointlight pointlight
    praxino train recipes/beyond_short_snippets.py:tiny --run runs/snippets_tiny
    praxino train recipes/beyond_short_snippets.py:tiny_lstm --run runs/snippets_lstm_tiny
"""

import dataclasses

from praxino.recipe import ClipConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation

POOLING: dict[str, bool | int | float | str] = {"pooling": "conv", "hidden": 0}


def one_frame() -> TrainConfig:
    """First stage: GoogLeNet on single frames."""
    return TrainConfig(
        data=DataConfig("runs/ucf101_1.parquet", videos="UCF-101", val_split=""),
        model=ModelConfig(
            "beyond_short_snippets_pooling", {**POOLING, "frames": 1}, weights="imagenet"
        ),
        clip=ClipConfig(frames_per_second=6.0),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(
            "sgd", lr=1e-3, weight_decay=5e-4, schedule="exponential", gamma=0.95, warmup_epochs=0.0
        ),
        epochs=30,
        batch_size=64,
    )


def thirty_frames() -> TrainConfig:
    """Second stage: the maximum over 30 frames, 5 s."""
    return _grown(30, "runs/snippets_1/last.safetensors")


def all_frames() -> TrainConfig:
    """Third stage: over 120 frames, the whole video."""
    grown = _grown(120, "runs/snippets_30/last.safetensors")
    return dataclasses.replace(grown, clip=ClipConfig(frames_per_second=15.0), batch_size=4)


def lstm() -> TrainConfig:
    """Five LSTMs over 30 frames, above what `one_frame` has learnt."""
    return _lstm("beyond_short_snippets_lstm", "runs/snippets_1/last.safetensors")


def one_frame_flow() -> TrainConfig:
    """First stage of flow."""
    colours = one_frame()
    return dataclasses.replace(
        colours,
        # Flow leads to a second frame, which repeats it.
        model=ModelConfig(
            "beyond_short_snippets_pooling_flow", {**POOLING, "frames": 2}, weights="imagenet"
        ),
        data=dataclasses.replace(colours.data, flow="tvl1"),
        clip=ClipConfig(frames_per_second=15.0),
    )


def lstm_flow() -> TrainConfig:
    """Five LSTMs over 30 flows, a fifteenth of a second apart."""
    below = one_frame_flow()
    above = _lstm("beyond_short_snippets_lstm_flow", "runs/snippets_1_flow/last.safetensors")
    return dataclasses.replace(above, data=below.data, clip=below.clip)


def tiny() -> TrainConfig:
    """A small network that pools over windows first, and learns from nothing."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "beyond_short_snippets_pooling",
            {
                "pooling": "slow",
                "backbone": "resnet18",
                "hidden": 64,
                "frames": 8,
                "window": 4,
                "stride": 2,
                "size": 64,
            },
            weights=None,
        ),
        clip=ClipConfig(frames_per_second=6.0),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=1e-3, weight_decay=5e-4),
        epochs=3,
        batch_size=8,
    )


def tiny_lstm() -> TrainConfig:
    """Two small LSTMs, which learn from nothing."""
    pooled = tiny()
    options: dict[str, bool | int | float | str] = {
        "backbone": "resnet18",
        "hidden": 64,
        "layers": 2,
        "frames": 8,
        "size": 64,
    }
    return dataclasses.replace(
        pooled, model=ModelConfig("beyond_short_snippets_lstm", options, weights=None)
    )


def _grown(frames: int, weights: str) -> TrainConfig:
    shorter = one_frame()
    return dataclasses.replace(
        shorter,
        model=ModelConfig(
            "beyond_short_snippets_pooling", {**POOLING, "frames": frames}, weights=weights
        ),
        optim=dataclasses.replace(shorter.optim, lr=1e-4),  # small, or what was learnt is lost
        epochs=10,
        batch_size=16,
    )


def _lstm(model: str, weights: str) -> TrainConfig:
    frames = one_frame()
    return dataclasses.replace(
        frames,
        model=ModelConfig(model, weights=weights),
        optim=dataclasses.replace(frames.optim, lr=1e-2, backbone_lr_scale=0.01),
        batch_size=16,
    )
