"""What the simulated node is made of: sticks, mounts, services, and the clock.

What must never happen to it stands in `sim.invariants`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.operation import Operation
from nodestoraged.model.registry import Intent, Registry
from nodestoraged.model.runtime import RuntimeProfile, UnitState
from nodestoraged.sim import invariants
from nodestoraged.sim.faults import DaemonCrash, Effect, Faults, PowerCut
from nodestoraged.sim.invariants import Violation
from nodestoraged.sim.matter import NODE, Medium, SimUnit

__all__ = [
    "INTERNAL_NUMBER",
    "KUBELET",
    "NODE",
    "PROFILE",
    "RUNTIME",
    "DaemonCrash",
    "Faults",
    "Medium",
    "PowerCut",
    "Violation",
    "World",
]

INTERNAL_NUMBER = DeviceNumber(254, 1)
RUNTIME = "containerd.service"
KUBELET = "kubelet.service"
PROFILE = RuntimeProfile(
    name="containerd",
    runtime_units=(RUNTIME,),
    kubelet_units=(KUBELET,),
    root="/var/lib/containerd",
    state="/run/containerd",
    socket="/run/containerd/containerd.sock",
)


class World:
    """One node's hardware, kernel, services and disk, with a virtual clock."""

    #: What the service manager was told last.
    status_line = ""
    #: udev was not watching when a stick was written.
    udev_misses_writes = False
    #: The runtime's client, and how often one was started.
    client_runs = False
    client_starts = 0
    image_directory: str | None = None

    def __init__(self, role: RoleConfig, profile: RuntimeProfile = PROFILE) -> None:
        self.role, self.profile = role, profile
        self.now = 100.0
        self.boot = 1
        self.diskseq = 0
        self.inserted = 0
        self.insertion_at = 0.0
        self.removal_at = 0.0
        self.media: dict[str, Medium] = {}
        self.plugged: dict[str, BlockDevice] = {}
        self.root_mounts: list[DeviceNumber] = []
        self.aside: dict[str, DeviceNumber] = {}
        self.homes: dict[str, DeviceNumber] = {}
        self.inner = "/"
        self.last_data_id = self.formatted = 0
        self.wash_marker: Wash | None = None
        self.mount_ids = 100
        self.condemned: set[DeviceNumber] = set()
        self.internal_images: set[str] = {"pause"}
        self.units = {RUNTIME: SimUnit(), KUBELET: SimUnit()}
        self.kubelet_requires_runtime = False
        self.fences: set[str] = set()
        self.runtime_root: DeviceNumber | None = None
        self.pods = 0
        self.foreign: tuple[str, ...] = ()
        self.archive: set[str] = set()
        self.pinned: set[str] = {"pause"}
        self.kept: set[str] = set()
        self.registry = Registry()
        self.intents: dict[str, Intent] = {}
        self.open: dict[str, Operation] = {}
        self.closed: list[Operation] = []
        self.last_id = 0
        self.stopping = False
        self.ready = False
        self.faults = Faults()
        self.halted: type[BaseException] | None = None
        self.on_effect: Callable[[str], None] | None = None
        self.on_sleep: Callable[[], None] | None = None
        self.on_term: Callable[[], None] = lambda: None
        self.trace: list[str] = []

    # -- matter -----------------------------------------------------------------------

    def make(self, name: str, **traits: object) -> Medium:
        """A new stick of that name, not plugged in."""
        defaults: dict[str, object] = {
            "devnode": "",
            "number": DeviceNumber(0, 0),
            "diskseq": None,
            "disk": "",
            "size_bytes": 16 << 30,
            "fstype": "ext4",
            "uuid": f"{name}-uuid",
            "label": "containerd-opt",
            "serial": f"SER-{name}",
        }
        device = BlockDevice(**{**defaults, **traits})  # type: ignore[arg-type]
        self.media[name] = Medium(device=device)
        return self.media[name]

    def blank(self, name: str) -> Medium:
        """A new disk with nothing on it, not plugged in."""
        return self.make(name, fstype=None, uuid=None, label=None)

    def home(self, name: str, path: str) -> BlockDevice:
        """The disk is in a port and mounted at `path`, for whoever uses it."""
        device = self.plug(name)
        self.homes[path] = device.number
        return device

    def plug(self, name: str) -> BlockDevice:
        """The stick is in a port: a new devnode, number and diskseq."""
        assert name not in self.plugged
        self.inserted += 1
        self.insertion_at = self.now
        return self._appear(name, self.inserted)

    def insert_before_start(self, name: str) -> None:
        """The stick is in a port when the daemon starts."""
        self._appear(name, 0)

    def _appear(self, name: str, inserted: int) -> BlockDevice:
        self.diskseq += 1
        letter = f"sd{self.diskseq}"
        device = replace(
            self.media[name].device,
            devnode=f"/dev/{letter}1",
            disk=f"/dev/{letter}",
            number=DeviceNumber(8, self.diskseq * 16 + 1),
            diskseq=self.diskseq,
            inserted=inserted,
        )
        self.media[name].device = device
        self.plugged[name] = device
        return device

    def relabel(self, name: str, **traits: object) -> None:
        """What udev says of a stick changes (mkfs, e2label, a write-protect switch)."""
        device = replace(self.media[name].device, **traits)  # type: ignore[arg-type]
        self.media[name].device = device
        if name in self.plugged and not self.udev_misses_writes:
            self.plugged[name] = device

    def pull(self, name: str) -> None:
        """The stick is out; a mount of it stays in the table, as with a real kernel."""
        del self.plugged[name]
        self.removal_at = self.now

    def medium_of(self, number: DeviceNumber) -> Medium | None:
        """The plugged stick of that number, or None."""
        for name, device in self.plugged.items():
            if device.number == number:
                return self.media[name]
        return None

    def medium_at(self, path: str) -> Medium | None:
        """The stick that is mounted at the path; None for the internal disk, or a lost stick."""
        if path == PROFILE.root:
            return self.medium_of(self.root_mounts[-1]) if self.root_mounts else None
        if path in self.aside:
            return self.medium_of(self.aside[path])
        found = [number for home, number in self.homes.items() if path.startswith(f"{home}/")]
        return self.medium_of(found[0]) if found else None

    # -- kernel and services ----------------------------------------------------------

    @property
    def root_number(self) -> DeviceNumber:
        """The device that the runtime root lies on now."""
        return self.root_mounts[-1] if self.root_mounts else INTERNAL_NUMBER

    @property
    def runtime_alive(self) -> bool:
        """True while the runtime's process exists; there is none where commands do the work."""
        return self.units[RUNTIME].state is UnitState.ACTIVE and not self.profile.daemonless

    @property
    def runtime_answers(self) -> bool:
        """True if the runtime can be asked."""
        return self.runtime_alive or self.profile.daemonless

    def images(self) -> set[str]:
        """The images in the root in force."""
        if not self.root_mounts:
            return self.internal_images
        medium = self.medium_of(self.root_number)
        return medium.images if medium else set()

    def start_unit(self, name: str) -> bool:
        """A start by anybody; False if the fence's condition prevented it."""
        unit = self.units[name]
        if self.stopping:
            return False
        if unit.state is UnitState.ACTIVE:
            return True
        if self.kubelet_requires_runtime and name == KUBELET and not self.start_unit(RUNTIME):
            return False
        if self.role.name in self.fences:
            unit.job_queued = False
            return False
        unit.state, unit.job_queued = UnitState.ACTIVE, False
        unit.pid = int(self.now * 100) + len(self.trace) + 1
        unit.started_at = self.now
        if name == RUNTIME:
            self.runtime_root = self.root_number
            invariants.between_roots(self)
        kubelet = RUNTIME if self.profile.embedded else KUBELET
        if self.runtime_alive and self.units[kubelet].state is UnitState.ACTIVE:
            self.pods = 1
        return True

    def stop_unit(self, name: str) -> None:
        """A stop by anybody; the runtime's pods stay, as with KillMode=process."""
        if name == RUNTIME and self.profile.embedded and self.runtime_alive:
            self.pods = 1  # until its last moment the embedded kubelet made anew what was stopped
        self.units[name].state = UnitState.INACTIVE
        self.units[name].job_queued = False
        if name == RUNTIME:
            self.runtime_root = None
            if self.kubelet_requires_runtime:
                self.stop_unit(KUBELET)

    def boot_services(self) -> None:
        """What the init system does once we are READY."""
        for name in (RUNTIME, KUBELET):
            if self.units[name].job_queued:
                self.start_unit(name)

    def power_cycle(self) -> None:
        """Another boot: memory is gone, matter and disk stay, devices come up anew."""
        self.boot += 1
        self.now += 30
        self.root_mounts, self.runtime_root, self.pods = [], None, 0
        self.aside.clear()
        self.homes.clear()
        self.fences.clear()
        self.condemned.clear()
        self.stopping = self.ready = False
        self.inserted, self.insertion_at, self.removal_at = 0, 0.0, 0.0
        for unit in self.units.values():
            unit.state, unit.job_queued = UnitState.INACTIVE, unit.enabled
        for name in tuple(self.plugged):
            self._appear(name, 0)

    # -- faults -----------------------------------------------------------------------

    def effect(self, what: str) -> Effect:
        """Count one effect, let its fault fire before or after it, and check the invariants."""
        return Effect(self, what)

    def go_on(self) -> None:
        """Nothing is done or written any more by a daemon that has ended; its clean-up neither."""
        if self.halted is not None:
            raise self.halted

    def touch(self, device: BlockDevice, *, write: bool = False) -> None:
        """A child opens the stick; it must be allowed, here, and alive."""
        if not invariants.authorised(self, device) and device.number not in self.root_mounts:
            raise Violation(f"I7: {device.devnode} was touched without trust")
        medium = self.medium_of(device.number)
        if medium is None:
            raise StepError("Gone", f"{device.devnode} is gone")
        if medium.dead:
            self.condemned.add(device.number)
            raise StepError("IoError", f"{device.devnode}: input/output error")
        medium.writes += write
