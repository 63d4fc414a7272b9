"""A recipe in, a run folder out. `train` is the whole loop, from top to bottom.

The run folder: `config.json` (the settings), `best.safetensors` and `last.safetensors` (models),
`manifest.parquet` (the videos and their splits; `video_sizes.json` and `SHA256SUMS` tell whether
anything has changed), `state/` (what a resumed run needs), `metrics.jsonl` (a line per epoch),
`events...` (TensorBoard), `training_items.jsonl` (one line per training video), and what `evaluate`
saves, for the best epoch on the validation split. Resuming gives the same numbers as never having
stopped, bit for bit on a CPU.
"""

import dataclasses
import fnmatch
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from praxino import __version__
from praxino.atomic import remove_parts, write_text
from praxino.datasets.clips import Clip, EpochOrder, TrainingClips, example_name
from praxino.datasets.manifest import Manifest
from praxino.datasets.source import open_source, root_of
from praxino.datasets.splits import check_leakage, hold_out
from praxino.datasets.workers import LoaderFault, WatchedLoader
from praxino.devices import default_device, default_workers
from praxino.did_you_mean import did_you_mean
from praxino.errors import Stopped, VideoError
from praxino.evaluate import evaluate, needs_flow, score_videos, summarise
from praxino.ledger import Ledger
from praxino.models import create_model, options_with, published_weights
from praxino.recipe import ClipConfig, TrainConfig
from praxino.report import write_report
from praxino.runs import resuming, training_state
from praxino.runs.curves import Curves, cut_back
from praxino.runs.run_lock import run_lock
from praxino.runs.training_state import Epoch, Progress, World
from praxino.stop_signals import StopSignals, stop_signals
from praxino.video.clip_spec import ClipSpec
from praxino.video.motion import Motion
from praxino.weights import checkpoint
from praxino.weights.checkpoint import BEST, LAST, Card
from praxino.weights.shapes_only import ShapesOnly


@dataclass(frozen=True)
class Listener:
    """Whom to tell how it goes; both do nothing unless given.

    Args:
        said: called with one line of text worth reading.
        step: called with (epoch, steps done in it, steps in it, loss).
        epoch: called after each epoch.
    """

    said: Callable[[str], None] = lambda line: None
    step: Callable[[int, int, int, float], None] = lambda epoch, done, steps, loss: None
    epoch: Callable[[Epoch], None] = lambda epoch: None


def train(
    config: TrainConfig, run: str | Path, *, resume: bool = False, listener: Listener | None = None
) -> Path:
    """Train a model as the config says.

    Args:
        config: the settings.
        run: the run folder; must not hold a run already, unless `resume`.
        resume: go on from the newest state in `run`, with the settings saved there.
        listener: whom to tell how it goes.

    Returns:
        The run folder.

    Raises:
        ValueError: no videos, unknown names, a folder in use, or settings changed on resuming.
        VideoError: a video cannot be read and `data.skip_bad` is off.
        FloatingPointError: the loss is not a number; names the videos of the batch.
        EnvironmentFault: the disk is full, a loader process died or hangs, or the backend is not
            installed.
        Stopped: Ctrl-C, SIGTERM and their kin; the state was saved first.
    """
    run = Path(run)
    with stop_signals() as stop, run_lock(run) as warning:
        listener = listener or Listener()
        if warning is not None:
            listener.said(warning)
        _train(config, run, resume, listener, stop)
    return run


def _train(
    config: TrainConfig, run: Path, resume: bool, listener: Listener, stop: StopSignals
) -> None:
    if resume:
        config = resuming.settings(run, config)
        if resuming.never_began(run):
            listener.said(f"The run in {run} was stopped before its first step; it begins again.")
            resume = False
    elif training_state.has_state(run) or (run / LAST).exists():
        raise ValueError(f"{run} already holds a run. Resume it with --resume, or name another.")
    decoding = config.data.decoding
    decoding.check_usable()
    for folder in (run, run / "state"):
        remove_parts(folder)
    torch.manual_seed(config.seed)

    # --- data
    if resume:  # the very rows that it was started with, whatever has happened to the source
        root = root_of(config.data.source, config.data.videos)
        everything = Manifest.read(run / resuming.MANIFEST, root=root)
        for line in resuming.changes_of_videos(run, everything, config):
            listener.said(line)
    else:
        everything = open_source(config.data.source, root=config.data.videos)
        if config.data.val_split:
            everything, sentence = hold_out(
                everything, config.data.val_fraction, config.seed, config.data.val_split
            )
            listener.said(sentence)
        check_leakage(everything)
    train_set, val_set = _splits(everything, config)

    # --- model
    precision = _precision(config.mixed_precision)
    AcceleratorState._reset_state(True)  # a run before this one may have had another precision
    accelerator = Accelerator(mixed_precision=precision, cpu=default_device() == "cpu")
    if accelerator.num_processes > 1:
        raise ValueError(
            f"Training on {accelerator.num_processes} processes is not built yet. Start one, "
            f"without torchrun."
        )
    weights = _weights(config)
    model = create_model(
        config.model.name,
        num_classes=len(everything.classes),
        weights=weights,
        **config.model.options,
    )
    spec = _clip_spec(_for_training(model.clip_spec, config), config.clip)
    model.clip_spec, model.classes = spec, tuple(everything.classes)  # type: ignore[assignment]
    if config.optim.label_smoothing and hasattr(model, "loss"):
        raise ValueError(
            f"{config.model.name} has a loss of its own, which knows no "
            f"label_smoothing={config.optim.label_smoothing}. Leave it at 0."
        )
    kept_still = freeze(
        model,
        config.model.freeze_until,
        config.model.freeze_batch_norm,
        config.model.train_only,
    )
    peak_lr = config.optim.lr or (1e-3 if weights is None else 2e-4)
    optimizer = _optimizer(model, config, peak_lr)
    model.to(accelerator.device)
    network, optimizer = accelerator.prepare(model, optimizer)

    # --- where we stand
    if resume:
        progress, world, lines = training_state.load_state(run, model, optimizer)
        for line in [*lines, *resuming.changes_of_world(world, World.here(model))]:
            listener.said(line)
        if progress.history and not progress.step_in_epoch:  # whatever has become of it
            card = _card(config, model, progress.history[-1], train_set, progress)
            checkpoint.save_model(run / LAST, model, card)
        listener.said(f"Resuming at epoch {progress.epoch + 1}, step {progress.step}.")
    else:
        batch_size = config.batch_size or (32 if accelerator.device.type == "cuda" else 8)
        batch_size = min(batch_size, len(train_set) * config.clips_per_video)
        progress = Progress(batch_size=batch_size)
        resuming.write_inputs(run, config, everything)
        training_state.save_state(run, model, optimizer, progress)
    for line in cut_back(run, *progress.curves):
        listener.said(line)
    _write_history(run, progress.history)

    # --- examples
    batch_size = progress.batch_size
    order = EpochOrder(len(train_set), seed=config.seed, draws=config.clips_per_video)
    workers = default_workers() if config.data.workers is None else config.data.workers
    watched = WatchedLoader(
        TrainingClips(
            train_set,
            spec,
            config.augmentation,
            seed=config.seed,
            decoding=decoding,
            motion=Motion(config.data.flow),
        ),
        lambda row: example_name(train_set.rows[row]),
        workers=workers,
        stall_seconds=config.data.stall_seconds,
        batch_sampler=BatchSampler(order, batch_size, drop_last=True),  # type: ignore[arg-type]
        persistent_workers=workers > 0,
        collate_fn=list,
    )
    steps_per_epoch = len(train_set) * config.clips_per_video // batch_size
    total_steps = steps_per_epoch * config.epochs
    # Never more than a fifth of the run, or a short one would be nothing but warm-up.
    warmup_steps = min(round(config.optim.warmup_epochs * steps_per_epoch), total_steps // 5)
    listener.said(
        f"{len(train_set)} training and {len(val_set) if val_set else 0} validation videos, "
        f"{checkpoint.classes_line(everything.classes)}; {config.model.name} from "
        f"{weights or 'scratch'} on {accelerator.device.type}, batch {batch_size}, "
        f"{'float32' if precision == 'no' else precision}."
    )
    saved_at = time.monotonic()

    with watched as loader, Curves(run, progress.step) as curves:
        try:
            for epoch in range(progress.epoch, config.epochs):
                order.epoch, order.skip = epoch, progress.step_in_epoch * batch_size
                model.train()
                for module in kept_still:
                    module.eval()
                for examples in stop.whole_steps(loader):
                    clips, labels, bad = _batch(examples, train_set, config.data.skip_bad)
                    progress = dataclasses.replace(
                        progress,
                        step=progress.step + 1,
                        step_in_epoch=progress.step_in_epoch + 1,
                        clips=progress.clips + len(labels),
                        spans=progress.spans + len(labels),
                        span_seconds=progress.span_seconds + sum(one.seconds for one in examples),
                        bad={**bad, **progress.bad},
                    )
                    lr = peak_lr * _schedule(progress.step - 1, warmup_steps, total_steps, config)
                    for group in optimizer.param_groups:
                        group["lr"] = lr * group["scale"]
                    if not len(labels):  # every video of the batch is unreadable
                        continue

                    clips, labels = clips.to(accelerator.device), labels.to(accelerator.device)
                    with accelerator.autocast():
                        loss, logits = _loss(network, model, clips, labels, config)
                    _check_finite("loss", loss, examples, train_set, lr)
                    optimizer.zero_grad()
                    accelerator.backward(loss)
                    largest = config.optim.clip_norm or math.inf
                    norm = accelerator.clip_grad_norm_(model.parameters(), largest)
                    _check_finite("norm of the gradient", norm, examples, train_set, lr)
                    optimizer.step()

                    progress = dataclasses.replace(
                        progress,
                        loss_sum=progress.loss_sum + loss.item() * len(labels),
                        hits=progress.hits + int((logits.argmax(dim=1) == labels).sum()),
                    )
                    curves.add("train/loss", loss.item(), progress.step)
                    curves.add("train/lr", lr, progress.step)
                    listener.step(epoch, progress.step_in_epoch, steps_per_epoch, loss.item())
                    if time.monotonic() - saved_at > config.save_every_seconds:
                        saved_at = _save(run, model, optimizer, progress, curves)

                # --- the epoch is over: measure, keep, go on
                if not progress.clips:
                    raise ValueError(
                        f"Not one of the {len(train_set)} training videos could be read in epoch "
                        f"{epoch + 1}, the first is {next(iter(progress.bad))}. Look at the disk."
                    )
                result = Epoch(
                    epoch=epoch + 1,
                    step=progress.step,
                    lr=peak_lr * _schedule(progress.step - 1, warmup_steps, total_steps, config),
                    train_loss=progress.loss_sum / progress.clips,
                    train_hit_at_1=progress.hits / progress.clips,
                )
                if val_set is not None:
                    val_loss, val_hit_at_1 = _validate(
                        model, val_set, config, workers, str(accelerator.device)
                    )
                    result = dataclasses.replace(
                        result, val_loss=val_loss, val_hit_at_1=val_hit_at_1
                    )
                history = (*progress.history, result)
                card = _card(config, model, result, train_set, progress)
                checkpoint.save_model(run / LAST, model, card)
                best = progress.best
                if val_set is not None and _is_best(history):
                    checkpoint.save_model(run / BEST, model, card)
                    best = training_state.keep_best(run)
                _write_history(run, history)
                with stop.held():  # or these points would be drawn again on resuming
                    if result.val_loss is not None and result.val_hit_at_1 is not None:
                        curves.add("val/loss", result.val_loss, progress.step)
                        curves.add("val/hit@1", result.val_hit_at_1, progress.step)
                    progress = dataclasses.replace(
                        progress,
                        epoch=epoch + 1,
                        step_in_epoch=0,
                        loss_sum=0.0,
                        hits=0,
                        clips=0,
                        history=history,
                        best=best,
                    )
                    saved_at = _save(run, model, optimizer, progress, curves)
                listener.epoch(result)
        except (Stopped, LoaderFault):
            # Neither comes in the middle of a step, unless Ctrl-C is pressed twice.
            if not stop.hurried:
                stop.answer()
                _save(run, model, optimizer, progress, curves)
            raise
    drawn = {
        int(position) % len(train_set)
        for epoch in range(config.epochs)
        for position in order.positions(epoch)[: steps_per_epoch * batch_size]
    }
    _ledger(train_set, drawn, progress.bad).write(run / "training_items.jsonl")
    if progress.bad:
        first = next(iter(progress.bad))
        listener.said(
            f"{len(progress.bad)} of {len(train_set)} training videos could not be read, or not "
            f"completely, the first is {first}: see {run / 'training_items.jsonl'}."
        )
    evaluation = None
    if val_set is not None:
        evaluation = evaluate(
            run,
            val_set,
            clips=1,
            crops=1,
            workers=workers,
            precision="fp32",  # as every epoch was validated
            stall_seconds=config.data.stall_seconds,
            flow=config.data.flow if needs_flow(spec) else None,
            **vars(decoding),
        )
        evaluation.save(run)
    write_report(run, evaluation)


# --- steps that the loop calls, in order ---------------------------------------------------------


def _save(
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    curves: Curves,
) -> float:
    """Save the state, and what lies beside it up to this step; gives the time."""
    progress = dataclasses.replace(progress, curves=curves.position())
    training_state.save_state(run, model, optimizer, progress)
    return time.monotonic()


def _splits(everything: Manifest, config: TrainConfig) -> tuple[Manifest, Manifest | None]:
    """The training and, if there is one, the validation videos."""
    # A source that divides nothing, with no validation wanted: all of it is for training.
    train_set = everything.select(split="" if everything.splits == ("",) else "train")
    if not len(train_set):
        raise ValueError(
            f"No video is in split 'train'; {config.data.source} has "
            f"{', '.join(everything.splits)}."
        )
    limit = config.data.limit_per_class
    if limit is not None:
        seen: dict[tuple[str, ...], int] = {}
        kept = []
        for row in train_set.rows:
            seen[row.labels] = seen.get(row.labels, 0) + 1
            if seen[row.labels] <= limit:
                kept.append(row)
        train_set = dataclasses.replace(train_set, rows=tuple(kept))
    val_set = everything.select(split=config.data.val_split) if config.data.val_split else None
    return train_set, val_set if val_set else None


def _precision(asked: str) -> str:
    if asked != "auto":
        return asked
    if not torch.cuda.is_available():
        return "no"
    # Older GPUs emulate bf16, which is slower than float32.
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"


def _weights(config: TrainConfig) -> str | None:
    """Where the model starts from, as `create_model` takes it."""
    if config.model.weights != "auto":
        return config.model.weights
    published = published_weights(config.model.name, **config.model.options)
    # Not those that only a person can download: nobody asked for them by name.
    return next((name for name, row in published.items() if row.by_hand is None), None)


def _for_training(spec: Any, config: TrainConfig) -> ClipSpec:
    """What published weights ask for is how they were tested, which is not always fit to train on.

    Many are tested on crops as large as the picture, which leaves training nothing to move, and I3D
    on whole videos: then the builder's own crop and size, and its own number of frames, are taken.
    """
    loaded: ClipSpec = spec
    with ShapesOnly():
        name, options = config.model.name, config.model.options
        built: Any = create_model(name, **options_with(name, _weights(config), **options))
    own: ClipSpec = built.clip_spec
    trained = dataclasses.replace(loaded, frames=own.frames)
    if loaded.fit != "crop" or loaded.size < loaded.resize_short:
        return trained
    return dataclasses.replace(trained, size=own.size, resize_short=own.resize_short)


def _clip_spec(spec: Any, changes: ClipConfig) -> ClipSpec:
    """The model's clip specification with the recipe's changes; a new spacing replaces the old."""
    given = {name: value for name, value in vars(changes).items() if value is not None}
    if "frames_per_second" in given:
        given.setdefault("stride_frames", None)
    if "stride_frames" in given and given["stride_frames"] is not None:
        given.setdefault("frames_per_second", None)
    if "size" in given:
        # Keep the model's own margin around the crop unless told otherwise.
        given.setdefault("resize_short", round(given["size"] * spec.resize_short / spec.size))
    changed: ClipSpec = dataclasses.replace(spec, **given)
    return changed


def freeze(
    model: nn.Module, until: str | None, batch_norm: bool, train_only: tuple[str, ...] = ()
) -> list[nn.Module]:
    """Switch off gradients of everything up to and including a module, in order of definition.

    Args:
        model: is changed in place.
        until: the name of the last frozen module, as `model.named_modules()` gives it, or None.
        batch_norm: also keep every batch norm as it is.
        train_only: also everything whose name matches none of these shell patterns; empty: nothing.

    Returns:
        The modules to hold in eval mode: a frozen batch norm must not update its statistics.

    Raises:
        ValueError: no module has that name, no parameter matches a pattern, or nothing is left to
            train.
    """
    if until is not None:
        names = [name for name, _ in model.named_modules() if name]
        if until not in names:
            raise ValueError(
                f"The model has no module {until!r} to freeze until.{did_you_mean(until, names)}"
            )
        parameters = list(model.named_parameters())
        inside = [i for i, (name, _) in enumerate(parameters) if name.startswith(f"{until}.")]
        if not inside:
            raise ValueError(
                f"The module {until!r} has no parameters to freeze; name one before it that has."
            )
        for _, parameter in parameters[: max(inside) + 1]:
            parameter.requires_grad_(False)
    if train_only:
        matched = {pattern: _matching(model, pattern, "train only") for pattern in train_only}
        kept = {name for names in matched.values() for name in names}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name in kept)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"Nothing is left to train with freeze_until={until!r} and train_only={train_only}."
        )
    still = []
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        normalises = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if normalises and (batch_norm or (own and not any(p.requires_grad for p in own))):
            for parameter in own:
                parameter.requires_grad_(False)
            still.append(module)
    return still


def _matching(model: nn.Module, pattern: str, what: str) -> list[str]:
    """The names of parameters that a shell pattern matches, at least one."""
    names = [name for name, _ in model.named_parameters()]
    found = fnmatch.filter(names, pattern)
    if not found:
        raise ValueError(
            f"The model has no parameter {pattern!r} to {what}.{did_you_mean(pattern, names)}"
        )
    return found


def _optimizer(model: nn.Module, config: TrainConfig, peak_lr: float) -> torch.optim.Optimizer:
    """Head and backbone, or what `lr_scales` names; each with and without weight decay."""
    head = {id(parameter) for parameter in model.head.parameters()}  # type: ignore[union-attr]
    scales = {
        name: scale
        for pattern, scale in config.optim.lr_scales.items()
        for name in _matching(model, pattern, "give a learning rate of its own")
    }
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = 1.0 if id(parameter) in head else config.optim.backbone_lr_scale
            scale = scales.get(name, scale)
            # Biases and norms have one dimension; decaying them only hurts.
            decay = config.optim.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    settings = [
        {"params": parameters, "weight_decay": decay, "scale": scale, "lr": peak_lr * scale}
        for (scale, decay), parameters in groups.items()
    ]
    if config.optim.name == "sgd":
        return torch.optim.SGD(settings, lr=peak_lr, momentum=config.optim.momentum, nesterov=True)
    adam = torch.optim.Adam if config.optim.name == "adam" else torch.optim.AdamW
    return adam(settings, lr=peak_lr, eps=config.optim.eps)


def _schedule(step: int, warmup_steps: int, total_steps: int, config: TrainConfig) -> float:
    """The learning rate of a step as a share of the peak: linear warm-up, then the curve."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if config.optim.schedule == "constant":
        return 1.0
    epoch = step // max(1, total_steps // config.epochs)  # epochs that are over
    if config.optim.schedule == "exponential":
        return config.optim.gamma**epoch
    if config.optim.schedule == "steps":
        return config.optim.gamma ** sum(epoch >= at for at in config.optim.milestones)
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def _batch(
    examples: list[Clip], manifest: Manifest, skip_bad: bool
) -> tuple[Tensor, Tensor, dict[str, list[Any]]]:
    """Stack the clips that could be read, `(B, C, T, H, W)` and `(B,)`; and what was wrong."""
    bad: dict[str, list[Any]] = {}
    for example in examples:
        name = example_name(manifest.rows[example.row])
        if example.error is None:
            if example.short is not None:
                bad[name] = ["partial", *example.short]
            continue
        if not skip_bad:
            hint = "Pass --data.skip-bad to train without such videos; they will be counted."
            raise VideoError(
                example.error.item, f"{example.error.message} {hint}", code=example.error.code
            )
        bad[name] = ["failed", example.error.item, example.error.message, example.error.code]
    clips = [example.clip for example in examples if example.clip is not None]
    labels = [example.label for example in examples if example.clip is not None]
    stacked = torch.stack(clips) if clips else torch.empty(0)
    return stacked, torch.tensor(labels, dtype=torch.long), bad


def _ledger(train_set: Manifest, drawn: set[int], bad: dict[str, list[Any]]) -> Ledger:
    """One line per training video: what became of it in the whole run."""
    ledger = Ledger()
    for number, row in enumerate(train_set.rows):
        name = example_name(row)
        match bad.get(name):
            case ["partial", got, expected]:
                ledger.partial(name, got, expected)
            case ["failed", item, message, code]:
                ledger.failed(name, VideoError(item, message, code=code))
            case _ if number in drawn:
                ledger.ok(name)
            case _:
                ledger.skipped(name, "not_drawn", "incomplete batches are left out")
    return ledger


def _check_finite(
    what: str, value: Tensor, examples: list[Clip], manifest: Manifest, lr: float
) -> None:
    """Refuse to step where it would lead nowhere, and name the videos of the batch."""
    if torch.isfinite(value):
        return
    names = ", ".join(example_name(manifest.rows[example.row]) for example in examples[:8])
    raise FloatingPointError(
        f"The {what} is {value.item()} at learning rate {lr:.2g}, on: {names}. The last whole "
        f"state is kept; start again with a tenth of --optim.lr."
    )


def _loss(
    network: nn.Module, model: nn.Module, clips: Tensor, labels: Tensor, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """The loss of a batch and its `(B, K)` logits: by the model's own `loss`, where it has one."""
    own_loss = getattr(model, "loss", None)
    if own_loss is not None:
        loss, logits = own_loss(clips, labels)
        return loss, logits
    logits = network(clips)
    smoothing = config.optim.label_smoothing
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing), logits


def _validate(
    model: nn.Module, val_set: Manifest, config: TrainConfig, workers: int, device: str
) -> tuple[float, float]:
    """Mean loss and hit@1 on one centre clip of each validation video."""
    scores = score_videos(
        model,
        val_set,
        clips=1,
        crops=1,
        workers=workers,
        device=device,
        stall_seconds=config.data.stall_seconds,
        decoding=config.data.decoding,
        motion=Motion(config.data.flow),
    )
    if scores.ledger.failures and not config.data.skip_bad:
        worst = scores.ledger.failures[0]
        raise VideoError(worst.item, worst.message.partition(": ")[2], code=worst.code)
    result = summarise(scores, val_set, {})
    own = result.scores[range(len(result.labels)), result.labels]
    return float(-np.log(np.maximum(own, 1e-12)).mean()), result.hit_at_1


def _is_best(history: tuple[Epoch, ...]) -> bool:
    """Whether the last epoch beats all before it: by hit@1, then by loss."""
    ranks = [(epoch.val_hit_at_1 or 0.0, -(epoch.val_loss or 0.0)) for epoch in history]
    return all(ranks[-1] > rank for rank in ranks[:-1])


def _card(
    config: TrainConfig, model: nn.Module, result: Epoch, train_set: Manifest, progress: Progress
) -> Card:
    spec, classes = cast(ClipSpec, model.clip_spec), cast(tuple[str, ...], model.classes)
    notes = {
        **dataclasses.asdict(result),
        "trained_on": train_set.hash,
        "span_seconds": progress.span_seconds / progress.spans if progress.spans else None,
        "praxino": __version__,
    }
    if needs_flow(spec):
        notes["flow"] = Motion(config.data.flow).method
    name = config.model.name
    options = options_with(name, _weights(config), **config.model.options)
    return Card(name, options, classes, spec, notes, config.data.window)


def _write_history(run: Path, history: tuple[Epoch, ...]) -> None:
    lines = [json.dumps(dataclasses.asdict(epoch)) for epoch in history]
    write_text(run / "metrics.jsonl", "".join(line + "\n" for line in lines))
