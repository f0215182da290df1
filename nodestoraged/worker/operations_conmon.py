"""Operations on what podman leaves running: its monitors, and what it remembers of this boot.

Owns: conmons, kill_conmons, forget_podman.  May not know: when killing or forgetting is right.

podman has no daemon.  Each container has a monitor of its own, `conmon`, which was started with
`-b ROOT/overlay-containers/ID/userdata` and is the reaper of its container.  When the container
ends, the monitor starts `podman container cleanup`, which would wait for a dead disk: monitors
are held still first, everything below them goes, and they themselves last.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Mapping
from typing import NamedTuple

from nodestoraged.linux import mountinfo, process
from nodestoraged.worker import arguments
from nodestoraged.worker.directories import DIRECTORY
from nodestoraged.worker.failure import OperationFailed

__all__ = ["conmons", "forget_podman", "kill_conmons"]

_COMM = "conmon"
_POLL_SECONDS = 0.02
#: containers.conf(5), `tmp_dir`: where podman run by root keeps what a reboot shall end.
_LIBPOD = "/run/libpod"
#: libpod's SHM lock manager: the semaphores of all containers, pods and volumes.
_LOCKS = "/dev/shm/libpod_lock"  # noqa: S108 - not ours: the name is libpod's
#: Where crun and runc run by root keep the state of a container: a directory named after its id.
_OCI_STATES = ("/run/crun", "/run/runc")
_CONTAINERS = "overlay-containers"


class _Conmon(NamedTuple):
    process: process.Process
    container_id: str


def conmons(args: Mapping[str, object]) -> Mapping[str, object]:
    """The monitors of containers whose files lie below `root`: {"conmons": [{pid, id}, ...]}."""
    found = _find(arguments.path(args, "root"))
    return {"conmons": [{"pid": one.process.pid, "id": one.container_id} for one in found]}


def kill_conmons(args: Mapping[str, object]) -> Mapping[str, object]:
    """No monitor of a container below `root` is left, nor anything that runs below one.

    SIGKILL at once, then waits at most `grace_seconds` (5) for them to end.  Returns conmons (how
    many were found), killed (processes) and left: [{pid, comm, state}], those that did not end;
    state D means that they wait for a disk and no signal can help.
    """
    root = arguments.path(args, "root")
    deadline = time.monotonic() + arguments.number(args, "grace_seconds", 5.0)
    monitors = [one.process for one in _find(root)]
    for one in monitors:
        process.kill(one, signal.SIGSTOP)
    killed: list[process.Process] = []
    while True:
        known = {(one.pid, one.start_ticks) for one in killed}
        below = process.descendants(process.table(), [one.pid for one in monitors])
        fresh = [one for one in below if (one.pid, one.start_ticks) not in known and not one.ended]
        hit = [one for one in fresh if process.kill(one)]
        killed += hit
        if not hit or time.monotonic() >= deadline:
            break
    killed += [one for one in monitors if process.kill(one)]
    left = killed
    while (left := [one for one in left if process.alive(one)]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    rows = [process.find(one.pid) or one for one in left]
    return {
        "conmons": len(monitors),
        "killed": len(killed),
        "left": [{"pid": one.pid, "comm": one.comm, "state": one.state} for one in rows],
    }


def forget_podman(args: Mapping[str, object]) -> Mapping[str, object]:
    """podman takes its next command for the first one after a boot.

    What it remembers of this boot belongs to one root: which containers run, which layers are
    mounted, which of its 2048 locks are taken.  Under another root those locks would be given
    away twice.  To be called with no monitor left and nothing mounted below: the contents of
    `state` (its run root), of `libpod` (/run/libpod), `locks` (/dev/shm/libpod_lock) and what the
    OCI runtimes in `oci_states` know of these containers are gone.  No link is followed, no other
    device entered.  Returns removed (count); raises Busy if something is mounted there or a
    monitor lives.
    """
    root, state = arguments.path(args, "root"), arguments.path(args, "state")
    libpod = arguments.optional_text(args, "libpod") or _LIBPOD
    locks = arguments.optional_text(args, "locks") or _LOCKS
    oci_states = args.get("oci_states", _OCI_STATES)
    if not isinstance(oci_states, (list, tuple)):
        raise OperationFailed("BadArguments", "oci_states must be a list")
    alive = _find(root)
    if alive:
        raise OperationFailed("Busy", f"container {alive[0].container_id[:12]} still runs")
    for path in (state, libpod):
        mounted = mountinfo.below(mountinfo.read(), os.path.realpath(path))
        if mounted:
            raise OperationFailed("Busy", f"{mounted[0].target} is still mounted")
    removed = 0
    for container_id in _names(os.path.join(state, _CONTAINERS)):
        for directory in oci_states:
            removed += _remove_tree(str(directory), container_id)
    for path in (libpod, state):
        for name in _names(path):
            removed += _remove_tree(path, name)
    removed += _remove_tree(*os.path.split(locks))
    return {"removed": removed}


def _find(root: str) -> list[_Conmon]:
    prefix = os.path.join(root, _CONTAINERS) + "/"
    found: list[_Conmon] = []
    for one in process.table():
        if one.comm != _COMM or one.ended:
            continue
        words = process.command_line(one.pid)
        bundle = _option(words, "-b")
        if bundle.startswith(prefix):
            found.append(_Conmon(one, bundle.removeprefix(prefix).partition("/")[0]))
    return found


def _option(words: tuple[str, ...], name: str) -> str:
    """The word after `name`; podman writes conmon's options so, and its values last."""
    position = words.index(name) + 1 if name in words else len(words)
    return words[position] if position < len(words) else ""


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_tree(parent: str, name: str) -> int:
    """The entry `name` of `parent` is gone with all that is in it, on this one device; how many."""
    try:
        fd = os.open(parent, DIRECTORY)
    except FileNotFoundError:
        return 0
    try:
        return _remove(fd, name, os.fstat(fd).st_dev)
    finally:
        os.close(fd)


def _remove(parent: int, name: str, device: int) -> int:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=parent)
        return 1
    if found.st_dev != device:
        raise OperationFailed("Busy", f"{name} is another device")
    fd = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        removed = sum(_remove(fd, entry, device) for entry in os.listdir(fd))
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
    return removed + 1
