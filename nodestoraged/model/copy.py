"""A copy of a runtime root: what is asked for, how far it has come, what it did."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CopyPass(StrEnum):
    """The two passes of a copy from a live root, and the one of a root at rest."""

    WARM = "warm"  # pods run: everything but the databases; what vanishes meanwhile is no error
    FINAL = "final"  # everything is stopped: what changed since, the databases, what is too much


#: Written in place by the runtime while it runs: a copy made meanwhile would be torn (bbolt).
#: fnmatch patterns of paths below the root.
DATABASES = (
    "io.containerd.metadata.v1.bolt/*",
    "io.containerd.snapshotter.v1.*/metadata.db",
    "io.containerd.content.v1.content/ingest/*",
    "tmpmounts/*",
)

#: Ours, or the file system's: neither copied nor removed.  Names in the top directory.
NOT_DATA = (".nodestoraged", ".nodestoraged-probe", "lost+found")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """`target` becomes like `source`: two directories, each on the file system that is meant.

    `source_number` and `target_number` are the devices (as `major:minor`) on which the copier
    must find them, or it refuses.  `bytes_per_second` throttles, None does not.
    """

    source: str
    target: str
    stage: CopyPass
    source_number: str
    target_number: str
    bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    """How far a pass has come; totals are 0 while they are still counted."""

    stage: CopyPass
    bytes_done: int = 0
    bytes_total: int = 0
    files_done: int = 0
    files_total: int = 0
    bytes_per_second: float = 0.0
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What one pass did: entries looked at, entries and bytes written, entries removed."""

    entries: int
    written: int
    bytes_written: int
    removed: int
    vanished: int
    seconds: float
