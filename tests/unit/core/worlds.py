"""Builders of small frozen worlds for the pure core."""

from __future__ import annotations

from nodestoraged.core.select import select
from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.mount import Mount, MountTable
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import INTERNAL_ROOT, Operation, OperationKind, RootRef, Stage
from nodestoraged.model.registry import Marked, Registry, Stick
from nodestoraged.model.runtime import RuntimeProfile, Unit, UnitState

BOOT = "boot-1"
NOW = 1000.0
RUNTIME, KUBELET = "containerd.service", "kubelet.service"
PROFILE = RuntimeProfile(
    name="containerd",
    runtime_units=(RUNTIME,),
    kubelet_units=(KUBELET,),
    root="/var/lib/containerd",
    state="/run/containerd",
    socket="/run/containerd/containerd.sock",
)
ROOT = Mount(id=1, number=DeviceNumber(254, 1), root="/", target="/", fstype="ext4", source="vda1")
ROLE = RoleConfig(name="containerd")


def device(name: str = "blue", minor: int = 1, **traits: object) -> BlockDevice:
    """A good stick called `name`, in /dev/sd<minor>1, present at start."""
    values: dict[str, object] = {
        "devnode": f"/dev/sd{minor}1",
        "number": DeviceNumber(8, minor),
        "diskseq": minor,
        "disk": f"/dev/sd{minor}",
        "size_bytes": 16 << 30,
        "fstype": "ext4",
        "uuid": f"{name}-uuid",
        "label": "containerd-opt",
        "serial": f"SER-{name}",
    }
    return BlockDevice(**{**values, **traits})  # type: ignore[arg-type]


def enrolled(*devices: BlockDevice, role: str = "containerd", delisted: bool = False) -> Registry:
    """All of them, in this order, by the name in their UUID."""
    return Registry(
        sticks=tuple(
            Stick(
                name=(each.uuid or "").removesuffix("-uuid"),
                identity=each.identity(),
                role=role,
                order=order,
                enrolled_at="2026-01-01T00:00:00Z",
                delisted=delisted,
            )
            for order, each in enumerate(devices, start=1)
        )
    )


def mounted(each: BlockDevice, target: str = PROFILE.root) -> Mount:
    """A mount of the device."""
    return Mount(
        id=each.number.minor + 100,
        number=each.number,
        root="/",
        target=target,
        fstype=each.fstype or "ext4",
        source=each.devnode,
    )


def units(
    runtime: UnitState = UnitState.ACTIVE, kubelet: UnitState = UnitState.ACTIVE, **more: bool
) -> tuple[Unit, ...]:
    """Both units."""
    queued = more.get("queued", False)
    along = (KUBELET,) if more.get("requires", False) else ()
    return (
        Unit(name=RUNTIME, state=runtime, job_queued=queued, main_pid=7, takes_along=along),
        Unit(name=KUBELET, state=kubelet, job_queued=queued, main_pid=8),
    )


STOPPED = units(UnitState.INACTIVE, UnitState.INACTIVE)


def world(*devices: BlockDevice, active: BlockDevice | None = None, **facts: object) -> Observation:
    """A node with these sticks in; `active` is the one on the root."""
    mounts = (ROOT, mounted(active)) if active else (ROOT,)
    values: dict[str, object] = {
        "now": NOW,
        "time": "2026-01-01T00:16:40Z",
        "boot_id": BOOT,
        "profile": PROFILE,
        "devices": devices,
        "mounts": MountTable(mounts=mounts),
        "units": units(),
        "registry": enrolled(*(each for each in devices if each.uuid)),
    }
    return Observation(**{**values, **facts})  # type: ignore[arg-type]


def judged(observation: Observation, role: RoleConfig = ROLE) -> dict[str, str]:
    """Devnode without /dev/ to `verdict Reason …`."""
    return {
        c.device.devnode.removeprefix("/dev/"): " ".join([c.verdict.value, *c.reasons])
        for c in select(observation, role)
    }


def candidate(
    observation: Observation, devnode: str = "/dev/sd11", role: RoleConfig = ROLE
) -> Candidate:
    return next(c for c in select(observation, role) if c.device.devnode == devnode)


def marked(each: BlockDevice, boot: str = BOOT) -> tuple[Marked, ...]:
    return (Marked(incarnation=each.incarnation, boot_id=boot),)


def root_of(each: BlockDevice) -> RootRef:
    name = (each.uuid or "").removesuffix("-uuid")
    return RootRef(identity=each.identity(), name=name, incarnation=each.incarnation)


def entry(kind: OperationKind = OperationKind.FAILOVER, **facts: object) -> Operation:
    """An open operation of this boot."""
    values: dict[str, object] = {
        "id": "7",
        "role": "containerd",
        "kind": kind,
        "source": INTERNAL_ROOT,
        "target": INTERNAL_ROOT,
        "boot_id": BOOT,
        "started_at": NOW - 5,
        "started_time": "2026-01-01T00:16:35Z",
        "ran_before": (RUNTIME, KUBELET),
        "automatic": True,
        "stage": Stage.FORWARD,
    }
    return Operation(**{**values, **facts})  # type: ignore[arg-type]
