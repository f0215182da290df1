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


class Dialect(StrEnum):
    """How a runtime is spoken to."""

    CONTAINERD = "containerd"  # CRI and containerd's own services on one socket
    CRI = "cri"  # CRI alone: cri-o
    PODMAN = "podman"  # nobody listens: the program `podman` is the runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeProfile:
    """A row of the runtime table: facts, no behaviour.

    `runtime_units` and `kubelet_units` list alternatives or sets in stop order; units
    that are not installed are passed over.  `embedded` says that one unit holds runtime
    and kubelet.  `ctr` is the argument vector of containerd's own client.  `elsewhere` are
    paths outside `root` to which the runtime was configured to put parts of it: a root that
    is split cannot be moved.  `experimental`: nobody has seen this row on a real node.
    """

    name: str
    runtime_units: tuple[str, ...]
    kubelet_units: tuple[str, ...]
    root: str
    state: str
    socket: str
    embedded: bool = False
    dialect: Dialect = Dialect.CONTAINERD
    ctr: tuple[str, ...] = ("ctr",)
    elsewhere: tuple[str, ...] = ()
    experimental: bool = False
    healthz_port: int = 10248
    stats_port: int = 10255

    def holds(self, path: str) -> bool:
        """True if `path` is the root or lies below it, by their names alone."""
        return f"{path}/".startswith(f"{self.root.rstrip('/')}/")

    @property
    def daemonless(self) -> bool:
        """True if no unit has to run for the runtime to answer."""
        return self.dialect is Dialect.PODMAN
