"""Published weights: found by name, checked, converted to our names, loaded strictly.

Files that hold a pickle are opened in one place only, a child process that can do nothing but turn
them into safetensors; everything else here reads safetensors.
"""

import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from praxino.atomic import atomic_write
from praxino.errors import EnvironmentFault

State = dict[str, Tensor]

log = logging.getLogger("praxino")

PICKLED = (".pth", ".pt", ".pyth", ".ckpt", ".bin", ".tar", ".pickle", ".pkl")
TIMEOUT_SECONDS = 60.0


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
    """Where downloads are kept: `PRAXINO_CACHE`, or `~/.cache/praxino`."""
    return Path(os.environ.get("PRAXINO_CACHE") or Path.home() / ".cache" / "praxino")


def fetch(weights: Weights) -> Path:
    """The published file as safetensors, downloaded and converted the first time.

    Raises:
        EnvironmentFault: no connection, or the server refuses.
        ValueError: what came is not what was published.
    """
    name = weights.url.rsplit("/", 1)[1]
    kept = (cache_folder() / name).with_suffix(".safetensors")
    if kept.exists():
        return kept
    log.info("downloading %s to %s", weights.url, kept.parent)
    with tempfile.TemporaryDirectory() as folder:
        downloaded = Path(folder) / name
        _download(weights.url, downloaded)
        _check_file(downloaded)
        _check_hash(downloaded, weights)
        state = read_state(downloaded)
    with atomic_write(kept) as temporary:
        save_file(state, temporary)
    return kept


def _download(url: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            declared = answer.headers.get("Content-Length")
            with target.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise EnvironmentFault(
            f"Cannot download {url}: {reason}. Without a connection, fetch the file elsewhere and "
            "pass its path as weights."
        ) from None
    size = target.stat().st_size
    if declared is not None and size != int(declared):
        raise EnvironmentFault(
            f"The download of {url} broke off at {size} of {declared} bytes. Try again."
        )


def _check_file(path: Path) -> None:
    """Refuse what servers and repositories send in place of the file that was asked for."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{path.name} is a Git LFS pointer, not the weights. Run `git lfs pull` beside it."
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(f"{path.name} is a web page, not weights. Download the file itself.")
    if not start:
        raise ValueError(f"{path.name} is empty.")


def _check_hash(path: Path, weights: Weights) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(weights.sha256_prefix):
        raise ValueError(
            f"{path.name} has SHA-256 {found[:16]}..., published is {weights.sha256_prefix}...: "
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
    _check_file(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path.name} is not a whole safetensors file: {error}.") from None
    if path.suffix not in PICKLED:
        raise ValueError(
            f"{path.name}: weights are .safetensors or {', '.join(PICKLED)}, not {path.suffix!r}."
        )
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "converted.safetensors"
        _convert_in_child(path, converted)
        return load_file(converted)


def _convert_in_child(source: Path, target: Path) -> None:
    package_parent = str(Path(__file__).resolve().parents[1])
    search = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "praxino.weights", str(source.resolve()), str(target)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": search},
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"the reader died ({done.returncode})"]
        raise ValueError(f"{source.name} cannot be read as weights: {lines[-1]}")


def _convert(source: str, target: str) -> None:
    """What the child does: unpickle tensors only, find the state dict, write safetensors."""
    import torch

    found = torch.load(source, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds a {type(found).__name__}, not tensors by name")
    # Cloned, because safetensors refuses tensors that share memory.
    state = {k: v.detach().clone().contiguous() for k, v in found.items() if _is_tensor(v)}
    if not state:
        raise ValueError("it holds no tensors by name")
    if all(name.startswith("module.") for name in state):  # saved from a DataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    save_file(state, target)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def rename(state: State, rules: Iterable[tuple[str, str]]) -> State:
    """Rename entries by regular expressions, each applied to what the one before left."""
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def differences(model: nn.Module, state: State) -> list[str]:
    """What keeps these weights from fitting this model, one line each; counters may be missing."""
    own = model.state_dict()
    found = [
        f"{name} is missing"
        for name in own
        # Files from before torch 0.4.1 lack the counter.
        if name not in state and not name.endswith("num_batches_tracked")
    ]
    found += [f"{name} is not in the model" for name in state if name not in own]
    found += [
        f"{name} is {tuple(state[name].shape)}, the model has {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    return found


def load_strict(model: nn.Module, state: State, where: str) -> None:
    """Load weights that fit name by name and shape by shape, or change nothing.

    Args:
        model: gets the weights.
        state: under the model's own names; `num_batches_tracked` may be missing.
        where: the file, for the message.

    Raises:
        ValueError: names or shapes differ; the first ten are listed.
    """
    found = differences(model, state)
    if found:
        more = f"; and {len(found) - 10} more" if len(found) > 10 else ""
        raise ValueError(
            f"{where} does not fit {type(model).__name__}, {len(found)} differences: "
            + "; ".join(found[:10])
            + more
        )
    counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    model.load_state_dict(counters | state)


if __name__ == "__main__":
    try:
        _convert(sys.argv[1], sys.argv[2])
    except Exception as error:
        sys.exit(str(error).strip().splitlines()[0])
