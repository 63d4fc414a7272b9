"""A recipe in, a run folder out. `train` is the whole loop, from top to bottom.

The run folder: `config.json` (the settings), `best.safetensors` and `last.safetensors` (models),
`manifest.parquet` (the videos and their splits),
`state/` (what a resumed run needs), `metrics.jsonl` (a line per epoch), `events...` (TensorBoard),
`training_items.jsonl` (one line per training video), and what `evaluate` saves, for the best epoch
on the validation split. Resuming gives the same numbers as never having stopped, bit for bit on a
CPU.
"""

import dataclasses
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader
from torch.utils.tensorboard import SummaryWriter

from praxino import __version__, checkpoint, training_state
from praxino.atomic import write_text
from praxino.checkpoint import BEST, LAST, Card
from praxino.datasets.clips import (
    Clip,
    EpochOrder,
    TrainingClips,
    example_name,
    leave_signals_to_the_loop,
)
from praxino.datasets.manifest import Manifest
from praxino.datasets.source import open_source, root_of
from praxino.datasets.splits import check_leakage, hold_out
from praxino.devices import default_device, default_workers
from praxino.did_you_mean import did_you_mean
from praxino.errors import VideoError
from praxino.evaluate import evaluate, score_videos, summarise
from praxino.ledger import Ledger
from praxino.models import create_model, published_weights
from praxino.recipe import ClipConfig, TrainConfig, from_json, to_json
from praxino.report import write_report
from praxino.training_state import Progress
from praxino.video.clip_spec import ClipSpec


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; the line of `metrics.jsonl`."""

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_hit_at_1: float
    val_loss: float | None = None
    val_hit_at_1: float | None = None


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
        KeyboardInterrupt: interrupted; the state was saved first.
    """
    run, listener = Path(run), listener or Listener()
    if resume:
        config = _saved_config(run, config)
    elif training_state.has_state(run) or (run / LAST).exists():
        raise ValueError(f"{run} already holds a run. Resume it with --resume, or name another.")
    torch.manual_seed(config.seed)

    # --- data
    if resume:  # the very rows that it was started with, whatever has happened to the source
        root = root_of(config.data.source, config.data.videos)
        everything = Manifest.read(run / "manifest.parquet", root=root)
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
    weights = config.model.weights
    if weights == "auto":
        weights = next(iter(published_weights(config.model.name, **config.model.options)), None)
    model = create_model(
        config.model.name,
        num_classes=len(everything.classes),
        weights=weights,
        **config.model.options,
    )
    spec = _clip_spec(model.clip_spec, config.clip)
    model.clip_spec, model.classes = spec, tuple(everything.classes)  # type: ignore[assignment]
    kept_still = freeze(model, config.model.freeze_until, config.model.freeze_batch_norm)
    peak_lr = config.optim.lr or (1e-3 if weights is None else 2e-4)
    optimizer = _optimizer(model, config, peak_lr)
    model.to(accelerator.device)
    network, optimizer = accelerator.prepare(model, optimizer)

    # --- examples
    batch_size = config.batch_size or (32 if accelerator.device.type == "cuda" else 8)
    batch_size = min(batch_size, len(train_set) * config.clips_per_video)
    order = EpochOrder(len(train_set), seed=config.seed, draws=config.clips_per_video)
    workers = default_workers() if config.data.workers is None else config.data.workers
    loader = DataLoader(
        TrainingClips(train_set, spec, config.augmentation, seed=config.seed),
        batch_sampler=BatchSampler(order, batch_size, drop_last=True),  # type: ignore[arg-type]
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=list,
        worker_init_fn=leave_signals_to_the_loop,
        # Its own generator: starting workers must not draw from the one that dropout uses.
        generator=torch.Generator().manual_seed(config.seed),
    )
    steps_per_epoch = len(train_set) * config.clips_per_video // batch_size
    total_steps = steps_per_epoch * config.epochs
    # Never more than a fifth of the run, or a short one would be nothing but warm-up.
    warmup_steps = min(round(config.optim.warmup_epochs * steps_per_epoch), total_steps // 5)

    # --- where we stand
    progress, history = Progress(), []
    if resume:
        progress, lines = training_state.load_state(run, model, optimizer)
        for line in lines:
            listener.said(line)
        history = _read_history(run, progress)
        listener.said(f"Resuming at epoch {progress.epoch + 1}, step {progress.step}.")
    else:
        write_text(run / "config.json", to_json(config))
        everything.write(run / "manifest.parquet", keep_root=True)
        training_state.save_state(run, model, optimizer, progress)
    _write_history(run, history)
    listener.said(
        f"{len(train_set)} training and {len(val_set) if val_set else 0} validation videos, "
        f"{checkpoint.classes_line(everything.classes)}; {config.model.name} from "
        f"{weights or 'scratch'} on {accelerator.device.type}, batch {batch_size}, "
        f"{'float32' if precision == 'no' else precision}."
    )
    saved_at = time.monotonic()

    with SummaryWriter(str(run), purge_step=progress.step) as writer, _stop_signals() as stop:
        for epoch in range(progress.epoch, config.epochs):
            order.epoch, order.skip = epoch, progress.step_in_epoch * batch_size
            model.train()
            for module in kept_still:
                module.eval()
            for examples in loader:
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
                    logits = network(clips)  # (B, K)
                    loss = F.cross_entropy(
                        logits.float(), labels, label_smoothing=config.optim.label_smoothing
                    )
                if not torch.isfinite(loss):
                    raise FloatingPointError(_not_finite(loss, examples, train_set, lr))
                optimizer.zero_grad()
                accelerator.backward(loss)
                if config.optim.clip_norm > 0:
                    accelerator.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
                optimizer.step()

                progress = dataclasses.replace(
                    progress,
                    loss_sum=progress.loss_sum + loss.item() * len(labels),
                    hits=progress.hits + int((logits.argmax(dim=1) == labels).sum()),
                )
                writer.add_scalar("train/loss", loss.item(), progress.step)
                writer.add_scalar("train/lr", lr, progress.step)
                listener.step(epoch, progress.step_in_epoch, steps_per_epoch, loss.item())
                if time.monotonic() - saved_at > config.save_every_seconds or stop:
                    training_state.save_state(run, model, optimizer, progress)
                    saved_at = time.monotonic()
                if stop:
                    raise KeyboardInterrupt(stop[0])

            # --- the epoch is over: measure, keep, go on
            result = Epoch(
                epoch=epoch + 1,
                step=progress.step,
                lr=peak_lr * _schedule(progress.step - 1, warmup_steps, total_steps, config),
                train_loss=progress.loss_sum / max(1, progress.clips),
                train_hit_at_1=progress.hits / max(1, progress.clips),
            )
            if val_set is not None:
                loss_and_hits = _validate(model, val_set, config, str(accelerator.device))
                result = dataclasses.replace(
                    result, val_loss=loss_and_hits[0], val_hit_at_1=loss_and_hits[1]
                )
                writer.add_scalar("val/loss", result.val_loss, progress.step)
                writer.add_scalar("val/hit@1", result.val_hit_at_1, progress.step)
            history.append(result)
            card = _card(config, model, result, train_set, progress)
            checkpoint.save_model(run / LAST, model, card)
            if val_set is not None and _is_best(history):
                checkpoint.save_model(run / BEST, model, card)
            _write_history(run, history)
            progress = dataclasses.replace(
                progress, epoch=epoch + 1, step_in_epoch=0, loss_sum=0.0, hits=0, clips=0
            )
            training_state.save_state(run, model, optimizer, progress)
            saved_at = time.monotonic()
            listener.epoch(result)
            if stop:
                raise KeyboardInterrupt(stop[0])
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
        evaluation = evaluate(run, val_set, clips=1, crops=1, workers=workers)
        evaluation.save(run)
    write_report(run, evaluation)
    return run


# --- steps that the loop calls, in order ---------------------------------------------------------


def _saved_config(run: Path, given: TrainConfig) -> TrainConfig:
    """The settings a run was started with; those given now must say the same."""
    path = run / "config.json"
    if not path.is_file():
        raise ValueError(f"There is no run to resume in {run}: it has no config.json.")
    saved = from_json(path.read_text(encoding="utf-8"), str(path))
    if given not in (saved, TrainConfig()):
        old, new = (json.loads(to_json(config)) for config in (saved, given))
        changed = [name for name in old if old[name] != new[name]]
        raise ValueError(
            f"{run} was started with other settings of {', '.join(changed)}. "
            f"Resume it without changing them, or start another run."
        )
    return saved


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


def freeze(model: nn.Module, until: str | None, batch_norm: bool) -> list[nn.Module]:
    """Switch off gradients of everything up to and including a module, in order of definition.

    Args:
        model: is changed in place.
        until: the name of the last frozen module, as `model.named_modules()` gives it, or None.
        batch_norm: also keep every batch norm as it is.

    Returns:
        The modules to hold in eval mode: a frozen batch norm must not update its statistics.

    Raises:
        ValueError: no module has that name.
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
    still = []
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        normalises = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if normalises and (batch_norm or (own and not any(p.requires_grad for p in own))):
            for parameter in own:
                parameter.requires_grad_(False)
            still.append(module)
    return still


def _optimizer(model: nn.Module, config: TrainConfig, peak_lr: float) -> torch.optim.Optimizer:
    """Four groups: head and backbone, with and without weight decay."""
    head = {id(parameter) for parameter in model.head.parameters()}  # type: ignore[union-attr]
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            scale = 1.0 if id(parameter) in head else config.optim.backbone_lr_scale
            # Biases and norms have one dimension; decaying them only hurts.
            decay = config.optim.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    settings = [
        {"params": parameters, "weight_decay": decay, "scale": scale, "lr": peak_lr * scale}
        for (scale, decay), parameters in groups.items()
    ]
    if config.optim.name == "sgd":
        return torch.optim.SGD(settings, lr=peak_lr, momentum=config.optim.momentum, nesterov=True)
    return torch.optim.AdamW(settings, lr=peak_lr)


def _schedule(step: int, warmup_steps: int, total_steps: int, config: TrainConfig) -> float:
    """The learning rate of a step as a share of the peak: linear warm-up, then the curve."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if config.optim.schedule == "constant":
        return 1.0
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


def _not_finite(loss: Tensor, examples: list[Clip], manifest: Manifest, lr: float) -> str:
    names = ", ".join(example_name(manifest.rows[example.row]) for example in examples[:8])
    return (
        f"The loss is {loss.item()} at learning rate {lr:.2g}, on: {names}. The last whole state "
        f"is kept; try a tenth of --optim.lr."
    )


def _validate(
    model: nn.Module, val_set: Manifest, config: TrainConfig, device: str
) -> tuple[float, float]:
    """Mean loss and hit@1 on one centre clip of each validation video."""
    scores = score_videos(
        model, val_set, clips=1, crops=1, workers=config.data.workers, device=device
    )
    if scores.ledger.failures and not config.data.skip_bad:
        worst = scores.ledger.failures[0]
        raise VideoError(worst.item, worst.message.partition(": ")[2], code=worst.code)
    result = summarise(scores, val_set, {})
    own = result.scores[range(len(result.labels)), result.labels]
    return float(-np.log(np.maximum(own, 1e-12)).mean()), result.hit_at_1


def _is_best(history: list[Epoch]) -> bool:
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
    return Card(config.model.name, dict(config.model.options), classes, spec, notes)


def _read_history(run: Path, progress: Progress) -> list[Epoch]:
    """The epochs that are over in the state resumed from; later lines will be written again."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    epochs = [Epoch(**json.loads(line)) for line in lines]
    return [epoch for epoch in epochs if epoch.epoch <= progress.epoch]


def _write_history(run: Path, history: list[Epoch]) -> None:
    lines = [json.dumps(dataclasses.asdict(epoch)) for epoch in history]
    write_text(run / "metrics.jsonl", "".join(line + "\n" for line in lines))


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """Turn Ctrl-C and SIGTERM into a wish that the loop grants after the step at hand."""
    wishes: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield wishes  # signals belong to the main thread
        return
    numbers = (signal.SIGINT, signal.SIGTERM)

    def wish(number: int, _: object) -> None:
        if wishes:  # asked twice: at once, without saving
            raise KeyboardInterrupt(signal.Signals(number).name)
        wishes.append(signal.Signals(number).name)

    before = [signal.signal(number, wish) for number in numbers]
    try:
        yield wishes
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
