"""A question with a time limit, asked in a child: a dead disk must not hang the doctor too.

Owns: the child, its pipe and its end.  May not know: what is asked.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

__all__ = ["within"]

_Answer = TypeVar("_Answer")

#: A child that hangs in the kernel is left to itself after this.
_REAP_SECONDS = 0.2
_READ_BYTES = 64 * 1024


def within(seconds: float, ask: Callable[[], _Answer]) -> _Answer | None:
    """What `ask` returns or raises, or None if it died or took longer than `seconds`."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with warnings.catch_warnings():
        # The child calls nothing that a thread of the parent could hold a lock of.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _answer(write_end, ask)
    os.close(write_end)
    try:
        data = _read_all(read_end, time.monotonic() + seconds)
    finally:
        os.close(read_end)
        _end(pid)
    if not data:
        return None
    answer: _Answer | Exception = pickle.loads(data)  # noqa: S301 - our own child wrote it
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(write_end: int, ask: Callable[[], _Answer]) -> None:
    try:
        # What a library prints while it is imported is no part of the report.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        warnings.simplefilter("ignore")
        try:
            answer: object = ask()
        except Exception as error:
            answer = error
        # Whole before the first byte goes: what cannot be told is like a child that died.
        data = pickle.dumps(answer)
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(data)
    except BaseException:  # a child never returns into its parent's program
        os._exit(1)
    os._exit(0)


def _read_all(fd: int, end: float) -> bytes:
    data = bytearray()
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return b""
        part = os.read(fd, _READ_BYTES)
        if not part:
            return bytes(data)
        data += part


def _end(pid: int) -> None:
    """The child is reaped, or killed and left: in the kernel it may never come back."""
    end = time.monotonic() + _REAP_SECONDS
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < end:
            time.sleep(0.005)
