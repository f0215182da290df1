"""The file locks of the machine: /proc/locks in, rows out.

Owns: the format (proc_locks(5), fs/locks.c lock_get_status).  May not know: whose lock proves what.
The file is readable without ptrace rights, other than /proc/<pid>/fd: that is why the proof that a
runtime's database lies on our device uses it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["LockRow", "parse", "read"]

# 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF      blocked waiters: "1: -> FLOCK ..."
# Major and minor are hexadecimal, the inode is decimal.  Open-file-description locks have pid -1.
_LINE = re.compile(
    r"\d+: (?P<waits>-> )?\s*(?P<kind>\S+)\s+\S+\s+(?P<mode>\S+)\s+(?P<pid>-?\d+)\s+"
    r"(?P<major>[0-9a-f]+):(?P<minor>[0-9a-f]+):(?P<inode>\d+)\s"
)


class LockRow(NamedTuple):
    """One lock.  `kind` is FLOCK, POSIX, OFDLCK or LEASE; `mode` READ, WRITE or UNLCK."""

    kind: str
    mode: str
    pid: int
    major: int
    minor: int
    inode: int
    waits: bool


def parse(text: str) -> tuple[LockRow, ...]:
    """The rows of `text`; lines of another form (a lock without a file) are left out."""
    return tuple(
        LockRow(
            kind=match["kind"],
            mode=match["mode"],
            pid=int(match["pid"]),
            major=int(match["major"], 16),
            minor=int(match["minor"], 16),
            inode=int(match["inode"]),
            waits=match["waits"] is not None,
        )
        for match in (_LINE.match(line + " ") for line in text.splitlines())
        if match is not None
    )


def read() -> tuple[LockRow, ...]:
    """All locks that the pid namespace shows now."""
    with open("/proc/locks", encoding="ascii", errors="replace") as stream:
        return parse(stream.read())
