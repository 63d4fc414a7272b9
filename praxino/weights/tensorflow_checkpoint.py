"""Tensors from a TensorFlow V2 checkpoint: NAME.index, and NAME.data-00000-of-00001 or more.

The index is a sorted table of keys and values in blocks (LevelDB's format); a value is a protocol
buffer that says of which type and shape a variable is, and where in the data its bytes lie
(`tensor_bundle.proto`). Both are read here as numbers and bytes; no graph is built and nothing is
run. Whatever a file says of sizes is checked against the size that it has before it is used.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from praxino.shortened import printable, shortened
from praxino.weights.crc32c import crc32c

LARGEST_INDEX = 4_000_000  # bytes, as they lie and unpacked; ten thousand variables need one
MOST_VARIABLES, LONGEST_NAME, MOST_FILES = 50_000, 1_000, 1_000
_MOST_AXES, _MOST_NUMBERS = 16, 2**48  # of a variable; more fits into no file
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")  # the last bytes of a table
_FOOTER, _TRAILER = 48, 5  # bytes: two handles and the magic; of a block: its kind, its checksum
_MEMBER = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")

# tensorflow/core/framework/types.proto
_DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    9: torch.int64,
    14: torch.bfloat16,
    19: torch.float16,
}
_TEXT = 7


def files_of(path: Path) -> dict[str, Path]:
    """The index and the data files of the checkpoint that a path means, by name; none: no such.

    Args:
        path: NAME as TensorFlow's own functions take it, one of the checkpoint's files, or a
            folder that holds one checkpoint.

    Raises:
        ValueError: a folder of several checkpoints.
    """
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) > 1:
            names = ", ".join(printable(one.name) for one in found[:3])
            raise ValueError(
                f"{printable(path)} holds {len(found)} TensorFlow checkpoints: {names}. Name one."
            )
        path = found[0] if found else path / "none.index"
    elif path.is_file() and not _MEMBER.search(path.name):
        return {}
    name = _MEMBER.sub("", path.name)
    if not path.with_name(f"{name}.index").is_file():
        return {}
    beside = sorted(path.parent.iterdir())
    return {
        one.name: one
        for one in beside
        if one.name == f"{name}.index" or one.name.startswith(f"{name}.data-")
    }


def read_checkpoint(files: Mapping[str, Path]) -> dict[str, Tensor]:
    """All variables of a checkpoint that are numbers, by their names in TensorFlow's graph.

    Args:
        files: NAME.index and NAME.data-00000-of-00001 or more, by these names.

    Raises:
        ValueError: not a whole checkpoint, or of a kind that is not read; the reason is told.
    """
    index = next(name for name in files if name.endswith(".index"))
    try:
        entries = dict(_entries(_read_index(files[index])))
        count = _number_of_files(entries.pop(b"", None))
        variables = [_variable(*entry) for entry in entries.items()]
        data = [f"{index.removesuffix('.index')}.data-{n:05}-of-{count:05}" for n in range(count)]
        lacking = next((name for name in data if name not in files), None)
        if lacking is not None:
            _refuse(f"{printable(lacking)} is not beside it")
        return _read_tensors(
            [files[name] for name in data], [v for v in variables if v is not None]
        )
    except _Damaged as reason:
        raise ValueError(
            f"{printable(index)} is not a whole TensorFlow checkpoint: {reason}."
        ) from None


class _Damaged(Exception):
    """Why a file cannot be what it says it is."""


def _refuse(reason: str) -> NoReturn:
    raise _Damaged(reason)


# --- the table -----------------------------------------------------------------------------------
# https://github.com/google/leveldb/blob/main/doc/table_format.md


def _read_index(path: Path) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_INDEX:
            _refuse(f"it has {size:,} bytes, the limit is {LARGEST_INDEX:,}")
        content = file.read(LARGEST_INDEX)
    if len(content) < _FOOTER or not content.endswith(_MAGIC):
        _refuse("it does not end as an index does")
    return content


def _entries(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, whose keys only grow."""
    at, end = len(content) - _FOOTER, len(content) - len(_MAGIC)
    more, at = _handle(content[:end], at)
    _block(content, more)  # of filters, which these tables have none of
    root, _ = _handle(content[:end], at)
    last, free, unpacked, count = b"", 0, 0, 0
    for _, value in _block_entries(_block(content, root)):
        handle, _ = _handle(value, 0)
        if handle[0] < free:  # or a small file could be read a million times over
            _refuse(f"its block at byte {handle[0]:,} overlaps the one before it")
        free = sum(handle)
        block = _block(content, handle)
        unpacked += len(block)
        if unpacked > LARGEST_INDEX:
            _refuse(f"its blocks unpack to more than {LARGEST_INDEX:,} bytes")
        for key, entry in _block_entries(block):
            if count and key <= last:
                _refuse(f"the name {shortened(key)} is there twice or out of order")
            last, count = key, count + 1
            if count > MOST_VARIABLES:
                _refuse(f"it names more than {MOST_VARIABLES:,} variables")
            yield key, entry


def _handle(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Where a block lies, as (first byte, bytes), and what follows the handle."""
    first, at = _varint(content, at)
    size, at = _varint(content, at)
    return (first, size), at


def _block(content: bytes, handle: tuple[int, int]) -> bytes:
    """A block as it was before it was packed."""
    first, size = handle
    end = first + size
    if end + _TRAILER > len(content):
        _refuse(f"its block at byte {first:,} has {size:,} bytes, the file only {len(content):,}")
    expected = int.from_bytes(content[end + 1 : end + _TRAILER], "little")
    if _masked(crc32c(content[first : end + 1])) != expected:
        _refuse(f"the checksum of its block at byte {first:,} is wrong")
    kind = content[end]
    if kind > 1:
        _refuse(f"its block at byte {first:,} is packed in the unknown way {kind}")
    return _unsnapped(content[first:end]) if kind == 1 else content[first:end]


def _masked(checksum: int) -> int:
    """How the format writes a checksum, so that the checksum of a checksum still tells much."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values; each key says how many bytes it shares with the one before it."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    if len(block) < 4 or end < 0:
        _refuse(f"a block of {len(block):,} bytes has {restarts:,} restarts")
    key, at = b"", 0
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + own + length > end:
            _refuse("an entry reaches out of its block")
        if shared + own > LONGEST_NAME:
            _refuse(f"a name has {shared + own:,} bytes, the limit is {LONGEST_NAME:,}")
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _unsnapped(packed: bytes) -> bytes:
    """Undo Snappy's compression: https://github.com/google/snappy/blob/main/format_description.txt."""
    size, at = _varint(packed, 0)
    if size > LARGEST_INDEX:
        _refuse(f"a block unpacks to {size:,} bytes, the limit is {LARGEST_INDEX:,}")
    out = bytearray()
    while at < len(packed):
        tag = packed[at]
        at += 1
        if tag & 3 == 0:  # bytes as they are
            length = tag >> 2
            if length >= 60:
                more = length - 59
                length = int.from_bytes(packed[at : at + more], "little")
                at += more
            length += 1
            if at + length > len(packed):
                break
            out += packed[at : at + length]
            at += length
        else:  # bytes that were there before
            if tag & 3 == 1:
                length, more = (tag >> 2 & 7) + 4, 1
                back = (tag >> 5 << 8) | int.from_bytes(packed[at : at + 1], "little")
            else:
                length, more = (tag >> 2) + 1, 2 if tag & 3 == 2 else 4
                back = int.from_bytes(packed[at : at + more], "little")
            at += more
            if not 0 < back <= len(out):
                _refuse("a packed block refers to bytes before its start")
            first = len(out) - back
            piece = out[first : first + length]
            out += (piece * (length // len(piece) + 1))[:length]  # it may run into itself
        if len(out) > size:
            break
    if len(out) != size:
        _refuse("a packed block does not unpack to the size it says")
    return bytes(out)


# --- protocol buffers ----------------------------------------------------------------------------
# https://protobuf.dev/programming-guides/encoding


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A whole number below 2**64, seven bits in a byte, and where it ends."""
    value = 0
    for place in range(10):
        if at >= len(content):
            _refuse("it breaks off within a number")
        value |= (content[at] & 0x7F) << 7 * place
        at += 1
        if content[at - 1] < 0x80:
            if value >= 2**64:
                break
            return value, at
    _refuse("a number does not fit into 64 bits")


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: number, and value as a whole number or as bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length, at = _varint(message, at)
        if length is None or at + length > len(message):
            _refuse("a description of a variable is damaged")
        content = message[at : at + length]
        yield tag >> 3, content if kind == 2 else int.from_bytes(content, "little")
        at += length


def _as(kind: type, value: Any) -> Any:
    """A field's value, if it is of the kind that its number stands for."""
    if not isinstance(value, kind):
        _refuse("a description of a variable is damaged")
    return value


# --- the variables -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Variable:
    """A `BundleEntryProto`."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    file: int
    start: int
    size: int
    checksum: int


def _number_of_files(header: bytes | None) -> int:
    """What the entry without a name says, a `BundleHeaderProto`."""
    if header is None:
        _refuse("it has no header")
    said: dict[int, Any] = {1: 0, 2: 0, 3: b""} | dict(_fields(header))
    files, big_endian, version = _as(int, said[1]), _as(int, said[2]), _as(bytes, said[3])
    if big_endian:
        _refuse("its numbers are big-endian; save it again on another machine")
    if _as(int, dict(_fields(version)).get(2, 0)) > 1:
        _refuse("it needs a newer reader of checkpoints")
    if not 0 < files <= MOST_FILES:
        _refuse(f"it would have {files:,} data files, the limits are 1 and {MOST_FILES:,}")
    return files


def _variable(key: bytes, entry: bytes) -> _Variable | None:
    """What an entry says, unless it is of texts: TensorFlow 2 describes its objects in one."""
    if key.startswith(b"\0"):  # how the names of slices begin
        _refuse("it holds variables in slices; save each in one piece")
    try:
        name = key.decode()
    except UnicodeDecodeError:
        _refuse(f"the name {shortened(key)} is not UTF-8")
    said: dict[int, Any] = {1: 0, 2: b"", 3: 0, 4: 0, 5: 0, 6: 0} | dict(_fields(entry))
    kind, file, start, size, checksum = (_as(int, said[field]) for field in (1, 3, 4, 5, 6))
    shape = tuple(_lengths(_as(bytes, said[2])))
    if kind == _TEXT:
        return None
    if kind not in _DTYPES:
        _refuse(f"{shortened(name)} is of TensorFlow's type {kind}, which is not read")
    if len(shape) > _MOST_AXES or math.prod(max(axis, 1) for axis in shape) > _MOST_NUMBERS:
        _refuse(f"{shortened(name)} has the impossible shape {shortened(shape)}")
    expected = math.prod(shape) * _DTYPES[kind].itemsize
    if expected != size:
        _refuse(
            f"{shortened(name)} of shape {shortened(shape)} takes {expected:,} bytes, it is given "
            f"{size:,}"
        )
    return _Variable(name, _DTYPES[kind], shape, file, start, size, checksum)


def _lengths(shape: bytes) -> Iterator[int]:
    """The axes of a `TensorShapeProto`."""
    for field, axis in _fields(shape):
        if field == 2:
            yield _as(int, dict(_fields(_as(bytes, axis))).get(1, 0))


def _read_tensors(files: list[Path], variables: list[_Variable]) -> dict[str, Tensor]:
    """The variables' numbers, no byte of which belongs to two of them."""
    tensors: dict[str, Tensor] = {}
    for number, path in enumerate(files):
        here = [one for one in variables if one.file == number]
        with path.open("rb") as file:
            size, free = os.fstat(file.fileno()).st_size, 0
            for variable in sorted(here, key=lambda one: (one.start, one.size)):
                end, shown = variable.start + variable.size, shortened(variable.name)
                if variable.start < free:  # or a small file could fill any memory
                    _refuse(f"{shown} shares bytes with the variable before it")
                if end > size:
                    _refuse(f"{shown} ends at byte {end:,}, data file {number} at {size:,}")
                free = end
                file.seek(variable.start)
                content = bytearray(file.read(variable.size))
                if _masked(crc32c(content)) != variable.checksum:
                    _refuse(f"the checksum of {shown} is wrong")
                tensors[variable.name] = (
                    torch.frombuffer(content, dtype=variable.dtype).reshape(variable.shape)
                    if content
                    else torch.empty(variable.shape, dtype=variable.dtype)
                )
    lost = next((one for one in variables if one.file >= len(files)), None)
    if lost is not None:
        _refuse(f"{shortened(lost.name)} is in data file {lost.file:,} of {len(files):,}")
    return {one.name: tensors[one.name] for one in variables}
