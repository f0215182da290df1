"""Whether the root that serves is alive, and whether its proof still holds.

Alive means that sysfs has the device and that a timed read, and rarer a write, succeed.
The mount table proves nothing: a dead stick stays mounted `rw`, the runtime goes on
answering from memory, and kubelet goes on reporting the capacity of a disk that is gone.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from nodestoraged.engine.effects import Effects
from nodestoraged.engine.observer import Memory
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.errors import NodeStorageError, StepError, StepTimeout
from nodestoraged.model.observation import Observation, Setback
from nodestoraged.model.proof import KubeletReading, Link, Proof
from nodestoraged.model.reason import Reason
from nodestoraged.model.runtime import RUNNING, UnitState
from nodestoraged.ports import Ports

#: A stick that collects garbage may stall for seconds; longer than this it counts as dead.
READ_DEADLINE_SECONDS = 8.0
PROOF_DEADLINE_SECONDS = 20.0
KUBELET_SECONDS = 15.0
KEEP_SECONDS = 120.0
PROOF_RETRY_SECONDS = 15.0

#: A runtime in one of these is not stopped: it works, or fails to.
MEANT_TO_RUN = frozenset({UnitState.ACTIVE, UnitState.STARTING, UnitState.FAILED})

ProofKey = tuple[object, ...]


class Health:
    """Probes the active slot and keeps the proof fresh."""

    def __init__(self, ports: Ports, role: RoleConfig, memory: Memory, effects: Effects) -> None:
        self._ports = ports
        self._role = role
        self._memory = memory
        self._effects = effects
        self._read_at = 0.0
        self._proof_key: ProofKey | None = None
        self._proof_at = 0.0
        self._kubelet_at = 0.0
        self.kubelet = KubeletReading(installed=False, running=False)
        self.failure: str | None = None
        self.version: str | None = None
        self.database: str | None = None
        self.internal_space: tuple[int, int] | None = None

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on; other floor images are kept by the next pass."""
        if role.floor_images != self._role.floor_images:
            self.expire()
        self._role = role

    @property
    def proof(self) -> Proof | None:
        """The last proof that was read of the root that serves now, or None."""
        return self._effects.prover.proof

    def next_at(self, observation: Observation) -> float:
        """Boot-time seconds at which the next probe is due."""
        due = self._proof_at + self._proof_lasts()
        if observation.serving().device is not None and not observation.serving().dead:
            due = min(due, self._read_at + self._role.probe_seconds)
        return due

    async def probe(self, observation: Observation) -> bool:
        """The timed read, if it is due; True if the slot was found dead by it."""
        device = observation.serving().device
        if device is None or observation.serving().dead:
            return False
        if observation.now - self._read_at < self._role.probe_seconds:
            return False
        self._read_at = observation.now
        try:
            await self._ports.disks.probe_read(device, deadline_seconds=READ_DEADLINE_SECONDS)
        except StepError as error:
            self._condemn(device, error)
            return True
        return False

    async def prove(self, observation: Observation) -> bool:
        """The proof is of the root and the runtime process that are there now.

        Read anew when either changed or `write_probe_seconds` have passed.  True if the slot
        was found dead by its write probe.
        """
        key = _key(observation)
        fresh = observation.now - self._proof_at < self._proof_lasts()
        if key != self._proof_key:
            self._effects.prover.proof = None
        elif fresh:
            await self._refresh_kubelet(observation)
            return False
        self._proof_key, self._proof_at = key, observation.now
        self.failure = None
        self.kubelet = await self._effects.prover.read_kubelet()
        self._kubelet_at = observation.now
        await self._measure_internal()
        self.database = None
        if not _runs(observation):
            self._effects.prover.proof = None
            await self._examine(observation)
            return False
        device = observation.serving().device
        try:
            await self._effects.prover.prove(device, PROOF_DEADLINE_SECONDS)
            await self._keep_images()
        except StepError as error:
            self.failure = error.message
            await self._examine(observation)
            broken = self.proof.broken if self.proof else None
            if device is not None and broken is not None and broken.link is Link.WRITE_PROBE:
                self._condemn(device, error)
                return True
        return False

    async def _examine(self, observation: Observation) -> None:
        """Why a runtime that is meant to run does not: its database is looked at."""
        meant = any(
            unit.state in MEANT_TO_RUN
            for unit in observation.units
            if unit.name in observation.profile.runtime_units
        )
        if not meant or observation.serving().dead:
            return
        with suppress(StepError):
            self.database = await self._ports.roots.database_failure(
                self._memory.profile.root, deadline_seconds=READ_DEADLINE_SECONDS
            )

    def forget(self) -> None:
        """What was known of the runtime and kubelet is not true any more."""
        self._effects.prover.proof = None
        self.failure = None
        self.kubelet = KubeletReading(installed=self.kubelet.installed, running=False)

    async def look_at_kubelet(self) -> None:
        """What is shown of kubelet is of the process that an operation has just started."""
        if self._effects.prover.proof is not None:
            self._effects.prover.proof = replace(self._effects.prover.proof, pods=None)
        with suppress(NodeStorageError):
            self.kubelet = await self._effects.prover.read_kubelet()

    def expire(self) -> None:
        """The next pass reads a new proof, and looks anew at a database that was damaged."""
        self._proof_key = None
        self.database = None

    def _proof_lasts(self) -> float:
        """A chain that does not hold is looked at again sooner: its cause may be gone."""
        limit = self._role.write_probe_seconds
        return min(limit, PROOF_RETRY_SECONDS) if self.failure else limit

    async def _keep_images(self) -> None:
        """The sandbox image is at hand for a boot on an empty stick, when nobody can export it."""
        try:
            await self._ports.runtime.save_images(
                self._memory.profile, deadline_seconds=KEEP_SECONDS
            )
        except StepError as error:
            self._ports.log.event("images", error.message, reason=error.reason)

    async def _measure_internal(self) -> None:
        """Space of the file system behind the root: where the node would fall back to."""
        behind = self._memory.profile.root.rpartition("/")[0] or "/"
        with suppress(StepError):
            self.internal_space = await self._ports.disks.capacity(
                behind, deadline_seconds=READ_DEADLINE_SECONDS
            )

    async def _refresh_kubelet(self, observation: Observation) -> None:
        """kubelet's own numbers follow its start by up to a minute."""
        if observation.now - self._kubelet_at >= KUBELET_SECONDS:
            self._kubelet_at = observation.now
            self.kubelet = await self._effects.prover.read_kubelet()

    def _condemn(self, device: BlockDevice, error: StepError) -> None:
        reason = Reason.HUNG if isinstance(error, StepTimeout) else Reason.PROBE_FAILED
        self._memory.hold_against(Setback(incarnation=device.incarnation, reason=reason))
        self._ports.log.event(
            "probe-failed",
            f"{device.devnode}: {error.message}",
            reason=reason,
            stick=device.uuid,
        )


def _runs(observation: Observation) -> bool:
    """True if the runtime can be asked: a unit that embeds it is active minutes later."""
    profile = observation.profile
    if profile.daemonless:
        return observation.runtime_runs
    states = RUNNING if profile.embedded else {UnitState.ACTIVE}
    return any(
        unit.state in states for unit in observation.units if unit.name in profile.runtime_units
    )


def _key(observation: Observation) -> ProofKey:
    """What a proof is about: this mount of this device, and this process of the runtime."""
    serving = observation.serving()
    processes = tuple(
        (unit.name, unit.state, unit.main_pid)
        for unit in observation.units
        if unit.name in observation.profile.runtime_units
    )
    return (serving.mount.id if serving.mount else None, serving.device, processes)
