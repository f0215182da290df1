"""systemctl: what it was asked, in which environment, and what it says when systemd is away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nodestoraged.adapters.services.systemctl import SystemctlControl
from nodestoraged.adapters.services.unitcontrol import SystemdServices
from nodestoraged.model.errors import ObservationError, StepError
from tests.fakes.service_benches import SystemctlBench
from tests.fakes.unit_world import WorldUnit

RUNTIME = "containerd.service"


def script(directory: Path, text: str) -> SystemdServices:
    program = directory / "systemctl"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return SystemdServices(SystemctlControl(str(program)))


def test_failures_are_forgotten_before_the_start(tmp_path: Path) -> None:
    bench = SystemctlBench(tmp_path)
    bench.add(WorldUnit(name=RUNTIME))
    asyncio.run(bench.manager.start(RUNTIME, wait=True, deadline_seconds=10))
    assert bench.world.calls == [("reset-failed", RUNTIME), ("start", RUNTIME), ("show", RUNTIME)]


def test_a_unit_that_systemd_forgot_is_not_said_to_have_failed_a_condition(tmp_path: Path) -> None:
    bench = SystemctlBench(tmp_path)
    bench.add(WorldUnit(name=RUNTIME, ends_at_once=True, unloaded=True))
    with pytest.raises(StepError, match="ended at once, or") as caught:
        asyncio.run(bench.manager.start(RUNTIME, wait=True, deadline_seconds=10))
    assert caught.value.reason == "StartFailed"


def test_the_environment_is_ours_and_not_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SYSTEMCTL_SKIP_REDIRECT", "1")
    manager = script(tmp_path, f"env >{tmp_path}/env; echo running")
    asyncio.run(manager.shutting_down())
    seen = (tmp_path / "env").read_text().splitlines()
    assert "LC_ALL=C.UTF-8" in seen
    assert not [line for line in seen if line.startswith(("SYSTEMCTL_", "HOME="))]


def test_a_stop_that_was_cancelled_by_a_start_is_asked_for_again(tmp_path: Path) -> None:
    stops = tmp_path / "stops"
    manager = script(
        tmp_path,
        f"""case " $* " in
*" show "*) printf 'LoadState=loaded\nActiveState=inactive\nSubState=dead\nMainPID=0\n' ;;
*" stop "*) echo stop >>{stops}
    test "$(wc -l <{stops})" -gt 1 || {{ echo "Job for {RUNTIME} canceled." >&2; exit 1; }} ;;
esac""",
    )
    asyncio.run(manager.stop(RUNTIME, deadline_seconds=10))
    assert stops.read_text() == "stop\nstop\n"


@pytest.mark.parametrize(
    "complaint",
    [
        "Failed to connect to bus: No such file or directory",
        "System has not been booted with systemd as init system (PID 1). Can't operate.",
    ],
)
def test_a_systemd_that_is_away_says_nothing_about_the_unit(tmp_path: Path, complaint: str) -> None:
    manager = script(tmp_path, f'echo "{complaint}" >&2; exit 1')
    with pytest.raises(ObservationError) as seen:
        asyncio.run(manager.unit(RUNTIME))
    with pytest.raises(StepError) as started:
        asyncio.run(manager.start(RUNTIME, wait=True, deadline_seconds=10))
    assert {seen.value.reason, started.value.reason} == {"BusUnreachable"}


@pytest.mark.parametrize("word", ["offline", "unknown", ""])
def test_an_unknown_system_state_is_no_answer(tmp_path: Path, word: str) -> None:
    with pytest.raises(ObservationError):
        asyncio.run(script(tmp_path, f"echo {word}; exit 1").shutting_down())


def test_too_few_answers_are_an_error_and_not_a_guess(tmp_path: Path) -> None:
    manager = script(tmp_path, "exit 1")
    with pytest.raises(ObservationError) as caught:
        asyncio.run(manager.unit(RUNTIME))
    assert caught.value.reason == "UnitUnreadable"
