"""Read the world once, into one frozen value.

Nothing read here can hang: device properties come from udev and sysfs, mounts from
mountinfo, units from the service manager with its own deadline.  No path of a stick is
touched.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from nodestoraged.model.config import DaemonConfig, MountNamespace, RoleConfig
from nodestoraged.model.device import BlockDevice, Incarnation
from nodestoraged.model.disk import Disk
from nodestoraged.model.manifest import Inspection
from nodestoraged.model.mount import MountTable
from nodestoraged.model.observation import RELEASE_SECONDS, Inspected, Observation, Setback
from nodestoraged.model.runtime import RuntimeProfile, Unit, UnitState
from nodestoraged.ports import Ports


@dataclass(slots=True, kw_only=True)
class Memory:
    """What one engine remembers of this daemon's life; a restart forgets it on purpose."""

    profile: RuntimeProfile
    setbacks: tuple[Setback, ...] = ()
    permitted: frozenset[Incarnation | None] = field(default_factory=frozenset)
    release_seconds: float = RELEASE_SECONDS
    inspections: dict[Incarnation, Inspection] = field(default_factory=dict)
    aside: str = ""
    workbench: str = ""

    def hold_against(self, setback: Setback) -> None:
        """`setback` counts from now on, in the place of an older one of the same insertion.

        What counts as long as the stick is in is not replaced by what passes.
        """
        known = next((s for s in self.setbacks if s.incarnation == setback.incarnation), None)
        if known is not None and known.until is None and setback.until is not None:
            return
        kept = tuple(s for s in self.setbacks if s.incarnation != setback.incarnation)
        self.setbacks = (*kept, setback)

    def forgive(self, incarnation: Incarnation) -> None:
        """Nothing is held against this insertion any more."""
        self.setbacks = tuple(s for s in self.setbacks if s.incarnation != incarnation)


async def observe(
    ports: Ports, role: RoleConfig, daemon: DaemonConfig, memory: Memory
) -> Observation:
    """One reading of everything that decisions about `role` look at."""
    profile = memory.profile
    now = ports.clock.boottime()
    mounts = ports.mounts.read()
    devices = (*ports.devices.devices(), *directory_slots(ports, mounts))
    root = mounts.at(profile.root)
    gone = (
        frozenset({root.number})
        if root is not None and not ports.devices.exists(root.number)
        else frozenset()
    )
    # At once: each answer over D-Bus that is waited for by itself is a wake-up of the process.
    units, shutting_down = await asyncio.gather(
        _units(ports, profile), ports.services.shutting_down()
    )
    # From here on nothing is awaited: what a request or an operation has just written is seen.
    _count, last_insertion = ports.devices.insertions()
    present = {device.incarnation for device in devices}
    for incarnation in memory.inspections.keys() - present:
        del memory.inspections[incarnation]
    memory.setbacks = tuple(s for s in memory.setbacks if s.incarnation in present)
    return Observation(
        now=now,
        time=ports.clock.wall(),
        boot_id=ports.clock.boot_id(),
        profile=profile,
        devices=devices,
        gone=gone,
        mounts=mounts,
        units=units,
        registry=ports.store.registry(),
        intent=ports.store.intent(role.name),
        entry=ports.journal.open_operation(role.name),
        setbacks=memory.setbacks,
        fence_up=ports.fence.is_up(role.name),
        runtime_installed=any(
            unit.state is not UnitState.MISSING
            for unit in units
            if unit.name in profile.runtime_units
        ),
        shutting_down=shutting_down,
        stuck_children=ports.disks.stuck,
        permitted=memory.permitted,
        release_seconds=memory.release_seconds,
        namespace_shared=daemon.mount_namespace is MountNamespace.OWN
        or ports.mounts.in_host_namespace(),
        inspections=tuple(
            Inspected(incarnation=incarnation, inspection=inspection)
            for incarnation, inspection in memory.inspections.items()
        ),
        node=ports.sticks.node,
        aside=memory.aside,
        settling_until=last_insertion + daemon.settle_seconds if last_insertion else 0.0,
    )


def directory_slots(ports: Ports, mounts: MountTable) -> tuple[BlockDevice, ...]:
    """The enrolled directories whose disk is here and mounted where they lie."""
    named = [s.identity for s in ports.store.registry().sticks if s.identity.directory]
    if not named:
        return ()
    disks = ports.devices.disks()
    found = [slot for each in named if (slot := directory_slot(each.directory, disks, mounts))]
    return tuple(slot for slot in found if any(each.matches(slot) for each in named))


def directory_slot(
    directory: str | None, disks: tuple[Disk, ...], mounts: MountTable
) -> BlockDevice | None:
    """The slot that `directory` would be, or None if it lies on no disk of this node."""
    covering = mounts.covering(directory) if directory else None
    if covering is None:
        return None
    for disk in disks:
        for part in (*disk.parts, disk.whole):
            if part.number == covering.number and part.uuid:
                return BlockDevice(
                    devnode=part.devnode,
                    number=part.number,
                    diskseq=disk.diskseq,
                    disk=disk.devnode,
                    size_bytes=part.size_bytes,
                    fstype=part.fstype,
                    uuid=part.uuid,
                    label=part.label,
                    partlabel=part.partlabel,
                    directory=directory,
                    read_only=covering.read_only,
                    model=disk.model,
                    serial=disk.serial,
                    usb_id=disk.usb_id,
                    bus=disk.bus,
                    port=disk.port,
                )
    return None


async def _units(ports: Ports, profile: RuntimeProfile) -> tuple[Unit, ...]:
    names = dict.fromkeys((*profile.runtime_units, *profile.kubelet_units))
    return tuple(await asyncio.gather(*(ports.services.unit(name) for name in names)))
