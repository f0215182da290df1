"""Everything that status shows of one role, taken at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import DaemonConfig, RoleConfig
from nodestoraged.model.decision import Decision
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import Operation
from nodestoraged.model.phase import Phase
from nodestoraged.model.proof import KubeletReading, Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One published state.  `lost` is the failover whose stick has not come back.

    `internal_space` is capacity and available bytes of the file system behind the root,
    `version` the runtime's, `mounted_at` when the slot was mounted (boot-time seconds); all None
    while unknown.  `database_failure` is what is wrong with the metadata of a runtime that does
    not answer.  Times are RFC 3339.
    """

    role: RoleConfig
    daemon: DaemonConfig
    observation: Observation
    candidates: tuple[Candidate, ...]
    decision: Decision
    phase: Phase
    since: str
    operation: Operation | None
    last: Operation | None
    lost: Operation | None
    proof: Proof | None
    proof_failure: str | None
    kubelet: KubeletReading
    mounted_at: float | None = None
    version: str | None = None
    internal_space: tuple[int, int] | None = None
    database_failure: str | None = None
