"""Rules of measure: a disk that lies about its capacity is found out, an honest one is not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.sticks import WorkerSticks
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.disk import Disk
from nodestoraged.model.errors import StepError
from tests.fakes.liar_disk import liar_disk
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.fakes.private_worker import PrivateWorker, private_worker

pytestmark = pytest.mark.integration

MIB = 1 << 20


@pytest.fixture
def worker() -> Iterator[PrivateWorker]:
    with private_worker() as ours:
        yield ours


def refused(worker: PrivateWorker, device: LoopDevice) -> StepError:
    with pytest.raises(StepError) as caught:
        worker.call("measure", deadline_seconds=60, **device.args())
    return caught.value


@pytest.mark.parametrize("size_mib", [8, 64, 777, 4096])
def test_an_honest_disk_holds_what_it_promises(
    worker: PrivateWorker, tmp_path: Path, size_mib: int
) -> None:
    with loop_device(make_image(tmp_path / "disk", size_mib=size_mib)) as device:
        disk = Disk(
            devnode=device.devnode, number=DeviceNumber(device.major, device.minor),
            diskseq=device.diskseq, size_bytes=0,
        )  # fmt: skip
        begin = time.monotonic()
        sticks = WorkerSticks(worker.children, "n")
        found = worker.runner.run(sticks.measure(disk, report=lambda _: None, deadline_seconds=60))
        assert time.monotonic() - begin < 45
    assert found.capacity_bytes == size_mib * MIB
    assert found.write_rate is not None
    assert found.read_rate is not None
    assert found.small_writes_per_second is not None
    assert found.fsync_seconds is not None
    assert min(found.write_rate, found.read_rate, found.small_writes_per_second) > 0
    assert 0 < found.fsync_seconds < 5


@pytest.mark.parametrize(
    ("true_mib", "promised_mib"), [(512, 1024), (128, 1024), (333, 1024), (601, 1024), (1019, 1024)]
)
@pytest.mark.parametrize("how", ["wrap", "drop"])
def test_a_disk_that_holds_less_is_found_out(
    worker: PrivateWorker, tmp_path: Path, true_mib: int, promised_mib: int, how: str
) -> None:
    backing = make_image(tmp_path / "disk", size_mib=true_mib)
    with (
        liar_disk(backing, promised_mib * MIB, how) as path,
        loop_device(path) as device,
    ):
        error = refused(worker, device)
    assert error.reason == "FakeCapacity"
    assert "promises 1.0 GiB and holds about " in error.message
    told = float(error.message.rpartition("about ")[2].split()[0])
    assert told * 1024 == pytest.approx(true_mib, abs=110)


def test_a_small_cache_within_the_disk_does_not_hide_it(
    worker: PrivateWorker, tmp_path: Path
) -> None:
    backing = make_image(tmp_path / "disk", size_mib=300)
    with (
        liar_disk(backing, 1024 * MIB, "drop", cached_blocks=4096) as path,
        loop_device(path) as device,
    ):
        assert refused(worker, device).reason == "FakeCapacity"


def test_a_disk_in_use_or_too_small_is_not_written(worker: PrivateWorker, tmp_path: Path) -> None:
    tiny = make_image(tmp_path / "tiny", size_mib=1)
    with loop_device(tiny) as device:
        assert refused(worker, device).reason == "TooSmall"
    assert tiny.read_bytes() == bytes(MIB)
    image = make_image(tmp_path / "disk", size_mib=64)
    with loop_device(image, read_only=True) as device:
        assert refused(worker, device).reason == "ReadOnly"
    with loop_device(image) as device:
        fd = os.open(device.devnode, os.O_RDONLY | os.O_EXCL)
        try:
            assert refused(worker, device).reason == "Busy"
        finally:
            os.close(fd)
    assert image.read_bytes() == bytes(64 * MIB)
