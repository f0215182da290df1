"""The C library as ctypes sees it, and the one helper that turns errno into OSError.

Owns: `LIBC`, `check()` and raw system calls.  May not know: what a call is good for.
`CDLL(None)` takes the library that is already loaded, so it works with glibc and musl alike.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["LIBC", "check", "check_syscall", "set_child_subreaper", "set_parent_death_signal"]

LIBC = ctypes.CDLL(None, use_errno=True)

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

LIBC.syscall.restype = ctypes.c_long
LIBC.prctl.argtypes = (
    ctypes.c_int,
    ctypes.c_ulong,
    ctypes.c_ulong,
    ctypes.c_ulong,
    ctypes.c_ulong,
)
LIBC.prctl.restype = ctypes.c_int


def check(result: int, filename: str | None = None) -> int:
    """Return `result` of a C function, or raise OSError from errno when it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), filename)
    return result


def check_syscall(number: int, *args: object, filename: str | None = None) -> int:
    """Do the raw system call `number` with ctypes values; its result, or OSError."""
    return check(int(LIBC.syscall(ctypes.c_long(number), *args)), filename)


def set_parent_death_signal(signal_number: int) -> None:
    """From now on the kernel sends `signal_number` to us when the thread that started us ends."""
    check(LIBC.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))


def set_child_subreaper() -> None:
    """From now on orphaned descendants become our children and not those of init."""
    check(LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
