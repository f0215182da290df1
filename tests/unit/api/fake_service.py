"""A NodeService in memory: the tests move its state, the server under test shows it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from nodestoraged.api.connection import Limits
from nodestoraged.api.server import ApiServer
from nodestoraged.model.errors import NodeStorageError, NotFoundError, RefusedError

Json = dict[str, object]


class FakeService:
    """Status, operations and events that tests set; records what was asked for."""

    def __init__(self, status: Json | None = None) -> None:
        self.state: Json = {"apiVersion": "nodestorage/v1", "generation": 1, "roles": []}
        self.state |= status or {}
        self.history: list[Json] = []
        self.happened: list[Json] = []
        self.acts: list[tuple[str, str | None, Json]] = []
        self.act_error: Exception | None = None
        self.judge: Callable[[str, Json], Exception | None] = lambda _verb, _arguments: None
        self.act_reply: Json = {"operationId": None, "changed": True, "message": "ok", "hint": ""}
        self.planned: list[tuple[str | None, str | None, str | None, str | None]] = []
        self.lies_hidden: Json = {}
        self.waiting = 0
        self.waits = 0
        self._news = asyncio.Condition()

    def status(self) -> Json:
        return dict(self.state)

    async def changed(self, generation: int) -> None:
        self.waiting += 1
        self.waits += 1
        try:
            async with self._news:
                await self._news.wait_for(lambda: self.state["generation"] != generation)
        finally:
            self.waiting -= 1

    async def bump(self, **fields: object) -> None:
        generation = self.state["generation"]
        assert isinstance(generation, int)
        self.state |= {**fields, "generation": generation + 1}
        async with self._news:
            self._news.notify_all()

    async def happen(self, kind: str) -> None:
        cursor = len(self.happened) + 1
        self.happened.append(
            {"cursor": cursor, "time": f"2026-11-20T10:00:{cursor:02}Z", "kind": kind,
             "role": "containerd", "message": kind}
        )  # fmt: skip
        async with self._news:
            self._news.notify_all()

    def operations(self, role: str | None, limit: int) -> list[Json]:
        return [one for one in self.history if role in (None, one.get("role"))][:limit]

    def operation(self, operation_id: str) -> Json | None:
        return next((dict(one) for one in self.history if one["id"] == operation_id), None)

    def events(self, since: str | None) -> list[Json]:
        return [one for one in self.happened if since is None or str(one["time"]) >= since]

    async def next_events(self, cursor: int) -> list[Json]:
        async with self._news:
            await self._news.wait_for(lambda: len(self.happened) > cursor)
        return self.happened[cursor:]

    async def plan(
        self, role: str | None, to: str | None, with_: str | None, data: str | None
    ) -> Json:
        self.planned.append((role, to, with_, data))
        if to == "nobody":
            raise NotFoundError("NoSuchStick", "there is no stick nobody", "nodestoragectl list")
        return {"role": "containerd", "decision": "Keep", "reason": "SlotProven", "steps": []}

    async def hidden(self, role: str | None) -> Json:
        return self.lies_hidden

    async def act(self, verb: str, role: str | None, arguments: Json) -> Json:
        self.acts.append((verb, role, arguments))
        error = self.act_error or self.judge(verb, arguments)
        if error is not None:
            raise error
        return self.act_reply


ERRORS: dict[str, tuple[Exception, str, int]] = {
    "not found": (NotFoundError("NoSuchStick", "no", "list"), "io.nodestorage.NotFound", 4),
    "refused": (RefusedError("OperationInProgress", "no"), "io.nodestorage.Refused", 6),
    "not ready": (NodeStorageError("Starting", "wait"), "io.nodestorage.NotReady", 5),
    "failed": (NodeStorageError("IoError", "broken"), "io.nodestorage.Error", 1),
    "our mistake": (KeyError("bug"), "io.nodestorage.Error", 1),
}


class RunningServer:
    """A server in a thread of its own, so that blocking clients can be tried on it."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = str(path)
        self.reports: list[str] = []
        self.service: FakeService
        self.loop = asyncio.new_event_loop()
        self._limits = limits
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(5)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def bump(self, **fields: object) -> None:
        asyncio.run_coroutine_threadsafe(self.service.bump(**fields), self.loop).result(5)

    def happen(self, kind: str) -> None:
        asyncio.run_coroutine_threadsafe(self.service.happen(kind), self.loop).result(5)

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            self.loop.close()

    async def _serve(self) -> None:
        self.service = FakeService()
        server = ApiServer(
            self.service, path=self.path, limits=self._limits, group="no-such-group-here",
            report=lambda message, error: self.reports.append(f"{message} {error or ''}"),
        )  # fmt: skip
        await server.start()
        self._ready.set()
        await self._stop.wait()
        await server.close()


@contextlib.contextmanager
def running(path: Path, limits: Limits | None = None) -> Iterator[RunningServer]:
    server = RunningServer(path, limits or Limits())
    server.start()
    try:
        yield server
    finally:
        server.stop()
