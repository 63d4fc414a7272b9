"""Model + manifest -> predictions and numbers that carry their protocol.

Evaluation never skips: a video that cannot be read counts as wrong, and is named.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from praxino.checked_json import checked, read_json
from praxino.computing import Computing, Engine, Precision
from praxino.datasets.clips import TestViews, Views, example_name
from praxino.datasets.manifest import Manifest
from praxino.datasets.source import open_source
from praxino.datasets.workers import STALL_SECONDS, WatchedLoader
from praxino.devices import default_workers
from praxino.engines import Runner, running, settle
from praxino.ledger import Ledger
from praxino.metrics import classification
from praxino.results import EVALUATED, Evaluation
from praxino.video.clip_spec import FLOWS, ClipSpec
from praxino.video.decoding import Backend, Decoding, Window
from praxino.video.motion import Motion
from praxino.video.transforms import FlipPairs
from praxino.video.volume import is_volume
from praxino.weights.checkpoint import find_checkpoint, load_model, weights_hash

log = logging.getLogger("praxino")

CROPS = (1, 3, 10)
LARGEST_RESULT = 100_000_000  # bytes of a result.json: a thousand classes have a million confusions
# What `evaluate_again` takes from the protocol of a result.json.
REPEATED: dict[str, Any] = {
    "checkpoint": str | None,
    "root": str,
    "manifest_hash": str,
    "weights_hash": str,
    "clips": int,
    "crops": int,
    "decoder": Backend,
}


@dataclass(frozen=True)
class Scores:
    """Probabilities of every view of every video.

    Args:
        views: for each video `(clips, crops, K)`, or None if it cannot be read.
        labels: `(N,)` class indices.
        ledger: one line per video.
    """

    views: list[NDArray[np.float64] | None]
    labels: NDArray[np.int64]
    ledger: Ledger


def evaluate(
    model: nn.Module | str | Path,
    manifest: Manifest | str | Path,
    *,
    split: str = "",
    clips: int = 10,
    crops: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    precision: Precision = "auto",
    engine: Engine = "torch",
    stall_seconds: float = STALL_SECONDS,
    backend: Backend = "pyav",
    untrusted: bool = False,
    window: Window | None = None,
    flow: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a trained model on labelled videos.

    Every view is classified; probabilities are averaged over a clip's crops, then over clips.

    Args:
        model: a model from `load_model`, a checkpoint or a run folder.
        manifest: the videos, or the file or folder that lists them; their classes must be the
            model's.
        split: only this split; empty: all rows.
        clips: clips per video, evenly spread from its start to its end.
        crops: 1 centre, 3 along the long side, or 10 (corners and centre, mirrored); None: 3, or
            1 for a model that looks at the whole picture.
        batch_size: views in one pass through the model; None: 8 on a CPU, 64 on a GPU.
        workers: loader processes; None: as many as there are spare cores.
        device: `cpu`, `cuda`; None: the GPU if there is one.
        precision: `fp32`, `bf16`, or `auto`: `bf16` where the processor has units for it.
        engine: what computes the model: `torch`, `compile` or `openvino`.
        stall_seconds: a loader process that reads one video for longer than this hangs.
        backend: as in `open_video`.
        untrusted: as in `open_video`.
        window: as in `open_video`; for volumes; None: the window of the model's training.
        flow: the `source` of `Motion`, for models that want flow; None: the method of the model's
            training.
        progress: called with (videos done, videos in all).

    Returns:
        Accuracies, confusion matrix, a score for each video, and the protocol.

    Raises:
        ValueError: no video in the split, classes the model does not know, unknown crops, or a
            model that the engine cannot take.
        EnvironmentFault: a loader process died or hangs, or what the backend or the engine needs is
            not installed.
    """
    decoding = Decoding(backend, untrusted, window)
    decoding.check_usable()
    computing, where = settle(Computing(engine, precision), device)
    checkpoint = None
    if not isinstance(model, nn.Module):
        checkpoint = str(find_checkpoint(model).resolve())
        model = load_model(model)
    if not isinstance(manifest, Manifest):
        manifest = open_source(manifest)
    spec = spec_of(model)
    whole = spec.fit == "stretch"
    crops = crops or (1 if whole else 3)
    if crops not in CROPS:
        raise ValueError(f"crops must be one of {CROPS}, got {crops}.")
    if whole and crops != 1:
        raise ValueError(f"This model looks at the whole picture: crops must be 1, got {crops}.")
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}.")
    chosen = manifest.select(split=split) if split else manifest
    if not len(chosen):
        found = sorted({row.split for row in manifest.rows if row.split})
        raise ValueError(
            f"No video is in split {split!r}; the manifest has {', '.join(found) or 'no splits'}. "
            f"To take all rows, use --split all, or split='' in Python."
        )
    chosen = with_model_classes(chosen, model)
    if not untrusted:
        window = window_of(model, window, (chosen.path(row) for row in chosen.rows))
        decoding = dataclasses.replace(decoding, window=window)
    motion = motion_of(model, flow)
    scores = score_videos(
        model,
        chosen,
        clips=clips,
        crops=crops,
        batch_size=batch_size,
        workers=workers,
        device=str(where),
        stall_seconds=stall_seconds,
        decoding=decoding,
        motion=motion,
        computing=computing,
        progress=progress,
    )
    card = getattr(model, "card", None)
    protocol = {
        "model": card.model if card else type(model).__name__,
        "clips": clips,
        "crops": crops,
        "average": "probabilities over crops, then over clips",
        "sampling": spec.sampling,
        "resize_short": spec.resize_short,
        "size": spec.size,
        "fit": spec.fit,
        "decoder": backend,
        "window": window,
        "flow": motion.source if needs_flow(spec) else None,
        **vars(computing),
        "split": split,
        "videos": len(chosen),
        "manifest_hash": chosen.hash,
        "root": str(chosen.root.resolve()),
        "weights_hash": weights_hash(model),
        "checkpoint": checkpoint,
    }
    return dataclasses.replace(summarise(scores, chosen, protocol), decoding=decoding)


def score_videos(
    model: nn.Module,
    manifest: Manifest,
    *,
    clips: int,
    crops: int,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    stall_seconds: float = STALL_SECONDS,
    decoding: Decoding = Decoding(),
    motion: Motion = Motion(),
    computing: Computing = Computing("torch", "fp32"),
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Classify every view of every video; each video is decoded once.

    Raises:
        EnvironmentFault: a loader process died, or was at one video for over `stall_seconds`.
    """
    spec = spec_of(model)
    computing, where = settle(computing, device)
    batch = batch_size or (8 if where.type == "cpu" else 64)
    watched = WatchedLoader(
        TestViews(manifest, spec, clips=clips, crops=crops, decoding=decoding, motion=motion),
        lambda row: example_name(manifest.rows[row]),
        workers=default_workers() if workers is None else workers,
        stall_seconds=stall_seconds,
        batch_size=None,
    )
    ledger = Ledger()
    scores: list[NDArray[np.float64] | None] = []
    labels = []
    mirrored = FlipPairs.from_names(manifest.classes).labels_after(manifest.classes)
    with watched as loader, running(model, where, computing, batch) as run:
        for example, probabilities in _classified(run, loader, batch):
            name = example_name(manifest.rows[example.row])
            if example.error is not None:
                ledger.failed(name, example.error)
            elif example.short is not None:
                ledger.partial(name, *example.short)
            else:
                ledger.ok(name)
            if probabilities is None:
                scores.append(None)
            else:
                views = probabilities.reshape(clips, crops, -1)
                if crops == 10:  # the last five are mirrored, where "left" means "right"
                    views[:, 5:] = views[:, 5:, mirrored]
                scores.append(views)
            labels.append(example.label)
            if progress is not None:
                progress(len(scores), len(manifest))
    return Scores(scores, np.array(labels, dtype=np.int64), ledger)


def _classified(
    run: Runner, loader: WatchedLoader[Views], batch_size: int
) -> Iterator[tuple[Views, NDArray[np.float64] | None]]:
    """Pair each video with its `(V, K)` probabilities; small videos share a pass."""
    waiting: list[Views] = []
    for example in loader:
        waiting.append(example)
        held = sum(len(one.views) for one in waiting if one.views is not None)
        if held >= batch_size:
            yield from _answers(run, waiting)
            waiting = []
    yield from _answers(run, waiting)


def _answers(
    run: Runner, examples: list[Views]
) -> Iterator[tuple[Views, NDArray[np.float64] | None]]:
    views = [one.views for one in examples if one.views is not None]
    probabilities = iter(
        classify(run, torch.cat(views)).split([len(v) for v in views]) if views else []
    )
    for one in examples:
        yield one, None if one.views is None else next(probabilities).numpy().astype(np.float64)


def classify(run: Runner, views: Tensor) -> Tensor:
    """`(V, C, T, H, W)` views to `(V, K)` probabilities on the CPU.

    Raises:
        ValueError: the model's scores are not numbers.
    """
    logits = run(views)
    if not logits.isfinite().all():
        raise ValueError(
            "The model's scores are not numbers (NaN or infinite): its weights are damaged, or "
            "its training has diverged."
        )
    return logits.softmax(dim=1)


def spec_of(model: nn.Module) -> ClipSpec:
    """What a model is to be fed.

    Raises:
        TypeError: a network that does not say.
    """
    spec = getattr(model, "clip_spec", None)
    if not isinstance(spec, ClipSpec):
        raise TypeError(
            f"{type(model).__name__} has no clip_spec, so nobody knows which frames to feed it. "
            f"Set model.clip_spec to a praxino.ClipSpec."
        )
    return spec


def window_of(model: nn.Module, asked: Window | None, sources: Iterable[object]) -> Window | None:
    """What is shown of volumes: what is asked for, else what the model was trained with.

    A window that is asked for and is another one than in training is told in a line.

    Args:
        model: from `load_model`, whose card remembers the window of its training; or any other.
        asked: by whoever calls.
        sources: what will be shown; where none of them is a volume, there is no window to take.
    """
    card = getattr(model, "card", None)
    trained: Window | None = card.window if card else None
    if asked is None:
        return trained if trained is not None and any(map(is_volume, sources)) else None
    if card and asked != trained:
        _tell_of_window(asked, trained)
    return asked


def needs_flow(spec: ClipSpec) -> bool:
    """Whether a model wants more than colours."""
    return any(name in FLOWS for name in spec.inputs)


def motion_of(model: nn.Module, asked: str | None) -> Motion:
    """Where flow comes from: what is asked for, else the method of the model's training.

    Raises:
        ValueError: neither a method nor a folder, or flow for a model that sees none.
    """
    spec, card = spec_of(model), getattr(model, "card", None)
    if asked is not None and not needs_flow(spec):
        raise ValueError(
            f"flow={asked!r} is for models that see flow, and this one sees "
            f"{' and '.join(spec.inputs)}. Leave it out."
        )
    return Motion(asked or (card.notes.get("flow") if card else None) or Motion.source)


@cache
def _tell_of_window(asked: Window, trained: Window | None) -> None:
    known = f"was trained with {trained[0]:g}, {trained[1]:g}" if trained else "knows of none"
    log.warning("The window is %g, %g, and the model %s: its answers may be wrong.", *asked, known)


def with_model_classes(manifest: Manifest, model: nn.Module) -> Manifest:
    """The same videos, with labels numbered as the model numbers them.

    Raises:
        ValueError: the manifest has classes that the model was not trained on.
    """
    classes = tuple(getattr(model, "classes", manifest.classes))
    unknown = [name for name in manifest.classes if name not in classes]
    if unknown:
        raise ValueError(
            f"The model does not know {len(unknown)} of the manifest's {len(manifest.classes)} "
            f"classes: {', '.join(unknown[:5])}. It knows: {', '.join(classes[:10])}."
        )
    return dataclasses.replace(manifest, classes=classes)


def summarise(scores: Scores, manifest: Manifest, protocol: dict[str, Any]) -> Evaluation:
    """Turn view probabilities into the benchmark's numbers."""
    count, labels = len(manifest.classes), scores.labels
    readable = np.array([views is not None for views in scores.views])
    video_scores = np.zeros((len(labels), count))
    clip_hits: list[float] = []
    for row, views in enumerate(scores.views):
        if views is None:
            clip_hits.append(0.0)
            continue
        per_clip = views.mean(axis=1)  # crops of one clip: (clips, K)
        video_scores[row] = per_clip.mean(axis=0)
        clip_hits.append(float((per_clip.argmax(axis=1) == labels[row]).mean()))
    # A video that could not be read is in every denominator and in no numerator.
    ranks = classification.label_ranks(video_scores, labels)
    hit_1, hit_5 = (ranks < 1) & readable, (ranks < 5) & readable
    predictions = classification.top_classes(video_scores)
    per_class = np.array(
        [hit_1[labels == k].mean() if (labels == k).any() else np.nan for k in range(count)]
    )
    confusion = classification.confusion_matrix(labels[readable], predictions[readable], count)
    return Evaluation(
        manifest=manifest,
        classes=tuple(manifest.classes),
        videos=tuple(example_name(row) for row in manifest.rows),
        labels=labels,
        scores=video_scores,
        clip_hit_at_1=float(np.mean(clip_hits)),
        hit_at_1=float(hit_1.mean()),
        hit_at_5=float(hit_5.mean()),
        mean_class_accuracy=float(np.nanmean(per_class)),
        per_class_accuracy=per_class,
        confusion=confusion,
        protocol=protocol,
        ledger=scores.ledger,
    )


def evaluate_again(path: str | Path, **options: Any) -> tuple[Evaluation, dict[str, Any]]:
    """Repeat the evaluation that a `result.json` describes.

    Returns:
        The new evaluation and the saved numbers, to be compared.

    Raises:
        ValueError: not a result, or its checkpoint or list of videos has changed since.
    """
    saved = read_json(path, largest=LARGEST_RESULT)
    try:
        protocol = checked(dict[str, Any], saved["protocol"], str(path), "protocol")
        for name, kind in REPEATED.items():
            checked(kind, protocol[name], str(path), f"protocol.{name}")
        # Results from before there were volumes and flow have none.
        window = checked(Window | None, protocol.get("window"), str(path), "protocol.window")
        flow = checked(str | None, protocol.get("flow"), str(path), "protocol.flow")
        # Results from before there was a choice say nothing of it.
        engine = checked(Engine, protocol.get("engine", "torch"), str(path), "protocol.engine")
        precision = checked(
            Precision, protocol.get("precision", "fp32"), str(path), "protocol.precision"
        )
        for name in ("clip_hit_at_1", "hit_at_1", "hit_at_5", "mean_class_accuracy"):
            checked(float, saved[name], str(path), name)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a result.json of praxino evaluate: {error!r}.") from None
    checkpoint, root, known = (protocol[k] for k in ("checkpoint", "root", "manifest_hash"))
    if checkpoint is None:
        raise ValueError(f"{path} is of a model that came from no file, so it cannot be repeated.")
    manifest = Manifest.read(Path(path).with_name(EVALUATED), root=root)
    if manifest.hash != known:
        raise ValueError(f"{EVALUATED} beside {path} has changed since that was written.")
    model = load_model(checkpoint)
    if weights_hash(model) != protocol["weights_hash"]:
        raise ValueError(f"{checkpoint} holds other weights than when {path} was written.")
    same = {name: protocol[name] for name in ("clips", "crops")}
    result = evaluate(
        model,
        manifest,
        **same,
        engine=engine,
        precision=precision,
        backend=protocol["decoder"],
        window=window,
        flow=flow,
        **options,
    )
    return result, saved
