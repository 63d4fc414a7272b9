"""Untrusted videos: decoded in another process, which can be attacked but not attack.

    with ChildVideo(check_source("upload.mp4"), short_side=128, threads=1) as video: ...

The same frames and errors as in-process, and three errors more: `decoder_crash`, `memory` and
`timeout`. The process that decodes opens no file, has no network, and is bounded in memory and
time (`sandbox.py`; `sandbox_report` tells what holds here). What it sends is not believed: numbers
are checked, text is cut, and pixels are read into arrays whose size was known before.
"""

import atexit
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from praxino.devices import cores
from praxino.errors import EnvironmentFault, VideoError
from praxino.video.convert import MAX_PIXELS, check_size
from praxino.video.decoder import CODECS, Source, open_regular
from praxino.video.frame_table import MAX_FRAMES, FrameTable
from praxino.video.reader import Frame, Video

SHARED_BYTES = 3 * MAX_PIXELS  # through which pictures come: one of the largest at least
NUMBERS_AT_ONCE = 2**19  # of an array of 8-byte numbers, through the same

# What `sandbox.locks_that_hold` tries, and what the decoding could do without.
DOORS = {
    "no_files": "open files",
    "no_network": "reach the network",
    "no_programs": "run programs",
    "no_processes": "start processes",
    "no_signals": "send signals",
    "memory_limit": "take any memory",
    "cpu_limit": "take any time",
}

WAY_OUT = "Leave the file out, or write it anew with ffmpeg -i."
OUT_OF_MEMORY_MESSAGE = (
    "its decoding needs more memory than it may have. Leave it out, or raise Limits.memory_bytes."
)
OUT_OF_MEMORY = 77  # exit status of a child that can make no answer for want of memory

_PROGRAM = ("-m", "praxino.video.child_main")
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_START_SECONDS = 60.0  # for imports, on a busy machine with a cold disk
_END_SECONDS = 10.0  # to end, for a fork that is done
_TELL_SECONDS = 1.0  # to take in what has no answer
_MAX_ANSWER = 2**16  # bytes
_MAX_TEXT = 400  # characters of one message
_MOST = 1e18  # of any number that is not whole
_LEAST_GAP = 1e-12  # seconds between two frames
_FRAMES_AT_ONCE, _BYTES_AT_ONCE = 64, 4 * 2**20  # of one request: what caches hold

_CODES = ("damaged", "no_video_stream", "codec_not_allowed", "too_large", "memory", "decoder_crash")

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


class ChildVideo(Video):
    """A video that is decoded in a process of its own; made by `open_video(untrusted=True)`.

    Args:
        source: what `check_source` let through.
        short_side: as in `open_video`.
        threads: decoding threads, at least 1.
        limits: what this video may take.

    Raises:
        VideoError: as `open_video`; and here or in any later read `decoder_crash`, `memory` or
            `timeout`, after which every further read raises the same.
        EnvironmentFault: this system cannot start such a process, or it is a Linux that can keep
            it neither from files nor from the network. A lock that is missing beside one that
            holds, and all that other systems lack, is told in `info.problems`.
    """

    def __init__(
        self, source: Source, short_side: int | None, threads: int, limits: Limits = Limits()
    ) -> None:
        self._table: FrameTable | None = None
        self._numbers = count()
        self._pictures: _Pictures | None = None
        self._session = _Session(source, limits)
        try:
            said = self._session.begin(
                "open", container=source.container, short_side=short_side, threads=threads
            )
            super().__init__(source.name, said.text("codec", CODECS), source.container)
            self._size = said.whole("height", 1), said.whole("width", 1)
            check_size(source.name, *self._size)
            self._rotation = said.whole("rotation", 0, 359)
            self._pixel_aspect = said.number("pixel_aspect", -_MOST)
            self._frames_declared = said.whole_or_none("frames_declared")
            self._profile = said.text("profile")
            self._pixel_format = said.text("pixel_format")
            self._other_streams = tuple(said.texts("other_streams"))
            self._tick = said.number("tick")
        except BaseException:
            self._session.close()
            raise
        self._at_once = max(1, min(_FRAMES_AT_ONCE, _BYTES_AT_ONCE // (3 * math.prod(self._size))))

    def _scanned(self) -> FrameTable:
        self._session.check_open()
        if self._table is None:
            said = self._ask("table")
            frames = said.whole("frames", 1, MAX_FRAMES)
            seconds = self._column("seconds", frames, np.float64)
            said.check("seconds", ((seconds >= 0) & (seconds <= _MOST)).all())
            said.check("seconds", (np.diff(seconds) >= _LEAST_GAP).all())
            self._table = FrameTable(
                seconds,
                said.number("last_seconds", _LEAST_GAP),
                said.whole_or_none("expected"),
                key_frames=self._key_frames(said, frames),
            )
        return self._table

    def _key_frames(self, said: "_Said", frames: int) -> NDArray[np.int64]:
        key_frames = self._column("key_frames", said.whole("key_frames", 0, frames), np.int64)
        said.check("key_frames", ((key_frames >= 0) & (key_frames < frames)).all())
        said.check("key_frames", (np.diff(key_frames) > 0).all())
        return key_frames

    def _column(self, name: str, length: int, kind: DTypeLike) -> NDArray[Any]:
        """One array of the frame table, a piece at a time."""
        column: NDArray[Any] = np.empty(length, kind)
        for start in range(0, length, NUMBERS_AT_ONCE):
            self._ask("column", name=name, start=start)
            self._session.read_shared(column[start : start + NUMBERS_AT_ONCE], 0)
        return column

    @property
    def frames_got(self) -> int:
        """Frames that are there and decode, as far as has been read; for the ledger's `partial`."""
        frames = len(self)
        return self._ask("state").whole("frames_got", 0, frames)

    def _problems(self, table: FrameTable) -> list[str]:
        said = self._ask("state")
        # Reading may show that some are none.
        if said.whole("key_frames", 0, len(table.seconds)) != len(table.key_frames):
            table.key_frames = self._key_frames(said, len(table.seconds))
        return said.texts("problems") + self._session.open_doors

    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        return next(self._fetch_all(np.array([index])))

    def _fetch_all(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for start in range(0, len(indices), self._at_once):
            wanted = indices[start : start + self._at_once].tolist()
            said = self._ask("frames", indices=wanted)
            shown = said.wholes("indices", len(wanted), len(wanted))
            said.check("indices", all(i <= index for i, index in zip(shown, wanted, strict=True)))
            yield from zip(shown, self._answered(len(shown)), strict=True)

    def __iter__(self) -> Iterator[Frame]:
        self._session.check_open()
        number = next(self._numbers)
        given, last_index, last_seconds, more = 0, -1, -1.0, True
        try:
            while more:
                said = self._ask("more", number=number, after=given, count=self._at_once)
                indices = said.wholes("indices", 0, self._at_once)
                seconds = said.numbers("seconds", len(indices))
                said.check("indices", all(i < j for i, j in pairwise([last_index, *indices])))
                said.check("seconds", all(s < t for s, t in pairwise([last_seconds, *seconds])))
                given += len(indices)
                if indices:
                    last_index, last_seconds = indices[-1], seconds[-1]
                yield from map(Frame, self._answered(len(indices)), seconds, indices)
                more = said.flag("more")
                said.check("more", indices or not more)
        finally:
            self._session.tell("stop", number=number)

    def _ask(self, do: str, **arguments: object) -> "_Said":
        if self._pictures is not None:
            self._pictures.keep()  # the answer will be where they are
        return self._session.ask(do, **arguments)

    def _answered(self, how_many: int) -> Iterator[NDArray[np.uint8]]:
        """The frames that came with the last answer."""

        def picture(place: int) -> NDArray[np.uint8]:
            pixels = np.empty((*self._size, 3), np.uint8)
            self._session.read_shared(pixels, place * pixels.nbytes)
            return pixels

        self._pictures = _Pictures(picture, how_many)
        return iter(self._pictures)

    def close(self) -> None:
        """Give the decoding process back."""
        self._session.close()
        self._table, self._pictures = None, None


def sandbox_report(limits: Limits = Limits()) -> dict[str, bool]:
    """What a decoding process really cannot do on this machine; it has tried.

    Returns:
        `no_files`, `no_network`, `no_programs`, `no_processes`, `no_signals`, `memory_limit`,
        `cpu_limit`.

    Raises:
        EnvironmentFault: this system cannot start such a process, or not lock it at all.
    """
    with closing(_Session(Source("sandbox", None, b"", ""), limits)) as session:
        return session.begin("locks").flags("locks")


class _Pictures:
    """Frames in the shared memory: taken out one by one, or all at once when it is needed.

    Args:
        read: gives the frame at a place.
        how_many: of them there are.
    """

    def __init__(self, read: Callable[[int], NDArray[np.uint8]], how_many: int) -> None:
        self._read, self._next, self._how_many = read, 0, how_many
        self._kept: deque[NDArray[np.uint8]] = deque()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        while self._next < self._how_many:
            picture = self._kept.popleft() if self._kept else self._read(self._next)
            self._next += 1
            yield picture

    def keep(self) -> None:
        """Read those that nobody has taken yet."""
        if not self._kept:
            self._kept.extend(map(self._read, range(self._next, self._how_many)))


class _Died(Exception):
    """A child that ended before it answered; holds code and message of the error to come."""


class _Session:
    """One video's talk with a child. What comes is untrusted until a `_Said` has checked it.

    A child that has read other videos may die of one of those. Then a fresh one is asked, so that
    each video answers for itself alone.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        self.name, self._limits, self._seconds_left = source.name, limits, limits.wall_seconds
        self._error: VideoError | None = None
        self._closed = self._busy = False
        if source.path is not None:
            self._video = open_regular(source.name, source.path)
        else:
            self._video = _nameless_file(source.content)
        try:
            self._process = _take(limits)
        except BaseException:
            os.close(self._video)
            raise

    def begin(self, do: str, **arguments: object) -> "_Said":
        """Hand over the video with the first request, and wait for the answer."""
        self._first = {"do": do, **arguments}
        return self._try_twice(self._hand_over, self._hand_over_afresh)

    def ask(self, do: str, **arguments: object) -> "_Said":
        """Ask, and wait for the answer. Nothing asked for may depend on what was asked before."""

        def send() -> _Said:
            return self._exchange({"do": do, **arguments})

        def begin_and_send() -> _Said:
            self._hand_over_afresh()
            return send()

        self.check_open()
        return self._try_twice(send, begin_and_send)

    def tell(self, do: str, **arguments: object) -> None:
        """Say what has no answer, if anybody listens."""
        if not self._closed and not self._busy and self._error is None:
            try:
                self._process.send({"do": do, **arguments}, _TELL_SECONDS)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the next one who needs an answer meets that
            except OSError:  # it does not listen, and may have got half of it
                self._process.kill()

    def read_shared(self, into: NDArray[Any], place: int) -> None:
        """Fill an array from the shared memory, from this byte on.

        By a system call: were it mapped here too, a child that makes it shorter would kill us.
        """
        self.check_open()
        rest = into.reshape(-1).view(np.uint8).data
        while rest:
            got = os.preadv(self._process.shared, [rest], place)
            if got == 0:
                self.broken("too little memory")
            rest, place = rest[got:], place + got

    def broken(self, what: str) -> NoReturn:
        """The child says what no sound decoder says; it is not listened to any longer."""
        self._process.kill()
        self._fail("decoder_crash", f"its decoder is out of order (it sent {what}). {WAY_OUT}")

    def close(self) -> None:
        """End the child's work on this video, and keep the process for the next one."""
        if self._closed:
            return
        try:
            self.tell("close")
        finally:
            self._closed = True
            os.close(self._video)
            if self._busy:
                self._process.kill()
            self._process.give_back()

    @property
    def open_doors(self) -> list[str]:
        """A sentence if the process is not locked in as it should be."""
        could = self._process.could
        if not could:
            return []
        return [f"its decoding was not locked in fully: on this system it could {', '.join(could)}"]

    def check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.name} is closed. Read it inside its with block.")
        if self._error is not None:
            raise self._error
        if self._busy:
            raise ValueError(f"{self.name}: a read of it was interrupted. Open it again.")

    def _try_twice(self, attempt: Callable[[], "_Said"], again: Callable[[], "_Said"]) -> "_Said":
        try:
            return attempt()
        except _Died as died:
            if not self._was_used:
                self._fail(*died.args)
        try:
            return again()
        except _Died as died:
            self._fail(*died.args)

    def _hand_over(self) -> "_Said":
        self._was_used = self._process.is_used
        return self._exchange(self._first, self._video)

    def _hand_over_afresh(self) -> "_Said":
        self._process.end_fork()
        if self._process.is_gone:
            self._process = _take(self._limits)
            self._process.end_fork()
        return self._hand_over()

    def _exchange(self, request: dict[str, object], video: int | None = None) -> "_Said":
        self._busy = True
        try:
            self._in_time(lambda seconds: self._process.send(request, seconds, video))
            size = int.from_bytes(self._receive(4), "little")
            text = self._receive(size) if size <= _MAX_ANSWER else b""
        except TimeoutError:
            self._process.kill()
            self._fail(
                "timeout",
                f"its decoding takes more than {self._limits.wall_seconds:g} s, the limit. "
                "Cut it into shorter files, or raise Limits.wall_seconds.",
            )
        except (BrokenPipeError, ConnectionResetError):
            self._busy = False
            raise _Died(*_cause_of_death(self._process.end_fork(), self._limits)) from None
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            self.broken(f"{size} bytes that are no answer")
        self._busy = False
        if not isinstance(said, dict):
            self.broken("an answer without fields")
        if "error" in said:
            code, message = str(said.get("code")), _one_line(str(said["error"]))
            if code in ("memory", "decoder_crash"):
                self._process.end_fork()
                raise _Died(code, message)
            raise VideoError(self.name, message, code=code if code in _CODES else "damaged")
        return _Said(said, self.broken)

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            missing = size - len(received)
            piece = self._in_time(partial(self._process.receive, missing))
            if not piece:
                raise ConnectionResetError
            received += piece
        return bytes(received)

    def _in_time(self, act: Callable[[float], Any]) -> Any:
        """Do what takes a number of seconds at most, and count those that it took."""
        if self._seconds_left <= 0:
            raise TimeoutError
        start = time.monotonic()
        try:
            return act(self._seconds_left)
        finally:
            self._seconds_left -= time.monotonic() - start

    def _fail(self, code: str, message: str) -> NoReturn:
        self._error = VideoError(self.name, message, code=code)
        raise self._error from None


class _Said:
    """Checks the fields of one answer.

    Args:
        fields: as they came.
        broken: called with what is wrong; does not return.
    """

    def __init__(self, fields: dict[str, object], broken: Callable[[str], NoReturn]) -> None:
        self._fields, self._broken = fields, broken

    def check(self, name: str, holds: object) -> None:
        """The caller's own condition on a field."""
        if not holds:
            self._broken(f"a wrong {name!r}")

    def whole(self, name: str, low: int = 0, high: int = 2**62) -> int:
        """A whole number in `[low, high]`."""
        value = self._fields.get(name)
        if type(value) is not int or not low <= value <= high:
            self._broken(f"a wrong {name!r}")
        return value

    def whole_or_none(self, name: str) -> int | None:
        """A whole number, or nothing."""
        return None if self._fields.get(name) is None else self.whole(name, -(2**62))

    def number(self, name: str, low: float = 0.0) -> float:
        """A number in `[low, 1e18]`."""
        value = self._fields.get(name)
        if type(value) not in (int, float) or not low <= value <= _MOST:  # type: ignore[operator]
            self._broken(f"a wrong {name!r}")
        return float(value)  # type: ignore[arg-type]

    def text(self, name: str, allowed: Container[str] | None = None) -> str:
        """One short line."""
        value = self._fields.get(name)
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            self._broken(f"a wrong {name!r}")
        return _one_line(value)

    def texts(self, name: str) -> list[str]:
        """A few short lines."""
        values = self._fields.get(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self._broken(f"a wrong {name!r}")
        return [_one_line(value) for value in values]

    def wholes(self, name: str, fewest: int, most: int) -> list[int]:
        """That many whole numbers in `[0, MAX_FRAMES)`."""
        values = self._fields.get(name)
        if not isinstance(values, list) or not fewest <= len(values) <= most:
            self._broken(f"a wrong {name!r}")
        if not all(type(value) is int and 0 <= value < MAX_FRAMES for value in values):
            self._broken(f"a wrong {name!r}")
        return values

    def numbers(self, name: str, how_many: int) -> list[float]:
        """That many numbers in `[0, 1e18]`."""
        values = self._fields.get(name)
        if not isinstance(values, list) or len(values) != how_many:
            self._broken(f"a wrong {name!r}")
        if not all(type(value) is float and 0 <= value <= _MOST for value in values):
            self._broken(f"a wrong {name!r}")
        return values

    def flag(self, name: str) -> bool:
        """Yes or no."""
        return self._fields.get(name) is True

    def flags(self, name: str) -> dict[str, bool]:
        """Names with yes or no."""
        values = self._fields.get(name)
        if not isinstance(values, dict):
            self._broken(f"a wrong {name!r}")
        return {_one_line(key): value is True for key, value in values.items()}


def _one_line(text: str) -> str:
    """Without what could move a terminal's cursor, and short."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_MAX_TEXT])


def _cause_of_death(status: int | None, limits: Limits) -> tuple[str, str]:
    """Code and message for an exit status; negative ones are signals."""
    if status == -signal.SIGXCPU:
        return (
            "timeout",
            f"its decoding takes more than {limits.cpu_seconds} s of processor time, the limit. "
            "Cut it into shorter files, or raise Limits.cpu_seconds.",
        )
    if status == OUT_OF_MEMORY:
        return "memory", OUT_OF_MEMORY_MESSAGE
    if status is None:
        name = "its process is gone"
    elif status >= 0:
        name = f"exit status {status}"
    elif -status in set(signal.Signals):
        name = signal.Signals(-status).name
    else:
        name = f"signal {-status}"
    return "decoder_crash", f"its decoder died ({name}). {WAY_OUT}"


class _ChildProcess:
    """A process that forks another one, which reads videos; see `child_main.py`."""

    def __init__(self, limits: Limits) -> None:
        if not hasattr(socket, "send_fds"):
            raise EnvironmentFault(
                f"Untrusted videos need Linux or macOS, not {sys.platform}. "
                "Decode them in a virtual machine with one."
            )
        self._limits, self._let_go_of = limits, False
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
        self.shared = _nameless_file()
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
        f"The process that decodes untrusted videos does not start ({_one_line(why)}). "
        "See `praxino doctor`."
    )


_idle: dict[Limits, list[_ChildProcess]] = {}
_lock = threading.Lock()  # of the dict and its lists


def _take(limits: Limits) -> _ChildProcess:
    while True:
        with _lock:
            waiting = _idle.get(limits)
            process = waiting.pop() if waiting else None
        if process is None:
            return _ChildProcess(limits)
        if not process.is_gone:
            return process
        process.kill()


def _nameless_file(content: bytes = b"") -> int:
    """A descriptor of a file that is in no folder; in memory on Linux."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("praxino")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor


def _end_idle() -> None:
    for process in _all_idle():
        process.kill()


def _all_idle() -> list[_ChildProcess]:
    with _lock:
        processes = [process for waiting in _idle.values() for process in waiting]
        _idle.clear()
    return processes


def _disown_idle() -> None:
    global _lock
    _lock = threading.Lock()  # the old one may have been held by a thread that is not in the fork
    for process in _all_idle():
        process.disown()


atexit.register(_end_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_idle)
