"""The steps that move data, made true: copies, manifests, washing.

Owns: what a manifest says before and after a copy, and what a copy's progress is published as.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from nodestoraged.core import manifests
from nodestoraged.core.sizes import size
from nodestoraged.engine.observer import Memory
from nodestoraged.engine.workbench import take_off
from nodestoraged.model import datasteps as steps
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.copy import CopyPass, CopyProgress, CopyRequest, CopyResult
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.errors import StepError
from nodestoraged.model.manifest import Inspection, Manifest
from nodestoraged.ports import Ports

#: Reading or writing a manifest of a stick that is mounted.
MANIFEST_SECONDS = 20.0

DataStep = (
    steps.MountAside
    | steps.Copy
    | steps.UnmountAside
    | steps.Stamp
    | steps.KeepImages
    | steps.BringImages
    | steps.WashRoot
)


class Carrier:
    """Performs the data steps of one role.

    `progress` hears how far a copy has come; `cancelled` tells that it shall be given up.
    """

    def __init__(self, ports: Ports, role: RoleConfig, memory: Memory) -> None:
        self._ports = ports
        self._role = role
        self._memory = memory
        self.progress: Callable[[CopyProgress], None] = lambda _progress: None
        self.cancelled: Callable[[], bool] = lambda: False
        self.copied: dict[CopyPass, CopyResult] = {}

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on."""
        self._role = role

    async def perform(self, step: DataStep) -> str:
        """The step's wished fact is true; says in words what was done.  Raises `StepError`."""
        ports, memory, limit = self._ports, self._memory, step.deadline_seconds
        match step:
            case steps.MountAside():
                await ports.disks.mount(step.device, memory.aside, deadline_seconds=limit)
                return "mounted"
            case steps.Copy():
                return await self._copy(step)
            case steps.UnmountAside():
                return await self._unmount_aside(step)
            case steps.Stamp():
                return await self._stamp(step)
            case steps.KeepImages():
                return await ports.runtime.keep_images(
                    memory.profile, every=step.every, deadline_seconds=limit
                )
            case steps.BringImages():
                said = await ports.runtime.bring_images(
                    memory.profile, every=step.every, deadline_seconds=limit
                )
                await ports.disks.settle_writes(memory.profile.root, deadline_seconds=limit)
                return said
            case steps.WashRoot():
                root = step.place or memory.profile.root
                removed = await ports.roots.wash(root, step.tier, deadline_seconds=limit)
                return f"{removed.files} files, {size(removed.freed_bytes)}"
            case _:
                assert_never(step)

    async def _copy(self, step: steps.Copy) -> str:
        """One pass; the manifest says `complete` only after the final one reached the medium."""
        device, place = step.device, step.device.directory or self._memory.aside
        root = self._memory.profile.root
        covering = self._ports.mounts.read().covering(root)
        if covering is None:
            raise StepError("Gone", f"nothing is mounted where {root} lies")
        known = await self._known(device, place)
        begun = manifests.begun(known, self._new_id(), self._stamp_facts(), origin=step.source)
        await self._write(device, place, begun)
        request = CopyRequest(
            source=root,
            target=place,
            stage=step.stage,
            source_number=str(covering.number),
            target_number=str(device.number),
            bytes_per_second=step.bytes_per_second,
        )
        gone = [False]

        def cancelled() -> bool:
            gone[0] = gone[0] or not self._ports.devices.alive(device.incarnation)
            gone[0] = gone[0] or not self._ports.devices.exists(covering.number)
            return gone[0] or self.cancelled()

        try:
            result = await self._ports.copier.copy(
                request, report=self.progress, cancelled=cancelled
            )
        except StepError as error:
            if gone[0]:
                raise StepError("StickLost", "a disk of the copy is gone") from error
            raise
        self.copied[step.stage] = result
        if step.stage is CopyPass.FINAL:
            await self._write(device, place, replace(begun, complete=True))
        return f"{result.written} entries, {size(result.bytes_written)}"

    async def _known(self, device: BlockDevice, place: str) -> Manifest | None:
        found = self._memory.inspections.get(device.incarnation)
        if found is None or found.manifest is None:
            found = await self._ports.sticks.inspect_mounted(
                place, deadline_seconds=MANIFEST_SECONDS
            )
        return found.manifest

    async def _write(self, device: BlockDevice, place: str, manifest: Manifest) -> None:
        await self._ports.sticks.stamp(
            place, device.number, manifest, deadline_seconds=MANIFEST_SECONDS
        )
        found = self._memory.inspections.get(device.incarnation) or Inspection()
        self._memory.inspections[device.incarnation] = replace(
            found, manifest=manifest, failure=None
        )

    async def _stamp(self, step: steps.Stamp) -> str:
        """A stick that cannot be marked serves all the same; the probe will find a dead one."""
        root = self._memory.profile.root
        try:
            known = await self._known(step.device, root)
            manifest = manifests.activated(known, self._new_id(), self._stamp_facts())
            await self._write(step.device, root, manifest)
        except StepError as error:
            return f"failed, ignored: {error.message}"
        return f"generation {manifest.generation}"

    async def _unmount_aside(self, step: steps.UnmountAside) -> str:
        try:
            was_there = await take_off(
                self._ports, self._memory.aside, deadline_seconds=step.deadline_seconds
            )
        except StepError as error:
            if step.fatal:
                raise
            return f"still there, ignored: {error.message}"
        return "unmounted" if was_there else "was not there"

    def _new_id(self) -> str:
        return self._ports.sticks.new_id()

    def _stamp_facts(self) -> manifests.Here:
        return manifests.Here(
            node=self._ports.sticks.node, role=self._role.name, time=self._ports.clock.wall()
        )
