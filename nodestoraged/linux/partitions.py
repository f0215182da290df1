"""The partitions of a disk as the kernel has them.

Owns: the ioctls and sysfs files about them.  May not know: what is on a partition.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import NamedTuple

__all__ = ["Partition", "listed", "reread", "sector_bytes"]

_BLKRRPART = 0x125F  # _IO(0x12, 95)
_BLKSSZGET = 0x1268  # _IO(0x12, 104)
#: sysfs counts in these, whatever the disk's own sectors are.
_SYSFS_SECTOR = 512


class Partition(NamedTuple):
    """One partition; its devnode is where devtmpfs puts it."""

    devnode: str
    major: int
    minor: int
    start_bytes: int
    length_bytes: int


def listed(major: int, minor: int) -> tuple[Partition, ...]:
    """The partitions of the disk of that number, from sysfs, by where they start."""
    base = f"/sys/dev/block/{major}:{minor}"
    found = []
    for name in os.listdir(base):
        directory = f"{base}/{name}"
        if not os.path.exists(f"{directory}/partition"):
            continue
        try:
            numbers = _text(f"{directory}/dev").split(":")
            start, length = _text(f"{directory}/start"), _text(f"{directory}/size")
        except FileNotFoundError:
            continue  # it went while we looked
        found.append(
            Partition(
                f"/dev/{name.replace('!', '/')}",
                int(numbers[0]),
                int(numbers[1]),
                int(start) * _SYSFS_SECTOR,
                int(length) * _SYSFS_SECTOR,
            )
        )
    return tuple(sorted(found, key=lambda partition: partition.start_bytes))


def reread(fd: int) -> None:
    """The kernel has read the partition table of the open disk anew.

    OSError EBUSY while anybody has a partition open, EINVAL if the driver has no partitions.
    """
    fcntl.ioctl(fd, _BLKRRPART)


def sector_bytes(fd: int) -> int:
    """The size of the open disk's logical sectors."""
    return int(struct.unpack("i", fcntl.ioctl(fd, _BLKSSZGET, bytes(4)))[0])


def _text(path: str) -> str:
    with open(path, encoding="ascii") as stream:
        return stream.read().strip()
