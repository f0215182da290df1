"""What every `ports.ServiceManager` keeps to."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.runtime import UnitState
from tests.fakes.service_benches import (
    BENCHES,
    KNOWING_BENCHES,
    RICH_BENCHES,
    Bench,
    MakeBench,
    run,
)
from tests.fakes.unit_world import WorldUnit, running

RUNTIME = "containerd.service"
KUBELET = "kubelet.service"

#: Enough for a job that ends, on a busy machine.
LONG = 10.0
#: For jobs that never end.
SHORT = 0.6


@pytest.fixture(params=BENCHES.values(), ids=BENCHES.keys())
def bench(request: pytest.FixtureRequest) -> MakeBench:
    return request.param


@pytest.fixture(params=KNOWING_BENCHES.values(), ids=KNOWING_BENCHES.keys())
def knowing(request: pytest.FixtureRequest) -> MakeBench:
    return request.param


@pytest.fixture(params=RICH_BENCHES.values(), ids=RICH_BENCHES.keys())
def rich(request: pytest.FixtureRequest) -> MakeBench:
    return request.param


# ------------------------------------------------------------------------ looking


def test_a_unit_that_does_not_exist_is_missing(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        unit = await node.manager.unit("nothing.service")
        assert (unit.name, unit.state) == ("nothing.service", UnitState.MISSING)
        assert not unit.runs

    run(bench, tmp_path, scenario)


def test_states_are_told_apart(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running("a.service"))
        node.add(WorldUnit(name="b.service"))
        node.add(WorldUnit(name="c.service", active="failed", sub="failed"))
        seen = [(await node.manager.unit(f"{name}.service")).state for name in "abc"]
        assert seen == [UnitState.ACTIVE, UnitState.INACTIVE, UnitState.FAILED]

    run(bench, tmp_path, scenario)


@pytest.mark.parametrize(
    ("active", "sub", "state"),
    [
        ("reloading", "reload", UnitState.ACTIVE),
        ("activating", "start-pre", UnitState.STARTING),
        ("activating", "auto-restart", UnitState.STARTING),
        ("deactivating", "stop-sigterm", UnitState.STOPPING),
    ],
)
def test_states_on_the_way(
    rich: MakeBench, tmp_path: Path, active: str, sub: str, state: UnitState
) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, active=active, sub=sub))
        assert (await node.manager.unit(RUNTIME)).state is state

    run(rich, tmp_path, scenario)


def test_the_suffix_service_may_be_left_out(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running(RUNTIME))
        assert (await node.manager.unit("containerd")).state is UnitState.ACTIVE

    run(knowing, tmp_path, scenario)


def test_the_main_process_is_reported(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running(RUNTIME, main_pid=4_999_999))
        assert (await node.manager.unit(RUNTIME)).main_pid == 4_999_999

    run(knowing, tmp_path, scenario)


def test_a_masked_unit_that_does_not_run_is_inactive(rich: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, load="masked"))
        assert (await node.manager.unit(RUNTIME)).state is UnitState.INACTIVE

    run(rich, tmp_path, scenario)


def test_a_unit_whose_file_was_removed_still_runs(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running(RUNTIME, load="not-found"))
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE

    run(knowing, tmp_path, scenario)


@pytest.mark.parametrize(
    ("job_type", "job_state", "queued"),
    [("start", "waiting", True), ("restart", "waiting", True), ("start", "running", False),
     ("stop", "waiting", False)],
)  # fmt: skip
def test_only_a_start_job_that_waits_counts_as_queued(
    rich: MakeBench, tmp_path: Path, job_type: str, job_state: str, queued: bool
) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, job_type=job_type, job_state=job_state))
        assert (await node.manager.unit(RUNTIME)).job_queued is queued

    run(rich, tmp_path, scenario)


def test_takes_along_names_running_dependents_transitively(rich: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(
            running(
                RUNTIME,
                required_by=["docker.service", "idle.service", "kubernetes.target"],
                bound_by=["bound.service"],
                consists_of=["part.service", "part.socket"],
            )
        )
        node.add(running("docker.service", required_by=["compose.service"]))
        node.add(running("compose.service", required_by=[RUNTIME]))  # a circle must end
        node.add(WorldUnit(name="idle.service", required_by=["behind-idle.service"]))
        node.add(running("behind-idle.service"))
        node.add(running("bound.service", active="activating", sub="auto-restart"))
        node.add(running("part.service"))
        node.add(running("part.socket", sub="listening"))
        node.add(running("kubernetes.target", consists_of=[KUBELET], sub="active"))
        node.add(running(KUBELET))
        assert (await node.manager.unit(RUNTIME)).takes_along == (
            "bound.service",
            "compose.service",
            "docker.service",
            KUBELET,
            "part.service",
        )

    run(rich, tmp_path, scenario)


def test_a_shutdown_is_seen(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        assert not await node.manager.shutting_down()
        node.begin_shutdown()
        assert await node.manager.shutting_down()

    run(knowing, tmp_path, scenario)


# ------------------------------------------------------------------------ starting


def test_a_started_unit_is_active(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME))
        await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE

    run(bench, tmp_path, scenario)


def test_starting_what_runs_is_fine(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running(RUNTIME))
        await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE

    run(bench, tmp_path, scenario)


def test_starting_what_does_not_exist_says_so(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        with pytest.raises(StepError, match=r"nothing\.service") as caught:
            await node.manager.start("nothing.service", wait=True, deadline_seconds=LONG)
        assert caught.value.reason == "UnitMissing"

    run(bench, tmp_path, scenario)


def test_a_start_that_fails_is_an_error(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, start_fails=True))
        with pytest.raises(StepError, match=r"containerd\.service") as caught:
            await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert caught.value.reason == "StartFailed"
        assert not (await node.manager.unit(RUNTIME)).runs

    run(bench, tmp_path, scenario)


def test_a_start_that_never_ends_is_a_timeout(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, start_never_ends=True))
        with pytest.raises(StepTimeout) as caught:
            await node.manager.start(RUNTIME, wait=True, deadline_seconds=SHORT)
        assert caught.value.reason == "StartTimeout"

    run(bench, tmp_path, scenario)


def test_a_slow_start_is_awaited(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, start_seconds=0.3))
        await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE

    run(knowing, tmp_path, scenario)


def test_without_wait_the_start_is_only_queued(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, start_never_ends=True))
        await node.manager.start(RUNTIME, wait=False, deadline_seconds=LONG)
        assert (await node.manager.unit(RUNTIME)).state is UnitState.STARTING

    run(knowing, tmp_path, scenario)


def test_a_start_that_a_condition_prevents_is_an_error(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, condition_holds=False))
        with pytest.raises(StepError) as caught:
            await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert caught.value.reason == "ConditionFailed"

    run(knowing, tmp_path, scenario)


def test_failures_are_forgotten_before_a_start(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, active="failed", sub="failed", start_limit_hit=True))
        await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE

    run(knowing, tmp_path, scenario)


@pytest.mark.parametrize("behaviour", ["crash_loops", "ends_at_once"])
def test_a_unit_that_ends_right_after_its_start_has_not_started(
    knowing: MakeBench, tmp_path: Path, behaviour: str
) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=KUBELET, **{behaviour: True}))
        with pytest.raises(StepError) as caught:
            await node.manager.start(KUBELET, wait=True, deadline_seconds=LONG)
        assert caught.value.reason == "StartFailed"

    run(knowing, tmp_path, scenario)


def test_a_crash_loop_is_fine_without_wait(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=KUBELET, crash_loops=True))
        await node.manager.start(KUBELET, wait=False, deadline_seconds=LONG)
        assert (await node.manager.unit(KUBELET)).state is UnitState.STARTING

    run(knowing, tmp_path, scenario)


@pytest.mark.parametrize("wait", [True, False])
def test_a_masked_unit_cannot_start(rich: MakeBench, tmp_path: Path, wait: bool) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, load="masked"))
        with pytest.raises(StepError) as caught:
            await node.manager.start(RUNTIME, wait=wait, deadline_seconds=LONG)
        assert caught.value.reason == "UnitMasked"

    run(rich, tmp_path, scenario)


@pytest.mark.parametrize("wait", [True, False])
def test_nothing_starts_during_a_shutdown(knowing: MakeBench, tmp_path: Path, wait: bool) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME))
        node.begin_shutdown()
        with pytest.raises(StepError) as caught:
            await node.manager.start(RUNTIME, wait=wait, deadline_seconds=LONG)
        assert caught.value.reason == "ShuttingDown"

    run(knowing, tmp_path, scenario)


def test_a_failed_dependency_is_named_as_such(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, dependency_fails=True))
        with pytest.raises(StepError) as caught:
            await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert caught.value.reason == "DependencyFailed"

    run(knowing, tmp_path, scenario)


# ------------------------------------------------------------------------ stopping


def test_a_stopped_unit_is_inactive(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running(RUNTIME))
        await node.manager.stop(RUNTIME, deadline_seconds=LONG)
        unit = await node.manager.unit(RUNTIME)
        assert (unit.state, unit.main_pid) == (UnitState.INACTIVE, 0)

    run(bench, tmp_path, scenario)


@pytest.mark.parametrize("name", ["stopped.service", "nothing.service"])
def test_stopping_what_does_not_run_is_fine(bench: MakeBench, tmp_path: Path, name: str) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name="stopped.service"))
        await node.manager.stop(name, deadline_seconds=LONG)
        assert not (await node.manager.unit(name)).runs

    run(bench, tmp_path, scenario)


def test_a_stop_that_never_ends_is_a_timeout(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running(RUNTIME, stop_never_ends=True))
        with pytest.raises(StepTimeout) as caught:
            await node.manager.stop(RUNTIME, deadline_seconds=SHORT)
        assert caught.value.reason == "StopTimeout"

    run(bench, tmp_path, scenario)


def test_what_a_stop_takes_along_is_stopped_too(knowing: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running(RUNTIME, required_by=[KUBELET], stop_seconds=0.2))
        node.add(running(KUBELET))
        await node.manager.stop(RUNTIME, deadline_seconds=LONG)
        assert (await node.manager.unit(KUBELET)).state is UnitState.INACTIVE

    run(knowing, tmp_path, scenario)


def test_close_may_be_followed_by_another_question(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(running(RUNTIME))
        await node.manager.unit(RUNTIME)
        await node.manager.close()
        await node.manager.close()
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE

    run(bench, tmp_path, scenario)
