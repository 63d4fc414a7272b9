"""What goes wrong, in one line: what, which item, which limit, what to do."""

import dis
import signal
from pathlib import Path

PACKAGE = Path(__file__).parent

EXIT_OK = 0
EXIT_SOME_ITEMS_FAILED = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERNAL = 70  # a fault of praxino itself; sysexits.h calls it EX_SOFTWARE
EXIT_INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT
EXIT_TERMINATED = 143  # asked to end from outside: 128 + SIGTERM


class VideoError(ValueError):
    """A video cannot be read as asked: broken, of a kind that is not allowed, or too short.

    Args:
        item: the file as the user named it; only its last part is shown.
        message: what is wrong, the limit, and the way out.
        code: one stable word for ledgers and programs, for example `damaged` or `not_found`.
    """

    def __init__(self, item: str | Path, message: str, *, code: str) -> None:
        self.item, self.message, self.code = str(item), message, code
        super().__init__(item, message, code)

    def __str__(self) -> str:
        return f"{Path(self.item).name or self.item}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default, and loader workers send errors home.
        return _rebuild, (self.item, self.message, self.code)


def _rebuild(item: str, message: str, code: str) -> VideoError:
    return VideoError(item, message, code=code)


class EnvironmentFault(RuntimeError):
    """The machine, not the input, is at fault: disk full, folder read-only, extra not installed."""


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end.

    Args:
        number: the signal.

    Attributes:
        exit_code: what the program leaves with: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def raised_by_praxino(error: BaseException) -> bool:
    """Whether a `raise` of this package made the error, rather than a mistake in its code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not trace.tb_frame.f_code.co_filename.startswith(str(PACKAGE)):
        return False
    code = trace.tb_frame.f_code.co_code
    return dis.opname[code[trace.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")
