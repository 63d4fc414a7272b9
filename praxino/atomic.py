"""The one door through which praxino writes files: whole, or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from praxino.errors import EnvironmentFault

PART = ".part-"  # how the name of a file begins that is not yet whole


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file so that a reader, a crash or a full disk never meets half of it.

    Yields a temporary path in the same folder and with the same suffix. When the block ends
    well, the bytes are flushed to disk and the temporary file takes the place of `path`. When it
    raises, or the disk is full, the temporary file is removed and the old `path` stays.

    Raises:
        ValueError: `path` is a folder or a device, which a file must not take the place of.
        EnvironmentFault: the disk is full, or the folder cannot be written to.
    """
    path = Path(path).resolve()  # a link stays a link; the file it names is replaced
    _check_place(path)
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Short, because a name may already be as long as the system allows.
        handle, name = tempfile.mkstemp(prefix=PART, suffix=path.suffix[:16], dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes private files; a result is as readable as any other the user makes.
            os.chmod(temporary, 0o666 & ~_umask())
            fsync(temporary)
            os.replace(temporary, path)
            fsync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Find out before hours of work whether `atomic_write` could write there.

    Raises:
        ValueError: as `atomic_write`.
        EnvironmentFault: the folder cannot be written to, or cannot be made.
    """
    path = Path(path).resolve()
    _check_place(path)
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise EnvironmentFault(
            f"Cannot write {path}: {folder} cannot be written to. Name another folder."
        )


def _check_place(path: Path) -> None:
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise ValueError(f"Cannot write {path}: it is {kind}. Name another file.")


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Say in one line why `path` cannot be written.

    Raises:
        EnvironmentFault: the disk is full, fails, or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"Cannot write {path}: {error.strerror or error}. Free some space or name another "
            f"folder."
        ) from None


def remove_parts(folder: Path) -> None:
    """Remove what a killed process left half written in a folder that nobody else writes to."""
    for left_over in folder.glob(f"{PART}*"):
        left_over.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file, atomically, as UTF-8."""
    with atomic_write(path) as temporary:
        # A file name may hold bytes that are no text; they are written so that they can be seen.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def fsync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk itself."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
