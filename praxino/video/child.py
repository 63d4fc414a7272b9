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
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from praxino.errors import EnvironmentFault, VideoError
from praxino.video.convert import check_size
from praxino.video.decoder import CODECS, Source, open_regular
from praxino.video.frame_table import MAX_FRAMES, FrameTable
from praxino.video.reader import Frame, Video

WAY_OUT = "Leave the file out, or write it anew with ffmpeg -i."
OUT_OF_MEMORY_MESSAGE = (
    "its decoding needs more memory than it may have. Leave it out, or raise Limits.memory_bytes."
)
OUT_OF_MEMORY = 77  # exit status of a child that can make no answer for want of memory

_PROGRAM = ("-m", "praxino.video.child_main")
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_START_SECONDS = 60.0  # for imports, on a busy machine with a cold disk
_END_SECONDS = 10.0  # to end, for a fork that is done
_MAX_HEADER = 2**16  # bytes
_MAX_TEXT = 400  # characters of one message
_FRAMES_AT_ONCE, _BYTES_AT_ONCE = 16, 16 * 2**20  # of one request

_CODES = ("damaged", "no_video_stream", "codec_not_allowed", "too_large", "memory", "decoder_crash")

# Of the parent's environment only this goes to the child: no keys, no tokens.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")


@dataclass(frozen=True)
class Limits:
    """What the decoding of one video may take.

    Args:
        memory_bytes: address space of the decoding process beyond that of its start.
        cpu_seconds: processor time over all threads.
        wall_seconds: time spent waiting for the decoding process.

    Raises:
        ValueError: a limit is not above 0.
    """

    memory_bytes: int = 2 * 2**30
    cpu_seconds: int = 600
    wall_seconds: float = 900.0

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
        EnvironmentFault: this system cannot start such a process.
    """

    def __init__(
        self, source: Source, short_side: int | None, threads: int, limits: Limits = Limits()
    ) -> None:
        self._table: FrameTable | None = None
        self._numbers = count()
        self._session = _Session(source, limits)
        try:
            with self._session.request(
                "open", container=source.container, short_side=short_side, threads=threads
            ) as answer:
                said = answer()
                codec = said.text("codec", CODECS)
                height, width = said.whole("height", 1), said.whole("width", 1)
                self._rotation = said.whole("rotation", 0, 359)
                self._pixel_aspect = said.number("pixel_aspect", -math.inf)
                self._frames_declared = said.whole_or_none("frames_declared")
                self._profile = said.text("profile")
                self._pixel_format = said.text("pixel_format")
                self._other_streams = tuple(said.texts("other_streams"))
                self._tick = said.number("tick")
            check_size(source.name, width, height)
        except BaseException:
            self._session.close()
            raise
        super().__init__(source.name, codec, source.container)
        self._size = height, width

    def _scanned(self) -> FrameTable:
        self._session.check_open()
        if self._table is None:
            with self._session.request("table") as answer:
                said = answer()
                frames = said.whole("frames", 1, MAX_FRAMES)
                seconds = self._session.array((frames,), np.float64)
                key_frames = self._session.array((said.whole("key_frames", 0, frames),), np.int64)
                said.check("seconds", np.isfinite(seconds).all() and seconds[0] >= 0)
                said.check("seconds", (np.diff(seconds) > 0).all())
                said.check("key_frames", ((key_frames >= 0) & (key_frames < frames)).all())
                last_seconds = said.number("last_seconds")
                expected = said.whole_or_none("expected")
            self._table = FrameTable(seconds, last_seconds, expected, key_frames=key_frames)
        return self._table

    @property
    def frames_got(self) -> int:
        """Frames that are there and decode, as far as has been read; for the ledger's `partial`."""
        frames = len(self)
        with self._session.request("state") as answer:
            return answer().whole("frames_got", 0, frames)

    def _problems(self, table: FrameTable) -> list[str]:
        with self._session.request("state") as answer:
            return answer().texts("problems")

    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        return next(self._fetch_all(np.array([index])))

    def _fetch_all(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for start in range(0, len(indices), self._at_once):
            wanted = indices[start : start + self._at_once].tolist()
            with self._session.request("frames", indices=wanted) as answer:
                found = [(answer().whole("index", 0, index), self._picture()) for index in wanted]
            yield from found

    def __iter__(self) -> Iterator[Frame]:
        number = next(self._numbers)
        index, seconds, more = -1, -1.0, True
        try:
            while more:
                # All that are asked for are taken before the first is given: in between, the
                # caller may read other frames.
                found: list[Frame] = []
                with self._session.request("more", number=number, count=self._at_once) as answer:
                    while (said := answer()).has("index"):
                        said.check("index", len(found) < self._at_once)
                        index = said.whole("index", index + 1, MAX_FRAMES)
                        seconds = said.number("seconds", math.nextafter(seconds, math.inf))
                        found.append(Frame(self._picture(), seconds, index))
                    more = said.has("more")
                yield from found
        finally:
            self._session.stop(number)

    @property
    def _at_once(self) -> int:
        return max(1, min(_FRAMES_AT_ONCE, _BYTES_AT_ONCE // (3 * math.prod(self._size))))

    def _picture(self) -> NDArray[np.uint8]:
        return self._session.array((*self._size, 3), np.uint8)

    def close(self) -> None:
        """Give the decoding process back."""
        self._session.close()
        self._table = None


def sandbox_report(limits: Limits = Limits()) -> dict[str, bool]:
    """What a decoding process really cannot do on this machine; it has tried.

    Returns:
        `no_files`, `no_network`, `no_programs`, `no_processes`, `memory_limit`, `cpu_limit`.

    Raises:
        EnvironmentFault: this system cannot start such a process.
    """
    session = _Session(Source("sandbox", None, b"none", ""), limits)
    try:
        with session.request("locks") as answer:
            return answer().flags("locks")
    finally:
        session.close()


class _Session:
    """One video's talk with its child. What comes is untrusted until a `_Said` has checked it."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.name, self._limits, self._seconds_left = source.name, limits, limits.wall_seconds
        self._error: VideoError | None = None
        self._closed = self._busy = False
        self._process, self._socket = _start_video(source, limits)

    def check_open(self) -> None:
        """Refuse what can no longer be answered."""
        if self._closed:
            raise ValueError(f"{self.name} is closed. Read it inside its with block.")
        if self._error is not None:
            raise self._error
        if self._busy:
            raise ValueError(f"{self.name}: a read of it was interrupted. Open it again.")

    @contextmanager
    def request(self, do: str, **arguments: object) -> Iterator[Callable[[], "_Said"]]:
        """Ask; what is given returns the next answer. All answers are to be taken."""
        self.check_open()
        self._busy = True
        with self._told():
            self._socket.settimeout(self._seconds_left)
            self._socket.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        yield self._answer
        self._busy = False

    def stop(self, number: int) -> None:
        """Tell that no more frames of this pass are needed."""
        if not (self._closed or self._busy or self._error):
            with self.request("stop", number=number):
                pass  # there is no answer

    def _answer(self) -> "_Said":
        size = int(self.array((1,), np.dtype("<u4"))[0])
        if size > _MAX_HEADER:
            self.broken(f"an answer of {size} bytes")
        try:
            said = json.loads(self.array((size,), np.uint8).tobytes())
        except (ValueError, RecursionError):
            self.broken("an answer that is no JSON")
        if not isinstance(said, dict):
            self.broken("an answer without fields")
        if "error" in said:
            code, message = str(said.get("code")), _one_line(str(said["error"]))
            self._busy = False
            if code in ("memory", "decoder_crash"):
                self._fail(code, message)
            raise VideoError(self.name, message, code=code if code in _CODES else "damaged")
        return _Said(said, self.broken)

    def array(self, shape: tuple[int, ...], kind: DTypeLike) -> NDArray[Any]:
        """Bytes that follow an answer, as an array of a shape that the caller has checked."""
        filled: NDArray[Any] = np.empty(shape, kind)
        rest = filled.data.cast("B") if filled.size else memoryview(b"")
        with self._told():
            while rest:
                self._socket.settimeout(max(self._seconds_left, 0.001))
                asked = time.monotonic()
                try:
                    got = self._socket.recv_into(rest)
                finally:
                    self._seconds_left -= time.monotonic() - asked
                if got == 0:
                    raise ConnectionResetError
                rest = rest[got:]
        return filled

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Silence and sudden death of the child become errors."""
        try:
            yield
        except TimeoutError:
            self._process.kill()
            self._fail(
                "timeout",
                f"its decoding takes more than {self._limits.wall_seconds:g} s, the limit. "
                "Cut it into shorter files, or raise Limits.wall_seconds.",
            )
        except (BrokenPipeError, ConnectionResetError):
            self._fail(*_cause_of_death(self._process.status(_END_SECONDS), self._limits))

    def broken(self, what: str) -> NoReturn:
        """The child says what no sound decoder says; it is not listened to any longer."""
        self._process.kill()
        self._fail("decoder_crash", f"its decoder is out of order (it sent {what}). {WAY_OUT}")

    def _fail(self, code: str, message: str) -> NoReturn:
        self._error = VideoError(self.name, message, code=code)
        self._end()
        raise self._error from None

    def _end(self) -> None:
        self._socket.close()
        if self._busy:
            self._process.kill()
        self._process.give_back()

    def close(self) -> None:
        """End the child's work on this video, and keep the process for the next one."""
        if not self._closed:
            self._closed = True
            if self._error is None:
                self._end()


class _Said:
    """Checks the fields of one answer.

    Args:
        fields: as they came.
        broken: called with what is wrong; does not return.
    """

    def __init__(self, fields: dict[str, object], broken: Callable[[str], NoReturn]) -> None:
        self._fields, self._broken = fields, broken

    def has(self, name: str) -> bool:
        """Whether the field is there and says something."""
        value = self._fields.get(name)
        return value is not None and value is not False

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
        """A finite number, at least `low`."""
        value = self._fields.get(name)
        if type(value) not in (int, float) or not low <= value < math.inf:  # type: ignore[operator]
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
    name = "its process is gone"
    if status is not None:
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return "decoder_crash", f"its decoder died ({name}). {WAY_OUT}"


class _ChildProcess:
    """A process that forks once for each video; see `child_main.py`."""

    def __init__(self, limits: Limits) -> None:
        if not hasattr(socket, "send_fds"):
            raise EnvironmentFault(
                f"Untrusted videos need Linux or macOS, not {sys.platform}. "
                "Decode them in a virtual machine with one."
            )
        self._idle = _idle.setdefault((limits.memory_bytes, limits.cpu_seconds), [])
        self._control, theirs = socket.socketpair()
        search = [_PACKAGE_PARENT, *(os.path.abspath(path) for path in sys.path if path)]
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        numbers = theirs.fileno(), limits.memory_bytes, limits.cpu_seconds
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", *_PROGRAM, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                # One arena, or each thread reserves 64 MB of the address space that is counted.
                env=kept | {"PYTHONPATH": os.pathsep.join(search), "MALLOC_ARENA_MAX": "1"},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # so that Ctrl-C is the parent's business
            )
        self._owes_status = True
        complaints = self._process.stderr
        assert complaints is not None
        with complaints:
            if self.status(_START_SECONDS) != 0:
                lines = complaints.read().decode(errors="replace").strip().splitlines()
                why = _one_line(lines[-1]) if lines else f"not ready in {_START_SECONDS:.0f} s"
                raise EnvironmentFault(
                    f"The process that decodes untrusted videos does not start ({why}). "
                    "See `praxino doctor`."
                )

    def start_video(self, descriptor: int) -> socket.socket:
        """The socket of a fresh fork that has this video."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"v"], [theirs.fileno(), descriptor])
        self._owes_status = True
        return ours

    def status(self, seconds: float) -> int | None:
        """How the last fork ended; None, and the end of this process, if that is not told."""
        self._control.settimeout(seconds)
        try:
            said = self._control.recv(4)
        except (TimeoutError, ConnectionResetError):
            said = b""
        if len(said) != 4:
            self.kill()
            return None
        self._owes_status = False
        return int(struct.unpack("<i", said)[0])

    def is_ready(self) -> bool:
        """Whether it can take a video."""
        if self._owes_status and self.status(_END_SECONDS) is None:
            return False
        return self._process.poll() is None

    def give_back(self) -> None:
        """Keep it for the next video, unless it is gone."""
        if self._process.returncode is None:
            self._idle.append(self)

    def kill(self) -> None:
        """End it and its fork."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._control.close()

    def disown(self) -> None:
        """Leave it to the process that started it; for a fork of that one."""
        self._control.close()
        self._process.returncode = 0  # else Popen warns of, and waits for, a child that is not its


_idle: dict[tuple[int, int], list[_ChildProcess]] = {}  # by memory and processor time


def _start_video(source: Source, limits: Limits) -> tuple[_ChildProcess, socket.socket]:
    if source.path is not None:
        descriptor = open_regular(source.name, source.path)
    else:
        descriptor = _in_memory(source.content)
    try:
        waiting = _idle.get((limits.memory_bytes, limits.cpu_seconds), [])
        while waiting:
            process = waiting.pop()
            if process.is_ready():
                with suppress(BrokenPipeError):  # it ended just now
                    return process, process.start_video(descriptor)
            process.kill()
        process = _ChildProcess(limits)
        return process, process.start_video(descriptor)
    finally:
        os.close(descriptor)


def _in_memory(content: bytes) -> int:
    """A descriptor of a file with this content and no name."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(content)
        return os.dup(file.fileno())


def _end_idle() -> None:
    for waiting in _idle.values():
        while waiting:
            waiting.pop().kill()


def _disown_idle() -> None:
    for waiting in _idle.values():
        while waiting:
            waiting.pop().disown()


atexit.register(_end_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_idle)
