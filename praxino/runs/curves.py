"""TensorBoard curves that can be cut back to a saved point, so that a resumed run has no scars.

Each session of a run writes a file of its own, numbered rather than dated: clocks jump. Every
value is on its way to the disk when `add` returns, and what cannot be written is told at once.
"""

import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from praxino.atomic import disk_faults, fsync

PREFIX = "events.out.tfevents."  # by which TensorBoard knows its files


def cut_back(run: Path, files: int, size: int) -> list[str]:
    """Remove what was written after a saved point.

    Args:
        run: the run folder.
        files: how many files there were, as `Curves.position` gave it.
        size: bytes of the last of them.

    Returns:
        A line if a part of the curves from before that point is missing; else nothing.
    """
    with disk_faults(run):
        for path in _files(run):
            if _number(path) > files:
                path.unlink()
        last = _file(run, files)
        found = last.stat().st_size if last.is_file() else 0
        if found > size:
            with last.open("r+b") as file:
                file.truncate(size)
    whole = found >= size and len(_files(run)) == files
    return [] if whole else [f"A part of the TensorBoard curves in {run} is missing."]


class Curves:
    """Writes scalars to a new TensorBoard file of a run."""

    def __init__(self, run: Path, step: int) -> None:
        """Begin a file.

        Args:
            run: the run folder.
            step: steps done; a TensorBoard that has seen later ones forgets them.
        """
        self._number = max(map(_number, _files(run)), default=0) + 1
        self._path = _file(run, self._number)
        with disk_faults(self._path):
            self._file = self._path.open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=step + 1, session_log=start))

    def add(self, name: str, value: float, step: int) -> None:
        """Add a point to the curve of that name.

        Raises:
            EnvironmentFault: the disk is full, or fails.
        """
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def position(self) -> tuple[int, int]:
        """How many files there are, and the bytes of the last; what is in them is on the disk."""
        with disk_faults(self._path):
            fsync(self._path)
        return self._number, self._file.tell()

    def _write(self, event: Event) -> None:
        with disk_faults(self._path):
            self._records.write(event.SerializeToString())
            self._file.flush()

    def __enter__(self) -> "Curves":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # all is written already, or has been complained about
            self._file.close()


def _file(run: Path, number: int) -> Path:
    return run / f"{PREFIX}{number:010d}"


def _files(run: Path) -> list[Path]:
    return sorted(path for path in run.glob(f"{PREFIX}*") if _number(path))


def _number(path: Path) -> int:
    digits = path.name.removeprefix(PREFIX)
    return int(digits) if digits.isdigit() else 0
