"""What the engine writes into the role's memory, so that the next decision knows it.

Every change reads the stored intent anew and writes it without waiting in between: a request
may have changed it while an operation ran.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nodestoraged.engine.observer import Memory
from nodestoraged.model import datasteps, steps
from nodestoraged.model.candidate import UNUSABLE
from nodestoraged.model.config import DataPolicy, RoleConfig
from nodestoraged.model.decision import Move
from nodestoraged.model.device import Identity
from nodestoraged.model.errors import RollbackError, StepError
from nodestoraged.model.manifest import Manifest
from nodestoraged.model.observation import DEAD, Observation, Setback
from nodestoraged.model.operation import FORCED, NO_ROOT, Operation, OperationKind, RootRef
from nodestoraged.model.plan import Step
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Attempt, Intent, Stick
from nodestoraged.ports import Ports

#: A refusal is looked at again after this long, or when somebody asks.
REFUSAL_SECONDS = 60.0

_REFUSALS = {
    "ForeignContainers": Reason.FOREIGN_CONTAINERS,
    "PodsWithoutRuntime": Reason.PODS_WITHOUT_RUNTIME,
    "RootElsewhere": Reason.ROOT_ELSEWHERE,
}
_FAULTS = frozenset(reason.value for reason in UNUSABLE)
_TOUCH_TARGET = (steps.CheckFilesystem, datasteps.MountAside, steps.Mount, steps.ProbeWrite)


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
            elsewhere = source.identity != target.identity and source != NO_ROOT
            over = operation.kind in FORCED and elsewhere
            wish = None if over and _wishes(intent, source) else intent.wish
            if wish is not None and _wishes(intent, target):
                # What was carried over is not carried over again when it comes back.
                wish = replace(wish, data=DataPolicy.KEEP, bytes_per_second=None)
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
            over = operation is not None and _wishes(intent, operation.source)
            wish = None if over else intent.wish
            return replace(intent, wish=wish, stopped=True, owed_units=owed, owed_boot_id=boot_id)

        self._change(change)

    def failed(self, operation: Operation, error: RollbackError) -> None:
        """Going back failed: nothing is touched any more until somebody clears it."""
        self._change(
            lambda intent: replace(
                intent,
                failed=True,
                failure=error.message,
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

    def paid(self, observation: Observation) -> bool:
        """Units that were owed run: a later stop of them is somebody else's wish.

        A root that serves although nothing was permitted is a person's doing.  True if that
        changed what is remembered.
        """
        serves = observation.serving().device is not None or observation.runtime_runs
        owed = observation.intent.owed_units if observation.owed else ()
        return self._change(
            lambda intent: replace(intent, owed_units=owed, stopped=intent.stopped and not serves)
        )

    def serves(self, identity: Identity, name: str) -> None:
        """This stick serves, whoever mounted it; remembered for the day when it is lost."""
        self._change(lambda intent: replace(intent, last_active=identity, last_active_name=name))

    def served(self, stick: Stick, manifest: Manifest) -> None:
        """The registry knows under which generation the stick serves; an older one is stale."""
        marked = replace(stick, data_id=manifest.id, generation=manifest.generation)
        if marked != stick:
            store = self._ports.store
            store.save_registry(store.registry().with_stick(marked))

    def washed(self) -> None:
        """The powerwash that was asked for was tried; it is not tried again by itself."""
        self._change(lambda intent: replace(intent, wash=None))

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
        self._change(lambda intent: replace(intent, attempts=(*intent.attempts[-kept:], attempt)))

    def held(self, operation: Operation, step: Step | None, error: StepError) -> None:
        """What a failed `step` says of a stick keeps that stick from being chosen at once.

        A disk's own error while it leaves the root is that disk's; any other failure rests
        the operation's target, for good (until it is pulled out) if the target was to blame.
        """
        if error.reason == "Aborted" and not operation.automatic:
            return
        # A disk that went in the middle says nothing about the target.
        if error.reason in {"Interrupted", "StickLost"}:
            return
        fault = Reason(error.reason) if error.reason in _FAULTS else None
        if isinstance(step, steps.Unmount | steps.Release):
            if fault is not None and step.device is not None:
                self._memory.hold_against(
                    Setback(incarnation=step.device.incarnation, reason=fault)
                )
                return
            fault = None
        target = operation.target.incarnation
        if target is None:
            return
        if fault is not None and isinstance(step, _TOUCH_TARGET):
            self._memory.hold_against(Setback(incarnation=target, reason=fault))
            return
        refusal = _REFUSALS.get(error.reason)
        seconds = REFUSAL_SECONDS if refusal else self._role.quarantine_seconds
        self._memory.hold_against(
            Setback(
                incarnation=target,
                reason=refusal or Reason.QUARANTINED,
                until=self._ports.clock.boottime() + seconds,
            )
        )

    def condemned(self, entry: Operation) -> None:
        """A slot that failed its probe stays condemned over a restart of the daemon."""
        incarnation = entry.source.incarnation
        if entry.kind in FORCED and incarnation is not None and entry.reason in DEAD:
            self._memory.hold_against(
                Setback(incarnation=incarnation, reason=Reason(entry.reason or ""))
            )

    def _change(self, change: Callable[[Intent], Intent]) -> bool:
        """True if `change` made a difference, which is then on disk."""
        before = self._ports.store.intent(self._role.name)
        after = change(before)
        if after == before:
            return False
        self._ports.store.save_intent(self._role.name, after)
        return True


def _wishes(intent: Intent, root: RootRef) -> bool:
    """True if a stick was wished for and `root` is that stick."""
    wish = intent.wish
    return wish is not None and wish.identity is not None and wish.identity == root.identity
