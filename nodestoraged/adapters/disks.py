"""Everything that touches a disk, asked of the worker's children with a deadline.

Owns: the arguments and answers of the worker's operations.  May not know: why anything is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nodestoraged.adapters.children import Children
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.imagefs import KUBERNETES_NAMESPACE
from nodestoraged.model.runtime import Dialect, RuntimeProfile

RELEASE_POLL_SECONDS = 0.1


class WorkerDisks:
    """The `Disks` port over `Children`."""

    def __init__(self, children: Children) -> None:
        self._children = children

    @property
    def stuck(self) -> int:
        """How many children hang now."""
        return self._children.stuck

    async def check(self, device: BlockDevice, *, deadline_seconds: float) -> str:
        """The file system is consistent and is still the one that udev saw."""
        found = await self._call("identify", _pin(device), 15)
        superblock = found.get("superblock")
        uuid = superblock.get("uuid") if isinstance(superblock, Mapping) else None
        if uuid is None or uuid != (device.uuid or "").lower():
            raise StepError("DeviceChanged", f"{device.devnode} carries file system {uuid}")
        arguments = {**_pin(device), "fstype": device.fstype}
        result = await self._call("fsck", arguments, deadline_seconds)
        return "mended" if result.get("mended") else "clean"

    async def mount(self, device: BlockDevice, target: str, *, deadline_seconds: float) -> None:
        """The device is the one mount on `target`; its top directory is like the target's own."""
        arguments = {
            **_pin(device),
            "uuid": device.uuid,
            "fstype": device.fstype,
            "target": target,
            "read_only": False,
            "like": None,
        }
        await self._call("mount", arguments, deadline_seconds)

    async def bind(
        self, directory: str, target: str, number: DeviceNumber, *, deadline_seconds: float
    ) -> None:
        """The directory, on the device that was meant, is the one mount on `target`."""
        arguments = {
            "directory": directory,
            "target": target,
            "major": number.major,
            "minor": number.minor,
        }
        await self._call("bind", arguments, deadline_seconds)

    async def unmount(self, target: str, *, dead: bool, deadline_seconds: float) -> None:
        """Nothing is mounted on `target`; one mount is taken off, lazily only if `dead`."""
        arguments: dict[str, object] = {"target": target, "major": None, "minor": None}
        result = await self._call("unmount", {**arguments, "lazy": dead}, deadline_seconds)
        if result.get("remaining"):
            raise StepError(
                "MountStacked",
                f"{result['remaining']} more mounts lie on {target}",
                f"findmnt {target}",
            )

    async def release(self, device: BlockDevice, *, deadline_seconds: float) -> None:
        """No superblock lives and nobody has it open exclusively; waits for stragglers."""
        arguments = {
            "devnode": device.devnode,
            "major": device.number.major,
            "minor": device.number.minor,
        }
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_seconds
        while True:
            left = max(RELEASE_POLL_SECONDS, until - loop.time())
            result = await self._call("released", arguments, left)
            if result.get("released"):
                return
            if loop.time() >= until:
                raise StepError("StillHeld", f"{device.devnode} is held by {result.get('by')}")
            await asyncio.sleep(RELEASE_POLL_SECONDS)

    async def clear_state(
        self, profile: RuntimeProfile, *, dead: bool, deadline_seconds: float
    ) -> None:
        """Nothing is mounted below the state directory or root, and k8s.io's bundles are gone.

        podman forgets everything of this boot.
        """
        for path in (profile.state, profile.root):
            arguments: dict[str, object] = {"path": path, "lazy": dead}
            result = await self._call("unmount_below", arguments, deadline_seconds)
            busy = result.get("busy")
            if isinstance(busy, list) and busy:
                raise StepError("Busy", f"{busy[0].get('target')}: {busy[0].get('error')}")
        if profile.dialect is Dialect.PODMAN:
            arguments = {"root": profile.root, "state": profile.state}
            await self._call("forget_podman", arguments, deadline_seconds)
            return
        arguments = {"state_dir": profile.state, "namespace": KUBERNETES_NAMESPACE}
        await self._call("clean_state", arguments, deadline_seconds)

    async def probe_read(self, device: BlockDevice, *, deadline_seconds: float) -> float:
        """A direct read at a varying place succeeded; seconds."""
        return _seconds(await self._call("probe_read", _pin(device), deadline_seconds))

    async def probe_write(self, path: str, *, deadline_seconds: float) -> float:
        """A small file reached the medium; seconds."""
        return _seconds(await self._call("probe_write", {"path": path}, deadline_seconds))

    async def settle_writes(self, path: str, *, deadline_seconds: float) -> None:
        """syncfs of the file system of `path` came back."""
        await self._call("syncfs", {"path": path}, deadline_seconds)

    async def leftover_shims(self, profile: RuntimeProfile, *, deadline_seconds: float) -> int:
        """Shims of the runtime's socket in k8s.io, or monitors of podman's containers."""
        if profile.dialect is Dialect.PODMAN:
            running = await self._call("conmons", {"root": profile.root}, deadline_seconds)
            monitors = running.get("conmons")
            return len(monitors) if isinstance(monitors, list) else 0
        arguments: dict[str, object] = {"socket": profile.socket, "namespace": KUBERNETES_NAMESPACE}
        found = (await self._call("shims", arguments, deadline_seconds)).get("shims")
        return len(found) if isinstance(found, list) else 0

    async def kill_shims(self, profile: RuntimeProfile, *, deadline_seconds: float) -> int:
        """No shim of the runtime's socket in k8s.io, or no monitor of podman, is left; how many."""
        arguments: dict[str, object] = {"grace_seconds": max(1.0, deadline_seconds / 3)}
        if profile.dialect is Dialect.PODMAN:
            arguments |= {"root": profile.root}
            found = (await self._call("kill_conmons", arguments, deadline_seconds)).get("conmons")
            return found if isinstance(found, int) else 0
        arguments |= {"socket": profile.socket, "namespace": KUBERNETES_NAMESPACE}
        found = (await self._call("kill_shims", arguments, deadline_seconds)).get("shims")
        return found if isinstance(found, int) else 0

    async def capacity(self, path: str, *, deadline_seconds: float) -> tuple[int, int]:
        """Capacity (f_blocks x f_frsize) and available bytes (f_bavail x f_frsize)."""
        found = await self._call("stat_fs", {"path": path}, deadline_seconds)
        capacity, available = found.get("capacity_bytes"), found.get("available_bytes")
        assert isinstance(capacity, int)
        assert isinstance(available, int)
        return capacity, available

    async def _call(
        self, operation: str, arguments: Mapping[str, object], deadline_seconds: float
    ) -> Mapping[str, object]:
        return await self._children.call(operation, arguments, deadline_seconds=deadline_seconds)


def _pin(device: BlockDevice) -> dict[str, object]:
    return {
        "devnode": device.devnode,
        "major": device.number.major,
        "minor": device.number.minor,
        "diskseq": device.diskseq,
    }


def _seconds(result: Mapping[str, object]) -> float:
    value = result.get("seconds")
    assert isinstance(value, float)
    return value
