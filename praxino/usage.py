"""What is wrong with a command line, in one line."""

from cyclopts import CycloptsError


def in_words(error: CycloptsError) -> str:
    """The line for a command line that cannot be parsed."""
    return str(error)
