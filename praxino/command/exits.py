"""How the program ends: an exit code, and at most one line on standard error, never a traceback.

Codes: 0 done, 1 some items failed, 2 wrong usage, 3 the machine is at fault, 70 praxino itself is,
130 interrupted, 143 terminated.
"""

import errno
import io
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from praxino.command.startup import end_at_once
from praxino.command.terminal import complain
from praxino.errors import (
    EXIT_ENVIRONMENT,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SOME_ITEMS_FAILED,
    EXIT_USAGE,
    PACKAGE,
    EnvironmentFault,
    Stopped,
    VideoError,
    raised_by_praxino,
)

BEGINNINGS = [str(PACKAGE / name) for name in ("command/cli.py", "command/doctor.py")]


def start() -> None:
    """Prepare the streams and signals of this process for a command."""
    sys.stdout, sys.stderr = _shows_any_letter(sys.stdout), _never_fails(sys.stderr)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its folders are no news
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def leave(code: int) -> None:
    """End the process with this code; a Ctrl-C from here on ends it without a word."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    sys.exit(code)


def in_one_line(command: Callable[[], int]) -> int:
    """Run a command; whatever goes wrong becomes one line and an exit code."""
    try:
        code = _ended(command)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output has seen enough
        _write_no_more(sys.stdout)
        return EXIT_OK
    except OSError as error:  # standard output again: what a command does is caught below
        _write_no_more(sys.stdout)
        return complain(_os_fault(error), EXIT_ENVIRONMENT)


def _ended(command: Callable[[], int]) -> int:
    try:
        _check_working_folder()
        return command()
    except KeyboardInterrupt as stop:
        return complain_of_stop(stop)
    except BrokenPipeError:
        raise
    except (EnvironmentFault, FloatingPointError) as error:
        return complain(str(error), EXIT_ENVIRONMENT)
    except VideoError as error:
        return complain(str(error), EXIT_SOME_ITEMS_FAILED)
    except OSError as error:
        return complain(_os_fault(error), EXIT_ENVIRONMENT)
    except MemoryError:
        return complain(
            "the memory of this machine is used up. Take fewer clips, or --batch-size or "
            "--data.workers smaller.",
            EXIT_ENVIRONMENT,
        )
    except Exception as error:
        if isinstance(error, ValueError | TypeError) and raised_by_praxino(error):
            return complain(str(error), EXIT_USAGE)
        # Out of memory, and workers that died of it, are the machine's; the rest is our mistake.
        if type(error).__name__ == "OutOfMemoryError" or "DataLoader worker" in str(error):
            return complain(str(error), EXIT_ENVIRONMENT)
        return _internal_fault(error)


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except OSError:  # torch's libraries would end the process, each in its own words
        raise EnvironmentFault(
            "the folder you are in is no longer there. Change into one that is: cd ~"
        ) from None


def complain_of_stop(stop: KeyboardInterrupt, how_to_go_on: str = "") -> int:
    """Say that the program was stopped, and give back the exit code of that signal."""
    code = stop.exit_code if isinstance(stop, Stopped) else EXIT_INTERRUPTED
    word = "interrupted" if code == EXIT_INTERRUPTED else f"stopped by {stop}"
    return complain(f"{word}{how_to_go_on}", code)


def _internal_fault(error: Exception) -> int:
    """A fault of praxino's own: the traceback goes into a file, or is shown if asked for."""
    said = "".join(traceback.format_exception(error))
    if os.environ.get("PRAXINO_DEBUG"):
        sys.stderr.write(said)
        return EXIT_INTERNAL
    line = f"internal error, {type(error).__name__}: {error}"
    try:
        handle, name = tempfile.mkstemp(prefix="praxino-error-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(said)
        where = f"and the file {name}"
    except OSError:
        where = "and what it says with PRAXINO_DEBUG=1"
    hint = f"Please report it with the output of `praxino doctor` {where}."
    return complain(f"{line.rstrip('.')}. {hint}", EXIT_INTERNAL)


def _os_fault(error: OSError) -> str:
    reason = error.strerror or str(error)
    hints = {
        errno.ENOSPC: "Free some space or name another place.",
        errno.EACCES: "Check its permissions.",
        errno.EROFS: "Name a place that can be written to.",
        errno.ENOENT: "Check the path.",
        errno.EMFILE: "Raise the limit of open files (ulimit -n), or use --data.workers 0.",
    }
    item = f"{error.filename}: " if error.filename is not None else "the output is not written: "
    return f"{item}{reason}. {hints.get(error.errno or 0, '')}".strip()


# --- signals and streams -------------------------------------------------------------------------


def _stop(number: int, frame: FrameType | None) -> None:
    """Let the command tidy up; asked a second time, or before it has begun, end at once."""
    if _still_importing(frame):
        end_at_once(number, frame)
    signal.signal(number, end_at_once)
    raise Stopped(number)


def _still_importing(frame: FrameType | None) -> bool:
    """Whether an import that a command begins with is under way.

    Nothing is half done then, and an exception in the middle of an import does not always arrive:
    NumPy's C code, for one, turns it into an ImportError.
    """
    while frame is not None and frame.f_back is not None:
        caller = frame.f_back
        if "importlib" in frame.f_code.co_filename and caller.f_code.co_filename in BEGINNINGS:
            return True
        frame = caller
    return False


def _shows_any_letter(stream: TextIO | None) -> TextIO:
    """A stream that exists and writes `?` for letters it cannot show."""
    if stream is None:  # closed by whoever started us
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream


def _never_fails(stream: TextIO | None) -> TextIO:
    shown = _shows_any_letter(stream)
    if shown is not stream:  # the null device
        return shown
    return _Unfailing(shown.buffer, encoding=shown.encoding, errors="replace", line_buffering=True)


class _Unfailing(io.TextIOWrapper):
    """Standard error that is no reason to fail: what nobody can read any more is not said."""

    def write(self, text: str, /) -> int:
        """Write, as far as possible."""
        try:
            return super().write(text)
        except OSError:
            _write_no_more(self)
            return len(text)

    def flush(self) -> None:
        """Flush, as far as possible."""
        try:
            super().flush()
        except OSError:
            _write_no_more(self)


def _write_no_more(stream: TextIO) -> None:
    """Send what a stream still holds nowhere, instead of failing again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
