"""The process table, by /proc alone.

Owns: the formats of /proc/<pid>/{stat,cmdline} and signals by pidfd.
May not know: which process should live.
A process that ends while we read is left out and never an error.  Reading `cmdline` of a process
in D state can block (it waits for the memory map), reading `stat` cannot.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "Process",
    "alive",
    "boot_id",
    "boottime_seconds",
    "command_line",
    "descendants",
    "find",
    "kill",
    "start_seconds",
    "table",
]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One row.  `start_ticks` since boot (CLOCK_BOOTTIME) makes a reused pid another process.

    `comm` is at most 15 characters; `state` is the letter of proc_pid_stat(5).
    """

    pid: int
    ppid: int
    start_ticks: int
    comm: str
    state: str

    @property
    def start_seconds(self) -> float:
        """When it started, in seconds of CLOCK_BOOTTIME."""
        return self.start_ticks / _TICKS_PER_SECOND

    @property
    def uninterruptible(self) -> bool:
        """It waits in the kernel and no signal reaches it (D)."""
        return self.state == "D"

    @property
    def ended(self) -> bool:
        """It is a zombie or being removed: it holds nothing any more."""
        return self.state in ("Z", "X", "x")


def find(pid: int) -> Process | None:
    """The process `pid` now, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            data = stream.read()
    except OSError:
        return None
    # The name in brackets may itself hold brackets and blanks: cut at the last one.
    head, _, tail = data.rpartition(b")")
    fields = tail.split()
    if len(fields) < 20:
        return None
    return Process(
        pid=pid,
        ppid=int(fields[1]),
        start_ticks=int(fields[19]),
        comm=head.partition(b"(")[2].decode(errors="backslashreplace"),
        state=fields[0].decode("ascii", "replace"),
    )


def table() -> tuple[Process, ...]:
    """All processes that /proc shows, ordered by pid."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    return tuple(process for process in map(find, pids) if process is not None)


def descendants(processes: Iterable[Process], roots: Iterable[int]) -> tuple[Process, ...]:
    """Everything below the pids `roots` (themselves not), parents before their children."""
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.ppid, []).append(process)
    found: list[Process] = []
    queue = list(roots)
    seen = set(queue)
    while queue:
        for child in children.get(queue.pop(0), ()):
            if child.pid not in seen:
                seen.add(child.pid)
                found.append(child)
                queue.append(child.pid)
    return tuple(found)


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of `pid`; empty for kernel threads, zombies and what is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            data = stream.read()
    except OSError:
        return ()
    if not data:
        return ()
    return tuple(part.decode(errors="surrogateescape") for part in data.rstrip(b"\0").split(b"\0"))


def alive(process: Process) -> bool:
    """The very process (not a successor under its pid) still runs or waits."""
    now = find(process.pid)
    return now is not None and now.start_ticks == process.start_ticks and not now.ended


def kill(process: Process, signal_number: int = signal.SIGKILL) -> bool:
    """Send the signal to the very process; False if it is gone.  OSError if it is not allowed.

    The pidfd is opened before the start time is compared, so a reused pid is never hit.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not alive(process):
            return False
        signal.pidfd_send_signal(fd, signal_number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def boot_id() -> str:
    """The kernel's random id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def start_seconds(pid: int) -> float | None:
    """When `pid` started in seconds of CLOCK_BOOTTIME (10 ms steps), None if it is gone."""
    process = find(pid)
    return None if process is None else process.start_seconds


def boottime_seconds() -> float:
    """Now on the clock of `start_seconds`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
