"""Reading the daemon's JSON without trusting its shape: what is absent is simply empty.

Owns: access.  A newer or older daemon may leave fields out; nothing here ever fails.
"""

from __future__ import annotations

from nodestoraged.cli.text import safe

__all__ = ["device", "entries", "number", "obj", "port", "text", "words"]

Json = dict[str, object]

#: Bytes and seconds stay far below; JSON knows larger numbers, which Python reads as infinite.
_LARGEST = 1e30


def obj(value: object, key: str) -> Json:
    """The object under the key, {} when there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def entries(value: object, key: str) -> list[Json]:
    """The objects of the list under the key."""
    found = value.get(key) if isinstance(value, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def text(value: object, key: str, default: str = "") -> str:
    """The value under the key as text that is safe on a terminal."""
    found = value.get(key) if isinstance(value, dict) else None
    return default if found is None or found == "" else safe(found)


def words(value: object, key: str) -> list[str]:
    """The list of strings under the key, safe on a terminal."""
    found = value.get(key) if isinstance(value, dict) else None
    return [safe(one) for one in found] if isinstance(found, list) else []


def number(value: object, key: str) -> float | None:
    """The number under the key, None when it is none, or none that anything has (1e999)."""
    found = value.get(key) if isinstance(value, dict) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    return found if -_LARGEST < found < _LARGEST else None


def device(value: object) -> str:
    """A devnode without /dev/: `sdb1`; "-" when it has none."""
    return text(value, "devnode", "-").removeprefix("/dev/")


def port(value: object) -> str:
    """Bus and port: `USB 1-2`."""
    bus = text(value, "bus")
    bus = bus.upper() if bus.isalpha() else bus  # an escaped character keeps its spelling
    return " ".join(part for part in (bus, text(value, "port")) if part)
