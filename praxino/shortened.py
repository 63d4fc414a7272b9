"""Values and names from files, in the form in which an error message can show them."""


def shortened(value: object) -> str:
    """A value as an error message shows it: escaped, and cut after 120 characters."""
    if isinstance(value, str | bytes) and len(value) > 120:
        value = value[:120]  # cut before it is escaped: a value may be as long as a file
        return repr(value)[:117] + "..."
    text = repr(value)  # repr shows control characters instead of sending them to the terminal
    return text if len(text) <= 120 else text[:117] + "..."


def printable(name: object) -> str:
    """A file's or tensor's name as it is, but on one line: what does not print is escaped."""
    text = str(name)
    if not text.isprintable():  # line ends, escape codes, marks that turn the direction of text
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text
