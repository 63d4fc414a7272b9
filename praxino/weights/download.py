"""Files from the internet: bounded in size and time, and resumed where they broke off.

What a server sends is only bytes here; whether it is the right file, the caller's hash must tell.
"""

import os
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO
from urllib import request
from urllib.parse import urlsplit

from praxino.errors import EnvironmentFault
from praxino.shortened import printable, shortened

try:
    import fcntl
except ImportError:  # Windows: two processes cannot agree on one unfinished file, so none is kept
    fcntl = None  # type: ignore[assignment]

TIMEOUT_SECONDS = 60.0  # without a byte
SLOWEST = 10_000  # bytes per second in the long run; slower is a server that never ends


def download(url: str, file: BinaryIO, *, most_bytes: int) -> None:
    """Append to a file what it still lacks of a URL, or start anew if the server cannot do that.

    Args:
        url: http or https.
        file: open for reading and writing; what it holds is taken for the start of the file.
        most_bytes: how long the whole file may be.

    Raises:
        EnvironmentFault: no connection, a refusal, a stall or a break; what came is in `file`.
        ValueError: the server announces or sends more than `most_bytes`; `file` is empty then.
    """
    have = file.seek(0, os.SEEK_END)
    asked = request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = _opener().open(asked, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # there is nothing after what we have
            return
        raise _fault(url, f"the server answers {error.code} {printable(error.reason)}") from None
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a malformed redirect
        raise _fault(url, getattr(error, "reason", error)) from None
    with answer:
        going_on = answer.status == 206 and have > 0
        if going_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            file.truncate(0)
            download(url, file, most_bytes=most_bytes)
            return
        if not going_on:
            have = file.seek(0)
            file.truncate()
        _append(answer, file, url, have, most_bytes)


def _append(answer: HTTPResponse, file: BinaryIO, url: str, have: int, most_bytes: int) -> None:
    announced = answer.headers.get("Content-Length", "")
    expected = have + int(announced) if announced.isdecimal() and len(announced) < 20 else None
    started, total = time.monotonic(), have
    if expected is not None and expected > most_bytes:
        file.truncate(0)
        raise ValueError(
            f"{url} is announced with {expected:,} bytes, expected are at most {most_bytes:,}: "
            "this is not the published file."
        )
    for block in _blocks(answer, url):
        total += len(block)
        if total > most_bytes:
            file.truncate(0)
            raise ValueError(
                f"{url} sends more than {most_bytes:,} bytes: this is not the published file."
            )
        file.write(block)
        seconds = time.monotonic() - started
        if seconds > TIMEOUT_SECONDS + (total - have) / SLOWEST:
            raise _fault(url, f"only {total - have:,} bytes came in {seconds:.0f} s")
    if expected is not None and total != expected:
        raise EnvironmentFault(
            f"The download of {url} broke off at {total:,} of {expected:,} bytes. Try again; it "
            "goes on from there."
        )


def _blocks(answer: HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            block = answer.read1(1 << 16)
        except (OSError, HTTPException) as error:
            raise _fault(url, error) from None
        if not block:
            return
        yield block


def _fault(url: str, reason: object) -> EnvironmentFault:
    words = printable(reason).rstrip(".")[:200] or type(reason).__name__
    return EnvironmentFault(f"Cannot download {url}: {words}.")


class _NoLessSafe(request.HTTPRedirectHandler):
    """Follows a server to http and https only, and never from https to http."""

    def http_error_302(
        self, req: request.Request, fp: Any, code: int, msg: str, headers: Any
    ) -> Any:
        """Follow, and let go of the answer where there is no following."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and (scheme, req.type) != ("http", "http"):
            fp.close()
            raise urllib.error.URLError(f"the server sends us on to {shortened(newurl)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    """Like `urlopen`, without the doors to FTP, local files and data URLs."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        _NoLessSafe,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


@contextmanager
def unfinished(path: Path) -> Iterator[BinaryIO]:
    """The file in which a download grows; what an earlier one left is in it.

    While another process is writing there, a new file beside it, which is gone at the end.

    Raises:
        EnvironmentFault: the folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if _claimed(file, path):
                yield file
                return
        with (
            tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as folder,
            (Path(folder) / path.name).open("w+b") as own,
        ):
            yield own
    except OSError as error:
        raise EnvironmentFault(
            f"Cannot write to {printable(path.parent)}: {error.strerror or error}. Free some "
            "space, or set PRAXINO_CACHE to another folder."
        ) from None


def _claimed(file: BinaryIO, path: Path) -> bool:
    """Whether the file is ours alone; the lock goes when it is closed, or with the process."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it before us may have finished, and removed it, since we opened it.
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
