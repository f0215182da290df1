"""A start: what the journal left open, and, in a boot, the root in place before READY.

Before READY no unit is started, stopped or restarted: a start of a unit that is ordered after
us would wait for our own READY.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nodestoraged.core.decide import decide
from nodestoraged.core.planner import units_to_restore
from nodestoraged.core.recovery import Recovery, recover
from nodestoraged.core.select import select
from nodestoraged.engine.executor import Executor
from nodestoraged.engine.mover import Mover
from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import Fallback, RoleConfig, Trust
from nodestoraged.model.decision import Contain, Decision, Move, Wait
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import Operation, Result
from nodestoraged.model.reason import Reason
from nodestoraged.model.runtime import UnitState
from nodestoraged.ports import Ports

#: More sticks than this are not tried one after the other in one boot.
STICKS_MAX = 8
BOOT_POLL_SECONDS = 0.25

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
    ) -> None:
        self._ports = ports
        self._mover = mover
        self._executor = executor
        self._observe = observe
        self._enter = enter
        self._open: Operation | None = None

    async def start(self, role: RoleConfig) -> None:
        """The root is decided and in place; its proof is owed until `after_ready`."""
        observation = await self._observe()
        if recover(observation) is Recovery.CLOSE and observation.entry is not None:
            self._executor.close(observation.entry, Result.INTERRUPTED)
        elif observation.entry is not None:
            self._mover.intents.condemned(observation.entry)
        self._mover.intents.fresh_boot(observation.boot_id)
        observation = await self._observe()
        starting = not observation.runtime_runs or _queued(observation)
        # A runtime that we keep stopped is no boot: with the next stick it is started, too.
        ours = observation.entry is not None or observation.intent.stopped or observation.owed
        if starting and not ours and observation.runtime_installed:
            await self._decide_root(role)

    async def after_ready(self) -> None:
        """What had to wait for READY: the proof of a boot's root, or an open entry's recovery."""
        if self._open is not None:
            boot, self._open = self._open, None
            await self._mover.after_boot(boot, await self._observe())
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
            decision = decide(observation, candidates, role)
            if isinstance(decision, Wait) and decision.reason is Reason.SETTLING:
                # What came in while we waited is part of the boot.
                await self._ports.clock.sleep(observation.settling_until - observation.now)
                continue
            if not isinstance(decision, Move) or decision.target is None:
                break
            self._enter(observation, candidates, decision)
            done = await self._mover.boot(observation, decision)
            if done.result is None:
                self._open = done
                return
        observation = await self._observe()
        if not _permitted(observation, role):
            self._mover.keep_stopped(observation, units_to_restore(observation))

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
