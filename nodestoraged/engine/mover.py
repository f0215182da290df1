"""Carry out what was decided: planned operations forward, their way back, and their leftovers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from nodestoraged.core import forecast, planner
from nodestoraged.core.sections import Goal, goal_of, in_place, source_of, units_to_restore
from nodestoraged.engine.executor import Executor, Interrupted
from nodestoraged.engine.failover import Failover
from nodestoraged.engine.intents import Intents
from nodestoraged.engine.observer import Memory
from nodestoraged.model import datasteps, steps
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.decision import Contain, Move, PowerWash
from nodestoraged.model.errors import StepError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import (
    FORCED,
    Operation,
    OperationKind,
    Result,
    RootRef,
    Stage,
)
from nodestoraged.model.plan import Plan
from nodestoraged.model.reason import Reason
from nodestoraged.ports import Ports

#: So often the way back is tried before the node is left to a person.
RESTORE_ATTEMPTS = 2
#: A number for people: it is not worth more waiting.
COUNT_SECONDS = 10.0


class Mover:
    """Runs operations of one role; after each the world is read again by the caller."""

    def __init__(
        self,
        ports: Ports,
        role: RoleConfig,
        memory: Memory,
        executor: Executor,
        observe: Callable[[], Awaitable[Observation]],
    ) -> None:
        self._ports = ports
        self._role = role
        self._memory = memory
        self._executor = executor
        self._observe = observe
        self.intents = Intents(ports, role, memory)
        self._failover = Failover(ports, role, self.intents, executor, observe)

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on."""
        self._role = role
        self.intents.configure(role)
        self._failover.configure(role)

    async def move(self, observation: Observation, decision: Move) -> Operation:
        """The root is `decision.target`, or what served before serves again."""
        entry = observation.entry
        if entry is not None and entry.stage is Stage.GRACE:
            return await self._failover.settle(observation, decision, entry)
        source = source_of(observation)
        goal = goal_of(observation, decision)
        new = self._new(observation, decision, source, goal)
        operation = self._executor.begin(
            replace(
                new,
                predicted_seconds=forecast.downtime(self.history(), decision.kind, decision.data),
                predicted_bytes=await self.used_bytes() if goal.copied else None,
            )
        )
        self.intents.attempted(decision, observation)
        plan = planner.plan_move(
            observation,
            self._role,
            goal,
            source,
            ejecting=decision.kind is OperationKind.EJECT,
        )
        return await self._forward(operation, plan)

    async def wash(
        self, observation: Observation, decision: PowerWash, *, answering: bool
    ) -> Operation:
        """The root holds what the tier leaves and what ran runs from it; what went stays gone."""
        self.intents.washed()
        move = Move(
            kind=OperationKind.POWERWASH,
            target=decision.target,
            automatic=False,
            reason=decision.reason,
        )
        goal = goal_of(observation, move)
        new = self._new(observation, move, goal.root, goal)
        aside = not in_place(observation, goal)
        operation = self._executor.begin(replace(new, wash=decision.tier, aside=aside))
        plan = planner.plan_wash(observation, self._role, goal, decision.tier, answering=answering)
        try:
            operation = await self._run(operation, plan)
        except StepError as error:
            return await self._undo(operation, error)
        return self._executor.close(operation, Result.DONE)

    async def used_bytes(self) -> int | None:
        """What the root that serves takes up; None where counting it takes too long."""
        try:
            return await self._ports.roots.used_bytes(
                self._memory.profile.root, deadline_seconds=COUNT_SECONDS
            )
        except StepError:
            return None

    def history(self) -> tuple[Operation, ...]:
        """What was done lately, newest first."""
        return self._ports.journal.history(self._role.name, 50)

    async def boot(self, observation: Observation, decision: Move) -> Operation:
        """Before READY: the stick is on the root and takes writes; the operation stays open."""
        assert decision.target is not None
        source = source_of(observation)
        goal = Goal(root=decision.target.ref(), device=decision.target.device, run=())
        operation = self._executor.begin(self._new(observation, decision, source, goal))
        plan = planner.plan_boot(observation, goal)
        try:
            operation = await self._executor.run(operation, plan)
        except StepError as error:
            return await self._undo(operation, error, starts=False)
        self.intents.booted(operation)
        return operation

    async def wash_before(self, observation: Observation, tier: Wash) -> Operation:
        """Before READY: the root in place is washed; the operation stays open for its proof."""
        root = source_of(observation)
        move = Move(
            kind=OperationKind.POWERWASH,
            target=None,
            automatic=False,
            reason=Reason.WASH_ASKED,
        )
        goal = Goal(root=root, device=observation.serving().device, run=())
        new = self._new(observation, move, root, goal)
        operation = self._executor.begin(replace(new, wash=tier))
        plan = Plan(steps=(steps.RefuseShims(), datasteps.WashRoot(tier=tier)))
        try:
            return await self._executor.run(operation, plan)
        except StepError as error:
            return self._executor.close(self._executor.current(operation), Result.FAILED, error)

    async def after_boot(
        self, operation: Operation, observation: Observation, washing: Wash | None
    ) -> Operation:
        """After READY: the proof follows the runtime's own start, and images after a wash."""
        run = units_to_restore(observation)
        operation = self._executor.record(replace(operation, ran_before=run))
        serving = observation.serving()
        if not operation.target.internal and (serving.device is None or serving.dead):
            lost = StepError("StickLost", f"{operation.target.name} is gone")
            return self._executor.close(operation, Result.FAILED, lost)
        goal = Goal(root=operation.target, device=serving.device, run=())
        try:
            operation = await self._run(
                operation, planner.plan_after_boot(observation, goal, washing)
            )
        except StepError as error:
            # The boot goes on whatever we find; the next pass says what is wrong with it.
            operation = replace(
                self._executor.current(operation), reason=error.reason, message=error.message
            )
        return self._executor.close(operation, Result.DONE)

    async def contain(self, observation: Observation, decision: Contain) -> Operation:
        """Everything that ran from the dead slot is stopped and its mount is off; grace begins."""
        return await self._failover.contain(observation, decision)

    def keep_stopped(self, observation: Observation, owed: tuple[str, ...] = ()) -> None:
        """No permitted root: the fence stays up, and what ran before, or `owed`, is owed."""
        if observation.entry is not None:
            owed = observation.entry.ran_before
        self._failover.keep_stopped(observation, owed or observation.owed)

    async def back(self, entry: Operation) -> Operation:
        """A crash left `entry` open in this boot: the recorded world again."""
        error = StepError("Interrupted", "the daemon was interrupted")
        return await self._undo(entry, error, touched=True)

    async def prove_left(self, observation: Observation, entry: Operation) -> Operation:
        """A root is in place that an earlier daemon did not prove any more: prove it and close."""
        source = source_of(observation)
        goal = Goal(root=source, device=observation.serving().device, run=entry.ran_before)
        if entry.kind in FORCED:
            entry = replace(entry, target=source)
        reached = source.identity == entry.target.identity
        if not reached:
            self.intents.gave_up(entry)
        try:
            operation = await self._run(
                entry, planner.plan_prove(observation, goal, entry.wash), undoing=True
            )
        except StepError as error:
            return await self._undo(entry, error, touched=True)
        if reached:
            self.intents.arrived(operation)
        return self._executor.close(operation, Result.DONE if reached else Result.ROLLED_BACK)

    async def leave(self, *, starts: bool = True) -> None:
        """The daemon goes: a root in place, the fence down, the starts queued, the entry open.

        Without a permitted root everything stays as it is, and the fence up.  Before READY
        nothing `starts`.
        """
        observation = await self._observe()
        entry = observation.entry
        if entry is None or observation.shutting_down:
            return
        goal = planner.goal_left(observation, self._role, entry)
        if goal is None:
            return
        goal = goal if starts else replace(goal, run=())
        left = self._executor.record(replace(entry, stage=Stage.LEFT, grace_until=None))
        try:
            await self._executor.run(left, planner.plan_leave(observation, goal), undoing=True)
        except StepError as error:
            self._ports.log.event("leaving-failed", error.message, operation=entry.id)
        except Interrupted:
            return

    async def _forward(self, operation: Operation, plan: Plan) -> Operation:
        try:
            operation = await self._run(operation, plan)
        except StepError as error:
            return await self._undo(operation, error)
        self.intents.arrived(operation)
        return self._executor.close(operation, Result.DONE)

    async def _undo(
        self,
        operation: Operation,
        error: StepError,
        *,
        touched: bool = False,
        starts: bool = True,
    ) -> Operation:
        """The world that the journal recorded, and the operation closed with why.

        Before READY nothing `starts`.
        """
        current = self._executor.current(operation)
        self.intents.held(operation, self._executor.failed, error)
        self.intents.gave_up(operation)
        if operation.aside:
            await self.tidy(current.id)
            return self._executor.close(current, Result.FAILED, error)
        same = operation.source.identity == operation.target.identity
        if operation.kind not in FORCED and same and operation.kind is not OperationKind.POWERWASH:
            # It was to start again what is owed; there is no other world to go back to.
            return self._failover.give_up(current, error, error)
        aborted = error.reason == "Aborted"
        if not touched and not current.touched:
            if not (await self._observe()).serving().dead:
                await self.tidy(current.id)
            return self._executor.close(
                current, Result.ABORTED if aborted else Result.FAILED, error
            )
        result = Result.ABORTED if aborted else Result.ROLLED_BACK
        return await self._restore(current, error, result, starts=starts)

    async def tidy(self, operation_id: str | None = None) -> None:
        """Nothing of a copy is left aside; what cannot be taken away now is tried again."""
        for step in planner.plan_tidy(await self._observe()).steps:
            said = await self._executor.perform_alone(step)
            self._ports.log.event("tidy", f"{step.describe()}: {said}", operation=operation_id)

    async def _restore(
        self, current: Operation, error: StepError, result: Result, *, starts: bool
    ) -> Operation:
        """The recorded world again and the operation closed with `result`.

        A second attempt knows what the first found out about the disks.
        """
        second = error
        for _ in range(RESTORE_ATTEMPTS):
            observation = await self._observe()
            back = planner.goal_back(observation, current)
            if back is None:
                return await self._failover.take_over(current, second)
            back = back if starts else replace(back, run=())
            plan = planner.plan_restore(observation, self._role, back, current.wash)
            current = self._executor.record(replace(current, stage=Stage.BACK))
            try:
                current = await self._run(current, plan, undoing=True)
            except StepError as found:
                second, current = found, self._executor.current(current)
                self.intents.held(current, self._executor.failed, found)
            else:
                return self._executor.close(current, result, error)
        return self._failover.give_up(current, error, second)

    async def _run(self, operation: Operation, plan: Plan, *, undoing: bool = False) -> Operation:
        """As the executor does; what is asked next finds the runtime's client in order.

        It stays open for the reading that follows a move, and the loop closes it at rest.
        """
        try:
            return await self._executor.run(operation, plan, undoing=undoing)
        except StepError:
            # It may hang with the runtime; another one is asked on the way back.
            await self._ports.runtime.close()
            raise

    def _new(
        self, observation: Observation, decision: Move, source: RootRef, goal: Goal
    ) -> Operation:
        return Operation(
            id=self._ports.journal.next_id(),
            role=self._role.name,
            kind=decision.kind,
            source=source,
            target=goal.root,
            boot_id=observation.boot_id,
            started_at=observation.now,
            started_time=observation.time,
            ran_before=goal.run,
            automatic=decision.automatic,
            reason=decision.reason,
            data=decision.data,
        )
