"""systemd through the program `systemctl`: the way that needs no bus.

As root, systemctl talks to systemd's private socket, so it works while dbus-daemon does not.
Owns: its argument vectors and how its output is read.  May not know: what the units are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nodestoraged.adapters.program import Finished, run_program
from nodestoraged.adapters.services.unitcontrol import DeniedError, UnreachableError
from nodestoraged.adapters.services.unitfacts import DEPENDENT_PROPERTIES, Facts
from nodestoraged.worker.helper import ENVIRONMENT

__all__ = ["SystemctlControl"]

#: How long a question may take; jobs are bounded by the step's own deadline.
CALL_SECONDS = 10.0

#: Longer than any step: starting and stopping end by the caller's deadline, not by this one.
JOB_SECONDS = 24 * 3600.0

_FACTS = (
    "LoadState", "ActiveState", "SubState", "Job", "MainPID", "Result",
    "ConditionResult", "ConditionTimestampMonotonic", *DEPENDENT_PROPERTIES,
)  # fmt: skip

#: systemctl's own words for "I cannot talk to systemd" (systemd 252: bus_log_connect_error,
#: sd_booted).  They say nothing about the unit.
_UNREACHABLE = ("failed to connect", "has not been booted", "connection timed out")

_OPTIONS = ("--system", "--no-pager", "--no-ask-password", "--full", "--plain", "--no-legend")


class SystemctlControl:
    """Implements `Control` with one child process per question."""

    def __init__(self, program: str = "systemctl") -> None:
        self._program = program
        self._environment = {**ENVIRONMENT, "SYSTEMD_COLORS": "0"}

    async def read(self, names: Sequence[str]) -> tuple[Facts, ...]:
        """One reading per name, in the order asked."""
        if not names:
            return ()
        finished = await self._run("show", f"--property={','.join(_FACTS)}", "--", *names)
        blocks = [_block(text) for text in finished.stdout.strip("\n").split("\n\n")]
        if finished.exit_code != 0 or len(blocks) != len(names):
            raise DeniedError(finished.complaint)
        jobs: Mapping[str, tuple[str, str]] = {}
        if any(block.get("Job", "0") not in {"", "0"} for block in blocks):
            jobs = _jobs((await self._run("list-jobs", "--", *names)).stdout)
        return tuple(_facts(name, block, jobs) for name, block in zip(names, blocks, strict=True))

    async def start(self, name: str, *, wait: bool) -> None:
        """Failures were forgotten and the start asked for; with `wait` its job has ended."""
        await self._run("reset-failed", "--", name)  # an unknown unit has none to forget
        how = () if wait else ("--no-block",)
        await self._require("start", *how, "--", name, seconds=JOB_SECONDS)

    async def stop(self, name: str) -> None:
        """The stop was asked for and its job has ended."""
        await self._require("stop", "--", name, seconds=JOB_SECONDS)

    async def system_state(self) -> str:
        """systemd's SystemState; the exit code only says whether it is "running"."""
        finished = await self._run("is-system-running")
        state = finished.stdout.strip()
        if state in {"", "unknown", "offline"}:
            raise UnreachableError(finished.complaint)
        return state

    async def close(self) -> None:
        """Nothing is ever open."""

    async def _require(self, *words: str, seconds: float) -> None:
        finished = await self._run(*words, seconds=seconds)
        if finished.exit_code != 0:
            raise DeniedError(_first_line(finished))

    async def _run(self, *words: str, seconds: float = CALL_SECONDS) -> Finished:
        """What systemctl said; UnreachableError if it could not run or not reach systemd."""
        try:
            finished = await run_program(
                (self._program, *_OPTIONS, *words),
                deadline_seconds=seconds,
                environment=self._environment,
            )
        except TimeoutError:
            raise UnreachableError(f"systemctl {words[0]} took over {seconds:g} s") from None
        except OSError as error:
            raise UnreachableError(f"{self._program}: {error.strerror}") from error
        if finished.exit_code != 0:
            said = finished.stderr.lower()
            if any(words in said for words in _UNREACHABLE):
                raise UnreachableError(finished.complaint)
        return finished


def _first_line(finished: Finished) -> str:
    """systemctl says the cause first and adds advice below."""
    lines = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    return lines[0] if lines else finished.complaint


def _block(text: str) -> dict[str, str]:
    """The KEY=value lines of one unit."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, _, value in pairs}


def _jobs(listing: str) -> dict[str, tuple[str, str]]:
    """`list-jobs`: number, unit, type, state per line; here unit -> (type, state)."""
    rows = (line.split() for line in listing.splitlines())
    return {row[1]: (row[2], row[3]) for row in rows if len(row) == 4 and row[0].isdigit()}


def _facts(name: str, block: Mapping[str, str], jobs: Mapping[str, tuple[str, str]]) -> Facts:
    job_type, job_state = jobs.get(name, ("", ""))
    pid = block.get("MainPID", "0")
    return Facts(
        name=name,
        load_state=block.get("LoadState", ""),
        active_state=block.get("ActiveState", ""),
        sub_state=block.get("SubState", ""),
        job_type=job_type,
        job_state=job_state,
        condition_held=block.get("ConditionResult") == "yes",
        condition_checked=block.get("ConditionTimestampMonotonic", "0") not in {"", "0"},
        main_pid=int(pid) if pid.isdigit() else 0,
        result=block.get("Result", ""),
        dependents=tuple(
            each for key in DEPENDENT_PROPERTIES for each in block.get(key, "").split()
        ),
    )
