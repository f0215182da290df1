"""The worker's children of a `World`: everything that touches a disk."""

from __future__ import annotations

from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.runtime import RuntimeProfile
from nodestoraged.sim.world import PROFILE, Violation, World


class SimDisks:
    """The worker's children."""

    stuck = 0

    def __init__(self, world: World) -> None:
        self._world = world

    async def check(self, device: BlockDevice, *, deadline_seconds: float) -> str:
        """fsck."""
        with self._world.effect("check"):
            self._world.touch(device)
            medium = self._world.medium_of(device.number)
            if medium is not None and medium.broken_filesystem:
                raise StepError("FsckFailed", "unexpected inconsistency")
        return "clean"

    async def mount(self, device: BlockDevice, target: str, *, deadline_seconds: float) -> None:
        """mount."""
        with self._world.effect("mount"):
            self._world.touch(device, write=True)
            if target != PROFILE.root:
                if target in self._world.aside:
                    raise StepError("TargetBusy", f"{target} has a mount already")
                self._world.aside[target] = device.number
                return
            if self._world.runtime_alive:
                raise Violation("I1: a mount under a live runtime")
            self._world.root_mounts.append(device.number)
            self._world.inner = "/"
            self._world.mount_ids += 1

    async def bind(
        self, directory: str, target: str, number: DeviceNumber, *, deadline_seconds: float
    ) -> None:
        """mount --bind."""
        world = self._world
        with world.effect("bind"):
            found = [home for home in world.homes if directory.startswith(f"{home}/")]
            medium = world.medium_at(directory)
            if not found or medium is None or medium.device.number != number:
                raise StepError("TargetUnusable", f"{directory} is not there")
            world.touch(medium.device, write=True)
            if world.runtime_alive:
                raise Violation("I1: a mount under a live runtime")
            world.root_mounts.append(number)
            world.inner = directory.removeprefix(found[0])
            world.mount_ids += 1

    async def unmount(self, target: str, *, dead: bool, deadline_seconds: float) -> None:
        """umount."""
        with self._world.effect("unmount"):
            if target != PROFILE.root:
                self._world.aside.pop(target, None)
                return
            if not self._world.root_mounts:
                return
            if self._world.runtime_alive and dead:
                raise Violation("I1: a root was taken away lazily from under the runtime")
            if self._world.runtime_alive:
                raise StepError("Busy", "the runtime holds it")
            if self._world.pods and not dead:
                raise StepError("Busy", "pods hold it")
            number = self._world.root_number
            gone = self._world.medium_of(number)
            if dead and gone is not None and number not in self._world.condemned:
                raise Violation("a live device was unmounted lazily")
            self._world.root_mounts.pop()

    async def release(self, device: BlockDevice, *, deadline_seconds: float) -> None:
        """O_EXCL."""
        with self._world.effect("release"):
            aside = device.number in self._world.aside.values()
            if aside or device.number in self._world.root_mounts or self._world.pods:
                raise StepError("Busy", f"{device.devnode} is still held")

    async def clear_state(
        self, profile: RuntimeProfile, *, dead: bool, deadline_seconds: float
    ) -> None:
        """The state directory."""
        with self._world.effect("clear-state"):
            if self._world.runtime_alive:
                raise Violation("the state of a live runtime was cleared")

    async def probe_read(self, device: BlockDevice, *, deadline_seconds: float) -> float:
        """A direct read."""
        try:
            with self._world.effect("probe-read"):
                self._world.touch(device)
        except StepError:
            self._world.condemned.add(device.number)
            raise
        return 0.001

    async def probe_write(self, path: str, *, deadline_seconds: float) -> float:
        """create, write, fsync, unlink."""
        with self._world.effect("probe-write"):
            medium = self._world.medium_of(self._world.root_number)
            if self._world.root_mounts and (medium is None or medium.dead):
                self._world.condemned.add(self._world.root_number)
                raise StepError("IoError", "input/output error")
            if medium is not None:
                medium.writes += 1
        return 0.002

    async def settle_writes(self, path: str, *, deadline_seconds: float) -> None:
        """syncfs."""
        medium = self._world.medium_at(path)
        if path == PROFILE.root and self._world.root_mounts and (medium is None or medium.dead):
            self._world.condemned.add(self._world.root_number)
            raise StepError("IoError", "input/output error")

    async def leftover_shims(self, profile: RuntimeProfile, *, deadline_seconds: float) -> int:
        """Pods outlive their runtime."""
        return self._world.pods

    async def kill_shims(self, profile: RuntimeProfile, *, deadline_seconds: float) -> int:
        """SIGKILL."""
        with self._world.effect("kill-shims"):
            killed, self._world.pods = self._world.pods, 0
        return killed

    async def capacity(self, path: str, *, deadline_seconds: float) -> tuple[int, int]:
        """statvfs."""
        return 64 << 30, 32 << 30
