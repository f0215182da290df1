"""Read every link of one proof, each on its own, so that one that fails hides no other.

Behind CRI alone (cri-o) there is no database lock, no snapshotter and no namespace: these links are
left unread, without an error, and the judge of the proof knows by the dialect that they do not
apply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.runtimes.session import RuntimeSession
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.imagefs import KUBERNETES_NAMESPACE, ImageFsUsage, RuntimeStatus
from nodestoraged.model.proof import Link
from nodestoraged.model.runtime import Dialect, RuntimeProfile

Answer = TypeVar("Answer")

LINK_SECONDS = 8.0
WRITE_SECONDS = 20.0


class LinkReader:
    """Reads the links of one proof; each failure is kept beside the link it belongs to."""

    def __init__(
        self, session: RuntimeSession, children: Children, profile: RuntimeProfile
    ) -> None:
        self._session = session
        self._children = children
        self._profile = profile
        self.errors: list[tuple[Link, str]] = []
        self.found: dict[str, DeviceNumber] = {}
        self.locks: tuple[DeviceNumber, ...] = ()
        self.pid: int | None = None
        self.version: str | None = None
        self.status: RuntimeStatus | None = None
        self.mount_read_only: bool | None = None
        self.root_mount_ids: tuple[int | None, int | None, int | None] = (None, None, None)
        self.capacity: int | None = None
        self.available: int | None = None
        self.write_seconds: float | None = None
        self.snapshotter: str | None = None
        self.snapshotter_error: str | None = None
        self.namespace_exists: bool | None = None
        self.images: int | None = None
        self.snapshots: int | None = None

    async def read(self, usage: ImageFsUsage) -> None:
        """Every link was tried."""
        self.version = getattr(await or_none(self._session.version), "runtime_version", None)
        self.status = await or_none(self._session.status)
        self.snapshotter = usage.snapshotter or (self.status.snapshotter if self.status else None)
        await self._try((Link.IMAGE_FS_PATH, Link.CAPACITY), lambda: self._space(usage.mountpoint))
        await self._try((Link.DATABASE_LOCK, Link.RUNTIME_MOUNT, Link.MOUNT_NAMESPACE), self._view)
        await self._try((Link.WRITE_PROBE,), self._write)
        if self._profile.dialect is Dialect.CRI:
            await self._try((Link.LISTING,), self._listing_by_cri)
            return
        await self._try((Link.SNAPSHOTTER,), self._plugins)
        await self._try((Link.NAMESPACE,), self._namespace)
        await self._try((Link.LISTING,), self._listing)

    async def _try(self, links: tuple[Link, ...], ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
        except StepError as error:
            self.errors += [(link, error.message) for link in links]

    async def _space(self, mountpoint: str) -> None:
        arguments = {"path": mountpoint}
        answer = await self._children.call("stat_fs", arguments, deadline_seconds=LINK_SECONDS)
        self.found["path_number"] = DeviceNumber(
            _int(answer.get("st_major")), _int(answer.get("st_minor"))
        )
        self.capacity = _int(answer.get("capacity_bytes"))
        self.available = _int(answer.get("available_bytes"))

    async def _view(self) -> None:
        owner = await self._session.socket_owner()
        self.pid = owner.pid
        arguments: Mapping[str, object] = {"pid": owner.pid, "path": self._profile.root}
        answer = await self._children.call("runtime_view", arguments, deadline_seconds=LINK_SECONDS)
        mount = answer.get("mount")
        if isinstance(mount, Mapping):
            self.found["mount_number"] = _number(mount)
            words = {*_texts(mount.get("options")), *_texts(mount.get("super_options"))}
            self.mount_read_only = "ro" in words
        ids = answer.get("root_mount_ids")
        if isinstance(ids, Mapping):
            self.root_mount_ids = (
                _optional_int(ids.get("ours")),
                _optional_int(ids.get("init")),
                _optional_int(ids.get("runtime")),
            )
        locks = answer.get("locks")
        held = (
            [lock for lock in locks if isinstance(lock, Mapping)] if isinstance(locks, list) else []
        )
        database = answer.get("database")
        if isinstance(database, Mapping):
            self.found["database_number"] = _number(database)
            # The runtime may lock files elsewhere too (its state): meta.db is the one that counts.
            named = [lock for lock in held if lock.get("inode") == database.get("inode")]
            held = named or held
        self.locks = tuple(_number(lock) for lock in held)

    async def _write(self) -> None:
        answer = await self._children.call(
            "probe_write", {"path": self._profile.root}, deadline_seconds=WRITE_SECONDS
        )
        seconds = answer.get("seconds")
        self.write_seconds = seconds if isinstance(seconds, float) else None

    async def _plugins(self) -> None:
        if self.snapshotter is None:
            return
        plugins = await self._session.plugins(self.snapshotter)
        broken = next((p for p in (plugins.snapshotter, plugins.cri) if p and p.init_error), None)
        if broken is not None:
            self.snapshotter_error = broken.init_error
        elif plugins.snapshotter is None:
            self.snapshotter_error = "not loaded"

    async def _namespace(self) -> None:
        # Creating it is a write into meta.db, and so a second opinion on the medium.
        await self._session.ensure_namespace()
        self.namespace_exists = KUBERNETES_NAMESPACE in await self._session.namespaces()

    async def _listing(self) -> None:
        self.images = len(await self._session.images())
        if self.snapshotter is not None:
            self.snapshots = await self._session.snapshots(self.snapshotter)

    async def _listing_by_cri(self) -> None:
        # Each container is one writable layer, and the only kind of snapshot that CRI can name.
        self.images, self.snapshots = await self._session.listed()


async def or_none(ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
    """The answer, or None where the runtime refuses it."""
    try:
        return await ask()
    except StepError:
        return None


def _number(value: Mapping[str, object]) -> DeviceNumber:
    return DeviceNumber(_int(value.get("major")), _int(value.get("minor")))


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _optional_int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
