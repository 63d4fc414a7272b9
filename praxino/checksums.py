"""SHA-256 of files, alone and in `SHA256SUMS`, the form that `sha256sum --check` reads."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from praxino.atomic import write_text

SUMS = "SHA256SUMS"


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the hashes of files in a folder into its `SHA256SUMS`."""
    lines = [f"{file_hash(folder / name)}  {name}\n" for name in names]
    write_text(folder / SUMS, "".join(lines))


def changed_files(folder: Path, names: Iterable[str]) -> list[str]:
    """The files in a folder that are not what its `SHA256SUMS` says.

    Raises:
        ValueError: `SHA256SUMS` is no text, or does not name one of the files.
        OSError: it, or one of the files, cannot be read.
    """
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    sums = {name: found for found, _, name in (line.partition("  ") for line in lines)}
    changed = []
    for name in names:
        if name not in sums:
            raise ValueError(f"{SUMS} does not name {name}")
        if file_hash(folder / name) != sums[name]:
            changed.append(name)
    return changed
