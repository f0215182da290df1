"""Frozen values to and from plain data, for the files that we alone write.

`load` trusts the annotations of the model's dataclasses: str, int, float, bool, enums, optional
values, tuples and other dataclasses are all that occurs in them.  Fields that a newer version
added get their defaults; fields that an older version does not know are dropped.  A value of
another type than annotated is refused: what is written by hand must not surprise the engine.
"""

from __future__ import annotations

import enum
import functools
import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass

Plain: typing.TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
Value = typing.TypeVar("Value")


def dump(value: object) -> Plain:
    """`value` as JSON-like data; None stays None."""
    if isinstance(value, enum.Enum):
        return typing.cast("Plain", value.value)
    if is_dataclass(value):
        return {field.name: dump(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list | frozenset):
        return [dump(each) for each in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"cannot be recorded: {type(value).__name__}")


def load(kind: type[Value], data: object) -> Value:
    """A `kind` made of what `dump` wrote; ValueError, TypeError or KeyError if it does not fit."""
    return typing.cast("Value", _load(kind, data))


def _load(kind: object, data: object) -> object:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        if data is None:
            return None
        return _load(next(each for each in arguments if each is not type(None)), data)
    if origin is tuple:
        if not isinstance(data, list):
            raise TypeError("a list was expected")
        return tuple(_load(arguments[0], each) for each in data)
    if isinstance(kind, type) and issubclass(kind, tuple):  # a NamedTuple of numbers
        if not isinstance(data, list):
            raise TypeError("a list was expected")
        return _numbers(kind, data)
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(data, dict):
            raise TypeError("a table was expected")
        known = _hints(kind)
        return kind(**{k: _load(known[k], v) for k, v in data.items() if k in known})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    return _leaf(kind, data)


def _numbers(kind: Callable[..., object], data: list[object]) -> object:
    return kind(*[_leaf(int, each) for each in data])


def _leaf(kind: object, data: object) -> object:
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        return float(data)
    if isinstance(kind, type) and type(data) is kind:
        return data
    raise TypeError(f"{getattr(kind, '__name__', kind)} was expected, not {data!r:.40}")


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    """The fields of a dataclass with their types; working them out takes 50 us each time."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
