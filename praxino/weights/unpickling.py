"""The child process that reads a pickle: tensors only, and then only as safetensors.

PyTorch's own files are read by `torch.load(weights_only=True)`, other pickles by ours.

`python -m praxino.weights.unpickling SOURCE TARGET`
"""

import io
import mmap
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import nn

from praxino.weights.caffe2_pickle import read_pickle
from praxino.weights.fitting import unwrapped
from praxino.weights.reading import CHILD_BYTES, CHILD_SECONDS

# How PyTorch's files began before they were zip files: a pickle of this number.
_OLD_PYTORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def convert(source: str, target: str) -> None:
    """What the child does: unpickle tensors only, find the state dict, write safetensors."""
    import torch

    # Once for each format, now that what torch imports at the first time can be read.
    for is_zip in (True, False):
        tried, tensors = io.BytesIO(), {"a": nn.Parameter(torch.zeros(1))}
        torch.save(tensors, tried, _use_new_zipfile_serialization=is_zip)
        save(torch.load(io.BytesIO(tried.getvalue()), weights_only=True))
    torch.from_numpy(np.zeros(1)).clone()
    with open(source, "rb") as file, open(target, "w+b") as converted:
        size = os.path.getsize(source)
        # No file can be written to later, but memory can; it takes no room until it is used.
        converted.truncate(4 * size + 2**20)
        with mmap.mmap(converted.fileno(), 0) as content:
            confine(size)
            start = file.read(len(_OLD_PYTORCH))
            file.seek(0)
            if start.startswith(b"\x80") and start != _OLD_PYTORCH:
                found = read_pickle(file)
            else:
                found = torch.load(file, map_location="cpu", weights_only=True)
            written = _as_safetensors(found)
            if len(written) > len(content):
                raise MemoryError
            content[: len(written)] = written
        converted.truncate(len(written))


def _as_safetensors(found: Any) -> bytes:
    """The state dict in what `torch.load` gave."""
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds a {type(found).__name__}, not tensors by name")
    # Cloned, because safetensors refuses tensors that share memory.
    state = {name: value.detach().clone().contiguous() for name, value in unwrapped(found).items()}
    if not state:
        raise ValueError("it holds no tensors by name")
    return save(state)


def confine(size: int) -> None:
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


if __name__ == "__main__":
    try:
        convert(sys.argv[1], sys.argv[2])
    except Exception as error:
        sys.exit(_refusal(error))
