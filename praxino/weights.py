"""Published weights: found by name, checked, converted to our names, loaded strictly.

Files that hold a pickle are opened in one place only, a child process that can do nothing but turn
them into safetensors; everything else here reads safetensors.
"""

import io
import logging
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save, save_file
from torch import Tensor, nn

from praxino.atomic import atomic_write, write_text
from praxino.checksums import file_hash
from praxino.download import download, unfinished
from praxino.errors import EnvironmentFault
from praxino.safetensors_header import load_tensors
from praxino.shortened import printable

State = dict[str, Tensor]

log = logging.getLogger("praxino")

PICKLED = (".pth", ".pt", ".pyth", ".ckpt", ".bin", ".tar", ".pickle", ".pkl")
# What the child that reads pickles may take, beyond what it takes to start; published files are up
# to a few GB, and are held in memory up to four times while they are converted.
CHILD_SECONDS = 120.0
CHILD_BYTES = 1 << 30
# Of the environment only this goes to that child: no keys, no tokens.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")


@dataclass(frozen=True)
class Weights:
    """One published set of weights: where it is, what it reached, and how to read it.

    Args:
        url: of the file.
        sha256_prefix: the first hexadecimal digits of its SHA-256.
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
    sha256_prefix: str
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
                _check_file(came, name)
                _check_hash(came, name, weights)
                break
            except ValueError:
                file.truncate(0)
                if not left_over:
                    raise
                left_over = False  # of another file, or damaged: once more from the start
        state = _read(came, name)
        with atomic_write(kept) as temporary:
            save_file(state, temporary)
            write_text(_hash_file(kept), f"{file_hash(temporary)}  {kept.name}\n")
        came.unlink()
    return kept


def _stem(weights: Weights) -> str:
    """A name in the cache that no other publication has: many are called `model.pth`."""
    stem = Path(weights.url.rsplit("/", 1)[1]).stem
    if weights.sha256_prefix in stem:
        return stem
    return f"{stem}-{weights.sha256_prefix[:16]}"


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


def _check_file(path: Path, name: str) -> None:
    """Refuse what servers and repositories send in place of the file that was asked for."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{name} is a Git LFS pointer, not the weights. Run `git lfs pull` beside it."
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(f"{name} is a web page, not weights. Download the file itself.")
    if not start:
        raise ValueError(f"{name} is empty.")


def _check_hash(path: Path, name: str, weights: Weights) -> None:
    found = file_hash(path)
    if not found.startswith(weights.sha256_prefix):
        raise ValueError(
            f"{name} has SHA-256 {found[:16]}..., published is {weights.sha256_prefix}...: "
            "the file is damaged or has been replaced."
        )


def read_state(path: str | Path) -> State:
    """Read tensors by name from a `.safetensors` file, or from a checkpoint of another toolkit.

    Args:
        path: `.safetensors`; or `.pth` and the like, which a child process turns into safetensors
            with `torch.load(weights_only=True)`, so that nothing in the file can run.

    Raises:
        ValueError: no such file, or not one that can be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no weights file {str(path)!r}.")
    _check_file(path, printable(path.name))
    return _read(path, path.name)


def _read(path: Path, name: str) -> State:
    """Read a file as its name says."""
    suffix, name = Path(name).suffix.lower(), printable(name)
    if suffix == ".safetensors":
        return load_tensors(path)
    if suffix not in PICKLED:
        raise ValueError(
            f"{name}: weights are .safetensors or {', '.join(PICKLED)}, not {suffix!r}."
        )
    with _temporary_folder() as folder:
        converted = folder / "converted.safetensors"
        _convert_in_child(path, converted, name)
        return load_tensors(converted)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory()
    except OSError as error:
        raise EnvironmentFault(
            f"There is no room for temporary files: {error.strerror or error}. Free some space, or "
            f"set TMPDIR to another folder."
        ) from None
    with folder:
        yield Path(folder.name)


def _convert_in_child(source: Path, target: Path, name: str) -> None:
    package_parent = str(Path(__file__).resolve().parents[1])
    search = [package_parent, *(os.path.abspath(path) for path in sys.path if path)]
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    seconds = CHILD_SECONDS + source.stat().st_size / 10_000_000
    # -P: a torch.py in the current folder is not the one to import.
    python = [sys.executable, "-P", "-B", "-W", "ignore", "-m", "praxino.weights"]
    try:
        done = subprocess.run(
            [*python, str(source.resolve()), str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=kept | {"PYTHONPATH": os.pathsep.join(search)},
            timeout=seconds,
        )
    except OSError as error:
        raise EnvironmentFault(
            f"The process that reads {name} cannot be started: {error.strerror or error}."
        ) from None
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"{name} cannot be read as weights: it takes longer than {seconds:.0f} s."
        ) from None
    if done.returncode < 0 and -done.returncode == getattr(signal, "SIGBUS", 0):
        raise EnvironmentFault(
            f"There is no room to convert {name} in {target.parent.parent}. Free some space, or "
            f"set TMPDIR to another folder."
        )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = printable(lines[-1][:300]) if lines else f"the reader died ({done.returncode})"
        raise ValueError(f"{name} cannot be read as weights: {reason}")


def _convert(source: str, target: str) -> None:
    """What the child does: unpickle tensors only, find the state dict, write safetensors."""
    import torch

    # Once for both formats, now that what torch imports at the first time can be read.
    for is_zip in (True, False):
        tried, tensors = io.BytesIO(), {"a": nn.Parameter(torch.zeros(1))}
        torch.save(tensors, tried, _use_new_zipfile_serialization=is_zip)
        save(torch.load(io.BytesIO(tried.getvalue()), weights_only=True))
    with open(source, "rb") as file, open(target, "w+b") as converted:
        size = os.path.getsize(source)
        # No file can be written to later, but memory can; it takes no room until it is used.
        converted.truncate(4 * size + 2**20)
        with mmap.mmap(converted.fileno(), 0) as content:
            _confine(size)
            written = _as_safetensors(torch.load(file, map_location="cpu", weights_only=True))
            if len(written) > len(content):
                raise MemoryError
            content[: len(written)] = written
        converted.truncate(len(written))


def _as_safetensors(found: Any) -> bytes:
    """The state dict in what `torch.load` gave."""
    for key in ("state_dict", "model_state", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds a {type(found).__name__}, not tensors by name")
    # Cloned, because safetensors refuses tensors that share memory.
    state = {
        name: value.detach().clone().contiguous()
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not state:
        raise ValueError("it holds no tensors by name")
    if all(name.startswith("module.") for name in state):  # saved from a DataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return save(state)


def _confine(size: int) -> None:
    """Give up, for the rest of this process, what a reader of `size` bytes of tensors has no use
    for: much memory, time, other programs, the network, and files that are not open by now.

    `weights_only` is what keeps code from running. It has had holes; this is for the next one.
    """
    if sys.platform != "win32":
        from praxino.video import sandbox

        sandbox.lock(4 * size + CHILD_BYTES)
        sandbox.lock_fork(int(CHILD_SECONDS + size / 10_000_000))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_NEVER) or (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            raise PermissionError(f"it asks for {event}; only tensors are read")

    sys.addaudithook(watch)


# https://docs.python.org/3/library/audit_events.html
_NEVER = tuple(
    "socket. subprocess. os.system os.exec os.fork os.posix_spawn os.spawn os.startfile os.kill "
    "os.remove os.rename os.chmod ctypes. shutil.".split()
)


def _refusal(error: Exception) -> str:
    """Why a file cannot be read, in a line; torch's own words advise to run what is in it."""
    text = str(error).strip()
    wanted = re.search(r"GLOBAL:? (\S+)", text)
    if wanted:
        return f"it asks to run {wanted[1]}; only tensors are read, nothing in a file is run"
    if text.startswith("Weights only load failed"):
        return "it is no PyTorch checkpoint, or holds more than tensors"
    if isinstance(error, PermissionError) and error.filename is not None:
        return "it asks for a file; only tensors are read"
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return "it wants far more memory than the file is large"
    return text.splitlines()[0] if text else type(error).__name__


def rename(state: State, rules: Iterable[tuple[str, str]]) -> State:
    """Rename entries by regular expressions, each applied to what the one before left."""
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def differences(model: nn.Module, state: State) -> list[str]:
    """What keeps these weights from fitting this model, one line each; counters may be missing.

    Only names, shapes and dtypes are compared, so both may be on the meta device. Floating point
    numbers of any precision fit each other.
    """
    own = model.state_dict()
    found = [
        f"{name} is missing"
        for name in own
        # Files from before torch 0.4.1 lack the counter.
        if name not in state and not name.endswith("num_batches_tracked")
    ]
    found += [f"{printable(name)} is not in the model" for name in state if name not in own]
    for name, value in own.items():
        if name not in state:
            continue
        given = state[name]
        if given.shape != value.shape:
            found.append(f"{name} is {tuple(given.shape)}, the model has {tuple(value.shape)}")
        elif given.dtype != value.dtype and not (
            given.is_floating_point() and value.is_floating_point()
        ):
            found.append(f"{name} is {given.dtype}, the model has {value.dtype}")
    return found


def check_fit(model: nn.Module, state: State, where: str) -> None:
    """Refuse weights whose names, shapes or dtypes are not the model's.

    Args:
        model: may be on the meta device.
        state: under the model's own names; may be on the meta device.
        where: the file, for the message.

    Raises:
        ValueError: the first ten differences, and how many there are.
    """
    found = differences(model, state)
    if found:
        more = f"; and {len(found) - 10} more" if len(found) > 10 else ""
        raise ValueError(
            f"{where} does not fit {type(model).__name__}, {len(found)} differences: "
            + "; ".join(found[:10])
            + more
        )


def load_strict(model: nn.Module, state: State, where: str, *, assign: bool = False) -> None:
    """Load weights that fit name by name and shape by shape, or change nothing.

    Args:
        model: gets the weights.
        state: under the model's own names; `num_batches_tracked` may be missing.
        where: the file, for the message.
        assign: put these very tensors into the model, whose own may be on the meta device.

    Raises:
        ValueError: names, shapes or dtypes differ (the first ten are listed), or a weight is not a
            finite number.
    """
    check_fit(model, state, where)
    own = model.state_dict()
    # In the model's own precision, where what was finite may no longer be.
    fitting = {name: value.to(own[name].dtype) for name, value in state.items()}
    for name, value in fitting.items():
        bad = 0 if not value.is_floating_point() else int((~value.isfinite()).sum())
        if bad:
            raise ValueError(
                f"{where}: {bad} of {value.numel()} numbers in {name} are NaN or infinite: the "
                "file is damaged, or its training diverged. Take another checkpoint."
            )
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    model.load_state_dict(counters | fitting, assign=assign)


if __name__ == "__main__":
    try:
        _convert(sys.argv[1], sys.argv[2])
    except Exception as error:
        sys.exit(_refusal(error))
