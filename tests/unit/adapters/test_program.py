"""Running programs: output, ends, deadlines, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from nodestoraged.adapters import program
from nodestoraged.adapters.program import Finished, run_program
from nodestoraged.worker import helper
from tests.fakes.service_benches import until


def shell(text: str, seconds: float = 10.0) -> Finished:
    return asyncio.run(run_program(("sh", "-c", text), deadline_seconds=seconds))


def test_output_and_exit_code_are_told_apart() -> None:
    done = shell("echo out; echo err >&2; exit 3")
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_signal_is_a_negative_exit_code() -> None:
    done = shell("kill -9 $$")
    assert (done.exit_code, done.complaint) == (-9, "ended by signal 9")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("echo a; echo b >&2; echo >&2", "b"), ("echo a", "a"), ("exit 5", "exit code 5")],
)
def test_the_complaint_is_the_last_line_that_says_something(text: str, complaint: str) -> None:
    assert shell(text).complaint == complaint


def test_output_that_is_no_text_does_no_harm() -> None:
    assert shell(r"printf '\377ok'").stdout.endswith("ok")


def test_a_flood_of_output_is_cut_and_held_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "OUTPUT_LIMIT_BYTES", 64 * 1024)
    done = shell("head -c 1000000 /dev/zero 2>/dev/null; exit 0")
    assert done.exit_code == 0
    assert len(done.stdout) <= 64 * 1024


def test_the_deadline_ends_it() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        shell("trap '' TERM; sleep 30", seconds=0.3)
    assert time.monotonic() - began < 3


def test_cancelling_ends_it_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    async def scenario() -> None:
        argv = ("sh", "-c", f"echo $$ >{pid_file}; exec sleep 30")
        task = asyncio.create_task(run_program(argv, deadline_seconds=20))
        await until(lambda: pid_file.exists() and pid_file.read_text() != "")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_the_loop_is_free_while_a_program_runs() -> None:
    async def scenario() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticker = asyncio.create_task(tick())
        await run_program(("sleep", "0.3"), deadline_seconds=5)
        ticker.cancel()
        return ticks

    assert asyncio.run(scenario()) > 5


def test_no_descriptor_is_left_open() -> None:
    async def scenario() -> tuple[int, int]:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for argv in (("true",), ("false",), ("/nonexistent",)):
            try:
                await run_program(argv, deadline_seconds=5)
            except OSError:
                assert argv == ("/nonexistent",)
        return before, len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before, after = asyncio.run(scenario())
    assert before == after


def test_a_program_finds_the_environment_of_every_program_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OURS", "1")
    done = asyncio.run(run_program(("env",), deadline_seconds=10))
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == helper.ENVIRONMENT
