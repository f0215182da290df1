"""Who holds a device: open files, working directories, memory maps, containers' overlays.

Owns: the formats of /proc/<pid>/{fd,fdinfo,cwd,root,maps} and how each shows a device.
May not know: what should happen to a holder.

Robust per process: one that ends while we read, or that we may not look into (`fd`, `cwd` and
`maps` need ptrace rights, `mountinfo` does not), is left out.  No disk is touched on the way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from nodestoraged.linux import mountinfo
from nodestoraged.linux.process import Process
from nodestoraged.linux.process import table as process_table

__all__ = ["Use", "uses_of_device"]


class Use(NamedTuple):
    """One way in which a process holds a device: `how` is fd, cwd, root, map, overlay or mount."""

    process: Process
    how: str


class _Table(NamedTuple):
    """What one process's mount table says about the device `number`."""

    all_ids: frozenset[int]
    ids: frozenset[int]
    number: int


def uses_of_device(major: int, minor: int, overlay_root: str | None = None) -> tuple[Use, ...]:
    """Who holds the device `major`:`minor`, as far as we may see; each process once per way.

    `overlay_root`: processes whose own `/` is an overlay with layers below this path count as
    users too (containers: their files show the overlay's device number and never ours).
    `mount` means only that another mount namespace than ours has a copy of the mount.
    """
    ours = _namespace_of("self")
    return tuple(
        Use(process, how)
        for process in process_table()
        if not process.ended
        for how in _ways(process, major, minor, overlay_root, ours)
    )


def _ways(
    process: Process, major: int, minor: int, overlay_root: str | None, ours: str | None
) -> Iterator[str]:
    try:
        rows = mountinfo.read(process.pid)
    except OSError:
        rows = ()
    table_of = _Table(
        all_ids=frozenset(row.mount_id for row in rows),
        ids=frozenset(row.mount_id for row in mountinfo.of_device(rows, major, minor)),
        number=os.makedev(major, minor),
    )
    base = f"/proc/{process.pid}"
    opened = _names(f"{base}/fd")
    if any(_is_on(f"{base}/fd/{fd}", f"{base}/fdinfo/{fd}", table_of) for fd in opened):
        yield "fd"
    for link in ("cwd", "root"):
        if _link_is_on(f"{base}/{link}", table_of):
            yield link
    if not process.uninterruptible and _maps_device(f"{base}/maps", major, minor):
        yield "map"
    if overlay_root is not None and _is_overlay_on(rows, overlay_root):
        yield "overlay"
    namespace = _namespace_of(str(process.pid))
    if table_of.ids and namespace is not None and namespace != ours:
        yield "mount"


def _is_overlay_on(rows: tuple[mountinfo.MountRow, ...], root: str) -> bool:
    """The process's `/` is an overlay with a layer below `root` (text of the mount's options)."""
    top = mountinfo.covering(rows, "/")
    if top is None or top.fstype != "overlay":
        return False
    prefix = root.rstrip("/") + "/"
    for option in top.super_options:
        key, _, value = option.partition("=")
        if key not in ("upperdir", "workdir", "lowerdir", "lowerdir+"):
            continue
        if any(layer.startswith(prefix) for layer in value.split(":")):
            return True
    return False


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _is_on(link: str, info: str, where: _Table) -> bool:
    """The open file `link` lies on the device.  Its mount id tells without touching any disk.

    Only a file on no listed mount (lazily unmounted, or a pipe) is asked for its device number,
    and a /dev file for the device that it is.
    """
    try:
        if os.readlink(link).startswith("/dev/"):
            return os.stat(link).st_rdev == where.number
        mount_id = _mount_id(info)
        if mount_id in where.all_ids:
            return mount_id in where.ids
        return os.stat(link).st_dev == where.number
    except OSError:
        return False


def _link_is_on(link: str, where: _Table) -> bool:
    try:
        fd = os.open(link, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_on(f"/proc/self/fd/{fd}", f"/proc/self/fdinfo/{fd}", where)
    finally:
        os.close(fd)


def _mount_id(path: str) -> int:
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as lines:
        for line in lines:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    return -1


def _maps_device(path: str, major: int, minor: int) -> bool:
    wanted = b"%02x:%02x" % (major, minor)
    with contextlib.suppress(OSError, IndexError), open(path, "rb") as lines:
        return any(line.split(None, 4)[3] == wanted for line in lines)
    return False


def _namespace_of(name: str) -> str | None:
    try:
        return os.readlink(f"/proc/{name}/ns/mnt")
    except OSError:
        return None
