"""Make the wished fact of one step true; the only place where a step meets the ports."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import assert_never

from nodestoraged.core.verify import verify
from nodestoraged.engine.observer import Memory
from nodestoraged.model import plan as steps
from nodestoraged.model.config import DaemonConfig, MountNamespace, RoleConfig
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.proof import (
    KubeletReading,
    Proof,
    ProofReading,
)
from nodestoraged.model.runtime import Unit, UnitState
from nodestoraged.ports import Ports

#: A link that does not hold may be a matter of milliseconds (the runtime is still loading);
#: longer than this it is a fact.
LINK_PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.25


class Effects:
    """Performs steps; remembers the last proof that it read."""

    def __init__(
        self, ports: Ports, role: RoleConfig, daemon: DaemonConfig, memory: Memory
    ) -> None:
        self._ports = ports
        self._role = role
        self._daemon = daemon
        self._memory = memory
        self.proof: Proof | None = None
        self.mounted_at: float | None = None
        self.pods_stopped = 0
        self.used_bytes: int | None = None

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on."""
        self._role = role

    # One case a step, each a line or two: as a table it is read at a glance, split up it is not.
    async def perform(self, step: steps.Step) -> str:  # noqa: C901, PLR0911, PLR0912
        """The step's wished fact is true; says in words what was found or done.

        Raises `StepError` or `StepTimeout`.
        """
        ports, profile = self._ports, self._memory.profile
        limit = step.deadline_seconds
        match step:
            case steps.RefuseForeign() | steps.RefuseShims():
                return await self._refuse(step)
            case steps.CheckFilesystem():
                ports.notifier.extend(limit)
                return await ports.disks.check(step.device, deadline_seconds=limit)
            case steps.WarmRuntimeClient():
                await ports.runtime.open(profile)
                return "ready"
            case steps.SaveImages():
                return await ports.runtime.save_images(profile, deadline_seconds=limit)
            case steps.RunHook():
                return await self._run_hook(step)
            case steps.RaiseFence():
                ports.fence.raise_(self._role.name)
                return "up"
            case steps.LowerFence():
                ports.fence.lower(self._role.name)
                return "down"
            case steps.StopUnits():
                return await self._stop_all(step)
            case steps.StopPods():
                self.pods_stopped = await ports.runtime.stop_pods(
                    profile, grace_seconds=step.grace_seconds, deadline_seconds=limit
                )
                return f"{self.pods_stopped} pods"
            case steps.KillShims():
                killed = await ports.disks.kill_shims(profile.socket, deadline_seconds=limit)
                self.pods_stopped += killed
                return f"{killed} killed"
            case steps.StartUnit():
                await ports.services.start(step.unit, wait=step.wait, deadline_seconds=limit)
                return "started" if step.wait else "asked"
            case steps.AwaitRuntime():
                return await self._await_runtime(step)
            case steps.Prove():
                await self.prove(step.device, limit)
                return "9 of 9 links hold"
            case steps.LoadImages():
                return await self._load_images(limit)
            case steps.AwaitKubelet():
                return await self._await_kubelet(step)
            case (
                steps.ClearState()
                | steps.Unmount()
                | steps.Release()
                | steps.Mount()
                | steps.ProbeWrite()
            ):
                return await self._on_disk(step)
            case _:
                assert_never(step)

    async def _stop_all(self, step: steps.StopUnits) -> str:
        stop, limit = self._ports.services.stop, step.deadline_seconds
        await asyncio.gather(*(stop(name, deadline_seconds=limit) for name in step.units))
        return "stopped"

    async def _on_disk(
        self,
        step: steps.ClearState | steps.Unmount | steps.Release | steps.Mount | steps.ProbeWrite,
    ) -> str:
        disks, profile, limit = self._ports.disks, self._memory.profile, step.deadline_seconds
        if isinstance(step, steps.ClearState | steps.Unmount | steps.Mount):
            await self._refuse_running()
        match step:
            case steps.ClearState():
                await disks.clear_state(
                    profile.state, profile.root, dead=step.dead, deadline_seconds=limit
                )
                return "clear"
            case steps.Unmount():
                if not step.dead:
                    await disks.settle_writes(profile.root, deadline_seconds=limit)
                await disks.unmount(profile.root, dead=step.dead, deadline_seconds=limit)
                return "unmounted"
            case steps.Release():
                return await self._release(step)
            case steps.Mount():
                await disks.mount(step.device, profile.root, deadline_seconds=limit)
                self.mounted_at = self._ports.clock.boottime()
                return "mounted"
            case steps.ProbeWrite():
                seconds = await disks.probe_write(profile.root, deadline_seconds=limit)
                return f"{seconds * 1000:.0f} ms"

    async def _refuse_running(self) -> None:
        """Somebody may have started the runtime after it was stopped and before the fence."""
        for name in self._memory.profile.runtime_units:
            unit = await self._ports.services.unit(name)
            if unit.runs or unit.state is UnitState.STOPPING:
                raise StepError("RuntimeStarted", f"{name} is {unit.state} in the middle of a move")

    async def _refuse(self, step: steps.RefuseForeign | steps.RefuseShims) -> str:
        profile, limit = self._memory.profile, step.deadline_seconds
        if isinstance(step, steps.RefuseForeign):
            foreign = await self._ports.runtime.foreign_containers(profile, deadline_seconds=limit)
            if foreign:
                raise StepError(
                    "ForeignContainers",
                    f"running outside k8s.io: {', '.join(foreign[:3])}",
                    "stop them, or set stop_foreign = true",
                )
        else:
            left = await self._ports.disks.leftover_shims(profile.socket, deadline_seconds=limit)
            if left:
                raise StepError(
                    "PodsWithoutRuntime",
                    f"the runtime is stopped but {left} of its shims still run",
                    f"start {profile.runtime_units[0]} first",
                )
        return "none"

    async def _run_hook(self, step: steps.RunHook) -> str:
        environment = {
            "NODESTORAGED_ROLE": self._role.name,
            "NODESTORAGED_HOOK": step.when,
            "NODESTORAGED_FROM": step.source,
            "NODESTORAGED_TO": step.target,
        }
        try:
            await self._ports.hooks.run(
                step.argv, environment, deadline_seconds=step.deadline_seconds
            )
        except StepError as error:
            if step.fatal:
                raise
            return f"failed, ignored: {error.message}"
        return "done"

    async def _release(self, step: steps.Release) -> str:
        try:
            await self._ports.disks.release(step.device, deadline_seconds=step.deadline_seconds)
        except StepError as error:
            if step.fatal:
                raise
            return f"still held, ignored: {error.message}"
        return "released"

    async def _load_images(self, limit: float) -> str:
        present = await self._ports.runtime.load_images(
            self._memory.profile, deadline_seconds=limit
        )
        # containerd flushes its metadata, not the layers: a stick that is pulled (or a power cut)
        # soon after would keep right names over empty files, which it never verifies again.
        await self._ports.disks.settle_writes(self._memory.profile.root, deadline_seconds=limit)
        if self.proof is not None:
            self.proof = replace(self.proof, sandbox_image_present=present)
        return "present" if present else "missing"

    async def _await_runtime(self, step: steps.AwaitRuntime) -> str:
        """Somebody else starts it: wait while its start is queued or under way."""
        clock = self._ports.clock
        deadline = clock.boottime() + step.deadline_seconds
        while True:
            units = [await self._ports.services.unit(name) for name in step.units]
            if any(unit.state is UnitState.ACTIVE for unit in units):
                return "runs"
            if not any(unit.job_queued or unit.state is UnitState.STARTING for unit in units):
                raise StepError("RuntimeStopped", "nobody starts the runtime")
            if clock.boottime() >= deadline:
                raise StepTimeout("RuntimeStopped", "the runtime's own start does not end")
            await clock.sleep(POLL_SECONDS)

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
        wanted = device.number if device is not None else self._internal_number()
        return Proof(
            at=reading.at,
            time=self._ports.clock.wall(),
            links=verify(reading, wanted, own_namespace=own),
            mountpoint=reading.mountpoint,
            number=reading.path_number,
            capacity_bytes=reading.capacity_bytes,
            available_bytes=reading.available_bytes,
            pods=reading.pods,
            sandbox_image_present=reading.sandbox_image_present,
            runtime_version=reading.runtime_version,
        )

    def _internal_number(self) -> DeviceNumber:
        covering = self._ports.mounts.read().covering(self._memory.profile.root)
        return covering.number if covering is not None else DeviceNumber(0, 0)

    async def read_kubelet(self) -> KubeletReading:
        """kubelet now; a kubelet that does not run is a reading, not an error."""
        unit = await self._kubelet_unit()
        if unit is None:
            return KubeletReading(installed=False, running=False)
        running = unit.state is UnitState.ACTIVE
        if not running:
            return KubeletReading(installed=True, running=False)
        kubelet, profile = self._ports.kubelet, self._memory.profile
        return KubeletReading(
            installed=True,
            running=True,
            healthy=await kubelet.healthy(profile, deadline_seconds=2),
            capacity_bytes=await kubelet.capacity_bytes(profile, deadline_seconds=2),
            started_at=await kubelet.started_at(unit),
        )

    async def _kubelet_unit(self) -> Unit | None:
        for name in self._memory.profile.kubelet_units:
            unit = await self._ports.services.unit(name)
            if unit.state is not UnitState.MISSING:
                return unit
        return None

    async def _await_kubelet(self, step: steps.AwaitKubelet) -> str:
        """kubelet's health follows; a kubelet that never becomes well does not undo a good root."""
        clock = self._ports.clock
        deadline = clock.boottime() + step.deadline_seconds
        while clock.boottime() < deadline:
            unit = await self._ports.services.unit(step.unit)
            if not unit.runs and not unit.job_queued:
                return "does not run"
            if unit.state is UnitState.ACTIVE and await self._ports.kubelet.healthy(
                self._memory.profile, deadline_seconds=2
            ):
                return "healthy"
            if unit.state is not UnitState.ACTIVE and not unit.job_queued:
                # Not joined yet: it crashes and is restarted for ever; that is not our failure.
                return "is being restarted"
            await clock.sleep(POLL_SECONDS)
        return "not healthy yet"
