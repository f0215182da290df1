"""What happened: to the log, and kept for a while for `nodestoragectl events`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from nodestoraged import log
from nodestoraged.ports import Clock

EVENTS_MAX = 1000
_WARNINGS = frozenset({"slot-lost", "probe-failed", "rollback-failed", "step-failed"})


class RecordingLog:
    """The `EventLog` port.  `arrived` is called after each event, from the event loop."""

    def __init__(self, clock: Clock, arrived: Callable[[], None]) -> None:
        self._clock = clock
        self._arrived = arrived
        self._cursor = 0
        self.kept: deque[dict[str, object]] = deque(maxlen=EVENTS_MAX)

    def event(self, kind: str, message: str, **fields: str | float | int | None) -> None:
        """The event is logged and kept."""
        log.event(kind, message, level="warning" if kind in _WARNINGS else "info", **fields)
        self._cursor += 1
        present = {name: value for name, value in fields.items() if value is not None}
        self.kept.append(
            {
                **present,
                "cursor": self._cursor,
                "time": self._clock.wall(),
                "kind": kind,
                "message": message,
            }
        )
        self._arrived()
