"""Open the very device that was decided upon, and no other that got its name since.

Owns: the pin (an open fd) and its checks.  May not know: what is done with the device.
While the fd is open the kernel keeps number and diskseq: a stick pulled and another one plugged
in meanwhile cannot take the name over (a detach becomes lazy).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from nodestoraged.linux import blockdev, superblock
from nodestoraged.worker import arguments
from nodestoraged.worker.failure import OperationFailed

__all__ = ["mount_fstype", "pinned", "read_superblock"]


@contextlib.contextmanager
def pinned(args: Mapping[str, object], *, direct: bool = False) -> Iterator[int]:
    """The open fd of the device that `devnode`, `major`, `minor` and `diskseq` (or null) name.

    Raises OperationFailed: `Gone`, `DeviceChanged` (another device under that name), `IoError`.
    """
    devnode = arguments.path(args, "devnode")
    wanted = os.makedev(arguments.integer(args, "major"), arguments.integer(args, "minor"))
    wanted_diskseq = arguments.optional_integer(args, "diskseq")
    fd = blockdev.open_pinned(devnode, direct=direct)
    try:
        found = os.fstat(fd).st_rdev
        if found != wanted:
            raise _changed(devnode, "device number", _numbers(found), _numbers(wanted))
        found_diskseq = blockdev.diskseq(fd)
        if None not in (found_diskseq, wanted_diskseq) and found_diskseq != wanted_diskseq:
            raise _changed(devnode, "diskseq", str(found_diskseq), str(wanted_diskseq))
        yield fd
    finally:
        os.close(fd)


def read_superblock(fd: int) -> tuple[superblock.Superblock | None, tuple[str, ...]]:
    """The superblock on the open device, and all signatures that were seen there."""
    data = blockdev.read_start(fd, superblock.READ_BYTES)
    return superblock.parse(data), superblock.signatures(data)


def mount_fstype(fstype: str) -> str:
    """The kernel's name for `fstype`: ext4 serves ext2 and ext3 too.  WrongFilesystem else."""
    known = {"ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "xfs": "xfs"}
    if fstype not in known:
        raise OperationFailed("WrongFilesystem", f"{fstype!r} is not supported (ext4 and xfs are)")
    return known[fstype]


def _changed(devnode: str, what: str, found: str, wanted: str) -> OperationFailed:
    message = f"{devnode} is another device now: {what} {found} instead of {wanted}"
    return OperationFailed("DeviceChanged", message)


def _numbers(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"
