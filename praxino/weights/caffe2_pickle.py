"""Tensors from a pickle of NumPy arrays by name, as Caffe2 models were published (`.pkl`).

A pickle is a program for a small machine, some of whose instructions call any function of Python.
Here nothing is called: `pickletools` takes a pickle apart into instructions and what they carry,
and we follow only those that texts, numbers, containers and arrays are made of. The functions by
which an array's pickle would build it are words that stand for a description of the array, from
which a tensor is made. Anything else is refused by its name.
"""

import math
import pickletools
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

_NUMBERS = ("f2", "f4", "f8", "i4", "i8")
_OF_NUMPY = ("numpy.core.multiarray ", "numpy._core.multiarray ")
_VALUES = (  # instructions that carry the value they stand for
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8".split()
)


@dataclass
class _Named:
    """A function or class that the pickle names; nobody looks it up."""

    words: str


@dataclass
class _Dtype:
    """What `numpy.dtype("f4")` would give, before and after it is told its byte order."""

    code: str
    order: str = "="


@dataclass
class _Array:
    """What `_reconstruct` would give: an array that is still to be told its numbers."""

    tensor: Tensor | None = None


def read_pickle(file: BinaryIO) -> Any:
    """What a pickle holds that is made of texts, numbers, lists, tuples, dicts and arrays.

    Written by Python 2 or 3, in protocol 2 to 4; texts of Python 2 are read as Latin-1.

    Args:
        file: open for reading, where the pickle begins.

    Returns:
        The same, with tensors in place of arrays.

    Raises:
        ValueError: it is damaged, or holds anything else.
    """
    try:
        return _followed(file)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError):
        raise ValueError("it is no whole pickle") from None


def _followed(file: BinaryIO) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        mark = marks.pop()
        found = stack[mark:]
        del stack[mark:]
        return found

    argument: Any
    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                break
            case name if name in _VALUES:
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(opcode.name[-1])
                stack[-length:] = [tuple(stack[-length:])]
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(since_mark())
            case "APPEND":
                value = stack.pop()
                stack[-1].append(value)
            case "APPENDS":
                values = since_mark()
                stack[-1].extend(values)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                values = since_mark()
                stack.append(dict(zip(values[::2], values[1::2], strict=True)))
            case "SETITEM":
                key, value = stack.pop(-2), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                values = since_mark()
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                found = memo[argument]
                done = isinstance(found, _Array) and found.tensor is not None
                stack.append(found.tensor if done else found)
            case "GLOBAL":
                stack.append(_Named(argument))
            case "STACK_GLOBAL":
                module, function = stack.pop(-2), stack.pop()
                stack.append(_Named(f"{module} {function}"))
            case "REDUCE":
                function, arguments = stack.pop(-2), stack.pop()
                stack.append(_described(function, arguments))
            case "BUILD":
                state = stack.pop()
                stack[-1] = _told(stack[-1], state)
            case other:
                raise ValueError(f"it holds the instruction {other}; only arrays by name are read")
    return stack.pop()


def _described(function: _Named, arguments: tuple[Any, ...]) -> Any:
    """What stands for the result of a call that is not made."""
    words = function.words
    if words in [place + "_reconstruct" for place in _OF_NUMPY]:
        return _Array()
    if words in [place + "scalar" for place in _OF_NUMPY]:
        dtype, content = arguments
        return _tensor((), dtype, False, content)
    if words == "numpy dtype":
        if arguments[0] not in _NUMBERS:
            raise ValueError(f"it holds an array of NumPy's type {str(arguments[0])[:20]!r}")
        return _Dtype(arguments[0])
    if words == "_codecs encode":  # how Python 3 writes bytes for Python 2
        return str(arguments[0]).encode("latin-1")
    asked = words.replace(" ", ".")[:100]
    raise ValueError(f"it asks to run {asked}; only tensors are read, nothing in a file is run")


def _told(thing: _Array | _Dtype, state: tuple[Any, ...]) -> Tensor | _Dtype:
    """A type that knows its byte order, or the tensor of an array that knows its numbers."""
    if isinstance(thing, _Dtype):
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"it holds an array of the byte order {str(state[1])[:20]!r}")
        thing.order = state[1]
        return thing
    if not isinstance(thing, _Array):
        raise ValueError("it sets the state of something that is no array")
    _, shape, dtype, by_columns, content = state
    thing.tensor = _tensor(shape, dtype, by_columns, content)
    return thing.tensor


def _tensor(
    shape: tuple[int, ...], dtype: _Dtype, by_columns: bool, content: str | bytes
) -> Tensor:
    raw = content.encode("latin-1") if isinstance(content, str) else content
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise ValueError("it holds an array without numbers")
    kind = np.dtype(dtype.order + dtype.code)
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(raw):
        raise ValueError(
            f"it holds an array of shape {str(shape)[:100]} and {dtype.code} in {len(raw):,} bytes"
        )
    array = np.frombuffer(raw, kind).reshape(shape, order="F" if by_columns else "C")
    return torch.from_numpy(array.astype(kind.newbyteorder("="), order="C"))
