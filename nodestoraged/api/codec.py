"""Varlink frames: JSON objects, each ended by one NUL byte (https://varlink.org/Method-Call).

Owns: framing, its size limits and strictness.  May not know: sockets, methods, meaning.
Both the daemon and the command line import this, so it stays with json alone.
"""

from __future__ import annotations

import json

__all__ = [
    "MAX_REPLY_BYTES",
    "MAX_REQUEST_BYTES",
    "BadFrameError",
    "FrameBuffer",
    "decode",
    "encode",
]

#: The longest request that the daemon reads; a request is a verb and a few words.
MAX_REQUEST_BYTES = 64 * 1024
#: The longest reply that a client takes; a history of operations is the longest there is.
MAX_REPLY_BYTES = 16 * 1024 * 1024

JsonObject = dict[str, object]


class BadFrameError(ValueError):
    """A frame that is too long, or not a JSON object; the stream cannot be trusted any more."""


class FrameBuffer:
    """Bytes in, frames out; holds at most `limit` bytes beyond what was fed last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._searched = 0

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Append what was read; take every frame by `next_frame` before feeding again."""
        self._data += data

    def next_frame(self) -> bytes | None:
        """The next whole frame without its NUL, or None; BadFrameError when over the limit."""
        end = self._data.find(0, self._searched)
        length = end if end >= 0 else len(self._data)
        self._searched = length
        if length > self._limit:
            raise BadFrameError(f"a frame is longer than {self._limit} bytes")
        if end < 0:
            return None
        frame = bytes(self._data[:end])
        del self._data[: end + 1]
        self._searched = 0
        return frame


def encode(message: JsonObject) -> bytes:
    """One frame.  ASCII only, so any text travels, even what is not valid Unicode."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\0"


def decode(frame: bytes) -> JsonObject:
    """The object in one frame; BadFrameError for anything that is not exactly one JSON object.

    A key that comes twice, NaN, and nesting deeper than the interpreter's limit are refused:
    two readers could understand them differently.
    """
    try:
        value = json.loads(
            frame.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise BadFrameError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadFrameError("a message is a JSON object")
    return value


def _unique_keys(pairs: list[tuple[str, object]]) -> JsonObject:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key comes twice")
    return value


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")
