"""Services of OpenRC: looked at through its files, started and stopped by `rc-service`.

Owns: the order of a start and of a stop, and what counts as having come true.  May not know: the
layout of OpenRC's files (`openrcfiles`), and how rc-service is run with the rights that a service
needs (a function that is handed in).

Units are called as under systemd in profiles and configuration; `.service` is taken off here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from nodestoraged.adapters.program import Finished, wait_for_exit
from nodestoraged.adapters.services.openrcfiles import SETTLE_SECONDS, OpenRcFiles
from nodestoraged.model.errors import ObservationError, StepError, StepTimeout
from nodestoraged.model.runtime import RUNNING, Unit, UnitState

__all__ = ["OpenRcServices", "RunService"]

#: `(word, name, deadline_seconds)`: rc-service did start, start-later, stop or zap, and ended.
RunService: TypeAlias = Callable[[str, str, float], Coroutine[Any, Any, Finished]]

_SUFFIX = ".service"
#: What the gate in /etc/rc.conf.d says when it keeps a service from starting.
_FENCED = "/nodestorage-fence/"
#: What rc-service says where another one holds the service's lock (svc_start_check and
#: svc_stop_check in OpenRC's src/openrc-run); it may be gone when that is read.
_HELD = ("is already starting", "is already stopping", "is stopping", "stopped by something else")
#: Seconds between two readings of a service that is on its way.
_POLL_SECONDS = 0.1
#: A start that nobody waits for waits itself, for what the service needs; the daemon's end does
#: not end it.
_LATER_SECONDS = 3600.0
#: Resetting a state is one call without waiting.
_ZAP_SECONDS = 10.0


class OpenRcServices:
    """Implements `ports.ServiceManager` with `files` to look and `run` to act."""

    def __init__(self, files: OpenRcFiles, run: RunService) -> None:
        self._files = files
        self._run = run
        #: Starts that nobody waits for, until rc-service has ended.
        self._asked: dict[str, asyncio.Task[Finished]] = {}

    @property
    def name(self) -> str:
        """openrc."""
        return "openrc"

    async def unit(self, name: str) -> Unit:
        """The service as it is now; ObservationError if OpenRC's files cannot be read."""
        service = _service(name)
        try:
            state = self._files.state(service)
            # OpenRC shows nothing of it until rc-service has read all scripts.
            asked = service in self._asked and state in {UnitState.INACTIVE, UnitState.FAILED}
            runs = state in RUNNING
            # Its script runs: unlike a respawn, that comes to an end by itself.
            begun = self._files.marked(service, "starting")
            along = self._files.dependents(service) if runs else ()
            return Unit(
                name=_unit(service),
                state=UnitState.STARTING if asked else state,
                job_queued=asked or begun or (not runs and self._files.boot_will_start(service)),
                main_pid=self._files.process(service).pid if runs else 0,
                takes_along=tuple(_unit(each) for each in along),
            )
        except OSError as error:
            raise ObservationError(
                "UnitUnreadable", f"OpenRC does not tell about {service}: {error}"
            ) from error

    async def start(self, name: str, *, wait: bool, deadline_seconds: float) -> None:
        """The start was asked for, a crash forgotten first; with `wait` the service is up.

        What the boot is about to start is left to the boot: until it has come to its end,
        rc-service starts services without what they need.  Raises StepError: ConditionFailed,
        UnitMissing, ShuttingDown, DependencyFailed, StartFailed; StepTimeout("StartTimeout").
        """
        service = _service(name)
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._start(service, wait, deadline_seconds)
        except TimeoutError:
            raise StepTimeout(
                "StartTimeout", f"{_unit(service)} was not up within {deadline_seconds:g} s"
            ) from None
        except OSError as error:
            raise StepError("StartFailed", f"{_unit(service)}: {error}") from error

    async def _start(self, service: str, wait: bool, seconds: float) -> None:
        self._require_startable(service)
        if self._files.boot_will_start(service):
            if not wait:
                return
            await _until(lambda: not self._files.boot_will_start(service))
        if self._files.crashed(service):
            await self._run("zap", service, _ZAP_SECONDS)
        state = await self._settled(service) if wait else self._files.state(service)
        if state in RUNNING:
            return
        if not wait:
            await self._start_later(service)
            return
        finished = await self._started("start", service, seconds)
        if finished.exit_code != 0:
            raise _refused_start(service, finished)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await _until(lambda: self._files.state(service) is UnitState.ACTIVE)
        state = self._files.state(service)
        if state is not UnitState.ACTIVE:
            raise _not_started(service, f"it ended at once ({state.value})")

    async def _start_later(self, service: str) -> None:
        """rc-service was asked and goes on by itself; raises what it refuses at once."""
        if service in self._asked:
            return
        task = asyncio.create_task(self._started("start-later", service, _LATER_SECONDS))
        self._asked[service] = task
        task.add_done_callback(lambda done: self._later_ended(service, done))
        await asyncio.wait({task}, timeout=_POLL_SECONDS)
        if task.done() and (finished := task.result()).exit_code != 0:
            raise _refused_start(service, finished)

    async def _started(self, word: str, service: str, seconds: float) -> Finished:
        """rc-service did `word`; somebody else's start or stop, which held the lock, came first.

        What it comes to is not ours: the fence may have refused it before it was down.
        """
        finished = await self._run(word, service, seconds)
        while finished.exit_code != 0 and _came_second(service, finished):
            await asyncio.sleep(_POLL_SECONDS)
            await self._left_alone(service)
            finished = await self._run(word, service, seconds)
        return finished

    def _later_ended(self, service: str, task: asyncio.Task[Finished]) -> None:
        del self._asked[service]
        if not task.cancelled():
            task.exception()  # taken note of: what became of the service is seen by its state

    async def stop(self, name: str, *, deadline_seconds: float) -> None:
        """The service is stopped, its main process gone, and so is what it took along.

        A service that does not exist is stopped.  rc-service does it, never a signal: a
        supervisor would start again what is killed.  Raises StepError("StopFailed"),
        StepTimeout("StopTimeout").
        """
        service = _service(name)
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._stop(service, deadline_seconds)
        except TimeoutError:
            raise StepTimeout(
                "StopTimeout", f"{_unit(service)} was not down within {deadline_seconds:g} s"
            ) from None
        except OSError as error:
            raise StepError("StopFailed", f"{_unit(service)}: {error}") from error

    async def _stop(self, service: str, seconds: float) -> None:
        files = self._files
        if (asked := self._asked.get(service)) is not None:
            # It cannot be called back, and must not come after the stop.
            await asyncio.wait({asked})
        together = (*files.dependents(service), service)
        with contextlib.ExitStack() as stack:
            ends = [self._end_of(each, stack) for each in together if files.marked(each, "started")]
            # OpenRC cannot stop what is dead already, nor what such a service needs.
            for each in together:
                if files.crashed(each):
                    await self._run("zap", each, _ZAP_SECONDS)
            await self._stop_by_openrc(service, seconds)
            # supervise-daemon is told to stop and does so later.
            for end in ends:
                await end.awaited()
        # A start that the fence refuses is shown as one until then.
        if await self._settled(service) in RUNNING:
            raise StepError("StopFailed", f"{_unit(service)} was stopped and runs again")

    async def _stop_by_openrc(self, service: str, seconds: float) -> None:
        """OpenRC says that it is stopped, and so is what needs it."""
        marked = self._files.marked
        while self._files.state(service) in {*RUNNING, UnitState.STOPPING}:
            finished = await self._run("stop", service, seconds)
            if finished.exit_code == 0:
                return
            # Somebody else's start or stop holds the service's lock: ours comes after it.
            busy = marked(service, "starting") or marked(service, "stopping")
            if not busy and not _came_second(service, finished):
                raise StepError(
                    "StopFailed", f"{_unit(service)} did not stop: {_complaint(finished)}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def shutting_down(self) -> bool:
        """True once the system is on its way down; ObservationError if that cannot be read."""
        try:
            return self._files.shutting_down()
        except OSError as error:
            raise ObservationError("UnitUnreadable", f"OpenRC's runlevel: {error}") from error

    async def close(self) -> None:
        """Nobody waits for a start any more; it goes on."""
        waiting = list(self._asked.values())
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _settled(self, service: str) -> UnitState:
        """The state once nobody is starting or stopping it; bounded by the caller."""
        if (asked := self._asked.get(service)) is not None:
            await asyncio.wait({asked})
        await self._left_alone(service)
        return self._files.state(service)

    async def _left_alone(self, service: str) -> None:
        marked = self._files.marked
        await _until(lambda: not marked(service, "starting") and not marked(service, "stopping"))

    def _require_startable(self, service: str) -> None:
        if self._files.state(service) is UnitState.MISSING:
            raise StepError("UnitMissing", f"there is no unit {_unit(service)} on this node")
        if self._files.shutting_down():
            raise StepError(
                "ShuttingDown", f"{_unit(service)} cannot start: the system is shutting down"
            )

    def _end_of(self, service: str, stack: contextlib.ExitStack) -> _End:
        process = self._files.process(service)
        pidfd = None
        with contextlib.suppress(ProcessLookupError):
            if process.pid:
                pidfd = os.pidfd_open(process.pid)
                stack.callback(os.close, pidfd)
        return _End(pidfd, process.orphan)


class _End:
    """The end of a process that is to come; no process, no waiting."""

    def __init__(self, pidfd: int | None, orphan: bool) -> None:
        self._pidfd = pidfd
        self._orphan = orphan

    async def awaited(self) -> None:
        """It has ended.

        An orphan is told to: OpenRC calls a service without its supervisor stopped and leaves
        the process alone.
        """
        if self._pidfd is None:
            return
        if self._orphan:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        await wait_for_exit(self._pidfd)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - OpenRC tells nobody; its files change
        await asyncio.sleep(_POLL_SECONDS)


def _service(name: str) -> str:
    return name.removesuffix(_SUFFIX)


def _unit(service: str) -> str:
    return f"{service}{_SUFFIX}"


def _refused_start(service: str, finished: Finished) -> StepError:
    """The error for a start that rc-service did not carry out, by its own sentences."""
    said = f"{finished.stdout}\n{finished.stderr}"
    if _FENCED in said:
        return StepError(
            "ConditionFailed",
            f"{_unit(service)} was not started: its storage is between two disks",
        )
    if "would not start" in said or "needs service" in said:
        return StepError(
            "DependencyFailed",
            f"{_unit(service)} did not start because a service that it needs failed",
            f"rc-service {service} ineed",
        )
    return _not_started(service, _complaint(finished))


def _came_second(service: str, finished: Finished) -> bool:
    """True if rc-service did nothing because another one was at work on the same service."""
    said = f"{finished.stdout}\n{finished.stderr}"
    return any(f"{service} {words}" in said for words in _HELD)


def _not_started(service: str, why: str) -> StepError:
    return StepError(
        "StartFailed", f"{_unit(service)} did not start: {why}", f"rc-service {service} status"
    )


def _complaint(finished: Finished) -> str:
    """rc-service's last sentence without its ornaments."""
    return finished.complaint.lstrip("* ").removeprefix("ERROR: ")
