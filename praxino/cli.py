"""The command line: arguments only. Each command is one call into the file named after it.

Nothing here imports torch before a command runs, so that `--help` is quick.
"""

import dataclasses
import glob
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table

from praxino import __version__
from praxino.atomic import write_text
from praxino.did_you_mean import did_you_mean
from praxino.errors import (
    EXIT_ENVIRONMENT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SOME_ITEMS_FAILED,
    EXIT_USAGE,
    EnvironmentFault,
    VideoError,
)
from praxino.ledger import Ledger

if TYPE_CHECKING:
    from rich.progress import Progress

    from praxino.recipe import TrainConfig

app = App(
    name="praxino",
    version=__version__,
    help="Names the actions in a video. Train, evaluate and predict, from a folder of clips.",
    help_format="plaintext",  # Markdown would cost a third of the start-up time
)
data = App(name="data", help="Make, import and inspect labelled videos.")
app.command(data)

# A pipe or a file has no width to fit into, and a table cut off there is a number lost.
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)
err = Console(stderr=True)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command; whatever goes wrong becomes one line and an exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("praxino").setLevel(logging.INFO)
    try:
        return _call(app, arguments)
    except CycloptsError as error:
        return _fail(str(error), EXIT_USAGE)
    except (EnvironmentFault, OSError, FloatingPointError) as error:
        return _fail(str(error), EXIT_ENVIRONMENT)
    except VideoError as error:
        return _fail(str(error), EXIT_SOME_ITEMS_FAILED)
    except (ValueError, TypeError) as error:
        return _fail(str(error), EXIT_USAGE)
    except RuntimeError as error:
        # Out of memory, and workers that died of it, are the machine's; the rest is our mistake.
        if type(error).__name__ == "OutOfMemoryError" or "DataLoader worker" in str(error):
            return _fail(str(error), EXIT_ENVIRONMENT)
        raise
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)


def _call(program: App, arguments: list[str]) -> int:
    code = _parse(program, arguments)
    return code if isinstance(code, int) else EXIT_OK


def _parse(program: App, arguments: list[str]) -> Any:
    """Run a command line; errors are raised, for `run` to print in one line."""
    return program(arguments, exit_on_error=False, print_error=False, result_action="return_value")


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"praxino: {line}", file=sys.stderr)
    return code


# --- predict -------------------------------------------------------------------------------------


@app.command
def predict(
    videos: Annotated[list[str], Parameter(help="Files, folders or glob patterns.")],
    /,
    *,
    model: str,
    top: int = 5,
    clips: int = 10,
    every: float | None = None,
    save: Path | None = None,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
    csv: Path | None = None,
    ledger: Path | None = None,
    device: str | None = None,
) -> int:
    """Name the actions in videos.

    Args:
        videos: files, folders or glob patterns.
        model: a run folder or checkpoint.
        top: how many actions to show.
        clips: the answer is the mean over this many clips, evenly spread.
        every: look at the whole video instead, a clip every so many seconds; memory stays flat.
        save: write the video with its scores drawn on it (a folder, if there are several videos).
        json_: write everything as JSON.
        csv: write `video,label,score`.
        ledger: write one line per video: ok, partial or failed.
        device: cpu or cuda; the GPU if there is one.
    """
    from praxino.checkpoint import load_model
    from praxino.datasets.folder import find_videos
    from praxino.predict import predict as recognise
    from praxino.results import Recognition, table_csv

    paths = list(_expand(videos, find_videos))
    network = load_model(model)
    record = Ledger()
    results: list[Recognition] = []
    # Drawn scores follow time, so saving needs the whole video looked at.
    if every is None and save is not None:
        every = 1.0
    # What is asked for on standard output must be alone there.
    table = err if "-" in (str(json_), str(csv)) else out
    for path in paths:
        name = str(path)
        try:
            result = recognise(path, network, clips=clips, every_seconds=every, device=device)
            if save is not None:
                target = _free_name(save, path.stem) if len(paths) > 1 else save
                err.print(f"Wrote {result.save(target)}", soft_wrap=True, highlight=False)
        except VideoError as error:
            record.failed(name, error)
            _fail(str(error), EXIT_SOME_ITEMS_FAILED)
            continue
        if result.short is None:
            record.ok(name)
        else:
            record.partial(name, *result.short)
            _fail(f"{path.name}: only {record.entries[name].message}.", EXIT_OK)
        results.append(result)
        table.print(_top_table(result, top))
    if json_ is not None:
        _write(json_, json.dumps([one.to_dict() for one in results], indent=2, ensure_ascii=False))
    if csv is not None:
        _write(csv, table_csv(results))
    if ledger is not None:
        record.write(ledger)
    if len(paths) > 1:
        _print_counts(record, table)
    return record.exit_code


def _expand(patterns: list[str], find_videos: Callable[[Path], list[Path]]) -> Iterator[Path]:
    """Files as they are, folders and patterns as the videos they hold; each once."""
    seen = set()
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = find_videos(path)
        elif path.exists() or not glob.has_magic(pattern):
            found = [path]  # a name with brackets in it is still a name
        else:
            found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
        if not found:
            raise ValueError(f"No video in {pattern!r}.")
        for one in found:
            if one not in seen:
                seen.add(one)
                yield one


def _free_name(folder: Path, stem: str) -> Path:
    """`folder/stem.mp4`, or `stem-2.mp4` if that is taken: videos of one name never mix."""
    path, number = folder / f"{stem}.mp4", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.mp4"
    return path


def _top_table(result: Any, top: int) -> Table:
    table = Table(title=result.video, title_justify="left", box=None, pad_edge=False)
    table.add_column("score", justify="right")
    table.add_column("action")
    table.add_column("")
    for name, score in result.top(top):
        table.add_row(f"{score:.1%}", name, "[blue]" + "█" * round(score * 30) + "[/]")
    return table


# --- train ---------------------------------------------------------------------------------------

Tokens = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]


@app.command(help_flags=[])
def train(*tokens: Tokens) -> int:
    """Train a model on a folder of class folders, a manifest, or as a recipe says."""
    return _train_command("train", list(tokens))


@app.command(help_flags=[])
def baseline(*tokens: Tokens) -> int:
    """Train the single-frame model first: what can be known from how things look?"""
    return _train_command("baseline", list(tokens))


def _train_command(command: str, arguments: list[str]) -> int:
    """Parse with the recipe's own values as defaults, so that a flag changes a single setting."""
    from praxino.recipe import TrainConfig, from_json, load_recipe

    base = TrainConfig()  # its model is the single-frame CNN
    recipe = next((word for word in arguments if word[:1] != "-" and ".py:" in word), None)
    if recipe is not None:
        base = load_recipe(recipe)
    parsed = _parse_training(command, arguments, base)
    if isinstance(parsed, int):  # the help was asked for
        return parsed
    config, run, resume = parsed
    if resume and (run / "config.json").is_file():
        # Settings that are not given again are those of the run.
        saved = from_json((run / "config.json").read_text(encoding="utf-8"))
        config, run, resume = _parse_training(command, arguments, saved)
    return _train(config, run, resume)


def _parse_training(command: str, arguments: list[str], base: "TrainConfig") -> Any:
    """The config, the run folder, and whether to resume; or an exit code after `--help`."""
    from praxino.recipe import tiny

    def train(
        source: str,
        /,
        *,
        run: Path | None = None,
        resume: bool = False,
        tiny_: Annotated[bool, Parameter(name="--tiny", negative="")] = False,
        config: Any = None,
    ) -> Any:
        """Train a model on a folder of class folders, a manifest, or as a recipe says.

        Args:
            source: a folder, a .csv or .parquet manifest, or recipes/file.py:function.
            run: the folder for checkpoints, curves and report; runs/SOURCE unless given.
            resume: go on where the run in that folder stopped.
            tiny_: the same in about two minutes: two epochs over four videos of each class.
            config: all other settings, each by its own flag.
        """
        settings = base if config is None else _as_config(base, config)
        if ".py:" not in source:
            settings = dataclasses.replace(
                settings, data=dataclasses.replace(settings.data, source=source)
            )
        if resume and run is None:
            raise ValueError("--resume needs --run: the folder of the run that is to go on.")
        return tiny(settings) if tiny_ else settings, run or _run_folder(source), resume

    kind = _with_defaults(base)
    train.__annotations__["config"] = Annotated[kind | None, Parameter(name="*")]
    program = App(name=f"praxino {command}")
    program.default(train)
    found = _parse(program, arguments)
    return EXIT_OK if found is None else found


def _with_defaults(config: Any) -> Any:
    """A class like the config's own whose defaults are the config's values."""
    hints, fields = get_type_hints(type(config)), []
    for one in dataclasses.fields(config):
        value, kind = getattr(config, one.name), hints[one.name]
        if dataclasses.is_dataclass(value):
            kind = _with_defaults(value)
            fields.append((one.name, kind, dataclasses.field(default_factory=kind)))
        elif isinstance(value, dict):
            copy: Any = dataclasses.field(default_factory=partial(dict, value))
            fields.append((one.name, kind, copy))
        else:
            fields.append((one.name, kind, dataclasses.field(default=value)))
    copied = dataclasses.make_dataclass(type(config).__name__, fields, frozen=True)
    # The help texts live in the docstring; cyclopts takes a class of module `types` for built in.
    copied.__doc__, copied.__module__ = type(config).__doc__, __name__
    return copied


def _as_config(base: Any, parsed: Any) -> Any:
    """What was parsed into a class of `_with_defaults`, as the real config."""
    values = {}
    for one in dataclasses.fields(base):
        old, new = getattr(base, one.name), getattr(parsed, one.name)
        if dataclasses.is_dataclass(old):
            new = _as_config(old, new)
        elif isinstance(old, dict):
            new = {**old, **new}
        values[one.name] = new
    return dataclasses.replace(base, **values)


def _train(config: "TrainConfig", run: Path, resume: bool) -> int:
    from praxino.train import train as run_training

    with _training_progress() as listener:
        folder = run_training(config, run, resume=resume, listener=listener)
    out.print(f"Model: {folder}  Report: {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return EXIT_OK


def _run_folder(source: str) -> Path:
    """`runs/my_videos`, or `runs/my_videos-2` if that is taken."""
    name = source.rpartition(":")[2] if ".py:" in source else Path(source).resolve().stem
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


@contextmanager
def _training_progress() -> Iterator[Any]:
    """A bar on a terminal, a line per epoch elsewhere."""
    from praxino.train import Epoch, Listener

    def line(epoch: Epoch) -> str:
        said = (
            f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}  hit@1 {epoch.train_hit_at_1:.1%}"
        )
        if epoch.val_hit_at_1 is not None:
            said += f"  validation: loss {epoch.val_loss:.3f}  hit@1 {epoch.val_hit_at_1:.1%}"
        return said

    if not err.is_terminal:
        yield Listener(
            said=lambda text: print(text, file=sys.stderr, flush=True),
            epoch=lambda epoch: print(line(epoch), file=sys.stderr, flush=True),
        )
        return
    with _progress_bar() as bar:
        task = bar.add_task("starting", total=None)

        def step(epoch: int, done: int, steps: int, loss: float) -> None:
            bar.update(
                task, description=f"epoch {epoch + 1}  loss {loss:.3f}", completed=done, total=steps
            )

        yield Listener(said=bar.print, step=step, epoch=lambda epoch: bar.print(line(epoch)))


# --- evaluate ------------------------------------------------------------------------------------


@app.command
def evaluate(
    run: Path,
    /,
    *,
    data: Path | None = None,
    videos: Path | None = None,
    split: str = "test",
    clips: int = 10,
    crops: Literal[1, 3, 10] | None = None,
    output: Path | None = None,
    workers: int | None = None,
    device: str | None = None,
) -> int:
    """Measure a model on labelled videos, by a stated protocol.

    Args:
        run: a run folder or checkpoint; or a result.json, to measure the same again.
        data: a manifest or a folder of class folders.
        videos: where the videos are, if not beside the manifest.
        split: which rows; "all" takes every row.
        clips: clips per video, evenly spread.
        crops: crops per clip: 1 centre, 3 along the long side, 10 corners and mirrored; 3 unless
            the model looks at the whole picture.
        output: where to write predictions, confusion matrix and report; the run folder.
        workers: loader processes.
        device: cpu or cuda; the GPU if there is one.
    """
    from praxino.datasets.source import open_source
    from praxino.evaluate import evaluate as measure
    from praxino.evaluate import evaluate_again
    from praxino.report import write_report

    if run.suffix == ".json":
        with _bar("evaluating") as progress:
            result, saved = evaluate_again(run, workers=workers, device=device, progress=progress)
        _print_evaluation(result)
        for name, value in result.numbers().items():
            out.print(f"{name}: {saved[name]:.6f} saved, {value:.6f} now", highlight=False)
        return EXIT_OK if result.numbers().items() <= saved.items() else EXIT_SOME_ITEMS_FAILED
    if data is None:
        raise ValueError("praxino evaluate needs --data: a manifest or a folder of class folders.")
    manifest = open_source(data, root=videos)
    with _bar("evaluating") as progress:
        result = measure(
            run,
            manifest,
            split="" if split == "all" else split,
            clips=clips,
            crops=crops,
            workers=workers,
            device=device,
            progress=progress,
        )
    folder = output or (run if run.is_dir() else run.parent)
    result.save(folder)
    write_report(folder, result)
    _print_evaluation(result)
    out.print(f"Report: {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return result.ledger.exit_code


def _print_evaluation(result: Any) -> None:
    table = Table(box=None, pad_edge=False)
    titles = ("clip hit@1", "video hit@1", "video hit@5", "mean class accuracy")
    values = (result.clip_hit_at_1, result.hit_at_1, result.hit_at_5, result.mean_class_accuracy)
    for title in titles:
        table.add_column(title, justify="right")
    table.add_row(*(f"{value:.2%}" for value in values))
    out.print(table)
    out.print(result.protocol_line(), style="dim", soft_wrap=True, highlight=False)
    for entry in result.ledger.failures:
        _fail(f"{entry.message} It counts as wrong.", EXIT_SOME_ITEMS_FAILED)
    if result.ledger.failures:
        _print_counts(result.ledger)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    if not err.is_terminal:
        yield None
        return
    with _progress_bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)


def _progress_bar() -> "Progress":
    """A bar on standard error that is gone when the work is done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err, transient=True)


def _print_counts(ledger: Ledger, console: Console = out) -> None:
    counts = ", ".join(f"{number} {status}" for status, number in ledger.counts.items() if number)
    console.print(f"{len(ledger.entries)} videos: {counts}", highlight=False)


# --- models --------------------------------------------------------------------------------------


@app.command
def models(
    name: str | None = None,
    /,
    *,
    frames: int | None = None,
    size: int | None = None,
    classes: int | None = None,
) -> None:
    """List all models, or the layers of one.

    Args:
        name: a model, or a pattern such as "r3d*"; none: the whole table.
        frames: frames of the clip in the layer table; as the model was designed, unless given.
        size: height and width of the clip in the layer table.
        classes: how many classes to build it for.
    """
    from praxino.model_tables import print_layers, print_models
    from praxino.models import MODELS, list_models

    if name in MODELS:
        print_layers(out, name, frames=frames, size=size, classes=classes)
        return
    found = list_models(name or "*")
    if not found:
        raise ValueError(f"There is no model named {name!r}.{did_you_mean(name or '', MODELS)}")
    print_models(out, found)


# --- data ----------------------------------------------------------------------------------------


@data.command
def pointlight(
    folder: Path,
    /,
    *,
    variant: Literal["motion", "appearance"] = "motion",
    videos_per_class: int = 60,
    seed: int = 0,
) -> None:
    """Render the built-in data set: actions as moving dots.

    Args:
        folder: where the videos and manifest.csv go.
        variant: classes told apart by motion (and order), or by appearance alone.
        videos_per_class: how many videos of each action.
        seed: the same seed gives the same videos.
    """
    from praxino.datasets.pointlight import render_pointlight

    manifest = render_pointlight(
        folder, variant=variant, videos_per_class=videos_per_class, seed=seed
    )
    out.print(f"Wrote {manifest}", soft_wrap=True, highlight=False)


@data.command(name="import")
def import_(
    name: str,
    /,
    *annotations: Path,
    videos: Path,
    to: Path,
    split: int | None = None,
    test: str | None = None,
    num_classes: int | None = None,
) -> None:
    """Turn a benchmark's official files into a manifest.

    Args:
        name: ucf101, hmdb51, kth, kinetics or ut_interaction.
        annotations: the official files or folder; ut_interaction needs none.
        videos: the folder of the videos.
        to: the manifest to write, .parquet or .csv.
        split: which official split (ucf101, hmdb51).
        test: the set to test on, set1 or set2; the other is trained on (ut_interaction).
        num_classes: 400, 600 or 700 (kinetics).
    """
    from praxino.datasets import READERS
    from praxino.datasets.ut_interaction import cross_set

    if name not in READERS:
        raise ValueError(f"There is no reader named {name!r}.{did_you_mean(name, READERS)}")
    options = {"split": split, "num_classes": num_classes}
    given = {key: value for key, value in options.items() if value is not None}
    known = inspect.signature(READERS[name]).parameters
    for option in given:
        if option not in known:
            raise ValueError(f"The reader of {name} has no option --{option.replace('_', '-')}.")
    if len(annotations) > 1:
        raise ValueError(f"{name} reads one file or folder, got {len(annotations)}.")
    if not annotations and name != "ut_interaction":
        raise ValueError(f"{name} needs the official annotation file or folder after its name.")
    manifest = READERS[name](annotations[0] if annotations else None, videos, **given)
    if test is not None:
        if name != "ut_interaction":
            raise ValueError(f"The reader of {name} has no option --test.")
        manifest = cross_set(manifest, test)
    listed = len(manifest)
    manifest, sentence = manifest.drop_missing()
    if not len(manifest):
        raise ValueError(f"None of the {listed} videos that {name} lists is in {videos}.")
    inside = videos.resolve().is_relative_to(to.resolve().parent)
    manifest.write(to, keep_root=not inside)
    out.print(sentence, highlight=False, soft_wrap=True)
    hint = "" if inside else f" (its videos: --data.videos {videos})"
    out.print(f"Wrote {to}{hint}", highlight=False, soft_wrap=True)


@app.command
def size(
    width: int,
    height: int,
    /,
    *,
    fps: float = 30.0,
    minutes: float = 1.0,
    frames: int | None = None,
) -> None:
    """How many bytes uncompressed video takes.

    Args:
        width: pixels.
        height: pixels.
        fps: frames per second.
        minutes: of video.
        frames: of a clip, instead of minutes.
    """
    from praxino.video.size import clip_bytes, raw_video_bytes

    count = (
        clip_bytes(frames, height, width)
        if frames
        else raw_video_bytes(width, height, fps, 60 * minutes)
    )
    out.print(
        f"{count:,} bytes = {count / 1e9:.3g} GB = {count / 2**30:.3g} GiB"
        if count >= 10**8
        else f"{count:,} bytes = {count / 2**10:.6g} KiB",
        highlight=False,
    )


@app.command
def demo(folder: Path = Path("demo"), /) -> int:
    """Render point lights, train two models, and show what each of them can see.

    Args:
        folder: where everything goes.
    """
    from praxino.demo import run_demo

    run_demo(folder, out)
    return EXIT_OK


def _write(path: Path, text: str) -> None:
    """Write to a file, or to standard output for `-`."""
    if str(path) == "-":
        print(text)
    else:
        write_text(path, text)
        out.print(f"Wrote {path}", soft_wrap=True, highlight=False)
