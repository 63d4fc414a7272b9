"""The hint that ends every error about a name that does not exist."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` with a leading space, or the names there are when none is near."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    shown = ", ".join(sorted(known)[:12])
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    return f" There is: {shown}{more}." if known else ""
