"""What `ChildVideo` runs: a process that decodes for its parent and can do nothing else.

It imports, warms up, locks itself, and then forks for each video it is sent, so that a video pays
for one fork and no import, and finds nothing that another one left. It is given open descriptors,
never names. Requests are lines of JSON; answers are JSON behind its length, then raw bytes.
"""

import contextlib
import gc
import itertools
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxino.errors import VideoError
from praxino.video import sandbox
from praxino.video.child import OUT_OF_MEMORY, OUT_OF_MEMORY_MESSAGE, WAY_OUT
from praxino.video.decoder import SizedFile, Source
from praxino.video.reader import FileVideo, Frame

# A GIF of three frames of four pixels. What decoding loads on demand, as NumPy does with some
# functions, is loaded by reading this, before files are out of reach.
_SMALLEST_VIDEO = bytes.fromhex(
    "47494638396102000200810000000000ffffff00000000000021f90400040000002c00000000020002000008"
    "060001080410100021f90401040001002c000000000200020081ffffff000000000000000000080600010804"
    "10100021f90401040002002c000000000200020081000000ffffff0000000000000806000108041010003b"
)

Answer = tuple[dict[str, object], tuple[NDArray[Any], ...]]


class PassedSource(Source):
    """A video whose open descriptor came from the parent."""

    def __init__(self, descriptor: int, container: str) -> None:
        super().__init__("video", None, b"", container)
        object.__setattr__(self, "descriptor", descriptor)  # the base class is frozen

    descriptor: int

    def open(self) -> SizedFile:
        """A handle with its own position."""
        return SizedFile(os.dup(self.descriptor))


def main(control_descriptor: int, memory_bytes: int, cpu_seconds: int) -> None:
    """Fork once for each pair of (socket, video) that comes, until the parent goes away."""
    control = socket.socket(fileno=control_descriptor)
    _warm_up()
    sandbox.lock(memory_bytes)
    control.sendall(struct.pack("<i", 0))  # ready
    gc.freeze()  # keeps the collector from touching, and so copying, the memory shared with forks
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        child = os.fork()
        if child == 0:
            status = 1
            try:
                control.close()
                sandbox.lock_for_one_video(cpu_seconds)
                serve(socket.socket(fileno=descriptors[0]), descriptors[1], memory_bytes)
                status = 0
            except MemoryError:
                status = OUT_OF_MEMORY
            finally:
                os._exit(status)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        control.sendall(struct.pack("<i", os.waitstatus_to_exitcode(status)))


def _warm_up() -> None:
    with FileVideo(Source("warm-up", None, _SMALLEST_VIDEO, "gif"), 1, 1) as video:
        told = video.info, video.frames([1, 0]).seconds.tolist(), [f.seconds for f in video]
    json.loads(json.dumps(str(told)))


def serve(session: socket.socket, descriptor: int, memory_bytes: int) -> None:
    """Answer requests about one video until the parent closes the session."""
    asked = VideoOnRequest(descriptor, memory_bytes)
    for line in session.makefile("rb"):
        request = json.loads(line)
        answer = getattr(asked, request.pop("do"))
        try:
            for header, arrays in answer(**request):
                _send(session, header, *arrays)
        except VideoError as error:
            _send(session, {"error": error.message, "code": error.code})
        except MemoryError:
            _send(session, {"error": OUT_OF_MEMORY_MESSAGE, "code": "memory"})
        except Exception as error:  # told, since this process has no other place to complain
            message = f"its decoder failed ({type(error).__name__}: {error}). {WAY_OUT}"
            _send(session, {"error": message, "code": "decoder_crash"})


def _send(session: socket.socket, header: dict[str, object], *arrays: NDArray[Any]) -> None:
    # All that can fail comes first: half an answer could not be taken back.
    text = json.dumps(header).encode()
    contents = [np.ascontiguousarray(array).data.cast("B") for array in arrays if array.size]
    session.sendall(struct.pack("<I", len(text)) + text)
    for content in contents:
        session.sendall(content)


class VideoOnRequest:
    """The requests, one method each; every one gives its answers one after the other.

    Args:
        descriptor: of the file that holds the video.
        memory_bytes: the limit, for `locks`.
    """

    def __init__(self, descriptor: int, memory_bytes: int) -> None:
        self._descriptor, self._memory_bytes = descriptor, memory_bytes
        self._passes: dict[int, Iterator[Frame]] = {}

    def locks(self) -> Iterator[Answer]:
        """What this process cannot do."""
        yield {"locks": sandbox.locks_that_hold(self._memory_bytes)}, ()

    def open(self, container: str, short_side: int | None, threads: int) -> Iterator[Answer]:
        """Open the video; what is known without a scan."""
        source = PassedSource(self._descriptor, container)
        self._video = video = FileVideo(source, short_side, threads)
        height, width = video.size
        header = {
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
        yield header, ()

    def table(self) -> Iterator[Answer]:
        """Scan; header, seconds, key frames."""
        table = self._video._scanned()
        seconds = np.ascontiguousarray(table.seconds, dtype=np.float64)
        key_frames = np.ascontiguousarray(table.key_frames, dtype=np.int64)
        header: dict[str, object] = {
            "frames": len(seconds),
            "key_frames": len(key_frames),
            "last_seconds": table.last_seconds,
            "expected": table.expected,
        }
        yield header, (seconds, key_frames)

    def state(self) -> Iterator[Answer]:
        """What is known of problems by now."""
        problems = self._video._problems(self._video._scanned())
        yield {"frames_got": self._video.frames_got, "problems": problems}, ()

    def frames(self, indices: list[int]) -> Iterator[Answer]:
        """One answer for each index."""
        for shown, pixels in self._video._fetch_all(np.array(indices)):
            yield {"index": shown}, (pixels,)

    def more(self, number: int, count: int) -> Iterator[Answer]:
        """Up to so many frames of the pass with this number, then whether that was all."""
        frames = self._passes.setdefault(number, iter(self._video))
        given = 0
        for frame in itertools.islice(frames, count):
            given += 1
            yield {"index": frame.index, "seconds": frame.seconds}, (frame.pixels,)
        yield {"more": given == count}, ()

    def stop(self, number: int) -> Iterator[Answer]:
        """End a pass; there is nothing to answer."""
        self._passes.pop(number, None)
        return iter(())


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        main(*map(int, sys.argv[1:]))
