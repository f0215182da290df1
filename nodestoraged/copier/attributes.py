"""Owner, mode, extended attributes and times: all that an entry is besides its data.

Owns: the order in which they are set.  May not know: which entries need it.

The owner comes before the mode and before capabilities, because a change of owner takes the
set-user-id bit and `security.capability` away.  The modification time comes last of all: an entry
whose mtime fits is finished.  Descriptors may be O_PATH: everything goes through /proc/self/fd,
which leads to the very inode, be it a link.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["alike", "make_alike", "set_times"]

_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS})
#: The security module gives it to every new file by itself and lets nobody take it away.
_KEPT = "security.selinux"


def make_alike(source: int, target: int, like: os.stat_result, *, plain: bool, fresh: bool) -> None:
    """The target has owner, mode, extended attributes and times of `like`, the source.

    `plain` says that both descriptors are open for more than the path; `fresh` that the target
    was just made, and so bears a time that the source cannot have.
    """
    ours: int | str = source if plain else f"/proc/self/fd/{source}"
    theirs: int | str = target if plain else f"/proc/self/fd/{target}"
    if not fresh:
        # Until its time is set again it does not look like the source, whatever happens.
        os.utime(theirs, ns=(like.st_atime_ns, like.st_mtime_ns - 1_000_000_000))
    there = os.fstat(target)
    foreign = (like.st_uid, like.st_gid) != (there.st_uid, there.st_gid)
    if foreign:
        os.chown(theirs, like.st_uid, like.st_gid)
    if (foreign or like.st_mode != there.st_mode) and not stat.S_ISLNK(like.st_mode):
        os.chmod(theirs, stat.S_IMODE(like.st_mode))  # noqa: PTH101 - it may be a descriptor
    _copy_xattrs(ours, theirs)
    os.utime(theirs, ns=_times(like))


def alike(source: int, target: int, *, plain: bool) -> bool:
    """Both have the same extended attributes; the rest is told by stat."""
    ours: int | str = source if plain else f"/proc/self/fd/{source}"
    theirs: int | str = target if plain else f"/proc/self/fd/{target}"
    names = _names(ours)
    if set(names) != set(_names(theirs)) - ({_KEPT} - set(names)):
        return False
    return all(_value(ours, name) == os.getxattr(theirs, name) for name in names)


def set_times(target: int, like: os.stat_result, *, plain: bool) -> None:
    """The target has the times of `like`, and its own ctime is now."""
    os.utime(target if plain else f"/proc/self/fd/{target}", ns=_times(like))


def _times(like: os.stat_result) -> tuple[int, int]:
    return like.st_atime_ns, like.st_mtime_ns


def _copy_xattrs(source: int | str, target: int | str) -> None:
    names = _names(source)
    # A new entry may have got access rights by default from the directory that it was made in.
    for name in set(_names(target)) - set(names) - {_KEPT}:
        os.removexattr(target, name)
    for name in names:
        value = _value(source, name)
        if value is not None:
            os.setxattr(target, name, value)


def _value(at: int | str, name: str) -> bytes | None:
    """None if it was taken away since it was listed: a live source."""
    try:
        return os.getxattr(at, name)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def _names(at: int | str) -> list[str]:
    try:
        return os.listxattr(at)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return []
        raise
