"""The Protocols between the engine and the outside: what it may ask, and nothing more.

Each is implemented twice, by an adapter and by `sim`; one contract suite runs over both.
All calls with a deadline raise `StepTimeout` when it passes, and `StepError` when the
wished fact did not come true.  No exception of a vendor library passes this line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nodestoraged.model.device import BlockDevice, DeviceNumber, Incarnation
from nodestoraged.model.mount import MountTable
from nodestoraged.model.operation import Operation
from nodestoraged.model.proof import ProofReading, RuntimeReading
from nodestoraged.model.registry import Intent, Registry
from nodestoraged.model.runtime import RuntimeProfile, Unit


class Clock(Protocol):
    """Time: monotonic including suspend for decisions, wall time only for display."""

    def boottime(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        ...

    def wall(self) -> str:
        """Now, RFC 3339 in UTC with milliseconds."""
        ...

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that long."""
        ...


class DeviceSource(Protocol):
    """Block devices by udev and sysfs; never opens one."""

    def devices(self) -> tuple[BlockDevice, ...]:
        """Everything with a file system label or GPT partition name, ordered by devnode."""
        ...

    def alive(self, incarnation: Incarnation) -> bool:
        """True while sysfs still has the device with the same diskseq."""
        ...

    def exists(self, number: DeviceNumber) -> bool:
        """True while sysfs has a block device of that number; anonymous numbers always exist."""
        ...

    def insertions(self) -> tuple[int, float]:
        """How many insertions were counted, and the boot-time seconds of the last."""
        ...

    def last_removal(self) -> float:
        """Boot-time seconds of the last removal that was told; 0 if there was none."""
        ...


class Mounts(Protocol):
    """The mount table of our namespace."""

    def read(self) -> MountTable:
        """One reading of mountinfo."""
        ...

    def in_host_namespace(self) -> bool:
        """True if `/` is the same mount here and for PID 1, so that mounts made here are seen."""
        ...


class Disks(Protocol):
    """Everything that touches a disk, done in a child with a deadline."""

    @property
    def stuck(self) -> int:
        """How many children hang now."""
        ...

    async def check(self, device: BlockDevice, *, deadline_seconds: float) -> str:
        """The file system is consistent (fsck, superblock agrees with udev); says what was done."""
        ...

    async def mount(self, device: BlockDevice, target: str, *, deadline_seconds: float) -> None:
        """The device's file system is the one mount on `target`, nosuid,nodev,noatime."""
        ...

    async def unmount(self, target: str, *, dead: bool, deadline_seconds: float) -> None:
        """Nothing is mounted on `target`; lazily only if the device is `dead`."""
        ...

    async def release(self, device: BlockDevice, *, deadline_seconds: float) -> None:
        """No superblock of the device is alive any more."""
        ...

    async def clear_state(
        self, state_dir: str, root: str, *, dead: bool, deadline_seconds: float
    ) -> None:
        """Nothing is mounted below the runtime's state directory or root, its bundles are gone."""
        ...

    async def probe_read(self, device: BlockDevice, *, deadline_seconds: float) -> float:
        """A timed direct read of the device succeeded; seconds."""
        ...

    async def probe_write(self, path: str, *, deadline_seconds: float) -> float:
        """create + write + fsync + unlink in `path` succeeded; seconds."""
        ...

    async def settle_writes(self, path: str, *, deadline_seconds: float) -> None:
        """The file system of `path` has written everything (syncfs)."""
        ...

    async def leftover_shims(self, socket: str, *, deadline_seconds: float) -> int:
        """How many shims of this socket in k8s.io run."""
        ...

    async def kill_shims(self, socket: str, *, deadline_seconds: float) -> int:
        """No shim of this socket in k8s.io, nor any process below one, is left; how many were."""
        ...

    async def capacity(self, path: str, *, deadline_seconds: float) -> tuple[int, int]:
        """Capacity and available bytes of the file system of `path`."""
        ...


class ServiceManager(Protocol):
    """systemd, systemctl, OpenRC, or commands."""

    @property
    def name(self) -> str:
        """The word for status: systemd, openrc, command."""
        ...

    async def unit(self, name: str) -> Unit:
        """The unit as it is now; state MISSING if there is none."""
        ...

    async def start(self, name: str, *, wait: bool, deadline_seconds: float) -> None:
        """The unit's start was asked for, failures forgotten first; with `wait` its job ended well.

        A unit whose start a condition prevented raises `StepError("ConditionFailed", …)`.
        """
        ...

    async def stop(self, name: str, *, deadline_seconds: float) -> None:
        """The unit is inactive and its main process gone; what it took along is stopped too."""
        ...

    async def shutting_down(self) -> bool:
        """True once the system is on its way down."""
        ...

    async def close(self) -> None:
        """Connections are closed."""
        ...


class Fence(Protocol):
    """The flag whose presence keeps runtime and kubelet units from starting."""

    def is_up(self, role: str) -> bool:
        """True while raised."""
        ...

    def raise_(self, role: str) -> None:
        """The units' start conditions fail from now on."""
        ...

    def lower(self, role: str) -> None:
        """The units may start."""
        ...


class Runtime(Protocol):
    """The container runtime behind its socket, asked in a child that lives for one operation."""

    async def open(self, profile: RuntimeProfile) -> None:
        """The child that speaks gRPC is warm: nothing more has to be imported."""
        ...

    async def close(self) -> None:
        """The child is gone."""
        ...

    async def reading(self, profile: RuntimeProfile, *, deadline_seconds: float) -> RuntimeReading:
        """What answers on the socket now; a silent socket is a reading, not an error."""
        ...

    async def foreign_containers(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> tuple[str, ...]:
        """Running containers outside k8s.io on this socket, as `namespace/id`."""
        ...

    async def stop_pods(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """Containers were stopped with grace and their sandboxes removed; how many pods."""
        ...

    async def prove(self, profile: RuntimeProfile, *, deadline_seconds: float) -> ProofReading:
        """Waits until ImageFsInfo answers, then reads every link once."""
        ...

    async def save_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> str:
        """The sandbox image and the floor images are in the archive; says what was done.

        Raises `StepError("SandboxImageNotSaved")` only if the image is present and could not
        be exported.
        """
        ...

    async def load_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> bool:
        """The sandbox image is in the root in force, from the archive if need be.

        False if neither has it.
        """
        ...


class Kubelet(Protocol):
    """kubelet on localhost."""

    async def healthy(self, profile: RuntimeProfile, *, deadline_seconds: float) -> bool:
        """One request to healthz said ok."""
        ...

    async def capacity_bytes(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> int | None:
        """The image file system's capacity in kubelet's own eyes, or None if it does not tell."""
        ...

    async def started_at(self, unit: Unit) -> float | None:
        """Boot-time seconds at which the unit's main process started; None if unknown."""
        ...


class HookRunner(Protocol):
    """Programs of the operator around a move."""

    async def run(
        self, argv: Sequence[str], environment: dict[str, str], *, deadline_seconds: float
    ) -> None:
        """The program exited 0."""
        ...


class Journal(Protocol):
    """The write-ahead record of operations; on disk when a method returns."""

    def open_operation(self, role: str) -> Operation | None:
        """The operation that was begun and not closed, or None."""
        ...

    def next_id(self) -> str:
        """The id of the next operation; never used before."""
        ...

    def write(self, operation: Operation) -> None:
        """The operation stands in the journal as given; with a result it is in the history."""
        ...

    def history(self, role: str, limit: int) -> tuple[Operation, ...]:
        """Closed operations, newest first."""
        ...


class Store(Protocol):
    """The registry and the intents; on disk when a `save_` returns."""

    def registry(self) -> Registry:
        """The enrolled sticks."""
        ...

    def save_registry(self, registry: Registry) -> None:
        """`sticks.toml` holds exactly this."""
        ...

    def intent(self, role: str) -> Intent:
        """What is remembered of the role."""
        ...

    def save_intent(self, role: str, intent: Intent) -> None:
        """The role's memory holds exactly this."""
        ...


class Notifier(Protocol):
    """The service manager that started us."""

    def ready(self) -> None:
        """The root is decided and in place."""
        ...

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        ...

    def extend(self, seconds: float) -> None:
        """Starting takes that much longer."""
        ...


class EventLog(Protocol):
    """Where the engine says what happened, once, where it decided."""

    def event(self, kind: str, message: str, **fields: str | float | int | None) -> None:
        """The event is in the log and in the stream of `events`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything outside that one engine talks to."""

    clock: Clock
    devices: DeviceSource
    mounts: Mounts
    disks: Disks
    services: ServiceManager
    fence: Fence
    runtime: Runtime
    kubelet: Kubelet
    hooks: HookRunner
    journal: Journal
    store: Store
    notifier: Notifier
    log: EventLog
