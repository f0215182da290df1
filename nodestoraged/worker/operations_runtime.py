"""What the runtime's own process sees: the links of the proof that do not need its socket.

Owns: runtime_view, process_start.  May not know: whether what it finds is a proof.
Everything here is readable without ptrace rights (/proc/<pid>/mountinfo, stat and /proc/locks),
so the unit needs no CAP_SYS_PTRACE.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from nodestoraged.linux import locks, mountinfo, process
from nodestoraged.worker import arguments
from nodestoraged.worker.failure import OperationFailed

__all__ = ["process_start", "runtime_view"]

_DATABASE = "io.containerd.metadata.v1.bolt/meta.db"


def runtime_view(args: Mapping[str, object]) -> Mapping[str, object]:
    """How the process `pid` sees `path` (its root), from its own mount table and its locks.

    Returns mount (the row that covers the path there, null if none), root_mount_ids of `/` as
    seen by the runtime, by us and by init (equal ids: one namespace), locks (its FLOCK WRITE ones
    as {major, minor, inode}), database (device and inode of `path`/…/meta.db as we see it, null
    if unreadable) and start_seconds (CLOCK_BOOTTIME).  Raises ProcessGone.
    """
    pid = arguments.integer(args, "pid")
    path = arguments.path(args, "path")
    started = process.start_seconds(pid)
    try:
        theirs = mountinfo.read(pid)
    except OSError as error:
        raise OperationFailed("ProcessGone", f"process {pid} is gone", cause=error) from None
    if started is None:
        raise OperationFailed("ProcessGone", f"process {pid} is gone")
    row = mountinfo.covering(theirs, path)
    return {
        "mount": None if row is None else _mount(row),
        "root_mount_ids": {
            "runtime": _root_id(theirs),
            "ours": _root_id(mountinfo.read()),
            "init": _root_id(_of_init()),
        },
        "locks": [
            {"major": lock.major, "minor": lock.minor, "inode": lock.inode}
            for lock in locks.read()
            if lock.pid == pid and lock.kind == "FLOCK" and lock.mode == "WRITE" and not lock.waits
        ],
        "database": _database(path),
        "start_seconds": started,
    }


def process_start(args: Mapping[str, object]) -> Mapping[str, object]:
    """When `pid` started, in seconds of CLOCK_BOOTTIME; null if there is no such process."""
    return {"start_seconds": process.start_seconds(arguments.integer(args, "pid"))}


def _mount(row: mountinfo.MountRow) -> dict[str, object]:
    return {
        "mount_id": row.mount_id,
        "major": row.major,
        "minor": row.minor,
        "root": row.root,
        "target": row.target,
        "fstype": row.fstype,
        "source": row.source,
        "options": list(row.options),
        "super_options": list(row.super_options),
        "propagation": list(row.propagation),
    }


def _root_id(rows: tuple[mountinfo.MountRow, ...]) -> int | None:
    row = mountinfo.covering(rows, "/")
    return None if row is None else row.mount_id


def _of_init() -> tuple[mountinfo.MountRow, ...]:
    try:
        return mountinfo.read(1)
    except OSError:
        return ()


def _database(path: str) -> dict[str, object] | None:
    try:
        fd = os.open(f"{path}/{_DATABASE}", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        major, minor = mountinfo.device_of(fd)
        return {"major": major, "minor": minor, "inode": os.fstat(fd).st_ino}
    finally:
        os.close(fd)
