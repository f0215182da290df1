"""JSON values read with the types they are agreed to have.

Owns the check and its error; knows no particular answer.  What does not fit came from our own
child, and is a bug: InternalError.
"""

from __future__ import annotations

from collections.abc import Iterator

from nodestoraged.model.errors import InternalError


class Fields:
    """A JSON object whose fields are read with their type."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise _misfit("the answer", "an object", value)
        self._fields: dict[str, object] = value

    def value(self, key: str) -> object:
        """The field as it is; InternalError when it is missing."""
        if key not in self._fields:
            raise _misfit(key, "present", None)
        return self._fields[key]

    def has(self, key: str) -> bool:
        """True if there is such a field."""
        return key in self._fields

    def text(self, key: str) -> str:
        """A text."""
        return _text(self.value(key), key)

    def optional_text(self, key: str) -> str | None:
        """A text or null."""
        value = self.value(key)
        return None if value is None else _text(value, key)

    def number(self, key: str) -> int:
        """A whole number."""
        value = self.value(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise _misfit(key, "a whole number", value)

    def seconds(self, key: str) -> float:
        """A number."""
        value = self.value(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise _misfit(key, "a number", value)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.value(key)
        if isinstance(value, bool):
            return value
        raise _misfit(key, "true or false", value)

    def objects(self, key: str) -> Iterator[Fields]:
        """A list of objects."""
        return objects(self.value(key))


def objects(value: object) -> Iterator[Fields]:
    """A JSON list of objects."""
    return (Fields(each) for each in items(value))


def texts(value: object) -> tuple[str, ...]:
    """A JSON list of texts."""
    return tuple(_text(each, "an item") for each in items(value))


def items(value: object) -> list[object]:
    """A JSON list."""
    if isinstance(value, list):
        return value
    raise _misfit("the answer", "a list", value)


def _text(value: object, name: str) -> str:
    if isinstance(value, str):
        return value
    raise _misfit(name, "a text", value)


def _misfit(name: str, wanted: str, value: object) -> InternalError:
    return InternalError(f"the gRPC child answered {value!r:.80}: {name} is not {wanted}")
