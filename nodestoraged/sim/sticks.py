"""What is written on sticks, removed from roots and carried over, on a `World`."""

from __future__ import annotations

from collections.abc import Callable

from nodestoraged.model.copy import CopyPass, CopyProgress, CopyRequest, CopyResult
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.disk import Disk, Formatted
from nodestoraged.model.errors import StepError
from nodestoraged.model.hidden import HiddenRoot, Removed, Wash
from nodestoraged.model.manifest import Inspection, Manifest, Quality
from nodestoraged.sim.world import NODE, PROFILE, Medium, Violation, World

GIGABYTE = 1 << 30


class SimSticks:
    """Manifests and file systems."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def node(self) -> str:
        """Always this one."""
        return NODE

    def new_id(self) -> str:
        """Counting up."""
        self._world.last_data_id += 1
        return f"data-{self._world.last_data_id}"

    async def inspect(self, device: BlockDevice, *, deadline_seconds: float) -> Inspection:
        """A detached read-only mount."""
        try:
            self._world.touch(device)
        except StepError as error:
            return Inspection(failure=error.reason)
        medium = self._world.medium_of(device.number)
        assert medium is not None
        return _inspection(medium)

    async def inspect_mounted(self, path: str, *, deadline_seconds: float) -> Inspection:
        """What lies at the path."""
        medium = self._world.medium_at(path)
        return Inspection() if medium is None else _inspection(medium)

    async def stamp(
        self, path: str, number: DeviceNumber, manifest: Manifest, *, deadline_seconds: float
    ) -> None:
        """Written and flushed."""
        with self._world.effect("stamp"):
            medium = self._alive(path)
            if medium.device.number != number:
                raise Violation("a manifest was written to another stick")
            medium.manifest = manifest
            medium.writes += 1

    async def renew_uuid(self, device: BlockDevice, *, deadline_seconds: float) -> str:
        """A new UUID."""
        with self._world.effect("renew-uuid"):
            uuid = f"{device.uuid}-again"
            for name, plugged in self._world.plugged.items():
                if plugged.number == device.number:
                    self._world.relabel(name, uuid=uuid)
                    return uuid
        raise StepError("Gone", f"{device.devnode} is gone")

    async def format(
        self, disk: Disk, *, label: str, fstype: str, whole_disk: bool, deadline_seconds: float
    ) -> Formatted:
        """mkfs: another file system, and nothing on it."""
        world = self._world
        with world.effect("format"):
            name = next((n for n, d in world.plugged.items() if d.disk == disk.devnode), None)
            if name is None:
                raise StepError("Gone", f"{disk.devnode} is gone")
            world.formatted += 1
            uuid = f"{name}-made-{world.formatted}"
            world.relabel(name, label=label, fstype=fstype, uuid=uuid)
            medium = world.media[name]
            medium.images.clear()
            medium.manifest, medium.torn = None, False
        device = world.plugged[name]
        return Formatted(
            devnode=device.devnode,
            number=device.number,
            diskseq=device.diskseq,
            uuid=uuid,
            label=label,
            fstype=fstype,
        )

    async def measure(
        self, disk: Disk, *, report: Callable[[str], None], deadline_seconds: float
    ) -> Quality:
        """As good as it says."""
        with self._world.effect("measure"):
            report("measured")
        return Quality(checked_at="2026-01-01T00:00:00Z", capacity_bytes=disk.size_bytes)

    def _alive(self, path: str) -> Medium:
        medium = self._world.medium_at(path)
        if medium is None or medium.dead:
            raise StepError("IoError", f"{path}: input/output error")
        return medium


class SimRoots:
    """Removals."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def hidden(self, root: str, *, deadline_seconds: float) -> HiddenRoot:
        """The internal images, while a stick is mounted over them."""
        if not self._world.root_mounts or not self._world.internal_images:
            return HiddenRoot()
        count = len(self._world.internal_images)
        return HiddenRoot(used_bytes=count * GIGABYTE, files=count)

    async def used_bytes(self, path: str, *, deadline_seconds: float) -> int:
        """A gigabyte each."""
        return len(self._world.images()) * GIGABYTE

    async def reclaim(self, root: str, *, deadline_seconds: float) -> Removed:
        """The internal images are gone."""
        with self._world.effect("reclaim"):
            if not self._world.root_mounts:
                raise Violation("the root that serves was reclaimed")
            count = len(self._world.internal_images)
            self._world.internal_images.clear()
        return Removed(files=count, freed_bytes=count * GIGABYTE)

    async def wash(self, root: str, tier: Wash, *, deadline_seconds: float) -> Removed:
        """Images go, containers are not simulated."""
        with self._world.effect("wash"):
            if root == PROFILE.root and self._world.runtime_alive:
                raise Violation("I1: the root of a live runtime was washed")
            medium = self._world.medium_at(root)
            internal = root == PROFILE.root and not self._world.root_mounts
            if not internal and (medium is None or medium.dead):
                raise StepError("IoError", f"{root}: input/output error")
            images = self._world.internal_images if medium is None else medium.images
            count = len(images)
            if tier is not Wash.CONTAINERS:
                images.clear()
                if medium is not None:
                    medium.torn = False
        return Removed(files=count, freed_bytes=count * GIGABYTE)

    async def keep_images_only(self, root: str, *, deadline_seconds: float) -> Removed:
        """Everything proves itself, and nothing but images is left."""
        with self._world.effect("sift"):
            medium = self._world.medium_at(root)
            if medium is None or medium.dead:
                raise StepError("IoError", "input/output error")
            medium.torn = False
        return Removed(files=0, freed_bytes=0)

    async def database_failure(self, root: str, *, deadline_seconds: float) -> str | None:
        """Nothing is wrong."""
        return None


class SimCopier:
    """Carries images over; a copy that is not complete must never serve (`World.check`)."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def copy(
        self,
        request: CopyRequest,
        *,
        report: Callable[[CopyProgress], None],
        cancelled: Callable[[], bool],
    ) -> CopyResult:
        """What the source has at that moment."""
        world = self._world
        target = world.medium_at(request.target)
        if target is not None:
            target.torn = True
        with world.effect(f"copy-{request.stage}"):
            target = world.medium_at(request.target)
            source = world.medium_at(request.source)
            lost = request.source == PROFILE.root and world.root_mounts and source is None
            if target is None or target.dead or lost:
                raise StepError("IoError", "input/output error")
            if cancelled():
                raise StepError("Aborted", "the copy was given up")
            live = request.source == PROFILE.root
            if request.stage is CopyPass.FINAL and world.runtime_alive and live:
                raise Violation("the databases of a live runtime were copied")
            images = world.internal_images if source is None else source.images
            images = images if live else {f"from {request.source}"}
            report(CopyProgress(stage=request.stage, files_done=1, files_total=1))
            before = set(target.images)
            if request.stage is CopyPass.FINAL:
                target.images.clear()
            target.images.update(images)
            target.torn = request.stage is not CopyPass.FINAL
        written = len(target.images - before)
        return CopyResult(
            entries=len(images),
            written=written,
            bytes_written=written * GIGABYTE,
            removed=len(before - target.images),
            vanished=0,
            seconds=0.05,
        )

    async def stop_leftovers(self) -> None:
        """A simulated copy ends with its daemon."""


def _inspection(medium: Medium) -> Inspection:
    if medium.dead:
        return Inspection(failure="IoError")
    return Inspection(manifest=medium.manifest, capacity_bytes=16 << 30, available_bytes=8 << 30)
