"""Untrusted videos: decoded in another process, which can be attacked but not attack.

    with ChildVideo(check_source("upload.mp4"), short_side=128, threads=1) as video: ...

The same frames and errors as in-process, and three errors more: `decoder_crash`, `memory` and
`timeout`. The process that decodes opens no file, has no network, and is bounded in memory and
time (`sandbox.py`; `sandbox_report` tells what holds here). What it sends is not believed: numbers
are checked, text is cut, and pixels are read into arrays whose size was known before.
"""

import math
from collections.abc import Iterator
from contextlib import closing
from itertools import count, pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from praxino.video.child_process import Limits
from praxino.video.child_protocol import NUMBERS_AT_ONCE
from praxino.video.child_session import MOST, Pictures, Said, Session
from praxino.video.convert import check_size
from praxino.video.decoder import CODECS, Source
from praxino.video.frame_table import MAX_FRAMES, FrameTable
from praxino.video.reader import Frame, Video

__all__ = ["ChildVideo", "Limits", "sandbox_report"]

_USUAL_LIMITS = Limits()
_LEAST_GAP = 1e-12  # seconds between two frames
_FRAMES_AT_ONCE, _BYTES_AT_ONCE = 64, 4 * 2**20  # of one request: what caches hold


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
        self, source: Source, short_side: int | None, threads: int, limits: Limits = _USUAL_LIMITS
    ) -> None:
        self._table: FrameTable | None = None
        self._numbers = count()
        self._pictures: Pictures | None = None
        self._session = Session(source, limits)
        try:
            said = self._session.begin(
                "open", container=source.container, short_side=short_side, threads=threads
            )
            super().__init__(source.name, said.text("codec", CODECS), source.container)
            self._size = said.whole("height", 1), said.whole("width", 1)
            check_size(source.name, *self._size)
            self._rotation = said.whole("rotation", 0, 359)
            self._pixel_aspect = said.number("pixel_aspect", -MOST)
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
            said.check("seconds", ((seconds >= 0) & (seconds <= MOST)).all())
            said.check("seconds", (np.diff(seconds) >= _LEAST_GAP).all())
            self._table = FrameTable(
                seconds,
                said.number("last_seconds", _LEAST_GAP),
                said.whole_or_none("expected"),
                key_frames=self._key_frames(said, frames),
            )
        return self._table

    def _key_frames(self, said: Said, frames: int) -> NDArray[np.int64]:
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

    def _ask(self, do: str, **arguments: object) -> Said:
        if self._pictures is not None:
            self._pictures.keep()  # the answer will be where they are
        return self._session.ask(do, **arguments)

    def _answered(self, how_many: int) -> Iterator[NDArray[np.uint8]]:
        """The frames that came with the last answer."""

        def picture(place: int) -> NDArray[np.uint8]:
            pixels = np.empty((*self._size, 3), np.uint8)
            self._session.read_shared(pixels, place * pixels.nbytes)
            return pixels

        self._pictures = Pictures(picture, how_many)
        return iter(self._pictures)

    def close(self) -> None:
        """Give the decoding process back."""
        self._session.close()
        self._table, self._pictures = None, None


def sandbox_report(limits: Limits = _USUAL_LIMITS) -> dict[str, bool]:
    """What a decoding process really cannot do on this machine; it has tried.

    Returns:
        `no_files`, `no_network`, `no_programs`, `no_processes`, `no_signals`, `memory_limit`,
        `cpu_limit`.

    Raises:
        EnvironmentFault: this system cannot start such a process, or not lock it at all.
    """
    with closing(Session(Source("sandbox", None, b"", ""), limits)) as session:
        return session.begin("locks").flags("locks")
