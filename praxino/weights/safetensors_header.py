"""What a safetensors file says it holds, checked against its size before anything is read or built.

The format: 8 bytes with the length of a JSON header, the header, then the tensors' bytes without
gaps. https://github.com/huggingface/safetensors#format
"""

import math
import os
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from praxino.checked_json import parse_json
from praxino.shortened import printable, shortened

LARGEST_HEADER = 4_000_000  # bytes; the format allows 100 MB, ten thousand tensors need one
_MOST_ELEMENTS = 2**48  # beyond any file; keeps the arithmetic of empty tensors in 64 bits
_MOST_AXES = 16

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}


def read_header(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name on the meta device, which have shapes but no numbers, and the metadata.

    Raises:
        ValueError: not a whole safetensors file; the tensor and the reason are named.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file {printable(path)}.")
    with path.open("rb") as file:
        start = file.read(8)
        length, size = int.from_bytes(start, "little"), os.fstat(file.fileno()).st_size
        if start.startswith((b"PK\x03\x04", b"\x80\x02")):
            _refuse(path, "it is a PyTorch file under a wrong name; call it .pth")
        if len(start) < 8:
            _refuse(path, f"it has {size} bytes, of 8 that tell the length of its header")
        if length > LARGEST_HEADER:
            _refuse(
                path, f"its header would have {length:,} bytes, the limit is {LARGEST_HEADER:,}"
            )
        if 8 + length > size:
            _refuse(path, f"its header has {length:,} bytes, the file only {size:,}")
        content = file.read(length)
    if not content.startswith(b"{"):
        _refuse(path, f"its header starts with {shortened(content[:8])}, not with '{{'")
    try:
        header = parse_json(content, "the header", largest=LARGEST_HEADER)
    except ValueError as error:
        _refuse(path, str(error).rstrip("."))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _refuse(path, "its metadata is not an object of texts")
    spans: dict[str, tuple[int, int]] = {}
    tensors = {}
    for name, said in header.items():
        tensors[name], spans[name] = _tensor(path, name, said)
    _check_spans(path, spans, size - 8 - length)
    return tensors, metadata


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a file whose header keeps its word.

    Raises:
        ValueError: not a whole safetensors file; the tensor and the reason are named.
    """
    read_header(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        _refuse(Path(path), str(error))
    return tensors


def _tensor(path: Path, name: str, said: Any) -> tuple[Tensor, tuple[int, int]]:
    """One entry of the header, and where its bytes lie."""
    if not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"{shortened(name)} has no dtype, shape and data_offsets")
    dtype, shape, offsets = said["dtype"], said["shape"], said["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _refuse(path, f"{shortened(name)} has the unknown dtype {shortened(dtype)}")
    if not _are_sizes(shape) or len(shape) > _MOST_AXES:
        _refuse(path, f"{shortened(name)} has the impossible shape {shortened(shape)}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        _refuse(path, f"{shortened(name)} has the impossible data_offsets {shortened(offsets)}")
    if math.prod(max(length, 1) for length in shape) > _MOST_ELEMENTS:
        _refuse(path, f"{shortened(name)} of shape {shortened(shape)} fits into no memory")
    expected, found = math.prod(shape) * DTYPES[dtype].itemsize, offsets[1] - offsets[0]
    if expected != found:
        _refuse(
            path,
            f"{shortened(name)} of shape {shortened(shape)} and {dtype} takes {expected:,} bytes, "
            f"its data_offsets give it {found:,}",
        )
    return torch.empty(shape, dtype=DTYPES[dtype], device="meta"), (offsets[0], offsets[1])


def _are_sizes(found: Any) -> bool:
    return isinstance(found, list) and all(type(one) is int and one >= 0 for one in found)


def _check_spans(path: Path, spans: dict[str, tuple[int, int]], size: int) -> None:
    """The tensors fill the file without gaps, and none shares bytes with another."""
    end = 0
    for name, (start, stop) in sorted(spans.items(), key=lambda item: item[1]):
        if start != end:
            what = "overlaps the one before it" if start < end else "leaves a hole before it"
            _refuse(path, f"{shortened(name)} starts at byte {start:,}, not {end:,}: it {what}")
        end = stop
    if end < size:
        _refuse(path, f"{size - end:,} bytes follow the last tensor")
    if end > size:
        _refuse(path, f"{end - size:,} bytes are missing at its end")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ValueError(f"{printable(path)} is not a whole safetensors file: {reason}.")
