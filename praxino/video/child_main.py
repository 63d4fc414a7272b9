"""What `ChildVideo` runs: a process that decodes for its parent and can do nothing else.

It imports, warms up, locks itself, and then forks the one that really decodes, and another one when
that has died or had its share of videos: a video pays for no import. It is given open descriptors,
never names. Requests are lines of JSON; each has one answer, JSON behind its length. Pictures and
long columns of numbers are left in memory that it shares with its parent.
"""

import contextlib
import gc
import importlib
import itertools
import json
import mmap
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from praxino.errors import VideoError
from praxino.video import sandbox
from praxino.video.child_protocol import (
    DOORS,
    NUMBERS_AT_ONCE,
    OUT_OF_MEMORY,
    OUT_OF_MEMORY_MESSAGE,
    SHARED_BYTES,
    WAY_OUT,
)
from praxino.video.decoder import SizedFile, Source
from praxino.video.reader import FileVideo, Frame

# A GIF of three frames of four pixels. What decoding loads on demand, as NumPy does with some
# functions, is loaded by reading this, before files are out of reach.
_SMALLEST_VIDEO = bytes.fromhex(
    "47494638396102000200810000000000ffffff00000000000021f90400040000002c00000000020002000008"
    "060001080410100021f90401040001002c000000000200020081ffffff000000000000000000080600010804"
    "10100021f90401040002002c000000000200020081000000ffffff0000000000000806000108041010003b"
)

_START_CPU_SECONDS = 60  # more than it takes to try the locks

Answer = dict[str, object]


class PassedSource(Source):
    """A video whose open descriptor came from the parent."""

    def __init__(self, descriptor: int, container: str) -> None:
        super().__init__("video", None, b"", container)
        object.__setattr__(self, "descriptor", descriptor)  # the base class is frozen

    descriptor: int

    def open(self) -> SizedFile:
        """A handle with its own position."""
        return SizedFile(os.dup(self.descriptor))


def main(control: int, memory_bytes: int, cpu_seconds: int, videos: int) -> None:
    """Fork once for each (socket, shared memory) that comes, until the parent goes away.

    Args:
        control: descriptor of the socket to the parent.
        memory_bytes: `Limits.memory_bytes`.
        cpu_seconds: `Limits.cpu_seconds`.
        videos: `Limits.videos_per_process`.
    """
    parent = socket.socket(fileno=control)
    _warm_up()
    sandbox.lock(memory_bytes + SHARED_BYTES)
    parent.sendall(struct.pack("<i", _open_doors(memory_bytes + SHARED_BYTES)))  # ready
    gc.freeze()  # keeps the collector from touching, and so copying, the memory shared with forks
    # A signal handler makes the end of a fork something that can be waited for beside others.
    ended, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        message, descriptors, _, _ = socket.recv_fds(parent, 1, 2)
        if not message:
            return
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.set_wakeup_fd(-1)
                for end in (parent, ended, signalled):
                    end.close()
                sandbox.lock_fork((cpu_seconds + 1) * videos + 1)
                session = socket.socket(fileno=descriptors[0])
                serve(session, VideoOnRequest(descriptors[1], memory_bytes, cpu_seconds))
                status = 0
            except MemoryError:
                status = OUT_OF_MEMORY
            finally:
                os._exit(status)
        for descriptor in descriptors:
            os.close(descriptor)
        status = _wait(child, parent, ended)
        parent.sendall(struct.pack("<i", status))


def _open_doors(memory_bytes: int) -> int:
    """What a fork that is locked as all will be can still do; a bit for each of `DOORS`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        sandbox.lock_fork(_START_CPU_SECONDS)
        locks = sandbox.locks_that_hold(memory_bytes)
        os.write(writing, bytes(locks[door] for door in DOORS))
        os._exit(0)
    os.close(writing)
    held = os.read(reading, len(DOORS))
    os.close(reading)
    os.waitpid(child, 0)
    if len(held) < len(DOORS):
        raise SystemExit("it could not try its locks")
    return sum(1 << place for place, holds in enumerate(held) if not holds)


def _wait(child: int, parent: socket.socket, ended: socket.socket) -> int:
    """How the fork ended, negative for a signal. With the parent gone, it is ended.

    The kernel could be asked to end us with our parent, but takes the thread that started us for
    it, and that may end earlier.
    """
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        readable, _, _ = select.select([parent, ended], [], [])
        if ended in readable:
            ended.recv(2**12)
        elif not parent.recv(1, socket.MSG_PEEK):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise BrokenPipeError


def _warm_up() -> None:
    # PyAV imports what a kind of stream needs when it first meets one.
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):
            importlib.import_module(module.name)
    with FileVideo(Source("warm-up", None, _SMALLEST_VIDEO, "gif"), 1, 1) as video:
        told = video.info, video.frames([1, 0]).seconds.tolist(), [f.seconds for f in video]
    json.loads(json.dumps(str(told)))


def serve(session: socket.socket, asked: "VideoOnRequest") -> None:
    """Answer requests until the parent ends the session."""
    waiting = b""
    descriptors: list[int] = []
    while True:
        while b"\n" not in waiting:
            piece, received, _, _ = socket.recv_fds(session, 2**16, 1)
            if not piece:
                return
            waiting += piece
            descriptors += received
        first, _, waiting = waiting.partition(b"\n")
        request = json.loads(first)
        try:
            if request.pop("new"):  # its descriptor may have come with the request before
                asked.take(descriptors.pop())
            answer = getattr(asked, request.pop("do"))(**request)
        except VideoError as error:
            answer = {"error": error.message, "code": error.code}
        except MemoryError:
            answer = {"error": OUT_OF_MEMORY_MESSAGE, "code": "memory"}
        except Exception as error:  # told, since this process has no other place to complain
            message = f"its decoder failed ({type(error).__name__}: {error}). {WAY_OUT}"
            answer = {"error": message, "code": "decoder_crash"}
        if answer is not None:
            text = json.dumps(answer).encode()
            session.sendall(struct.pack("<I", len(text)) + text)


class VideoOnRequest:
    """The requests about one video at a time, a method each; what it returns is the answer.

    Args:
        shared: descriptor of `SHARED_BYTES` that the parent reads.
        memory_bytes: `Limits.memory_bytes`.
        cpu_seconds: `Limits.cpu_seconds`.
    """

    def __init__(self, shared: int, memory_bytes: int, cpu_seconds: int) -> None:
        self._memory_bytes, self._cpu_seconds = memory_bytes, cpu_seconds
        self._shared = np.frombuffer(mmap.mmap(shared, SHARED_BYTES), np.uint8)
        self._descriptor: int | None = None
        self._video: FileVideo
        self.close()

    def take(self, descriptor: int) -> None:
        """From now on it is about this video."""
        self.close()
        self._descriptor = descriptor
        sandbox.allow_cpu_seconds(self._cpu_seconds)

    def close(self) -> None:
        """Give back what the video holds."""
        self._passes: dict[int, Iterator[Frame]] = {}
        self._failed: dict[int, VideoError] = {}  # by pass, once the frames before are given
        if self._descriptor is not None:
            if hasattr(self, "_video"):
                self._video.close()
                del self._video
            os.close(self._descriptor)
            self._descriptor = None

    def locks(self) -> Answer:
        """What this process cannot do."""
        return {"locks": sandbox.locks_that_hold(self._memory_bytes)}

    def open(self, container: str, short_side: int | None, threads: int) -> Answer:
        """Open the video; what is known without a scan."""
        assert self._descriptor is not None
        source = PassedSource(self._descriptor, container)
        self._video = video = FileVideo(source, short_side, threads)
        height, width = video.size
        return {
            "codec": video._codec,
            "height": height,
            "width": width,
            "rotation": video._rotation,
            "pixel_aspect": video._pixel_aspect,
            "frames_declared": video._frames_declared,
            "profile": video._profile,
            "pixel_format": video._pixel_format,
            "other_streams": video._other_streams,
            "tick": video._tick,
        }

    def table(self) -> Answer:
        """Scan the video; the lengths of the table's columns, and the rest of it."""
        table = self._video._scanned()
        return {
            "frames": len(table.seconds),
            "key_frames": len(table.key_frames),
            "last_seconds": table.last_seconds,
            "expected": table.expected,
        }

    def column(self, name: str, start: int) -> Answer:
        """A piece of a column of the table into the shared memory."""
        column = getattr(self._video._scanned(), name)
        self._share(column[start : start + NUMBERS_AT_ONCE], 0)
        return {}

    def state(self) -> Answer:
        """What is known of problems by now."""
        table = self._video._scanned()
        return {
            "frames_got": self._video.frames_got,
            "problems": self._video._problems(table),
            "key_frames": len(table.key_frames),
        }

    def frames(self, indices: list[int]) -> Answer:
        """These frames into the shared memory, and which ones they really are."""
        shown = []
        for place, (index, pixels) in enumerate(self._video._fetch_all(np.array(indices))):
            shown.append(index)
            self._share(pixels, place)
        return {"indices": shown}

    def more(self, number: int, after: int, count: int) -> Answer:
        """Up to so many frames of a pass, after as many as were given, and whether more may come.

        A pass that is not known goes on in place of one in a process that died.
        """
        if number in self._failed:
            raise self._failed[number]
        if number not in self._passes:
            self._passes[number] = itertools.islice(self._video, after, None)
        frames = self._passes[number]
        indices: list[int] = []
        seconds: list[float] = []
        try:
            for frame in itertools.islice(frames, count):
                self._share(frame.pixels, len(indices))
                indices.append(frame.index)
                seconds.append(frame.seconds)
        except VideoError as error:
            if not indices:
                raise
            self._failed[number] = error
        more = len(indices) == count or number in self._failed
        return {"indices": indices, "seconds": seconds, "more": more}

    def stop(self, number: int) -> None:
        """End a pass."""
        self._passes.pop(number, None)

    def _share(self, array: NDArray[Any], place: int) -> None:
        content = array.reshape(-1).view(np.uint8)
        self._shared[place * content.size : (place + 1) * content.size] = content


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        main(*map(int, sys.argv[1:]))
