"""A start: what the journal left open, and, in a boot, the root in place before READY.

Before READY no unit is started, stopped or restarted: a start of a unit that is ordered after
us would wait for our own READY.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from nodestoraged.core.decide import decide
from nodestoraged.core.recovery import Recovery, recover
from nodestoraged.core.sections import units_to_restore
from nodestoraged.core.select import select
from nodestoraged.engine.executor import Executor
from nodestoraged.engine.inspector import Inspector
from nodestoraged.engine.mover import Mover
from nodestoraged.engine.observer import Memory
from nodestoraged.engine.workbench import tidy
from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import DataPolicy, Fallback, RoleConfig, Trust
from nodestoraged.model.decision import Contain, Decision, Move, Wait
from nodestoraged.model.errors import StepError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import Operation, Result
from nodestoraged.model.reason import Reason
from nodestoraged.model.runtime import Dialect, UnitState
from nodestoraged.ports import Ports

#: More sticks than this are not tried one after the other in one boot.
STICKS_MAX = 8
BOOT_POLL_SECONDS = 0.25
READING_SECONDS = 10.0
WASH_SECONDS = 1800.0

Enter = Callable[[Observation, tuple[Candidate, ...], Decision], None]


class Boot:
    """The first decision of a daemon's life."""

    def __init__(
        self,
        ports: Ports,
        mover: Mover,
        executor: Executor,
        observe: Callable[[], Awaitable[Observation]],
        enter: Enter,
        inspector: Inspector,
        memory: Memory,
    ) -> None:
        self._ports = ports
        self._mover = mover
        self._executor = executor
        self._observe = observe
        self._enter = enter
        self._inspector = inspector
        self._memory = memory
        self._open: Operation | None = None
        #: The tier of a powerwash that the power was cut in: its images are still to come back.
        self._washing: Wash | None = None

    async def start(self, role: RoleConfig) -> None:
        """The root is decided and in place; its proof is owed until `after_ready`."""
        await self._tidy()
        observation = await self._observe()
        if recover(observation) is Recovery.CLOSE and observation.entry is not None:
            self._washing = observation.entry.wash
            self._executor.close(observation.entry, Result.INTERRUPTED)
        elif observation.entry is not None:
            self._mover.intents.condemned(observation.entry)
        self._mover.intents.fresh_boot(observation.boot_id)
        observation = await self._observe()
        starting = await self._starting(observation)
        # A runtime that we keep stopped is no boot: with the next stick it is started, too.
        ours = observation.entry is not None or observation.intent.stopped or observation.owed
        if starting and not ours and observation.runtime_installed:
            await self._decide_root(role)
            await self._wash(await self._observe())
        self._memory.permitted = frozenset()

    async def _starting(self, observation: Observation) -> bool:
        """True if nothing runs from the root yet, so that putting one in place stops nothing."""
        if not observation.profile.daemonless:
            return not observation.runtime_runs or _queued(observation)
        # It is not asked: its first answer in a boot would settle it on the root of now.
        left = await self._ports.disks.leftover_shims(
            observation.profile, deadline_seconds=READING_SECONDS
        )
        if left:
            return False
        # Its runtime never counts as stopped: what is here now may be used all the same.
        self._memory.permitted = frozenset(d.incarnation for d in observation.devices)
        return True

    async def _tidy(self) -> None:
        """No copy of an earlier daemon runs, and nothing is mounted where it put sticks aside."""
        await self._ports.copier.stop_leftovers()
        for place in (self._memory.aside, self._memory.workbench):
            await tidy(self._ports, place)

    async def after_ready(self) -> None:
        """What had to wait for READY: the proof of a boot's root, or an open entry's recovery."""
        if self._open is not None:
            boot, self._open = self._open, None
            await self._mover.after_boot(boot, await self._observe(), self._washing)
        observation = await self._observe()
        entry = observation.entry
        if entry is None:
            return
        match recover(observation):
            case Recovery.BACK:
                await self._mover.back(entry)
            case Recovery.PROVE:
                await self._mover.prove_left(observation, entry)
            case Recovery.CONTAIN:
                lost = Contain(lost=entry.source, reason=Reason.STICK_LOST)
                await self._mover.contain(observation, lost)
            case Recovery.NOTHING | Recovery.CLOSE | Recovery.WAIT:
                return

    async def _decide_root(self, role: RoleConfig) -> None:
        """Nothing runs yet: wait for the stick that was active, and put the best one in place."""
        await self._await_stick(await self._observe(), role)
        for _ in range(STICKS_MAX):
            observation = await self._observe()
            candidates = select(observation, role)
            while await self._inspector.look(observation, candidates):
                observation = await self._observe()
                candidates = select(observation, role)
            decision = decide(observation, candidates, role)
            if isinstance(decision, Wait) and decision.reason is Reason.SETTLING:
                # What came in while we waited is part of the boot.
                await self._ports.clock.sleep(observation.settling_until - observation.now)
                continue
            if not isinstance(decision, Move) or decision.target is None:
                break
            if decision.data is DataPolicy.COPY:
                # Copying takes minutes, and has its time after READY: from where we were before.
                before = _where_we_were(observation, candidates, role)
                if before is None:
                    break
                decision = before
            self._enter(observation, candidates, decision)
            done = await self._mover.boot(observation, decision)
            if done.result is None:
                self._open = done
                return
        observation = await self._observe()
        if not _permitted(observation, role):
            self._mover.keep_stopped(observation, units_to_restore(observation))

    async def _wash(self, observation: Observation) -> None:
        """A powerwash that waited for a boot, before anything runs from the root."""
        wished = self._wished_wash(observation)
        tier = self._ports.store.take_wash_marker() or wished
        if tier is None:
            return
        if observation.profile.dialect is not Dialect.CONTAINERD:
            self._ports.log.event("powerwash", "refused: the layout is not containerd's")
            return
        self._ports.notifier.extend(WASH_SECONDS)
        if self._open is None:
            washed = await self._mover.wash_before(observation, tier)
            self._open = washed if washed.result is None else None
            return
        # The boot's own operation is open and proves the root that is washed now.
        try:
            removed = await self._ports.roots.wash(
                observation.profile.root, tier, deadline_seconds=WASH_SECONDS
            )
        except StepError as error:
            self._ports.log.event("powerwash", f"failed: {error.message}", reason=error.reason)
        else:
            self._ports.log.event("powerwash", f"{tier}: {removed.files} files are gone")

    def _wished_wash(self, observation: Observation) -> Wash | None:
        """What `powerwash --next-boot` asked for, if the root that it meant serves."""
        wash = observation.intent.wash
        if wash is None or wash.boot_id == observation.boot_id:
            return None
        self._mover.intents.washed()
        if wash.boot_id is not None:
            return None  # it was for a boot that is over
        device = observation.serving().device
        serving = observation.registry.identity_of(device) if device else None
        if wash.identity != serving:
            self._ports.log.event("powerwash", "the root that was to be washed does not serve")
            return None
        return wash.tier

    async def _await_stick(self, observation: Observation, role: RoleConfig) -> None:
        """The stick that was active last, or is wished for, is here, or its time is over."""
        wish = observation.intent.wish
        awaited = wish.identity if wish else observation.intent.last_active
        settled = observation.serving().device is not None or role.trust is Trust.NONE
        if awaited is None or settled:
            return
        clock = self._ports.clock
        deadline = clock.boottime() + role.boot_wait_seconds
        while clock.boottime() < deadline and not self._executor.leaving:
            if any(awaited.matches(device) for device in self._ports.devices.devices()):
                return
            self._ports.notifier.extend(role.boot_wait_seconds)
            await clock.sleep(BOOT_POLL_SECONDS)


def _where_we_were(
    observation: Observation, candidates: tuple[Candidate, ...], role: RoleConfig
) -> Move | None:
    """The move to the stick that served last, as it is; None if it is not here."""
    last = observation.intent.last_active
    kept = tuple(c for c in candidates if last is not None and last.matches(c.device))
    without = replace(observation, intent=replace(observation.intent, wish=None))
    decision = decide(without, kept, role)
    if isinstance(decision, Move) and decision.target is not None:
        return replace(decision, data=DataPolicy.KEEP)
    return None


def _permitted(observation: Observation, role: RoleConfig) -> bool:
    """A stick serves, or the internal directory may: by the fallback list or by a wish."""
    wish = observation.intent.wish
    return (
        observation.serving().device is not None
        or Fallback.INTERNAL in role.fallback
        or (wish is not None and wish.identity is None)
    )


def _queued(observation: Observation) -> bool:
    """A start job waits for us: the boot has not started the runtime yet."""
    return any(
        unit.job_queued and unit.state is not UnitState.ACTIVE
        for unit in observation.units
        if unit.name in observation.profile.runtime_units
    )
