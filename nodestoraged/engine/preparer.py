"""The errand that makes a stick of a disk: measured, formatted, filled as asked, enrolled."""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.core import manifests
from nodestoraged.engine.errands import Errand, Work
from nodestoraged.engine.observer import Memory
from nodestoraged.engine.workbench import Workbench
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.copy import CopyPass, CopyRequest
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.disk import Disk, PrepareRequest
from nodestoraged.model.errors import RefusedError, StepError
from nodestoraged.model.manifest import Quality
from nodestoraged.model.registry import Stick
from nodestoraged.ports import Ports

FORMAT_SECONDS = 600.0
MEASURE_SECONDS = 180.0
#: What a label may hold (mkfs.xfs(8), mke2fs(8)).
LABEL_BYTES = {"xfs": 12, "ext4": 16}

#: `--from` for the root that serves, and for nothing.
ACTIVE, EMPTY = "active", "empty"


class Preparer:
    """Makes the work of `prepare` for one role."""

    def __init__(
        self, ports: Ports, role: RoleConfig, memory: Memory, workbench: Workbench
    ) -> None:
        self._ports = ports
        self._role = role
        self._memory = memory
        self._workbench = workbench

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on."""
        self._role = role

    def prepare(self, disk: Disk, request: PrepareRequest, stick_name: str) -> Work:
        """The disk is a stick of this role; a label that does not fit is refused at once."""
        label = _label(self._role, request.label, request.fstype)
        replaced = frozenset(part.uuid for part in (*disk.parts, disk.whole) if part.uuid)

        async def work(errand: Errand) -> str:
            quality = await self._measure(errand, disk) if request.check else None
            async with errand.step(f"{disk.devnode} gets a file system"):
                formatted = await self._ports.sticks.format(
                    disk,
                    label=label,
                    fstype=request.fstype,
                    whole_disk=request.whole_disk,
                    deadline_seconds=FORMAT_SECONDS,
                )
                device = await self._workbench.appeared(
                    formatted.uuid, formatted.number, formatted.devnode
                )
            stick = self._workbench.enrol(self._new(device, stick_name), replaced)
            marked = False
            try:
                async with self._workbench.aside(errand, device, stick_name) as place:
                    await self._mark(errand, device, place, request, quality)
                    marked = True
                    await self._fill(errand, device, place, request)
            finally:
                # Once it is marked its manifest says what it is good for, whatever became of it.
                if marked:
                    self._workbench.release(stick, device)
                else:
                    self._workbench.give_back(stick, None)
            return f"{stick_name} is prepared"

        return work

    async def _measure(self, errand: Errand, disk: Disk) -> Quality:
        async with errand.step(f"{disk.devnode} is measured"):
            return await self._ports.sticks.measure(
                disk,
                report=lambda text: self._ports.log.event("measure", text),
                deadline_seconds=MEASURE_SECONDS,
            )

    def _new(self, device: BlockDevice, name: str) -> Stick:
        sticks = self._ports.store.registry().sticks
        return Stick(
            name=name,
            identity=device.identity(),
            role=self._role.name,
            order=max((each.order for each in sticks), default=0) + 1,
            enrolled_at=self._ports.clock.wall(),
        )

    async def _mark(
        self,
        errand: Errand,
        device: BlockDevice,
        place: str,
        request: PrepareRequest,
        quality: Quality | None,
    ) -> None:
        """The manifest says what will be on it, and that it is not there yet."""
        made = manifests.fresh(
            self._ports.sticks.new_id(),
            self._workbench.here(),
            origin=request.origin,
            complete=request.origin == EMPTY,
        )
        async with errand.step("the manifest is written"):
            await self._workbench.write(device, place, replace(made, quality=quality))

    async def _fill(
        self,
        errand: Errand,
        device: BlockDevice,
        place: str,
        request: PrepareRequest,
    ) -> None:
        if request.origin == EMPTY:
            return
        live = request.origin == ACTIVE
        source = self._memory.profile.root if live else request.origin
        stage = CopyPass.WARM if live else CopyPass.FINAL
        async with errand.step(f"{source} is copied"):
            await self._copy(errand, device, place, source, stage, request.bytes_per_second)
        if live:
            return  # the rest is copied by the switch, when nothing writes any more
        async with errand.step("the copy is complete"):
            found = await self._workbench.read(place)
            if found.manifest is None:
                raise StepError("ManifestBroken", f"the manifest of {device.devnode} is gone")
            await self._workbench.write(device, place, replace(found.manifest, complete=True))

    async def _copy(
        self,
        errand: Errand,
        device: BlockDevice,
        place: str,
        source: str,
        stage: CopyPass,
        rate: int | None,
    ) -> None:
        covering = self._ports.mounts.read().covering(source)
        if covering is None:
            raise StepError("Gone", f"{source} lies on no mount")
        result = await self._ports.copier.copy(
            CopyRequest(
                source=source,
                target=place,
                stage=stage,
                source_number=str(covering.number),
                target_number=str(device.number),
                bytes_per_second=rate,
            ),
            report=errand.progress,
            cancelled=lambda: errand.aborting or not self._ports.devices.alive(device.incarnation),
        )
        errand.copied(result.bytes_written)


def _label(role: RoleConfig, wanted: str | None, fstype: str) -> str:
    """The label that was asked for, or the first of the role, that the file system can hold."""
    room = LABEL_BYTES[fstype]
    labels = role.labels if wanted is None else (wanted,)
    fitting = [label for label in labels if len(label.encode()) <= room]
    if not fitting:
        raise RefusedError(
            "LabelTooLong",
            f"{labels[0]!r} does not fit {fstype}, whose labels end at {room} bytes",
            "--label ctrd-opt",
        )
    return fitting[0]
