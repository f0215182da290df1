"""An operation: one journalled run of steps from one root to another."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nodestoraged.model.config import DataPolicy
from nodestoraged.model.copy import CopyProgress
from nodestoraged.model.device import Identity, Incarnation
from nodestoraged.model.hidden import Wash


class OperationKind(StrEnum):
    """What an operation is for, in the contract's words."""

    BIND = "bind"
    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    SWAP = "swap"
    EJECT = "eject"
    RETURN = "return"
    PREPARE = "prepare"
    RECLAIM = "reclaim"
    POWERWASH = "powerwash"
    ADOPT = "adopt"


#: Operations that a loss began: they only ever go on, never back to the lost stick.
FORCED = frozenset({OperationKind.FAILOVER, OperationKind.SWAP})


#: Work that moves no root.
ERRANDS = frozenset({OperationKind.PREPARE, OperationKind.RECLAIM, OperationKind.ADOPT})


class Result(StrEnum):
    """How it ended."""

    DONE = "done"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    ABORTED = "aborted"
    INTERRUPTED = "interrupted"


class Stage(StrEnum):
    """How far an open operation has come, as the journal knows it."""

    FORWARD = "forward"
    GRACE = "grace"  # the slot is lost, everything is stopped, a stick may still come
    BACK = "back"  # rolling back
    LEFT = "left"  # the daemon had to go: a root is in place, its proof is owed


@dataclass(frozen=True, slots=True, kw_only=True)
class RootRef:
    """A root that served or shall serve: a stick's slot, or the internal directory.

    `identity` None is the internal directory.  `name` is for people.
    """

    identity: Identity | None
    name: str
    incarnation: Incarnation | None = None

    @property
    def internal(self) -> bool:
        """True for the node's own directory."""
        return self.identity is None


INTERNAL_ROOT = RootRef(identity=None, name="internal")
#: Where a failover ends that found no permitted root, and where the next operation begins.
NO_ROOT = RootRef(identity=None, name="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step that was begun: its words, its seconds once done, its error if it failed."""

    step: str
    started_at: float
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation as journalled: who, from where, to where, and what ran before.

    `ran_before` names the units that ran when it began, in the order in which they are to
    be started again: the value before, on disk before the first effect.  Times named `_at`
    are boot-time seconds of `boot_id`, times named `_time` are RFC 3339.  `grace_until` is
    set while `stage` is GRACE.  `automatic` counts against the switch budget.
    `used_bytes` is how much a lost root held.  `insertions` is how many insertions had been
    counted at the loss.  `touched` is false while only pre-flight steps were begun.
    `wash` is the tier of a powerwash, and `aside` says that it moves no root and stops nothing.
    `copied_bytes` is what both passes of a copy wrote, `copied_stopped_bytes` what of it was
    written while everything was stopped; `progress` is of a copy that runs.
    """

    id: str
    role: str
    kind: OperationKind
    source: RootRef
    target: RootRef
    boot_id: str
    started_at: float
    started_time: str
    ran_before: tuple[str, ...]
    automatic: bool
    stage: Stage = Stage.FORWARD
    grace_until: float | None = None
    stopped_at: float | None = None
    pods_stopped_at: float | None = None
    proven_at: float | None = None
    kubelet_at: float | None = None
    pods_stopped: int = 0
    noticed_seconds: float | None = None
    used_bytes: int | None = None
    insertions: int = 0
    data: DataPolicy = DataPolicy.KEEP
    wash: Wash | None = None
    aside: bool = False
    copied_bytes: int | None = None
    copied_stopped_bytes: int | None = None
    predicted_seconds: float | None = None
    predicted_bytes: int | None = None
    progress: CopyProgress | None = None
    touched: bool = False
    result: Result | None = None
    reason: str | None = None
    message: str = ""
    hint: str = ""
    steps: tuple[StepRecord, ...] = ()

    @property
    def downtime_seconds(self) -> float | None:
        """From asking the runtime to stop until ImageFsInfo was proven; None if it did not stop."""
        if self.stopped_at is None or self.proven_at is None:
            return None
        return round(self.proven_at - self.stopped_at, 3)

    @property
    def pods_down_seconds(self) -> float | None:
        """From the first container stop until kubelet's healthz; None if unknown."""
        if self.pods_stopped_at is None or self.kubelet_at is None:
            return None
        return round(self.kubelet_at - self.pods_stopped_at, 3)
