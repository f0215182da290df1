"""The ports of a `World`: small, literal, and as blind as the real things."""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.model.device import BlockDevice, DeviceNumber, Incarnation
from nodestoraged.model.disk import Disk, Part
from nodestoraged.model.hidden import Wash
from nodestoraged.model.mount import Mount, MountTable
from nodestoraged.model.operation import Operation
from nodestoraged.model.registry import Intent, Registry
from nodestoraged.ports import Ports
from nodestoraged.sim.disks import SimDisks
from nodestoraged.sim.services import SimFence, SimHooks, SimKubelet, SimRuntime, SimServices
from nodestoraged.sim.sticks import SimCopier, SimRoots, SimSticks
from nodestoraged.sim.world import INTERNAL_NUMBER, PROFILE, Violation, World

__all__ = ["PROFILE", "ports"]

ROOT_MOUNT = Mount(
    id=1, number=INTERNAL_NUMBER, root="/", target="/", fstype="ext4", source="/dev/vda1"
)


class SimClock:
    """The world's virtual clock; sleeping lets it run."""

    def __init__(self, world: World) -> None:
        self._world = world

    def boottime(self) -> float:
        """Virtual seconds."""
        return self._world.now

    def wall(self) -> str:
        """Virtual seconds as if they were a date."""
        return f"2026-01-01T00:00:00.{int(self._world.now * 1000):09d}Z"

    def boot_id(self) -> str:
        """One per power cycle."""
        return f"boot-{self._world.boot}"

    async def sleep(self, seconds: float) -> None:
        """Time passes."""
        self._world.now += max(seconds, 0.001)
        if self._world.on_sleep is not None:
            self._world.on_sleep()


class SimDevices:
    """What udev would say."""

    def __init__(self, world: World) -> None:
        self._world = world

    def devices(self) -> tuple[BlockDevice, ...]:
        """Everything plugged in that bears a label or a partition name."""
        named = (d for d in self._world.plugged.values() if d.label or d.partlabel)
        return tuple(sorted(named, key=lambda d: d.devnode))

    def alive(self, incarnation: Incarnation) -> bool:
        """True while it is plugged in; a dead one still is."""
        return any(d.incarnation == incarnation for d in self._world.plugged.values())

    def exists(self, number: DeviceNumber) -> bool:
        """True while sysfs has it."""
        return number == INTERNAL_NUMBER or self._world.medium_of(number) is not None

    def disks(self) -> tuple[Disk, ...]:
        """Every stick is a disk with one partition, or a blank disk."""
        return tuple(_disk(device) for _, device in sorted(self._world.plugged.items()))

    def ask_again(self, number: DeviceNumber) -> None:
        """What udev missed of the device is known to it."""
        for name, device in self._world.plugged.items():
            if device.number == number:
                self._world.plugged[name] = self._world.media[name].device

    def insertions(self) -> tuple[int, float]:
        """Count and moment of insertions."""
        return self._world.inserted, self._world.insertion_at

    def last_removal(self) -> float:
        """The moment of the last removal."""
        return self._world.removal_at


def _disk(device: BlockDevice) -> Disk:
    part = Part(
        devnode=device.devnode,
        number=device.number,
        size_bytes=device.size_bytes,
        fstype=device.fstype,
        uuid=device.uuid,
        label=device.label,
    )
    return Disk(
        devnode=device.disk,
        number=DeviceNumber(device.number.major, device.number.minor - 1),
        diskseq=device.diskseq,
        size_bytes=device.size_bytes,
        parts=(part,) if device.uuid else (),
        table="gpt" if device.uuid else None,
        serial=device.serial,
    )


class SimMounts:
    """mountinfo, which never knows that a device is gone."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(self) -> MountTable:
        """The root file system, and what is on the runtime root."""
        ours = tuple(
            Mount(
                id=self._world.mount_ids + i,
                number=number,
                root=self._world.inner,
                target=PROFILE.root,
                fstype="ext4",
                source=f"/dev/block/{number}",
            )
            for i, number in enumerate(self._world.root_mounts)
        )
        aside = tuple(
            Mount(
                id=9000 + i,
                number=number,
                root="/",
                target=target,
                fstype="ext4",
                source=f"/dev/block/{number}",
            )
            for i, (target, number) in enumerate(
                sorted((*self._world.aside.items(), *self._world.homes.items()))
            )
        )
        return MountTable(mounts=(ROOT_MOUNT, *ours, *aside))

    def in_host_namespace(self) -> bool:
        """Always."""
        return True


class SimJournal:
    """The root disk: survives everything."""

    def __init__(self, world: World) -> None:
        self._world = world

    def open_operation(self, role: str) -> Operation | None:
        """Begun and not closed."""
        return self._world.open.get(role)

    def next_id(self) -> str:
        """Counting up."""
        self._world.last_id += 1
        return str(self._world.last_id)

    def write(self, operation: Operation) -> None:
        """fsynced."""
        self._world.go_on()
        if operation.result is None:
            other = self._world.open.get(operation.role)
            if other is not None and other.id != operation.id:
                raise Violation("I6: an operation was begun while another was open")
            self._world.open[operation.role] = operation
        else:
            known = self._world.open.get(operation.role)
            if known is not None and known.id == operation.id:
                del self._world.open[operation.role]
            self._world.closed.append(operation)

    def history(self, role: str, limit: int) -> tuple[Operation, ...]:
        """Newest first."""
        return tuple(reversed(self._world.closed))[:limit]


class SimStore:
    """sticks.toml and the intents."""

    def __init__(self, world: World) -> None:
        self._world = world

    def registry(self) -> Registry:
        """The enrolled sticks."""
        return self._world.registry

    def save_registry(self, registry: Registry) -> None:
        """On disk."""
        self._world.go_on()
        self._world.registry = registry

    def take_wash_marker(self) -> Wash | None:
        """What was left, once."""
        marker, self._world.wash_marker = self._world.wash_marker, None
        return marker

    def intent(self, role: str) -> Intent:
        """What is remembered."""
        return self._world.intents.get(role, Intent())

    def save_intent(self, role: str, intent: Intent) -> None:
        """On disk."""
        self._world.go_on()
        self._world.intents[role] = replace(intent)


class SimNotifier:
    """The service manager that started us: READY lets the boot go on."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ready(self) -> None:
        """The boot goes on."""
        self._world.ready = True
        self._world.boot_services()

    def status(self, text: str) -> None:
        """A line."""
        self._world.status_line = text

    def extend(self, seconds: float) -> None:
        """More time."""


class SimLog:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, kind: str, message: str, **fields: str | float | int | None) -> None:
        """Kept."""
        self.events.append(f"{kind}: {message}")


def ports(world: World) -> Ports:
    """Every port of one simulated node."""
    return Ports(
        clock=SimClock(world),
        devices=SimDevices(world),
        mounts=SimMounts(world),
        disks=SimDisks(world),
        sticks=SimSticks(world),
        roots=SimRoots(world),
        copier=SimCopier(world),
        services=SimServices(world),
        fence=SimFence(world),
        runtime=SimRuntime(world),
        kubelet=SimKubelet(world),
        hooks=SimHooks(world),
        journal=SimJournal(world),
        store=SimStore(world),
        notifier=SimNotifier(world),
        log=SimLog(),
    )
