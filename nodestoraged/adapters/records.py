"""Frozen values to and from plain data, for the files that we alone write.

`load` trusts the annotations of the model's dataclasses: str, int, float, bool, enums, optional
values, tuples and other dataclasses are all that occurs in them.  Fields that a newer version
added get their defaults; fields that an older version does not know are dropped.
"""

from __future__ import annotations

import enum
import types
import typing
from dataclasses import fields, is_dataclass

Plain = typing.Union[str, int, float, bool, None, list["Plain"], dict[str, "Plain"]]
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
        return kind(*data)
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(data, dict):
            raise TypeError("a table was expected")
        hints = typing.get_type_hints(kind)
        known = {field.name for field in fields(kind)}
        return kind(**{k: _load(hints[k], v) for k, v in data.items() if k in known})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    if kind is float and isinstance(data, int | float):
        return float(data)
    return data
