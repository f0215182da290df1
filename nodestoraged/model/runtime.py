"""Services and container runtimes as values: unit states, and the profile rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UnitState(StrEnum):
    """What a service manager says of a unit, in one vocabulary for all of them."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    FAILED = "failed"
    STARTING = "starting"  # also: waiting for its automatic restart
    STOPPING = "stopping"
    MISSING = "missing"  # no such unit on this node


#: A unit in one of these states is meant to run, so it has to be stopped and started again.
RUNNING = frozenset({UnitState.ACTIVE, UnitState.STARTING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One service as seen now.

    `job_queued`: the service manager has a start job for it that waits.  `takes_along`:
    running units that would stop with it and do not come back by themselves
    (RequiredBy, BoundBy, ConsistsOf).  `main_pid` is 0 when there is none.
    """

    name: str
    state: UnitState
    job_queued: bool = False
    main_pid: int = 0
    takes_along: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """True if it runs or is about to."""
        return self.state in RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeProfile:
    """A row of the runtime table: facts, no behaviour.

    `runtime_units` and `kubelet_units` list alternatives or sets in stop order; units
    that are not installed are passed over.  `embedded` says that one unit holds runtime
    and kubelet.
    """

    name: str
    runtime_units: tuple[str, ...]
    kubelet_units: tuple[str, ...]
    root: str
    state: str
    socket: str
    embedded: bool = False
    healthz_port: int = 10248
    stats_port: int = 10255
