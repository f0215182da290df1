"""The loop body of one role: observe, select, decide, act, observe again, publish.

Events are hints: they only make `tick` run sooner.  There is no other path from an event to
an effect, and starting is the same line with `recover` in front of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from nodestoraged.core import words
from nodestoraged.core.decide import decide
from nodestoraged.core.machine import advance, settle
from nodestoraged.core.select import select
from nodestoraged.engine.boot import Boot
from nodestoraged.engine.effects import Effects
from nodestoraged.engine.errands import Errands
from nodestoraged.engine.executor import Executor, Interrupted
from nodestoraged.engine.face import Face
from nodestoraged.engine.health import Health
from nodestoraged.engine.inspector import Inspector
from nodestoraged.engine.mover import Mover
from nodestoraged.engine.observer import Memory, observe
from nodestoraged.engine.preparer import Preparer
from nodestoraged.engine.workbench import Workbench
from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import DaemonConfig, RoleConfig
from nodestoraged.model.decision import (
    Contain,
    Decision,
    Keep,
    KeepStopped,
    Move,
    PowerWash,
    Wait,
)
from nodestoraged.model.errors import StepError
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import Operation, Stage
from nodestoraged.model.phase import Phase, Trigger
from nodestoraged.model.reason import Reason
from nodestoraged.model.runtime import RuntimeProfile
from nodestoraged.model.view import View
from nodestoraged.ports import Ports

#: More actions in one pass than any fault can explain.
ACTIONS_MAX = 8
#: An operation whose end cannot be written is tried again so much later.
UNCLOSED_SECONDS = 5.0
#: A reading that is older than this is made anew before it is shown.
FRESH_SECONDS = 0.5


class Reconciler:
    """One role's single writer."""

    def __init__(
        self,
        ports: Ports,
        role: RoleConfig,
        daemon: DaemonConfig,
        profile: RuntimeProfile,
        changed: Callable[[], None],
        aside: str = "/run/nodestoraged/aside",
    ) -> None:
        self.ports = ports
        self.role = role
        self.daemon = daemon
        place = f"{aside}-{role.name}"
        self.memory = Memory(profile=profile, aside=place, workbench=f"{place}-bench")
        ports.runtime.configure(role)
        self.effects = Effects(ports, role, daemon, self.memory)
        self.health = Health(ports, role, self.memory, self.effects)
        self.face = Face(ports, role, daemon, self.memory, self.effects, self.health, changed)
        self.executor = Executor(ports, self.effects, self.face.operation_changed)
        self.mover = Mover(ports, role, self.memory, self.executor, self.observe)
        self.inspector = Inspector(ports, self.memory)
        self.errands = Errands(ports, role.name, self.face.errand_changed)
        self.workbench = Workbench(ports, role, self.memory)
        self.preparer = Preparer(ports, role, self.memory, self.workbench)
        self.busy = False
        self._ready = False
        self._boot = Boot(
            ports,
            self.mover,
            self.executor,
            self.observe,
            self._enter,
            self.inspector,
            self.memory,
        )

    def configure(self, role: RoleConfig, daemon: DaemonConfig, profile: RuntimeProfile) -> None:
        """Another configuration counts from the next pass on; nothing that runs is stopped for it.

        The root's path cannot change under a live daemon, so the profile's root is kept.
        """
        self.ports.runtime.configure(role)
        self.role, self.daemon = role, daemon
        self.memory.profile = replace(profile, root=self.memory.profile.root)
        for part in (self.effects, self.health, self.mover, self.workbench, self.preparer):
            part.configure(role)
        self.face.configure(role, daemon)

    @property
    def phase(self) -> Phase:
        """Where the machine is."""
        return self.face.phase

    @property
    def view(self) -> View | None:
        """What was published last."""
        return self.face.view

    @property
    def operation(self) -> Operation | None:
        """The operation whose steps run, or None."""
        return self.face.operation

    async def observe(self) -> Observation:
        """One reading of the world."""
        return await observe(self.ports, self.role, self.daemon, self.memory)

    def _show(
        self, observation: Observation, candidates: tuple[Candidate, ...], decision: Decision
    ) -> None:
        self.face.publish(observation, candidates, decision, self.errands.running)

    async def look(self) -> None:
        """A first view is published: nothing is decided yet, and the phase says so."""
        observation = await self.observe()
        self._show(observation, select(observation, self.role), Keep(reason=Reason.STARTING))

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
            if await self._learnt(observation):
                continue
            candidates = select(observation, self.role)
            decision = decide(observation, candidates, self.role)
            if _calm(observation, decision) and await self.inspector.look(observation, candidates):
                continue
            if not self._acts(decision, observation):
                if self._at_rest(observation) and await self.health.prove(observation):
                    continue
                # Moves and proofs leave the runtime's client open for each other; they are over.
                await self.ports.runtime.close()
                await self._rest(await self._fresh(observation))
                return self._next(observation, decision)
            if isinstance(decision, Contain):
                # What was proven was proven of a stick that is gone.
                self.health.forget()
            self._enter(observation, candidates, decision)
            await self._act(observation, decision)
        return self.ports.clock.boottime() + 1.0

    async def _learnt(self, observation: Observation) -> bool:
        """True if something was found out that the observation does not know yet."""
        if not observation.shutting_down and await self.health.probe(observation):
            return True
        if self._at_rest(observation) and await self._tidied(observation):
            return True
        return self._at_rest(observation) and self.mover.intents.paid(observation)

    async def _fresh(self, observation: Observation) -> Observation:
        """The reading, or a new one if reading a proof has made it old."""
        old = self.ports.clock.boottime() - observation.now > FRESH_SECONDS
        return await self.observe() if old else observation

    async def _tidied(self, observation: Observation) -> bool:
        """What a copy or an errand could not take away is taken away now; True if it was."""
        if self.errands.running is None:
            await self.workbench.tidy()
        if observation.aside_mount is None:
            return False
        await self.mover.tidy()
        return self.ports.mounts.read().at(self.memory.aside) is None

    async def leave(self) -> None:
        """The daemon goes away; what runs goes on running."""
        await self.errands.cancel()
        await self.mover.leave(starts=self._ready)

    def begin_leaving(self) -> None:
        """The executor stops between two steps."""
        self.executor.leaving = True

    async def _act(self, observation: Observation, decision: Decision) -> None:
        self.busy = True
        # A copy that reads the root would keep it from being unmounted; a loss waits for nobody.
        await self.errands.cancel(wait=not isinstance(decision, Contain))
        if self.phase is Phase.FAILED:
            self.face.set_phase(advance(self.phase, Trigger.CLEARED))
        try:
            match decision:
                case Move():
                    if self.phase is Phase.LOST:
                        self.face.set_phase(advance(self.phase, Trigger.GRACE_OVER))
                    await self.mover.move(observation, decision)
                case PowerWash():
                    answering = self.health.proof is not None and self.health.failure is None
                    await self.mover.wash(observation, decision, answering=answering)
                case Contain():
                    self.face.set_phase(advance(self.phase, Trigger.SLOT_VANISHED))
                    await self.mover.contain(observation, decision)
                case KeepStopped():
                    self.mover.keep_stopped(observation)
                case _:
                    pass
        finally:
            self.busy = False
            # What the operation proved is verified by a second reading of the settled node.
            self.health.expire()
            self.inspector.forget()
        # The end of an operation and the phase that it led to are published as one.
        await self.health.look_at_kubelet()
        settled = await self.observe()
        candidates = select(settled, self.role)
        following = decide(settled, candidates, self.role)
        if self._at_rest(settled) and not self._acts(following, settled):
            await self._rest(settled)
        elif settled.entry is not None:
            self._show(settled, candidates, following)

    def _acts(self, decision: Decision, observation: Observation) -> bool:
        if isinstance(decision, KeepStopped):
            return observation.entry is not None or not observation.fence_up
        return isinstance(decision, Move | PowerWash | Contain)

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
            "decision", words.of_decision(decision), role=self.role.name, reason=decision.reason
        )
        self._show(observation, candidates, decision)

    async def _rest(self, observation: Observation) -> None:
        """Nothing more to do: the phase is what the mount table says."""
        candidates = select(observation, self.role)
        decision = decide(observation, candidates, self.role)
        self.face.set_phase(settle(self.phase, observation))
        if not observation.shutting_down:
            self._note_active(observation)
            self._lower_stale_fence(observation)
        self._show(observation, candidates, decision)

    def _note_active(self, observation: Observation) -> None:
        """Remember the stick that serves, whoever mounted it, for the day it is lost."""
        device = observation.serving().device
        if device is None or device.uuid is None or observation.serving().dead:
            return
        registry = observation.registry
        self.mover.intents.serves(registry.identity_of(device), registry.name_of(device))
        stick, manifest = registry.matching(device), observation.manifest(device.incarnation)
        if stick is not None and manifest is not None and manifest.complete:
            self.mover.intents.served(stick, manifest)

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


def _calm(observation: Observation, decision: Decision) -> bool:
    """True if a stick may be read for some moments: nothing is lost and nothing half done."""
    entry = observation.entry
    waiting = entry is None or entry.stage is Stage.GRACE
    loss = isinstance(decision, Contain) or observation.serving().dead
    return waiting and not loss and not observation.shutting_down


def _unclosed(observation: Observation) -> bool:
    entry = observation.entry
    return (
        entry is not None
        and entry.stage is not Stage.GRACE
        and not observation.shutting_down
        and not observation.intent.failed
    )
