"""How long training takes: arithmetic, and a rate.

A step forward costs the model's multiply-adds; backward costs twice that, because each product has
a gradient for either factor. What is left out: reading videos, norms and activations, validation.
"""

import time
from dataclasses import dataclass

import torch
from torch import nn

from praxino.model_facts import facts_of

FORWARD_AND_BACKWARD = 3
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class TrainingWork:
    """What a training computes.

    Args:
        clip_multiply_adds: of one clip, forward.
        videos: in the training set.
        clips: of each video in an epoch.
        epochs: over the training set.
    """

    clip_multiply_adds: int
    videos: int
    clips: int
    epochs: float

    def __post_init__(self) -> None:
        for name in ("videos", "clips", "epochs"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be above 0, got {value}.")

    @property
    def multiply_adds(self) -> float:
        """Of the whole training."""
        clips = self.videos * self.clips * self.epochs
        return FORWARD_AND_BACKWARD * self.clip_multiply_adds * clips

    def days(self, rate: float) -> float:
        """How long it takes.

        Args:
            rate: multiply-adds in a second, above 0.
        """
        if not 0 < rate < float("inf"):
            raise ValueError(f"A rate is above 0 multiply-adds in a second, got {rate}.")
        return self.multiply_adds / rate / SECONDS_PER_DAY

    def rate(self, days: float) -> float:
        """What rate somebody must have had who took so many days: multiply-adds in a second."""
        if not 0 < days < float("inf"):
            raise ValueError(f"days must be above 0, got {days}.")
        return self.multiply_adds / (days * SECONDS_PER_DAY)


def training_work(model: str, *, videos: int, epochs: float, clips: int = 1) -> TrainingWork:
    """The work of training a model of the table on clips of its own size.

    Args:
        model: in the table.
        videos: in the training set.
        epochs: over the training set.
        clips: of each video in an epoch.
    """
    return TrainingWork(facts_of(model).multiply_adds, videos, clips, epochs)


def measured_rate(device: torch.device, seconds: float = 2.0) -> float:
    """Multiply-adds in a second that this machine does forward and backward.

    Measured on a 3 x 3 x 3 convolution of 64 channels in single precision, which suits machines
    well: with small or depthwise convolutions, and with attention, expect less.

    Args:
        device: where to measure.
        seconds: for how long, after a first step that is not counted.
    """
    layer = nn.Conv3d(64, 64, 3, padding=1, bias=False).to(device)
    maps = torch.randn(1, 64, 8, 56, 56, device=device, requires_grad=True)
    each = FORWARD_AND_BACKWARD * layer.weight.numel() * maps[0, 0].numel()
    steps = 0
    start = -1.0
    while start < 0 or time.perf_counter() - start < seconds:
        layer(maps).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if start < 0:
            start = time.perf_counter()
        else:
            steps += 1
    return each * steps / (time.perf_counter() - start)
