"""What a stick says of itself: reading its manifest unseen, writing it, and a new UUID.

Owns: inspect, inspect_path, stamp, renew_uuid.  May not know: what follows from a manifest.

A stick that is not mounted is read through a detached mount: nobody sees it, it is read-only, and
the log is replayed only when it holds something (then the manifest may be in it).  Everything
on the stick is text of a stranger: bounded, checked field by field, no link followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping

from nodestoraged.linux import mount as calls
from nodestoraged.linux import xfslog
from nodestoraged.worker import arguments, helper, manifest
from nodestoraged.worker.device import mount_fstype, pinned, read_superblock
from nodestoraged.worker.failure import OperationFailed
from nodestoraged.worker.operations_mount import (
    check_device,
    check_superblock,
    check_unclaimed,
    mount_failure,
)

__all__ = ["inspect", "inspect_path", "renew_uuid", "stamp"]

_DIRECTORY_NAME, _FILE_NAME = ".nodestoraged", "manifest.json"
_NEW_NAME = ".manifest.json.new"
_FILE_BYTES = 64 * 1024
_ATTRIBUTES = (
    calls.ATTR_RDONLY
    | calls.ATTR_NOSUID
    | calls.ATTR_NODEV
    | calls.ATTR_NOEXEC
    | calls.ATTR_NOATIME
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def inspect(args: Mapping[str, object]) -> Mapping[str, object]:
    """The manifest of an unmounted stick, and its space; the stick is not written.

    Arguments beside those of `device.pinned`: `uuid` and `fstype` as decided upon.  Returns
    `manifest` (null if there is none), `capacity_bytes`, `available_bytes`.  A log that holds
    something is replayed, which writes.  Raises as `mount` does, ManifestBroken and
    ManifestUnknown.
    """
    fstype = mount_fstype(arguments.text(args, "fstype"))
    with pinned(args) as device_fd:
        check_superblock(device_fd, arguments.text(args, "uuid"), fstype)
        devnode = arguments.path(args, "devnode")
        check_unclaimed(devnode)
        with _unseen(devnode, fstype, replay=not _log_is_clean(device_fd, fstype)) as mount_fd:
            check_device(mount_fd, device_fd)
            top = os.open(".", _DIRECTORY, dir_fd=mount_fd)
            try:
                return _account(top)
            finally:
                os.close(top)


def inspect_path(args: Mapping[str, object]) -> Mapping[str, object]:
    """The same as `inspect` of a directory that lies at `path`."""
    top = os.open(arguments.path(args, "path"), _DIRECTORY)
    try:
        return _account(top)
    finally:
        os.close(top)


def stamp(args: Mapping[str, object]) -> Mapping[str, object]:
    """`manifest` is the manifest below `path`, which lies on `major`:`minor`; it is on the medium.

    A reader finds the old one or the new one, never a part.  Raises DeviceChanged if `path` lies
    on another device, ManifestBroken if something else has its place, NoSpace, ReadOnly, IoError.
    """
    path, data = arguments.path(args, "path"), _wished(args)
    wanted = os.makedev(arguments.integer(args, "major"), arguments.integer(args, "minor"))
    top = os.open(path, _DIRECTORY)
    try:
        _check_lies_on(top, wanted, path)
        with contextlib.suppress(FileExistsError):
            os.mkdir(_DIRECTORY_NAME, 0o700, dir_fd=top)
        with _own_directory(top) as directory:
            _check_lies_on(directory, wanted, f"{path}/{_DIRECTORY_NAME}")
            os.fchmod(directory, 0o700)
            _replace(directory, data)
            os.fsync(directory)
        os.fsync(top)
    finally:
        os.close(top)
    return {"stamped": True}


def renew_uuid(args: Mapping[str, object]) -> Mapping[str, object]:
    """The unmounted file system has a new random UUID, read back from the superblock: `uuid`.

    Arguments as for `inspect`.  A full check comes before it where tune2fs asks for one.
    Raises as `mount` does, FsckFailed, HelperMissing, UuidNotRenewed.
    """
    fstype, old = mount_fstype(arguments.text(args, "fstype")), arguments.text(args, "uuid")
    devnode = arguments.path(args, "devnode")
    with pinned(args) as device_fd:
        check_superblock(device_fd, old, fstype)
        check_unclaimed(devnode)
        if not _log_is_clean(device_fd, fstype):
            with _unseen(devnode, fstype, replay=True) as mount_fd:
                check_device(mount_fd, device_fd)
        done = _renewed_ext(devnode) if fstype == "ext4" else _renewed_xfs(devnode)
        found, _ = read_superblock(device_fd)
        if found is None or found.uuid == old.lower():
            words = "; ".join(done.last_lines) or f"exit code {done.exit_code}"
            raise OperationFailed("UuidNotRenewed", f"{devnode} kept its UUID: {words}")
        return {"uuid": found.uuid}


def _renewed_ext(devnode: str) -> helper.Finished:
    done = helper.run("tune2fs", "-U", "random", devnode)
    if done.exit_code == 0:
        return done
    # Its checksums hang on the UUID: it wants them checked before it writes them all anew.
    checked = helper.run("e2fsck", "-f", "-p", devnode)
    if checked.exit_code not in (0, 1, 2, 3):
        message = f"e2fsck ended with {checked.exit_code}: {'; '.join(checked.last_lines)}"
        raise OperationFailed("FsckFailed", message)
    return helper.run("tune2fs", "-U", "random", devnode)


def _renewed_xfs(devnode: str) -> helper.Finished:
    # What xfs_admin -U does, which is a shell script.
    return helper.run("xfs_db", "-x", "-p", "xfs_admin", "-c", "uuid generate", devnode)


def _log_is_clean(device_fd: int, fstype: str) -> bool:
    if fstype == "xfs":
        return xfslog.is_clean(
            os.pread(device_fd, 512, 0), lambda length, offset: os.pread(device_fd, length, offset)
        )
    found, _ = read_superblock(device_fd)
    return found is not None and not found.needs_recovery


@contextlib.contextmanager
def _unseen(devnode: str, fstype: str, *, replay: bool) -> Iterator[int]:
    """The fd of a read-only mount that is attached nowhere, and gone at the end of the block."""
    fs_fd = calls.fsopen(fstype)
    try:
        calls.fsconfig_string(fs_fd, "source", devnode)
        calls.fsconfig_flag(fs_fd, "ro")
        if fstype == "xfs":
            calls.fsconfig_flag(fs_fd, "nouuid")  # a clone can be looked at beside its twin
        else:
            calls.fsconfig_string(fs_fd, "errors", "remount-ro")
        if not replay:
            calls.fsconfig_flag(fs_fd, "norecovery")
        calls.fsconfig_create(fs_fd)
        mount_fd = calls.fsmount(fs_fd, _ATTRIBUTES)
    except OSError as error:
        raise mount_failure(error, devnode, calls.kernel_messages(fs_fd)) from None
    finally:
        os.close(fs_fd)
    try:
        yield mount_fd
    finally:
        os.close(mount_fd)


def _account(top: int) -> dict[str, object]:
    numbers = os.fstatvfs(top)
    return {
        "manifest": _read(top),
        "capacity_bytes": numbers.f_blocks * numbers.f_frsize,
        "available_bytes": numbers.f_bavail * numbers.f_frsize,
    }


def _read(top: int) -> dict[str, object] | None:
    """The checked manifest below the open directory; None if there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with _own_directory(top) as directory:
            try:
                fd = os.open(_FILE_NAME, flags, dir_fd=directory)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise _unreadable(error) from None
            try:
                return manifest.parse(_bounded(fd, os.fstat(top).st_dev))
            finally:
                os.close(fd)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _own_directory(top: int) -> Iterator[int]:
    try:
        fd = os.open(_DIRECTORY_NAME, _DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(error) from None
    try:
        yield fd
    finally:
        os.close(fd)


def _unreadable(error: OSError) -> Exception:
    """A link, a file or a socket in the manifest's place; anything else stays what it is."""
    if error.errno in (20, 40, 6):  # ENOTDIR, ELOOP, ENXIO
        return manifest.broken(f"{error.filename} is not what it should be: {error.strerror}")
    return error


def _bounded(fd: int, device: int) -> bytes:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_dev != device:
        raise manifest.broken(f"{_FILE_NAME} is no plain file of the stick")
    if status.st_size > _FILE_BYTES:
        raise manifest.broken(f"{_FILE_NAME} has {status.st_size} bytes")
    return os.pread(fd, _FILE_BYTES + 1, 0)


def _wished(args: Mapping[str, object]) -> bytes:
    wished = args.get("manifest")
    if not isinstance(wished, dict):
        raise OperationFailed("BadArguments", "manifest must be an object")
    return manifest.encode(wished)


def _check_lies_on(fd: int, wanted: int, path: str) -> None:
    found = os.fstat(fd).st_dev
    if found != wanted:
        names = [f"{os.major(number)}:{os.minor(number)}" for number in (found, wanted)]
        raise OperationFailed("DeviceChanged", f"{path} lies on {names[0]}, not on {names[1]}")


def _replace(directory: int, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_NEW_NAME, dir_fd=directory)  # of a child that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(_NEW_NAME, flags, 0o600, dir_fd=directory)
    with os.fdopen(fd, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(fd)
    os.rename(_NEW_NAME, _FILE_NAME, src_dir_fd=directory, dst_dir_fd=directory)
