"""One reading of the world for one role: the only thing that decisions may look at."""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.device import BlockDevice, DeviceNumber, Incarnation
from nodestoraged.model.manifest import Inspection, Manifest
from nodestoraged.model.mount import Mount, MountTable
from nodestoraged.model.operation import Operation
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Intent, Marked, Registry
from nodestoraged.model.runtime import RuntimeProfile, Unit, UnitState

#: What is held against an insertion that served and then stopped answering.
DEAD = frozenset({Reason.PROBE_FAILED, Reason.HUNG, Reason.IO_ERROR})

#: How long the last user of an unmounted stick may take to let go, if nobody says otherwise.
RELEASE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setback:
    """Something that an insertion did wrong; void at `until`, or with the insertion if None."""

    incarnation: Incarnation
    reason: Reason
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What one insertion said of itself when it was read."""

    incarnation: Incarnation
    inspection: Inspection


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the mount table says serves the root.

    `device` is the slot's device.  `mount` is None for the internal directory.  `dead`: a
    mount is there whose device is gone or failed its probe.  `foreign`: a mount of a device
    that claims no role here, which is therefore the node's own business.
    """

    mount: Mount | None = None
    device: BlockDevice | None = None
    dead: bool = False
    foreign: bool = False

    @property
    def source(self) -> str:
        """slot, internal or none, as in the contract."""
        if self.dead:
            return "none"
        return "slot" if self.device else "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything that was read, at `now` (boot-time seconds) of `boot_id`.

    `gone` are the numbers of mounted devices that sysfs no longer has.  `entry` is the open
    operation of the journal.  `runtime_installed` is false where none of the profile's
    runtime units exists.  `permitted` are the insertions (None: the internal directory) for
    which a verb, said in this daemon's life, allows a running runtime to be stopped.  Until
    `settling_until` more devices may follow an insertion, so no stick is chosen by itself.
    `release_seconds` is how long a stick that is ejected may take to lose its last user.
    `namespace_shared` is false where a mount made here would not be seen by the runtime.
    `inspections` are what trusted sticks said of themselves, `node` is this node's id as
    manifests bear it, and `aside` is where a stick is mounted while it is copied to.
    """

    now: float
    time: str
    boot_id: str
    profile: RuntimeProfile
    devices: tuple[BlockDevice, ...] = ()
    gone: frozenset[DeviceNumber] = frozenset()
    mounts: MountTable = MountTable()
    units: tuple[Unit, ...] = ()
    registry: Registry = Registry()
    intent: Intent = Intent()
    entry: Operation | None = None
    setbacks: tuple[Setback, ...] = ()
    fence_up: bool = False
    runtime_installed: bool = True
    shutting_down: bool = False
    stuck_children: int = 0
    permitted: frozenset[Incarnation | None] = frozenset()
    settling_until: float = 0.0
    namespace_shared: bool = True
    release_seconds: float = RELEASE_SECONDS
    inspections: tuple[Inspected, ...] = ()
    node: str = ""
    aside: str = ""

    def unit(self, name: str) -> Unit | None:
        """The unit of that name, or None if it was not asked for."""
        return next((unit for unit in self.units if unit.name == name), None)

    def running(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `names` that run or are about to, in that order."""
        return tuple(name for name in names if (unit := self.unit(name)) and unit.runs)

    def installed(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `names` that exist on this node."""
        return tuple(
            name
            for name in names
            if (unit := self.unit(name)) and unit.state is not UnitState.MISSING
        )

    @property
    def owed(self) -> tuple[str, ...]:
        """Units that we stopped in this boot, could not start again, and that do not run yet."""
        if self.intent.owed_boot_id != self.boot_id:
            return ()
        running = self.running(self.intent.owed_units)
        return tuple(name for name in self.intent.owed_units if name not in running)

    def marked(self, marks: tuple[Marked, ...], incarnation: Incarnation) -> bool:
        """True if one of `marks` is of this insertion in this boot."""
        return Marked(incarnation=incarnation, boot_id=self.boot_id) in marks

    @property
    def runtime_runs(self) -> bool:
        """True if the runtime's unit runs or is about to; one without a daemon always may."""
        if self.profile.daemonless:
            return self.runtime_installed and not self.fence_up
        return bool(self.running(self.profile.runtime_units))

    @property
    def kubelet_runs(self) -> bool:
        """True if kubelet's unit runs or is about to."""
        return bool(self.running(self.profile.kubelet_units))

    def setback(self, incarnation: Incarnation) -> Setback | None:
        """What is held against this insertion now."""
        return next(
            (
                setback
                for setback in self.setbacks
                if setback.incarnation == incarnation
                and (setback.until is None or self.now < setback.until)
            ),
            None,
        )

    def inspection(self, incarnation: Incarnation) -> Inspection | None:
        """What this insertion said of itself; None if it was not asked yet."""
        return next(
            (each.inspection for each in self.inspections if each.incarnation == incarnation), None
        )

    def manifest(self, incarnation: Incarnation) -> Manifest | None:
        """The manifest of this insertion, if it was read and has one."""
        found = self.inspection(incarnation)
        return found.manifest if found else None

    @property
    def aside_mount(self) -> Mount | None:
        """The stick that is mounted aside for a copy, if one is."""
        return self.mounts.at(self.aside) if self.aside else None

    def lost(self, incarnation: Incarnation) -> bool:
        """True if this insertion is here and stopped answering."""
        setback = self.setback(incarnation)
        return setback is not None and setback.reason in DEAD

    def device_of(self, mount: Mount) -> BlockDevice | None:
        """The present device of a mount; by its source where st_dev is anonymous (btrfs)."""
        return next((device for device in self.devices if self.lies_at(mount, device)), None)

    def lies_at(self, mount: Mount, device: BlockDevice) -> bool:
        """True if what is mounted there is this stick, or this directory."""
        if (device.directory is None) != (mount.root == "/"):
            return False
        if device.directory is not None and self._inner(device.directory) != mount.root:
            return False
        if mount.number.major == 0:
            return device.devnode == mount.source
        return device.number == mount.number

    def _inner(self, directory: str) -> str | None:
        """The path of a directory within its file system, as mountinfo names a bind's root."""
        covering = self.mounts.covering(directory)
        if covering is None:
            return None
        below = directory.removeprefix(covering.target.rstrip("/")).lstrip("/")
        return f"{covering.root.rstrip('/')}/{below}"

    def serving(self) -> Serving:
        """What serves the root now, by the mount table and nothing else."""
        mount = self.mounts.at(self.profile.root)
        if mount is None:
            return Serving()
        device = self.device_of(mount)
        if device is None:
            gone = mount.number in self.gone
            return Serving(mount=mount, dead=gone, foreign=not gone)
        return Serving(mount=mount, device=device, dead=self.lost(device.incarnation))
