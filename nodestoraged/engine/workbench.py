"""Where errands work on a stick that does not serve: mounted aside, its manifest, its enrolment."""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.core import manifests
from nodestoraged.engine.errands import Errand
from nodestoraged.engine.observer import Memory
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.manifest import Inspection, Manifest
from nodestoraged.model.registry import Marked, Registry, Stick
from nodestoraged.ports import Ports

MOUNT_SECONDS = 120.0
CHECK_SECONDS = 600.0
MANIFEST_SECONDS = 30.0
TIDY_SECONDS = 20.0
#: udev has to read the new file system before the daemon may know it.
APPEAR_SECONDS = 30.0
#: udev is not watching a device while it handles an event of it, and may miss the last writing.
ASK_AGAIN_SECONDS = 3.0
POLL_SECONDS = 0.1


class Workbench:
    """The place of one role's errands."""

    def __init__(self, ports: Ports, role: RoleConfig, memory: Memory) -> None:
        self._ports = ports
        self._role = role
        self._memory = memory

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on."""
        self._role = role

    def aside(self, errand: Errand, device: BlockDevice, name: str) -> Aside:
        """The stick mounted on the workbench, as a context; a directory is where it is."""
        return Aside(self._ports, errand, device, self._memory, name)

    async def write(self, device: BlockDevice, place: str, manifest: Manifest) -> None:
        """The manifest of the stick at `place` is this one."""
        await self._ports.sticks.stamp(
            place, device.number, manifest, deadline_seconds=MANIFEST_SECONDS
        )

    async def read(self, place: str) -> Inspection:
        """What the stick at `place` says of itself."""
        return await self._ports.sticks.inspect_mounted(place, deadline_seconds=MANIFEST_SECONDS)

    async def appeared(self, uuid: str, number: DeviceNumber, devnode: str) -> BlockDevice:
        """udev tells of the file system that was just made, or given another UUID."""
        clock, devices = self._ports.clock, self._ports.devices
        start = asked = clock.boottime()
        while clock.boottime() < start + APPEAR_SECONDS:
            for device in devices.devices():
                if device.uuid == uuid and device.number == number:
                    return device
            if clock.boottime() >= asked + ASK_AGAIN_SECONDS:
                devices.ask_again(number)
                asked = clock.boottime()
            await clock.sleep(POLL_SECONDS)
        raise StepError("NotSeen", f"udev does not tell of the new file system on {devnode}")

    def enrol(self, stick: Stick, replaced: frozenset[str] = frozenset()) -> Stick:
        """The stick is enrolled, and off the list while it is worked on.

        The enrolments of that name, and of the file systems `replaced` by it, are gone.
        """
        listed = replace(stick, delisted=True)
        store = self._ports.store
        kept = tuple(
            each
            for each in store.registry().sticks
            if each.name != stick.name and each.identity.uuid not in replaced
        )
        store.save_registry(Registry(sticks=(*kept, listed)))
        return listed

    def release(self, stick: Stick, device: BlockDevice) -> None:
        """The stick may be chosen; it stops no running runtime by itself."""
        store, name = self._ports.store, self._role.name
        intent = store.intent(name)
        mark = Marked(incarnation=device.incarnation, boot_id=self._ports.clock.boot_id())
        store.save_intent(name, replace(intent, patient=(*intent.patient, mark)))
        store.save_registry(store.registry().with_stick(replace(stick, delisted=False)))

    def took_over(self, stick: Stick, device: BlockDevice) -> None:
        """The stick serves, counts as mounted by us, and no wish is for another root any more."""
        store, name, clock = self._ports.store, self._role.name, self._ports.clock
        self._memory.inspections.pop(device.incarnation, None)
        store.save_registry(store.registry().with_stick(stick))
        intent = store.intent(name)
        wished = intent.wish.identity if intent.wish is not None else None
        store.save_intent(
            name,
            replace(
                intent,
                # An older one would be obeyed at the next boot, when nobody else mounts any more.
                wish=intent.wish if wished is not None and wished.matches(device) else None,
                bound_at=clock.boottime(),
                bound_boot_id=clock.boot_id(),
                last_active=stick.identity,
                last_active_name=stick.name,
            ),
        )

    def give_back(self, stick: Stick, before: Stick | None) -> None:
        """The enrolment is as it was before the errand that failed."""
        store = self._ports.store
        kept = tuple(each for each in store.registry().sticks if each.name != stick.name)
        sticks = kept if before is None else (*kept, before)
        store.save_registry(Registry(sticks=tuple(sorted(sticks, key=lambda s: s.order))))

    async def tidy(self) -> None:
        """Nothing is mounted on the workbench; what cannot be taken away is tried again."""
        await tidy(self._ports, self._memory.workbench)

    def here(self) -> manifests.Here:
        """This node and role, now."""
        return manifests.Here(
            node=self._ports.sticks.node, role=self._role.name, time=self._ports.clock.wall()
        )


class Aside:
    """The stick is mounted at the workbench within it."""

    def __init__(
        self, ports: Ports, errand: Errand, device: BlockDevice, memory: Memory, name: str
    ) -> None:
        self._ports = ports
        self._errand = errand
        self._device = device
        self._memory = memory
        self._name = name

    async def __aenter__(self) -> str:
        if self._device.directory is not None:
            return self._device.directory
        disks, workbench = self._ports.disks, self._memory.workbench
        try:
            async with self._errand.step(f"{self._name} is mounted aside"):
                await disks.check(self._device, deadline_seconds=CHECK_SECONDS)
                await disks.mount(self._device, workbench, deadline_seconds=MOUNT_SECONDS)
        except StepError:
            await self._unmount()  # a mount that came late is a mount
            raise
        return workbench

    async def __aexit__(self, kind: object, *_error: object) -> None:
        # What it says now is asked anew, and with it how full it is.
        self._memory.inspections.pop(self._device.incarnation, None)
        if self._device.directory is not None:
            return
        alive = self._ports.devices.alive(self._device.incarnation)
        if kind is None and alive:
            await self._ports.disks.settle_writes(
                self._memory.workbench, deadline_seconds=MOUNT_SECONDS
            )
        await self._unmount()

    async def _unmount(self) -> None:
        # Its number may be another's by now.
        gone = not self._ports.devices.alive(self._device.incarnation)
        await tidy(self._ports, self._memory.workbench, gone=gone, deadline_seconds=MOUNT_SECONDS)


async def take_off(
    ports: Ports, place: str, *, gone: bool = False, deadline_seconds: float
) -> bool:
    """Nothing is mounted at `place`; True if something was.  `gone`: its stick is known to be.

    Raises `StepError` if it cannot be taken off.
    """
    mount = ports.mounts.read().at(place)
    if mount is None:
        return False
    dead = gone or not ports.devices.exists(mount.number)
    await ports.disks.unmount(place, dead=dead, deadline_seconds=deadline_seconds)
    return True


async def tidy(
    ports: Ports, place: str, *, gone: bool = False, deadline_seconds: float = TIDY_SECONDS
) -> None:
    """As `take_off`; what cannot be taken off is said, and is tried again another time."""
    try:
        await take_off(ports, place, gone=gone, deadline_seconds=deadline_seconds)
    except StepError as error:
        ports.log.event("tidy-failed", f"{place}: {error.message}", reason=error.reason)
