"""Tensors from a Caffe model (`.caffemodel`): the blobs of each layer, by the layer's name.

The file is one protocol buffer (`NetParameter` of caffe.proto); of it, names and blobs are read as
text and numbers, everything else is passed over, and nothing is run. Whatever it says of sizes is
checked against the bytes that are there before it is used.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from praxino.shortened import printable, shortened
from praxino.weights.fitting import State

MOST_LAYERS, LONGEST_NAME = 100_000, 1_000
_MOST_AXES, _MOST_NUMBERS = 32, 2**40  # of a blob
_LEAVES = ("weight", "bias")  # what a layer's first blobs are called here
# Where a layer's name and blobs are: in LayerParameter, and in V1LayerParameter before it.
_LAYERS = {100: (1, 7), 2: (4, 6)}
# A blob's numbers, by their field: `data` and `double_data`.
_DTYPES = {5: torch.float32, 8: torch.float64}


def read_caffemodel(path: str | Path) -> State:
    """All blobs of a Caffe model.

    Args:
        path: of the binary form.

    Returns:
        `layer.weight` and `layer.bias`, the first and the second blob of each layer; a third one is
        `layer.2`. Old files write every shape with four axes; the ones that it begins with are left
        out.

    Raises:
        ValueError: not a whole Caffe model; the reason is told.
    """
    path = Path(path)
    try:
        return _blobs(memoryview(path.read_bytes()))
    except _Damaged as reason:
        raise ValueError(f"{printable(path.name)} is not a whole Caffe model: {reason}.") from None


class _Damaged(Exception):
    """Why a file cannot be what it says it is."""


def _refuse(reason: str) -> NoReturn:
    raise _Damaged(reason)


def _blobs(net: memoryview) -> State:
    found: State = {}
    layers = 0
    for start, number, end in _messages(net, 0, len(net)):
        if number not in _LAYERS:
            continue
        layers += 1
        if layers > MOST_LAYERS:
            _refuse(f"it has more than {MOST_LAYERS:,} layers")
        name_field, blob_field = _LAYERS[number]
        name, blobs = f"layer {layers}", []
        for first, field, last in _messages(net, start, end):
            if field == name_field:
                name = _name(bytes(net[first : min(last, first + LONGEST_NAME + 1)]))
            elif field == blob_field:
                blobs.append((first, last))
        for index, (first, last) in enumerate(blobs):
            key = f"{name}.{_LEAVES[index] if index < len(_LEAVES) else index}"
            if key in found:
                _refuse(f"{shortened(key)} is there twice")
            found[key] = _tensor(net, first, last, key)
    if not found:
        _refuse("no layer in it holds numbers")
    return found


def _name(value: bytes) -> str:
    if len(value) > LONGEST_NAME:
        _refuse(f"a layer's name has more than {LONGEST_NAME:,} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError:
        _refuse(f"the name {shortened(value)} is not UTF-8")


def _tensor(net: memoryview, start: int, end: int, key: str) -> Tensor:
    """A `BlobProto`: its shape, or the four axes of old files, and its numbers."""
    old, shape = [1, 1, 1, 1], None
    data, dtype = bytearray(), torch.float32
    for first, field, kind, last in _fields(net, start, end):
        if kind == _VARINT and 1 <= field <= 4:
            old[field - 1], _ = _varint(net, first, end)
        elif kind == _BYTES and field == 7:
            shape = _axes(net, first, last)
        elif field in _DTYPES:  # all in one piece, or, as old files may, one by one
            data += net[first:last]
            dtype = _DTYPES[field]
    if shape is None:
        ones = next((n for n, length in enumerate(old) if length != 1), 3)
        shape = old[ones:]
    if len(shape) > _MOST_AXES or not 0 < math.prod(shape) <= _MOST_NUMBERS:
        _refuse(f"{shortened(key)} has the impossible shape {shortened(tuple(shape))}")
    if math.prod(shape) * dtype.itemsize != len(data):
        _refuse(
            f"{shortened(key)} has {len(data):,} bytes, its shape {shortened(tuple(shape))} needs "
            f"{math.prod(shape) * dtype.itemsize:,}"
        )
    return torch.frombuffer(data, dtype=dtype).view(shape)


def _axes(net: memoryview, start: int, end: int) -> list[int]:
    """A `BlobShape`: its lengths, all in one piece or one by one."""
    shape: list[int] = []
    for first, field, kind, last in _fields(net, start, end):
        at = first
        while field == 1 and kind in (_VARINT, _BYTES) and at < last:
            length, at = _varint(net, at, last)
            shape.append(length)
            if len(shape) > _MOST_AXES:
                _refuse(f"a blob has more than {_MOST_AXES} axes")
    return shape


# --- protocol buffers ----------------------------------------------------------------------------
# https://protobuf.dev/programming-guides/encoding/

_VARINT, _BYTES = 0, 2
_WIDTHS = {1: 8, 5: 4}  # bytes of numbers of fixed size


def _messages(net: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields that hold bytes: where one begins, its number, where it ends."""
    for first, field, kind, last in _fields(net, start, end):
        if kind == _BYTES:
            yield first, field, last


def _fields(net: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: where the value begins, number, kind, where it ends."""
    at = start
    while at < end:
        tag, at = _varint(net, at, end)
        kind, first = tag & 7, at
        if kind == _VARINT:
            _, last = _varint(net, at, end)
        elif kind == _BYTES:
            length, first = _varint(net, at, end)
            last = first + length
        elif kind in _WIDTHS:
            last = first + _WIDTHS[kind]
        else:
            _refuse(f"byte {at - 1:,} begins a field of the unknown kind {kind}")
        if last > end:
            _refuse(f"a field at byte {first:,} ends {last - end:,} bytes after what holds it")
        yield first, tag >> 3, kind, last
        at = last


def _varint(net: memoryview, at: int, end: int) -> tuple[int, int]:
    """A whole number in as few bytes as it needs, and what follows it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            _refuse("it breaks off within a number")
        value |= (net[at] & 0x7F) << shift
        at += 1
        if net[at - 1] < 0x80:
            return value, at
    _refuse(f"a number before byte {at:,} is too long")
