"""Opens directories so that neither a link nor a mount can lead elsewhere.

Owns: the flags, the private view of a directory, and what tells two directories apart.
May not know: what is done in them.
"""

from __future__ import annotations

import errno
import os

from nodestoraged.linux import mount, mountinfo
from nodestoraged.worker.failure import OperationFailed, printable

__all__ = ["DIRECTORY", "Key", "canonical", "detached", "key_of", "refuse_mounts_below"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: st_dev and st_ino
Key = tuple[int, int]


def canonical(path: str) -> str:
    """`path` as mountinfo writes it.  The last component itself is not looked at: it may hang."""
    parent, name = os.path.split(path)
    if not name or name in (".", ".."):
        raise OperationFailed("BadArguments", f"no runtime root: {path!r}")
    return os.path.join(os.path.realpath(parent), name)


def detached(path: str) -> int:
    """The directory `path` in a private view of its mount in which nothing is mounted below.

    The view is attached nowhere: nobody else sees it, and it ends with the descriptor.
    Raises TargetUnusable if `path` is missing, a link, or no directory.
    """
    try:
        seen = os.open(path, DIRECTORY | os.O_PATH)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise OperationFailed(
            "TargetUnusable", f"{printable(path)} is not a directory", cause=error
        ) from None
    try:
        mounted = mount.clone_tree(f"/proc/self/fd/{seen}")
    finally:
        os.close(seen)
    try:
        return os.open(".", DIRECTORY, dir_fd=mounted)
    finally:
        os.close(mounted)


def key_of(directory: int) -> Key:
    """What tells this open directory from every other one: st_dev and st_ino."""
    found = os.fstat(directory)
    return found.st_dev, found.st_ino


def refuse_mounts_below(path: str) -> None:
    """Raises Busy if something is mounted below the canonical `path`."""
    found = mountinfo.below(mountinfo.read(), path)
    if found:
        raise OperationFailed("Busy", f"{found[0].target} is still mounted")
