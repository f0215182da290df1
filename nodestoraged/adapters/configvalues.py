"""Readers of single configuration values: from what TOML gave to what the model wants.

Owns: the meaning of sizes, seconds, names and argument vectors, and the sentence that says what
was wrong.  May not know: files, key names or tables; `adapters.configschema` adds those.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

_Choice = TypeVar("_Choice", bound=StrEnum)
_T = TypeVar("_T")

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|[KMGT]i?B)")
_UNITS = {"B": 1} | {
    prefix + suffix: base**power
    for power, prefix in enumerate("KMGT", start=1)
    for suffix, base in (("iB", 1024), ("B", 1000))
}
_NAME = re.compile(r"[a-z0-9-]{1,32}")
_UNIT_NAME = re.compile(r"[A-Za-z0-9_.@:\\][A-Za-z0-9_.@:\\-]*")
#: GPT partition names hold 36 UTF-16 units; every file system label is shorter.
LABEL_CHARACTERS = 36
#: Nothing here is meant to wait longer; larger numbers are mistakes in the unit.
LONGEST_SECONDS = 30 * 86400


class WrongValueError(Exception):
    """A value that cannot be; `problem` ends a sentence, `hint` says what would be right."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


def kind_of(value: object) -> str:
    """What TOML calls a value of this type, with its article."""
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a float"),
        (str, "a string"),
        (list, "an array"),
        (dict, "a table"),
    )
    return next((name for type_, name in names if isinstance(value, type_)), "a date or time")


def text(value: object) -> str:
    """A string that can stand in a terminal line: not empty, no control characters."""
    if not isinstance(value, str):
        raise WrongValueError(f"must be a string, not {kind_of(value)}")
    if not value:
        raise WrongValueError("must not be empty")
    if not value.isprintable():
        raise WrongValueError("must not contain control characters")
    return value


def flag(value: object) -> bool:
    """True or false, and nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise WrongValueError(f"must be true or false, not {kind_of(value)}")
    return value


def choice(enum: type[_Choice], newer: str = "") -> Callable[[object], _Choice]:
    """One of the words of `enum`; `newer` is said of a word that is not among them."""

    def read(value: object) -> _Choice:
        words = [member.value for member in enum]
        word = text(value)
        if word not in words:
            problem = newer.format(word) if newer else f"{word!r} is not one of them"
            raise WrongValueError(problem, f"one of: {', '.join(words)}")
        return enum(word)

    return read


def seconds(*, above: float | None = None, least: float = 0) -> Callable[[object], float]:
    """A finite number of seconds, more than `above` where given, else at least `least`."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WrongValueError(f"must be a number of seconds, not {kind_of(value)}")
        if not math.isfinite(value) or value > LONGEST_SECONDS:
            raise WrongValueError(f"must be at most {LONGEST_SECONDS} seconds")
        if above is not None and value <= above:
            raise WrongValueError(f"must be more than {above:g}")
        if value < least:
            raise WrongValueError(f"must be at least {least:g}")
        return value

    return read


def count(least: int, most: int) -> Callable[[object], int]:
    """A whole number from `least` to `most`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongValueError(f"must be a whole number, not {kind_of(value)}")
        if not least <= value <= most:
            raise WrongValueError(f"must be from {least} to {most}")
        return value

    return read


def size(value: object) -> int:
    """Bytes of "4GiB", "500 MB" or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise WrongValueError("must not be negative")
        return value
    if not isinstance(value, str):
        raise WrongValueError(f"must be a size, not {kind_of(value)}", 'for example "4GiB"')
    match = _SIZE.fullmatch(value)
    if match is None:
        raise WrongValueError(f"{value!r} is not a size", 'for example "4GiB" or "500MB"')
    return int(float(match[1]) * _UNITS[match[2]])


def show_size(size_bytes: int) -> str | int:
    """The shortest exact way to write a size; plain bytes where no binary unit divides it."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _UNITS[unit] == 0:
            return f"{size_bytes // _UNITS[unit]}{unit}"
    return size_bytes


def several(
    read_one: Callable[[object], _T], *, least: int = 0, unique: bool = True
) -> Callable[[object], tuple[_T, ...]]:
    """An array of what `read_one` takes, without repetition unless `unique` is off."""

    def read(value: object) -> tuple[_T, ...]:
        if not isinstance(value, list):
            raise WrongValueError(f"must be an array, not {kind_of(value)}", '["…", "…"]')
        found = tuple(read_one(item) for item in value)
        if len(found) < least:
            raise WrongValueError("must not be empty")
        if unique and len(set(found)) < len(found):
            raise WrongValueError("names something twice")
        return found

    return read


def label(value: object) -> str:
    """A file system label or GPT partition name."""
    word = text(value)
    if len(word) > LABEL_CHARACTERS:
        raise WrongValueError(
            f"{word!r} is longer than {LABEL_CHARACTERS} characters, which no label can be"
        )
    return word


def name(value: object) -> str:
    """A name of our own making: lower case letters, digits and dashes, at most 32."""
    word = text(value)
    if _NAME.fullmatch(word) is None:
        raise WrongValueError(
            f"{word!r} is not a name", "lower case letters, digits and dashes, at most 32"
        )
    return word


def unit_name(value: object) -> str:
    """A service's name, as its manager spells it."""
    word = text(value)
    if _UNIT_NAME.fullmatch(word) is None:
        raise WrongValueError(f"{word!r} is not the name of a service")
    return word


def guid(value: object) -> str:
    """A GPT partition type, in lower case as udev tells it."""
    word = text(value)
    try:
        return str(uuid.UUID(word))
    except ValueError:
        raise WrongValueError(
            f"{word!r} is no partition type", "a GUID, as sfdisk --dump shows it"
        ) from None


def path(value: object) -> str:
    """An absolute path below `/`, without `..` or a trailing slash."""
    word = text(value)
    parts = word.split("/")
    if parts[0] or len(parts) < 2 or any(part in {"", ".", ".."} for part in parts[1:]):
        raise WrongValueError(
            f"{word!r} is not a plain absolute path", 'for example "/var/lib/containerd"'
        )
    return word


def argv(value: object) -> tuple[str, ...]:
    """A program by absolute path, and its arguments; no shell reads them."""
    if not isinstance(value, list) or not value:
        raise WrongValueError(
            "must be a program and its arguments", 'for example ["/usr/bin/logger", "moved"]'
        )
    path(value[0])
    if not all(isinstance(argument, str) and "\0" not in argument for argument in value):
        raise WrongValueError("must hold strings only")
    return tuple(value)
