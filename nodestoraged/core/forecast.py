"""What an operation will take, from what earlier ones took; nothing that was not measured."""

from __future__ import annotations

from collections.abc import Iterable

from nodestoraged.model.config import DataPolicy
from nodestoraged.model.operation import Operation, OperationKind, Result

#: Kinds that stop the same things in the same order.
_ALIKE = frozenset({OperationKind.BIND, OperationKind.SWITCHOVER, OperationKind.RETURN})


def downtime(history: Iterable[Operation], kind: OperationKind, data: DataPolicy) -> float | None:
    """Seconds of downtime of the last one of this kind, else of one like it; None if none was.

    Only those that carried as much over tell anything.
    """
    ended = [o for o in history if o.result is Result.DONE and o.data is data]
    done = [o for o in ended if o.downtime_seconds is not None]
    same = [o.downtime_seconds for o in done if o.kind is kind]
    alike = [o.downtime_seconds for o in done if kind in _ALIKE and o.kind in _ALIKE]
    return next(iter(same or alike), None)
