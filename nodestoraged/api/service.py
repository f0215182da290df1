"""What the API needs of the daemon: one Protocol, JSON shapes only.

Owns: the boundary.  May not know: sockets, frames, who calls.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["JsonObject", "NodeService"]

JsonObject = dict[str, object]


class NodeService(Protocol):
    """The daemon as the API sees it.  Nothing here blocks."""

    def status(self) -> JsonObject:
        """The whole JSON of the contract, `generation` included."""

    async def changed(self, generation: int) -> None:
        """Returns as soon as the status has another generation than this one."""

    def operations(self, role: str | None, limit: int) -> list[JsonObject]:
        """Operations, newest first, at most `limit`, in the shape of `lastOperation`."""

    def operation(self, operation_id: str) -> JsonObject | None:
        """One operation, open or closed; None when there is none of this id."""

    def events(self, since: str | None) -> list[JsonObject]:
        """Events since an RFC 3339 time, oldest first, each with an increasing `cursor`."""

    async def next_events(self, cursor: int) -> list[JsonObject]:
        """Waits for events after `cursor`; returns at least one."""

    async def plan(
        self, role: str | None, to: str | None, with_: str | None, data: str | None
    ) -> JsonObject:
        """What would be done: role, decision, reason, message, steps, predictions, warnings."""

    async def hidden(self, role: str | None) -> JsonObject:
        """What lies hidden under the mount, and whether it may be reclaimed."""

    async def act(self, verb: str, role: str | None, arguments: JsonObject) -> JsonObject:
        """Carry out a verb, or journal the operation that will.

        Returns operationId, changed, message, hint; raises the errors of `model.errors`.
        """
