"""What to do next, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import DataPolicy
from nodestoraged.model.hidden import Wash
from nodestoraged.model.operation import OperationKind, RootRef
from nodestoraged.model.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The world is as it shall be; `reason` says why it is this root."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing now; look again at `until` (boot-time seconds), or at the next event if None."""

    reason: Reason
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Only a person can go on; what serves goes on serving."""

    reason: Reason
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The root goes to `target` (None: the internal directory), as an operation of `kind`.

    `automatic` moves count against the switch budget; what an operator asked for does not.
    `data` says what is carried over, `bytes_per_second` how fast at most.
    """

    kind: OperationKind
    target: Candidate | None
    automatic: bool
    reason: Reason
    data: DataPolicy = DataPolicy.KEEP
    bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerWash:
    """The root of `target` (None: the internal directory) is washed as the tier says."""

    target: Candidate | None
    tier: Wash
    reason: Reason = Reason.WASH_ASKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Contain:
    """The slot is gone: stop what ran from it, before anything else; the grace begins after."""

    lost: RootRef
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepStopped:
    """The grace is over and no permitted root is left: the runtime stays stopped."""

    reason: Reason = Reason.NO_PERMITTED_ROOT


Decision: TypeAlias = Keep | Wait | Attention | Move | PowerWash | Contain | KeepStopped
