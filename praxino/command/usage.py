"""What is wrong with a command line, in one line: the words, what is expected, the nearest name."""

import difflib
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import cyclopts
from cyclopts import ArgumentCollection, CycloptsError
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from praxino.did_you_mean import did_you_mean

# Word processors and web pages make one of these of two hyphens.
LONG_DASHES = "‐‑‒–—―−"


Helps = Mapping[str, str]  # what the help says of each argument and option of a command


def in_words(
    error: CycloptsError, command: str, arguments: Mapping[str, ArgumentCollection]
) -> str:
    """The line for a command line that cannot be parsed.

    Args:
        error: what cyclopts found.
        command: the words after `praxino` that name it, for example `data import`.
        arguments: those of all commands, by those words.
    """
    commands = {
        words: {name: one.parameter.help or "" for one in found for name in one.names}
        for words, found in arguments.items()
    }
    see = f"See praxino {command} --help.".replace("  ", " ")
    match error:
        case UnknownCommandError():
            return f"{_unknown_command(_first(error.unused_tokens), command, commands)} {see}"
        case UnknownOptionError():
            word = (error.token.keyword or error.token.value).partition("=")[0]
            return f"{command} has no option {word}. {_owner(word, command, commands) or see}"
        case RepeatArgumentError():
            return f"{error.token.keyword} is given twice. Give it once."
        case UnusedCliTokensError():
            word = _first(error.unused_tokens)
            return f"{command} has no use for {word!r}. {see}"
        case MissingArgumentError():
            return _missing(error, command, commands.get(command, {}))
        case CoercionError() if error.argument is not None and error.token is not None:
            given, kind = error.token.value, error.argument.hint
            near = did_you_mean(given, _choices(kind))
            return f"{_name(error)} {_expected(kind)}, got {given!r}." + near * ("mean" in near)
        case ValidationError():
            return f"{_name(error)} {error.exception_message}"
        case _:
            return str(error)


def refuse_long_dashes(words: Sequence[str]) -> None:
    """Refuse options that were copied out of a text; elsewhere they would be taken for files.

    Raises:
        ValueError: a word begins with a long dash, and no file is called that.
    """
    for word in words:
        if word[:1] and word[0] in LONG_DASHES and not os.path.lexists(word):
            raise ValueError(
                f"{word} begins with a long dash, as texts have it. Did you mean {_hyphens(word)}?"
            )


def whole_numbers_only(kind: Any, tokens: Any) -> Any:
    """Convert as cyclopts does, but do not round: `--epochs 3.5` is a mistake.

    Raises:
        ValueError: a fraction where a whole number belongs; cyclopts adds the name of the option.
    """
    if int in _parts(kind) and float not in _parts(kind):
        for token in tokens:
            if not re.fullmatch(r"[+-]?\d+", token.value):
                raise ValueError(token.value)
    return cyclopts.convert(kind, tokens)


def file_or_standard_output(kind: Any, path: Any) -> None:
    """Refuse an option where a file belongs: `--json --csv` has forgotten the file.

    Raises:
        ValueError: the name begins with a hyphen.
    """
    if str(path).startswith("-") and str(path) != "-":
        raise ValueError(f"needs a file, or - for standard output, got {str(path)!r}.")


def _unknown_command(word: str, group: str, commands: Mapping[str, Helps]) -> str:
    if word.startswith("-"):
        owner = _owner(word, "", {"": {"--help": "", "--version": ""}, **commands})
        return f"A command comes first, {word} is none. {owner}".rstrip()
    names = [name.removeprefix(group).split() for name in commands if name.startswith(group)]
    names_here = list(dict.fromkeys(words[0] for words in names))
    said = f"There is no command {f'{group} {word}'.strip()!r}."
    if word.strip():
        return said + did_you_mean(word, names_here if word != "help" else ["--help"])
    return f"{said} There is: {', '.join(names_here)}."


def _owner(word: str, command: str, commands: Mapping[str, Helps]) -> str:
    """Where an option that a command does not have may belong; empty if nobody knows."""
    meant = _hyphens(word)
    if near := _near(meant, [name for name in commands.get(command, ()) if name[:2] == "--"]):
        return f"Did you mean {near}?"
    owners = [name for name, helps in commands.items() if meant in helps]
    if owners:  # of several the one that most lines are for
        likely = [name for name in ("train", "predict", "evaluate") if name in owners]
        return f"It is an option of {(likely or owners)[0]}."
    return ""


def _near(word: str, options: Sequence[str]) -> str:
    """The option that is meant: the same last part (`--lr` for `--optim.lr`), or like letters."""
    for option in options:
        if word.strip("-") == option.rpartition(".")[2].strip("-"):
            return option
    parts = {option.rpartition(".")[2].strip("-"): option for option in reversed(options)}
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.7)
    if near:
        return near[0]
    near = difflib.get_close_matches(word.strip("-"), list(parts), n=1, cutoff=0.75)
    return parts[near[0]] if near else ""


def _missing(error: MissingArgumentError, command: str, helps: Helps) -> str:
    argument = error.argument
    assert argument is not None
    what = helps.get(argument.name, "").rstrip(".")
    what = f": {what[:1].lower()}{what[1:]}" if what else ""
    count, _ = argument.token_count()
    if error.keyword is None and not argument.tokens:  # nothing of it was given
        return f"{command} needs {_name(error)}{what}."
    if count > 1:
        return f"{_name(error)} needs {count} values, got {len(error.tokens_so_far) % count}{what}."
    return f"{_name(error)} needs a value{what}."


def _name(error: CycloptsError) -> str:
    """The option as it was typed, or an argument as the help calls it."""
    keyword = getattr(error, "keyword", None) or getattr(
        getattr(error, "token", None), "keyword", None
    )
    if keyword:
        return str(keyword)
    assert error.argument is not None
    name = error.argument.name
    return name if error.argument.field_info.is_keyword else name.lstrip("-").upper()


def _expected(kind: Any) -> str:
    choices, parts = _choices(kind), _parts(kind)
    if choices:
        return f"must be {', '.join(choices[:-1])} or {choices[-1]}"
    if bool in parts and len(parts) == 1:
        return "is a switch and takes no value"
    if typing.get_origin(kind) is dict:
        return "is followed by a name: --model.options.NAME VALUE"
    if float in parts:
        return "must be a number"
    return "must be a whole number" if int in parts else "must be of another kind"


def _choices(kind: Any) -> list[str]:
    return [
        str(choice)
        for part in _parts(kind)
        if typing.get_origin(part) is typing.Literal
        for choice in typing.get_args(part)
    ]


def _parts(kind: Any) -> list[Any]:
    """`int` of `int | None`; a type that is no union is its own part."""
    if typing.get_origin(kind) is typing.Annotated:
        return _parts(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) is tuple:
        return list(typing.get_args(kind))
    return [kind]


def _hyphens(word: str) -> str:
    """`-epochs` and `–epochs` as they are meant."""
    return "--" + word.lstrip(f"-{LONG_DASHES}") if len(word) > 2 else word


def _first(words: Sequence[str] | None) -> str:
    return words[0] if words else ""
