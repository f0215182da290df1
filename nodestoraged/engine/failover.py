"""The forced operations: a slot is lost, everything stops, and another root takes over.

A failover only ever goes on: containment, the grace, then the first root that works.  What
cannot be stopped, or a last root that fails too, ends in FAILED, where nothing is touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from nodestoraged.core import planner
from nodestoraged.core.sections import Goal, units_to_restore
from nodestoraged.engine.executor import Executor
from nodestoraged.engine.intents import Intents
from nodestoraged.model import steps
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.decision import Contain, Move
from nodestoraged.model.errors import RollbackError, StepError
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import (
    INTERNAL_ROOT,
    NO_ROOT,
    Operation,
    OperationKind,
    Result,
    RootRef,
    Stage,
)
from nodestoraged.model.plan import Plan
from nodestoraged.model.reason import Reason
from nodestoraged.ports import Ports

#: A removal that was told longer ago than this has nothing to do with a loss found now.
NOTICE_SECONDS_MAX = 60.0
#: Before READY there is no later pass that could raise the fence.
FENCE_ATTEMPTS = 3
#: So often everything is told to stop before the node is left to a person.
CONTAIN_ATTEMPTS = 3


class Failover:
    """Runs the forced operations of one role."""

    def __init__(
        self,
        ports: Ports,
        role: RoleConfig,
        intents: Intents,
        executor: Executor,
        observe: Callable[[], Awaitable[Observation]],
    ) -> None:
        self._ports = ports
        self._role = role
        self._intents = intents
        self._executor = executor
        self._observe = observe

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on."""
        self._role = role

    async def contain(self, observation: Observation, decision: Contain) -> Operation:
        """Everything that ran from the dead slot is stopped and its mount is off; grace begins."""
        entry = observation.entry or self._loss(observation, decision)
        operation = self._executor.begin(replace(entry, stage=Stage.FORWARD))
        self._ports.log.event(
            "slot-lost",
            f"{decision.lost.name} is lost: {decision.reason}",
            operation=operation.id,
            reason=decision.reason,
        )
        return await self._bare(operation, decision.lost, self._role.swap_grace_seconds)

    async def take_over(self, operation: Operation, error: StepError) -> Operation:
        """A planned operation failed and what it came from is gone: a failover without grace."""
        count, _ = self._ports.devices.insertions()
        operation = self._executor.record(
            replace(
                operation,
                kind=OperationKind.FAILOVER,
                stage=Stage.FORWARD,
                insertions=count,
                message=error.message,
            )
        )
        return await self._bare(operation, operation.source, 0.0)

    async def settle(self, observation: Observation, decision: Move, entry: Operation) -> Operation:
        """The grace is over: the chosen root in place, and what ran before runs from it."""
        target = decision.target
        goal = Goal(
            root=target.ref() if target else INTERNAL_ROOT,
            device=target.device if target else None,
            run=entry.ran_before,
        )
        operation = self._executor.begin(
            replace(
                entry, kind=decision.kind, target=goal.root, stage=Stage.FORWARD, grace_until=None
            )
        )
        self._intents.attempted(decision, observation)
        try:
            operation = await self._executor.run(operation, planner.plan_settle(observation, goal))
        except StepError as error:
            await self._ports.runtime.close()
            current = self._executor.current(operation)
            self._intents.held(current, self._executor.failed, error)
            self._intents.gave_up(current)
            if goal.device is None:
                return self.give_up(current, error, error)
            return await self.take_over(current, error)
        self._intents.arrived(operation)
        return self._executor.close(operation, Result.DONE)

    def keep_stopped(self, observation: Observation, owed: tuple[str, ...]) -> None:
        """No permitted root: the fence stays up, and what ran before is owed."""
        entry = observation.entry
        for _ in range(FENCE_ATTEMPTS):
            try:
                self._ports.fence.raise_(self._role.name)
                break
            except StepError as error:
                self._ports.log.event("step-failed", f"the fence: {error.message}")
        self._intents.stopped(entry, observation.boot_id, owed)
        if entry is not None:
            reason = Reason.NO_PERMITTED_ROOT
            self._executor.close(replace(entry, target=NO_ROOT, reason=reason), Result.DONE)

    def give_up(self, operation: Operation, error: StepError, second: StepError) -> Operation:
        """Going on and going back failed: nothing is touched until somebody clears it."""
        both = RollbackError(error, second)
        self._intents.failed(operation, both)
        self._ports.log.event(
            "rollback-failed", both.message, operation=operation.id, reason=both.reason
        )
        return self._executor.close(
            operation, Result.FAILED, StepError(both.reason, both.message, both.hint)
        )

    def _loss(self, observation: Observation, decision: Contain) -> Operation:
        count, _ = self._ports.devices.insertions()
        noticed = observation.now - self._ports.devices.last_removal()
        return Operation(
            id=self._ports.journal.next_id(),
            role=self._role.name,
            kind=OperationKind.FAILOVER,
            source=decision.lost,
            target=INTERNAL_ROOT,
            boot_id=observation.boot_id,
            started_at=observation.now,
            started_time=observation.time,
            ran_before=units_to_restore(observation),
            automatic=True,
            insertions=count,
            noticed_seconds=max(0.0, round(noticed, 3)) if noticed < NOTICE_SECONDS_MAX else None,
            reason=decision.reason,
        )

    async def _bare(self, operation: Operation, lost: RootRef, grace_seconds: float) -> Operation:
        """Nothing runs and the root is bare; then the grace runs for that long."""
        problem = StepError("NotContained", "the runtime could not be stopped")
        for _ in range(CONTAIN_ATTEMPTS):
            plan = planner.plan_contain(await self._observe(), lost)
            operation, error = await self._try_all(operation, plan)
            problem = error or problem
            if _contained(await self._observe()):
                until = self._ports.clock.boottime() + grace_seconds
                return self._executor.record(
                    replace(operation, stage=Stage.GRACE, grace_until=until)
                )
        return self.give_up(operation, problem, problem)

    async def _try_all(
        self, operation: Operation, plan: Plan
    ) -> tuple[Operation, StepError | None]:
        """Each step was tried, for one that fails is no reason to leave the others undone.

        But nothing is taken away from under units that would not stop.
        """
        last: StepError | None = None
        for step in plan.steps:
            try:
                operation = await self._executor.run(operation, Plan(steps=(step,)), undoing=True)
            except StepError as error:
                operation, last = self._executor.current(operation), error
                self._intents.held(operation, step, error)
                if isinstance(step, steps.StopUnits):
                    break
        return operation, last


def _contained(observation: Observation) -> bool:
    serving = observation.serving()
    bare = serving.mount is None or serving.foreign
    return bare and not observation.runtime_runs and not observation.kubelet_runs
