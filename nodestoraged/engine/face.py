"""What one role shows: its phase, the operation that runs, and the last view.

Nothing here decides.  An operation's end is shown together with the phase that it led to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nodestoraged.core import words
from nodestoraged.engine.effects import Effects
from nodestoraged.engine.health import Health
from nodestoraged.engine.observer import Memory
from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import DaemonConfig, RoleConfig
from nodestoraged.model.decision import Decision
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import ERRANDS, Operation, OperationKind
from nodestoraged.model.phase import Phase
from nodestoraged.model.view import View
from nodestoraged.ports import Ports

#: So many operations are looked through for the last that moved a root.
HISTORY = 16


class Face:
    """The published side of a role; `changed` is called whenever it is another."""

    def __init__(
        self,
        ports: Ports,
        role: RoleConfig,
        daemon: DaemonConfig,
        memory: Memory,
        effects: Effects,
        health: Health,
        changed: Callable[[], None],
    ) -> None:
        self._ports = ports
        self._role = role
        self._daemon = daemon
        self._memory = memory
        self._effects = effects
        self._health = health
        self._changed = changed
        self.phase = Phase.SWITCHING
        self.since = ports.clock.wall()
        self.operation: Operation | None = None
        self.view: View | None = None
        self._line = ""

    def configure(self, role: RoleConfig, daemon: DaemonConfig) -> None:
        """Another configuration is shown from now on."""
        self._role, self._daemon = role, daemon

    def operation_changed(self, operation: Operation) -> None:
        """An operation of the role came a step further, or to its end."""
        self.operation = operation if operation.result is None else None
        if operation.result is not None:
            self._ports.log.event(
                "operation",
                f"{operation.kind} {operation.source.name} -> {operation.target.name}:"
                f" {operation.result}" + (f", {operation.message}" if operation.message else ""),
                operation=operation.id,
                reason=operation.reason,
                downtime=operation.downtime_seconds,
            )
            # An operator's permission is used up with the operation that it was for.
            self._memory.permitted = frozenset()
            # It is shown as over together with the phase that it led to, by the next view.
            return
        if self.phase is not Phase.LOST:
            self.set_phase(Phase.SWITCHING)
        if self.view is not None:
            self.view = replace(self.view, operation=operation, phase=self.phase, since=self.since)
        self._tell()

    def errand_changed(self, operation: Operation) -> None:
        """An errand is shown like an operation while no move is under way."""
        if self.view is not None and self.operation is None:
            shown = operation if operation.result is None else None
            self.view = replace(self.view, operation=shown)
            if operation.result is not None:
                self.view = replace(self.view, last=operation)
        self._tell()

    def _version(self) -> str | None:
        """The runtime's version as it last told; it stays known while the runtime restarts."""
        proof = self._health.proof
        if proof is not None and proof.runtime_version is not None:
            self._health.version = proof.runtime_version
        return self._health.version

    def set_phase(self, phase: Phase) -> None:
        """The phase is this one from now on."""
        if phase is not self.phase:
            self._ports.log.event("phase", f"{self.phase} -> {phase}", role=self._role.name)
            self.phase, self.since = phase, self._ports.clock.wall()

    def publish(
        self,
        observation: Observation,
        candidates: tuple[Candidate, ...],
        decision: Decision,
        errand: Operation | None,
    ) -> None:
        """The view is of this observation and what was decided by it."""
        history = self._ports.journal.history(self._role.name, HISTORY)
        last = history[0] if history else None
        moved = next((o for o in history if o.kind not in ERRANDS), None)
        lost = moved if moved and moved.kind is OperationKind.FAILOVER else None
        self.view = View(
            role=self._role,
            daemon=self._daemon,
            observation=observation,
            candidates=candidates,
            decision=decision,
            phase=self.phase,
            since=self.since,
            operation=self.operation or observation.entry or errand,
            last=last,
            lost=observation.entry if self.phase is Phase.LOST else lost,
            proof=self._health.proof,
            proof_failure=self._health.failure,
            kubelet=self._health.kubelet,
            mounted_at=self._effects.mounted_at,
            version=self._version(),
            internal_space=self._health.internal_space,
            database_failure=self._health.database,
        )
        self._tell()

    def _tell(self) -> None:
        """Readers are woken, and the service manager knows in one line what there is to know."""
        line = words.one_line(self.view) if self.view is not None else ""
        if line != self._line:
            self._line = line
            self._ports.notifier.status(line)
        self._changed()
