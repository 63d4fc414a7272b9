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
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, ArgumentCollection, CycloptsError, Group, Parameter

from praxino import __version__
from praxino.atomic import check_writable
from praxino.command.exits import complain_of_stop, in_one_line, leave, start
from praxino.command.terminal import (
    bar_of,
    complain,
    err,
    out,
    print_counts,
    print_evaluation,
    print_fusion,
    print_top,
    say,
    training_progress,
    write,
)
from praxino.command.usage import (
    file_or_standard_output,
    in_words,
    refuse_long_dashes,
    whole_numbers_only,
)
from praxino.computing import Engine, Precision
from praxino.did_you_mean import did_you_mean
from praxino.errors import EXIT_OK, EXIT_SOME_ITEMS_FAILED, VideoError
from praxino.ledger import Ledger
from praxino.video.decoding import Backend, Window
from praxino.video.flow_methods import FlowMethod

if TYPE_CHECKING:
    from torch import nn

    from praxino.command.doctor import Finding
    from praxino.recipe import TrainConfig

EXAMPLES = """Examples, on a folder with one folder of videos for each action:

  praxino train my_videos
  praxino evaluate runs/my_videos --data my_videos --split all
  praxino predict new.mp4 --model runs/my_videos
  praxino video new.mp4

praxino COMMAND --help tells the options of a command."""

VIDEOS = Group("Videos", sort_key=1)
MODELS = Group("Models", sort_key=2)
REST = Group("Find your way", sort_key=3)

app = App(
    name="praxino",
    version=__version__,
    help="Names the actions in a video. Train, evaluate and predict, from a folder of clips.",
    help_epilogue=EXAMPLES,
    help_format="plaintext",  # Markdown would cost a third of the start-up time
    suppress_keyboard_interrupt=False,
    console=out,
    default_parameter=Parameter(converter=whole_numbers_only, negative_iterable=""),
)
data = App(name="data", help="Make labelled videos, or import those of a benchmark.", group=VIDEOS)
app.command(data)
explain = App(
    name="explain", help="Look into architectures: pictures, and what they cost.", group=MODELS
)
app.command(explain)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    start()
    leave(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command; whatever goes wrong becomes one line and an exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("praxino").setLevel(logging.INFO)
    return in_one_line(lambda: _call(app, arguments))


def _call(program: App, arguments: list[str]) -> int:
    code = _parse(program, arguments)
    return code if isinstance(code, int) else EXIT_OK


def _parse(program: App, arguments: list[str]) -> Any:
    """Run a command line.

    Raises:
        ValueError: it cannot be parsed; in one line, with the nearest name.
    """
    refuse_long_dashes(arguments)
    try:
        return program(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        words = [*program.name, *(error.command_chain or ())]
        command = " ".join(words).removeprefix("praxino").strip()
        raise ValueError(in_words(error, command, arguments_by_command())) from None


@cache
def arguments_by_command() -> dict[str, ArgumentCollection]:
    """Every command, by its words after `praxino`, and its arguments and options."""
    from praxino.recipe import TrainConfig

    found: dict[str, ArgumentCollection] = {}

    def add(words: str, program: App) -> None:
        commands = [name for name in program if not name.startswith("-")]
        for name in commands:
            add(f"{words} {name}".strip(), program[name])
        if commands:
            return
        if words in ("train", "baseline"):  # they parse by themselves
            program = _training_program(words, TrainConfig())
        found[words] = program.assemble_argument_collection(parse_docstring=True)

    add("", app)
    return found


Output = Annotated[Path, Parameter(allow_leading_hyphen=True, validator=file_or_standard_output)]
Untrusted = Annotated[bool, Parameter(negative="")]


# --- predict -------------------------------------------------------------------------------------


@app.command(group=VIDEOS)
def predict(
    videos: Annotated[list[str], Parameter(help="Files, folders or glob patterns.")],
    /,
    *,
    model: str,
    top: int = 5,
    clips: int | None = None,
    every: float | None = None,
    save: Path | None = None,
    json_: Annotated[Output | None, Parameter(name="--json")] = None,
    csv: Output | None = None,
    ledger: Path | None = None,
    device: str | None = None,
    precision: Precision = "auto",
    engine: Engine = "torch",
    backend: Backend = "pyav",
    untrusted: Untrusted = False,
    window: Window | None = None,
    flow: str | None = None,
) -> int:
    """Name the actions in videos.

    Args:
        videos: files, folders or glob patterns.
        model: a run folder or checkpoint.
        top: how many actions to show.
        clips: the answer is the mean over this many clips, evenly spread; 10 unless given.
        every: look at the whole video instead, a clip every so many seconds; memory stays flat.
        save: write the video with its scores drawn on it (.mp4), or a timeline (.png); a folder
            takes an .mp4 for each video. Scores follow time, so this looks at a clip every second,
            unless --clips or --every says otherwise.
        json_: write everything as JSON; - is standard output.
        csv: write video, label and score; - is standard output.
        ledger: write one line per video: ok, partial, failed or skipped.
        device: cpu or cuda; the GPU if there is one.
        precision: of the model's numbers; auto is bf16 where the processor has units for it.
        engine: what computes the model; compile and openvino prepare it first, once.
        backend: what decodes the videos.
        untrusted: decode each in a locked process of its own, bounded in memory and time.
        window: of volumes: centre and width of what is shown, in Hounsfield units of CT; that of
            the model's training unless given.
        flow: for models that see it: a method that computes it, or a folder that praxino flow has
            filled; the method of the model's training unless given.
    """
    from praxino.datasets.folder import find_videos
    from praxino.predict import predict as recognise
    from praxino.results import Recognition, table_csv
    from praxino.weights.checkpoint import load_model

    if top < 1:
        raise ValueError(f"--top must be at least 1, got {top}.")
    if clips is not None and every is not None:
        raise ValueError(
            "--clips and --every are two ways of looking at a video. Give one of them."
        )
    if not model:
        raise ValueError("--model is empty. Name a run folder or a checkpoint.")
    paths = list(_expand(videos, find_videos))
    targets = _targets(save, paths)
    _check_outputs([*targets.values()], [json_, csv, ledger], paths)
    network = load_model(model)
    record = Ledger()
    results: list[Recognition] = []
    if save is not None and every is None and clips is None:
        every = 1.0
    # What is asked for on standard output must be alone there.
    console = err if "-" in (str(json_), str(csv)) else out
    try:
        for path in paths:
            try:
                result = recognise(
                    path,
                    network,
                    clips=10 if clips is None else clips,
                    every_seconds=every,
                    device=device,
                    precision=precision,
                    engine=engine,
                    backend=backend,
                    untrusted=untrusted,
                    window=window,
                    flow=flow,
                )
                if save is not None:
                    say(err, f"Wrote {result.save(targets[path])}")
            except VideoError as error:
                record.failed(str(path), error)
                complain(f"{path}: {error.message}", EXIT_SOME_ITEMS_FAILED)
                continue
            if result.short is None:
                record.ok(str(path))
            else:
                record.partial(str(path), *result.short)
                complain(f"{path}: only {record.entries[str(path)].message}.", EXIT_OK)
            results.append(result)
            try:
                print_top(console, result, top)
            except BrokenPipeError:
                if not (save or json_ or csv or ledger):
                    raise
                console.quiet = True  # whoever read has seen enough; the files are still wanted
    finally:  # what is done is kept, whatever has stopped the rest
        _skip_the_rest(record, paths)
        if json_ is not None:
            said = json.dumps([one.to_dict() for one in results], indent=2, ensure_ascii=False)
            write(json_, said)
        if csv is not None:
            write(csv, table_csv(results))
        if ledger is not None:
            record.write(ledger)
    if len(paths) > 1:
        print_counts(record, console)
    return record.exit_code


def _skip_the_rest(record: Ledger, paths: list[Path]) -> None:
    """Give the videos that a stopped job has not come to their line in the ledger."""
    for path in paths:
        if str(path) not in record.entries:
            record.skipped(str(path), "not_reached", "the job was stopped before it")


def _check_outputs(drawn: list[Path], tables: list[Path | None], inputs: list[Path]) -> None:
    """Refuse to write what cannot be written, or over a video, before any work is done.

    Raises:
        ValueError: an output is one of the inputs, or a table would take a video's place.
        EnvironmentFault: a folder cannot be written to.
    """
    from praxino.datasets.folder import VIDEO_SUFFIXES
    from praxino.video.volume import VOLUME_SUFFIXES

    sources = {path.resolve() for path in inputs}
    files = [path for path in tables if path is not None and str(path) != "-"]
    for path in (*drawn, *files):
        if path.resolve() in sources:
            raise ValueError(f"{path} is one of the videos to be read. Write to another place.")
        check_writable(path)
    for path in files:
        if path.name.lower().endswith((*VIDEO_SUFFIXES, *VOLUME_SUFFIXES)):
            raise ValueError(f"{path} would be a table named like a video. Call it .json or .csv.")


def _targets(save: Path | None, paths: list[Path]) -> dict[Path, Path]:
    """Where each video is saved: in a file for one of them, in a folder for any number.

    Raises:
        ValueError: a file for several videos, or a suffix that is no picture.
    """
    if save is None:
        return {}
    if save.suffix and not save.is_dir():
        if len(paths) > 1:
            raise ValueError(
                f"{save} is one file, and there are {len(paths)} videos. Name a folder."
            )
        if save.suffix.lower() not in (".mp4", ".png"):
            raise ValueError(f"Cannot save a drawn video as {save.name!r}: use .mp4, or .png.")
        return {paths[0]: save}
    targets: dict[Path, Path] = {}
    for path in paths:
        # Two videos of one name are told apart by their folders, then by number.
        names = [path.stem, f"{path.parent.name}-{path.stem}"]
        names += [f"{names[1]}-{number}" for number in range(2, len(paths) + 2)]
        taken = set(targets.values())
        free = (save / f"{name}.mp4" for name in names)
        targets[path] = next(target for target in free if target not in taken)
    return targets


def _expand(patterns: list[str], find_videos: Callable[[Path], list[Path]]) -> Iterator[Path]:
    """Files as they are, folders and patterns as the videos they hold; each once."""
    seen = set()
    for pattern in patterns:
        if not pattern:
            raise ValueError("A video's name is empty.")
        path = Path(pattern)
        if "://" in pattern and not path.exists():
            raise ValueError(
                f"{pattern} is a URL. praxino reads local files only: download it first."
            )
        if path.is_dir():
            found = find_videos(path)
        elif path.exists() or not glob.has_magic(pattern):
            found = [path]  # a name with brackets in it is still a name
        else:
            found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
        if not found and len(patterns) == 1:
            raise ValueError(f"No video in {pattern!r}.")
        found = found or [path]  # one item of several, which fails by itself
        for one in found:
            if one not in seen:
                seen.add(one)
                yield one


# --- video ---------------------------------------------------------------------------------------


@app.command(group=VIDEOS)
def video(
    files: Annotated[list[str], Parameter(help="Files, folders or glob patterns.")],
    /,
    *,
    json_: Annotated[Output | None, Parameter(name="--json")] = None,
    ledger: Path | None = None,
    backend: Backend = "pyav",
    untrusted: Untrusted = False,
    window: Window | None = None,
) -> int:
    """Tell what video files really hold: every frame is decoded and counted.

    Args:
        files: files, folders or glob patterns; several give a line each.
        json_: write everything as JSON; - is standard output.
        ledger: write one line per video: ok, partial, failed or skipped.
        backend: what decodes the videos.
        untrusted: decode each in a locked process of its own, bounded in memory and time.
        window: of volumes: centre and width of what is shown, in Hounsfield units of CT.
    """
    from praxino.command.video_report import (
        HEADINGS,
        failed_dict,
        failed_row,
        page,
        report_video,
        row,
    )
    from praxino.datasets.folder import find_videos

    paths = list(_expand(files, find_videos))
    _check_outputs([], [json_, ledger], paths)
    record, found, several, whole = Ledger(), [], len(paths) > 1, 0
    told = str(json_) != "-"  # what is asked for on standard output must be alone there
    if several and told:
        say(out, HEADINGS)
    try:
        with bar_of("reading") as progress:
            for number, path in enumerate(paths):
                try:
                    report = report_video(path, backend=backend, untrusted=untrusted, window=window)
                except VideoError as error:
                    record.failed(str(path), error)
                    found.append(failed_dict(str(path), error))
                    if several and told:
                        say(out, failed_row(str(path), error))
                    else:
                        complain(f"{path}: {error.message}", EXIT_SOME_ITEMS_FAILED)
                else:
                    report.record(record)
                    found.append(report.to_dict())
                    whole += not report.damaged
                    if told:
                        for line in [row(report)] if several else page(report):
                            say(out, line)
                if progress is not None:
                    progress(number + 1, len(paths))
    finally:  # what is done is kept, whatever has stopped the rest
        _skip_the_rest(record, paths)
        if json_ is not None:
            write(json_, json.dumps(found, indent=2, ensure_ascii=False))
        if ledger is not None:
            record.write(ledger)
    if several and told:
        print_counts(record)
    return EXIT_OK if whole == len(paths) else EXIT_SOME_ITEMS_FAILED


# --- flow ----------------------------------------------------------------------------------------


@app.command(group=VIDEOS)
def flow(
    videos: Annotated[list[str], Parameter(help="Files, folders or glob patterns.")],
    /,
    *,
    output: Path | None = None,
    picture: Path | None = None,
    method: FlowMethod = "dis",
    short_side: int | None = None,
    warped: Annotated[bool, Parameter(negative="")] = False,
    images: Annotated[bool, Parameter(negative="")] = False,
    ledger: Path | None = None,
    device: str | None = None,
    untrusted: Untrusted = False,
) -> int:
    """Compute the optical flow of videos, for two-stream networks or to look at.

    What is already in the folder, whole and made in the same way, is not computed again.

    Args:
        videos: files, folders or glob patterns.
        output: the folder for the flow; a file for each video, in the folders that they lie in.
        picture: draw one video's flow instead: .png for three moments, .mp4 or .gif for all.
        method: how; dis is quick, tvl1 is what published networks were trained on.
        short_side: resize the videos to this first, in pixels.
        warped: take the camera's motion out.
        images: write folders of JPEG pictures, as denseflow does, instead of packed files.
        ledger: write one line per video: ok, partial, failed or skipped.
        device: cpu or cuda, of lucas_kanade, torch_tvl1 and raft; the GPU if there is one.
        untrusted: decode each in a locked process of its own, bounded in memory and time.
    """
    from praxino.datasets.folder import find_videos
    from praxino.flow import draw_flow, names_in_store, store_flow

    names = names_in_store(_expand(videos, find_videos), videos)
    if (output is None) == (picture is None):
        raise ValueError("flow needs either --output, a folder to keep it in, or --picture.")
    if picture is not None and (images or ledger is not None):
        raise ValueError("--picture draws one video; --images and --ledger go with --output.")
    if picture is not None and len(names) != 1:
        raise ValueError(f"--picture draws one video, and there are {len(names)}. Name one.")
    _check_outputs([one for one in (picture,) if one], [ledger], list(names))
    with bar_of("computing flow") as progress:
        if picture is not None:
            (path,) = names
            drawn = draw_flow(
                path,
                picture,
                method=method,
                short_side=short_side,
                warped=warped,
                device=device,
                untrusted=untrusted,
                progress=progress,
            )
            say(out, f"Wrote {drawn}")
            return EXIT_OK
        assert output is not None
        check_writable(output / "flow")
        record = Ledger()
        try:
            store_flow(
                names,
                output,
                method=method,
                short_side=short_side,
                warped=warped,
                images=images,
                device=device,
                untrusted=untrusted,
                progress=progress,
                complain=lambda path, error: complain(
                    f"{path}: {error.message}", EXIT_SOME_ITEMS_FAILED
                ),
                ledger=record,
            )
        finally:  # what is done is kept, whatever has stopped the rest
            _skip_the_rest(record, list(names))
            if ledger is not None:
                record.write(ledger)
    print_counts(record)
    return record.exit_code


# --- train ---------------------------------------------------------------------------------------

Tokens = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]


@app.command(group=MODELS, help_flags=[])
def train(*tokens: Tokens) -> int:
    """Train a model on a folder of class folders, a manifest, or as a recipe says."""
    return _train_command("train", list(tokens))


@app.command(group=MODELS, help_flags=[])
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
    found = _parse(_training_program(command, base), arguments)
    return EXIT_OK if found is None else found


def _training_program(command: str, base: "TrainConfig") -> App:
    """A command line of its own, whose defaults are the settings of `base`."""
    from praxino.recipe import as_config, tiny, with_defaults

    def train(
        source: str,
        /,
        *,
        run: Path | None = None,
        resume: bool = False,
        tiny_: Annotated[bool, Parameter(name="--tiny", negative="")] = False,
        window: Window | None = None,
        config: Any = None,
    ) -> Any:
        """Train a model on a folder of class folders, a manifest, or as a recipe says.

        Args:
            source: a folder, a .csv or .parquet manifest, or recipes/file.py:function.
            run: the folder for checkpoints, curves and report; runs/SOURCE unless given.
            resume: go on where the run in that folder stopped.
            tiny_: the same in about two minutes: two epochs over four videos of each class.
            window: short for --data.window.
            config: all other settings, each by its own flag.
        """
        settings = base if config is None else as_config(base, config)
        if ".py:" not in source:
            settings = dataclasses.replace(
                settings, data=dataclasses.replace(settings.data, source=source)
            )
        if window is not None:
            if settings.data.window not in (base.data.window, window):
                raise ValueError(
                    f"--window {window[0]:g} {window[1]:g} is short for --data.window, which is "
                    f"another one. Give one of them."
                )
            settings = dataclasses.replace(
                settings, data=dataclasses.replace(settings.data, window=window)
            )
        if resume and run is None:
            raise ValueError("--resume needs --run: the folder of the run that is to go on.")
        return tiny(settings) if tiny_ else settings, run or _run_folder(source), resume

    kind = with_defaults(base)
    train.__annotations__["config"] = Annotated[kind | None, Parameter(name="*")]
    program = App(
        name=f"praxino {command}",
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        console=out,
        default_parameter=Parameter(converter=whole_numbers_only, negative_iterable=""),
    )
    program.default(train)
    return program


def _train(config: "TrainConfig", run: Path, resume: bool) -> int:
    from praxino.runs.training_state import has_state
    from praxino.train import train as run_training

    if run.exists() and not run.is_dir():
        raise ValueError(f"--run {run} is a file. Name a folder, new or of a run.")
    runs_is_new = not run.parent.exists()

    with training_progress() as listener:
        try:
            folder = run_training(config, run, resume=resume, listener=listener)
        except KeyboardInterrupt as stop:
            hint = f"; to go on: praxino train ... --run {run} --resume" if has_state(run) else ""
            return complain_of_stop(stop, hint)
        finally:
            if runs_is_new:
                with suppress(OSError):  # it is not empty, unless nothing came of the run
                    run.parent.rmdir()
    say(out, f"Model: {folder}  Report: {folder / 'report.html'}")
    return EXIT_OK


def _run_folder(source: str) -> Path:
    """`runs/my_videos`, or `runs/my_videos-2` if that is taken."""
    name = source.rpartition(":")[2] if ".py:" in source else Path(source).resolve().stem
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


# --- evaluate ------------------------------------------------------------------------------------


@app.command(group=MODELS)
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
    precision: Precision = "auto",
    engine: Engine = "torch",
    backend: Backend = "pyav",
    untrusted: Untrusted = False,
    window: Window | None = None,
    flow: str | None = None,
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
        precision: of the model's numbers; auto is bf16 where the processor has units for it.
        engine: what computes the model; compile and openvino prepare it first, once.
        backend: what decodes the videos.
        untrusted: decode each in a locked process of its own, bounded in memory and time.
        window: of volumes: centre and width of what is shown, in Hounsfield units of CT; that of
            the model's training unless given.
        flow: for models that see it: a method that computes it, or a folder that praxino flow has
            filled; the method of the model's training unless given.
    """
    from praxino.datasets.source import open_source
    from praxino.evaluate import evaluate as measure
    from praxino.evaluate import evaluate_again
    from praxino.report import write_report

    if run.suffix == ".json":
        with bar_of("evaluating") as progress:
            result, saved = evaluate_again(run, workers=workers, device=device, progress=progress)
        print_evaluation(result)
        for name, value in result.numbers().items():
            out.print(f"{name}: {saved[name]:.6f} saved, {value:.6f} now", highlight=False)
        same = result.numbers().items() <= saved.items()
        return result.ledger.exit_code if same else EXIT_SOME_ITEMS_FAILED
    if data is None:
        raise ValueError("praxino evaluate needs --data: a manifest or a folder of class folders.")
    manifest = open_source(data, root=videos)
    with bar_of("evaluating") as progress:
        result = measure(
            run,
            manifest,
            split="" if split == "all" else split,
            clips=clips,
            crops=crops,
            workers=workers,
            device=device,
            precision=precision,
            engine=engine,
            backend=backend,
            untrusted=untrusted,
            window=window,
            flow=flow,
            progress=progress,
        )
    folder = output or (run if run.is_dir() else run.parent)
    result.save(folder)
    write_report(folder, result)
    print_evaluation(result)
    say(out, f"Report: {folder / 'report.html'}")
    return result.ledger.exit_code


# --- fuse ----------------------------------------------------------------------------------------


@app.command(group=MODELS)
def fuse(
    tables: Annotated[list[Path], Parameter(help="Two or more, each of one model.")],
    /,
    *,
    weights: str | None = None,
    by: Literal["average", "product", "max", "svm"] = "average",
    scale: Literal["as_is", "softmax", "l2"] = "as_is",
    search: Annotated[bool, Parameter(negative="")] = False,
    train: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    cost: float = 1.0,
    output: Path | None = None,
) -> int:
    """Fuse what several models have said of the same videos, and measure it.

    Videos are laid together by name, in whatever order the tables have them.

    Args:
        tables: predictions.parquet of praxino evaluate; CSV with a column for each class, or of
            praxino predict; .h5 of ActionVLAD, .mat of LTC. Two or more.
        weights: one for each table, such as 1,1.5; all alike unless given.
        by: average of the scores, product of probabilities, max, or a linear svm on all of them.
        scale: softmax turns logits into probabilities first, l2 gives each video's scores length
            one.
        search: find the weights that are best on these very videos, and say so.
        train: for --by svm: the same models' tables of other videos, in the same order.
        cost: of the SVM, C.
        output: write the fused table, .parquet or .csv.
    """
    if train == []:
        raise ValueError("--train needs a table, or several.")
    from praxino.fuse import fuse as fuse_files

    if output is not None:
        if output.suffix.lower() not in (".parquet", ".csv"):
            raise ValueError(f"--output {output} must end in .parquet or .csv.")
        if output.resolve() in {path.resolve() for path in (*tables, *(train or ()))}:
            raise ValueError(f"{output} is one of the tables to be read. Write to another place.")
        check_writable(output)
    found = fuse_files(
        tables,
        weights=None if weights is None else _numbers("--weights", weights),
        by=by,
        scale=scale,
        search=search,
        train=train or (),
        cost=cost,
    )
    print_fusion(found)
    if output is not None:
        say(out, f"Wrote {found.table.save(output)}")
    return EXIT_OK


def _numbers(option: str, text: str) -> list[float]:
    """Numbers with commas between them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{option} must be numbers with commas, such as 1,1.5; got {text!r}."
        ) from None


# --- models --------------------------------------------------------------------------------------


@app.command(group=MODELS)
def models(
    name: str | None = None,
    /,
    *,
    family: str | None = None,
    frames: int | None = None,
    size: int | None = None,
    classes: int | None = None,
) -> None:
    """List all models, or the layers of one.

    Args:
        name: a model, or a pattern such as "r3d*"; none: the whole table.
        family: list one family only, for example fusion, 3d or attention.
        frames: frames of the clip in the layer table; as the model was designed, unless given.
        size: height and width of the clip in the layer table.
        classes: how many classes to build it for.
    """
    from praxino.model_tables import print_layers, print_models
    from praxino.models import MODELS, list_models
    from praxino.models.row import FAMILIES

    for option, value in (("frames", frames), ("size", size), ("classes", classes)):
        if value is not None and value < 1:
            raise ValueError(f"--{option} must be at least 1, got {value}.")
        if value is not None and name not in MODELS:
            raise ValueError(f"--{option} is for the layers of one model; name it.")
    if name in MODELS and family is None:
        print_layers(out, name, frames=frames, size=size, classes=classes)
        return
    if family is not None and family not in FAMILIES:
        raise ValueError(f"There is no family {family!r}.{did_you_mean(family, FAMILIES)}")
    found = [m for m in list_models(name or "*") if family in (None, MODELS[m].family)]
    if not found and family is not None:
        raise ValueError(f"No model of the family {family!r} matches {name!r}.")
    if not found:
        raise ValueError(f"There is no model named {name!r}.{did_you_mean(name or '', MODELS)}")
    print_models(out, found)


@app.command(group=MODELS)
def verify(
    *names: str,
    scores: Path | None = None,
    json_: Annotated[Output | None, Parameter(name="--json")] = None,
) -> int:
    """Compare every published number of the architectures with our own.

    Needs no network and no video. The exit status is 1 when a number differs.

    Args:
        names: of models; none: all, and what is published of score files.
        scores: the folder of published score files, of ActionVLAD and LTC; named by
            PRAXINO_PUBLISHED_SCORES unless given.
        json_: write everything as JSON; - is standard output.
    """
    from praxino.model_tables import print_comparisons
    from praxino.models import MODELS
    from praxino.published_scores import VARIABLE, verify_scores
    from praxino.verify import verify as compare

    for name in names:
        if name not in MODELS:
            raise ValueError(f"There is no model named {name!r}.{did_you_mean(name, MODELS)}")
    found = list(compare(names))
    if not names:
        found += verify_scores(scores or os.environ.get(VARIABLE) or None)
    elif scores is not None:
        raise ValueError("--scores is of no model's architecture: name either, not both.")
    if not found:
        raise ValueError(f"No number is published of {', '.join(names)}.")
    if json_ is not None:
        write(json_, json.dumps([dataclasses.asdict(row) for row in found], indent=2))
    if str(json_) != "-":
        print_comparisons(out, found)
    return EXIT_SOME_ITEMS_FAILED if any(row.verdict == "differs" for row in found) else EXIT_OK


@app.command(group=MODELS)
def convert(
    file: Path,
    /,
    *,
    model: str,
    source: str | None = None,
    num_classes: int | None = None,
    classes: Path | None = None,
    output: Path | None = None,
    options: dict[str, bool | int | float | str] | None = None,
) -> None:
    """Turn another toolkit's weights into a checkpoint for --model, if they fit.

    Args:
        file: .pth and the like, .pkl, .safetensors, or a TensorFlow checkpoint (any of its files).
        model: the model that these weights are of; see praxino models.
        source: the toolkit that wrote the file; found out by its names, unless given.
        num_classes: how many classes the file must know.
        classes: a text file with the name of a class in each line, in the order of the logits.
        output: the checkpoint to write; beside the file, unless given.
        options: of the model, as it was built when these weights were trained.
    """
    from praxino.convert import convert as convert_file

    done = convert_file(
        file,
        model,
        source=source,
        num_classes=num_classes,
        classes=classes,
        output=output,
        **(options or {}),
    )
    names = f"the names of {done.layout}" if done.layout else "our own names"
    say(out, f"Read {file} by {names}; it fits {model}.")
    say(
        out,
        f"Wrote {done.path}: {done.tensors} tensors, {done.parameters:,} parameters, "
        f"{len(done.classes)} classes.",
    )


@app.command(group=MODELS)
def litmus(
    *names: str,
    epochs: int = 12,
    seed: int = 0,
    videos: Path | None = None,
    output: Output | None = None,
    json_: Annotated[Output | None, Parameter(name="--json")] = None,
) -> int:
    """Train models on point lights for a minute or two, and ask what they see: order, for example.

    Args:
        names: of models; or a function of your own, "my_model.py:build", that makes one for a
            number of classes.
        epochs: over the 532 training videos.
        seed: of the weights, the order and the clips.
        videos: keep the rendered videos in this folder, for the next time.
        output: write the table as Markdown; - is standard output.
        json_: write everything as JSON; - is standard output.
    """
    import tempfile

    from praxino.litmus import as_dict, litmus_videos, markdown_rows
    from praxino.litmus import litmus as test
    from praxino.model_tables import print_litmus

    builders = {name: _builder(name) for name in names}
    if not builders:
        raise ValueError("Name a model, for example: praxino litmus small_3d small_2d")
    with tempfile.TemporaryDirectory() as folder:
        point_lights = litmus_videos(videos or folder)
    results = []
    for name, build in builders.items():
        with bar_of(name) as progress:
            results.append(
                test(name, build, point_lights, epochs=epochs, seed=seed, progress=progress)
            )
    if output is not None:
        write(output, "\n".join([*markdown_rows(results), ""]))
    if json_ is not None:
        write(json_, json.dumps([as_dict(result) for result in results], indent=2))
    if "-" not in (str(output), str(json_)):
        print_litmus(out, results)
    return EXIT_OK


def _builder(name: str) -> Callable[[int], "nn.Module"]:
    """Of a model in the table, or of a user's own."""
    from torch import nn

    from praxino.litmus import small_model
    from praxino.models import MODELS
    from praxino.recipe import call_function

    if ".py:" not in name:
        if name not in MODELS:
            raise ValueError(f"There is no model named {name!r}.{did_you_mean(name, MODELS)}")
        return lambda num_classes: small_model(name, num_classes)

    def build(num_classes: int) -> nn.Module:
        made = call_function(name, "model", num_classes)
        if not isinstance(made, nn.Module):
            raise ValueError(f"{name} must return a torch.nn.Module, not {type(made).__name__}.")
        if not hasattr(made, "clip_spec"):
            raise ValueError(f"The model of {name} has no clip_spec: praxino.ClipSpec(frames=16).")
        return made

    build(2)  # a fault in it should not wait until the videos are rendered
    return build


# --- explain -------------------------------------------------------------------------------------


@explain.command
def filters(
    model: str,
    /,
    *,
    output: Path,
    weights: str | None = None,
    layer: str | None = None,
    most: int = 96,
) -> None:
    """Draw the filters of the first convolution as clips.

    Args:
        model: a name in the table of models, a checkpoint or a run folder.
        output: .gif or .mp4, which play; .png has frame beside frame.
        weights: for a name: published weights or a file; without, weights are random.
        layer: which, where several see the clip; the one that spans most frames, unless given.
        most: how many filters to show.
    """
    from praxino.explain.filters import choose_layer, describe, draw_filters, first_convolutions
    from praxino.explain.subject import open_subject

    check_writable(output)
    found = first_convolutions(open_subject(model, weights))
    name = choose_layer(found, layer)
    draw_filters(output, found[name], describe(name, found[name], most), most=most)
    for other, weight in found.items():
        say(out, f"{'Drawn' if other == name else 'Not drawn'}: {describe(other, weight, most)}")
    say(out, f"Wrote {output}")


@explain.command
def units(
    model: str,
    video: Path,
    /,
    *,
    layer: str,
    output: Path,
    channel: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    count: int = 9,
    method: Literal["guided", "deconvnet", "gradient"] = "guided",
    weights: str | None = None,
) -> None:
    """Project the units of a layer that a video excites most back to its frames.

    Args:
        model: a name in the table of models, a checkpoint or a run folder.
        video: whose middle clip is shown.
        layer: as praxino models NAME lists them.
        output: the folder for a picture of each unit, one that plays, and the numbers.
        channel: which channels; those that are excited most, unless given.
        count: how many units.
        method: how gradients go back through ReLUs.
        weights: for a name: published weights or a file; without, weights are random.
    """
    if channel == []:
        raise ValueError("--channel needs a number, or several.")
    from praxino.evaluate import spec_of
    from praxino.explain.projection import project_units
    from praxino.explain.subject import open_subject
    from praxino.explain.units import clip_of, draw_units

    check_writable(output / "unit.png")
    network = open_subject(model, weights)
    clip = clip_of(network, video)
    channels = tuple(channel) if channel else None
    found = project_units(network, clip, layer, channels=channels, count=count, method=method)
    if not found.relus and method != "gradient":
        say(out, f"{model} has no ReLU, so {method} is the plain gradient here.")
    draw_units(output, clip, spec_of(network), found)
    for unit in found.units:
        shares = unit.share_of_frames
        strongest = int(shares.argmax())
        say(
            out,
            f"channel {unit.channel}: {unit.activation:.3g}, most of it in frame {strongest} "
            f"({float(shares[strongest]):.0%})",
        )
    say(out, f"Wrote {output}")


@explain.command
def attention(
    model: str,
    video: Path,
    /,
    *,
    output: Path,
    weights: str | None = None,
    after: str | None = None,
) -> None:
    """Show where a network looks in a video: its attention over the frames.

    Args:
        model: a name in the table of models, a checkpoint or a run folder; one with attention.
        video: whose middle clip is shown.
        output: the folder for a picture, one that plays, and the numbers.
        weights: for a name: published weights or a file; without, weights are random.
        after: another checkpoint or run folder, shown beside the first: of a later stage, or with
            a task more.
    """
    from praxino.evaluate import spec_of
    from praxino.explain.attention import attention_of, draw_attention, shares
    from praxino.explain.subject import open_subject
    from praxino.explain.units import clip_of

    check_writable(output / "attention.png")
    network = open_subject(model, weights)
    clip = clip_of(network, video, streams=True)
    maps, later = attention_of(network, clip), None
    if after is not None:
        other = open_subject(after)
        later = attention_of(other, clip_of(other, video, streams=True))
    draw_attention(output, clip, spec_of(network), maps, later)
    share = shares(maps)
    most = max(range(len(share)), key=share.__getitem__)
    say(
        out,
        f"{maps.shape[1]} x {maps.shape[2]} places in each of {len(share)} frames; frame "
        f"{most} gets most ({share[most]:.0%}).",
    )
    say(out, f"Wrote {output}")


@explain.command
def skips(model: str, video: Path, /, *, output: Path, weights: str | None = None) -> None:
    """Show which frames of a video a Skip RNN uses.

    Args:
        model: skip_lstm or skip_gru, a checkpoint or a run folder.
        video: whose middle clip is shown.
        output: the picture, a .png.
        weights: for a name: published weights or a file; without, weights are random.
    """
    from praxino.evaluate import spec_of
    from praxino.explain.skips import draw_skips, used_frames
    from praxino.explain.subject import open_subject
    from praxino.explain.units import clip_of

    check_writable(output)
    network = open_subject(model, weights)
    clip = clip_of(network, video)
    used = used_frames(network, clip)
    draw_skips(output, clip, spec_of(network), used)
    marks = "".join("#" if one else "." for one in used)
    say(out, f"{used.sum()} of {len(used)} frames used: {marks}")
    say(out, f"Wrote {output}")


@explain.command
def convolution(*, output: Path) -> None:
    """Show how a 3D convolution slides through time, and a 2D convolution over time does not.

    Args:
        output: .gif or .mp4.
    """
    from praxino.explain.convolution import comparison, draw_sliding

    draw_sliding(output)
    for line in comparison():
        say(out, line)
    say(out, f"Wrote {output}")


@explain.command
def growth(backbone: str, /, *, classes: int = 400, frames: int = 16, size: int = 224) -> None:
    """Count what a 2D network costs, and what it costs inflated into time.

    Args:
        backbone: a classification network of torchvision, for example resnet18.
        classes: how many classes to build it for.
        frames: of the clip.
        size: height and width of the clip.
    """
    from praxino.explain.growth import growth as count

    for option, value in (("classes", classes), ("frames", frames), ("size", size)):
        if value < 1:
            raise ValueError(f"--{option} must be at least 1, got {value}.")
    found = count(backbone, num_classes=classes, frames=frames, size=size)
    rows = (
        ("parameters", found.flat_parameters, found.grown_parameters, 1e6, "M"),
        ("multiply-adds", found.flat_multiply_adds, found.grown_multiply_adds, 1e9, "G"),
    )
    say(out, f"{backbone}, {classes} classes, a clip of {frames}×{size}²")
    for what, flat, grown, unit, letter in rows:
        say(
            out,
            f"{what}: {flat / unit:.2f} {letter} in 2D, frame by frame; "
            f"{grown / unit:.2f} {letter} inflated ({grown / flat:.2f} times)",
        )


@explain.command
def training_time(
    model: str,
    /,
    *,
    videos: int,
    epochs: float,
    clips: int = 1,
    rate: float | None = None,
    days: float | None = None,
    device: str | None = None,
) -> None:
    """Estimate how long training a model takes, or what a training that is known implies.

    Args:
        model: a name in the table of models.
        videos: in the training set.
        epochs: over the training set.
        clips: of each video in an epoch.
        rate: of the machine, in G multiply-adds a second; measured on this one, unless given.
        days: what a training took: the rate that it must have had is told instead.
        device: cpu or cuda, where to measure; the GPU if there is one.
    """
    from praxino.devices import choose_device
    from praxino.explain.training_time import measured_rate, training_work
    from praxino.models import MODELS

    if model not in MODELS:
        raise ValueError(f"There is no model named {model!r}.{did_you_mean(model, MODELS)}")
    if days is not None and rate is not None:
        raise ValueError("--days asks for the rate that --rate says. Give one of them.")
    work = training_work(model, videos=videos, epochs=epochs, clips=clips)
    say(
        out,
        f"{model}: {work.clip_multiply_adds / 1e9:.4g} G multiply-adds a clip × 3 (forward, and "
        f"twice as much backward) × {videos:,} videos × {clips} × {epochs:g} epochs = "
        f"{work.multiply_adds:.3g}",
    )
    if days is not None:
        implied = work.rate(days) / 1e9
        say(out, f"In {days:g} days: {implied:,.4g} G a second, if nothing waited for videos.")
        return
    where = choose_device(device)
    said = (
        "as given" if rate is not None else f"measured on {where}, on a convolution that suits it"
    )
    found = measured_rate(where) if rate is None else rate * 1e9
    time = work.days(found)
    readable = f"{time:.3g} days" if time >= 2 else f"{time * 24:.3g} hours"
    say(out, f"At {found / 1e9:,.4g} G a second ({said}): {readable}, if nothing waits for videos.")


@explain.command
def charts(folder: Path, /) -> None:
    """Draw the published accuracies: fusion on Sports-1M, and all architectures on Kinetics-400.

    Args:
        folder: for sports1m.png, kinetics400.png and architectures.png.
    """
    from praxino.explain.charts import draw_charts

    check_writable(folder / "chart.png")
    for path in draw_charts(folder):
        say(out, f"Wrote {path}")


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
    say(out, f"Wrote {manifest}")


@data.command
def volumes(
    folder: Path,
    /,
    *,
    task: Literal["nodule", "finding"] = "nodule",
    volumes_per_class: int = 300,
    seed: int = 0,
) -> None:
    """Render volumes, as of CT: spheres against cylinders, or a spot in a single slice.

    Args:
        folder: where the volumes (.npy) and manifest.csv go.
        task: nodule (against vessel; only depth tells) or finding (against clear; a slice tells).
        volumes_per_class: how many volumes of each class.
        seed: the same seed gives the same volumes.
    """
    from praxino.datasets.synthetic_volumes import WINDOW, render_volumes

    manifest = render_volumes(folder, task=task, volumes_per_class=volumes_per_class, seed=seed)
    centre, width = WINDOW[task]
    say(out, f"Wrote {manifest} (a window that shows them: {centre:g} {width:g})")


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
    flow: Path | None = None,
) -> None:
    """Turn a benchmark's official files into a manifest.

    Args:
        name: gtea61, ucf101, hmdb51, kth, kinetics or ut_interaction.
        annotations: the official files or folder; gtea61 and ut_interaction need none.
        videos: the folder of the videos.
        to: the manifest to write, .parquet or .csv.
        split: which official split (ucf101, hmdb51).
        test: the set to test on, set1 or set2; the other is trained on (ut_interaction).
        num_classes: 400, 600 or 700 (kinetics).
        flow: a folder to pack the flow into that comes with the videos (gtea61).
    """
    from praxino.datasets import READERS
    from praxino.datasets.gtea61 import pack_gtea61_flow
    from praxino.datasets.ut_interaction import cross_set

    if name not in READERS:
        raise ValueError(f"There is no reader named {name!r}.{did_you_mean(name, READERS)}")
    if flow is not None and name != "gtea61":
        raise ValueError(f"The reader of {name} has no option --flow.")
    options = {"split": split, "num_classes": num_classes}
    given = {key: value for key, value in options.items() if value is not None}
    known = inspect.signature(READERS[name]).parameters
    for option in given:
        if option not in known:
            raise ValueError(f"The reader of {name} has no option --{option.replace('_', '-')}.")
    if len(annotations) > 1:
        raise ValueError(f"{name} reads one file or folder, got {len(annotations)}.")
    if not annotations and name not in ("gtea61", "ut_interaction"):
        raise ValueError(f"{name} needs the official annotation file or folder after its name.")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option in options and option not in given:
            raise ValueError(f"The reader of {name} needs --{option.replace('_', '-')}.")
    manifest = READERS[name](annotations[0] if annotations else None, videos, **given)
    if test is not None:
        if name != "ut_interaction":
            raise ValueError(f"The reader of {name} has no option --test.")
        manifest = cross_set(manifest, test)
    listed = len(manifest)
    manifest, sentence = manifest.drop_missing()
    if not len(manifest):
        raise ValueError(f"None of the {listed} rows that {name} lists has its video in {videos}.")
    inside = videos.resolve().is_relative_to(to.resolve().parent)
    manifest.write(to, keep_root=not inside)
    say(out, sentence)
    hint = "" if inside else f" (its videos: --data.videos {videos})"
    say(out, f"Wrote {to}{hint}")
    if flow is not None:
        packed = pack_gtea61_flow(manifest, flow)
        say(out, f"Packed the flow of {packed} videos into {flow} (for --data.flow {flow})")


@app.command(group=REST)
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

    values = {"width": width, "height": height, "fps": fps, "minutes": minutes, "frames": frames}
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name} must be above 0, got {value}.")
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


@app.command(group=REST)
def demo(folder: Path = Path("demo"), /) -> int:
    """Render point lights, train two models, and show what each of them can see.

    Args:
        folder: where everything goes.
    """
    from praxino.demo import run_demo

    run_demo(folder, out)
    return EXIT_OK


@app.command(group=REST)
def doctor(
    *,
    json_: Annotated[Output | None, Parameter(name="--json")] = None,
) -> int:
    """Look at this machine: versions, devices, decoders, folders. For reports of faults.

    Args:
        json_: write everything as JSON; - is standard output.
    """
    from praxino.command.doctor import as_dict, examine, exit_code, lines, verdict

    findings = []
    told = str(json_) != "-"  # what is asked for on standard output must be alone there

    def one_by_one() -> Iterator["Finding"]:
        for finding in examine():
            findings.append(finding)
            yield finding

    for line in lines(one_by_one()):
        if told:
            say(out, line)
    if told:
        say(out, "")
        say(out, verdict(findings))
    if json_ is not None:
        write(json_, json.dumps(as_dict(findings), indent=2, ensure_ascii=False))
    return exit_code(findings)


for _name in app:
    if _name.startswith("-"):
        app[_name].group = REST
    else:
        app[_name].help_epilogue = ""  # otherwise each would repeat the program's
