"""JSON from anywhere: bounded, strict, and every value of the type that a dataclass says.

Settings, model cards and results reach praxino as JSON that anybody may have written. No torch
here: settings must be cheap to read.
"""

import dataclasses
import difflib
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

from praxino.did_you_mean import did_you_mean
from praxino.shortened import printable, shortened

LARGEST_SETTINGS = 1_000_000  # bytes; real ones are a few thousand
_LARGEST_NUMBER = 2**63  # what arrays, tensors and seeds can hold


def read_json(path: str | Path, *, largest: int = LARGEST_SETTINGS) -> Any:
    """Read a JSON file, never more than `largest` bytes of it.

    Raises:
        ValueError: no regular file, too large, or what `parse_json` refuses.
    """
    path, name = Path(path), printable(path)
    if not path.is_file():
        raise ValueError(f"There is no file {name}.")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    return parse_json(content, name, largest=largest)


def parse_json(content: str | bytes, where: str, *, largest: int = LARGEST_SETTINGS) -> Any:
    """Turn JSON into plain values; what two readers could understand differently is refused.

    Args:
        content: text, or UTF-8 with or without a byte order mark.
        where: the file, for messages.
        largest: how long `content` may be.

    Raises:
        ValueError: not UTF-8, not JSON, too long or too deeply nested, a name that occurs twice in
            an object, or a number that is not finite or does not fit into 64 bits.
    """
    if len(content) > largest:
        raise ValueError(f"{where} is larger than {largest:,} bytes, which is the limit here.")
    text = _decoded(content, where) if isinstance(content, bytes) else content

    def whole(digits: str) -> int:
        # Checked by length first: Python refuses to turn very long ones into numbers at all.
        if len(digits) > 20 or abs(int(digits)) >= _LARGEST_NUMBER:
            raise ValueError(f"{where}: the number {shortened(digits)} does not fit into 64 bits.")
        return int(digits)

    def real(digits: str) -> float:
        if abs(float(digits)) == float("inf"):
            raise ValueError(f"{where}: the number {shortened(digits)} is too large.")
        return float(digits)

    def constant(name: str) -> float:
        raise ValueError(f"{where}: {name} is not a number; leave the setting out, or say null.")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        once: dict[str, Any] = {}
        for name, value in found:
            if name in once:
                raise ValueError(f"{where}: {shortened(name)} is there twice. Delete one of them.")
            once[name] = value
        return once

    try:
        return json.loads(
            text,
            object_pairs_hook=pairs,
            parse_int=whole,
            parse_float=real,
            parse_constant=constant,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error}.") from None
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply; settings are three levels deep.") from None


def _decoded(content: bytes, where: str) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{where} is UTF-16. Save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{where}, line {line}: the byte {content[error.start]:#04x} is not UTF-8. "
            "Save the file as UTF-8."
        ) from None


def checked(kind: Any, value: Any, where: str, setting: str = "") -> Any:
    """A plain value as what the annotation `kind` asks for.

    Lists become tuples and objects become dataclasses; a whole number will do for a float, but
    nothing else is converted: text is no number, and neither is true.

    Args:
        kind: bool, int, float, str, None, Any, a Literal, a union, `tuple[X, ...]`, `tuple[X, Y]`,
            `dict[str, X]`, or a dataclass of these.
        value: as `parse_json` gives it.
        where: the file, for messages.
        setting: the dotted name of what is checked, for messages.

    Raises:
        ValueError: names the setting, what it must be and what it is; in a name or a choice that
            does not exist, the nearest one.
    """
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or (kind in (None, type(None)) and value is None):
        return value
    if dataclasses.is_dataclass(kind):
        return _checked_dataclass(typing.cast(type, kind), value, where, setting)
    if origin in (typing.Union, types.UnionType):
        for one in inside:
            try:
                return checked(one, value, where, setting)
            except ValueError:
                continue
    elif origin is Literal:
        if any(value == one and type(value) is type(one) for one in inside):
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = inside[:1] * len(value) if inside[1:] == (...,) else inside
        if len(kinds) == len(value):
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(checked(k, one, where, f"{setting}[{at}]") for at, (k, one) in pairs)
    elif origin is dict and isinstance(value, dict):
        return {
            name: checked(inside[1], one, where, _joined(setting, name))
            for name, one in value.items()
        }
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif kind in (bool, int) and type(value) is kind:
        return value
    elif kind is str and isinstance(value, str) and "\0" not in value:
        return value
    near = difflib.get_close_matches(value[:100], _choices(kind), 1) if type(value) is str else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{where}: {setting} must be {_words(kind)}, got {shortened(value)}.{hint}")


def _checked_dataclass(kind: type, value: Any, where: str, setting: str) -> Any:
    if not isinstance(value, dict):
        here = f"{where}: {setting}" if setting else where
        raise ValueError(f"{here} must be settings of {kind.__name__}, got {shortened(value)}.")
    kinds = typing.get_type_hints(kind)
    for name in value:
        if name not in kinds:
            raise ValueError(
                f"{where}: {kind.__name__} has no setting {shortened(name)}."
                f"{did_you_mean(name[:100], kinds)}"
            )
    for field in dataclasses.fields(kind):
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if field.name not in value and not optional:
            raise ValueError(f"{where}: {_joined(setting, field.name)} is missing.")
    values = {
        name: checked(kinds[name], one, where, _joined(setting, name))
        for name, one in value.items()
    }
    try:
        return kind(**values)
    except ValueError as error:  # right by type, but out of range
        raise ValueError(f"{where}: {error}") from None


def _joined(setting: str, name: str) -> str:
    return f"{setting}.{printable(name[:100])}".lstrip(".")


def _choices(kind: Any) -> list[str]:
    """The texts that a Literal allows, also inside a union."""
    if typing.get_origin(kind) is Literal:
        return [one for one in typing.get_args(kind) if isinstance(one, str)]
    return [text for one in typing.get_args(kind) for text in _choices(one)]


def _words(kind: Any) -> str:
    """What an annotation asks for, in words: `a number or null`."""
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind in plain:
        return plain[kind]
    if kind in (None, type(None)):
        return "null"
    if origin is Literal:
        return " or ".join(map(repr, inside))
    if origin is tuple:
        if inside[1:] == (...,):
            return f"a list, each {_words(inside[0])}"
        return f"a list of {len(inside)}: {', '.join(map(_words, inside))}"
    if origin is dict:
        return "an object"
    return " or ".join(map(_words, inside))
