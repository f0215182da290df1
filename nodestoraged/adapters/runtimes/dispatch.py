"""The `Runtime` port for every row of the table: each call goes to who speaks the row's dialect.

Owns: that choice.  May not know: how either of them asks.
"""

from __future__ import annotations

from nodestoraged.adapters.runtimes.podman import PodmanRuntime
from nodestoraged.adapters.runtimes.runtime import ContainerdRuntime
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.proof import ProofReading
from nodestoraged.model.runtime import Dialect, RuntimeProfile
from nodestoraged.ports import Runtime

__all__ = ["RuntimeByDialect"]


class RuntimeByDialect:
    """Forwards by `profile.dialect`: a reload may change the row while we live."""

    def __init__(self, containerd: ContainerdRuntime, podman: PodmanRuntime) -> None:
        self._containerd: Runtime = containerd
        self._podman: Runtime = podman

    def _of(self, profile: RuntimeProfile) -> Runtime:
        return self._podman if profile.dialect is Dialect.PODMAN else self._containerd

    def configure(self, role: RoleConfig) -> None:
        """Both know: the row may change with it."""
        self._containerd.configure(role)
        self._podman.configure(role)

    async def open(self, profile: RuntimeProfile) -> None:
        """Nothing more has to be imported or started to ask."""
        await self._of(profile).open(profile)

    async def close(self) -> None:
        """Neither keeps a process."""
        await self._containerd.close()
        await self._podman.close()

    async def foreign_containers(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> tuple[str, ...]:
        """Running containers that are not the role's."""
        one = self._of(profile)
        return await one.foreign_containers(profile, deadline_seconds=deadline_seconds)

    async def image_directory(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> str | None:
        """Where the runtime says that its images are."""
        one = self._of(profile)
        return await one.image_directory(profile, deadline_seconds=deadline_seconds)

    async def stop_pods(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """Everything was stopped with grace; how many."""
        return await self._of(profile).stop_pods(
            profile, grace_seconds=grace_seconds, deadline_seconds=deadline_seconds
        )

    async def empty_alone(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """The same without the runtime's unit."""
        return await self._of(profile).empty_alone(
            profile, grace_seconds=grace_seconds, deadline_seconds=deadline_seconds
        )

    async def prove(self, profile: RuntimeProfile, *, deadline_seconds: float) -> ProofReading:
        """Every link was read once."""
        return await self._of(profile).prove(profile, deadline_seconds=deadline_seconds)

    async def save_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> str:
        """Sandbox and floor images are archived; says what was done."""
        return await self._of(profile).save_images(profile, deadline_seconds=deadline_seconds)

    def kept_images(self) -> tuple[str, ...]:
        """What either has archived whole."""
        both = (*self._containerd.kept_images(), *self._podman.kept_images())
        return tuple(dict.fromkeys(both))

    async def keep_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """Images are kept over a move or a wash."""
        return await self._of(profile).keep_images(
            profile, every=every, deadline_seconds=deadline_seconds
        )

    async def bring_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """What `keep_images` kept is in the root in force."""
        return await self._of(profile).bring_images(
            profile, every=every, deadline_seconds=deadline_seconds
        )

    async def load_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> bool:
        """Sandbox and floor images are in the root in force; False if nobody has one."""
        return await self._of(profile).load_images(profile, deadline_seconds=deadline_seconds)
