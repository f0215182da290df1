"""Taking mounts away: one at a known place, or everything below a directory.

Owns: unmount, unmount_below.  May not know: which of the two is due when.
The mount table decides what is there; no path below a mount is looked at, because that may hang.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

from nodestoraged.linux import holders, mountinfo
from nodestoraged.linux import mount as calls
from nodestoraged.worker import arguments
from nodestoraged.worker.failure import OperationFailed

__all__ = ["unmount", "unmount_below"]

_ROUNDS: Final = 3


def unmount(args: Mapping[str, object]) -> Mapping[str, object]:
    """The device `major`:`minor` (null: any) is no longer mounted on `target`.

    Returns unmounted (False: nothing was there) and remaining, the number of mounts still there.
    `lazy` detaches at once, users or not: only for a device that is gone.
    Raises Busy with `details.holders` (pid, comm, how), NotOurs when another device is on top.
    """
    target = _canonical(arguments.path(args, "target"))
    major = arguments.optional_integer(args, "major")
    minor = arguments.optional_integer(args, "minor")
    present = mountinfo.mounts_at(mountinfo.read(), target)
    if not present:
        return {"unmounted": False, "remaining": 0}
    top = present[-1]
    if None not in (major, minor) and (top.major, top.minor) != (major, minor):
        message = f"{target} shows {top.major}:{top.minor}, not {major}:{minor}"
        raise OperationFailed("NotOurs", message)
    try:
        calls.umount(target, lazy=arguments.flag(args, "lazy"))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise _busy(error, top) from None
    remaining = len(mountinfo.mounts_at(mountinfo.read(), target))
    return {"unmounted": True, "remaining": remaining}


def unmount_below(args: Mapping[str, object]) -> Mapping[str, object]:
    """Nothing is mounted strictly below `path` any more, but for what is `busy`.

    Deepest first; one that is busy does not stop the others.  Returns unmounted (count) and busy:
    a list of {target, error}.  With `lazy` the busy ones are detached.
    """
    path = _canonical(arguments.path(args, "path"))
    lazy = arguments.flag(args, "lazy")
    gone = 0
    busy: dict[str, str] = {}
    # Again while something is there: a mount may have kept its neighbour busy (overlay on a tmpfs),
    # hidden another one, or been made by a command of podman that was just ending.
    for _ in range(_ROUNDS):
        rows = mountinfo.below(mountinfo.read(), path)
        if not rows:
            return {"unmounted": gone, "busy": []}
        busy.clear()
        for row in rows:
            failed = _try(row.target, lazy=False)
            if failed == errno.EBUSY and lazy:
                failed = _try(row.target, lazy=True)
            if failed is None:
                gone += 1
            elif failed not in (errno.EINVAL, errno.ENOENT):  # propagation was quicker than we
                busy[row.target] = os.strerror(failed)
    left = mountinfo.below(mountinfo.read(), path)
    found = [{"target": row.target, "error": busy.get(row.target, "still mounted")} for row in left]
    return {"unmounted": gone, "busy": found}


def _try(target: str, *, lazy: bool) -> int | None:
    try:
        calls.umount(target, lazy=lazy)
    except OSError as error:
        return error.errno or errno.EINVAL
    return None


def _busy(error: OSError, row: mountinfo.MountRow) -> OperationFailed:
    uses = [
        use
        for use in holders.uses_of_device(row.major, row.minor, row.target)
        if use.how != "mount"
    ]
    listed = [{"pid": use.process.pid, "comm": use.process.comm, "how": use.how} for use in uses]
    inside = [below.target for below in mountinfo.below(mountinfo.read(), row.target)]
    names = [f"{use.process.comm} ({use.process.pid}, {use.how})" for use in uses[:5]]
    names += [f"a mount on {target}" for target in inside[:3]]
    message = f"{row.target} is in use by {', '.join(names) or 'somebody we may not look into'}"
    details = {"holders": listed, "mounts": inside}
    return OperationFailed("Busy", message, cause=error, details=details)


def _canonical(path: str) -> str:
    """`path` as mountinfo writes it.  The last component itself is not looked at: it may hang."""
    if any(row.target == path for row in mountinfo.read()):
        return path
    parent, name = os.path.split(path)
    return os.path.join(os.path.realpath(parent), name)
