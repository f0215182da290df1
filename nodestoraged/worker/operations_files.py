"""Operations on a mounted file system: probes, numbers, and the runtime's left-over state.

Owns: probe_write, syncfs, stat_fs, clean_state.  May not know: which device should be there
(it is passed in where writing to a wrong one would do harm).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import time
from collections.abc import Mapping

from nodestoraged.linux import mountinfo
from nodestoraged.linux.libc import LIBC, check
from nodestoraged.worker import arguments
from nodestoraged.worker.failure import OperationFailed

__all__ = ["clean_state", "probe_write", "stat_fs", "syncfs"]

_PROBE_NAME = ".nodestoraged-probe"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TASKS = "io.containerd.runtime.v2.task"
_CRI = "io.containerd.grpc.v1.cri"


def probe_write(args: Mapping[str, object]) -> Mapping[str, object]:
    """A small file was created, written, fsynced and removed in `path`; returns seconds.

    With `major` and `minor` nothing is written unless `path` lies on that device
    (`DeviceChanged`).  A dead disk still lets statvfs and cached reads succeed: only this and a
    direct read tell.  Raises IoError, ReadOnly, NoSpace.
    """
    path = arguments.path(args, "path")
    begin = time.monotonic()
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_on_device(directory, path, args)
        _remove_probe(directory)  # of a child that was killed; never followed if it is a link
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(_PROBE_NAME, flags, 0o600, dir_fd=directory)
        try:
            os.write(fd, f"{os.getpid()} {begin}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
            _remove_probe(directory)
    finally:
        os.close(directory)
    return {"seconds": time.monotonic() - begin}


def syncfs(args: Mapping[str, object]) -> Mapping[str, object]:
    """Everything that was written to the file system of `path` is on its medium; returns seconds.

    Never sync(2): it waits for every disk of the machine.
    """
    path = arguments.path(args, "path")
    begin = time.monotonic()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(LIBC.syncfs(ctypes.c_int(fd)), path)
    finally:
        os.close(fd)
    return {"seconds": time.monotonic() - begin}


def stat_fs(args: Mapping[str, object]) -> Mapping[str, object]:
    """Device and space of the file system that `path` lies on, as cAdvisor computes them.

    The device is the one that the mount table names; `path` is answered with its links followed.
    """
    path = arguments.path(args, "path")
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        numbers, (major, minor) = os.fstatvfs(fd), mountinfo.device_of(fd)
        followed = os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return {
        "path": followed,
        "st_major": major,
        "st_minor": minor,
        "capacity_bytes": numbers.f_blocks * numbers.f_frsize,
        "available_bytes": numbers.f_bavail * numbers.f_frsize,
        "inodes": numbers.f_files,
        "inodes_free": numbers.f_favail,
    }


def clean_state(args: Mapping[str, object]) -> Mapping[str, object]:
    """The bundles of `namespace` (k8s.io) and CRI's records below `state_dir` are gone.

    To be called with the runtime stopped, its shims dead and nothing mounted below, else the next
    start re-adopts tasks of the old root.  No link is followed, no other device entered; other
    namespaces are left alone.  Returns removed (count); raises Busy if something is mounted there.
    """
    state = arguments.path(args, "state_dir")
    namespace = arguments.optional_text(args, "namespace") or "k8s.io"
    if "/" in namespace or namespace in (".", ".."):
        raise OperationFailed("BadArguments", f"no namespace: {namespace!r}")
    removed = 0
    for parts in ((_TASKS, namespace), (_CRI, "sandboxes"), (_CRI, "containers")):
        removed += _empty(state, parts)
    return {"removed": removed}


def _empty(state: str, parts: tuple[str, ...]) -> int:
    path = os.path.realpath(os.path.join(state, *parts))
    mounted = mountinfo.below(mountinfo.read(), path)
    if mounted:
        raise OperationFailed("Busy", f"{mounted[0].target} is still mounted")
    try:
        directory = os.open(state, _DIRECTORY)
    except FileNotFoundError:
        return 0
    device = os.fstat(directory).st_dev
    try:
        for part in parts:
            below = os.open(part, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        return _remove_contents(directory, device)
    except FileNotFoundError:
        return 0
    finally:
        os.close(directory)


def _remove_contents(directory: int, device: int) -> int:
    removed = 0
    if os.fstat(directory).st_dev != device:
        return 0
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                removed += _remove_contents(below, device)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
        removed += 1
    return removed


def _check_on_device(directory: int, path: str, args: Mapping[str, object]) -> None:
    major = arguments.optional_integer(args, "major")
    minor = arguments.optional_integer(args, "minor")
    if major is None or minor is None:
        return
    found = mountinfo.device_of(directory)
    if found != (major, minor):
        where = f"{found[0]}:{found[1]}"
        raise OperationFailed("DeviceChanged", f"{path} lies on {where}, not on {major}:{minor}")


def _remove_probe(directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_PROBE_NAME, dir_fd=directory)
