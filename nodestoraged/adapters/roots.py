"""Removals in and below a runtime root, asked of the worker's children with a deadline.

Owns: the arguments and answers of the worker's operations.  May not know: why anything is done.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodestoraged.adapters.children import Children
from nodestoraged.model.hidden import HiddenEntry, HiddenRoot, Removed, Wash


class WorkerRoots:
    """The `Roots` port over `Children`."""

    def __init__(self, children: Children) -> None:
        self._children = children

    async def hidden(self, root: str, *, deadline_seconds: float) -> HiddenRoot:
        """What lies under the mount on `root`, the 20 largest entries; empty without a mount."""
        found = await self._call("hidden", {"root": root}, deadline_seconds)
        listed, users = found.get("entries"), found.get("held_by")
        assert isinstance(listed, list)
        assert isinstance(users, list)
        return HiddenRoot(
            entries=tuple(
                HiddenEntry(
                    name=str(each["name"]),
                    used_bytes=_number(each, "used_bytes"),
                    files=_number(each, "files"),
                )
                for each in listed
            ),
            used_bytes=_number(found, "used_bytes"),
            files=_number(found, "files"),
            held_by=tuple(str(each) for each in users),
        )

    async def used_bytes(self, path: str, *, deadline_seconds: float) -> int:
        """What the tree at `path` takes up on its own file system."""
        return _number(await self._call("usage", {"path": path}, deadline_seconds), "bytes")

    async def reclaim(self, root: str, *, deadline_seconds: float) -> Removed:
        """Nothing lies under the mount on `root`; NotHidden, StillHeld, MountStacked."""
        return _removed(await self._call("reclaim", {"root": root}, deadline_seconds))

    async def wash(self, root: str, tier: Wash, *, deadline_seconds: float) -> Removed:
        """The stopped runtime's root holds no more than the tier leaves; StillHeld, Busy."""
        arguments = {"root": root, "tier": tier.value}
        return _removed(await self._call("wash", arguments, deadline_seconds))

    async def keep_images_only(self, root: str, *, deadline_seconds: float) -> Removed:
        """Only content blobs whose SHA-256 is their name are left; StillHeld, Busy."""
        return _removed(await self._call("keep_images_only", {"root": root}, deadline_seconds))

    async def database_failure(self, root: str, *, deadline_seconds: float) -> str | None:
        """What is wrong with a database of the root, in words; None if nothing is."""
        found = await self._call("check_database", {"root": root}, deadline_seconds)
        failure = found.get("failure")
        return failure if isinstance(failure, str) else None

    async def _call(
        self, operation: str, arguments: Mapping[str, object], deadline_seconds: float
    ) -> Mapping[str, object]:
        return await self._children.call(operation, arguments, deadline_seconds=deadline_seconds)


def _removed(result: Mapping[str, object]) -> Removed:
    return Removed(files=_number(result, "files"), freed_bytes=_number(result, "freed_bytes"))


def _number(result: Mapping[str, object], key: str) -> int:
    value = result.get(key)
    assert isinstance(value, int)
    return value
