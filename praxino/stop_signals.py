"""Ctrl-C and its kin: at once where nothing can be half done, after the step at hand elsewhere."""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TypeVar

from praxino.errors import Stopped

# Ctrl-C; the end as every scheduler announces it; a closed terminal; and Slurm's early warning.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")

Batch = TypeVar("Batch")


class StopSignals:
    """What a long job asks about the signals that want it to end; made by `stop_signals`.

    A signal raises `Stopped` in the main thread at once, wherever that is: while it reads, waits
    or measures. Inside a `held` block it is raised when the block ends instead.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._holds = 0
        self._asked: int | None = None
        self._answered = False
        self.hurried = False  # pressed twice: a block may have been left in the middle

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block that is done completely or not begun. A second Ctrl-C does not wait for it."""
        self.raise_if_asked()
        self._holds += 1
        try:
            yield
        finally:
            self._holds = max(0, self._holds - 1)
        self.raise_if_asked()

    def whole_steps(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; signals wait for the end of a loop's body, but not for the next batch."""
        for batch in batches:
            with self.held():
                yield batch

    def answer(self) -> None:
        """From here on, all is being done to end: only a second Ctrl-C still hurries."""
        self._answered = True

    def raise_if_asked(self) -> None:
        """Raise `Stopped` if a signal has come.

        Once is not always enough: where Python cannot pass an exception on, it drops it.
        """
        if self._asked is not None and not self._holds:
            raise Stopped(self._asked)

    def _come(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a process just forked from this one, which will end it
        # A person who presses Ctrl-C twice means it; a supervisor that repeats itself does not.
        if number == signal.SIGINT and self._asked == signal.SIGINT:
            self.hurried, self._holds = True, 0
        elif self._answered:
            return
        self._asked = number
        self.raise_if_asked()


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Answer the signals that ask a program to end, as long as the block lasts.

    A signal that is ignored stays so: `nohup` runs survive their terminal. Outside the main
    thread, which alone receives signals, nothing changes.

    Raises:
        Stopped: one has come.
    """
    stop = StopSignals()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    known = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known}
    answered = [number for number in known if before[number] is not signal.SIG_IGN]
    try:
        for number in answered:
            signal.signal(number, stop._come)
        with _dropped_in_silence():
            yield stop
        stop.raise_if_asked()
    finally:
        for number in answered:
            signal.signal(number, before[number])


@contextmanager
def _dropped_in_silence() -> Iterator[None]:
    """Print nothing of a `Stopped` that comes up where it cannot be passed on: it comes again.

    Such places are a file's `read` and `seek` when FFmpeg calls them, and whatever Python runs
    when it collects garbage. What has been read by then is used by nobody.
    """
    unraisable, uncaught = sys.unraisablehook, sys.excepthook

    def on_unraisable(dropped: Any) -> None:
        if not isinstance(dropped.exc_value, Stopped):
            unraisable(dropped)

    def on_uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:  # Cython prints a traceback of its own before it tells Python
        if not isinstance(error, Stopped):
            uncaught(kind, error, trace)

    sys.unraisablehook, sys.excepthook = on_unraisable, on_uncaught
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = unraisable, uncaught


@contextmanager
def signals_wait() -> Iterator[None]:
    """Keep signals from breaking into a block that starts processes, whoever answers them.

    Python runs code of its own when it forks, and drops the exceptions that come up in there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    known = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known}
    try:
        for number in known:
            if callable(before[number]):
                signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number in known:
            if callable(before[number]):
                signal.signal(number, before[number])
    for number in came:
        os.kill(os.getpid(), number)
