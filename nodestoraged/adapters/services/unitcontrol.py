"""The rules of starting and stopping systemd's units, whichever way systemd is asked.

Owns: the order of a start and of a stop, and what counts as having come true.  May not know:
D-Bus or argument vectors, which are the two `Control`s in `systemd` and `systemctl`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from typing import Protocol

from nodestoraged.adapters.program import wait_for_exit
from nodestoraged.adapters.services.unitfacts import (
    Facts,
    full_name,
    refused_start,
    require_started,
    stopped_with,
    wait_until_stopped,
)
from nodestoraged.model.errors import ObservationError, StepError, StepTimeout
from nodestoraged.model.runtime import Unit, UnitState

__all__ = ["BUS_UNREACHABLE", "Control", "DeniedError", "SystemdServices", "UnreachableError"]

#: Reason of errors that say nothing about the unit: the service manager could not be asked.
BUS_UNREACHABLE = "BusUnreachable"
#: A start that somebody else asks for takes the place of a stop that still waits in systemd's
#: queue (job mode `replace`, systemctl(1)). Asked again, the stop is carried out as a rule.
STOP_TRIES = 4


class UnreachableError(Exception):
    """systemd cannot be asked this way; nothing is known about what was asked."""


class DeniedError(Exception):
    """systemd was asked and said no; the text is its own sentence."""


class Control(Protocol):
    """One way to talk to systemd.  Every call raises the two errors above and nothing else."""

    async def read(self, names: Sequence[str]) -> tuple[Facts, ...]:
        """One reading per name, in the order asked."""
        ...

    async def start(self, name: str, *, wait: bool) -> None:
        """Failures were forgotten and the start asked for; with `wait` its job has ended.

        DeniedError if the job was refused or is known to have ended badly.
        """
        ...

    async def stop(self, name: str) -> None:
        """The stop was asked for and its job has ended."""
        ...

    async def system_state(self) -> str:
        """systemd's SystemState: starting, running, degraded, stopping and others."""
        ...

    async def close(self) -> None:
        """Nothing is open any more; a later call opens it again."""
        ...


class SystemdServices:
    """Implements `ports.ServiceManager` for systemd through a `Control`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    @property
    def name(self) -> str:
        """systemd."""
        return "systemd"

    async def unit(self, name: str) -> Unit:
        """The unit as it is now; ObservationError if systemd cannot be asked or does not tell."""
        try:
            (facts,) = await self._control.read([full_name(name)])
            return facts.unit(await stopped_with(facts, self._control.read))
        except UnreachableError as error:
            raise ObservationError(BUS_UNREACHABLE, f"systemd cannot be asked: {error}") from error
        except DeniedError as error:
            raise ObservationError(
                "UnitUnreadable", f"systemd does not tell about {name}: {error}"
            ) from error

    async def start(self, name: str, *, wait: bool, deadline_seconds: float) -> None:
        """The start was asked for, failures forgotten first; with `wait` the unit is active.

        Raises StepError: ConditionFailed, UnitMissing, UnitMasked, ShuttingDown,
        DependencyFailed, JobCanceled, StartFailed, BusUnreachable; StepTimeout("StartTimeout")
        leaves the job in systemd's queue.
        """
        unit = full_name(name)
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._control.start(unit, wait=wait)
                if wait:
                    (facts,) = await self._control.read([unit])
                    require_started(facts)
        except TimeoutError:
            raise StepTimeout(
                "StartTimeout", f"{unit} was not up within {deadline_seconds:g} s"
            ) from None
        except DeniedError as error:
            raise refused_start(unit, str(error)) from error
        except UnreachableError as error:
            raise StepError(BUS_UNREACHABLE, f"systemd cannot be asked: {error}") from error

    async def stop(self, name: str, *, deadline_seconds: float) -> None:
        """The unit is inactive, its main process gone, and what it took along stopped too.

        A unit that does not exist is stopped.  Raises StepError: StopFailed, BusUnreachable;
        StepTimeout("StopTimeout").
        """
        unit = full_name(name)
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._stop_for_good(unit)
        except TimeoutError:
            raise StepTimeout(
                "StopTimeout", f"{unit} was not down within {deadline_seconds:g} s"
            ) from None
        except DeniedError as error:
            raise StepError("StopFailed", f"{unit} did not stop: {error}") from error
        except UnreachableError as error:
            raise StepError(BUS_UNREACHABLE, f"systemd cannot be asked: {error}") from error

    async def _stop_for_good(self, unit: str) -> None:
        for _ in range(STOP_TRIES - 1):
            try:
                await self._stop(unit)
            except DeniedError as error:
                if "canceled" not in str(error):
                    raise
            except StepError as error:
                if error.reason != "StopFailed":
                    raise
            else:
                return
        await self._stop(unit)

    async def _stop(self, unit: str) -> None:
        (facts,) = await self._control.read([unit])
        if facts.state is UnitState.MISSING:
            return
        along = await stopped_with(facts, self._control.read)
        with contextlib.ExitStack() as stack:
            pidfd = None
            if facts.main_pid:
                with contextlib.suppress(ProcessLookupError):  # it ended in between
                    pidfd = os.pidfd_open(facts.main_pid)
                    stack.callback(os.close, pidfd)
            await self._control.stop(unit)
            await wait_until_stopped([unit, *along], self._control.read)
            if pidfd is not None:  # systemd gives a process up that even SIGKILL did not end
                await wait_for_exit(pidfd)

    async def shutting_down(self) -> bool:
        """True once a shutdown was asked for; ObservationError if systemd cannot be asked.

        SystemState alone is not enough: it says "starting" until the boot is over, even with
        a reboot already queued (systemd's manager_state()).
        """
        try:
            state = await self._control.system_state()
            if state not in {"starting", "initializing"}:
                return state == "stopping"
            (facts,) = await self._control.read(["shutdown.target"])
        except (UnreachableError, DeniedError) as error:
            raise ObservationError(BUS_UNREACHABLE, f"systemd cannot be asked: {error}") from error
        return facts.start_pending or facts.state in {UnitState.ACTIVE, UnitState.STARTING}

    async def close(self) -> None:
        """Connections are closed."""
        await self._control.close()
