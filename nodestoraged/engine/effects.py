"""Make the wished fact of one step true; the only place where a step meets the ports."""

from __future__ import annotations

import asyncio
from typing import assert_never

from nodestoraged.engine.carrier import Carrier, DataStep
from nodestoraged.engine.observer import Memory
from nodestoraged.engine.prover import Prover
from nodestoraged.model import datasteps, steps
from nodestoraged.model.config import DaemonConfig, RoleConfig
from nodestoraged.model.copy import CopyPass
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.plan import Step
from nodestoraged.model.runtime import Unit, UnitState
from nodestoraged.ports import Ports

POLL_SECONDS = 0.25
#: A start that the fence refuses is over by then, on a slow processor too.
REFUSAL_SECONDS = 5.0


class Effects:
    """Performs steps; remembers the last proof that it read."""

    def __init__(
        self, ports: Ports, role: RoleConfig, daemon: DaemonConfig, memory: Memory
    ) -> None:
        self._ports = ports
        self._role = role
        self._daemon = daemon
        self._memory = memory
        self.carrier = Carrier(ports, role, memory)
        self.prover = Prover(ports, daemon, memory)
        self.mounted_at: float | None = None
        self.pods_stopped = 0
        self.kubelet_at: float | None = None

    def configure(self, role: RoleConfig) -> None:
        """`role` counts from now on."""
        self._role = role
        self.carrier.configure(role)

    # One case a step, each a line or two: as a table it is read at a glance, split up it is not.
    async def perform(self, step: Step) -> str:  # noqa: C901, PLR0911, PLR0912
        """The step's wished fact is true; says in words what was found or done.

        Raises `StepError` or `StepTimeout`.
        """
        if isinstance(step, DataStep):
            return await self._carry(step)
        ports, profile = self._ports, self._memory.profile
        limit = step.deadline_seconds
        match step:
            case steps.RefuseForeign() | steps.RefuseShims():
                return await self._refuse(step)
            case steps.CheckFilesystem():
                return await self._check(step)
            case steps.WarmRuntimeClient():
                return await self._warm(step)
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
            case steps.StopPods() | steps.KillShims() | steps.EmptyLeftPods():
                return await self._on_pods(step)
            case steps.StartUnit():
                await ports.services.start(step.unit, wait=step.wait, deadline_seconds=limit)
                return "started" if step.wait else "asked"
            case steps.AwaitRuntime():
                return await self._await_runtime(step)
            case steps.Prove():
                held = len((await self.prover.prove(step.device, limit)).links)
                return f"{held} of {held} links hold"
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

    async def _carry(self, step: DataStep) -> str:
        if _needs_quiet(step):
            await self._refuse_running()
        return await self.carrier.perform(step)

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
                await disks.clear_state(profile, dead=step.dead, deadline_seconds=limit)
                return "clear"
            case steps.Unmount():
                if not step.dead:
                    await disks.settle_writes(profile.root, deadline_seconds=limit)
                await disks.unmount(profile.root, dead=step.dead, deadline_seconds=limit)
                return "unmounted"
            case steps.Release():
                return await self._release(step)
            case steps.Mount():
                await self._mount(step.device, limit)
                self.mounted_at = self._ports.clock.boottime()
                return "mounted"
            case steps.ProbeWrite():
                seconds = await disks.probe_write(profile.root, deadline_seconds=limit)
                return f"{seconds * 1000:.0f} ms"

    async def _on_pods(self, step: steps.StopPods | steps.KillShims | steps.EmptyLeftPods) -> str:
        ports, profile, limit = self._ports, self._memory.profile, step.deadline_seconds
        if isinstance(step, steps.EmptyLeftPods):
            if not await ports.disks.leftover_shims(profile, deadline_seconds=limit):
                return "none"
            self.pods_stopped = await ports.runtime.empty_alone(
                profile, grace_seconds=step.grace_seconds, deadline_seconds=limit
            )
            return f"{self.pods_stopped} pods"
        if isinstance(step, steps.StopPods):
            self.pods_stopped = await ports.runtime.stop_pods(
                profile, grace_seconds=step.grace_seconds, deadline_seconds=limit
            )
            return f"{self.pods_stopped} pods"
        killed = await ports.disks.kill_shims(profile, deadline_seconds=limit)
        self.pods_stopped += killed
        return f"{killed} killed"

    async def _check(self, step: steps.CheckFilesystem) -> str:
        limit = step.deadline_seconds
        self._ports.notifier.extend(limit)
        if step.device.directory is not None:
            return await self._check_directory(step.device.directory, limit)
        return await self._ports.disks.check(step.device, deadline_seconds=limit)

    async def _check_directory(self, directory: str, limit: float) -> str:
        """Its file system is mounted and used by others: it must be there, and answer."""
        found = await self._ports.sticks.inspect_mounted(directory, deadline_seconds=limit)
        if found.failure is not None:
            raise StepError(found.failure, f"{directory} could not be read")
        return "there"

    async def _mount(self, device: BlockDevice, limit: float) -> None:
        disks, root = self._ports.disks, self._memory.profile.root
        if device.directory is None:
            await disks.mount(device, root, deadline_seconds=limit)
        else:
            await disks.bind(device.directory, root, device.number, deadline_seconds=limit)

    async def _refuse_running(self) -> None:
        """Somebody may have started the runtime after it was stopped and before the fence."""
        if self._memory.profile.daemonless:
            return  # its units only listen: what they would start, the fence keeps from starting
        for name in self._memory.profile.runtime_units:
            unit = await self._begun(name)
            if unit.runs or unit.state is UnitState.STOPPING:
                raise StepError("RuntimeStarted", f"{name} is {unit.state} in the middle of a move")

    async def _begun(self, name: str) -> Unit:
        """The unit once a start of it has come to something, or for long to nothing.

        OpenRC calls a service starting before its script is asked, which the fence ends.
        """
        clock, services = self._ports.clock, self._ports.services
        end = clock.boottime() + REFUSAL_SECONDS
        unit = await services.unit(name)
        while unit.state is UnitState.STARTING and not unit.main_pid and clock.boottime() < end:
            await clock.sleep(POLL_SECONDS)
            unit = await services.unit(name)
        return unit

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
            left = await self._ports.disks.leftover_shims(profile, deadline_seconds=limit)
            if left:
                raise StepError(
                    "PodsWithoutRuntime",
                    f"the runtime is stopped but {left} of its shims still run",
                    f"start {profile.runtime_units[0]} first",
                )
        return "none"

    async def _warm(self, step: steps.WarmRuntimeClient) -> str:
        """What it is asked first: a root that somebody named wrongly is not worth a stop.

        What is mounted there already may always go: that is the way out.
        """
        runtime, profile = self._ports.runtime, self._memory.profile
        await runtime.open(profile)
        if self._ports.mounts.read().at(profile.root) is not None:
            return "ready"
        images = await runtime.image_directory(profile, deadline_seconds=step.deadline_seconds / 2)
        if images is not None and not profile.holds(images):
            raise StepError(
                "RootElsewhere",
                f"the runtime keeps its images in {images}, outside of {profile.root}",
                f"correct role.{self._role.name}.profile.root, or leave it out to have it found",
            )
        return "ready"

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
        if step.device.directory is not None:
            return "a directory; its disk stays mounted"
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
        self.prover.sandbox_image(present)
        return "present" if present else "missing"

    async def _await_runtime(self, step: steps.AwaitRuntime) -> str:
        """Somebody else starts it: wait while its start is queued or under way."""
        clock = self._ports.clock
        deadline = clock.boottime() + step.deadline_seconds
        while True:
            units = [await self._ports.services.unit(name) for name in step.units]
            if any(unit.state is UnitState.ACTIVE for unit in units):
                return "runs"
            # Such a unit is active when its whole cluster is; its runtime answers long before.
            if self._memory.profile.embedded and any(unit.runs for unit in units):
                return "starts"
            if not any(unit.job_queued or unit.state is UnitState.STARTING for unit in units):
                raise StepError("RuntimeStopped", "nobody starts the runtime")
            if clock.boottime() >= deadline:
                raise StepTimeout("RuntimeStopped", "the runtime's own start does not end")
            await clock.sleep(POLL_SECONDS)

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
                self.kubelet_at = clock.boottime()
                return "healthy"
            if unit.state is UnitState.STARTING and not unit.main_pid and not unit.job_queued:
                # Not joined yet: it crashes and is restarted for ever; that is not our failure.
                return "is being restarted"
            await clock.sleep(POLL_SECONDS)
        return "not healthy yet"


def _needs_quiet(step: Step) -> bool:
    """True for what must never be done under a runtime: it would be torn, or tear."""
    if isinstance(step, datasteps.Copy):
        return step.stage is CopyPass.FINAL
    return isinstance(step, datasteps.WashRoot) and step.place is None
