"""Run somebody else's program: an argument vector, a fixed environment, a deadline.

Owns: how a child is started, awaited and ended, and how much of its output is kept.  May not
know: what the program is for.  No shell, no pipe, no thread: the end is read from a pidfd, and
output goes into sealed memory files.  A pipe would be wrong here, because a program may leave
children behind that inherit it (a start command does): whoever waits for the end of such a pipe
waits for the service itself, and closing it kills the service with SIGPIPE.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nodestoraged.worker.helper import ENVIRONMENT

__all__ = ["Finished", "run_program", "wait_for_exit"]

#: Bytes kept of stdout and of stderr each; a program that writes more gets EPERM for the rest.
OUTPUT_LIMIT_BYTES = 1024 * 1024

#: How long we wait for a killed program to be gone; one in D state is left to itself.
KILL_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that ended: `exit_code` is negative for the signal that ended it."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The last line that says something, of stderr or else of stdout, or how it ended."""
        for text in (self.stderr, self.stdout):
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if lines:
                return lines[-1]
        if self.exit_code < 0:
            return f"ended by signal {-self.exit_code}"
        return f"exit code {self.exit_code}"


async def run_program(
    argv: Sequence[str], *, deadline_seconds: float, environment: Mapping[str, str] = ENVIRONMENT
) -> Finished:
    """The program ended by itself, whatever its exit code; what it left running lives on.

    stdin is /dev/null; the program leads a session of its own.  Raises TimeoutError after
    `deadline_seconds`, with its whole process group killed, and OSError if it could not be
    started.  Cancelling kills it too.
    """
    with contextlib.ExitStack() as stack:
        stdout = _sealed_memory(stack, "stdout")
        stderr = _sealed_memory(stack, "stderr")
        child = subprocess.Popen(  # noqa: ASYNC220 - asyncio's own waits for pipes, or in a thread
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )
        pidfd = os.pidfd_open(child.pid)
        stack.callback(os.close, pidfd)
        try:
            async with asyncio.timeout(deadline_seconds):
                await wait_for_exit(pidfd)
        except BaseException:
            await _kill(child, pidfd)
            raise
        return Finished(exit_code=child.wait(), stdout=_written(stdout), stderr=_written(stderr))


async def wait_for_exit(pidfd: int) -> None:
    """The process behind `pidfd` has ended (it may still be a zombie); needs no poll."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def note() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(pidfd, note)
    try:
        await ended
    finally:
        loop.remove_reader(pidfd)


async def _kill(child: subprocess.Popen[bytes], pidfd: int) -> None:
    """The process group got SIGKILL and its leader is reaped, or hangs in the kernel."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_SECONDS):
            await wait_for_exit(pidfd)
            child.wait()


def _sealed_memory(stack: contextlib.ExitStack, name: str) -> int:
    """A memory file of fixed size: a survivor that keeps it can never fill our memory."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, descriptor)
    os.ftruncate(descriptor, OUTPUT_LIMIT_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return descriptor


def _written(descriptor: int) -> str:
    """What was written: the file offset is shared with the program, so it says how much."""
    size = os.lseek(descriptor, 0, os.SEEK_CUR)
    return os.pread(descriptor, size, 0).decode("utf-8", "replace")
