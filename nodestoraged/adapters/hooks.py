"""Run the operator's programs around a move.

Owns: the environment they find and how their failure reads.  May not know: which hooks exist
and what a failing one means for the operation.
"""

from __future__ import annotations

from collections.abc import Sequence

from nodestoraged.adapters.program import run_program
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.worker.helper import ENVIRONMENT

__all__ = ["ProgramHooks"]


class ProgramHooks:
    """Implements `ports.HookRunner` with child processes."""

    async def run(
        self, argv: Sequence[str], environment: dict[str, str], *, deadline_seconds: float
    ) -> None:
        """The program exited 0.

        It finds PATH, LANG, LC_ALL and `environment`, /dev/null as stdin, / as directory.
        Raises StepError("HookFailed") with its last line, and StepTimeout("HookTimeout") once
        its whole process group was killed at the deadline.
        """
        if not argv:
            raise StepError("HookFailed", "the hook is empty", "name a program in the hook")
        try:
            finished = await run_program(
                argv,
                deadline_seconds=deadline_seconds,
                environment={**ENVIRONMENT, **environment},
            )
        except TimeoutError:
            raise StepTimeout(
                "HookTimeout", f"hook {argv[0]} did not end within {deadline_seconds:g} s"
            ) from None
        except OSError as error:
            raise StepError(
                "HookFailed",
                f"hook {argv[0]} cannot be started: {error.strerror}",
                "check the path and the mode of the program",
                errno=error.errno,
            ) from error
        if finished.exit_code != 0:
            raise StepError("HookFailed", f"hook {argv[0]} failed: {finished.complaint}")
