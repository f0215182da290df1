"""Services through commands of the operator: runit, s6, dinit, tests, the demo.

Owns: the argument vectors with `{unit}`, and the exit codes of the status command.  May not
know: which service manager stands behind them.  The commands know neither jobs nor conditions
nor what a stop takes along, so none of that is reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nodestoraged.adapters.program import Finished, run_program
from nodestoraged.model.config import CommandServices
from nodestoraged.model.errors import ObservationError, StepError, StepTimeout
from nodestoraged.model.runtime import Unit, UnitState

__all__ = ["CommandServiceManager"]

#: How long the status command may take.
STATUS_SECONDS = 10.0

#: Seconds between two questions while a unit comes up or goes down.
POLL_SECONDS = 0.1

#: Exit codes of `status`: Linux Standard Base 5.0, "Init Script Actions"; 1 and 2 are a service
#: that is dead but left its pid or lock file.
_STATES = {
    0: UnitState.ACTIVE,
    1: UnitState.FAILED,
    2: UnitState.FAILED,
    3: UnitState.INACTIVE,
    4: UnitState.MISSING,
}


class CommandServiceManager:
    """Implements `ports.ServiceManager` with the three configured argument vectors."""

    def __init__(self, commands: CommandServices) -> None:
        self._commands = commands

    @property
    def name(self) -> str:
        """command."""
        return "command"

    async def unit(self, name: str) -> Unit:
        """The unit by the exit code of `status`; ObservationError if that says nothing."""
        try:
            finished = await self._run(self._commands.status, name, STATUS_SECONDS)
        except TimeoutError:
            raise ObservationError(
                "StatusCommandFailed", f"status of {name} took over {STATUS_SECONDS:g} s"
            ) from None
        except OSError as error:
            raise ObservationError(
                "StatusCommandFailed",
                f"{self._commands.status[0]} cannot be started: {error.strerror}",
            ) from error
        state = _STATES.get(finished.exit_code)
        if state is None:
            raise ObservationError(
                "StatusCommandFailed",
                f"status of {name} ended with {finished.exit_code}: {finished.complaint}",
                "it has to exit with 0 (runs), 3 (stopped) or 4 (unknown)",
            )
        return Unit(name=name, state=state)

    async def start(self, name: str, *, wait: bool, deadline_seconds: float) -> None:
        """The start command exited 0; with `wait` the status command says that it runs.

        Without `wait` it is the command itself that asks, so its own end is still awaited.
        Raises StepError("UnitMissing", "StartFailed"), StepTimeout("StartTimeout").
        """
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._start(name, wait=wait, deadline_seconds=deadline_seconds)
        except TimeoutError:
            raise StepTimeout(
                "StartTimeout", f"{name} was not up within {deadline_seconds:g} s"
            ) from None
        except OSError as error:
            raise _cannot_run("StartFailed", self._commands.start, error) from error

    async def _start(self, name: str, *, wait: bool, deadline_seconds: float) -> None:
        if await self._state(name) is UnitState.MISSING:
            raise StepError("UnitMissing", f"there is no unit {name} on this node")
        finished = await self._run(self._commands.start, name, deadline_seconds)
        if finished.exit_code != 0:
            raise StepError("StartFailed", f"{name} did not start: {finished.complaint}")
        while wait and (state := await self._state(name)) is not UnitState.ACTIVE:
            if state is UnitState.FAILED:
                raise StepError("StartFailed", f"{name} ended at once")
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self, name: str, *, deadline_seconds: float) -> None:
        """The status command says that it does not run.

        Raises StepError("StopFailed"), StepTimeout("StopTimeout").
        """
        try:
            async with asyncio.timeout(deadline_seconds):
                if await self._state(name) is not UnitState.ACTIVE:
                    return
                finished = await self._run(self._commands.stop, name, deadline_seconds)
                while await self._state(name) is UnitState.ACTIVE:
                    if finished.exit_code != 0:
                        raise StepError("StopFailed", f"{name} did not stop: {finished.complaint}")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise StepTimeout(
                "StopTimeout", f"{name} was not down within {deadline_seconds:g} s"
            ) from None
        except OSError as error:
            raise _cannot_run("StopFailed", self._commands.stop, error) from error

    async def shutting_down(self) -> bool:
        """False: the commands have no word for it, and nothing else on such a system is sure."""
        return False

    async def close(self) -> None:
        """Nothing is ever open."""

    async def _state(self, name: str) -> UnitState:
        """The state within a step, where not knowing fails the step."""
        try:
            return (await self.unit(name)).state
        except ObservationError as error:
            raise StepError(error.reason, error.message, error.hint) from error

    async def _run(self, template: Sequence[str], name: str, seconds: float) -> Finished:
        argv = [word.replace("{unit}", name) for word in template]
        return await run_program(argv, deadline_seconds=seconds)


def _cannot_run(reason: str, template: Sequence[str], error: OSError) -> StepError:
    return StepError(
        reason, f"{template[0]} cannot be started: {error.strerror}", errno=error.errno
    )
