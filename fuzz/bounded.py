"""One call in a child process that may crash, hang or run out of memory."""

import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIME_LIMIT_SECONDS = 10
MEMORY_LIMIT_BYTES = 2 * 2**30  # on top of what the parent has mapped


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Args:
        ending: `done`, `crash`, `hang` or `oom`.
        results: what it yielded before that.
        detail: the signal or the exit status.
        seconds: wall time.
        peak_bytes: the most memory it held; the parent's own pages count.
    """

    ending: str
    results: list[Any]
    detail: str
    seconds: float
    peak_bytes: int


def run(task: Callable[[], Iterator[Any]]) -> Outcome:
    """Run a generator in a fork and collect what it yields (anything that JSON holds).

    Exceptions of the task are the task's own business; one that escapes ends as `crash`.
    """
    begin = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_child(task, reading, writing)
    os.close(writing)
    text, hung = _collect(reading, begin + TIME_LIMIT_SECONDS)
    if hung:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status, usage = os.wait4(child, 0)
    ending, detail = "done", ""
    if hung:
        ending, detail = "hang", f"over {TIME_LIMIT_SECONDS} s"
    elif os.WIFSIGNALED(status):
        ending, detail = "crash", signal.Signals(os.WTERMSIG(status)).name
    elif os.WEXITSTATUS(status) == _OUT_OF_MEMORY:
        ending = "oom"
    elif os.WEXITSTATUS(status):
        ending, detail = "crash", f"exit status {os.WEXITSTATUS(status)}"
    results = [json.loads(line) for line in text.split(b"\n")[:-1]]
    return Outcome(ending, results, detail, time.monotonic() - begin, usage.ru_maxrss * 1024)


_OUT_OF_MEMORY = 77


def _be_the_child(task: Callable[[], Iterator[Any]], reading: int, writing: int) -> None:
    status = 1
    try:
        os.close(reading)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = mapped + MEMORY_LIMIT_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for result in task():
            os.write(writing, json.dumps(result).encode() + b"\n")
        status = 0
    except MemoryError:
        status = _OUT_OF_MEMORY
    finally:
        os._exit(status)  # neither the parent's clean-up nor its traceback


def _collect(reading: int, deadline: float) -> tuple[bytes, bool]:
    parts = []
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            part = os.read(reading, 65536)
            if not part:
                return b"".join(parts), False
            parts.append(part)
    return b"".join(parts), True
