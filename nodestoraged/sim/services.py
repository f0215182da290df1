"""The init system, the fence, the runtime, kubelet and the hooks of a `World`."""

from __future__ import annotations

from collections.abc import Sequence

from nodestoraged.model.config import RoleConfig
from nodestoraged.model.errors import StepError
from nodestoraged.model.proof import ProofReading
from nodestoraged.model.runtime import RuntimeProfile, Unit, UnitState
from nodestoraged.sim.world import (
    INTERNAL_NUMBER,
    KUBELET,
    PROFILE,
    RUNTIME,
    Violation,
    World,
)


class SimServices:
    """An init system."""

    name = "sim"

    def __init__(self, world: World) -> None:
        self._world = world

    async def unit(self, name: str) -> Unit:
        """As it is now."""
        unit = self._world.units.get(name)
        if unit is None:
            return Unit(name=name, state=UnitState.MISSING)
        along = self._world.kubelet_requires_runtime and name == RUNTIME
        kubelet = self._world.units[KUBELET].state is UnitState.ACTIVE
        return Unit(
            name=name,
            state=unit.state,
            job_queued=unit.job_queued,
            main_pid=unit.pid if unit.state is UnitState.ACTIVE else 0,
            takes_along=(KUBELET,) if along and kubelet else (),
        )

    async def start(self, name: str, *, wait: bool, deadline_seconds: float) -> None:
        """Refused by the fence; before READY a start of what is ordered after us hangs."""
        with self._world.effect(f"start {name}"):
            if not self._world.ready:
                raise Violation(f"decision 13: {name} was started before READY")
            if self._world.stopping:
                raise StepError("ShuttingDown", "transaction is destructive")
            if name == RUNTIME and self._world.root_mounts:
                medium = self._world.medium_of(self._world.root_number)
                if medium is None or medium.dead:
                    raise StepError("StartFailed", "containerd: input/output error")
            if not self._world.start_unit(name):
                raise StepError("ConditionFailed", f"{name}: its condition failed")

    async def stop(self, name: str, *, deadline_seconds: float) -> None:
        """SIGTERM."""
        with self._world.effect(f"stop {name}"):
            if not self._world.ready:
                raise Violation(f"decision 13: {name} was stopped before READY")
            self._world.stop_unit(name)

    async def shutting_down(self) -> bool:
        """On the way down."""
        return self._world.stopping

    async def close(self) -> None:
        """Nothing to close."""


class SimFence:
    """Files below /run: gone with the boot."""

    def __init__(self, world: World) -> None:
        self._world = world

    def is_up(self, role: str) -> bool:
        """Raised."""
        return role in self._world.fences

    def raise_(self, role: str) -> None:
        """Up."""
        with self._world.effect("raise-fence"):
            self._world.fences.add(role)

    def lower(self, role: str) -> None:
        """Down."""
        with self._world.effect("lower-fence"):
            self._world.fences.discard(role)


class SimRuntime:
    """containerd: answers from memory whatever happens to its disk."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.client_runs = False  # it dies with its daemon
        self._floor = frozenset[str]()

    def configure(self, role: RoleConfig) -> None:
        """The floor images beside the sandbox image."""
        self._floor = frozenset(role.floor_images)

    async def open(self, profile: RuntimeProfile) -> None:
        """Warm."""
        self._asked()

    async def close(self) -> None:
        """Gone."""
        self._world.client_runs = False

    def _asked(self) -> None:
        if not self._world.client_runs:
            self._world.client_runs = True
            self._world.client_starts += 1

    async def foreign_containers(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> tuple[str, ...]:
        """moby, default."""
        self._asked()
        return self._world.foreign

    async def image_directory(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> str | None:
        """Below the root, if nobody moved it."""
        self._asked()
        return self._world.image_directory or f"{profile.root}/images"

    async def stop_pods(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """Through CRI."""
        self._asked()
        with self._world.effect("stop-pods"):
            stopped, self._world.pods = self._world.pods, 0
        return stopped

    async def empty_alone(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """The same without the unit."""
        with self._world.effect("empty-alone"):
            stopped, self._world.pods = self._world.pods, 0
        return stopped

    async def prove(self, profile: RuntimeProfile, *, deadline_seconds: float) -> ProofReading:
        """Every link, of the process that runs now."""
        world = self._world
        self._asked()
        with world.effect("prove"):
            if not world.runtime_answers:
                raise StepError("SocketStale", "nothing answers")
            medium = world.medium_of(world.root_number)
            dead = bool(world.root_mounts) and (medium is None or medium.dead)
        if dead:
            world.condemned.add(world.root_number)
        # A runtime that works from elsewhere does so on the internal disk, whatever is mounted.
        apart = world.image_directory is not None
        number = INTERNAL_NUMBER if apart else world.root_number
        locked = INTERNAL_NUMBER if apart else world.runtime_root or INTERNAL_NUMBER
        return ProofReading(
            at=world.now,
            runtime_version="1.6.20",
            runtime_pid=world.units[RUNTIME].pid,
            mountpoint=world.image_directory
            or f"{PROFILE.root}/io.containerd.snapshotter.v1.overlayfs",
            path_number=number,
            lock_numbers=(locked,) if world.runtime_alive else (),
            database_number=number,
            mount_number=world.root_number,
            mount_read_only=False,
            root_mount_ids=(1, 1, 1),
            capacity_bytes=16 << 30,
            available_bytes=8 << 30,
            write_seconds=None if dead else 0.002,
            snapshotter="overlayfs",
            namespace_exists=True,
            images=len(world.images()),
            snapshots=0,
            pods=world.pods,
            sandbox_image="pause",
            sandbox_image_present="pause" in world.images(),
        )

    async def save_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> str:
        """The archive has what the root has."""
        self._asked()
        with self._world.effect("save-images"):
            self._world.archive |= self._world.images() & {"pause", *self._floor}
        return "kept"

    def kept_images(self) -> tuple[str, ...]:
        """The archive."""
        return tuple(sorted(self._world.archive))

    async def keep_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """What is pinned, or everything, is remembered."""
        self._asked()
        with self._world.effect("keep-images"):
            images = self._world.images()
            self._world.kept = set(images) if every else images & self._world.pinned
        return f"{len(self._world.kept)} images"

    async def bring_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """What was remembered is there."""
        self._asked()
        with self._world.effect("bring-images"):
            self._world.images().update(self._world.kept)
        return f"{len(self._world.kept)} images"

    async def load_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> bool:
        """From the archive."""
        self._asked()
        with self._world.effect("load-images"):
            if "pause" not in self._world.images():
                self._world.images().update(self._world.archive)
        return "pause" in self._world.images()


class SimKubelet:
    """Says ok even when the runtime is down."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def healthy(self, profile: RuntimeProfile, *, deadline_seconds: float) -> bool:
        """Its process lives."""
        unit = RUNTIME if profile.embedded else KUBELET
        return self._world.units[unit].state is UnitState.ACTIVE

    async def capacity_bytes(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> int | None:
        """Port 10255 is off."""
        return None

    async def started_at(self, unit: Unit) -> float | None:
        """Its process."""
        return self._world.units[unit.name].started_at


class SimHooks:
    """Hooks that always succeed, unless a fault says otherwise."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(
        self, argv: Sequence[str], environment: dict[str, str], *, deadline_seconds: float
    ) -> None:
        """The program."""
        with self._world.effect(f"hook {argv[0]}"):
            pass
