"""What can an architecture see? A litmus test of a few minutes, on point lights.

A network is trained from scratch on two sets of rendered videos at once, eighteen classes in all,
and asked three questions: what things look like (appearance), what they do (motion), and in which
order they do it (order: whole videos played backwards, so that single frames tell nothing). Beside
the answers stands what the design predicts: a network whose output does not change when the frames
change places cannot answer the last question better than a coin.
"""

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from praxino.datasets.manifest import Manifest
from praxino.datasets.pointlight import (
    CLASSES,
    Answer,
    Variant,
    answer_questions,
    render_pointlight,
)
from praxino.evaluate import needs_flow
from praxino.layer_table import count_parameters, multiply_adds
from praxino.models import create_model, option_types
from praxino.video.clip_spec import CHANNELS, FLOWS, ClipSpec
from praxino.video.motion import Motion
from praxino.video.reader import open_video
from praxino.video.transforms import as_streams

VIDEOS_PER_CLASS: dict[Variant, int] = {"motion": 60, "appearance": 20}
QUESTIONS = ("appearance", "motion", "order")
FRAMES, SIZE = 16, 64  # what a model is fed, unless it was built for something else
BATCH = 16


@dataclass(frozen=True)
class LitmusVideos:
    """Point lights of both variants, decoded once.

    Args:
        pixels: `(N, 32, 64, 64, 3)` uint8.
        labels: `(N,)` positions in `classes`.
        training: `(N,)` bool; the people of the other videos are in none of these.
        classes: those of "motion", then those of "appearance".
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    training: NDArray[np.bool_]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class LitmusResult:
    """How one model did.

    Args:
        model: as it was named.
        clip: (T, H, W) that it was fed.
        parameters: how many it has.
        multiply_adds: for one such clip.
        epochs: over the training videos.
        seconds: of training.
        answers: to each of `QUESTIONS`.
        order_blind: whether its output stays the same when the frames are reversed.
    """

    model: str
    clip: tuple[int, int, int]
    parameters: int
    multiply_adds: int
    epochs: int
    seconds: float
    answers: dict[str, Answer]
    order_blind: bool

    @property
    def verdict(self) -> str:
        """Whether the answer about order is what the design predicts."""
        answer = self.answers["order"]
        # Two standard deviations of a coin: one model in forty passes by luck.
        sees = answer.accuracy > answer.chance + 1 / answer.videos**0.5
        if self.order_blind:
            return "sees order, and cannot: look for a leak" if sees else "blind to order, as built"
        return "sees order, as built" if sees else "could see order, has not learnt it yet"


def litmus_videos(folder: str | Path) -> LitmusVideos:
    """Render the videos, unless `folder` holds them already, and decode them.

    Args:
        folder: gets a folder for each variant; 20 MB.
    """
    pixels, labels, training = [], [], []
    classes: list[str] = []
    for variant, count in VIDEOS_PER_CLASS.items():
        place = Path(folder) / variant
        if not (place / "manifest.csv").exists():
            render_pointlight(place, variant=variant, videos_per_class=count)
        manifest = Manifest.read(place / "manifest.csv")
        for row in manifest:
            with open_video(manifest.path(row)) as video:
                pixels.append(video.frames(range(len(video.timestamps))).pixels)
            labels.append(len(classes) + manifest.classes.index(row.labels[0]))
            training.append(row.split == "train")
        classes += manifest.classes
    return LitmusVideos(np.stack(pixels), np.array(labels), np.array(training), tuple(classes))


def small_model(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A model of the table, fed `FRAMES` x `SIZE` x `SIZE` where its builder lets us choose.

    Args:
        name: in the table of models.
        num_classes: K.
        **options: of the builder; these come first.
    """
    known = option_types(name)
    chosen = {"frames": FRAMES, "size": SIZE}
    options = {key: value for key, value in chosen.items() if key in known} | options
    return create_model(name, num_classes, **options)


def litmus(
    name: str,
    build: Callable[[int], nn.Module],
    videos: LitmusVideos,
    *,
    epochs: int = 12,
    lr: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LitmusResult:
    """Train a model from scratch and ask it the three questions.

    Args:
        name: for the result.
        build: makes the model for a number of classes; where it wants flow, that is DIS between
            the frames of the clip.
        videos: from `litmus_videos`.
        epochs: over the training videos.
        lr: peak of AdamW's learning rate; it rises for a tenth of the steps and falls to zero.
        seed: of the weights, the order and the clips.
        progress: called with (steps done, steps in all).

    Raises:
        ValueError: epochs below 1.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}.")
    torch.manual_seed(seed)
    model = build(len(videos.classes))
    spec: ClipSpec = model.clip_spec  # type: ignore[assignment]
    blind = is_order_blind(model)
    started = time.monotonic()
    _train(model, spec, videos, epochs, lr, np.random.default_rng(seed), progress)
    seconds = time.monotonic() - started
    scores = _scores(model, spec, videos.pixels[~videos.training])
    shape = (spec.frames, spec.size, spec.size)
    return LitmusResult(
        name,
        shape,
        count_parameters(model),
        multiply_adds(model, (spec.channels, *shape)),
        epochs,
        seconds,
        _answers(scores, videos.labels[~videos.training], videos.classes),
        blind,
    )


def is_order_blind(model: nn.Module) -> bool:
    """Whether reversing a clip changes nothing in the output, whatever the weights are.

    Asked of a copy whose weights are all disturbed: some networks start with layers at zero, and
    look blind until they have learnt something. Others start so quiet that what they answer hardly
    depends on the clip at all; so the change is measured by what another clip would change.
    Backwards, everything also moves the other way: flow and differences change their sign.
    """
    spec: ClipSpec = model.clip_spec  # type: ignore[assignment]
    disturbed = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in disturbed.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * parameter.std(correction=0).clamp(min=0.1) * noise)
        shape = (2, spec.channels, spec.frames, spec.size, spec.size)
        clips = torch.randn(shape, generator=generator, dtype=torch.float64)
        signs = [
            -1.0 if name in (*FLOWS, "rgb_difference") else 1.0
            for name in spec.inputs
            for _ in range(CHANNELS[name])
        ]
        reversed_clips = clips.flip(2) * clips.new_tensor(signs).view(-1, 1, 1, 1)
        (forwards, other), (backwards, _) = disturbed(clips), disturbed(reversed_clips)
    change = (forwards - backwards).abs().max() / (forwards - other).abs().max()
    return float(change) < 1e-6


def _train(
    model: nn.Module,
    spec: ClipSpec,
    videos: LitmusVideos,
    epochs: int,
    lr: float,
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None,
) -> None:
    pixels, labels = videos.pixels[videos.training], videos.labels[videos.training]
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    batches = len(pixels) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=epochs * batches, pct_start=0.1
    )
    model.train()
    for epoch in range(epochs):
        order = rng.permutation(len(pixels))
        for batch in range(batches):
            chosen = order[batch * BATCH : (batch + 1) * BATCH]
            phases = rng.random(BATCH)
            loss = F.cross_entropy(
                model(to_clips(pixels[chosen], spec, phases)), torch.from_numpy(labels[chosen])
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(epoch * batches + batch + 1, epochs * batches)
    model.eval()


def _scores(model: nn.Module, spec: ClipSpec, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`(N, K)` probabilities of one clip per video."""
    scores = []
    with torch.no_grad():
        for start in range(0, len(pixels), BATCH):
            batch = pixels[start : start + BATCH]
            clips = to_clips(batch, spec, np.full(len(batch), 0.5))
            scores.append(model(clips).softmax(1))
    return torch.cat(scores).double().numpy()


def to_clips(pixels: NDArray[np.uint8], spec: ClipSpec, phases: NDArray[np.float64]) -> Tensor:
    """Frames spread over whole videos, as a model wants them.

    Args:
        pixels: `(B, N, H, W, 3)`.
        spec: T, size, mean and standard deviation.
        phases: `(B,)` in [0, 1): where in each of T equal stretches the frame is taken.

    Returns:
        `(B, C, T, size, size)`.
    """
    count = pixels.shape[1]
    steps = (np.arange(spec.frames) + phases[:, None]) * (count / spec.frames)  # (B, T)
    places = steps.astype(int)
    chosen = pixels[np.arange(len(pixels))[:, None], places]  # (B, T, H, W, 3)
    if needs_flow(spec):
        motion = Motion()
        chosen = np.stack(
            [
                motion.add(frames, spec.inputs, "", which)
                for frames, which in zip(chosen, places, strict=True)
            ]
        )
    clip = torch.from_numpy(chosen).permute(0, 4, 1, 2, 3).float() / 255  # (B, 3 + 2 n, T, H, W)
    if clip.shape[-1] != spec.size:
        clip = F.interpolate(
            clip, (spec.frames, spec.size, spec.size), mode="trilinear", align_corners=False
        )
    return as_streams(clip, spec)


def _answers(
    scores: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, Answer]:
    """Each variant's questions, among its own classes."""
    answers: dict[str, Answer] = {}
    for names in CLASSES.values():
        columns = np.array([classes.index(name) for name in names])
        asked = np.isin(labels, columns)
        within = scores[asked][:, columns] + 1e-12
        within /= within.sum(axis=1, keepdims=True)
        positions = (labels[asked][:, None] == columns).argmax(axis=1)
        answers |= answer_questions(within, positions, names)
    return {question: answers[question] for question in QUESTIONS}


def as_dict(result: LitmusResult) -> dict[str, Any]:
    """For JSON; the answers as accuracies."""
    found = dataclasses.asdict(result)
    found["answers"] = {name: answer.accuracy for name, answer in result.answers.items()}
    return found | {"verdict": result.verdict}


def markdown_rows(results: Sequence[LitmusResult]) -> list[str]:
    """A table: what each model is, what it answered, and what its design predicts."""
    chance = {name: answer.chance for name, answer in results[0].answers.items()}
    lines = [
        "| model | clip | parameters | multiply-adds | epochs | seconds | appearance | motion "
        "| order | verdict |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for result in results:
        frames, height, width = result.clip
        scores = " | ".join(f"{result.answers[name].accuracy:.2f}" for name in QUESTIONS)
        lines.append(
            f"| {result.model} | {frames}×{height}×{width} | {result.parameters / 1e6:.2f} M "
            f"| {result.multiply_adds / 1e9:.3g} G | {result.epochs} | {result.seconds:.0f} "
            f"| {scores} | {result.verdict} |"
        )
    said = " | ".join(f"{chance[name]:.2f}" for name in QUESTIONS)
    return [*lines, f"| *chance* |  |  |  |  |  | {said} |  |"]
