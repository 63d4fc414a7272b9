r"""Two-stream fusion on UCF101 split 1 (Feichtenhofer et al., CVPR 2016), from two trained streams.

After the first four commands of `recipes/two_stream.py`, which train the streams:

    python recipes/two_stream_fusion.py
    praxino train recipes/two_stream_fusion.py:ucf101 --run runs/two_stream_fusion
    praxino evaluate runs/two_stream_fusion --data runs/ucf101_1.parquet --clips 10 --crops 1 \
        --flow UCF-101-flow

The settings of the authors' code: 96 clips a step, dropout of 0.85; only what comes after the
convolutions learns. A round is ten passes over the videos: two at 0.001, and one each at 0.0001,
0.00001 and 0.000001. Published: 92.5 % for the mean of three splits. Not yet run here, but for
`tiny`:

    praxino data pointlight pointlight
    praxino train recipes/two_stream_fusion.py:tiny --run runs/two_stream_fusion_tiny
"""

from pathlib import Path
from typing import Any

from praxino.models import create_model
from praxino.models.two_stream_fusion import start_from_streams
from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation
from praxino.weights.checkpoint import load_model, save_tensors

RUNS = Path("runs")
START = RUNS / "two_stream_fusion_start.safetensors"


def ucf101() -> TrainConfig:
    """All that comes after the convolutions, with a loss for each stream."""
    return TrainConfig(
        data=DataConfig(
            "runs/ucf101_1.parquet", videos="UCF-101", val_split="", flow="UCF-101-flow"
        ),
        model=ModelConfig("two_stream_fusion", weights=str(START), freeze_until="temporal"),
        augmentation=Augmentation(crop="multi_scale_corner"),
        optim=OptimConfig(
            "sgd",
            lr=1e-3,
            weight_decay=5e-4,
            schedule="steps",
            milestones=(20, 30, 40),
            warmup_epochs=0.0,
        ),
        epochs=50,
        batch_size=96,
    )


def tiny() -> TrainConfig:
    """The network on CNN-M-2048 in a minute or two, on point lights."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "two_stream_fusion_cnn_m",
            {
                "size": 64,
                "chunks": 3,
                "chunk_stride": 4,
                "chunk_jitter": 1,
                "flows": 3,
                "dropout": 0.2,
            },
            weights=None,
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=3e-4),
        epochs=3,
        batch_size=8,
    )


def begin(spatial: Path, temporal: Path, to: Path) -> None:
    """Write the network that two trained streams make together.

    Args:
        spatial: the run of `recipes/two_stream.py:spatial`.
        temporal: the run of `recipes/two_stream.py:temporal`.
        to: the file that `ucf101` starts from.
    """
    streams: list[Any] = [load_model(spatial), load_model(temporal)]
    model: Any = create_model("two_stream_fusion", len(streams[0].classes))
    start_from_streams(model, streams[0], streams[1])
    save_tensors(to, model.state_dict())


if __name__ == "__main__":
    begin(RUNS / "spatial", RUNS / "temporal", START)
    print(f"Wrote {START}")
