"""The node: all roles, one writer, many readers.

Owns: the loop that wakes the roles, and the way of a request into the loop.  One lock around
every pass and every change of memory: one operation at a time, whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from nodestoraged.core import requests
from nodestoraged.core.situation import Request, occupied
from nodestoraged.engine import desk, hearing, reading
from nodestoraged.engine.board import Board, DaemonFacts
from nodestoraged.engine.executor import Interrupted
from nodestoraged.engine.preview import preview
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.model.config import DataPolicy
from nodestoraged.model.errors import NodeStorageError, NotFoundError, RefusedError, RequestError
from nodestoraged.model.observation import RELEASE_SECONDS
from nodestoraged.model.operation import Stage
from nodestoraged.model.reason import MEANINGS, Reason

Json = dict[str, object]

#: How long a verb waits to learn which operation came of it.
BEGIN_SECONDS = 60.0
#: After a pass that could not be made, the next one follows so much later.
FAILED_PASS_SECONDS = 5.0
#: How long the end of an errand waits for the world to be looked at.
LOOK_SECONDS = 10.0
MOVING = frozenset({"switch", "eject", "rollback", "powerwash"})


class Node:
    """What the socket serves; implements the API's `NodeService`."""

    def __init__(
        self,
        roles: Sequence[Reconciler],
        facts: DaemonFacts,
        *,
        rescan_seconds: float,
        events: Callable[[], Sequence[Json]],
        reload: Callable[[], str],
    ) -> None:
        self._roles = {role.role.name: role for role in roles}
        for role in roles:
            role.errands.settled = self._looked
        self._board = Board(self._roles, facts)
        self._rescan_seconds = rescan_seconds
        self._events = events
        self._reload = reload
        self._woken = asyncio.Event()
        self._happened = asyncio.Event()
        self._lock = asyncio.Lock()
        self._passes_begun = 0
        self._passes_ended = 0
        self.leaving = False

    # -- the loop ---------------------------------------------------------------------

    def wake(self) -> None:
        """Something may have changed: look again soon."""
        self._woken.set()

    async def look(self) -> None:
        """Every role can be shown, though none is decided."""
        for role in self._roles.values():
            await role.look()

    async def start(self) -> None:
        """Every role's root is decided and in place."""
        for role in self._roles.values():
            await role.start()

    async def run(self) -> None:
        """Passes are made until `leave`; the proofs and recoveries that had to wait come first."""
        async with self._lock:
            for role in self._roles.values():
                await role.after_ready()
        while not self.leaving:
            self._woken.clear()
            until = await self._pass()
            await self._sleep(until)

    async def leave(self) -> None:
        """The daemon goes: the loop ends between two steps and a root is in place."""
        self.leaving = True
        for role in self._roles.values():
            role.begin_leaving()
        self.wake()
        async with self._lock:
            for role in self._roles.values():
                await role.leave()

    async def _pass(self) -> float | None:
        times: list[float] = []
        async with self._lock:
            self._passes_begun += 1
            number = self._passes_begun
            for role in self._roles.values():
                if self.leaving:
                    return None
                try:
                    until = await role.tick()
                except Interrupted:
                    return None
                except NodeStorageError as error:
                    # A full root disk, a service manager that does not answer: it may pass.
                    role.ports.log.event("pass-failed", error.message, reason=error.reason)
                    until = role.ports.clock.boottime() + FAILED_PASS_SECONDS
                if until is not None:
                    times.append(until - role.ports.clock.boottime())
            self._passes_ended = number
            self._board.stir()
        return min(times, default=None)

    async def _sleep(self, seconds: float | None) -> None:
        if self.leaving:
            return
        limit = self._rescan_seconds if seconds is None else min(seconds, self._rescan_seconds)
        try:
            async with asyncio.timeout(max(limit, 0.01)):
                await self._woken.wait()
        except TimeoutError:
            return

    # -- readers ----------------------------------------------------------------------

    def publish(self) -> None:
        """A role changed."""
        self._board.publish()

    def happened(self) -> None:
        """An event was logged."""
        waiting, self._happened = self._happened, asyncio.Event()
        waiting.set()

    def status(self) -> Json:
        """The whole JSON of the contract."""
        return self._board.status()

    async def changed(self, generation: int) -> None:
        """Returns when the status has another generation."""
        await self._board.changed(generation)

    def operations(self, role: str | None, limit: int) -> list[Json]:
        """Open and closed operations, newest first."""
        return reading.operations(self._chosen(role), limit)

    def operation(self, operation_id: str) -> Json | None:
        """One operation by its id."""
        every = self.operations(None, 1 << 20)
        return next((each for each in every if each["id"] == operation_id), None)

    def events(self, since: str | None) -> list[Json]:
        """Events since a moment."""
        return reading.since(self._events(), since)

    async def next_events(self, cursor: int) -> list[Json]:
        """At least one event after `cursor`."""
        while True:
            found = reading.after(self._events(), cursor)
            if found:
                return found
            await self._happened.wait()

    async def plan(
        self, role: str | None, to: str | None, with_: str | None, data: str | None
    ) -> Json:
        """What would be done."""
        reconciler = self._one(role)
        if reconciler.view is None:
            raise RefusedError(Reason.STARTING, MEANINGS[Reason.STARTING], "try again")
        policy = hearing.word(DataPolicy, {"data": data}, "data")
        return await preview(reconciler, reconciler.view.observation, to, with_, policy)

    async def hidden(self, role: str | None) -> Json:
        """What lies hidden under the mount, and whether it may be reclaimed."""
        return await desk.hidden(self._one(role))

    # -- requests ---------------------------------------------------------------------

    async def act(self, verb: str, role: str | None, arguments: Json) -> Json:
        """Carry out a verb; moving ones return once their operation is journalled."""
        if verb == "reload":
            return {"operationId": None, "changed": True, "message": self._reload(), "hint": ""}
        reconciler = self._one(role)
        if verb == "abort":
            return self._abort(reconciler, str(arguments.get("id", "")))
        if verb in desk.VERBS:
            begun = await desk.begin(reconciler, verb, arguments)
            return {
                "operationId": begun.id,
                "changed": True,
                "message": f"{verb} begun",
                "hint": f"nodestoragectl show {begun.id}",
            }
        request = hearing.request_of(verb, arguments)
        errand = reconciler.errands.running is not None
        if verb in MOVING and (errand or _executes(reconciler)):
            raise occupied()
        before = self._last_id(reconciler)
        answer = await self._apply(reconciler, request)
        operation_id = None
        if answer.moves and answer.changed:
            operation_id = await self._begun(reconciler, before)
        return {
            "operationId": operation_id,
            "changed": answer.changed,
            "message": answer.message,
            "hint": answer.hint,
        }

    async def _apply(self, reconciler: Reconciler, request: Request) -> requests.Answer:
        """The verb's change is in memory and on disk; the loop is awake.

        While an operation executes the lock is held by its pass, but memory is only written
        between awaits, so a verb that moves nothing need not wait for it.
        """
        situation = await hearing.heard(reconciler, request)
        answer = requests.apply(request, situation)
        store, name = reconciler.ports.store, reconciler.role.name
        store.save_registry(answer.registry)
        store.save_intent(name, answer.intent)
        memory = reconciler.memory
        memory.permitted = memory.permitted | answer.permitted
        for incarnation in answer.forgiven:
            memory.forgive(incarnation)
        if request.verb == "eject" and answer.moves:
            # Until the pass that does it; a verb of another matter in between changes nothing.
            given = request.release_seconds
            memory.release_seconds = RELEASE_SECONDS if given is None else given
        reconciler.ports.log.event("request", f"{request.verb}: {answer.message}", role=name)
        self.wake()
        return answer

    async def _looked(self) -> None:
        """A pass that began after this call has ended, or the loop is busy for long."""
        wanted = self._passes_begun + 1
        self.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                while self._passes_ended < wanted:
                    await self._board.news()

    async def _begun(self, reconciler: Reconciler, before: int) -> str | None:
        """The id of the operation that came of a request, or None if none had to.

        Only a pass that began after the request has seen it; one that was under way has not.
        """
        wanted = self._passes_begun + 1
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                while self._last_id(reconciler) == before:
                    if self._passes_ended >= wanted:
                        return None
                    await self._board.news()
        except TimeoutError:
            return None
        return str(self._last_id(reconciler))

    def _abort(self, reconciler: Reconciler, operation_id: str) -> Json:
        current = reconciler.operation
        if reconciler.errands.abort(operation_id):
            return {
                "operationId": operation_id,
                "changed": True,
                "message": f"operation {operation_id} ends soon",
                "hint": "",
            }
        if current is None or current.id != operation_id:
            raise NotFoundError(
                "NoSuchOperation",
                f"operation {operation_id} is not running",
                "nodestoragectl operations",
            )
        if current.stage is not Stage.FORWARD:
            raise RefusedError("NotAbortable", "it is going back already, or waits out its grace")
        reconciler.executor.aborting = True
        return {
            "operationId": operation_id,
            "changed": True,
            "message": f"operation {operation_id} ends after its current step",
            "hint": "",
        }

    # -- parts ------------------------------------------------------------------------

    def _last_id(self, reconciler: Reconciler) -> int:
        if reconciler.operation is not None:
            return int(reconciler.operation.id)
        history = reconciler.ports.journal.history(reconciler.role.name, 1)
        return int(history[0].id) if history else 0

    def _one(self, role: str | None) -> Reconciler:
        chosen = self._chosen(role)
        if len(chosen) != 1:
            names = ", ".join(self._roles)
            raise RequestError("RoleMissing", "there are several roles", f"--role, one of: {names}")
        return chosen[0]

    def _chosen(self, role: str | None) -> list[Reconciler]:
        if role is None:
            return list(self._roles.values())
        found = self._roles.get(role)
        if found is None:
            names = ", ".join(self._roles)
            raise NotFoundError("NoSuchRole", f"no role {role!r}", f"one of: {names}")
        return [found]


def _executes(reconciler: Reconciler) -> bool:
    operation = reconciler.operation
    return operation is not None and operation.stage is not Stage.GRACE
