"""The daemon's side of the worker: calls with a deadline, and a count of what hangs.

Owns: starting and restarting the warm process, matching answers to calls, deadlines.
May not know: what an operation does; the disks adapter builds the arguments.

The event loop never waits for a disk: a call that passes its deadline is killed, and when not
even SIGKILL ends it (D state) it is counted as stuck until the kernel lets it go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodestoraged import worker
from nodestoraged.core.conditions import STUCK_CHILDREN_MAX
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.worker.helper import ENVIRONMENT

__all__ = ["Children"]

#: After a kill, how long to wait for the end before the child is called stuck.
_KILL_SECONDS = 0.2
_CLOSE_SECONDS = 2.0
_PACKET_BYTES = 256 * 1024


class _Call:
    """One call on its way: its answer, and its end (nothing of it is left)."""

    __slots__ = ("abandoned", "answer", "exited", "pid", "sent")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[Mapping[str, object]] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.abandoned = False
        self.sent = False
        self.pid: int | None = None


class Children:
    """Operations of `nodestoraged.worker`, each in a child of one small warm process.

    `entry` is the script which the warm process runs (tests add operations by their own).
    Not thread-safe: to be used within one event loop.
    """

    def __init__(
        self,
        *,
        entry: str | None = None,
        python: Sequence[str] = (sys.executable, "-I", "-S"),
        stuck_limit: int = STUCK_CHILDREN_MAX,
    ) -> None:
        main = Path(worker.__file__).resolve().with_name("__main__.py")
        self._command = (*python, entry or str(main))
        self._stuck_limit = stuck_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: list[subprocess.Popen[bytes]] = []
        self._control: socket.socket | None = None
        self._calls: dict[int, _Call] = {}
        self._orphans: set[int] = set()
        self._last_id = 0

    @property
    def stuck(self) -> int:
        """How many children passed their deadline and have not ended yet."""
        return sum(call.abandoned for call in self._calls.values()) + len(self._orphans)

    @property
    def pid(self) -> int | None:
        """The warm process, None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """The warm process runs; without effect if it does already."""
        if self._control is not None:
            return
        self._reap()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = self._spawn(theirs.fileno())
            except OSError as error:
                ours.close()
                message = f"cannot start the worker: {error}"
                raise StepError("WorkerDied", message, errno=error.errno) from error
        ours.setblocking(False)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._on_readable, ours)

    def _spawn(self, control_fd: int) -> subprocess.Popen[bytes]:
        # Not asyncio's own: before Python 3.12 it keeps a thread waiting for each process, and
        # the closed control socket tells us of the end anyway.
        return subprocess.Popen(
            (*self._command, str(control_fd)),
            pass_fds=(control_fd,),
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=dict(ENVIRONMENT),
        )

    async def call(
        self, op: str, args: Mapping[str, object], *, deadline_seconds: float
    ) -> Mapping[str, object]:
        """The result of operation `op`.

        Raises StepTimeout (`Hung`) at the deadline, when the child is killed; StepError with the
        operation's reason if it failed, `WorkerDied` if its processes were ended from outside,
        `TooManyStuckChildren` without having started anything.
        """
        if self.stuck >= self._stuck_limit:
            message = f"{self.stuck} calls to disks hang; {op} was not started"
            hint = "pull the disk that does not answer, or reboot the node"
            raise StepError("TooManyStuckChildren", message, hint)
        self._last_id += 1
        number, call = self._last_id, _Call(asyncio.get_running_loop())
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._ask({"id": number, "op": op, "args": dict(args)}, number, call)
                answer = await call.answer
        except TimeoutError:
            await self._abandon(number, call)
            message = f"{op} did not come back within {deadline_seconds:g} s"
            raise StepTimeout("Hung", message) from None
        except (OSError, ValueError, TypeError) as error:
            self._calls.pop(number, None)
            reason = "WorkerDied" if isinstance(error, ConnectionError) else "BadArguments"
            raise StepError(reason, f"{op} could not be asked for: {error}") from error
        except asyncio.CancelledError:
            self._kill(number, call)
            raise
        return _result(op, answer)

    async def close(self) -> None:
        """The warm process has ended, its children got SIGKILL, calls on their way failed."""
        self._lose_connection("the worker was closed")
        for fd in tuple(self._orphans):
            self._forget_orphan(fd)
        rounds = int(_CLOSE_SECONDS / 0.01)
        for _ in range(rounds):
            self._reap()
            if not self._ended:
                return
            await asyncio.sleep(0.01)
        for process in self._ended:
            process.kill()
        self._reap()

    async def _ask(self, message: Mapping[str, object], number: int, call: _Call) -> None:
        packet = json.dumps(message).encode()
        for last in (False, True):
            await self.start()
            assert self._control is not None
            self._calls[number] = call
            try:
                await asyncio.get_running_loop().sock_sendall(self._control, packet)
            except ConnectionError:  # it died meanwhile; the packet was not delivered
                self._calls.pop(number, None)
                self._lose_connection("the worker process died")
                if last or call.answer.done():
                    raise
            else:
                call.sent = True
                return

    async def _abandon(self, number: int, call: _Call) -> None:
        """Kill it; return once it has ended, or is counted as stuck."""
        self._kill(number, call)
        await asyncio.wait((call.exited,), timeout=_KILL_SECONDS)

    def _kill(self, number: int, call: _Call) -> None:
        if call.exited.done() or number not in self._calls:
            return
        call.abandoned = True
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps({"kill": number}).encode())
        if not call.sent:  # nobody will ever tell us of its end
            del self._calls[number]
            call.exited.set_result(None)

    def _on_readable(self, control: socket.socket) -> None:
        while control is self._control:
            try:
                packet = control.recv(_PACKET_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet = b""
            if not packet:
                self._lose_connection("the worker process died")
                return
            self._take(json.loads(packet))

    def _take(self, message: Mapping[str, object]) -> None:
        number = message["id"]
        assert isinstance(number, int)
        call = self._calls.get(number)
        if call is None:
            return
        if "pid" in message:
            call.pid = int(str(message["pid"]))
        elif "exited" in message:
            del self._calls[number]
            call.exited.set_result(None)
        elif not call.answer.done():
            call.answer.set_result(message)

    def _lose_connection(self, why: str) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        if self._process is not None:
            self._ended.append(self._process)
            self._process = None
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if not call.answer.done():
                error = {"reason": "WorkerDied", "message": why}
                call.answer.set_result({"error": error})
            if call.pid is not None:
                self._watch_orphan(call.pid)
            call.exited.set_result(None)

    def _watch_orphan(self, pid: int) -> None:
        """A child whose parent died still counts as stuck until the kernel lets it go."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return
        self._orphans.add(fd)
        asyncio.get_running_loop().add_reader(fd, self._forget_orphan, fd)

    def _forget_orphan(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        self._orphans.discard(fd)
        os.close(fd)

    def _reap(self) -> None:
        self._ended = [process for process in self._ended if process.poll() is None]


def _result(op: str, answer: Mapping[str, object]) -> Mapping[str, object]:
    result = answer.get("result")
    if isinstance(result, dict):
        return result
    error = answer.get("error")
    if not isinstance(error, dict):
        raise StepError("WorkerDied", f"{op}: an answer without result or error")
    errno = error.get("errno")
    raise StepError(
        str(error.get("reason")),
        str(error.get("message")),
        errno=errno if isinstance(errno, int) else None,
    )
