"""The talk about one video with the process that decodes it, none of which is believed."""

import json
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from functools import partial
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from praxino.errors import VideoError
from praxino.video.child_process import Limits, nameless_file, one_line, take
from praxino.video.child_protocol import OUT_OF_MEMORY, OUT_OF_MEMORY_MESSAGE, WAY_OUT
from praxino.video.decoder import Source, open_regular
from praxino.video.frame_table import MAX_FRAMES

MOST = 1e18  # of any number that is not whole
_MAX_ANSWER = 2**16  # bytes
_TELL_SECONDS = 1.0  # to take in what has no answer

_CODES = ("damaged", "no_video_stream", "codec_not_allowed", "too_large", "memory", "decoder_crash")


class Said:
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
        if type(value) not in (int, float) or not low <= value <= MOST:  # type: ignore[operator]
            self._broken(f"a wrong {name!r}")
        return float(value)  # type: ignore[arg-type]

    def text(self, name: str, allowed: Container[str] | None = None) -> str:
        """One short line."""
        value = self._fields.get(name)
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            self._broken(f"a wrong {name!r}")
        return one_line(value)

    def texts(self, name: str) -> list[str]:
        """A few short lines."""
        values = self._fields.get(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self._broken(f"a wrong {name!r}")
        return [one_line(value) for value in values]

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
        if not all(type(value) is float and 0 <= value <= MOST for value in values):
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
        return {one_line(key): value is True for key, value in values.items()}


class Pictures:
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


class Session:
    """One video's talk with a child. What comes is untrusted until a `Said` has checked it.

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
            self._video = nameless_file(source.content)
        try:
            self._process = take(limits)
        except BaseException:
            os.close(self._video)
            raise

    def begin(self, do: str, **arguments: object) -> Said:
        """Hand over the video with the first request, and wait for the answer."""
        self._first = {"do": do, **arguments}
        return self._try_twice(self._hand_over, self._hand_over_afresh)

    def ask(self, do: str, **arguments: object) -> Said:
        """Ask, and wait for the answer. Nothing asked for may depend on what was asked before."""

        def send() -> Said:
            return self._exchange({"do": do, **arguments})

        def begin_and_send() -> Said:
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
        """Raise if it is closed, has failed, or was interrupted."""
        if self._closed:
            raise ValueError(f"{self.name} is closed. Read it inside its with block.")
        if self._error is not None:
            raise self._error
        if self._process.is_disowned:
            raise ValueError(
                f"{self.name} was opened before this process was forked. Open it here."
            )
        if self._busy:
            raise ValueError(f"{self.name}: a read of it was interrupted. Open it again.")

    def _try_twice(self, attempt: Callable[[], Said], again: Callable[[], Said]) -> Said:
        try:
            return attempt()
        except _Died as died:
            if not self._was_used:
                self._fail(*died.args)
        try:
            return again()
        except _Died as died:
            self._fail(*died.args)

    def _hand_over(self) -> Said:
        self._was_used = self._process.is_used
        return self._exchange(self._first, self._video)

    def _hand_over_afresh(self) -> Said:
        self._process.end_fork()
        if self._process.is_gone:
            self._process = take(self._limits)
            self._process.end_fork()
        return self._hand_over()

    def _exchange(self, request: dict[str, object], video: int | None = None) -> Said:
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
            code, message = str(said.get("code")), one_line(str(said["error"]))
            if code in ("memory", "decoder_crash"):
                self._process.end_fork()
                raise _Died(code, message)
            raise VideoError(self.name, message, code=code if code in _CODES else "damaged")
        return Said(said, self.broken)

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
