"""Give rights up for good: no_new_privs, capabilities, the place in the queue of the OOM killer.

Owns: prctl(2), capset(2) and /proc/self/oom_score_adj.  May not know: who needs which rights.

These are attributes of a thread, inherited by what it starts: to be called before there is a
second one.  What was given up cannot come back, neither here nor in a child: with no_new_privs an
exec grants nothing, and what has left the permitted set is gone.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

from nodestoraged.linux.libc import LIBC, check

__all__ = ["CAPABILITIES", "Rights", "give_up", "rights", "set_oom_score"]

#: include/uapi/linux/capability.h, as far as we have to do with them.
CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_LINUX_IMMUTABLE": 9,
    "CAP_SYS_ADMIN": 21,
}

# include/uapi/linux/prctl.h
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

#: _LINUX_CAPABILITY_VERSION_3: two words of 32 bits for each set.
_VERSION = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class Rights:
    """What /proc says of a process: the three capability sets as numbers, and no_new_privs."""

    __slots__ = ("bounding", "effective", "no_new_privs", "permitted")

    def __init__(self, status: str) -> None:
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        self.effective = int(lines["CapEff"], 16)
        self.permitted = int(lines["CapPrm"], 16)
        self.bounding = int(lines["CapBnd"], 16)
        self.no_new_privs = lines["NoNewPrivs"].strip() == "1"


def rights(pid: int | None = None) -> Rights:
    """The rights of `pid`, or of the calling thread's process."""
    with open(f"/proc/{'self' if pid is None else pid}/status", encoding="utf-8") as file:
        return Rights(file.read())


def give_up(*, keep: Iterable[str]) -> None:
    """no_new_privs is set, and of all capabilities at most those in `keep` are left.

    What was missing stays missing.  The bounding set is narrowed where that is allowed
    (CAP_SETPCAP); without it nothing is lost, because an exec cannot grant what is not permitted.
    Raises OSError if the kernel refuses the rest, and RuntimeError from a process with threads.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("other threads would keep their rights")
    wanted = sum(1 << CAPABILITIES[name] for name in keep)
    _narrow_bounding_set(wanted)
    check(LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    check(LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = _Header(_VERSION, 0)
    words = (_Words * 2)()
    check(LIBC.capget(ctypes.byref(header), words))
    for index, word in enumerate(words):
        part = wanted >> (32 * index) & 0xFFFFFFFF
        word.permitted &= part
        word.effective = word.permitted
        word.inheritable = 0
    check(LIBC.capset(ctypes.byref(header), words))


def set_oom_score(score: int) -> bool:
    """The OOM killer sees `score` (-1000 to 1000) in us and what we start; False if refused.

    Lowering it needs CAP_SYS_RESOURCE, which root lacks in some containers.
    """
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))
    except OSError:
        return False
    return True


def _narrow_bounding_set(wanted: int) -> None:
    """Nothing but `wanted` is in it; left as it is where we may not."""
    for number in range(64):
        held = LIBC.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)
        if held < 0:  # EINVAL: the kernel's last capability was the one before
            return
        if held and not wanted >> number & 1:
            try:
                check(LIBC.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0))
            except OSError as error:
                if error.errno != errno.EPERM:
                    raise
                return
