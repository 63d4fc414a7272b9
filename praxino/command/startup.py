"""The first moment of the `praxino` command: what must hold before anything else is imported.

Up to seconds of imports lie between the start of the process and the first line of a command, and
Ctrl-C in them is no fault to show a traceback for.
"""

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line from the very start of the process."""
    open_standard_streams()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # whoever started us may have said so
            signal.signal(number, end_at_once)
    from praxino.command.cli import main as run_command_line

    run_command_line()


def open_standard_streams() -> None:
    """Put the null device where standard input, output or errors are closed.

    Otherwise the first file that is opened takes their number, and whatever a library prints goes
    into the file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def end_at_once(number: int, _: FrameType | None) -> None:
    """Leave with one line, tidying up nothing; for when there is nothing to tidy up."""
    name = signal.Signals(number).name
    word = "interrupted" if number == signal.SIGINT else f"stopped by {name}"
    try:
        os.write(2, f"praxino: {word}\n".encode())
    finally:
        os._exit(128 + number)
