"""The processes that decode untrusted videos: started, kept for the next video, and ended."""

import atexit
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from praxino.devices import cores
from praxino.errors import EnvironmentFault
from praxino.video.child_protocol import DOORS, SHARED_BYTES

_PROGRAM = ("-m", "praxino.video.child_main")
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_START_SECONDS = 60.0  # for imports, on a busy machine with a cold disk
_END_SECONDS = 10.0  # to end, for a fork that is done
_MAX_TEXT = 400  # characters of one message

# With one arena, since each reserves 64 MB of the address space that is counted; and memory once
# had is kept for the next frame, since to get it anew from the system costs more than to fill it.
_MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
}

# A process that has threads, as NumPy's linear algebra starts them, gets no network of its own.
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# Of the parent's environment only this goes to the child: no keys, no tokens.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")


@dataclass(frozen=True)
class Limits:
    """What the decoding of one video may take.

    Args:
        memory_bytes: address space of the decoding process beyond that of its start.
        cpu_seconds: processor time over all threads.
        wall_seconds: time spent waiting for the decoding process.
        videos_per_process: what takes over a decoder can falsify and see the videos that the same
            process decodes later, so each has its own. That costs a fork, 10 to 30 ms; where all
            videos are from one source, and small, 50 make it half the time.

    Raises:
        ValueError: a limit is not above 0.
    """

    memory_bytes: int = 2 * 2**30
    cpu_seconds: int = 600
    wall_seconds: float = 900.0
    videos_per_process: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"Limits.{name} must be above 0, got {value}.")


class ChildProcess:
    """A process that forks another one, which reads videos; see `child_main.py`."""

    def __init__(self, limits: Limits) -> None:
        if not hasattr(socket, "send_fds"):
            raise EnvironmentFault(
                f"Untrusted videos need Linux or macOS, not {sys.platform}. "
                "Decode them in a virtual machine with one."
            )
        self._limits, self._let_go_of, self.is_disowned = limits, False, False
        self._control, theirs = socket.socketpair()
        self._fork: socket.socket | None = None
        self._videos = 0  # that the present fork has been given
        self.shared = -1  # descriptor of the memory shared with it
        search = [_PACKAGE_PARENT, *(os.path.abspath(path) for path in sys.path if path)]
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        numbers = (
            theirs.fileno(),
            limits.memory_bytes,
            limits.cpu_seconds,
            limits.videos_per_process,
        )
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", *_PROGRAM, *map(str, numbers)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    cwd="/",
                    env=kept | _MALLOC | _NO_THREADS | {"PYTHONPATH": os.pathsep.join(search)},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # so that Ctrl-C is the parent's business
                )
        except OSError as error:
            self._control.close()
            raise _no_start(str(error)) from None
        complaints = self._process.stderr
        assert complaints is not None
        with complaints:
            open_doors = self._status(_START_SECONDS)
            if open_doors is None:
                lines = complaints.read().decode(errors="replace").strip().splitlines()
                why = lines[-1] if lines else f"not ready in {_START_SECONDS:.0f} s"
                raise _no_start(why)
        _started.add(self)
        self._open = {door for place, door in enumerate(DOORS) if open_doors >> place & 1}
        if sys.platform == "linux" and {"no_files", "no_network"} <= self._open:
            self.kill()
            raise EnvironmentFault(
                "Untrusted videos cannot be decoded here: neither files nor the network can be "
                "locked (no Landlock, no seccomp, no namespaces). Take a kernel or a container "
                "that has one of them."
            )

    @property
    def could(self) -> list[str]:
        """What a decoder in it could do, since this system has no lock for it."""
        return [what for door, what in DOORS.items() if door in self._open]

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    @property
    def is_used(self) -> bool:
        """Whether the next video will go to a fork that has had others."""
        return self._fork is not None and self._videos < self._limits.videos_per_process

    def send(self, request: dict[str, object], seconds: float, video: int | None = None) -> None:
        """Send a request to the fork; a fresh one, if none is there or it has had its share.

        Args:
            request: as JSON can hold it.
            seconds: to wait.
            video: descriptor of the video that it is about, in the first request about it.
        """
        if video is not None:
            if not self.is_used:
                self.end_fork()
                self._start_fork()
            self._videos += 1
        if self._fork is None:
            raise BrokenPipeError
        self._fork.settimeout(seconds)
        line = json.dumps(request | {"new": video is not None}).encode() + b"\n"
        if video is None:
            self._fork.sendall(line)
        else:
            socket.send_fds(self._fork, [line], [video])

    def receive(self, size: int, seconds: float) -> bytes:
        """What the fork answers, up to so many bytes; none at its end."""
        assert self._fork is not None
        self._fork.settimeout(seconds)
        return self._fork.recv(size)

    def _start_fork(self) -> None:
        self.shared = nameless_file()
        os.truncate(self.shared, SHARED_BYTES)  # takes no memory before it is written to
        self._fork, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"f"], [theirs.fileno(), self.shared])

    def end_fork(self) -> int | None:
        """How the fork ended, negative for a signal; None if that is not told."""
        if self._fork is None:
            return None
        self._fork.close()
        os.close(self.shared)
        self._fork, self._videos = None, 0
        return self._status(_END_SECONDS)

    def _status(self, seconds: float) -> int | None:
        self._control.settimeout(seconds)
        try:
            said = self._control.recv(4)
        except (TimeoutError, ConnectionResetError):
            said = b""
        if len(said) != 4:
            self.kill()
            return None
        return int(struct.unpack("<i", said)[0])

    def give_back(self) -> None:
        """Keep it for the next video, unless it is gone or enough are kept."""
        if self.is_gone:
            return
        with _lock:
            waiting = _idle.setdefault(self._limits, [])
            keep = len(waiting) < cores()
            if keep:
                waiting.append(self)
        if not keep:
            self.kill()

    def kill(self) -> None:
        """End it and its fork."""
        if not self._let_go_of:  # later, the number may be that of somebody else's processes
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._let_go()

    def disown(self) -> None:
        """Leave it to the process that started it; for a fork of that one."""
        self.is_disowned = True
        self._process.returncode = 0  # else Popen warns of, and waits for, a child that is not its
        self._let_go()

    def _let_go(self) -> None:
        self._let_go_of = True
        self._control.close()
        if self._fork is not None:
            self._fork.close()
            os.close(self.shared)
            self._fork = None


def _no_start(why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The process that decodes untrusted videos does not start ({one_line(why)}). "
        "See `praxino doctor`."
    )


def one_line(text: str) -> str:
    """Without what could move a terminal's cursor, and short."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_MAX_TEXT])


def nameless_file(content: bytes = b"") -> int:
    """A descriptor of a file that is in no folder; in memory on Linux."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("praxino")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor


_idle: dict[Limits, list[ChildProcess]] = {}
_lock = threading.Lock()  # of the dict and its lists
_started: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


def take(limits: Limits) -> ChildProcess:
    """One with these limits that is ready for a video: one that is kept, or a new one."""
    while True:
        with _lock:
            waiting = _idle.get(limits)
            process = waiting.pop() if waiting else None
        if process is None:
            return ChildProcess(limits)
        if not process.is_gone:
            return process
        process.kill()


def end_idle() -> None:
    """End all that are kept for the next video."""
    for process in _all_idle():
        process.kill()


def _all_idle() -> list[ChildProcess]:
    with _lock:
        processes = [process for waiting in _idle.values() for process in waiting]
        _idle.clear()
    return processes


def _disown_all() -> None:
    # Those in use, too: as long as a fork held their sockets, they would outlive their parent.
    global _lock
    _lock = threading.Lock()  # the old one may have been held by a thread that is not in the fork
    _idle.clear()
    for process in list(_started):
        process.disown()


atexit.register(end_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
