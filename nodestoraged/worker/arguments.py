"""Typed access to the JSON arguments of an operation.

Owns: the checks.  May not know: which operation needs what.
A wrong argument is a bug of the caller: `BadArguments`, before anything was touched.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodestoraged.worker.failure import OperationFailed

__all__ = ["flag", "integer", "number", "optional_integer", "optional_text", "path", "text"]


def text(args: Mapping[str, object], name: str) -> str:
    """The non-empty string `name`."""
    value = args.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise _bad(name, "a string", value)
    return value


def path(args: Mapping[str, object], name: str) -> str:
    """The absolute path `name`, without trailing slashes."""
    value = text(args, name)
    if not value.startswith("/"):
        raise _bad(name, "an absolute path", value)
    return value.rstrip("/") or "/"


def optional_text(args: Mapping[str, object], name: str) -> str | None:
    """The string `name`, None if it is absent or null."""
    return None if args.get(name) is None else text(args, name)


def integer(args: Mapping[str, object], name: str) -> int:
    """The integer `name`, zero or more."""
    value = args.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _bad(name, "an integer", value)
    return value


def optional_integer(args: Mapping[str, object], name: str) -> int | None:
    """The integer `name`, None if it is absent or null."""
    return None if args.get(name) is None else integer(args, name)


def number(args: Mapping[str, object], name: str, default: float) -> float:
    """The number `name` (seconds), `default` if absent."""
    value = args.get(name, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
        raise _bad(name, "a number", value)
    return float(value)


def flag(args: Mapping[str, object], name: str) -> bool:
    """The boolean `name`, False if absent."""
    value = args.get(name, False)
    if not isinstance(value, bool):
        raise _bad(name, "true or false", value)
    return value


def _bad(name: str, wanted: str, value: object) -> OperationFailed:
    return OperationFailed("BadArguments", f"{name} must be {wanted}, not {value!r}")
