"""A disk becomes a stick: old signatures go, a partition table and a file system come.

Owns: format.  May not know: whether the disk may be overwritten (that was decided before).

udev is kept away by the lock that it respects itself (https://systemd.io/BLOCK_DEVICE_LOCKING):
else it would read the table anew in the middle of it and take the partition away again.  The
partition table is our own bytes, so that no program has to be installed for it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from nodestoraged.linux import blockdev, gpt, partitions
from nodestoraged.worker import arguments, helper
from nodestoraged.worker.device import pinned, read_superblock
from nodestoraged.worker.failure import OperationFailed

__all__ = ["format_disk"]

_ZEROED_BYTES = 1 << 20
#: udev probes a new disk for a moment; longer than that it is somebody else.
_LOCK_SECONDS = 15.0
_PARTITION_SECONDS = 10.0
_BUSY_SECONDS = 3.0
_POLL_SECONDS = 0.05
_LABEL_BYTES = {"ext4": 16, "xfs": 12}
# Features that e2fsck before 1.47 refuses, or that kernels before 5.15 do not mount.
_TOO_NEW_IN_1_43 = "^metadata_csum_seed"
_TOO_NEW = f"^orphan_file,{_TOO_NEW_IN_1_43}"
_Outcome = TypeVar("_Outcome")


class _Target(NamedTuple):
    """Where the file system goes."""

    devnode: str
    major: int
    minor: int


def format_disk(args: Mapping[str, object]) -> Mapping[str, object]:
    """The disk carries one new file system of that label, and nothing else.

    Arguments beside those of `device.pinned`: `label`, `fstype` (ext4, xfs), `whole_disk`, and
    `partition_type`, the GUID of the one partition, which is named like the label, and `blank`:
    whether nothing should be on it.  Returns devnode, major, minor, diskseq, uuid, label, fstype,
    read back from the superblock.

    Raises Gone, DeviceChanged, ReadOnly, Busy, LabelTooLong, WrongFilesystem, TooSmall, NotBlank,
    HelperMissing before anything is written; then IoError, PartitionMissing, FormatFailed,
    LabelTruncated.
    """
    label, fstype = arguments.text(args, "label"), arguments.text(args, "fstype")
    _check_label(label, fstype)
    helper.find(f"mkfs.{fstype}")
    whole_disk = arguments.flag(args, "whole_disk")
    partition_type = arguments.text(args, "partition_type")
    devnode = arguments.path(args, "devnode")
    with pinned(args) as disk_fd:
        number = os.fstat(disk_fd).st_rdev
        target = _Target(devnode, os.major(number), os.minor(number))
        if blockdev.is_read_only(disk_fd):
            raise OperationFailed("ReadOnly", f"{devnode} is write-protected")
        with _locked(disk_fd, devnode):
            if arguments.flag(args, "blank"):
                _check_blank(target, disk_fd)
            table = None if whole_disk else _table(disk_fd, partition_type, label)
            _erase(target, disk_fd, table)
            if table is not None:
                target = _partition(target, table)
            _make(target.devnode, fstype, label)
            found = _read_back(target, fstype, label)
        diskseq = blockdev.diskseq(disk_fd)
    _tell_udev(target.devnode)
    return {**target._asdict(), "diskseq": diskseq, **found}


def _check_label(label: str, fstype: str) -> None:
    room = _LABEL_BYTES.get(fstype)
    if room is None:
        raise OperationFailed("WrongFilesystem", f"{fstype!r} is not made here (ext4 and xfs are)")
    if len(label.encode()) > room:
        short = " (ctrd-opt is the short one)" if fstype == "xfs" else ""
        message = f"{fstype} keeps {room} bytes of a label, {label!r} is longer{short}"
        raise OperationFailed("LabelTooLong", message)


def _check_blank(disk: _Target, disk_fd: int) -> None:
    """udev may not have looked yet, or in vain: what it calls blank is looked at once more."""
    _, seen = read_superblock(disk_fd)
    sector, size = partitions.sector_bytes(disk_fd), blockdev.size_bytes(disk_fd)
    found = list(seen)
    if os.pread(disk_fd, 2, 510) == b"\x55\xaa":
        found.append("a boot sector")
    if b"EFI PART" in {os.pread(disk_fd, 8, at) for at in (sector, max(0, size - sector))}:
        found.append("a GPT")
    if partitions.listed(disk.major, disk.minor):
        found.append("partitions")
    if found:
        message = f"{disk.devnode} is not blank, as udev says: {', '.join(found)}"
        raise OperationFailed("NotBlank", message)


@contextlib.contextmanager
def _locked(disk_fd: int, devnode: str) -> Iterator[None]:
    def attempt() -> bool | None:
        try:
            fcntl.flock(disk_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return True

    if _awaited(attempt, _LOCK_SECONDS) is None:
        raise OperationFailed("Busy", f"another program has locked {devnode}")
    try:
        yield
    finally:
        fcntl.flock(disk_fd, fcntl.LOCK_UN)


def _table(disk_fd: int, partition_type: str, label: str) -> gpt.Table:
    try:
        return gpt.one_partition(
            blockdev.size_bytes(disk_fd),
            partitions.sector_bytes(disk_fd),
            partition_type=partition_type,
            name=label,
            guids=(gpt.random_guid(), gpt.random_guid()),
        )
    except ValueError as error:
        raise OperationFailed("TooSmall", str(error)) from None


def _erase(disk: _Target, disk_fd: int, table: gpt.Table | None) -> None:
    """Every old signature is gone, the new table is written, and the kernel knows it."""
    size_bytes = blockdev.size_bytes(disk_fd)
    ranges = [(0, size_bytes)]
    ranges += [(p.start_bytes, p.length_bytes) for p in partitions.listed(disk.major, disk.minor)]
    if table is not None:
        ranges.append((table.start_bytes, table.length_bytes))
    # Closing it makes udev look: it finds our lock, and only notes that something changed.
    fd = _open_exclusively(disk, disk_fd)
    try:
        # Before anything is written: whoever looks at a partition now makes it fail here.
        if not _reread(fd, disk.devnode) and table is not None:
            message = f"the driver of {disk.devnode} knows no partitions"
            raise OperationFailed("PartitionMissing", message)
        for start, length in ranges:
            for offset in {start, max(start, start + length - _ZEROED_BYTES)}:
                _write(fd, bytes(min(_ZEROED_BYTES, size_bytes - offset)), offset)
        for offset, data in table.pieces if table is not None else ():
            _write(fd, data, offset)
        os.fsync(fd)
        _reread(fd, disk.devnode)
    finally:
        os.close(fd)


def _open_exclusively(disk: _Target, disk_fd: int) -> int:
    """A writable fd of the pinned disk; nobody has it, or a partition of it, mounted."""
    try:
        flags = os.O_RDWR | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(disk.devnode, flags)
    except OSError as error:
        if error.errno == errno.EBUSY:
            message = f"{disk.devnode} or a partition of it is mounted or claimed"
            raise OperationFailed("Busy", message, cause=error) from None
        raise
    if os.fstat(fd).st_rdev != os.fstat(disk_fd).st_rdev:
        os.close(fd)
        raise OperationFailed("DeviceChanged", f"{disk.devnode} is another device now")
    return fd


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _reread(fd: int, devnode: str) -> bool:
    """The kernel has read the table anew; False if the disk cannot have partitions."""

    def attempt() -> bool | None:
        try:
            partitions.reread(fd)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return None  # somebody looks at a partition
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return False
            raise
        return True

    outcome = _awaited(attempt, _BUSY_SECONDS)
    if outcome is None:
        raise OperationFailed("Busy", f"another program has a partition of {devnode} open")
    return outcome


def _partition(disk: _Target, table: gpt.Table) -> _Target:
    """The new partition, once its devnode is there."""

    def attempt() -> _Target | None:
        for found in partitions.listed(disk.major, disk.minor):
            if (found.start_bytes, found.length_bytes) != (table.start_bytes, table.length_bytes):
                continue
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(found.devnode)
                wanted = os.makedev(found.major, found.minor)
                if stat.S_ISBLK(status.st_mode) and status.st_rdev == wanted:
                    return _Target(found.devnode, found.major, found.minor)
        return None

    found = _awaited(attempt, _PARTITION_SECONDS)
    if found is None:
        message = f"the kernel does not show the new partition of {disk.devnode}"
        raise OperationFailed("PartitionMissing", message)
    return found


def _awaited(attempt: Callable[[], _Outcome | None], seconds: float) -> _Outcome | None:
    """What `attempt` came to within that time; None if it came to nothing."""
    deadline = time.monotonic() + seconds
    while (outcome := attempt()) is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return outcome


def _make(devnode: str, fstype: str, label: str) -> None:
    if fstype == "xfs":
        done = helper.run("mkfs.xfs", "-q", "-f", "-L", label, devnode)
    else:
        done = _made_ext4(devnode, label)
    if done.exit_code != 0:
        words = "; ".join(done.last_lines) or "no output"
        message = f"making {fstype} on {devnode} ended with {done.exit_code}: {words}"
        raise OperationFailed("FormatFailed", message)


def _made_ext4(devnode: str, label: str) -> helper.Finished:
    """One per cent is reserved; the inode tables are zeroed by the kernel after the first mount."""

    def made(features: str) -> helper.Finished:
        options = ("-q", "-F", "-L", label, "-m", "1", "-E", "lazy_itable_init=1")
        return helper.run("mkfs.ext4", *options, "-O", features, devnode)

    done = made(_TOO_NEW)
    if any("Invalid filesystem option" in line for line in done.last_lines):
        return made(_TOO_NEW_IN_1_43)  # this mke2fs does not know the others yet
    return done


def _read_back(target: _Target, fstype: str, label: str) -> dict[str, object]:
    fd = blockdev.open_pinned(target.devnode)
    try:
        found, signatures = read_superblock(fd)
    finally:
        os.close(fd)
    if found is None or found.fstype != fstype:
        seen = found.fstype if found else ", ".join(signatures) or "nothing"
        raise OperationFailed("FormatFailed", f"{target.devnode} carries {seen} after mkfs")
    if found.label != label:
        message = f"{target.devnode} was labelled {found.label!r}, not {label!r}"
        raise OperationFailed("LabelTruncated", message)
    return {"uuid": found.uuid, "label": found.label, "fstype": found.fstype}


def _tell_udev(devnode: str) -> None:
    """udev before version 248 forgets events that it met while the disk was locked."""
    with contextlib.suppress(OSError):
        os.close(os.open(devnode, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK))
