"""What every `Disks` keeps to: the worker on a loop device that can die, or the simulator."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.disks import WorkerDisks
from nodestoraged.adapters.runtimes.profiles import CONTAINERD
from nodestoraged.linux import mountinfo
from nodestoraged.model.config import RoleConfig, Trust
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.mount import Mount, MountTable
from nodestoraged.ports import Disks
from nodestoraged.sim import adapters as sim
from nodestoraged.sim.world import World
from tests.fakes.faultfs import fault_disk
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.fakes.private_worker import _PRIVATE

pytestmark = pytest.mark.integration

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
LONG = 10.0


class Bench(Protocol):
    """One stick, the root it is for, and ways to make it fail."""

    disks: Disks
    device: BlockDevice
    target: str

    def mounts(self) -> MountTable: ...

    def die(self) -> None: ...

    def break_filesystem(self) -> None: ...


MakeBench = Callable[[Path], AbstractAsyncContextManager[Bench]]


class SimBench:
    """The simulator's disks."""

    def __init__(self) -> None:
        self._world = World(RoleConfig(name="containerd", trust=Trust.LABEL))
        self._world.make("blue", uuid=UUID)
        self.device = self._world.plug("blue")
        self.disks: Disks = sim.ports(self._world).disks
        self.target = sim.PROFILE.root

    def mounts(self) -> MountTable:
        return sim.ports(self._world).mounts.read()

    def die(self) -> None:
        self._world.media["blue"].dead = True

    def break_filesystem(self) -> None:
        self._world.media["blue"].broken_filesystem = True


@contextlib.asynccontextmanager
async def simulated(_directory: Path) -> AsyncIterator[SimBench]:
    yield SimBench()


class WorkerBench:
    """The worker's children in a mount namespace of their own, on a loop device that can die."""

    def __init__(self, children: Children, loop: LoopDevice, image: Path, die: Callable[[], None]):
        self._children = children
        self.die = die
        self.disks: Disks = WorkerDisks(children)
        self.target = str(image.parent / "root")
        Path(self.target).mkdir()
        self.device = BlockDevice(
            devnode=loop.devnode,
            number=DeviceNumber(loop.major, loop.minor),
            diskseq=loop.diskseq,
            disk=loop.devnode,
            size_bytes=image.stat().st_size,
            fstype="ext4",
            uuid=UUID,
            label="containerd-opt",
        )

    def mounts(self) -> MountTable:
        rows = mountinfo.read(self._children.pid)
        return MountTable(
            mounts=tuple(
                Mount(
                    id=row.mount_id, number=DeviceNumber(row.major, row.minor), root=row.root,
                    target=row.target, fstype=row.fstype, source=row.source,
                )
                for row in rows
            )
        )  # fmt: skip

    def break_filesystem(self) -> None:
        # Through the loop device, which has its own cache: marked bad, the root no directory.
        for each in ("ssv state 2", "sif <2> mode 0100644"):
            words = ["debugfs", "-w", "-R", each, self.device.devnode]
            subprocess.run(words, check=True, capture_output=True)


@contextlib.asynccontextmanager
async def worker(directory: Path) -> AsyncIterator[WorkerBench]:
    image = make_image(directory / "stick", "mkfs.ext4", "-q", "-F", "-U", UUID)
    children = Children(python=_PRIVATE)
    with fault_disk(image, life_seconds=40) as disk, loop_device(disk.path) as loop:
        await children.start()
        try:
            yield WorkerBench(children, loop, image, disk.kill)
        finally:
            await children.close()
            disk.kill()


@pytest.fixture(params=[worker, simulated], ids=["worker", "sim"])
def bench(request: pytest.FixtureRequest) -> MakeBench:
    make: MakeBench = request.param
    return make


def run(make: MakeBench, directory: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with make(directory) as node:
            await scenario(node)

    asyncio.run(whole())


def test_a_good_stick_goes_onto_the_root_and_off_and_is_let_go(
    bench: MakeBench, tmp_path: Path
) -> None:
    async def scenario(node: Bench) -> None:
        disks, device, target = node.disks, node.device, node.target
        assert disks.stuck == 0
        assert await disks.check(device, deadline_seconds=LONG) in {"clean", "mended"}
        assert node.mounts().at(target) is None
        await disks.mount(device, target, deadline_seconds=LONG)
        found = node.mounts().stack(target)
        assert [mount.number for mount in found] == [device.number]
        assert await disks.probe_read(device, deadline_seconds=LONG) >= 0
        assert await disks.probe_write(target, deadline_seconds=LONG) >= 0
        capacity, available = await disks.capacity(target, deadline_seconds=LONG)
        assert 0 < available <= capacity
        with pytest.raises(StepError):
            await disks.release(device, deadline_seconds=0.3)
        await disks.settle_writes(target, deadline_seconds=LONG)
        await disks.unmount(target, dead=False, deadline_seconds=LONG)
        assert node.mounts().at(target) is None
        await disks.release(device, deadline_seconds=LONG)

    run(bench, tmp_path, scenario)


def test_taking_off_what_is_not_there_is_done_already(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        await node.disks.unmount(node.target, dead=False, deadline_seconds=LONG)
        await node.disks.unmount(node.target, dead=True, deadline_seconds=LONG)
        profile = replace(
            CONTAINERD,
            root=node.target,
            state=str(tmp_path / "state"),
            socket=str(tmp_path / "c.sock"),
        )
        await node.disks.clear_state(profile, dead=False, deadline_seconds=LONG)
        assert await node.disks.kill_shims(profile, deadline_seconds=LONG) == 0
        assert await node.disks.leftover_shims(profile, deadline_seconds=LONG) == 0

    run(bench, tmp_path, scenario)


def test_a_broken_file_system_fails_the_check_and_is_not_mounted(
    bench: MakeBench, tmp_path: Path
) -> None:
    async def scenario(node: Bench) -> None:
        node.break_filesystem()
        with pytest.raises(StepError) as caught:
            await node.disks.check(node.device, deadline_seconds=LONG)
        assert caught.value.reason == "FsckFailed"
        assert node.mounts().at(node.target) is None

    run(bench, tmp_path, scenario)


def test_a_stick_that_died_fails_its_probes_and_still_comes_off(
    bench: MakeBench, tmp_path: Path
) -> None:
    async def scenario(node: Bench) -> None:
        await node.disks.mount(node.device, node.target, deadline_seconds=LONG)
        node.die()
        with pytest.raises(StepError) as caught:
            await node.disks.probe_read(node.device, deadline_seconds=LONG)
        assert not isinstance(caught.value, StepTimeout)
        assert caught.value.reason == "IoError"
        with pytest.raises(StepError):
            await node.disks.probe_write(node.target, deadline_seconds=LONG)
        with pytest.raises(StepError):
            await node.disks.check(node.device, deadline_seconds=LONG)
        assert node.mounts().at(node.target) is not None, "the table never knows"
        await node.disks.unmount(node.target, dead=True, deadline_seconds=LONG)
        assert node.mounts().at(node.target) is None

    run(bench, tmp_path, scenario)
