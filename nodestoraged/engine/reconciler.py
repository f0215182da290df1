"""The loop body of one role: observe, select, decide, act, observe again, publish.

Events are hints: they only make `tick` run sooner.  There is no other path from an event to
an effect, and starting is the same line with `recover` in front of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from nodestoraged.core.decide import decide
from nodestoraged.core.machine import advance, settle
from nodestoraged.core.select import select
from nodestoraged.engine.boot import Boot
from nodestoraged.engine.effects import Effects
from nodestoraged.engine.executor import Executor, Interrupted
from nodestoraged.engine.health import Health
from nodestoraged.engine.mover import Mover
from nodestoraged.engine.observer import Memory, observe
from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import DaemonConfig, RoleConfig
from nodestoraged.model.decision import Contain, Decision, Keep, KeepStopped, Move, Wait
from nodestoraged.model.errors import StepError
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import INTERNAL_ROOT, Operation, OperationKind, Stage
from nodestoraged.model.phase import Phase, Trigger
from nodestoraged.model.reason import Reason
from nodestoraged.model.runtime import RuntimeProfile
from nodestoraged.model.view import View
from nodestoraged.ports import Ports

#: More actions in one pass than any fault can explain.
ACTIONS_MAX = 8
#: An operation whose end cannot be written is tried again so much later.
UNCLOSED_SECONDS = 5.0


class Reconciler:
    """One role's single writer."""

    def __init__(
        self,
        ports: Ports,
        role: RoleConfig,
        daemon: DaemonConfig,
        profile: RuntimeProfile,
        changed: Callable[[], None],
    ) -> None:
        self.ports = ports
        self.role = role
        self.daemon = daemon
        self.memory = Memory(profile=profile)
        self.effects = Effects(ports, role, daemon, self.memory)
        self.executor = Executor(ports, self.effects, self._operation_changed)
        self.health = Health(ports, role, self.memory, self.effects)
        self.mover = Mover(ports, role, self.memory, self.executor, self.observe)
        self.phase = Phase.SWITCHING
        self.since = ports.clock.wall()
        self.operation: Operation | None = None
        self.busy = False
        self.view: View | None = None
        self._changed = changed
        self._ready = False
        self._boot = Boot(ports, self.mover, self.executor, self.observe, self._enter)

    def configure(self, role: RoleConfig, daemon: DaemonConfig, profile: RuntimeProfile) -> None:
        """Another configuration counts from the next pass on; nothing that runs is stopped for it.

        The root's path cannot change under a live daemon, so the profile's root is kept.
        """
        self.role, self.daemon = role, daemon
        self.memory.profile = replace(profile, root=self.memory.profile.root)
        for part in (self.effects, self.health, self.mover):
            part.configure(role)

    async def observe(self) -> Observation:
        """One reading of the world."""
        return await observe(self.ports, self.role, self.daemon, self.memory)

    async def look(self) -> None:
        """A first view is published: nothing is decided yet, and the phase says so."""
        observation = await self.observe()
        self._publish(observation, select(observation, self.role), Keep(reason=Reason.STARTING))

    async def start(self) -> None:
        """The root is decided and in place, by whatever way the journal and the boot ask for.

        No unit is started, stopped or restarted here: a start of a unit that is ordered after
        us would wait for our own READY.
        """
        intent = self.ports.store.intent(self.role.name)
        if intent.bound_boot_id == self.ports.clock.boot_id():
            self.effects.mounted_at = intent.bound_at
        await self._busily(self._boot.start(self.role))

    async def after_ready(self) -> None:
        """What had to wait for READY: the proof of a boot's root, or an open entry's recovery."""
        self._ready = True
        await self._busily(self._boot.after_ready())

    async def _busily(self, work: Awaitable[None]) -> None:
        """An operation may run in it; one that is interrupted stays open."""
        self.busy = True
        try:
            await work
        except Interrupted:
            return
        finally:
            self.busy = False

    async def tick(self) -> float | None:
        """The world is as decided; boot-time seconds of the next look, or None for the rescan's.

        Raises `Interrupted` when the daemon has to leave in the middle of an operation.
        """
        for _ in range(ACTIONS_MAX):
            if self.executor.leaving:
                raise Interrupted
            observation = await self.observe()
            if _unclosed(observation):
                # Its end could not be written: to finish it is the same as after a crash.
                await self._busily(self._boot.after_ready())
                observation = await self.observe()
                if _unclosed(observation):
                    return observation.now + UNCLOSED_SECONDS
            if not observation.shutting_down and await self.health.probe(observation):
                continue
            if self._at_rest(observation) and self.mover.intents.paid(observation):
                continue
            candidates = select(observation, self.role)
            decision = decide(observation, candidates, self.role)
            if not self._acts(decision, observation):
                if self._at_rest(observation) and await self.health.prove(observation):
                    continue
                await self._rest(await self.observe())
                return self._next(observation, decision)
            if isinstance(decision, Contain):
                # What was proven was proven of a stick that is gone.
                self.health.forget()
            self._enter(observation, candidates, decision)
            await self._act(observation, decision)
        return self.ports.clock.boottime() + 1.0

    async def leave(self) -> None:
        """The daemon goes away; what runs goes on running."""
        await self.mover.leave(starts=self._ready)

    def begin_leaving(self) -> None:
        """The executor stops between two steps."""
        self.executor.leaving = True

    async def _act(self, observation: Observation, decision: Decision) -> None:
        self.busy = True
        if self.phase is Phase.FAILED:
            self._set_phase(advance(self.phase, Trigger.CLEARED))
        try:
            match decision:
                case Move():
                    if self.phase is Phase.LOST:
                        self._set_phase(advance(self.phase, Trigger.GRACE_OVER))
                    await self.mover.move(observation, decision)
                case Contain():
                    self._set_phase(advance(self.phase, Trigger.SLOT_VANISHED))
                    await self.mover.contain(observation, decision)
                case KeepStopped():
                    self.mover.keep_stopped(observation)
                case _:
                    pass
        finally:
            self.busy = False
            # What the operation proved is verified by a second reading of the settled node.
            self.health.expire()
        # The end of an operation and the phase that it led to are published as one.
        await self.health.look_at_kubelet()
        settled = await self.observe()
        candidates = select(settled, self.role)
        following = decide(settled, candidates, self.role)
        if self._at_rest(settled) and not self._acts(following, settled):
            await self._rest(settled)
        elif settled.entry is not None:
            self._publish(settled, candidates, following)

    def _acts(self, decision: Decision, observation: Observation) -> bool:
        if isinstance(decision, KeepStopped):
            return observation.entry is not None or not observation.fence_up
        return isinstance(decision, Move | Contain)

    def _at_rest(self, observation: Observation) -> bool:
        return (
            observation.entry is None
            and not observation.serving().dead
            and not observation.shutting_down
        )

    def _enter(
        self, observation: Observation, candidates: tuple[Candidate, ...], decision: Decision
    ) -> None:
        """The decision is visible before its first effect."""
        self.ports.log.event(
            "decision", _words(decision), role=self.role.name, reason=decision.reason
        )
        self._publish(observation, candidates, decision)

    async def _rest(self, observation: Observation) -> None:
        """Nothing more to do: the phase is what the mount table says."""
        candidates = select(observation, self.role)
        decision = decide(observation, candidates, self.role)
        self._set_phase(settle(self.phase, observation))
        if not observation.shutting_down:
            self._note_active(observation)
            self._lower_stale_fence(observation)
        self._publish(observation, candidates, decision)

    def _note_active(self, observation: Observation) -> None:
        """Remember the stick that serves, whoever mounted it, for the day it is lost."""
        device = observation.serving().device
        if device is None or device.uuid is None or observation.serving().dead:
            return
        stick = observation.registry.matching(device)
        identity = stick.identity if stick else device.identity()
        name = stick.name if stick else device.devnode.removeprefix("/dev/")
        self.mover.intents.serves(identity, name)

    def _lower_stale_fence(self, observation: Observation) -> None:
        """A fence without an operation and with a root in place is what a crash left."""
        if not observation.fence_up or self.phase not in {Phase.INTERNAL, Phase.BOUND}:
            return
        try:
            self.ports.fence.lower(self.role.name)
        except StepError as error:
            self.ports.log.event("step-failed", f"the fence: {error.message}")

    def _next(self, observation: Observation, decision: Decision) -> float | None:
        times = [self.health.next_at(observation)] if self._at_rest(observation) else []
        if isinstance(decision, Wait) and decision.until is not None:
            times.append(decision.until)
        times += [s.until for s in observation.setbacks if s.until and s.until > observation.now]
        return min(times, default=None)

    def _operation_changed(self, operation: Operation) -> None:
        self.operation = operation if operation.result is None else None
        if operation.result is not None:
            self.ports.log.event(
                "operation",
                f"{operation.kind} {operation.source.name} -> {operation.target.name}:"
                f" {operation.result}" + (f", {operation.message}" if operation.message else ""),
                operation=operation.id,
                reason=operation.reason,
                downtime=operation.downtime_seconds,
            )
            # An operator's permission is used up with the operation that it was for.
            self.memory.permitted = frozenset()
            # It is shown as over together with the phase that it led to, by the next view.
            return
        if self.phase is not Phase.LOST:
            self._set_phase(Phase.SWITCHING)
        if self.view is not None:
            self.view = replace(self.view, operation=operation, phase=self.phase, since=self.since)
        self._changed()

    def _version(self) -> str | None:
        """The runtime's version as it last told; it stays known while the runtime restarts."""
        proof = self.health.proof
        if proof is not None and proof.runtime_version is not None:
            self.health.version = proof.runtime_version
        return self.health.version

    def _set_phase(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.ports.log.event("phase", f"{self.phase} -> {phase}", role=self.role.name)
            self.phase, self.since = phase, self.ports.clock.wall()

    def _publish(
        self, observation: Observation, candidates: tuple[Candidate, ...], decision: Decision
    ) -> None:
        history = self.ports.journal.history(self.role.name, 1)
        last = history[0] if history else None
        lost = last if last and last.kind is OperationKind.FAILOVER else None
        self.view = View(
            role=self.role,
            daemon=self.daemon,
            observation=observation,
            candidates=candidates,
            decision=decision,
            phase=self.phase,
            since=self.since,
            operation=self.operation or observation.entry,
            last=last,
            lost=observation.entry if self.phase is Phase.LOST else lost,
            proof=self.health.proof,
            proof_failure=self.health.failure,
            kubelet=self.health.kubelet,
            mounted_at=self.effects.mounted_at,
            version=self._version(),
            internal_space=self.health.internal_space,
        )
        self._changed()


def _unclosed(observation: Observation) -> bool:
    entry = observation.entry
    return (
        entry is not None
        and entry.stage is not Stage.GRACE
        and not observation.shutting_down
        and not observation.intent.failed
    )


def _words(decision: Decision) -> str:
    match decision:
        case Move(target=None):
            return f"{decision.kind} to {INTERNAL_ROOT.name}"
        case Move(target=target) if target is not None:
            return f"{decision.kind} to {target.name} ({target.device.devnode})"
        case Contain():
            return f"contain the loss of {decision.lost.name}"
        case Keep() | Wait() | KeepStopped():
            return f"{type(decision).__name__.lower()}: {decision.reason}"
        case _:
            return str(decision.reason)
