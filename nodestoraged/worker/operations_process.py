"""Operations on processes: the shims of a containerd, and whoever holds a dead disk.

Owns: shims, kill_shims, kill_users.  May not know: when killing is right.

A shim (`containerd-shim-runc-v2 -namespace k8s.io -id ID -address SOCKET`) outlives containerd
and is the reaper of its containers.  Killing it alone would hand them to init, so everything
below goes first and the shims last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import NamedTuple

from nodestoraged.linux import holders, process
from nodestoraged.worker import arguments

__all__ = ["kill_shims", "kill_users", "shims"]

# comm is cut to 15 characters: the only part of a name that can be read without a risk to block.
_SHIM_COMM = "containerd-shim"
_POLL_SECONDS = 0.02


class _Shim(NamedTuple):
    process: process.Process
    namespace: str
    container_id: str


def shims(args: Mapping[str, object]) -> Mapping[str, object]:
    """The shims of the containerd at `socket`, in `namespace` or (null) in all.

    Returns {"shims": [{pid, namespace, id}, ...]}.
    """
    found = _find(arguments.path(args, "socket"), arguments.optional_text(args, "namespace"))
    return {
        "shims": [
            {"pid": shim.process.pid, "namespace": shim.namespace, "id": shim.container_id}
            for shim in found
        ]
    }


def kill_shims(args: Mapping[str, object]) -> Mapping[str, object]:
    """No shim of `socket` in `namespace` is left, nor anything that runs below one.

    SIGKILL at once, then waits at most `grace_seconds` (5) for them to end.  Returns shims (how
    many were found), killed (processes) and left: [{pid, comm, state}], those that did not end;
    state D means that they wait for a disk and no signal can help.
    """
    socket = arguments.path(args, "socket")
    namespace = arguments.optional_text(args, "namespace")
    deadline = time.monotonic() + arguments.number(args, "grace_seconds", 5.0)
    victims = _find(socket, namespace)
    roots = [shim.process for shim in victims]
    killed: list[process.Process] = []
    # Below the shims first, until nothing new appears there: what was forked meanwhile is still
    # below a living shim, and what got SIGKILL forks no more, even while it waits for a disk.
    while True:
        known = {(one.pid, one.start_ticks) for one in killed}
        below = process.descendants(process.table(), [root.pid for root in roots])
        fresh = [one for one in below if (one.pid, one.start_ticks) not in known and not one.ended]
        if not _kill_all(fresh, killed) or time.monotonic() >= deadline:
            break
    _kill_all(roots, killed)
    left = _wait_gone(killed, deadline)
    return {"shims": len(victims), "killed": len(killed), "left": [_row(one) for one in left]}


def kill_users(args: Mapping[str, object]) -> Mapping[str, object]:
    """Nobody uses the dead device `major`:`minor` mounted at `root`, as far as we may see.

    Kills by SIGKILL who has open files, a working or root directory or a memory map on it, and
    containers whose overlay has layers below `root`.  Never init, never us or who started us.
    A process with a mere copy of the mount in its own namespace is listed (`copies`), not killed:
    it may be any service with PrivateTmp.  Returns killed, copies and left as lists of
    {pid, comm, state}.
    """
    major, minor = arguments.integer(args, "major"), arguments.integer(args, "minor")
    root = arguments.path(args, "root")
    deadline = time.monotonic() + arguments.number(args, "grace_seconds", 5.0)
    spared = _ancestry()
    uses = [
        use for use in holders.uses_of_device(major, minor, root) if use.process.pid not in spared
    ]
    users = dict.fromkeys(use.process for use in uses if use.how != "mount")
    copies = dict.fromkeys(use.process for use in uses if use.process not in users)
    killed: list[process.Process] = []
    _kill_all(list(users), killed)
    left = _wait_gone(killed, deadline)
    return {
        "killed": [_row(one) for one in killed],
        "copies": [_row(one) for one in copies],
        "left": [_row(one) for one in left],
    }


def _find(socket: str, namespace: str | None) -> list[_Shim]:
    wanted = os.path.realpath(socket)  # /var/run is a link to /run
    found: list[_Shim] = []
    for one in process.table():
        if not one.comm.startswith(_SHIM_COMM) or one.ended:
            continue
        shim = _parse(one, process.command_line(one.pid), wanted)
        if shim is not None and namespace in (None, shim.namespace):
            found.append(shim)
    return found


def _parse(one: process.Process, arguments_: tuple[str, ...], socket: str) -> _Shim | None:
    if not arguments_ or not os.path.basename(arguments_[0]).startswith(_SHIM_COMM):
        return None
    options = _options(arguments_[1:])
    if os.path.realpath(options.get("address", "")) != socket:
        return None
    return _Shim(one, options.get("namespace", ""), options.get("id", ""))


def _options(words: tuple[str, ...]) -> dict[str, str]:
    """Go's flags: `-name value`, `-name=value`, with one or two hyphens."""
    options: dict[str, str] = {}
    for position, word in enumerate(words):
        if not word.startswith("-"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        following = words[position + 1] if position + 1 < len(words) else ""
        options.setdefault(name, value if equals else following)
    return options


def _kill_all(processes: list[process.Process], killed: list[process.Process]) -> int:
    """Send SIGKILL to each and add those that still were there to `killed`; how many."""
    hit = [one for one in processes if process.kill(one)]
    killed.extend(hit)
    return len(hit)


def _wait_gone(processes: list[process.Process], deadline: float) -> list[process.Process]:
    """Those that still live at the deadline, as they are then."""
    left = processes
    while True:
        left = [one for one in left if process.alive(one)]
        if not left or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    return [process.find(one.pid) or one for one in left]


def _ancestry() -> frozenset[int]:
    """Us, who started us, and so on up to init: they are never killed."""
    found = {0, 1}
    pid = os.getpid()
    while pid not in found:
        found.add(pid)
        parent = process.find(pid)
        pid = parent.ppid if parent is not None else 1
    return frozenset(found)


def _row(one: process.Process) -> dict[str, object]:
    return {"pid": one.pid, "comm": one.comm, "state": one.state}
