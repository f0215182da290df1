"""The one way in which a stick's file system comes onto a directory.

Owns: mount.  May not know: who may be mounted (that was decided before) or when.

Order matters: the device is pinned and its superblock read by our own parser before the kernel
parses it; the mount is checked while it is detached, before anybody can see it; and it is moved
only onto a directory that nothing is mounted on.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from nodestoraged.linux import blockdev, mountinfo
from nodestoraged.linux import mount as calls
from nodestoraged.worker import arguments
from nodestoraged.worker.device import mount_fstype, pinned, read_superblock
from nodestoraged.worker.failure import OperationFailed, reason_of

__all__ = ["check_device", "check_superblock", "check_unclaimed", "mount", "mount_failure"]

_ATTRIBUTES = calls.ATTR_NOSUID | calls.ATTR_NODEV | calls.ATTR_NOATIME
_SELINUX = "security.selinux"


def mount(args: Mapping[str, object]) -> Mapping[str, object]:
    """The device's file system is the one mount on `target`; returns its `mount_id`.

    Arguments beside those of `device.pinned`: `uuid` and `fstype` as decided upon, `target`,
    `read_only`, and `like`: the directory whose owner, mode and SELinux label the top directory
    gets (null: the target's own).  The last component of `target` is created if it is missing.

    Raises Gone, DeviceChanged, WrongFilesystem, Ambivalent, ReadOnly, IoError, FsckFailed,
    MountedElsewhere, TargetBusy, TargetUnusable, MountFailed (with the kernel's message).
    """
    fstype = mount_fstype(arguments.text(args, "fstype"))
    target = arguments.path(args, "target")
    read_only = arguments.flag(args, "read_only")
    with pinned(args) as device_fd:
        check_superblock(device_fd, arguments.text(args, "uuid"), fstype)
        check_unclaimed(arguments.path(args, "devnode"))
        if blockdev.is_read_only(device_fd) and not read_only:
            raise OperationFailed("ReadOnly", "the device is write-protected")
        target_fd = _open_target(target)
        try:
            place = os.readlink(f"/proc/self/fd/{target_fd}")
            _check_free(place, target_fd)
            mount_fd = _detached(arguments.path(args, "devnode"), fstype, read_only)
            try:
                check_device(mount_fd, device_fd)
                if not read_only:
                    _make_alike(mount_fd, arguments.optional_text(args, "like") or target)
                calls.attach(mount_fd, target_fd)
                return {"mount_id": _verified_id(mount_fd, place), "target": place}
            finally:
                os.close(mount_fd)
        finally:
            os.close(target_fd)


def check_superblock(device_fd: int, uuid: str, fstype: str) -> None:
    """The device carries that file system, and nothing in its superblock works against us."""
    found, signatures = read_superblock(device_fd)
    if found is None:
        if len(signatures) > 1:
            raise OperationFailed("Ambivalent", f"signatures of {', '.join(signatures)}")
        raise OperationFailed("WrongFilesystem", f"no {fstype} superblock on the device")
    if found.fstype == "jbd" or mount_fstype(found.fstype) != fstype:
        raise OperationFailed("WrongFilesystem", f"{found.fstype} instead of {fstype}")
    if found.uuid != uuid.lower():
        raise OperationFailed("DeviceChanged", f"file system {found.uuid} instead of {uuid}")
    if found.external_journal:
        raise OperationFailed("WrongFilesystem", "its journal lies on another device")
    if found.mount_options:
        raise OperationFailed("WrongFilesystem", "its superblock carries mount options of its own")
    if not found.file_types:
        raise OperationFailed("WrongFilesystem", "no file types in directories (overlayfs needs)")


def check_unclaimed(devnode: str) -> None:
    """A second mount would share the first one's superblock, options and fate, silently."""
    if blockdev.open_exclusive_error(devnode) == errno.EBUSY:
        raise OperationFailed("MountedElsewhere", f"{devnode} is mounted or claimed already")


def _open_target(target: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            return os.open(target, flags)
        except FileNotFoundError:
            os.mkdir(target, 0o711)  # as containerd makes its root
            return os.open(target, flags)
    except OSError as error:
        message = f"{target} is no directory of its own: {error.strerror}"
        raise OperationFailed("TargetUnusable", message, cause=error) from None


def _check_free(place: str, target_fd: int) -> None:
    """Nothing is mounted on the target: mounts are never stacked."""
    present = mountinfo.mounts_at(mountinfo.read(), place)
    if present:
        number = f"{present[-1].major}:{present[-1].minor}"
        message = f"{place} has a mount already ({present[-1].fstype} on {number})"
        raise OperationFailed("TargetBusy", message)
    if os.fstat(target_fd).st_nlink == 0:
        raise OperationFailed("TargetUnusable", f"{place} was removed")


def _detached(devnode: str, fstype: str, read_only: bool) -> int:
    """An fd of a mount that nobody sees yet; here the kernel first reads the file system."""
    fs_fd = calls.fsopen(fstype)
    try:
        calls.fsconfig_string(fs_fd, "source", devnode)
        if fstype == "ext4":
            # Over whatever the superblock says: `errors=panic` on a stick must not stop the node.
            # XFS does not know the option; it shuts down on errors.
            calls.fsconfig_string(fs_fd, "errors", "remount-ro")
        if read_only:
            calls.fsconfig_flag(fs_fd, "ro")
        calls.fsconfig_create(fs_fd)
        attributes = _ATTRIBUTES | (calls.ATTR_RDONLY if read_only else 0)
        return calls.fsmount(fs_fd, attributes)
    except OSError as error:
        raise mount_failure(error, devnode, calls.kernel_messages(fs_fd)) from None
    finally:
        os.close(fs_fd)


def mount_failure(error: OSError, devnode: str, said: tuple[str, ...]) -> OperationFailed:
    """Why the kernel would not mount, in its own words where it `said` some."""
    reason = reason_of(error)
    if error.errno in (errno.EACCES, errno.EROFS):
        reason = "ReadOnly"  # EACCES: the block device refuses to be opened for writing
    elif error.errno == errno.EBUSY:
        reason = "MountedElsewhere"
    elif reason == "OsError":
        reason = "MountFailed"  # mostly EINVAL: a feature that this kernel does not know
    words = "; ".join(said) or error.strerror or ""
    details = {"kernel": list(said)}
    return OperationFailed(reason, f"mounting {devnode}: {words}", cause=error, details=details)


def check_device(mount_fd: int, device_fd: int) -> None:
    """The mount is of the pinned device and of no other that took its name."""
    found, wanted = os.fstat(mount_fd).st_dev, os.fstat(device_fd).st_rdev
    if found != wanted:
        raise OperationFailed("DeviceChanged", "the kernel mounted another device of that name")


def _make_alike(mount_fd: int, like: str) -> None:
    """The top directory has the owner, mode and SELinux label of `like`; written only if not so."""
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
    try:
        wanted, found = os.stat(like), os.fstat(top)
        if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
            os.fchown(top, wanted.st_uid, wanted.st_gid)
        if stat.S_IMODE(wanted.st_mode) != stat.S_IMODE(os.fstat(top).st_mode):
            os.fchmod(top, stat.S_IMODE(wanted.st_mode))
        label = _selinux_label(like)
        if label is not None and label != _selinux_label(top):
            os.setxattr(top, _SELINUX, label)
    finally:
        os.close(top)


def _selinux_label(where: str | int) -> bytes | None:
    try:
        return os.getxattr(where, _SELINUX)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise


def _verified_id(mount_fd: int, place: str) -> int:
    """The mount's id if it is the only one at `place`; otherwise it is taken away again."""
    mount_id = calls.mount_id_of_fd(mount_fd)
    present = mountinfo.mounts_at(mountinfo.read(), place)
    if [row.mount_id for row in present] == [mount_id]:
        return mount_id
    if present and present[-1].mount_id == mount_id:
        calls.umount(place, lazy=True)  # our open fd alone would make it busy
    raise OperationFailed("TargetBusy", f"somebody else mounted on {place} at the same time")
