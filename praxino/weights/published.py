"""Published weights: found by name, fetched once, checked, kept as safetensors.

Every model's weights are named alike, so that a name can be guessed. First comes the data set whose
classes they tell apart: `kinetics400`, `something_v2`, `charades`, joined where there are several.
Then, where a second toolkit has published some for it, the toolkit: `kinetics400_mmaction2`. Last
comes what tells them from their neighbours: what they were trained on before
(`kinetics400_imagenet`), how many frames they see (`kinetics400_16_frames`), how they were trained
(`charades_multigrid`).
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from safetensors.torch import save_file

from praxino.atomic import atomic_write, write_text
from praxino.checksums import file_hash
from praxino.errors import EnvironmentFault
from praxino.weights.download import download, unfinished
from praxino.weights.reading import check_file, read_files

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
        protocol: how these were measured: how many clips of which frames, how many crops of which
            size. It agrees with `clip`; what no document tells is left out.
        layout: whose names the file uses, a key of the model's layouts.
        megabytes: the size of the file, or of all files, as published.
        mean: what to subtract, where it differs from the model's own `clip_spec`.
        std: what to divide by, where it differs from the model's own `clip_spec`.
        more_urls: of the files that belong to the first: the data of a TensorFlow checkpoint,
            whose index is the first file, and guards them with checksums.
        by_hand: the name of the file where no program can fetch it; `url` is then the page on
            which a person can.
        options: of the model's builder, where the network of these weights, or the number of frames
            that it was trained on, is not the one it builds by default; `create_model` takes them
            unless it is told others.
        clip: settings of `clip_spec` for which the accuracy holds, where they differ from the
            model's own: `stride_frames`, `size` and `resize_short`, ...; likewise.
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
    more_urls: tuple[str, ...] = ()
    by_hand: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    clip: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """Where to fetch each file, by its name."""
        if self.by_hand is not None:
            return {self.by_hand: self.url}
        return {urlsplit(url).path.rsplit("/", 1)[1]: url for url in (self.url, *self.more_urls)}


def evenly(frames: int, stride: int) -> dict[str, Any]:
    """`Weights.clip` for a clip "frames x stride" as PySlowFast and PyTorchVideo cut it.

    They take frames x stride frames of 30 per second, whatever the video's own rate, and spread the
    clip's frames from the first of these to the last: a little further apart than `stride`.

    Args:
        frames: T.
        stride: as their configurations state it.
    """
    rate = 30 * (frames - 1) / (frames * stride - 1)
    return {"stride_frames": None, "frames_per_second": rate}


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
    again. A download that broke off is gone on with. What a person has downloaded and put into
    `place_for(weights)` is taken from there, checked in the same way, and left there.

    Raises:
        EnvironmentFault: no connection, the server refuses, or the cache cannot be written to; or
            only a person can download it. Where to put the file is told.
        ValueError: what came is not what was published.
    """
    kept = _kept(weights)
    if kept.is_file():
        if _is_as_written(kept):
            return kept
        log.warning("%s has changed since it was written; it is fetched again", kept)
    placed = {name: place_for(weights) / name for name in weights.files}
    if all(path.is_file() for path in placed.values()):
        log.info("reading %s", ", ".join(map(str, placed.values())))
        for name, path in placed.items():
            _check(path, name, weights)
        return _keep(placed, weights)
    if weights.by_hand is not None:
        raise EnvironmentFault(
            f"No program can fetch {weights.by_hand}. Download it by hand: {_places(weights)}."
        )
    with ExitStack() as stack:
        came = {}
        for number, (name, url) in enumerate(weights.files.items()):
            part = kept.with_suffix(f".{number}.part" if number else ".part")
            came[name] = _download(name, url, stack.enter_context(unfinished(part)), weights)
        try:
            _keep(came, weights)
        except ValueError:
            _remove(came.values())
            raise
        _remove(came.values())
    return kept


def place_for(weights: Weights) -> Path:
    """The folder for what a person has downloaded, under the names that it was published with."""
    return cache_folder() / _stem(weights)


def forget(weights: Weights) -> None:
    """Remove from the cache what has turned out not to fit, so that it is fetched anew."""
    _remove([_kept(weights), _hash_file(_kept(weights))])


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _download(name: str, url: str, file: BinaryIO, weights: Weights) -> Path:
    """What a file of the publication is downloaded to, and has been checked in."""
    came = Path(file.name)
    left_over = file.seek(0, os.SEEK_END) > 0
    log.info("downloading %s to %s", url, came.parent)
    while True:
        try:
            download(url, file, most_bytes=_most_bytes(weights))
        except EnvironmentFault as error:
            raise EnvironmentFault(
                f"{error} Without a connection, fetch it elsewhere: {_places(weights)}. Or start "
                "from scratch, with weights none."
            ) from None
        file.flush()
        try:
            _check(came, name, weights)
            return came
        except ValueError:
            file.truncate(0)
            if not left_over:
                raise
            left_over = False  # of another file, or damaged: once more from the start


def _places(weights: Weights) -> str:
    """Where a person puts which file, in words; the folder is made."""
    folder = place_for(weights)
    folder.mkdir(parents=True, exist_ok=True)
    return "; ".join(f"{url}, to be put at {folder / name}" for name, url in weights.files.items())


def _keep(came: Mapping[str, Path], weights: Weights) -> Path:
    """Convert what came, once, and write down its hash."""
    kept = _kept(weights)
    if weights.sha256_prefix is None:
        log.info(
            "%s: nobody has published its hash, so only its size and its fit are checked", kept.name
        )
        _check_size(came, weights)
    state = read_files(came)
    with atomic_write(kept) as temporary:
        save_file(state, temporary)
        write_text(_hash_file(kept), f"{file_hash(temporary)}  {kept.name}\n")
    return kept


def _kept(weights: Weights) -> Path:
    return cache_folder() / f"{_stem(weights)}.safetensors"


def _stem(weights: Weights) -> str:
    """A name in the cache that no other publication has: many are called `model.pth`."""
    stem = Path(next(iter(weights.files))).stem
    known_by = weights.sha256_prefix or hashlib.sha256(weights.url.encode()).hexdigest()
    if known_by in stem:
        return stem
    return f"{stem}-{known_by[:16]}"


def _most_bytes(weights: Weights) -> int:
    """Megabytes as published are rounded, by some in tens and by some in binary."""
    if weights.megabytes is None:
        return 2 << 30
    return int(weights.megabytes * 1.1 * 2**20) + 2**20


def _check_size(came: Mapping[str, Path], weights: Weights) -> None:
    least = 0 if weights.megabytes is None else int(weights.megabytes * 0.9e6) - 2**20
    size = sum(path.stat().st_size for path in came.values())
    if not least <= size <= _most_bytes(weights):
        names = " and ".join(came)
        raise ValueError(
            f"{names}: {size:,} bytes, published are {weights.megabytes} MB: this is not the "
            "published file."
        )


def _hash_file(path: Path) -> Path:
    """In the form that `sha256sum --check` reads."""
    return path.with_suffix(".sha256")


def _is_as_written(path: Path) -> bool:
    hash_file = _hash_file(path)
    if not hash_file.is_file():
        return False
    with hash_file.open(encoding="ascii", errors="replace") as file:
        return file.read(64) == file_hash(path)


def _check(path: Path, name: str, weights: Weights) -> None:
    """Refuse what is no file of weights, or not the one whose hash was published."""
    check_file(path, name)
    if weights.sha256_prefix is None or name != next(iter(weights.files)):
        return
    found = file_hash(path)
    if not found.startswith(weights.sha256_prefix):
        raise ValueError(
            f"{name} has SHA-256 {found[:16]}..., published is {weights.sha256_prefix}...: "
            "the file is damaged or has been replaced."
        )
