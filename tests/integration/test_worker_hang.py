"""Rules for disks that hang or die: the call ends at its deadline, and the count tells the truth.

Each hung disk here lives for seconds at most: the FUSE server ends by itself.
"""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodestoraged.linux import process
from nodestoraged.model.errors import StepError, StepTimeout
from tests.fakes.faultfs import FaultDisk, fault_disk
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.fakes.private_worker import PrivateWorker, private_worker

pytestmark = pytest.mark.integration

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
EXT4 = ("mkfs.ext4", "-q", "-F", "-U", UUID)
LIFE_SECONDS = 20.0


@pytest.fixture
def worker() -> Iterator[PrivateWorker]:
    with private_worker() as ours:
        yield ours


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FaultDisk]:
    with fault_disk(make_image(tmp_path / "stick", *EXT4), life_seconds=LIFE_SECONDS) as ours:
        yield ours


@pytest.fixture
def stick(disk: FaultDisk) -> Iterator[LoopDevice]:
    with loop_device(disk.path) as device:
        yield device
        disk.kill()  # before the detach, which would wait for a hung server


def reason(worker: PrivateWorker, op: str, seconds: float = 10.0, **args: object) -> str:
    with pytest.raises(StepError) as caught:
        worker.call(op, deadline_seconds=seconds, **args)
    return caught.value.reason


def until(worker: PrivateWorker, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        worker.runner.run(asyncio.sleep(0.01))


def test_a_dead_disk_is_found_by_the_read_probe(
    worker: PrivateWorker, disk: FaultDisk, stick: LoopDevice
) -> None:
    first = worker.call("probe_read", **stick.args())
    assert isinstance(first["seconds"], float)
    disk.say("eio")
    assert reason(worker, "probe_read", **stick.args()) == "IoError"
    disk.say("ok")
    worker.call("probe_read", **stick.args())
    disk.kill()
    assert reason(worker, "probe_read", **stick.args()) == "IoError"


def test_a_slow_disk_is_measured(worker: PrivateWorker, disk: FaultDisk, stick: LoopDevice) -> None:
    disk.say("delay 0.2")
    seconds = worker.call("probe_read", **stick.args())["seconds"]
    assert isinstance(seconds, float)
    assert seconds >= 0.2


def test_a_hung_disk_ends_the_call_at_its_deadline_and_is_counted_until_it_answers(
    worker: PrivateWorker, disk: FaultDisk, stick: LoopDevice
) -> None:
    disk.say("hang")
    begin = time.monotonic()
    with pytest.raises(StepTimeout) as caught:
        worker.call("probe_read", deadline_seconds=2, **stick.args())
    assert caught.value.reason == "Hung"
    assert time.monotonic() - begin < 3.5
    assert worker.children.stuck == 1
    # The child waits where no signal reaches it, and everything else goes on.
    waiting = process.descendants(process.table(), [worker.pid])
    assert [one.state for one in waiting] == ["D"]
    assert worker.call("process_start", pid=worker.pid)["start_seconds"] is not None
    disk.say("ok")
    until(worker, lambda: worker.children.stuck == 0)
    worker.call("probe_read", **stick.args())


def test_four_hung_calls_refuse_the_fifth_and_a_yank_frees_them(
    worker: PrivateWorker, disk: FaultDisk, stick: LoopDevice
) -> None:
    disk.say("hang")

    async def four() -> list[object]:
        calls = (
            worker.children.call("probe_read", stick.args(), deadline_seconds=1.0) for _ in range(4)
        )
        return await asyncio.gather(*calls, return_exceptions=True)

    ends = worker.runner.run(four())
    assert [end.reason if isinstance(end, StepTimeout) else end for end in ends] == ["Hung"] * 4
    assert reason(worker, "probe_read", 1.0, **stick.args()) == "TooManyStuckChildren"
    disk.kill()
    until(worker, lambda: worker.children.stuck == 0)
    assert reason(worker, "probe_read", **stick.args()) == "IoError"


def test_stuck_children_are_counted_beyond_the_death_of_the_warm_process(
    worker: PrivateWorker, disk: FaultDisk, stick: LoopDevice
) -> None:
    disk.say("hang")
    assert reason(worker, "probe_read", 1.0, **stick.args()) == "Hung"
    first = process.find(worker.pid)
    assert first is not None
    process.kill(first)
    until(worker, lambda: worker.children.pid is None)
    assert worker.children.stuck == 1
    assert worker.call("process_start", pid=1)["start_seconds"] is not None
    assert worker.pid != first.pid
    disk.say("ok")
    until(worker, lambda: worker.children.stuck == 0)


def test_mounting_a_hung_disk_ends_at_the_deadline_and_mounts_nothing(
    worker: PrivateWorker, disk: FaultDisk, stick: LoopDevice, tmp_path: Path
) -> None:
    disk.say("hang")
    target = tmp_path / "root"
    wish = {**stick.args(), "uuid": UUID, "fstype": "ext4", "target": str(target)}
    assert reason(worker, "mount", 0.5, **wish) == "Hung"
    disk.say("ok")
    until(worker, lambda: worker.children.stuck == 0)
    assert worker.mounts_at(target) == ()
    worker.call("mount", **wish)
    assert len(worker.mounts_at(target)) == 1


def test_a_disk_that_dies_while_mounted_fails_the_write_probe_and_is_let_go(
    worker: PrivateWorker, disk: FaultDisk, stick: LoopDevice, tmp_path: Path
) -> None:
    target = tmp_path / "root"
    wish = {**stick.args(), "uuid": UUID, "fstype": "ext4", "target": str(target)}
    worker.call("mount", **wish)
    numbers = {"major": stick.major, "minor": stick.minor}
    worker.call("probe_write", path=str(target), **numbers)
    disk.kill()
    # The mount table and statvfs go on as if nothing had happened.
    assert worker.call("stat_fs", path=str(target))["capacity_bytes"] != 0
    assert len(worker.mounts_at(target)) == 1
    assert reason(worker, "probe_write", path=str(target)) in {"IoError", "ReadOnly"}
    assert reason(worker, "probe_read", **stick.args()) == "IoError"
    worker.call("kill_users", **numbers, root=str(target))
    worker.call("unmount", target=str(target), **numbers, lazy=True)
    found = worker.call("released", devnode=stick.devnode, **numbers)
    assert found == {"released": True, "by": None}


def test_killing_shims_does_not_wait_for_a_process_that_a_dead_disk_holds(
    worker: PrivateWorker, disk: FaultDisk, stick: LoopDevice, tmp_path: Path
) -> None:
    shell = tmp_path / "containerd-shim-runc-v2"
    shutil.copy("/bin/dash", shell)
    socket = str(tmp_path / "containerd.sock")
    script = f"dd if={stick.devnode} iflag=direct bs=4096 count=1 & wait"
    options = ["-namespace", "k8s.io", "-id", "abc", "-address", socket]
    disk.say("hang")
    shim = subprocess.Popen([str(shell), "-c", script, *options], stderr=subprocess.DEVNULL)
    until(worker, lambda: held(shim.pid) and held(shim.pid))
    found = worker.call("kill_shims", socket=socket, namespace="k8s.io", grace_seconds=0.3)
    assert shim.wait(5) == -9
    left = found["left"]
    assert isinstance(left, list)
    assert [(one["comm"], one["state"]) for one in left] == [("dd", "D")]
    disk.say("ok")
    until(worker, lambda: (now := process.find(left[0]["pid"])) is None or now.ended)


def held(pid: int) -> bool:
    """True if `dd` waits for the disk; for a page of a program it would not wait as long."""
    time.sleep(0.05)
    below = process.descendants(process.table(), [pid])
    return [(one.comm, one.state) for one in below] == [("dd", "D")]


def test_a_fault_server_ends_by_itself(tmp_path: Path) -> None:
    with fault_disk(make_image(tmp_path / "stick", *EXT4), life_seconds=0.5) as ours:
        assert ours.process.wait(5) == 0
