"""Loader processes under watch: one that dies or hangs is named, with the video it was reading."""

import ctypes
import dataclasses
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from praxino.errors import EnvironmentFault, raised_by_praxino
from praxino.stop_signals import NAMES, signals_wait

STALL_SECONDS = 50.0
_LOOK_EVERY_SECONDS = 5.0  # so a hang is told 55 seconds after it began, at the latest

_MEMORY_FULL = (
    "the shared memory, /dev/shm, is full. Make it larger (in a container: --shm-size 8g), or use "
    "--data.workers 0."
)

Example = TypeVar("Example")


class LoaderFault(EnvironmentFault):
    """A loader process has died or hangs; what was loaded before is not touched by it."""


class _Post(ctypes.Structure):
    """What one worker is doing, in memory that all processes share.

    Fields:
        busy: whether it is reading an example.
        row: which one.
        since: the system's monotonic clock when it began or ended, in seconds.
    """

    _fields_ = (("busy", ctypes.c_bool), ("row", ctypes.c_int64), ("since", ctypes.c_double))


_Posts: TypeAlias = "ctypes.Array[_Post] | list[_Post]"


@dataclasses.dataclass(frozen=True)
class _Failed:
    """What comes in place of an example: an error of ours, for the main process to raise.

    An exception that leaves a worker would come home as a new one, with its traceback as text.
    """

    error: Exception


class _Posting(Dataset["Example | _Failed"]):
    """A data set that says, in shared memory, which of its rows is being read, and by whom."""

    def __init__(self, examples: Dataset[Example], posts: _Posts) -> None:
        self.examples, self.posts = examples, posts

    def __len__(self) -> int:
        return len(self.examples)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> "Example | _Failed":
        worker = get_worker_info()
        if worker is None:  # read in the main process, which cannot watch itself
            return self.examples[key]
        post = self.posts[worker.id]
        post.row, post.since, post.busy = _row(key), time.monotonic(), True
        try:
            example: Example | _Failed = self.examples[key]
            _share(example)
        except (EnvironmentFault, ValueError, TypeError) as error:
            if not isinstance(error, EnvironmentFault) and not raised_by_praxino(error):
                raise  # a mistake, whose traceback is wanted
            example = _Failed(error)
        post.since, post.busy = time.monotonic(), False
        return example


class WatchedLoader(Generic[Example]):
    """A `DataLoader` whose processes are watched while it waits for them.

    Use it as a context manager: its processes are gone when the block ends, also those that hang.

    Args:
        examples: what `DataLoader` takes; its keys are rows, or tuples that end with one.
        name: what to call a row in a message.
        workers: loader processes. With 0, the main process reads, and nothing is watched.
        stall_seconds: reading one example takes no longer, or its process hangs.
        options: all else that `DataLoader` takes; with a `batch_sampler`, `collate_fn` is `list`.
    """

    def __init__(
        self,
        examples: Dataset[Example],
        name: Callable[[int], str],
        *,
        workers: int,
        stall_seconds: float = STALL_SECONDS,
        **options: Any,
    ) -> None:
        self._name, self._stall_seconds = name, stall_seconds
        self._posts = _shared_posts(workers)
        self._processes: list[BaseProcess] = []
        self._alarm: Any = None  # what answered SIGCHLD before
        self._loader: DataLoader[Example | _Failed] | None = DataLoader(
            _Posting(examples, self._posts),
            num_workers=workers,
            worker_init_fn=_begin,
            # Not how long a batch may take, but how often to look why there is none.
            timeout=min(_LOOK_EVERY_SECONDS, stall_seconds) if workers else 0,
            # Its own generator: starting workers must not draw from the one that dropout uses.
            generator=torch.Generator(),
            **options,
        )

    def __iter__(self) -> Iterator[Any]:
        """Yield what the `DataLoader` yields.

        Raises:
            LoaderFault: a process has died, or has been at one video for too long.
            EnvironmentFault: as the data set raised it in a process; so are errors of praxino's
                that say what is wrong with the input.
        """
        assert self._loader is not None, "the loader is closed"
        try:
            batches = self._start(self._loader)
        except RuntimeError as error:  # of processes that were to begin another pass
            self._raise_if_dead(error)
            raise LoaderFault(
                "The loader processes do not answer. Try again, or use --data.workers 0."
            ) from error
        waiting_since = time.monotonic()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (OSError, EOFError) as error:  # sent, but not to be had from the dead
                for _ in range(40):  # its death may take a moment to be known
                    self._raise_if_dead(error)
                    time.sleep(0.05)
                raise
            except RuntimeError as error:  # died, or nothing came for a while
                self._raise_if_dead(error)
                if not str(error).startswith("DataLoader timed out after"):
                    raise  # an exception of the data set itself, in that of the loader
                self._raise_if_stuck(waiting_since)
                continue
            for example in batch if isinstance(batch, list) else [batch]:
                if isinstance(example, _Failed):
                    raise example.error
            yield batch
            waiting_since = time.monotonic()

    def _start(self, loader: DataLoader[Example | _Failed]) -> Iterator[Any]:
        """Begin a pass, with torch's own alarm off.

        Torch would raise in the middle of whatever the main process is doing when a worker dies.
        Here a death is noticed when its batch does not come: between two steps.
        """
        alarm = signal.getsignal(signal.SIGCHLD) if _may_set_alarms() else None
        before = set(multiprocessing.active_children())
        with signals_wait():
            batches = iter(loader)
        self._processes += set(multiprocessing.active_children()) - before
        if alarm is not None:
            # An earlier `DataLoader` of the same process may have left it on.
            torchs = getattr(alarm, "__module__", None) == "torch.utils.data._utils.signal_handling"
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if torchs else alarm)
            self._alarm = self._alarm or alarm
        return batches

    def _raise_if_dead(self, error: Exception) -> None:
        dead = [process for process in self._processes if process.exitcode]
        if not dead:
            return
        rows = [post.row for post in self._posts if post.busy]
        reading = f" The loader was reading {self._names(rows)}." if rows else ""
        code = dead[0].exitcode or 0
        if code == -signal.SIGKILL:
            cause = "by signal SIGKILL, as the system does when memory is short"
            hint = "Fewer of them need less: --data.workers 1."
        elif code == -getattr(signal, "SIGBUS", 0) and code < 0:
            cause, hint = "by signal SIGBUS", f"It may be that {_MEMORY_FULL}"
        elif code < 0:
            cause = f"by signal {signal.Signals(-code).name}"
            hint = "If it happens again, leave that video out."
        else:
            cause, hint = f"with exit code {code}", "Use --data.workers 0 to see why."
        raise LoaderFault(
            f"Loader process {dead[0].pid} was ended {cause}.{reading} {hint}"
        ) from error

    def _raise_if_stuck(self, waiting_since: float) -> None:
        now = time.monotonic()
        rows = [
            post.row for post in self._posts if post.busy and now - post.since > self._stall_seconds
        ]
        # Nobody reads and yet nothing comes: what was read is lost between the processes.
        resting = now - waiting_since > self._stall_seconds and all(
            not post.busy and now - post.since > self._stall_seconds for post in self._posts
        )
        if rows:
            raise LoaderFault(
                f"Reading {self._names(rows)} takes longer than {self._stall_seconds:g} seconds. "
                f"Look at the disk or the file; --data.stall-seconds allows more."
            )
        if resting:
            raise LoaderFault(
                f"The loader processes have sent nothing for {self._stall_seconds:g} seconds. "
                f"Try again, or use --data.workers 0."
            )

    def _names(self, rows: list[int]) -> str:
        return ", ".join(self._name(row) for row in rows)

    def __enter__(self) -> "WatchedLoader[Example]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # They only read, and one that hangs would not hear of anything gentler.
        for process in self._processes:
            with suppress(ValueError):  # closed already
                process.kill()
        for process in self._processes:
            with suppress(ValueError):
                process.join(timeout=5)
        self._loader = None
        if self._alarm is not None and _may_set_alarms():
            signal.signal(signal.SIGCHLD, self._alarm)


def _may_set_alarms() -> bool:
    return hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()


def _shared_posts(workers: int) -> _Posts:
    if not workers:
        return []
    try:
        return RawArray(_Post, workers)
    except OSError as error:
        raise LoaderFault(f"The loader has failed: {error.strerror}: {_MEMORY_FULL}") from None


def _share(example: Any) -> None:
    """Move tensors to the memory that processes share, here, where a failure can be told.

    Otherwise torch would do it on sending, in a thread whose errors reach nobody.
    """
    for value in vars(example).values() if dataclasses.is_dataclass(example) else [example]:
        if isinstance(value, torch.Tensor):
            try:
                value.share_memory_()
            except RuntimeError:
                raise LoaderFault(f"The loader has failed: {_MEMORY_FULL}") from None


def _row(key: Any) -> int:
    return int(key[-1] if isinstance(key, tuple) else key)


def _begin(worker: int) -> None:
    """What a loader process does first."""
    _leave_signals_to_the_loop()
    sys.excepthook = _say_nothing_of_a_lost_peer


def _say_nothing_of_a_lost_peer(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    # Python's thread that hands tensors over prints a traceback when the main process has ended in
    # the middle of taking one, which is how any stopped run may end.
    if not issubclass(kind, OSError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _leave_signals_to_the_loop() -> None:
    """Signals to the whole group reach workers too, which must not die of them.

    The loop finishes its step, saves, and ends them; they also end when it is gone.
    """
    for name in NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
