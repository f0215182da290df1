"""The warm process: takes requests, forks a child for each, forwards answers, reaps, kills.

Owns: the wire protocol with the daemon, process groups, and the life of the children.
May not know: what an operation does.

One packet of JSON per message on a SOCK_SEQPACKET socket:

    daemon -> us   {"id": 7, "op": "mount", "args": {...}}      {"kill": 7}
    us -> daemon   {"id": 7, "pid": 123}                         the child runs
                   {"id": 7, "result": {...}}                    or
                   {"id": 7, "error": {"reason": ..., ...}}      see failure.describe
                   {"id": 7, "exited": true}                     nothing of it is left

Each child leads a process group, and we are the subreaper of the orphans, so an operation has
exited only when its last helper (e2fsck) has: one in D state keeps it counted as stuck.
When the control socket closes we kill all groups and go; the kernel's parent-death signal does
the same should the daemon die without closing it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping

from nodestoraged.linux import libc
from nodestoraged.worker import child

__all__ = ["Operation", "serve"]

Operation = Callable[[Mapping[str, object]], Mapping[str, object]]

#: Larger packets are refused; the default socket buffer of Linux takes about 200 KiB.
PACKET_BYTES = 160 * 1024


class _Job:
    """One running operation: its process group and what came through its pipe so far."""

    __slots__ = ("answer", "answered", "job_id", "pgid", "pipe", "status")

    def __init__(self, job_id: int, pgid: int, pipe: int) -> None:
        self.job_id = job_id
        self.pgid = pgid
        self.pipe: int | None = pipe
        self.answer = bytearray()
        self.answered = False
        self.status: int | None = None


class _Server:
    """The loop's state; lives as long as the process."""

    def __init__(self, control: socket.socket, operations: Mapping[str, Operation]) -> None:
        self._control = control
        self._operations = operations
        self._jobs: dict[int, _Job] = {}
        self._pipes: dict[int, _Job] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._wakeup, wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._wakeup, select.POLLIN)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the daemon closes its end."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._control.fileno():
                    packet = self._control.recv(PACKET_BYTES)
                    if not packet:
                        return
                    self._take(json.loads(packet))
                elif fd == self._wakeup:
                    os.read(self._wakeup, 4096)
                else:
                    self._read_pipe(self._pipes[fd])
            self._reap()

    def kill_all(self) -> None:
        """Every group got SIGKILL; those in D state die when the kernel lets them go."""
        for job in self._jobs.values():
            _kill_group(job.pgid)

    def _take(self, request: Mapping[str, object]) -> None:
        if "kill" in request:
            job = self._jobs.get(int(str(request["kill"])))
            if job is not None:
                _kill_group(job.pgid)
            return
        job_id, name, args = int(str(request["id"])), request.get("op"), request.get("args")
        operation = self._operations.get(str(name))
        if operation is None or not isinstance(args, dict):
            error = {"reason": "BadArguments", "message": f"no such operation: {name!r}"}
            self._send({"id": job_id, "error": error})
            self._send({"id": job_id, "exited": True})
            return
        self._fork(job_id, operation, args)

    def _fork(self, job_id: int, operation: Operation, args: Mapping[str, object]) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            child.run(job_id, operation, args, write_end)  # never returns
        os.close(write_end)
        with contextlib.suppress(OSError):  # it has done so itself and is gone already
            os.setpgid(pid, pid)  # both sides do it: whichever comes first
        job = _Job(job_id, pid, read_end)
        self._jobs[job_id] = job
        self._pipes[read_end] = job
        self._poll.register(read_end, select.POLLIN)
        self._send({"id": job_id, "pid": pid})

    def _read_pipe(self, job: _Job) -> None:
        assert job.pipe is not None
        part = os.read(job.pipe, 65536)
        if part:
            job.answer += part
            if len(job.answer) < 16 * PACKET_BYTES:
                return
        self._close_pipe(job)
        # The child ends its JSON with a newline: without it, it was killed while writing.
        if job.answer.endswith(b"\n"):
            job.answered = True
            self._send_bytes(job.job_id, bytes(job.answer[:-1]))

    def _close_pipe(self, job: _Job) -> None:
        if job.pipe is not None:
            self._poll.unregister(job.pipe)
            del self._pipes[job.pipe]
            os.close(job.pipe)
            job.pipe = None

    def _reap(self) -> None:
        for job in tuple(self._jobs.values()):
            if not self._group_gone(job):
                continue
            while job.pipe is not None:  # all writers are gone: this ends with end-of-file
                self._read_pipe(job)
            if not job.answered:
                self._send({"id": job.job_id, "error": _death(job.status)})
            del self._jobs[job.job_id]
            self._send({"id": job.job_id, "exited": True})

    def _group_gone(self, job: _Job) -> bool:
        """Reap what ended of the group; True when nothing of it is left."""
        while True:
            try:
                pid, status = os.waitpid(-job.pgid, os.WNOHANG)
            except ChildProcessError:
                return not _group_exists(job.pgid)
            if pid == 0:
                return False
            if pid == job.pgid:
                job.status = status

    def _send(self, message: Mapping[str, object]) -> None:
        self._send_bytes(0, json.dumps(message).encode())

    def _send_bytes(self, job_id: int, packet: bytes) -> None:
        if len(packet) > PACKET_BYTES:
            error = {"reason": "AnswerTooLarge", "message": f"{len(packet)} bytes"}
            packet = json.dumps({"id": job_id, "error": error}).encode()
        self._control.send(packet)


def serve(control_fd: int, operations: Mapping[str, Operation]) -> None:
    """Serve `operations` on the socket `control_fd` until the daemon closes its end."""
    libc.set_parent_death_signal(signal.SIGKILL)
    libc.set_child_subreaper()
    # Stopping the service signals the whole cgroup; the daemon still needs us to put a root in
    # place and ends us by closing the socket.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(control_fd, False)
    gc.freeze()  # the collector must not touch, and thereby copy, pages shared with children
    with socket.socket(fileno=control_fd) as control:
        server = _Server(control, operations)
        try:
            server.run()
        except (ConnectionError, BrokenPipeError):
            pass  # the daemon is gone, which is how it ends
        finally:
            server.kill_all()


def _kill_group(pgid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pgid, signal.SIGKILL)


def _group_exists(pgid: int) -> bool:
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    return True


def _death(status: int | None) -> dict[str, object]:
    if status is not None and os.WIFSIGNALED(status):
        message = f"the child was ended by signal {os.WTERMSIG(status)}"
    else:
        message = "the child ended without an answer"
    return {"reason": "ChildDied", "message": message}


def _ignore(_signal: int, _frame: object) -> None:
    """SIGCHLD needs a handler, or the wake-up fd is not written."""
