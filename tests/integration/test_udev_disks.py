"""Rules for whole disks with a real udev: what is on one, before and after it is prepared."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.sticks import WorkerSticks
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.disk import Disk, Formatted
from tests.fakes.loopdev import loop_device, make_image
from tests.fakes.node_bench import with_udev
from tests.integration.test_udev_events import Watched, label_is


def disk_at(watched: Watched, devnode: str) -> Disk | None:
    return next((disk for disk in watched.devices.disks() if disk.devnode == devnode), None)


def differs(now: Disk, before: Disk) -> bool:
    return now.diskseq != before.diskseq


async def formatted(disk: Disk) -> Formatted:
    children = Children()
    try:
        return await WorkerSticks(children, "n").format(
            disk, label="containerd-opt", fstype="ext4", whole_disk=True, deadline_seconds=60
        )
    finally:
        await children.close()


@with_udev
def test_a_blank_disk_is_seen_prepared_and_seen_again(base: Path) -> None:
    watched = Watched()
    with loop_device(make_image(base / "disk", size_mib=64)) as loop:
        devnode = loop.devnode
        watched.until(lambda: disk_at(watched, devnode) is not None)
        disk = disk_at(watched, devnode)
        assert disk is not None
        assert disk.blank
        assert (disk.number, disk.diskseq) == ((loop.major, loop.minor), loop.diskseq)
        assert (disk.size_bytes, disk.parts, disk.holders) == (64 << 20, (), ())
        made = asyncio.run(formatted(disk))
        watched.until(label_is(watched, loop.devnode, "containerd-opt"))
        device = watched.found(loop.devnode)
        assert device is not None
        assert (device.uuid, device.number, device.diskseq) == (
            made.uuid,
            made.number,
            made.diskseq,
        )
        watched.until(lambda: (now := disk_at(watched, devnode)) is not None and not now.blank)
        again = disk_at(watched, devnode)
        assert again is not None
        assert (again.fstype, again.uuid, again.label) == ("ext4", made.uuid, "containerd-opt")
    # The number may be a neighbour's at once; that is another disk.
    watched.until(lambda: (now := disk_at(watched, devnode)) is None or differs(now, disk))


@with_udev
def test_a_partition_table_makes_a_disk_occupied(base: Path) -> None:
    watched = Watched()
    image = make_image(base / "disk", size_mib=64)
    subprocess.run(["sgdisk", "--new=1:1M:20M", str(image)], check=True, capture_output=True)
    with loop_device(image) as loop:
        # The devnode's last user may have left a record of it as it was without a medium.
        watched.until(lambda: (now := disk_at(watched, loop.devnode)) is not None and not now.blank)
        disk = disk_at(watched, loop.devnode)
        assert disk is not None
        assert (disk.table, disk.blank) == ("gpt", False)
        assert disk.number == DeviceNumber(loop.major, loop.minor)
