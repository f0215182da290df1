"""Services, the runtime, kubelet, and programs of the operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nodestoraged.model.config import RoleConfig
from nodestoraged.model.proof import ProofReading
from nodestoraged.model.runtime import RuntimeProfile, Unit


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

    def configure(self, role: RoleConfig) -> None:
        """`role` is how it is configured from now on: its floor images are kept and brought."""
        ...

    async def open(self, profile: RuntimeProfile) -> None:
        """The child that speaks gRPC is warm: nothing more has to be imported."""
        ...

    async def close(self) -> None:
        """The child is gone."""
        ...

    async def foreign_containers(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> tuple[str, ...]:
        """Running containers outside k8s.io on this socket, as `namespace/id`."""
        ...

    async def image_directory(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> str | None:
        """Where the runtime that runs says that its images are, links followed.

        None where it does not say: it has only begun to start, or answers in other words.
        """
        ...

    async def stop_pods(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """Containers were stopped with grace and their sandboxes removed; how many pods."""
        ...

    async def empty_alone(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """As `stop_pods`, of a runtime whose unit is stopped: it ran for that, on the old root.

        Raises `StepError("PodsWithoutRuntime")` where it cannot be run without its unit.
        """
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

    def kept_images(self) -> tuple[str, ...]:
        """The names of images that are archived whole on the root disk."""
        ...

    async def keep_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """The pinned images are archived, or with `every` the names of all are remembered."""
        ...

    async def bring_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """What `keep_images` kept is in the root in force; says how many."""
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
