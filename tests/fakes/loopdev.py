"""Loop devices for tests, by ioctl: no tool that scans all devices, and a bounded life.

Every device is AUTOCLEAR: it detaches by itself when its last user closes it, so a test process
that dies leaves nothing behind.  (`losetup -a` and `-j` read every device and hang with any.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from nodestoraged.linux import blockdev

# include/uapi/linux/loop.h
_LOOP_CLR_FD = 0x4C01
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_LO_FLAGS_READ_ONLY = 1
_LO_FLAGS_AUTOCLEAR = 4
_EBUSY = 16


class LoopDevice:
    """A loop device over `backing`; close() lets it go (at once, or when it is unmounted)."""

    def __init__(self, backing: str | Path, *, read_only: bool = False) -> None:
        self.backing = str(backing)
        self._fd, self.devnode = _attach(self.backing, read_only)
        number = os.fstat(self._fd).st_rdev
        self.major, self.minor = os.major(number), os.minor(number)
        self.diskseq = blockdev.diskseq(self._fd)
        self._uuid = ""

    @property
    def uuid(self) -> str:
        """Of the file system that was first found on it; empty as long as there is none."""
        if not self._uuid:
            words = ["blkid", "--probe", "--match-tag", "UUID", "--output", "value", self.devnode]
            done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
            self._uuid = done.stdout.strip()
        return self._uuid

    def args(self) -> dict[str, object]:
        """The arguments of worker operations that name this very device."""
        return {
            "devnode": self.devnode,
            "major": self.major,
            "minor": self.minor,
            "diskseq": self.diskseq,
        }

    def close(self) -> None:
        """Detach; a mounted device detaches when it is unmounted."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, _LOOP_CLR_FD)
            os.close(self._fd)
            self._fd = -1


def _attach(backing: str, read_only: bool) -> tuple[int, str]:
    access = os.O_RDONLY if read_only else os.O_RDWR
    backing_fd = os.open(backing, access | os.O_CLOEXEC)
    try:
        for _ in range(50):
            devnode = f"/dev/loop{_free_number()}"
            fd = os.open(devnode, access | os.O_CLOEXEC)
            # struct loop_config: fd, block_size, struct loop_info64 (lo_flags at 52), reserved[8]
            flags = _LO_FLAGS_AUTOCLEAR | (_LO_FLAGS_READ_ONLY if read_only else 0)
            info = bytearray(232)
            struct.pack_into("<I", info, 52, flags)
            config = struct.pack("<II", backing_fd, 0) + bytes(info) + bytes(64)
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(fd)
                if error.errno != _EBUSY:  # another test was quicker
                    raise
                time.sleep(0.01)
                continue
            return fd, devnode
    finally:
        os.close(backing_fd)
    raise RuntimeError("no free loop device")


def _free_number() -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return int(fcntl.ioctl(control, _LOOP_CTL_GET_FREE))
    finally:
        os.close(control)


@contextlib.contextmanager
def loop_device(backing: str | Path, *, read_only: bool = False) -> Iterator[LoopDevice]:
    """A loop device for the time of a `with` block."""
    device = LoopDevice(backing, read_only=read_only)
    try:
        yield device
    finally:
        device.close()


def make_image(path: Path, *mkfs: str, size_mib: int = 32) -> Path:
    """A sparse file with the file system that the command `mkfs` makes in it."""
    with path.open("wb") as stream:
        stream.truncate(size_mib << 20)
    if mkfs:
        env = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
        subprocess.run([*mkfs, str(path)], check=True, capture_output=True, env=env)
    return path
