"""The command service manager: exit codes, broken commands, and children that stay."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from nodestoraged.adapters.services.command import CommandServiceManager
from nodestoraged.model.config import CommandServices
from nodestoraged.model.errors import ObservationError, StepError
from nodestoraged.model.runtime import UnitState


def manager(*, start: str = "exit 0", stop: str = "exit 0", status: str) -> CommandServiceManager:
    return CommandServiceManager(
        CommandServices(
            start=("sh", "-c", start), stop=("sh", "-c", stop), status=("sh", "-c", status)
        )
    )


@pytest.mark.parametrize(
    ("code", "state"),
    [(0, UnitState.ACTIVE), (1, UnitState.FAILED), (2, UnitState.FAILED),
     (3, UnitState.INACTIVE), (4, UnitState.MISSING)],
)  # fmt: skip
def test_status_is_read_from_the_exit_code(code: int, state: UnitState) -> None:
    assert asyncio.run(manager(status=f"exit {code}").unit("web")).state is state


@pytest.mark.parametrize("status", ["exit 7", "kill -9 $$"])
def test_another_exit_code_is_no_answer(status: str) -> None:
    with pytest.raises(ObservationError) as caught:
        asyncio.run(manager(status=status).unit("web"))
    assert caught.value.reason == "StatusCommandFailed"


def test_a_status_command_that_is_missing_is_an_error() -> None:
    broken = CommandServiceManager(CommandServices(status=("/nonexistent", "{unit}")))
    with pytest.raises(ObservationError):
        asyncio.run(broken.unit("web"))
    with pytest.raises(StepError):
        asyncio.run(broken.stop("web", deadline_seconds=5))


def test_every_unit_placeholder_is_replaced_and_nothing_else_is_interpreted(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    services = CommandServiceManager(
        CommandServices(status=("sh", "-c", f'echo "$0 $1" >{out}', "{unit}", "x-{unit}-{other}"))
    )
    asyncio.run(services.unit("a;b"))
    assert out.read_text() == "a;b x-a;b-{other}\n"


def test_a_child_that_stays_alive_is_not_waited_for_and_not_killed(tmp_path: Path) -> None:
    pid_file, rounds = tmp_path / "pid", tmp_path / "rounds"
    # Its output stays connected to what it inherited, as a runtime's does.
    start = f"(while :; do echo alive; echo >>{rounds}; sleep 0.05; done) & echo $! >{pid_file}"
    services = manager(start=start, status=f"test -e {pid_file} || exit 3")
    began = time.monotonic()
    asyncio.run(services.start("web", wait=True, deadline_seconds=10))
    assert time.monotonic() - began < 5
    pid = int(pid_file.read_text())
    try:
        # It writes on, and neither a full pipe nor a closed one ends it.
        before = rounds.stat().st_size if rounds.exists() else 0
        until = time.monotonic() + 20
        while not rounds.exists() or rounds.stat().st_size < before + 3:
            assert time.monotonic() < until
            time.sleep(0.02)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state not in {"Z", "X"}
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_start_waits_until_status_says_so(tmp_path: Path) -> None:
    flag = tmp_path / "up"
    services = manager(start=f"(sleep 0.3; touch {flag}) &", status=f"test -e {flag} || exit 3")
    asyncio.run(services.start("web", wait=True, deadline_seconds=10))
    assert flag.exists()


def test_a_failing_stop_is_an_error_with_its_last_words() -> None:
    services = manager(stop="echo 'first' >&2; echo 'cannot stop' >&2; exit 1", status="exit 0")
    with pytest.raises(StepError, match="cannot stop") as caught:
        asyncio.run(services.stop("web", deadline_seconds=5))
    assert caught.value.reason == "StopFailed"
