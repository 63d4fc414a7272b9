"""Published weights: found by name, fetched once, checked, kept as safetensors."""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import save_file

from praxino.atomic import atomic_write, write_text
from praxino.checksums import file_hash
from praxino.errors import EnvironmentFault
from praxino.weights.download import download, unfinished
from praxino.weights.reading import check_file, read_as

log = logging.getLogger("praxino")


@dataclass(frozen=True)
class Weights:
    """One published set of weights: where it is, what it reached, and how to read it.

    Args:
        url: of the file.
        sha256_prefix: the first hexadecimal digits of its SHA-256; None: nobody has published it,
            and the file is known by its size and by whether it fits.
        trained_on: the data set.
        num_classes: K.
        licence: of the weights, or of the code they came with where they state none.
        accuracy: percentages by metric, as published.
        protocol: how these were measured.
        layout: whose names the file uses, a key of the model's layouts.
        megabytes: the size of the file, as published.
        mean: what to subtract, where it differs from the model's own `clip_spec`.
        std: what to divide by, where it differs from the model's own `clip_spec`.
    """

    url: str
    sha256_prefix: str | None
    trained_on: str
    num_classes: int
    licence: str
    accuracy: Mapping[str, float] = field(default_factory=dict)
    protocol: str = ""
    layout: str = "torchvision"
    megabytes: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def cache_folder() -> Path:
    """Where downloads are kept: `PRAXINO_CACHE`, or `~/.cache/praxino`.

    Raises:
        EnvironmentFault: neither is there to be named.
    """
    named = os.environ.get("PRAXINO_CACHE")
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache" / "praxino"
    except RuntimeError:
        raise EnvironmentFault(
            "There is no home folder to keep weights in. Set PRAXINO_CACHE to a folder."
        ) from None


def fetch(weights: Weights) -> Path:
    """The published file as safetensors, downloaded and converted the first time.

    Beside it stands the SHA-256 that it was written with; a file that has changed since is fetched
    again. A download that broke off is gone on with.

    Raises:
        EnvironmentFault: no connection, the server refuses, or the cache cannot be written to.
        ValueError: what came is not what was published.
    """
    name = weights.url.rsplit("/", 1)[1]
    kept = cache_folder() / f"{_stem(weights)}.safetensors"
    if kept.is_file():
        if _is_as_written(kept):
            return kept
        log.warning("%s has changed since it was written; it is fetched again", kept)
    with unfinished(kept.with_suffix(".part")) as file:
        log.info("downloading %s to %s", weights.url, kept.parent)
        came = Path(file.name)
        left_over = file.seek(0, os.SEEK_END) > 0
        while True:
            download(weights.url, file, most_bytes=_most_bytes(weights))
            file.flush()
            try:
                check_file(came, name)
                _check_hash(came, name, weights)
                break
            except ValueError:
                file.truncate(0)
                if not left_over:
                    raise
                left_over = False  # of another file, or damaged: once more from the start
        state = read_as(came, name)
        with atomic_write(kept) as temporary:
            save_file(state, temporary)
            write_text(_hash_file(kept), f"{file_hash(temporary)}  {kept.name}\n")
        came.unlink()
    return kept


def _stem(weights: Weights) -> str:
    """A name in the cache that no other publication has: many are called `model.pth`."""
    stem = Path(weights.url.rsplit("/", 1)[1]).stem
    known_by = weights.sha256_prefix or hashlib.sha256(weights.url.encode()).hexdigest()
    if known_by in stem:
        return stem
    return f"{stem}-{known_by[:16]}"


def _most_bytes(weights: Weights) -> int:
    """Megabytes as published are rounded, by some in tens and by some in binary."""
    if weights.megabytes is None:
        return 2 << 30
    return int(weights.megabytes * 1.1 * 2**20) + 2**20


def _hash_file(path: Path) -> Path:
    """In the form that `sha256sum --check` reads."""
    return path.with_suffix(".sha256")


def _is_as_written(path: Path) -> bool:
    hash_file = _hash_file(path)
    if not hash_file.is_file():
        return False
    with hash_file.open(encoding="ascii", errors="replace") as file:
        return file.read(64) == file_hash(path)


def _check_hash(path: Path, name: str, weights: Weights) -> None:
    if weights.sha256_prefix is None:
        return
    found = file_hash(path)
    if not found.startswith(weights.sha256_prefix):
        raise ValueError(
            f"{name} has SHA-256 {found[:16]}..., published is {weights.sha256_prefix}...: "
            "the file is damaged or has been replaced."
        )
