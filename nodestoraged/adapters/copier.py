"""The copier as a process: started, listened to, ended.

Owns: how it is started (in a transient unit where systemd runs), its lines as values, and when it
is given up.  May not know: how a copy is made.

A unit of its own, because what the daemon's sandbox forbids (set-user-id bits, device nodes, most
capabilities) is what a faithful copy needs.  Whatever becomes of the daemon, the copy ends with
it: as its child, as part of its unit, and because nobody reads what the copier says any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nodestoraged import copier
from nodestoraged.adapters.program import run_program, wait_for_exit
from nodestoraged.model.copy import (
    DATABASES,
    NOT_DATA,
    CopyPass,
    CopyProgress,
    CopyRequest,
    CopyResult,
)
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.worker.helper import ENVIRONMENT

__all__ = ["TransientCopier"]

#: Without a line for so long nothing has moved, neither in the copier nor on the target's device.
SILENCE_SECONDS = 60.0
#: How long a killed copier is waited for; one in D state ends when the kernel lets it go.
END_SECONDS = 2.0
_LOOK_SECONDS = 0.2
_SYSTEMCTL_SECONDS = 10.0
_DAEMON_UNIT = "nodestoraged.service"
_READ_BYTES = 64 * 1024
_COMPLAINT_BYTES = 8 * 1024
#: A warm pass leaves disks and processors to the pods; a final one is downtime.
_WARM_WEIGHT = 20
_FINAL_WEIGHT = 500


class TransientCopier:
    """The `Copier` port: one process per pass.

    `unit` begins the names of the transient units, `python` runs the copier's script.
    """

    def __init__(
        self,
        *,
        systemd: bool,
        python: Sequence[str] = (sys.executable, "-I", "-S"),
        unit: str = "nodestoraged-copy",
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        main = Path(copier.__file__).resolve().with_name("__main__.py")
        self._systemd = systemd
        self._command = (*python, str(main))
        self._unit = unit
        self._silence_seconds = silence_seconds
        self._passes = 0
        self._unreaped: list[subprocess.Popen[bytes]] = []

    async def copy(
        self,
        request: CopyRequest,
        *,
        report: Callable[[CopyProgress], None],
        cancelled: Callable[[], bool],
    ) -> CopyResult:
        """`target` is like `source`, as far as the pass goes, and on its medium.

        Raises StepError with the copier's reason, `Aborted` once `cancelled()`, `CopyFailed` if
        it could not be started or died; StepTimeout (`Hung`) if nothing moved for a minute.
        """
        self._passes += 1
        unit = f"{self._unit}-{os.getpid()}-{self._passes}.service"
        argv = (*self._transient(unit, request.stage), *self._command)
        try:
            run = _Run(argv, _request(request), report)
        except OSError as error:
            message = f"the copier could not be started: {error}"
            raise StepError("CopyFailed", message, errno=error.errno) from error
        try:
            await self._follow(run, cancelled)
            await run.exited()
        except BaseException:
            await self._end(run, unit)
            raise
        finally:
            run.close()
            # One that hangs in the kernel is reaped when a later one ends.
            self._unreaped = [one for one in (*self._unreaped, run.process) if one.poll() is None]
        return run.result()

    async def stop_leftovers(self) -> None:
        """No transient unit of ours runs; children of an earlier daemon ended with it."""
        if not self._systemd:
            return
        pattern = f"{self._unit}-*.service"
        try:
            done = await run_program(
                ("systemctl", "stop", pattern),
                deadline_seconds=_SYSTEMCTL_SECONDS,
                environment=ENVIRONMENT,
            )
        except (OSError, TimeoutError) as error:
            raise StepError("StopFailed", f"{pattern} could not be stopped: {error}") from error
        if done.exit_code != 0:
            raise StepError("StopFailed", f"{pattern}: {done.complaint}")

    def _transient(self, unit: str, stage: CopyPass) -> tuple[str, ...]:
        """What runs the rest of a command as a unit of its own; nothing without systemd."""
        if not self._systemd:
            return ()
        weight = _WARM_WEIGHT if stage is CopyPass.WARM else _FINAL_WEIGHT
        properties = (
            # Not BindsTo: that would start the daemon's unit where the daemon runs without it.
            f"PartOf={_DAEMON_UNIT}",
            f"CPUWeight={weight}",
            f"IOWeight={weight}",
            "TimeoutStopSec=5s",
            "UMask=0077",
        )
        return (
            *("systemd-run", "--quiet", "--pipe", "--wait", "--collect"),
            f"--unit={unit}",
            f"--description=Node storage: {stage.value} copy of a runtime root",
            *(f"--property={one}" for one in properties),
            "--",
        )

    async def _follow(self, run: _Run, cancelled: Callable[[], bool]) -> None:
        """The copier has closed its output."""
        loop = asyncio.get_running_loop()
        while not run.ended.done():
            if cancelled():
                raise StepError("Aborted", "the copy was aborted")
            if loop.time() - run.heard > self._silence_seconds:
                message = f"the copy has not moved for {self._silence_seconds:g} s"
                raise StepTimeout("Hung", message)
            await asyncio.wait((run.ended,), timeout=_LOOK_SECONDS)

    async def _end(self, run: _Run, unit: str) -> None:
        """The copier got SIGKILL; returns when it has ended, or hangs in the kernel."""
        if self._systemd:
            for verb in (("kill", "--signal=SIGKILL"), ("stop", "--no-block")):
                with contextlib.suppress(OSError, TimeoutError):
                    await run_program(
                        ("systemctl", *verb, unit),
                        deadline_seconds=END_SECONDS,
                        environment=ENVIRONMENT,
                    )
        run.kill()
        with contextlib.suppress(StepError):
            await run.exited()


class _Run:
    """One process: what it says, and its end."""

    def __init__(
        self, argv: Sequence[str], request: bytes, report: Callable[[CopyProgress], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.heard = loop.time()
        self._report = report
        self._answer: Mapping[str, object] | None = None
        self._rest = b""
        self._complaint = b""
        # Not asyncio's own: before Python 3.12 it keeps a thread waiting for each process.
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=dict(ENVIRONMENT),
            start_new_session=True,
        )
        self._pidfd = os.pidfd_open(self._process.pid)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(request)  # far less than a pipe holds
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        loop.add_reader(self._process.stdout.fileno(), self._on_line)
        loop.add_reader(self._process.stderr.fileno(), self._on_complaint)

    async def exited(self) -> None:
        """The process is reaped; StepError (`CopyFailed`) if it does not end."""
        try:
            async with asyncio.timeout(END_SECONDS):
                await wait_for_exit(self._pidfd)
        except TimeoutError:
            raise StepError("CopyFailed", "the copier does not end") from None
        self._process.wait()

    def kill(self) -> None:
        """It and what it started got SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Nothing of ours is open any more, whatever the process does."""
        loop = asyncio.get_running_loop()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            loop.remove_reader(stream.fileno())
            stream.close()
        os.close(self._pidfd)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """To be reaped; it outlives `close` if it hangs in the kernel."""
        return self._process

    def result(self) -> CopyResult:
        """What the copier answered; raises StepError if it failed."""
        answer = self._answer or {}
        result, error = answer.get("result"), answer.get("error")
        if isinstance(result, dict):
            return CopyResult(
                entries=int(result["entries"]),
                written=int(result["written"]),
                bytes_written=int(result["bytes_written"]),
                removed=int(result["removed"]),
                vanished=int(result["vanished"]),
                seconds=float(result["seconds"]),
            )
        if isinstance(error, dict):
            number = error.get("errno")
            raise StepError(
                str(error.get("reason")),
                str(error.get("message")),
                errno=number if isinstance(number, int) else None,
            )
        said = self._complaint.decode("utf-8", "replace").strip().splitlines()
        code = self._process.returncode
        why = said[-1] if said else f"it ended with {code} and no answer"
        raise StepError("CopyFailed", f"the copier died: {why}")

    def _on_line(self) -> None:
        assert self._process.stdout is not None
        part = os.read(self._process.stdout.fileno(), _READ_BYTES)
        if not part:
            asyncio.get_running_loop().remove_reader(self._process.stdout.fileno())
            if not self.ended.done():
                self.ended.set_result(None)
            return
        self.heard = asyncio.get_running_loop().time()
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: Mapping[str, object]) -> None:
        progress = message.get("progress")
        if not isinstance(progress, dict):
            self._answer = message
            return
        eta = progress.get("eta_seconds")
        self._report(
            CopyProgress(
                stage=CopyPass(progress["stage"]),
                bytes_done=int(progress["bytes_done"]),
                bytes_total=int(progress["bytes_total"]),
                files_done=int(progress["files_done"]),
                files_total=int(progress["files_total"]),
                bytes_per_second=float(progress["bytes_per_second"]),
                eta_seconds=None if eta is None else float(eta),
            )
        )

    def _on_complaint(self) -> None:
        assert self._process.stderr is not None
        part = os.read(self._process.stderr.fileno(), _READ_BYTES)
        if not part:
            asyncio.get_running_loop().remove_reader(self._process.stderr.fileno())
        self._complaint = (self._complaint + part)[-_COMPLAINT_BYTES:]


def _request(request: CopyRequest) -> bytes:
    fields = {
        "source": request.source,
        "target": request.target,
        "stage": request.stage.value,
        "source_number": request.source_number,
        "target_number": request.target_number,
        "bytes_per_second": request.bytes_per_second,
        "databases": DATABASES,
        "not_data": NOT_DATA,
    }
    return json.dumps(fields).encode()
