"""What the engine writes into the role's memory, so that the next decision knows it.

Every change reads the stored intent anew and writes it without waiting in between: a request
may have changed it while an operation ran.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nodestoraged.engine.observer import Memory
from nodestoraged.model.candidate import UNUSABLE
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.decision import Move
from nodestoraged.model.device import Identity, Incarnation
from nodestoraged.model.errors import RollbackError, StepError
from nodestoraged.model.observation import Observation, Setback
from nodestoraged.model.operation import FORCED, Operation, OperationKind, RootRef
from nodestoraged.model.phase import Availability
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Attempt, Intent
from nodestoraged.ports import Ports

#: A refusal is looked at again after this long, or when somebody asks.
REFUSAL_SECONDS = 60.0

_REFUSALS = {
    "ForeignContainers": Reason.FOREIGN_CONTAINERS,
    "PodsWithoutRuntime": Reason.PODS_WITHOUT_RUNTIME,
}


class Intents:
    """The writes of one role, each named after what has become true."""

    def __init__(self, ports: Ports, role: RoleConfig, memory: Memory) -> None:
        self._ports = ports
        self._role = role
        self._memory = memory

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on."""
        self._role = role

    def arrived(self, operation: Operation) -> None:
        """The operation's target serves."""
        source, target = operation.source, operation.target
        now = self._ports.clock.boottime()

        def change(intent: Intent) -> Intent:
            wish = intent.wish
            over = operation.kind in FORCED and source.identity != target.identity
            if over and wish is not None and wish.identity == source.identity:
                wish = None
            elsewhere = source.identity != target.identity
            return replace(
                intent,
                wish=wish,
                stopped=False,
                owed_units=(),
                previous=source.identity if elsewhere else intent.previous,
                previous_internal=source.internal if elsewhere else intent.previous_internal,
                last_active=target.identity or intent.last_active,
                last_active_name=target.name if target.identity else intent.last_active_name,
                bound_at=None if target.internal else now,
                bound_boot_id=operation.boot_id,
            )

        self._change(change)

    def booted(self, operation: Operation) -> None:
        """A boot put the operation's target in place; what served before is the last active."""
        before = self._ports.store.intent(self._role.name).last_active
        if before is None or before == operation.target.identity:
            before = operation.target.identity
        self.arrived(replace(operation, source=RootRef(identity=before, name="")))

    def stopped(self, operation: Operation | None, boot_id: str, owed: tuple[str, ...]) -> None:
        """No root is permitted; the units of `owed` are started with the next one."""

        def change(intent: Intent) -> Intent:
            wish = intent.wish
            if operation and wish is not None and wish.identity == operation.source.identity:
                wish = None
            return replace(
                intent, wish=wish, stopped=True, owed_units=owed, owed_boot_id=boot_id
            )

        self._change(change)

    def failed(self, operation: Operation, error: RollbackError) -> None:
        """Going back failed: nothing is touched any more until somebody clears it."""
        self._change(
            lambda intent: replace(
                intent,
                failed=True,
                failure=error.message,
                availability=Availability.NO_CHANGES,
                owed_units=operation.ran_before,
                owed_boot_id=operation.boot_id,
            )
        )

    def fresh_boot(self, boot_id: str) -> None:
        """In another boot nothing is stopped or owed any more: the boot starts what it starts."""

        def change(intent: Intent) -> Intent:
            if intent.owed_boot_id == boot_id:
                return intent
            return replace(intent, stopped=False, owed_units=())

        self._change(change)

    def paid(self, observation: Observation) -> None:
        """Units that were owed run: a later stop of them is somebody else's wish."""
        if observation.intent.owed_units and not observation.owed:
            self._change(lambda intent: replace(intent, owed_units=()))

    def serves(self, identity: Identity, name: str) -> None:
        """This stick serves, whoever mounted it; remembered for the day when it is lost."""
        self._change(
            lambda intent: replace(intent, last_active=identity, last_active_name=name)
        )

    def gave_up(self, operation: Operation) -> None:
        """What the operation was to bring about is wished no more."""

        def change(intent: Intent) -> Intent:
            wish, marks = intent.wish, intent.ejected
            if wish is not None and wish.identity == operation.target.identity:
                wish = None
            if operation.kind is OperationKind.EJECT:
                left = operation.source.incarnation
                marks = tuple(mark for mark in marks if mark.incarnation != left)
            return replace(intent, wish=wish, ejected=marks)

        self._change(change)

    def attempted(self, decision: Move, observation: Observation) -> None:
        """An automatic move towards a stick counts against its budget."""
        if not decision.automatic or decision.target is None:
            return
        attempt = Attempt(
            uuid=decision.target.device.uuid or "",
            at=observation.now,
            boot_id=observation.boot_id,
        )
        # Enough for each of several flapping sticks to use up its own limit.
        kept = 4 * self._role.switch_limit
        self._change(
            lambda intent: replace(intent, attempts=(*intent.attempts[-kept:], attempt))
        )

    def held(self, incarnation: Incarnation | None, error: StepError) -> None:
        """What the target did wrong keeps it from being chosen again at once."""
        if incarnation is None or error.reason == "Interrupted":
            return
        now = self._ports.clock.boottime()
        reason = _REFUSALS.get(error.reason, Reason.QUARANTINED)
        until: float | None = now + self._role.quarantine_seconds
        if reason is not Reason.QUARANTINED:
            until = now + REFUSAL_SECONDS
        elif error.reason in {known.value for known in UNUSABLE}:
            reason, until = Reason(error.reason), None
        self._memory.hold_against(Setback(incarnation=incarnation, reason=reason, until=until))

    def _change(self, change: Callable[[Intent], Intent]) -> None:
        before = self._ports.store.intent(self._role.name)
        after = change(before)
        if after != before:
            self._ports.store.save_intent(self._role.name, after)
