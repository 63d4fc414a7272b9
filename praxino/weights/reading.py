"""Tensors by name from a file: safetensors, or a checkpoint of another toolkit.

Files that hold a pickle are opened in one place only, a child process (`unpickling.py`) that can do
nothing but turn them into safetensors; everything else here reads safetensors.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from praxino.errors import EnvironmentFault
from praxino.shortened import printable
from praxino.weights.caffemodel import read_caffemodel
from praxino.weights.fitting import State
from praxino.weights.safetensors_header import load_tensors
from praxino.weights.tensorflow_checkpoint import files_of, read_checkpoint

PICKLED = (".pth", ".pt", ".pyth", ".ckpt", ".bin", ".tar", ".pickle", ".pkl")
# What the child that reads pickles may take, beyond what it takes to start; published files are up
# to a few GB, and are held in memory up to four times while they are converted.
CHILD_SECONDS = 120.0
CHILD_BYTES = 1 << 30
# Of the environment only this goes to that child: no keys, no tokens.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")


def read_state(path: str | Path) -> State:
    """Read tensors by name from a `.safetensors` file, or from a checkpoint of another toolkit.

    Args:
        path: `.safetensors`; or `.pth` and the like, which a child process turns into safetensors
            with `torch.load(weights_only=True)`, so that nothing in the file can run; or
            `.caffemodel`; or a TensorFlow checkpoint by its name (`model.ckpt`), by one of its
            files, or by its folder.

    Raises:
        ValueError: no such file, or not one that can be read.
    """
    path = Path(path)
    return read_files(files_of(path) or {path.name: path})


def holds_weights(path: str | Path) -> bool:
    """Whether there is a file, or a TensorFlow checkpoint, that `read_state` could try to read."""
    return Path(path).is_file() or bool(files_of(Path(path)))


def check_file(path: Path, name: str) -> None:
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


def read_files(files: Mapping[str, Path]) -> State:
    """Read a file, or the files of one TensorFlow checkpoint, as their names say.

    Args:
        files: where they lie, by the names under which they were published.
    """
    for name, path in files.items():
        if not path.is_file():
            raise ValueError(f"There is no weights file {str(path)!r}.")
        check_file(path, printable(name))
    if any(name.endswith(".index") for name in files):
        return read_checkpoint(files)
    ((name, path),) = files.items()
    suffix, name = Path(name).suffix.lower(), printable(name)
    if suffix == ".safetensors":
        return load_tensors(path)
    if suffix == ".caffemodel":
        return read_caffemodel(path)
    if suffix not in PICKLED:
        raise ValueError(
            f"{name}: weights are .safetensors or {', '.join(PICKLED)}, .caffemodel, or a "
            f"TensorFlow checkpoint, not {suffix!r}."
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
    package_parent = str(Path(__file__).resolve().parents[2])
    search = [package_parent, *(os.path.abspath(path) for path in sys.path if path)]
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    seconds = CHILD_SECONDS + source.stat().st_size / 10_000_000
    # -P: a torch.py in the current folder is not the one to import.
    python = [sys.executable, "-P", "-B", "-W", "ignore", "-m", "praxino.weights.unpickling"]
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
