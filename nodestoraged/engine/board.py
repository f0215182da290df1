"""The published status: one frozen JSON value with a generation, and its readers.

Owns: what was shown last, when each condition last changed, and who waits for the next.  May not
know: requests, or how anything is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from nodestoraged.core import report
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.model.operation import Operation

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFacts:
    """What status says of the daemon itself."""

    version: str
    pid: int
    init: str


class Board:
    """Where the one writer publishes and many readers look."""

    def __init__(self, roles: Mapping[str, Reconciler], facts: DaemonFacts) -> None:
        self._roles = roles
        self._facts = facts
        self._generation = 0
        self._shown: Json = {}
        self._since: dict[str, dict[str, str]] = {}
        self._statuses: dict[str, dict[str, str]] = {}
        self._news = asyncio.Event()

    def publish(self) -> None:
        """A role changed: the status is made anew, with another generation if it differs."""
        shown = self._render()
        if shown != self._shown:
            self._shown = shown
            self._generation += 1
            self.stir()

    def stir(self) -> None:
        """Whoever waits for news looks again."""
        waiting, self._news = self._news, asyncio.Event()
        waiting.set()

    async def news(self) -> None:
        """Returns at the next publication, or when something stirred."""
        await self._news.wait()

    def status(self) -> Json:
        """The whole JSON of the contract."""
        return {
            "apiVersion": report.API_VERSION,
            "generation": self._generation,
            "daemon": {
                "version": self._facts.version,
                "pid": self._facts.pid,
                "init": self._facts.init,
            },
            **self._shown,
        }

    async def changed(self, generation: int) -> None:
        """Returns when the status has another generation."""
        while self._generation == generation:
            await self._news.wait()

    def _render(self) -> Json:
        roles: list[Json] = []
        running: Json | None = None
        last: Operation | None = None
        for name, reconciler in self._roles.items():
            view = reconciler.view
            if view is None:
                continue
            rendered = report.role(view, self._since.get(name, {}))
            if self._note_transitions(name, rendered, view.observation.time):
                rendered = report.role(view, self._since[name])
            roles.append(rendered)
            if view.operation is not None and view.operation.result is None:
                running = report.operation(view.operation)
            if view.last is not None and (last is None or int(view.last.id) > int(last.id)):
                last = view.last
        return {
            "roles": roles,
            "operation": running,
            "lastOperation": report.operation(last) if last else None,
        }

    def _note_transitions(self, name: str, rendered: Json, now: str) -> bool:
        """True if a condition's status changed; its time is kept."""
        found = rendered["conditions"]
        assert isinstance(found, list)
        statuses = {each["type"]: each["status"] for each in found}
        before, since = self._statuses.get(name, {}), self._since.setdefault(name, {})
        moved = [kind for kind, status in statuses.items() if before.get(kind) != status]
        since.update(dict.fromkeys(moved, now))
        self._statuses[name] = statuses
        return bool(moved)
