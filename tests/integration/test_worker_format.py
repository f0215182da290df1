"""Rules of format, on real loop devices: what is there afterwards, and what is refused before."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.sticks import WorkerSticks
from nodestoraged.linux import blockdev, partitions
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.disk import PARTITION_TYPE, Disk, Formatted
from nodestoraged.model.errors import StepError
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.fakes.private_worker import PrivateWorker, private_worker

pytestmark = pytest.mark.integration

MIB = 1 << 20
EXT4 = ("mkfs.ext4", "-q", "-F", "-L", "old")
# include/uapi/linux/loop.h, include/uapi/linux/blkpg.h
_LOOP_SET_STATUS64, _LO_FLAGS_AUTOCLEAR, _LO_FLAGS_PARTSCAN = 0x4C04, 4, 8
_BLKPG, _BLKPG_ADD_PARTITION, _BLKPG_DEL_PARTITION = 0x1269, 1, 2


@pytest.fixture
def worker() -> Iterator[PrivateWorker]:
    with private_worker() as ours:
        yield ours


def formatted(
    worker: PrivateWorker,
    device: LoopDevice,
    *,
    fstype: str = "ext4",
    label: str = "containerd-opt",
    whole_disk: bool = True,
    blank: bool = False,
) -> Formatted:
    disk = Disk(
        devnode=device.devnode, number=DeviceNumber(device.major, device.minor),
        diskseq=device.diskseq, size_bytes=0, table=None if blank else "unknown",
    )  # fmt: skip
    sticks = WorkerSticks(worker.children, "n")
    return worker.runner.run(
        sticks.format(disk, label=label, fstype=fstype, whole_disk=whole_disk, deadline_seconds=60)
    )


def refused(worker: PrivateWorker, device: LoopDevice, **more: object) -> str:
    with pytest.raises(StepError) as caught:
        formatted(worker, device, **more)  # type: ignore[arg-type]
    return caught.value.reason


def said(*command: str) -> str:
    env = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LANG": "C"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


def wiped_types(image: Path) -> list[str]:
    """Everything that wipefs would wipe."""
    return said("wipefs", "--noheadings", "--output", "TYPE", str(image)).split()


def label_of(worker: PrivateWorker, device: LoopDevice) -> object:
    superblock = worker.call("identify", **device.args())["superblock"]
    assert isinstance(superblock, dict)
    return superblock["label"]


@pytest.mark.parametrize(
    ("fstype", "label", "size_mib"),
    [("ext4", "containerd-opt", 64), ("ext4", "sixteen-bytes-ab", 64), ("xfs", "ctrd-opt", 320)],
)
def test_a_whole_disk_gets_a_file_system_with_its_label(
    worker: PrivateWorker, tmp_path: Path, fstype: str, label: str, size_mib: int
) -> None:
    with loop_device(make_image(tmp_path / "disk", size_mib=size_mib)) as device:
        found = formatted(worker, device, fstype=fstype, label=label)
        superblock = worker.call("identify", **device.args())["superblock"]
    assert isinstance(superblock, dict)
    assert (found.devnode, found.number) == (device.devnode, (device.major, device.minor))
    assert (found.label, found.fstype, found.diskseq) == (label, fstype, device.diskseq)
    assert (superblock["uuid"], superblock["label"]) == (found.uuid, label)
    assert superblock["size_bytes"] <= size_mib * MIB


def test_older_programs_can_check_and_mount_the_new_file_system(
    worker: PrivateWorker, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "disk", size_mib=64)
    with loop_device(image) as device:
        formatted(worker, device)
    told = said("dumpe2fs", "-h", str(image))
    (features,) = [line for line in told.splitlines() if line.startswith("Filesystem features")]
    assert {"orphan_file", "metadata_csum_seed"}.isdisjoint(features.split())
    assert {"extent", "has_journal", "filetype"} <= set(features.split())
    assert (
        subprocess.run(["e2fsck", "-fn", str(image)], check=False, capture_output=True).returncode
        == 0
    )


def test_nothing_of_what_was_there_before_is_seen_any_more(
    worker: PrivateWorker, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "disk", size_mib=64)
    said("sgdisk", "--new=1:1M:20M", "--new=2:32M:60M", str(image))
    with image.open("r+b") as stream:
        for offset in (32 * MIB, 0x8000):  # an old XFS in a partition, an ISO at the start
            stream.seek(offset)
            stream.write(b"XFSB" if offset > MIB else b"\1CD001")
    with loop_device(image) as device:
        formatted(worker, device)
        assert worker.call("identify", **device.args())["signatures"] == ["ext"]
    assert wiped_types(image) == ["ext4"], "and no table, at neither end of the disk"


def test_a_disk_that_cannot_have_partitions_is_not_touched(
    worker: PrivateWorker, tmp_path: Path
) -> None:
    with loop_device(make_image(tmp_path / "disk", *EXT4, size_mib=64)) as device:
        assert refused(worker, device, whole_disk=False) == "PartitionMissing"
        assert label_of(worker, device) == "old"


@pytest.mark.parametrize("what", ["ext4", "gpt", "gpt-copy", "mbr", "partition"])
def test_what_udev_calls_blank_is_looked_at_once_more(
    worker: PrivateWorker, tmp_path: Path, what: str
) -> None:
    image = make_image(tmp_path / "disk", *(EXT4 if what == "ext4" else ()), size_mib=64)
    if what.startswith("gpt"):
        said("sgdisk", "--new=1:1M:20M", str(image))
        with image.open("r+b") as stream:
            stream.write(bytes(512 if what == "gpt" else MIB))
    elif what == "mbr":
        with image.open("r+b") as stream:
            stream.seek(510)
            stream.write(b"\x55\xaa")
    before = image.read_bytes()
    with loop_device(image) as device:
        if what == "partition":
            with_partitions(device.devnode)
            blkpg(device.devnode, _BLKPG_ADD_PARTITION, 4 * MIB, 8 * MIB)
        assert refused(worker, device, blank=True) == "NotBlank"
        if what == "partition":
            without_partition(device.devnode)
    assert image.read_bytes() == before


def test_a_blank_disk_needs_no_permission(worker: PrivateWorker, tmp_path: Path) -> None:
    with loop_device(make_image(tmp_path / "disk", size_mib=64)) as device:
        worker.call("measure", deadline_seconds=60, **device.args())
        assert formatted(worker, device, blank=True).label == "containerd-opt"


def test_an_open_partition_keeps_its_disk_as_it_was(worker: PrivateWorker, tmp_path: Path) -> None:
    with loop_device(make_image(tmp_path / "disk", *EXT4, size_mib=64)) as device:
        with_partitions(device.devnode)
        blkpg(device.devnode, _BLKPG_ADD_PARTITION, 4 * MIB, 8 * MIB)
        fd = os.open(f"{device.devnode}p1", os.O_RDONLY)
        try:
            assert refused(worker, device) == "Busy"
        finally:
            os.close(fd)
        assert label_of(worker, device) == "old"
        without_partition(device.devnode)


def test_a_label_that_would_be_cut_is_refused_before_anything_is_written(
    worker: PrivateWorker, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "disk", *EXT4, size_mib=64)
    with loop_device(image) as device:
        for fstype, label in (("xfs", "containerd-opt"), ("ext4", "seventeen-bytes-a")):
            assert refused(worker, device, fstype=fstype, label=label) == "LabelTooLong"
        assert refused(worker, device, fstype="vfat") == "WrongFilesystem"
        assert label_of(worker, device) == "old"


def test_a_disk_that_is_mounted_write_protected_or_replaced_stays_as_it_was(
    worker: PrivateWorker, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "disk", *EXT4, size_mib=64)
    with loop_device(image, read_only=True) as device:
        assert refused(worker, device) == "ReadOnly"
    with loop_device(image) as device:
        superblock = worker.call("identify", **device.args())["superblock"]
        assert isinstance(superblock, dict)
        target = tmp_path / "mounted"
        target.mkdir()
        wish = {"uuid": superblock["uuid"], "fstype": "ext4", "target": str(target)}
        worker.call("mount", **device.args(), **wish)
        assert refused(worker, device) == "Busy"
        worker.call("unmount", target=str(target))
        assert device.diskseq is not None
        right, device.diskseq = device.diskseq, device.diskseq + 1
        assert refused(worker, device) == "DeviceChanged"
        device.diskseq = right
        assert label_of(worker, device) == "old"


def test_a_disk_too_small_for_a_table_is_not_touched(worker: PrivateWorker, tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk", size_mib=1)
    image.write_bytes(b"x" * MIB)
    with loop_device(image) as device:
        assert refused(worker, device, whole_disk=False) == "TooSmall"
    assert image.read_bytes() == b"x" * MIB


def test_a_failed_mkfs_tells_its_words(worker: PrivateWorker, tmp_path: Path) -> None:
    with (
        loop_device(make_image(tmp_path / "disk", size_mib=16)) as device,
        pytest.raises(StepError) as caught,
    ):
        formatted(worker, device, fstype="xfs", label="ctrd-opt")
    assert caught.value.reason == "FormatFailed"
    assert "making xfs" in caught.value.message


def test_udev_s_lock_is_waited_for(worker: PrivateWorker, tmp_path: Path) -> None:
    with loop_device(make_image(tmp_path / "disk", size_mib=64)) as device:
        fd = os.open(device.devnode, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_SH)
        timer = threading.Timer(1.0, os.close, (fd,))
        timer.start()
        begin = time.monotonic()
        formatted(worker, device)
        assert time.monotonic() - begin > 0.9
        timer.join()


def blkpg(devnode: str, operation: int, start: int = 0, length: int = 0) -> None:
    """Add or delete partition 1 by hand: no partition parser is needed for that."""
    data = ctypes.create_string_buffer(struct.pack("<qqi64s64s4x", start, length, 1, b"", b""))
    argument = struct.pack("<iii4xQ", operation, 0, len(data), ctypes.addressof(data))
    fd = os.open(devnode, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _BLKPG, argument)
    finally:
        os.close(fd)


def without_partition(devnode: str) -> None:
    """Partition 1 goes.  Other tests' udevd see it too: they look into it, or take it away."""
    last = time.monotonic() + 10
    while True:
        try:
            return blkpg(devnode, _BLKPG_DEL_PARTITION)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            if error.errno != errno.EBUSY or time.monotonic() > last:
                raise
        time.sleep(0.05)


def with_partitions(devnode: str) -> None:
    """The loop device may have partitions; the kernel's parser may find none.

    Opened to read only: udevd asks the kernel to parse what was closed after writing, and the
    partitions that were added by hand would be gone.
    """
    info = bytearray(232)
    struct.pack_into("<I", info, 52, _LO_FLAGS_AUTOCLEAR | _LO_FLAGS_PARTSCAN)
    fd = os.open(devnode, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _LOOP_SET_STATUS64, bytes(info))
    finally:
        os.close(fd)


def test_the_file_system_lies_in_the_one_partition(worker: PrivateWorker, tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk", *EXT4, size_mib=64)
    with loop_device(image) as device:
        with_partitions(device.devnode)
        blkpg(device.devnode, _BLKPG_ADD_PARTITION, 4 * MIB, 8 * MIB)
        assert partitions.listed(device.major, device.minor)[0].start_bytes == 4 * MIB

        done = threading.Event()

        def parse() -> None:
            """Be the parser that this kernel may lack: whenever there is no partition."""
            while not done.wait(0.02):
                if not partitions.listed(device.major, device.minor):
                    with contextlib.suppress(OSError):  # one that can parse was quicker
                        blkpg(device.devnode, _BLKPG_ADD_PARTITION, MIB, 62 * MIB)

        parser = threading.Thread(target=parse)
        parser.start()
        try:
            found = formatted(worker, device, whole_disk=False)
        finally:
            done.set()
            parser.join()
        assert found.devnode == f"{device.devnode}p1"
        assert found.number != (device.major, device.minor)
        fd = blockdev.open_pinned(found.devnode)
        try:
            assert blockdev.size_bytes(fd) == 62 * MIB
        finally:
            os.close(fd)
        pin = {"devnode": found.devnode, "diskseq": found.diskseq}
        numbers = {"major": found.number.major, "minor": found.number.minor}
        superblock = worker.call("identify", **pin, **numbers)["superblock"]
        assert isinstance(superblock, dict)
        assert superblock["uuid"] == found.uuid
        without_partition(device.devnode)
    assert "No problems found" in said("sgdisk", "--verify", str(image))
    info = said("sgdisk", "--info=1", str(image))
    assert PARTITION_TYPE.upper() in info
    assert "Partition name: 'containerd-opt'" in info
    assert wiped_types(image) == ["gpt", "gpt", "PMBR"]
