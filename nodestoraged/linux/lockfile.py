"""Only one daemon at a time: a file held with flock(2).

Owns: taking the lock and the pid written into it.  May not know: what to do when it is taken.
The fd is close-on-exec, so worker processes never keep the lock beyond the daemon's life
(a forked child without exec would: flock belongs to the open file description).
"""

from __future__ import annotations

import fcntl
import os

__all__ = ["acquire", "holder"]


def acquire(path: str) -> int:
    """Take the lock at `path`; the fd holds it until closed.  BlockingIOError if it is taken."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, error.strerror, path) from None
    return fd


def holder(path: str) -> int | None:
    """The pid that the last taker of the lock wrote into it; None if nobody ever did."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return int(stream.read(32))
    except (FileNotFoundError, ValueError):
        return None
