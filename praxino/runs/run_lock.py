"""One run, one process: the lock of a run folder."""

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from praxino.atomic import disk_faults
from praxino.errors import EnvironmentFault

if sys.platform != "win32":
    import fcntl

LOCK = "run.lock"

# What a file system that keeps no locks answers: some network and user-space ones do not.
_TRIES = 1000  # each after somebody else has just removed the file
_KEEPS_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_mine: set[Path] = set()  # the system's lock does not tell two threads of one process apart


@contextmanager
def run_lock(run: Path) -> Iterator[str | None]:
    """Have a run folder to oneself; it is made if need be.

    The lock is the system's own, on `run.lock`, so it ends with the process, however that ends,
    and the processes it started do not inherit it. The text in the file, process and host, is for
    people, and for other hosts, which the system's lock may not reach.

    Yields:
        A line to tell the user where the file system keeps no locks, else None.

    Raises:
        ValueError: another process has the folder; names it and the way out. Or `run.lock` is a
            link.
        EnvironmentFault: the folder cannot be made or written to.
    """
    path = run.resolve() / LOCK
    if path in _mine:
        raise ValueError(f"{run} is in use by this very process. Name another run folder.")
    _mine.add(path)
    try:
        is_new = not run.exists()
        with disk_faults(run):
            handle, unlocked = _open_locked(path, run)
        try:
            yield unlocked
        finally:
            with suppress(OSError):  # a folder that is gone or read-only by now needs no lock
                path.unlink()  # while locked: who has opened it meanwhile sees that it is gone
            os.close(handle)
            with suppress(OSError):  # it is not empty, unless nothing came of the run
                if is_new:
                    run.rmdir()
    finally:
        _mine.discard(path)


def _open_locked(path: Path, run: Path) -> tuple[int, str | None]:
    """The open lock file, ours alone and with our name in it."""
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():  # what it names may be nobody's to write to, or not be there
            raise ValueError(f"{path} is a link, and must be a file of its own. Remove it.")
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # who had it has just removed its empty folder
            continue
        try:
            unlocked = _lock(handle, run)
            if not _is_at(handle, path):  # who had it has just removed it
                os.close(handle)
                continue
            _refuse_other_host(handle, path, run)
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
        except BaseException:
            os.close(handle)
            raise
        return handle, unlocked
    raise EnvironmentFault(
        f"No lock could be made in {run} in {_TRIES} tries: files do not stay there. Name another "
        f"run folder."
    )


def _lock(handle: int, run: Path) -> str | None:
    if sys.platform == "win32":
        return f"Windows keeps no such locks: see that nothing else trains in {run}."
    try:
        # A record lock: unlike flock's, the processes that we fork do not have it too, so it is
        # gone with us even where they live on for some seconds.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _KEEPS_NO_LOCKS:
            return (
                f"The file system of {run} keeps no locks ({error.strerror}): see that nothing "
                f"else trains there."
            )
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        pid, host = _owner(handle)
        raise ValueError(
            f"{run} is in use by process {pid} on {host}. Wait for it, end it with `kill {pid}`, "
            f"or name another run folder."
        ) from None
    return None


def _owner(handle: int) -> tuple[str, str]:
    """Process and host in the lock file; who has just locked it may not have written them yet."""
    for _ in range(100):
        if said := _said(handle):
            return said
        time.sleep(0.01)
    return "unknown", "this host"


def _said(handle: int) -> tuple[str, str] | None:
    """Process and host in the lock file, if there are any."""
    os.lseek(handle, 0, os.SEEK_SET)
    words = os.read(handle, 300).decode(errors="replace").split()
    return (words[0], words[1]) if len(words) == 2 else None


def _refuse_other_host(handle: int, path: Path, run: Path) -> None:
    """The file is left by a run that was killed: here, or where nobody here can see."""
    said = _said(handle)
    if said is not None and said[1] != socket.gethostname():
        raise ValueError(
            f"{run} is in use by process {said[0]} on {said[1]}, another host. If that is over, "
            f"remove {path} and try again."
        )


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)
