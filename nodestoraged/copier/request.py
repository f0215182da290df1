"""The request: what is asked for, read from JSON and checked.

Owns: the names and types of its fields.  May not know: how a copy is made.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodestoraged.copier.failure import CopyFailed

__all__ = ["Request"]

_THREADS = 4


class Request:
    """One pass over one pair of directories; see `model.copy.CopyRequest`.

    `databases` are patterns of paths, of which each component is matched by itself and the last
    stands for all below too; `not_data` are names in the top directory.
    """

    __slots__ = (
        "bytes_per_second",
        "databases",
        "final",
        "not_data",
        "source",
        "source_number",
        "stage",
        "target",
        "target_number",
        "threads",
    )

    def __init__(self, fields: object) -> None:
        """Raises CopyFailed (`BadArguments`)."""
        if not isinstance(fields, dict):
            raise _bad("the request", fields)
        self.source = _path(fields, "source")
        self.target = _path(fields, "target")
        self.source_number = _device(fields, "source_number")
        self.target_number = _device(fields, "target_number")
        self.stage = _text(fields, "stage")
        if self.stage not in {"warm", "final"}:
            raise _bad("stage", self.stage)
        self.final = self.stage == "final"
        self.databases = tuple(tuple(one.split("/")) for one in _texts(fields, "databases"))
        self.not_data = frozenset(_texts(fields, "not_data"))
        self.bytes_per_second = _positive(fields, "bytes_per_second", None)
        self.threads = _positive(fields, "threads", _THREADS) or _THREADS


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise _bad(name, value)
    return value


def _path(fields: Mapping[str, object], name: str) -> str:
    value = _text(fields, name)
    if not value.startswith("/"):
        raise _bad(name, value)
    return value


def _device(fields: Mapping[str, object], name: str) -> tuple[int, int]:
    major, colon, minor = _text(fields, name).partition(":")
    if not colon or not major.isdecimal() or not minor.isdecimal():
        raise _bad(name, fields.get(name))
    return int(major), int(minor)


def _texts(fields: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _bad(name, value)
    return tuple(value)


def _positive(fields: Mapping[str, object], name: str, default: int | None) -> int | None:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise _bad(name, value)
    return value


def _bad(name: str, value: object) -> CopyFailed:
    return CopyFailed("BadArguments", f"{name} must not be {value!r}")
