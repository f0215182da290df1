"""Rules of the warm process and its client: answers, deadlines, kills, restarts."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodestoraged.adapters.children import Children
from nodestoraged.linux import process
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.worker.helper import ENVIRONMENT

ENTRY = str(Path(__file__).resolve().parents[2] / "fakes" / "worker_entry.py")


@asynccontextmanager
async def children(stuck_limit: int = 4) -> AsyncIterator[Children]:
    ours = Children(entry=ENTRY, stuck_limit=stuck_limit)
    await ours.start()
    try:
        yield ours
    finally:
        await ours.close()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - /proc sends no events
            await asyncio.sleep(0.005)


def living_below(pid: int) -> list[process.Process]:
    return [one for one in process.descendants(process.table(), [pid]) if not one.ended]


def found_by(pid: int) -> dict[str, str]:
    variables = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return dict(each.split("=", 1) for each in variables)


async def failure(ours: Children, op: str, limit: float = 5.0, **args: object) -> StepError:
    with pytest.raises(StepError) as caught:
        await ours.call(op, args, deadline_seconds=limit)
    return caught.value


def test_an_answer_comes_back_from_a_child_that_holds_nothing_of_its_parent() -> None:
    async def scenario() -> None:
        async with children() as ours:
            answer = await ours.call("echo", {"a": [1, "ü"]}, deadline_seconds=5)
            assert answer["args"] == {"a": [1, "ü"]}
            assert answer["pid"] not in (ours.pid, os.getpid())
            assert answer["pgid"] == answer["pid"]
            # 0, 1, 2, its pipe, and the directory that it lists
            assert len(list(answer["fds"])) == 5  # type: ignore[call-overload]
            await until(lambda: ours.stuck == 0)

    asyncio.run(scenario())


def test_the_warm_process_finds_the_environment_of_every_program_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OURS", "1")

    async def scenario() -> None:
        async with children() as ours:
            await ours.call("echo", {}, deadline_seconds=5)
            assert found_by(ours.pid or 0) == ENVIRONMENT

    asyncio.run(scenario())


def test_many_calls_run_side_by_side_and_answers_find_their_callers() -> None:
    async def scenario() -> None:
        async with children() as ours:
            sleeps = [
                asyncio.create_task(ours.call("sleep", {"seconds": 60}, deadline_seconds=60))
                for _ in range(6)
            ]
            await until(lambda: len(living_below(ours.pid or 0)) == 6, 20)
            calls = [ours.call("echo", {"n": n}, deadline_seconds=20) for n in range(6)]
            answers = await asyncio.gather(*calls)
            assert [answer["args"] for answer in answers] == [{"n": n} for n in range(6)]
            assert not any(sleep.done() for sleep in sleeps)
            for sleep in sleeps:
                sleep.cancel()
            await asyncio.gather(*sleeps, return_exceptions=True)

    asyncio.run(scenario())


def test_a_long_answer_comes_whole_and_one_too_long_is_an_error() -> None:
    async def scenario() -> None:
        async with children() as ours:
            answer = await ours.call("large", {"length": 120_000}, deadline_seconds=5)
            assert len(str(answer["text"])) == 120_000
            error = await failure(ours, "large", length=400_000)
            assert error.reason == "AnswerTooLarge"
            error = await failure(ours, "large", length=8_000_000)
            assert error.reason in {"AnswerTooLarge", "ChildDied"}

    asyncio.run(scenario())


def test_the_kernel_s_errno_gets_a_reason_and_a_printable_message() -> None:
    async def scenario() -> None:
        async with children() as ours:
            error = await failure(ours, "fail", how="oserror")
            assert (error.reason, error.errno) == ("IoError", 5)
            assert error.message == "/dev/bad\\x1b[31m: Input/output error"
            assert (await failure(ours, "fail", how="own")).reason == "DeviceChanged"
            assert (await failure(ours, "fail", how="bug")).reason == "InternalError"
            assert (await failure(ours, "nosuch")).reason == "BadArguments"
            assert (await failure(ours, "process_start", pid="x")).reason == "BadArguments"

    asyncio.run(scenario())


def test_a_child_that_is_killed_from_outside_is_an_error_of_its_call_alone() -> None:
    async def scenario() -> None:
        async with children() as ours:
            error = await failure(ours, "crash")
            assert (error.reason, error.message) == ("ChildDied", "the child was ended by signal 9")
            await ours.call("echo", {}, deadline_seconds=5)

    asyncio.run(scenario())


def test_a_call_past_its_deadline_is_killed_and_no_longer_counted() -> None:
    async def scenario() -> None:
        async with children() as ours:
            begin = time.monotonic()
            error = await failure(ours, "sleep", 0.2, seconds=60)
            assert isinstance(error, StepTimeout)
            assert error.reason == "Hung"
            assert time.monotonic() - begin < 2
            await until(lambda: ours.stuck == 0)

    asyncio.run(scenario())


def test_a_cancelled_call_is_killed() -> None:
    async def scenario() -> None:
        async with children() as ours:
            task = asyncio.create_task(ours.call("sleep", {"seconds": 60}, deadline_seconds=60))
            assert ours.pid is not None
            pid = ours.pid
            await until(lambda: len(process.descendants(process.table(), [pid])) == 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            await until(lambda: not process.descendants(process.table(), [pid]))
            await until(lambda: ours.stuck == 0)

    asyncio.run(scenario())


def test_a_helper_that_outlives_its_operation_goes_on_being_counted_as_part_of_it() -> None:
    async def scenario() -> None:
        async with children() as ours:
            await ours.call("helper_outlives", {"seconds": 60}, deadline_seconds=5)
            assert ours.pid is not None
            pid = ours.pid
            await until(lambda: [one.comm for one in living_below(pid)] == ["sleep"])
            (call,) = ours._calls.values()
            assert not call.exited.done()
            assert process.kill(living_below(pid)[0])
            await asyncio.wait_for(call.exited, 5)

    asyncio.run(scenario())


def test_too_many_stuck_children_refuse_further_calls_until_they_end() -> None:
    async def scenario() -> None:
        async with children(stuck_limit=2) as ours:
            assert ours.pid is not None
            await ours.call("echo", {}, deadline_seconds=5)
            # A stopped warm process stands for children that no signal reaches: it kills none.
            os.kill(ours.pid, signal.SIGSTOP)
            calls = [failure(ours, "sleep", 0.1, seconds=60) for _ in range(2)]
            errors = await asyncio.gather(*calls)
            assert [error.reason for error in errors] == ["Hung", "Hung"]
            assert ours.stuck == 2
            assert (await failure(ours, "echo")).reason == "TooManyStuckChildren"
            os.kill(ours.pid, signal.SIGCONT)
            await until(lambda: ours.stuck == 0)
            await ours.call("echo", {}, deadline_seconds=5)

    asyncio.run(scenario())


def test_calls_that_never_reached_the_warm_process_are_not_counted_as_stuck() -> None:
    async def scenario() -> None:
        async with children(stuck_limit=10_000) as ours:
            assert ours.pid is not None
            await ours.call("echo", {}, deadline_seconds=5)
            os.kill(ours.pid, signal.SIGSTOP)
            calls = [failure(ours, "echo", 0.3, n=n, pad="x" * 50_000) for n in range(20)]
            errors = await asyncio.gather(*calls)
            assert {error.reason for error in errors} == {"Hung"}
            assert 0 < ours.stuck < 20  # the rest did not fit into the socket
            os.kill(ours.pid, signal.SIGCONT)
            await until(lambda: ours.stuck == 0)
            await ours.call("echo", {}, deadline_seconds=5)

    asyncio.run(scenario())


def test_a_dead_warm_process_fails_its_calls_and_is_started_again() -> None:
    async def scenario() -> None:
        async with children() as ours:
            first = ours.pid
            assert first is not None
            task = asyncio.create_task(failure(ours, "sleep", 30, seconds=60))
            await until(lambda: len(process.descendants(process.table(), [first])) == 1)
            (sleeper,) = process.descendants(process.table(), [first])
            os.kill(first, signal.SIGKILL)
            assert (await task).reason == "WorkerDied"
            await ours.call("echo", {}, deadline_seconds=5)
            assert ours.pid not in (None, first)
            # The parent-death signal took the child along.
            await until(lambda: not process.alive(sleeper))
            await until(lambda: ours.stuck == 0)

    asyncio.run(scenario())


def test_a_warm_process_that_died_between_calls_costs_no_call() -> None:
    async def scenario() -> None:
        async with children() as ours:
            await ours.call("echo", {}, deadline_seconds=5)
            for _ in range(3):
                assert ours.pid is not None
                warm = process.find(ours.pid)
                assert warm is not None
                process.kill(warm)
                while process.alive(warm):  # the event loop must not see the end before the call
                    time.sleep(0.001)  # noqa: ASYNC251 - it must not run
                await ours.call("echo", {}, deadline_seconds=5)
                assert ours.pid != warm.pid

    asyncio.run(scenario())


def test_arguments_that_are_no_json_or_too_long_are_refused_before_anything_starts() -> None:
    async def scenario() -> None:
        async with children() as ours:
            assert (await failure(ours, "echo", x=object())).reason == "BadArguments"
            assert (await failure(ours, "echo", x="y" * 4_000_000)).reason == "BadArguments"
            await ours.call("echo", {}, deadline_seconds=5)

    asyncio.run(scenario())


def test_when_the_daemon_is_killed_its_worker_and_children_go() -> None:
    code = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(ENTRY).parents[2])!r})
from nodestoraged.adapters.children import Children
async def main():
    ours = Children(entry={ENTRY!r})
    task = asyncio.create_task(ours.call("sleep", {{"seconds": 60}}, deadline_seconds=60))
    print("running", flush=True)
    await task
asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "running\n"
        deadline = time.monotonic() + 5
        while len(below := living_below(daemon.pid)) != 2:  # the warm process and the sleeper
            assert time.monotonic() < deadline
            time.sleep(0.01)
        daemon.kill()
    while any(process.alive(one) for one in below):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_closing_ends_the_warm_process_and_its_children() -> None:
    async def scenario() -> None:
        async with children() as ours:
            pid = ours.pid
            assert pid is not None
            warm = process.find(pid)
            task = asyncio.create_task(failure(ours, "sleep", 30, seconds=60))
            await until(lambda: len(process.descendants(process.table(), [pid])) == 1)
            (sleeper,) = process.descendants(process.table(), [pid])
            await ours.close()
            assert (await task).reason == "WorkerDied"
            assert warm is not None
            assert not process.alive(warm)
            await until(lambda: not process.alive(sleeper))

    asyncio.run(scenario())


def test_the_warm_process_ignores_the_signals_that_stop_a_service() -> None:
    async def scenario() -> None:
        async with children() as ours:
            await ours.call("echo", {}, deadline_seconds=5)
            assert ours.pid is not None
            os.kill(ours.pid, signal.SIGTERM)
            os.kill(ours.pid, signal.SIGINT)
            answer = await ours.call("echo", {}, deadline_seconds=5)
            assert answer["args"] == {}

    asyncio.run(scenario())


def test_a_program_that_cannot_be_started_is_an_error_and_not_a_wait() -> None:
    async def scenario() -> None:
        ours = Children(python=("/nonexistent/python",))
        error = await failure(ours, "echo")
        assert (error.reason, error.errno) == ("WorkerDied", 2)
        ours = Children(python=("/bin/false",))
        assert (await failure(ours, "echo")).reason == "WorkerDied"
        await ours.close()

    asyncio.run(scenario())


def test_the_warm_process_stays_small() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); "
        "import nodestoraged.worker.operations, nodestoraged.worker.server; "
        "print(*sorted(sys.modules))"
    )
    root = str(Path(__file__).resolve().parents[3])
    command = [sys.executable, "-I", "-S", "-c", code, root]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    heavy = {"asyncio", "dataclasses", "inspect", "subprocess", "logging", "grpc", "pathlib"}
    assert not heavy & set(loaded)
    assert not [name for name in loaded if name.startswith("nodestoraged.model")]


def test_the_worker_refuses_a_wrong_command_line() -> None:
    command = [sys.executable, "-m", "nodestoraged.worker", "x"]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr
