"""Errands: work beside the loop that moves no root, one at a time, told of as an operation.

An errand needs no way back: what it leaves undone is visible on the stick itself (a manifest
that is not complete), and running it again finishes it.  A move ends an errand, for a copy
that reads the root would keep it from being unmounted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from nodestoraged.core.situation import occupied
from nodestoraged.model.copy import CopyProgress
from nodestoraged.model.errors import NodeStorageError, StepError
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import Operation, OperationKind, Result, RootRef, StepRecord
from nodestoraged.ports import Ports

#: A copier is killed in moments; unmounting what it wrote to takes as long as it takes.
CANCEL_SECONDS = 10.0


async def _nothing() -> None:
    """Nobody looks: for tests of errands alone."""


Work = Callable[["Errand"], Awaitable[str]]


class Errand:
    """One errand while it runs: its steps, and how far a copy in it has come."""

    def __init__(
        self, ports: Ports, operation: Operation, publish: Callable[[Operation], None]
    ) -> None:
        self._ports = ports
        self._publish = publish
        self.operation = operation
        self.aborting = False

    @asynccontextmanager
    async def step(self, words: str) -> AsyncIterator[None]:
        """The step is published as begun, and as done or failed with its seconds.

        An errand that was aborted does not begin another.
        """
        if self.aborting:
            raise StepError("Aborted", "an operator aborted it")
        clock = self._ports.clock
        begun = clock.boottime()
        record = StepRecord(step=words, started_at=begun)
        steps = self.operation.steps
        self._show(replace(self.operation, steps=(*steps, record), progress=None))
        error: str | None = None
        try:
            yield
        except NodeStorageError as failure:
            error = failure.message
            raise
        finally:
            done = replace(record, seconds=round(clock.boottime() - begun, 3), error=error)
            self._show(replace(self.operation, steps=(*steps, done), progress=None))

    def progress(self, progress: CopyProgress) -> None:
        """How far the copy of the present step has come."""
        self._show(replace(self.operation, progress=progress))

    def copied(self, bytes_written: int) -> None:
        """What a copy has written is part of the operation's record."""
        before = self.operation.copied_bytes or 0
        self.operation = replace(self.operation, copied_bytes=before + bytes_written)

    def close(self, result: Result, error: NodeStorageError | None, message: str) -> None:
        """The errand is over and in the history."""
        self.operation = replace(
            self.operation,
            result=result,
            progress=None,
            reason=error.reason if error else None,
            message=error.message if error else message,
            hint=error.hint if error else "",
        )
        try:
            self._ports.journal.write(self.operation)
        except NodeStorageError as failure:
            self._ports.log.event("journal", failure.message, reason=failure.reason)
        self._publish(self.operation)

    def _show(self, operation: Operation) -> None:
        self.operation = operation
        self._publish(operation)


class Errands:
    """The errands of one role."""

    def __init__(self, ports: Ports, role: str, publish: Callable[[Operation], None]) -> None:
        self._ports = ports
        self._role = role
        self._publish = publish
        #: Returns once the loop has looked at the world again.
        self.settled: Callable[[], Awaitable[None]] = _nothing
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._errand: Errand | None = None

    @property
    def running(self) -> Operation | None:
        """The errand that runs, or None."""
        over = self._task is None or self._task.done()
        return None if over or self._errand is None else self._errand.operation

    def begin(
        self, kind: OperationKind, target: RootRef, observation: Observation, work: Work
    ) -> Operation:
        """The errand runs from now on; it is in the history once it is over.

        Refused while another runs.
        """
        if self.running is not None:
            raise occupied()
        operation = Operation(
            id=self._ports.journal.next_id(),
            role=self._role,
            kind=kind,
            source=target,
            target=target,
            boot_id=observation.boot_id,
            started_at=observation.now,
            started_time=observation.time,
            ran_before=(),
            automatic=False,
        )
        self._cancelled = False
        errand = self._errand = Errand(self._ports, operation, self._publish)
        self._task = asyncio.create_task(self._run(errand, work), name=f"errand {operation.id}")
        self._publish(operation)
        return operation

    def abort(self, operation_id: str) -> bool:
        """The errand of that id ends soon; False if it does not run."""
        running = self.running
        if running is None or running.id != operation_id or self._errand is None:
            return False
        self._errand.aborting = True
        return True

    async def cancel(self, *, wait: bool = True) -> None:
        """No errand reads the root any more; what it puts in order may take a little longer."""
        if self._task is None or self._task.done():
            return
        if self._errand is not None:
            self._errand.aborting = True
        if not self._cancelled:
            # Once: a second time would end what it puts in order.
            self._cancelled = True
            self._task.cancel()
        if wait:
            await asyncio.wait({self._task}, timeout=CANCEL_SECONDS)

    async def _run(self, errand: Errand, work: Work) -> None:
        kind = errand.operation.kind
        self._ports.log.event("errand", f"{kind} begun", operation=errand.operation.id)
        try:
            message = await work(errand)
            # Who hears of the end finds the world as the errand left it.
            await self.settled()
        except NodeStorageError as error:
            aborted = error.reason == "Aborted"
            errand.close(Result.ABORTED if aborted else Result.FAILED, error, "")
        except asyncio.CancelledError:
            gone = NodeStorageError("Aborted", "something more urgent had to be done")
            errand.close(Result.ABORTED, gone, "")
            raise
        else:
            errand.close(Result.DONE, None, message)
        finally:
            result = errand.operation.result
            self._ports.log.event("errand", f"{kind}: {result}", operation=errand.operation.id)
