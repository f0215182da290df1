"""Read every link of a proof where no daemon runs: from podman's answer, and from the files.

Owns: which fact stands for which link.  May not know: whether the facts are good enough.

Between two commands nobody holds a lock and no process has a view of its own: the place of the
database stands for the lock, and our own mount table for the runtime's, since each command of
podman runs in the mount namespace of who calls it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePosixPath

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.runtimes.podman_info import PodmanInfo
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.proof import Link, ProofReading
from nodestoraged.model.runtime import RuntimeProfile

__all__ = ["PodmanLinks"]

LINK_SECONDS = 8.0
WRITE_SECONDS = 20.0
#: The ids of all containers that podman knows in this root, asked only if one runs.
KnownIds = Callable[[], Awaitable[frozenset[str]]]


class PodmanLinks:
    """Reads the links of one proof, each on its own, so that one that fails hides no other."""

    def __init__(
        self, children: Children, profile: RuntimeProfile, info: PodmanInfo, known: KnownIds
    ) -> None:
        self._children = children
        self._profile = profile
        self._info = info
        self._known = known
        self._errors: list[tuple[Link, str]] = []

    async def read(self, *, at: float) -> ProofReading:
        """Every link was tried; `at` in boot-time seconds."""
        info, root = self._info, self._profile.root
        layers = f"{root}/{info.driver}"
        space = await self._try((Link.IMAGE_FS_PATH, Link.CAPACITY), "stat_fs", {"path": layers})
        database = await self._database()
        view = await self._try(
            (Link.RUNTIME_MOUNT, Link.MOUNT_NAMESPACE),
            "runtime_view",
            {"pid": self._children.pid or os.getpid(), "path": root},
        )
        await self._refuse_strangers()
        write = await self._try((Link.WRITE_PROBE,), "probe_write", {"path": root})
        mount = view.get("mount")
        mount = mount if isinstance(mount, Mapping) else {}
        ids = view.get("root_mount_ids")
        ids = ids if isinstance(ids, Mapping) else {}
        return ProofReading(
            at=at,
            runtime_version=info.version,
            mountpoint=layers,
            path_number=_number(space, "st_major", "st_minor"),
            database_number=database,
            mount_number=_number(mount, "major", "minor"),
            mount_read_only=_read_only(mount),
            root_mount_ids=(_int(ids, "ours"), _int(ids, "init"), None),
            capacity_bytes=_int(space, "capacity_bytes"),
            available_bytes=_int(space, "available_bytes"),
            write_seconds=_seconds(write),
            snapshotter=info.driver,
            images=info.images,
            snapshots=info.containers,
            pods=info.running,
            errors=tuple(self._errors),
        )

    async def _database(self) -> DeviceNumber | None:
        """Where the database lies.

        It must be there, but its directory counts: on an overlay a file has a number of its own.
        """
        file = PurePosixPath(self._profile.root) / self._info.database
        if not await self._try((Link.DATABASE_LOCK,), "stat_fs", {"path": str(file)}):
            return None
        found = await self._try((Link.DATABASE_LOCK,), "stat_fs", {"path": str(file.parent)})
        return _number(found, "st_major", "st_minor")

    async def _refuse_strangers(self) -> None:
        """No container runs from what the mount on the root hides.

        Nothing keeps a person from `podman run` in the moment between two mounts.  Its monitor
        names the same path, but this root's database does not know it.
        """
        found = await self._try((Link.RUNTIME_MOUNT,), "conmons", {"root": self._profile.root})
        rows = found.get("conmons")
        ids = {str(row["id"]) for row in rows} if isinstance(rows, list) else set()
        if not ids:
            return
        try:
            strangers = sorted(ids - await self._known())
        except StepError as error:
            self._errors.append((Link.RUNTIME_MOUNT, error.message))
            return
        if strangers:
            text = f"container {strangers[0][:12]} runs from another root than this one"
            self._errors.append((Link.RUNTIME_MOUNT, text))

    async def _try(
        self, links: tuple[Link, ...], operation: str, arguments: Mapping[str, object]
    ) -> Mapping[str, object]:
        limit = WRITE_SECONDS if operation == "probe_write" else LINK_SECONDS
        try:
            return await self._children.call(operation, arguments, deadline_seconds=limit)
        except StepError as error:
            self._errors += [(link, error.message) for link in links]
            return {}


def _number(value: Mapping[str, object], major: str, minor: str) -> DeviceNumber | None:
    found = _int(value, major), _int(value, minor)
    return None if None in found else DeviceNumber(found[0] or 0, found[1] or 0)


def _int(value: Mapping[str, object], name: str) -> int | None:
    found = value.get(name)
    return found if isinstance(found, int) else None


def _seconds(value: Mapping[str, object]) -> float | None:
    found = value.get("seconds")
    return found if isinstance(found, float) else None


def _read_only(mount: Mapping[str, object]) -> bool | None:
    if not mount:
        return None
    words: set[str] = set()
    for name in ("options", "super_options"):
        listed = mount.get(name)
        words |= {str(each) for each in listed} if isinstance(listed, list) else set()
    return "ro" in words
