"""Block devices: ioctls on an open device, timed direct reads, and what sysfs says about them.

Owns: the ioctl numbers of include/uapi/linux/fs.h and the paths below /sys/dev/block.
May not know: which device should be used.  Nothing here scans all devices: one hung neighbour
would freeze us (bdev_open waits uninterruptibly).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct
import sys
import time

__all__ = [
    "diskseq",
    "is_read_only",
    "kernel_name",
    "open_exclusive_error",
    "open_pinned",
    "present_with_diskseq",
    "read_start",
    "size_bytes",
    "superblock_alive",
    "sysfs_diskseq",
    "timed_direct_read",
]

_BLKROGET = 0x125E  # _IO(0x12, 94)
_BLKSSZGET = 0x1268  # _IO(0x12, 104)
_BLKGETDISKSEQ = 0x80081280  # _IOR(0x12, 128, __u64), since Linux 5.15
# _IOR(0x12, 114, size_t): the size of size_t is part of the number, the answer is always 64 bit.
_BLKGETSIZE64 = 0x80001272 | ctypes.sizeof(ctypes.c_size_t) << 16
_ENOTTY, _EBUSY, _EINVAL = 25, 16, 22


def open_pinned(devnode: str, *, direct: bool = False) -> int:
    """An open O_RDONLY fd of the device; while it is open, its number and diskseq stay its own.

    O_NONBLOCK keeps a card reader without a card from waiting.  OSError ENOTBLK (15) if the path
    is no block device.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_DIRECT if direct else 0)
    fd = os.open(devnode, flags)
    if not stat.S_ISBLK(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(15, os.strerror(15), devnode)
    return fd


def diskseq(fd: int) -> int | None:
    """The kernel's count of this disk's incarnation, of the whole disk for a partition.

    None on kernels before 5.15, which have no such number.
    """
    try:
        return int.from_bytes(fcntl.ioctl(fd, _BLKGETDISKSEQ, bytes(8)), sys.byteorder)
    except OSError as error:
        if error.errno in (_ENOTTY, _EINVAL):
            return None
        raise


def size_bytes(fd: int) -> int:
    """The size of the device in bytes."""
    return int.from_bytes(fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8)), sys.byteorder)


def is_read_only(fd: int) -> bool:
    """The device refuses writes (write-protect switch, `blockdev --setro`)."""
    return bool(struct.unpack("i", fcntl.ioctl(fd, _BLKROGET, bytes(4)))[0])


def read_start(fd: int, length_bytes: int) -> bytes:
    """The first `length_bytes` of the device, or all of it when it is smaller."""
    parts: list[bytes] = []
    offset = 0
    while offset < length_bytes:
        part = os.pread(fd, length_bytes - offset, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def timed_direct_read(fd: int, offset_bytes: int) -> float:
    """Seconds that one 4 KiB read at `offset_bytes` took; `fd` is best opened with `direct`.

    Offset and buffer are aligned to 4 KiB, which every sector size up to that accepts.  Without
    O_DIRECT the page is dropped from the cache first, so that the medium has to answer.
    """
    import mmap  # only the child that reads needs it

    aligned = offset_bytes - offset_bytes % 4096
    with mmap.mmap(-1, 4096) as buffer:  # anonymous memory is page-aligned, as O_DIRECT demands
        if not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            os.posix_fadvise(fd, aligned, 4096, os.POSIX_FADV_DONTNEED)
        begin = time.monotonic()
        count = os.preadv(fd, [buffer], aligned)
        elapsed = time.monotonic() - begin
    if count <= 0:
        raise OSError(5, "the device returned no data")
    return elapsed


def open_exclusive_error(devnode: str) -> int | None:
    """None if nobody claims the device (mount, swap, md, fsck), else the errno of the attempt.

    O_RDONLY | O_EXCL: closing an O_RDWR fd would make udev send a `change` event about us.
    """
    try:
        fd = os.open(devnode, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return error.errno or _EBUSY
    os.close(fd)
    return None


def kernel_name(major: int, minor: int) -> str | None:
    """The kernel's name of the device (sdb1), None if it is not there."""
    try:
        return os.path.basename(os.readlink(f"/sys/dev/block/{major}:{minor}"))
    except OSError:
        return None


def sysfs_diskseq(major: int, minor: int) -> int | None:
    """The diskseq that sysfs shows for the (whole disk of the) device, None if it is gone.

    Reads sysfs only: it answers at once for a hung or dead disk.
    """
    base = f"/sys/dev/block/{major}:{minor}"
    # In sysfs a partition's directory lies within its disk's.
    inside = "/../diskseq" if os.path.exists(f"{base}/partition") else "/diskseq"
    try:
        with open(base + inside, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None


def present_with_diskseq(major: int, minor: int, wanted: int | None) -> bool:
    """The very device is still plugged in; `wanted` None asks for the number alone."""
    if wanted is None:
        return os.path.exists(f"/sys/dev/block/{major}:{minor}")
    return sysfs_diskseq(major, minor) == wanted


def superblock_alive(name: str) -> str | None:
    """The path that shows that a file system on device `name` still lives anywhere, or None.

    It exists as long as any mount namespace, lazily unmounted mount or overlay keeps the
    superblock: a successful umount proves less.
    """
    for directory in ("/proc/fs/ext4", "/sys/fs/ext4", "/sys/fs/xfs"):
        path = f"{directory}/{name}"
        if os.path.exists(path):
            return path
    return None
