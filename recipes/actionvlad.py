r"""ActionVLAD on HMDB51: centres from k-means, then the classifier, then all from conv5 on.

Girdhar et al., CVPR 2017. The videos and their three splits are HMDB51's own:

    praxino data import hmdb51 testTrainMulti_7030_splits --videos hmdb51 --split 1 \
        --to runs/hmdb51_1.parquet
    python recipes/actionvlad.py rgb_stage1
    praxino train recipes/actionvlad.py:rgb_stage1 --run runs/actionvlad/rgb1
    praxino train recipes/actionvlad.py:rgb_stage2 --run runs/actionvlad/rgb2
    praxino evaluate runs/actionvlad/rgb2 --data runs/hmdb51_1.parquet --split test \
        --clips 1 --crops 1

and likewise with `flow` for `rgb`; `python recipes/actionvlad.py join` makes one model with late
fusion of both. Published for the three splits: colours 51.4, 49.2 and 48.6 %, flow 59.0, 59.7 and
60.6 %, both 66.7, 66.5 and 66.3 %. Not yet run here.

The schedule is that of the authors' scripts, in steps of 16 videos, of which an epoch has 223:
10,000 of Adam at 0.01, then 8,000 at 0.0001, ten times less after 5,000 each; epsilon 1e-4. They
start flow from a two-stream network that has learnt HMDB51; here it starts from ImageNet's weights,
averaged over colours.

On UT-Interaction, one place for training and the other for the test; the list of videos is made as
in `recipes/ut_interaction.py`. Not yet run here either:

    praxino train recipes/actionvlad.py:ut_interaction_set1 --run runs/actionvlad_ut1
    praxino evaluate runs/actionvlad_ut1 --data runs/ut_set2.parquet \
        --videos $PRAXINO_LAB_DATA/ut-interaction --clips 1 --crops 1

On point lights, in a minute:

    praxino data pointlight pointlight
    python recipes/actionvlad.py tiny
    praxino train recipes/actionvlad.py:tiny --run runs/actionvlad/tiny
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from praxino.datasets.clips import TrainingClips
from praxino.datasets.source import open_source
from praxino.datasets.splits import hold_out
from praxino.models import create_model
from praxino.models.actionvlad import late_fusion_of, start_from_clips
from praxino.recipe import ClipConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.video.augmentation import Augmentation
from praxino.video.motion import Motion
from praxino.weights.checkpoint import Card, load_model, save_model, save_tensors

RUNS = Path("runs/actionvlad")
LAB = Path(os.environ.get("PRAXINO_LAB_DATA", "../shared/data"))


def rgb_stage1() -> TrainConfig:
    """Colours: the classifier alone, on centres that `python recipes/actionvlad.py` has found."""
    return _stage1("actionvlad", RUNS / "rgb0.safetensors")


def rgb_stage2() -> TrainConfig:
    """Colours: the classifier, the centres and conv5."""
    return _stage2("actionvlad", RUNS / "rgb1" / "last.safetensors")


def flow_stage1() -> TrainConfig:
    """Flow: the classifier alone."""
    return _stage1("actionvlad_flow", RUNS / "flow0.safetensors")


def flow_stage2() -> TrainConfig:
    """Flow: the classifier, the centres and conv5."""
    return _stage2("actionvlad_flow", RUNS / "flow1" / "last.safetensors")


def tiny() -> TrainConfig:
    """A thin network on point lights, all of it in one stage."""
    return TrainConfig(
        data=DataConfig("pointlight/manifest.csv", limit_per_class=8),
        model=ModelConfig(
            "actionvlad",
            {"frames": 8, "size": 64, "centres": 8, "width": 8},
            weights=str(RUNS / "tiny0.safetensors"),
        ),
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig("adam", lr=0.01, backbone_lr_scale=0.1, weight_decay=4e-5, eps=1e-4),
        epochs=4,
        batch_size=8,
    )


def ut_interaction_set1() -> TrainConfig:
    """Colours and flow in one model: train on set 1 of UT-Interaction, test on set 2."""
    return _ut_interaction("runs/ut_set2.parquet")


def ut_interaction_set2() -> TrainConfig:
    """Colours and flow in one model: train on set 2 of UT-Interaction, test on set 1."""
    return _ut_interaction("runs/ut_set1.parquet")


def _ut_interaction(manifest: str) -> TrainConfig:
    """Sixty videos: what ImageNet has taught stays as it is but for conv5."""
    learning = ("head.*", "*vlad.*", *(f"{s}.{n}.*" for s in ("rgb", "flow") for n in (24, 26, 28)))
    return TrainConfig(
        data=DataConfig(manifest, videos=str(LAB / "ut-interaction"), val_split="", flow="dis"),
        model=ModelConfig(
            "actionvlad_two_stream",
            {"frames": 25, "size": 112, "centres": 16, "stack": 5, "places": 12},
            weights="imagenet",
            train_only=learning,
        ),
        # The two people stand at the sides of the picture: a square crop would lose one of them.
        clip=ClipConfig(fit="stretch", resize_short=160),
        augmentation=Augmentation(crop="random_sides", sides=(0.7, 1.0)),
        optim=OptimConfig(
            "adam", lr=0.01, backbone_lr_scale=0.01, weight_decay=4e-5, eps=1e-4, warmup_epochs=3
        ),
        epochs=30,
        batch_size=8,
    )


def _stage1(model: str, weights: Path) -> TrainConfig:
    return TrainConfig(
        data=DataConfig("runs/hmdb51_1.parquet", videos="hmdb51", val_split="", flow="tvl1"),
        model=ModelConfig(model, weights=str(weights), train_only=("head.*",)),
        augmentation=Augmentation(crop="multi_scale_corner"),
        optim=OptimConfig(
            "adam",
            lr=0.01,
            weight_decay=4e-5,
            eps=1e-4,
            schedule="steps",
            milestones=(22,),
            warmup_epochs=0.0,
        ),
        epochs=45,
        batch_size=16,
    )


def _stage2(model: str, weights: Path) -> TrainConfig:
    learning = ("head.*", "vlad.*", "backbone.24.*", "backbone.26.*", "backbone.28.*")
    first = _stage1(model, weights)
    return TrainConfig(
        data=first.data,
        model=ModelConfig(model, weights=str(weights), train_only=learning),
        augmentation=first.augmentation,
        optim=OptimConfig(
            "adam",
            lr=1e-4,
            weight_decay=4e-5,
            eps=1e-4,
            schedule="steps",
            milestones=(22,),
            warmup_epochs=0.0,
        ),
        epochs=36,
        batch_size=16,
    )


def find_centres(config: TrainConfig, start: str | None, videos: int) -> int:
    """Write what a first stage starts from: weights, and centres in features of its videos.

    Args:
        config: of the first stage; its `model.weights` names the file that is written.
        start: weights of the convolutions: published ones, a file, or None.
        videos: how many of the training videos are looked at, one clip of each.

    Returns:
        How many features were clustered.

    Raises:
        ValueError: no training videos.
        VideoError: one of them cannot be read.
    """
    everything = open_source(config.data.source, root=config.data.videos)
    if config.data.val_split:  # centres are learnt too: not from what the epochs are chosen by
        fraction, split = config.data.val_fraction, config.data.val_split
        everything, _ = hold_out(everything, fraction, config.seed, split)
    train_set = everything.select(split="" if everything.splits == ("",) else "train")
    torch.manual_seed(config.seed)
    model: Any = create_model(
        config.model.name, len(everything.classes), weights=start, **config.model.options
    )
    clips = TrainingClips(
        train_set,
        model.clip_spec,
        config.augmentation,
        seed=config.seed,
        decoding=config.data.decoding,
        motion=Motion(config.data.flow),
    )
    chosen = torch.randperm(len(clips), generator=torch.Generator().manual_seed(config.seed))

    def batches() -> Iterator[Tensor]:
        for row in chosen[:videos].tolist():
            example = clips[0, 0, row]
            if example.clip is None:
                assert example.error is not None
                raise example.error
            yield example.clip[None]

    count = start_from_clips(model, batches(), seed=config.seed)
    assert config.model.weights is not None
    save_tensors(config.model.weights, model.state_dict())
    return count


def join(rgb: Path, flow: Path, to: Path) -> None:
    """Write one model with late fusion from two that were trained by themselves."""
    streams: list[Any] = [load_model(rgb), load_model(flow)]
    options = streams[1].card.options
    model: Any = create_model("actionvlad_two_stream", len(streams[0].classes), **options)
    model.load_state_dict(late_fusion_of(*streams))
    card = Card("actionvlad_two_stream", options, streams[0].classes, model.clip_spec, {})
    save_model(to, model, card)


def main(arguments: list[str]) -> None:
    """Find the centres of a first stage, or join two streams."""
    parser = argparse.ArgumentParser(description="What comes before and after the stages.")
    parser.add_argument("task", choices=["rgb_stage1", "flow_stage1", "tiny", "join"])
    parser.add_argument("--videos", type=int, default=500, help="to look at; 500 by default")
    parser.add_argument("--start", default=None, help="weights; ImageNet's, but for tiny")
    said = parser.parse_args(arguments)
    if said.task == "join":
        join(RUNS / "rgb2", RUNS / "flow2", RUNS / "both.safetensors")
        return
    config = globals()[said.task]()
    start = said.start or (None if said.task == "tiny" else "imagenet")
    count = find_centres(config, start, said.videos)
    print(f"{count:,} features; wrote {config.model.weights}")


if __name__ == "__main__":
    main(sys.argv[1:])
