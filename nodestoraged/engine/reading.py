"""What readers of the socket are told of operations and events, out of what the roles keep."""

from __future__ import annotations

from collections.abc import Iterable

from nodestoraged.core import report
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.model.operation import Operation

Json = dict[str, object]


def operations(roles: Iterable[Reconciler], limit: int) -> list[Json]:
    """Open and closed operations of the roles, newest first."""
    found: list[Operation] = []
    for one in roles:
        # Over is what the status shows as over: then the phase is told with it.
        shown = one.view.operation if one.view else None
        if shown is not None:
            found.append(shown)
        history = one.ports.journal.history(one.role.name, limit)
        found += [each for each in history if shown is None or each.id != shown.id]
    found.sort(key=lambda operation: int(operation.id), reverse=True)
    return [report.operation(operation) for operation in found[:limit]]


def since(events: Iterable[Json], moment: str | None) -> list[Json]:
    """Events since a moment, or all of them."""
    return [dict(event) for event in events if moment is None or str(event["time"]) >= moment]


def after(events: Iterable[Json], cursor: int) -> list[Json]:
    """Events after `cursor`."""
    return [dict(event) for event in events if _cursor(event) > cursor]


def _cursor(event: Json) -> int:
    cursor = event["cursor"]
    return cursor if isinstance(cursor, int) else 0
