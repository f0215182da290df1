"""A directory on a mounted disk as the one mount on the root.

Owns: bind.  May not know: whose directory it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from nodestoraged.linux import mount as calls
from nodestoraged.linux import mountinfo
from nodestoraged.worker import arguments
from nodestoraged.worker.failure import OperationFailed

__all__ = ["bind"]

_ATTRIBUTES = calls.ATTR_NOSUID | calls.ATTR_NODEV | calls.ATTR_NOATIME


def bind(args: Mapping[str, object]) -> Mapping[str, object]:
    """`directory`, which lies on device `major`:`minor`, is the one mount on `target`.

    The mount is made detached and checked before anybody sees it.  Returns `mount_id`.  Raises
    TargetUnusable, TargetBusy, DeviceChanged, NotADirectory.
    """
    directory, target = arguments.path(args, "directory"), arguments.path(args, "target")
    wanted = os.makedev(arguments.integer(args, "major"), arguments.integer(args, "minor"))
    try:
        found = os.stat(directory, follow_symlinks=False)
    except OSError as error:
        raise OperationFailed(
            "NotADirectory", f"{directory}: {error.strerror}", cause=error
        ) from None
    if not os.path.isdir(directory) or os.path.realpath(directory) != directory:
        raise OperationFailed("NotADirectory", f"{directory} is a link, or no directory")
    if found.st_dev != wanted:
        raise OperationFailed("DeviceChanged", f"{directory} lies on another device than was meant")
    if mountinfo.mounts_at(mountinfo.read(), target):
        raise OperationFailed("TargetBusy", f"{target} has a mount already")
    try:
        target_fd = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        message = f"{target} is no directory of its own: {error.strerror}"
        raise OperationFailed("TargetUnusable", message, cause=error) from None
    try:
        mount_fd = calls.clone_tree(directory)
        try:
            if os.fstat(mount_fd).st_dev != wanted:
                raise OperationFailed("DeviceChanged", f"{directory} was mounted over")
            calls.set_attributes(mount_fd, set_mask=_ATTRIBUTES, clear_mask=calls.ATTR_ATIME)
            calls.attach(mount_fd, target_fd)
            return {"mount_id": calls.mount_id_of_fd(mount_fd)}
        finally:
            os.close(mount_fd)
    finally:
        os.close(target_fd)
