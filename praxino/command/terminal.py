"""What a person sees in the terminal: lines, tables, progress bars."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from praxino.atomic import write_text
from praxino.errors import EXIT_SOME_ITEMS_FAILED
from praxino.ledger import Ledger
from praxino.shortened import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from praxino.fuse import Fusion
    from praxino.results import Evaluation, Recognition
    from praxino.score_tables import ScoreTable
    from praxino.train import Listener


class _Terminal(Console):
    """A console that says so when nobody reads any more, rather than end the program itself."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    if os.environ.get("COLUMNS", "") == "0":  # said by terminals that do not know
        del os.environ["COLUMNS"]
    # A pipe or a file has no width to fit into, and a table cut off there is a number lost.
    fits = (stream is not None and stream.isatty()) or "COLUMNS" in os.environ
    # Names of files and classes are data: brackets and colons in them mean nothing.
    return _Terminal(stderr=stderr, width=None if fits else 200, markup=False, emoji=False)


out, err = _console(), _console(stderr=True)


def say(console: Console, line: str) -> None:
    """Print a line, however long; what a file's name holds cannot end it or steer the terminal."""
    console.print(printable(line), soft_wrap=True, highlight=False)


def complain(message: str, code: int) -> int:
    """Print a message on standard error as one line, and give back the exit code."""
    line = printable(" ".join(message.split()))
    print(f"praxino: {line}", file=sys.stderr)
    return code


def write(path: Path, text: str) -> None:
    """Write to a file, or to standard output for `-`."""
    if str(path) == "-":
        print(text)
    else:
        write_text(path, text)
        say(err, f"Wrote {path}")


def print_top(console: Console, result: "Recognition", top: int) -> None:
    """A video's best actions, with bars."""
    say(console, result.video)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    for name, score in result.top(top):
        table.add_row(f"{score:.1%}", printable(name), Text("█" * round(score * 30), style="blue"))
    console.print(table)


def print_evaluation(result: "Evaluation") -> None:
    """The headline numbers with their protocol, and every video that could not be read."""
    table = Table(box=None, pad_edge=False)
    titles = ("clip hit@1", "video hit@1", "video hit@5", "mean class accuracy")
    values = (result.clip_hit_at_1, result.hit_at_1, result.hit_at_5, result.mean_class_accuracy)
    for title in titles:
        table.add_column(title, justify="right")
    table.add_row(*(f"{value:.2%}" for value in values))
    out.print(table)
    out.print(result.protocol_line(), style="dim", soft_wrap=True, highlight=False)
    for entry in result.ledger.failures:
        reason = entry.message.partition(": ")[2]
        complain(f"{entry.item}: {reason} It counts as wrong.", EXIT_SOME_ITEMS_FAILED)
    if result.ledger.failures:
        print_counts(result.ledger)


def print_fusion(found: "Fusion") -> None:
    """Each table's accuracy and the fused one's, and how it was done."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("table", overflow="fold")
    for title in ("weight", "right", "unread"):
        table.add_column(title, justify="right")
    weights = found.weights or (None,) * len(found.tables)
    for one, weight in zip(found.tables, weights, strict=True):
        said = "" if weight is None else f"{weight:.3g}"
        table.add_row(one.name, said, _share_right(one), str(int((~one.read).sum()) or ""))
    table.add_row(found.rule, "", _share_right(found.table), "", style="bold")
    out.print(table)
    say(out, f"{len(found.table.videos):,} videos, laid together {found.matched}")
    if found.searched:
        say(out, "The weights were searched for on these very videos: a number that is kind.")


def _share_right(table: "ScoreTable") -> str:
    accuracy = table.accuracy()
    return "no labels" if accuracy is None else f"{accuracy:.2%}"


def print_counts(ledger: Ledger, console: Console = out) -> None:
    """How many items ended how, and which failed."""
    counts = ", ".join(f"{number} {status}" for status, number in ledger.counts.items() if number)
    say(console, f"{len(ledger.entries)} videos: {counts}")
    for entry in ledger.failures[:20]:
        say(console, f"  failed: {entry.item}")
    if len(ledger.failures) > 20:
        say(console, f"  and {len(ledger.failures) - 20} more")


@contextmanager
def bar_of(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar, to be called with (done, all); None where nobody watches."""
    if not err.is_terminal:
        yield None
        return
    with _progress_bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)


@contextmanager
def training_progress() -> Iterator["Listener"]:
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
