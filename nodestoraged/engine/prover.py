"""Reads proofs: of the root through the runtime, and what kubelet says of itself."""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.core.verify import verify
from nodestoraged.engine.observer import Memory
from nodestoraged.model.config import DaemonConfig, MountNamespace
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.proof import KubeletReading, Proof, ProofReading
from nodestoraged.model.runtime import Unit, UnitState
from nodestoraged.ports import Ports

#: A link that does not hold may be a matter of milliseconds (the runtime is still loading);
#: longer than this it is a fact.
LINK_PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.25


class Prover:
    """Remembers the last proof that it read, and how much the root held then."""

    def __init__(self, ports: Ports, daemon: DaemonConfig, memory: Memory) -> None:
        self._ports = ports
        self._daemon = daemon
        self._memory = memory
        self.proof: Proof | None = None
        self.used_bytes: int | None = None

    def sandbox_image(self, present: bool) -> None:
        """The last proof knows whether the sandbox image is there now."""
        if self.proof is not None:
            self.proof = replace(self.proof, sandbox_image_present=present)

    async def prove(self, device: BlockDevice | None, limit: float) -> Proof:
        """Every link holds for `device`, or for the internal directory; kept as the last proof."""
        clock = self._ports.clock
        deadline = clock.boottime() + limit
        patience = clock.boottime() + min(limit, LINK_PATIENCE_SECONDS)
        while True:
            if device is not None and not self._ports.devices.alive(device.incarnation):
                raise StepError("StickLost", f"{device.devnode} is gone")
            left = max(1.0, deadline - clock.boottime())
            reading = await self._ports.runtime.prove(self._memory.profile, deadline_seconds=left)
            self.proof = self._judge(reading, device)
            if None not in (reading.capacity_bytes, reading.available_bytes):
                self.used_bytes = (reading.capacity_bytes or 0) - (reading.available_bytes or 0)
            broken = self.proof.broken
            if broken is None:
                return self.proof
            if clock.boottime() >= patience:
                raise StepError("ProofBroken", f"{broken.link}: {broken.detail}")
            await clock.sleep(POLL_SECONDS)

    def _judge(self, reading: ProofReading, device: BlockDevice | None) -> Proof:
        own = self._daemon.mount_namespace is MountNamespace.OWN
        wanted = self._wanted(device)
        return Proof(
            at=reading.at,
            time=self._ports.clock.wall(),
            links=verify(reading, wanted, own_namespace=own, dialect=self._memory.profile.dialect),
            mountpoint=reading.mountpoint,
            number=reading.path_number,
            capacity_bytes=reading.capacity_bytes,
            available_bytes=reading.available_bytes,
            pods=reading.pods,
            sandbox_image_present=reading.sandbox_image_present,
            runtime_version=reading.runtime_version,
        )

    def _wanted(self, device: BlockDevice | None) -> DeviceNumber:
        """The number that every link has to name: the mount table's, where it is anonymous."""
        mounts, root = self._ports.mounts.read(), self._memory.profile.root
        if device is None:
            covering = mounts.covering(root)
            return covering.number if covering is not None else DeviceNumber(0, 0)
        mount = mounts.at(root)
        # btrfs: the device has a number, and what is mounted of it has another.
        if mount is not None and mount.number.major == 0 and mount.source == device.devnode:
            return mount.number
        return device.number

    async def read_kubelet(self) -> KubeletReading:
        """kubelet now; a kubelet that does not run is a reading, not an error."""
        unit = await self._kubelet_unit()
        if unit is None:
            return KubeletReading(installed=False, running=False)
        kubelet, profile = self._ports.kubelet, self._memory.profile
        # Embedded, it runs as soon as the process of its unit does.
        embedded = profile.embedded and unit.runs and bool(unit.main_pid)
        if unit.state is not UnitState.ACTIVE and not embedded:
            return KubeletReading(installed=True, running=False)
        return KubeletReading(
            installed=True,
            running=True,
            healthy=await kubelet.healthy(profile, deadline_seconds=2),
            capacity_bytes=await kubelet.capacity_bytes(profile, deadline_seconds=2),
            started_at=await kubelet.started_at(unit),
        )

    async def _kubelet_unit(self) -> Unit | None:
        profile = self._memory.profile
        for name in profile.runtime_units if profile.embedded else profile.kubelet_units:
            unit = await self._ports.services.unit(name)
            if unit.state is not UnitState.MISSING:
                return unit
        return None
