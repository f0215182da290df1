"""The mount system calls: fsopen to move_mount, open_tree, mount_setattr, umount2.

Owns: three-line wrappers which raise OSError(errno, strerror, filename).
May not know: policy; which file system, options or target are right is the caller's affair.

The new calls have wrappers in glibc since 2.36 and none in musl, so a missing wrapper falls back
to syscall(2).  Their numbers (428 to 433, 442) are one and the same on every architecture that
we ship for (x86_64, aarch64, armv7): asm-generic/unistd.h and each arch's syscall table agree
since Linux 5.2.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from nodestoraged.linux.libc import LIBC, check, check_syscall

__all__ = [
    "ATTR_ATIME",
    "ATTR_NOATIME",
    "ATTR_NODEV",
    "ATTR_NOEXEC",
    "ATTR_NOSUID",
    "ATTR_RDONLY",
    "MNT_DETACH",
    "MS_PRIVATE",
    "MS_REC",
    "MS_SHARED",
    "attach",
    "clone_tree",
    "fsconfig_create",
    "fsconfig_flag",
    "fsconfig_string",
    "fsmount",
    "fsopen",
    "kernel_messages",
    "mount_id_of_fd",
    "set_attributes",
    "set_propagation",
    "umount",
    "unshare_mounts",
]

# include/uapi/linux/mount.h
ATTR_RDONLY = 0x01
ATTR_NOSUID = 0x02
ATTR_NODEV = 0x04
ATTR_NOEXEC = 0x08
ATTR_NOATIME = 0x10
ATTR_ATIME = 0x70  # the field that NOATIME is a value of: it is cleared where that is set
MNT_DETACH = 0x02
_UMOUNT_NOFOLLOW = 0x08
_FSOPEN_CLOEXEC = 0x01
_FSMOUNT_CLOEXEC = 0x01
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_OPEN_TREE_CLONE = 0x01
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
_CLONE_NEWNS = 0x00020000

_int, _uint, _text, _pointer = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p, ctypes.c_void_p


class _MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _call(name: str, number: int, *argtypes: type) -> Callable[..., int]:
    """The libc wrapper `name`, or the raw call when libc has none; the result is checked."""
    wrapper = getattr(LIBC, name, None)
    if wrapper is not None:
        wrapper.argtypes = argtypes
        wrapper.restype = ctypes.c_int

        def through_libc(*args: object, filename: str | None = None) -> int:
            return check(wrapper(*args), filename)

        return through_libc

    def through_syscall(*args: object, filename: str | None = None) -> int:
        typed = (kind(arg) for kind, arg in zip(argtypes, args, strict=True))
        return check_syscall(number, *typed, filename=filename)

    return through_syscall


_open_tree = _call("open_tree", 428, _int, _text, _uint)
_move_mount = _call("move_mount", 429, _int, _text, _int, _text, _uint)
_fsopen = _call("fsopen", 430, _text, _uint)
_fsconfig = _call("fsconfig", 431, _int, _uint, _text, _text, _int)
_fsmount = _call("fsmount", 432, _int, _uint, _uint)
_mount_setattr = _call("mount_setattr", 442, _int, _text, _uint, _pointer, ctypes.c_size_t)

LIBC.umount2.argtypes = (_text, _int)
LIBC.umount2.restype = _int
LIBC.mount.argtypes = (_text, _text, _text, ctypes.c_ulong, _pointer)
LIBC.mount.restype = _int
LIBC.unshare.argtypes = (_int,)
LIBC.unshare.restype = _int


def fsopen(fstype: str) -> int:
    """A new file system context of type `fstype`; the fd is close-on-exec."""
    return _fsopen(fstype.encode(), _FSOPEN_CLOEXEC, filename=fstype)


def fsconfig_string(fs_fd: int, key: str, value: str) -> None:
    """Set the parameter `key` of the context to `value` (`source`, `errors`)."""
    _fsconfig(fs_fd, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0, filename=value)


def fsconfig_flag(fs_fd: int, key: str) -> None:
    """Set the parameter `key` of the context, which takes no value (`ro`)."""
    _fsconfig(fs_fd, _FSCONFIG_SET_FLAG, key.encode(), None, 0, filename=key)


def fsconfig_create(fs_fd: int) -> None:
    """Let the kernel read the superblock of the configured source (the log is replayed here)."""
    _fsconfig(fs_fd, _FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fs_fd: int, attributes: int) -> int:
    """A detached mount of the created superblock with `attributes` (ATTR_*): an O_PATH fd."""
    return _fsmount(fs_fd, _FSMOUNT_CLOEXEC, attributes)


def attach(mount_fd: int, target_fd: int) -> None:
    """Put the detached mount of `mount_fd` onto the directory that `target_fd` names."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _move_mount(mount_fd, b"", target_fd, b"", flags)


def clone_tree(path: str) -> int:
    """A detached copy of the mount that `path` is on, with `path` as its root (a bind mount)."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    return _open_tree(_AT_FDCWD, os.fsencode(path), flags, filename=path)


def set_attributes(mount_fd: int, *, set_mask: int = 0, clear_mask: int = 0) -> None:
    """Change the ATTR_* of the mount of `mount_fd`; the masks are bits to set and to clear."""
    attributes = _MountAttr(set_mask, clear_mask, 0, 0)
    size = ctypes.sizeof(attributes)
    _mount_setattr(mount_fd, b"", _AT_EMPTY_PATH, ctypes.addressof(attributes), size)


def kernel_messages(fs_fd: int) -> tuple[str, ...]:
    """What the kernel wrote into the context's log: "ext4: Bad value for 'errors'" and so on.

    Each read(2) yields one message with a level letter and a blank before it ("e ", "w ", "i ");
    ENODATA says that there are no more (Documentation/filesystems/mount_api.rst).
    """
    found: list[str] = []
    while len(found) < 64:
        try:
            line = os.read(fs_fd, 4096)
        except OSError:
            break
        if not line:
            break
        found.append(line.decode(errors="backslashreplace").strip()[2:])
    return tuple(found)


def umount(target: str, *, lazy: bool = False) -> None:
    """The topmost mount at `target` is gone, or hidden when `lazy`; a symlink is not followed."""
    flags = _UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    check(LIBC.umount2(os.fsencode(target), flags), target)


def set_propagation(target: str, flags: int) -> None:
    """Make the mount at `target` private or shared (MS_PRIVATE, MS_SHARED, MS_REC)."""
    check(LIBC.mount(b"none", os.fsencode(target), None, flags, None), target)


def unshare_mounts() -> None:
    """This process gets a mount namespace of its own (for tests and `mount_namespace = "own"`)."""
    check(LIBC.unshare(_CLONE_NEWNS))


def mount_id_of_fd(fd: int) -> int:
    """The id, as in mountinfo, of the mount that the open file `fd` lives on (proc(5), fdinfo)."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise OSError(5, "no mnt_id in fdinfo", f"/proc/self/fdinfo/{fd}")
