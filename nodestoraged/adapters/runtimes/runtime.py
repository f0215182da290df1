"""The `Runtime` port: one gRPC child per operation, and the worker for what needs no socket."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.runtimes.alone import AloneRuntime
from nodestoraged.adapters.runtimes.image_carry import ImageCarry
from nodestoraged.adapters.runtimes.links import LinkReader, or_none
from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.adapters.runtimes.sandbox_images import SandboxImages, full_name
from nodestoraged.adapters.runtimes.session import RuntimeSession
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.errors import StepError
from nodestoraged.model.imagefs import RuntimeStatus
from nodestoraged.model.proof import ProofReading
from nodestoraged.model.runtime import Dialect, RuntimeProfile
from nodestoraged.ports import Clock

#: Said where images would be kept: behind CRI alone nobody can export one.
_NOT_KEPT = "not kept: this runtime has no client that exports images"


class ContainerdRuntime:
    """containerd, or anything that speaks CRI and containerd's own services on one socket.

    Also what speaks CRI alone (cri-o): it keeps no images, and says so.
    """

    def __init__(
        self,
        children: Children,
        clock: Clock,
        archive: Path,
        alone: AloneRuntime | None = None,
    ) -> None:
        self._children = children
        self._clock = clock
        self._floor: tuple[str, ...] = ()
        self._archive = archive
        self._alone = alone or AloneRuntime(systemd=False)
        self._session: RuntimeSession | None = None

    def configure(self, role: RoleConfig) -> None:
        """Its floor images count from now on."""
        self._floor = role.floor_images

    async def open(self, profile: RuntimeProfile) -> None:
        """The child is warm; a call after this imports nothing."""
        await self._opened(profile)

    async def close(self) -> None:
        """The child is gone."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def foreign_containers(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> tuple[str, ...]:
        """Tasks that run on this socket outside k8s.io; none where containerd cannot be asked."""
        session = await self._opened(profile)
        try:
            tasks = await session.foreign(deadline_seconds)
        except RuntimeCallError as error:
            if error.code == "UNIMPLEMENTED":  # cri-o: there is no other namespace
                return ()
            raise
        return tuple(f"{task.namespace}/{task.container_id[:12]}" for task in tasks)

    async def image_directory(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> str | None:
        """What CRI's ImageFsInfo names; links are only looked for where the names do not tell."""
        session = await self._opened(profile)
        try:
            named = (await session.image_fs(deadline_seconds / 2)).mountpoint
            if profile.holds(named):
                return named
            found = await self._children.call(
                "stat_fs", {"path": named}, deadline_seconds=deadline_seconds / 2
            )
        except StepError:
            return None
        return str(found["path"])

    async def stop_pods(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """Every pod had its grace; whatever would not go is left to `kill_shims`."""
        session = await self._opened(profile)
        result = await session.stop_pods(
            grace_seconds=grace_seconds, deadline_seconds=deadline_seconds
        )
        return result.sandboxes_removed

    async def empty_alone(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """The same with containerd run for that alone; it is gone afterwards."""
        await self.close()
        async with self._alone.running(profile, deadline_seconds=deadline_seconds):
            session = await self._opened(profile)
            await session.await_image_fs(deadline_seconds / 2)
            stopped = await self.stop_pods(
                profile, grace_seconds=grace_seconds, deadline_seconds=deadline_seconds
            )
            await self.close()
        return stopped

    async def save_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> str:
        """The sandbox image and the floor images are archived, as far as the root has them."""
        if profile.dialect is Dialect.CRI:
            return _NOT_KEPT
        session = await self._opened(profile)
        images = SandboxImages(profile.socket, self._archive, ctr=profile.ctr)
        names = await self._wanted(session)
        kept, missing = [], []
        for name in names:
            found = await session.find_image(full_name(name))
            if found is None:
                missing.append(name)
                continue
            await images.keep(found.name, found.digest, deadline_seconds=deadline_seconds)
            kept.append(found.name)
        return f"{len(kept)} kept" + (f", not present: {', '.join(missing)}" if missing else "")

    def kept_images(self) -> tuple[str, ...]:
        """What the archive lists and holds in full."""
        images = SandboxImages("", self._archive)
        return tuple(image.name for image in images.kept())

    async def keep_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """The pinned images are archived beside, or with `every` the names of all remembered."""
        if profile.dialect is Dialect.CRI:
            return _NOT_KEPT
        session, carry = await self._opened(profile), self._carry(profile)
        if every:
            known = await carry.remember(session, deadline_seconds=deadline_seconds)
            return f"{len(known)} images"
        kept = await carry.keep_pinned(session, deadline_seconds=deadline_seconds)
        return f"{len(kept)} images"

    async def bring_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """What `keep_images` kept is in the root in force again."""
        if profile.dialect is Dialect.CRI:
            return "none were kept"
        session, carry = await self._opened(profile), self._carry(profile)
        if not every:
            came = await carry.restore_pinned(session, deadline_seconds=deadline_seconds)
            return f"{len(came)} images"
        recalled = await carry.recall(profile.root, deadline_seconds=deadline_seconds)
        if recalled is None:
            return "none were remembered"
        lost = f", not whole: {', '.join(recalled.missing)}" if recalled.missing else ""
        return f"{recalled.count} images{lost}"

    async def load_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> bool:
        """The sandbox image (and the floor) is in the root in force; False if nobody has it."""
        session = await self._opened(profile)
        images = SandboxImages(profile.socket, self._archive, ctr=profile.ctr)
        present = True
        for name in await self._wanted(session):
            if await self._present(session, profile, name):
                continue
            if profile.dialect is Dialect.CRI:
                return False
            try:
                loaded = await images.restore(name, deadline_seconds=deadline_seconds)
            except StepError:
                loaded = False
            present = present and loaded
        return present

    async def prove(self, profile: RuntimeProfile, *, deadline_seconds: float) -> ProofReading:
        """Waits for ImageFsInfo, then reads every link once; a link that fails names its cause."""
        session = await self._opened(profile)
        awaited = await session.await_image_fs(deadline_seconds)
        reader = LinkReader(session, self._children, profile)
        await reader.read(awaited.usage)
        found = reader.found
        sandbox, present = await self._sandbox(session, profile, reader.status)
        pods = await or_none(session.pods)
        return ProofReading(
            at=self._clock.boottime(),
            runtime_version=reader.version,
            runtime_pid=reader.pid,
            mountpoint=awaited.usage.mountpoint,
            path_number=found.get("path_number"),
            lock_numbers=reader.locks,
            database_number=found.get("database_number"),
            mount_number=found.get("mount_number"),
            mount_read_only=reader.mount_read_only,
            root_mount_ids=reader.root_mount_ids,
            capacity_bytes=reader.capacity,
            available_bytes=reader.available,
            write_seconds=reader.write_seconds,
            snapshotter=reader.snapshotter,
            snapshotter_error=reader.snapshotter_error,
            namespace_exists=reader.namespace_exists,
            images=reader.images,
            snapshots=reader.snapshots,
            pods=sum(pod.ready for pod in pods) if pods is not None else None,
            sandbox_image=sandbox,
            sandbox_image_present=present,
            errors=tuple(reader.errors),
        )

    async def _sandbox(
        self, session: RuntimeSession, profile: RuntimeProfile, status: RuntimeStatus | None
    ) -> tuple[str | None, bool | None]:
        name = status.sandbox_image if status else None
        if name is None:
            return None, None
        with suppress(StepError):
            return name, await self._present(session, profile, name)
        return name, None

    async def _present(self, session: RuntimeSession, profile: RuntimeProfile, name: str) -> bool:
        """True if the root in force has the image; behind CRI alone there is no store to ask."""
        if profile.dialect is Dialect.CRI:
            return await session.has_image(name)
        return await session.find_image(full_name(name)) is not None

    async def _wanted(self, session: RuntimeSession) -> tuple[str, ...]:
        status = await session.status()
        sandbox = (status.sandbox_image,) if status.sandbox_image else ()
        pinned = () if sandbox else await session.pinned_images()
        # containerd 2.x names its sandbox image by a pin, and an empty root has none: what was kept
        # of the root before is what it will want.
        kept = () if sandbox or pinned else self.kept_images()
        return tuple(dict.fromkeys((*sandbox, *pinned, *kept, *self._floor)))

    def _carry(self, profile: RuntimeProfile) -> ImageCarry:
        directory = self._archive / "carry"
        return ImageCarry(self._children, profile.socket, directory, ctr=profile.ctr)

    async def _opened(self, profile: RuntimeProfile) -> RuntimeSession:
        if self._session is not None and self._session.alive:
            return self._session
        await self.close()
        self._session = await RuntimeSession.open(profile.socket)
        return self._session
