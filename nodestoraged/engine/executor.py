"""Run a plan: one step at a time, each on disk in the journal before its effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nodestoraged.engine.effects import Effects
from nodestoraged.model import steps
from nodestoraged.model.copy import CopyPass, CopyProgress
from nodestoraged.model.errors import StepError
from nodestoraged.model.operation import (
    FORCED,
    Operation,
    OperationKind,
    Result,
    Stage,
    StepRecord,
)
from nodestoraged.model.plan import HARMLESS, Plan, Step
from nodestoraged.ports import Ports


class Interrupted(Exception):  # noqa: N818 - not an error: the daemon was told to go
    """The executor stopped between two steps: the daemon has to leave, or the system goes down."""


class Executor:
    """Owns the open operation: every change of it is journalled and published."""

    def __init__(
        self, ports: Ports, effects: Effects, publish: Callable[[Operation], None]
    ) -> None:
        self._ports = ports
        self._effects = effects
        self._publish = publish
        self.leaving = False
        self.aborting = False
        self._shown: Operation | None = None
        effects.carrier.progress = self._progressed
        effects.carrier.cancelled = lambda: self.aborting or self.leaving
        #: The step that failed last; it tells whose fault an error is.
        self.failed: Step | None = None

    def begin(self, operation: Operation) -> Operation:
        """The operation is open in the journal; nothing has been done yet."""
        self.aborting = False
        self._effects.pods_stopped = 0
        self._effects.kubelet_at = None
        self._effects.carrier.copied.clear()
        if operation.kind is OperationKind.FAILOVER and operation.used_bytes is None:
            # The lost stick can no longer be asked how much of it is missed now.
            operation = replace(operation, used_bytes=self._effects.prover.used_bytes)
        return self.record(operation)

    def record(self, operation: Operation) -> Operation:
        """`operation` is on disk and published as it is.

        Going on needs the journal; going back must not: a root disk that filled up in the
        middle would leave kubelet stopped.  What could not be written then is said, and the
        entry stays open for the next pass.
        """
        try:
            self._ports.journal.write(operation)
        except StepError as error:
            forward = operation.stage is Stage.FORWARD and operation.kind not in FORCED
            if operation.result is None and forward:
                raise
            self._ports.log.event("journal", error.message, reason=error.reason)
        self._publish(operation)
        return operation

    def current(self, operation: Operation) -> Operation:
        """The operation with the step that failed, as the journal has it."""
        return self._ports.journal.open_operation(operation.role) or operation

    def close(
        self, operation: Operation, result: Result, error: StepError | None = None
    ) -> Operation:
        """The operation is closed with `result`, and why."""
        closed = replace(
            operation,
            result=result,
            reason=error.reason if error else operation.reason,
            message=error.message if error else operation.message,
            hint=error.hint if error else operation.hint,
            pods_stopped=max(operation.pods_stopped, self._effects.pods_stopped),
        )
        return self.record(closed)

    async def run(self, operation: Operation, plan: Plan, *, undoing: bool = False) -> Operation:
        """Every step of `plan` is done, or `StepError` says which one is not.

        The operation as far as it came is in the journal in any case.  Between two steps
        `Interrupted` is raised when the daemon has to leave, and an abort is honoured, unless
        `undoing`.  Once the system goes down it is raised always: a start fails then, and
        that is nobody's verdict on a stick.
        """
        for step in plan.steps:
            if (self.leaving and not undoing) or await self._ports.services.shutting_down():
                raise Interrupted
            if self.aborting and not undoing:
                self.failed = None
                raise StepError("Aborted", "an operator aborted it")
            operation = await self._run_step(operation, step)
        return operation

    async def perform_alone(self, step: Step) -> str:
        """A step outside any operation, which nothing depends upon; says what came of it."""
        try:
            return await self._effects.perform(step)
        except StepError as error:
            return f"failed: {error.message}"

    async def _run_step(self, operation: Operation, step: Step) -> Operation:
        clock = self._ports.clock
        begun = clock.boottime()
        record = StepRecord(step=step.describe(), started_at=begun)
        operation = self.record(
            replace(_marked(operation, step, begun), steps=(*operation.steps, record))
        )
        self._shown = operation
        try:
            detail = await self._effects.perform(step)
        except StepError as error:
            given_up = self.leaving and error.reason == "Aborted"
            if given_up or await self._ports.services.shutting_down():
                raise Interrupted from error
            self.failed = step
            failed = replace(
                record, seconds=round(clock.boottime() - begun, 3), error=error.message
            )
            self.record(replace(operation, steps=(*operation.steps[:-1], failed)))
            self._ports.log.event(
                "step-failed",
                f"{record.step}: {error.message}",
                operation=operation.id,
                reason=error.reason,
            )
            raise
        ended = clock.boottime()
        done = replace(record, seconds=round(ended - begun, 3))
        self._ports.log.event(
            "step", f"{record.step} ({detail}, {ended - begun:.2f} s)", operation=operation.id
        )
        return self.record(
            replace(
                self._copied(_completed(operation, step, ended)),
                steps=(*operation.steps[:-1], done),
                pods_stopped=max(operation.pods_stopped, self._effects.pods_stopped),
                kubelet_at=self._effects.kubelet_at or operation.kubelet_at,
            )
        )

    def _progressed(self, progress: CopyProgress) -> None:
        """Published, and not journalled: after a crash it would be a lie."""
        if self._shown is not None:
            self._publish(replace(self._shown, progress=progress))

    def _copied(self, operation: Operation) -> Operation:
        """The operation with what its copies have written so far."""
        copied = self._effects.carrier.copied
        if not copied:
            return operation
        final = copied.get(CopyPass.FINAL)
        return replace(
            operation,
            copied_bytes=sum(result.bytes_written for result in copied.values()),
            copied_stopped_bytes=final.bytes_written if final else None,
        )


def _marked(operation: Operation, step: Step, now: float) -> Operation:
    """The operation with the moments that begin with this step."""
    stops_runtime = isinstance(step, steps.StopUnits) and step.runtime
    if not isinstance(step, HARMLESS):
        operation = replace(operation, touched=True)
    if operation.stage is Stage.BACK:
        return operation
    if stops_runtime and operation.stopped_at is None:
        operation = replace(operation, stopped_at=now)
    if (
        isinstance(step, steps.StopPods | steps.EmptyLeftPods) or stops_runtime
    ) and operation.pods_stopped_at is None:
        operation = replace(operation, pods_stopped_at=now)
    return operation


def _completed(operation: Operation, step: Step, now: float) -> Operation:
    """The operation with the moment that ends with this step."""
    return replace(operation, proven_at=now) if isinstance(step, steps.Prove) else operation
