"""systemd over D-Bus: the order of requests, signals that lie or get lost, a bus that breaks."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from demo.services import lives
from nodestoraged.adapters.services import systemd
from nodestoraged.adapters.services.systemd import DbusControl
from nodestoraged.adapters.services.unitcontrol import STOP_TRIES, SystemdServices
from nodestoraged.model.errors import ObservationError, StepError, StepTimeout
from nodestoraged.model.runtime import UnitState
from tests.fakes.fake_systemd1 import (
    ROOT,
    FakeSystemd1,
    connected,
    job_removed,
    private_bus,
)
from tests.fakes.service_benches import DbusBench, dbus_bench, until
from tests.fakes.unit_world import UnitWorld, WorldUnit, running

RUNTIME = "containerd.service"
LONG = 10.0


def on_dbus(directory: Path, scenario: Callable[[DbusBench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with dbus_bench(directory) as bench:
            await scenario(bench)

    asyncio.run(whole())


def test_subscribed_first_then_failures_forgotten_then_started(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        node.add(WorldUnit(name=RUNTIME))
        await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert node.world.calls == [
            ("Subscribe", ""),
            ("RefUnit", RUNTIME),
            ("ResetFailedUnit", RUNTIME),
            ("StartUnit", RUNTIME),
            ("LoadUnit", RUNTIME),
        ]

    on_dbus(tmp_path, scenario)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [({"condition_holds": False}, "ConditionFailed"), ({"ends_at_once": True}, "StartFailed")],
)
def test_a_unit_that_systemd_would_forget_is_kept_to_learn_why_it_did_not_start(
    tmp_path: Path, behaviour: dict[str, bool], reason: str
) -> None:
    async def scenario(node: DbusBench) -> None:
        node.add(WorldUnit(name=RUNTIME, unloaded=True, **behaviour))
        for _ in range(2):
            with pytest.raises(StepError) as caught:
                await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
            assert caught.value.reason == reason
        assert node.world.calls.count(("RefUnit", RUNTIME)) == 1

    on_dbus(tmp_path, scenario)


def test_one_connection_serves_many_questions(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        node.add(running(RUNTIME))
        await asyncio.gather(*(node.manager.unit(RUNTIME) for _ in range(20)))
        assert len(set(node.fake.callers)) == 1

    on_dbus(tmp_path, scenario)


def test_a_job_that_ends_before_its_request_is_answered_is_not_missed(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        node.fake.signals_first = True
        node.add(WorldUnit(name=RUNTIME))
        await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE

    on_dbus(tmp_path, scenario)


def test_a_job_whose_end_nobody_told_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "JOB_CHECK_SECONDS", 0.1)

    async def scenario(node: DbusBench) -> None:
        node.fake.loses_signals = True
        node.add(WorldUnit(name=RUNTIME, start_seconds=0.3))
        await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE

    on_dbus(tmp_path, scenario)


def test_the_end_of_a_job_is_believed_from_systemd_only(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        node.add(WorldUnit(name=RUNTIME, start_never_ends=True))
        async with connected(node.bus) as stranger:
            start = asyncio.create_task(
                node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
            )
            await until(lambda: ("StartUnit", RUNTIME) in node.world.calls)
            victim = node.fake.callers[-1]
            await stranger.send(job_removed(f"{ROOT}/job/1", 1, RUNTIME, "canceled", victim))
            # The bus has taken the signal when it answers the stranger, and has given it to the
            # victim before the next answer that the victim gets.
            await stranger.request_name("org.example.stranger")
            await node.manager.unit(RUNTIME)
            await asyncio.sleep(0.3)
            assert not start.done()
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start

    on_dbus(tmp_path, scenario)


def test_a_cancelled_job_is_an_error(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        node.add(WorldUnit(name=RUNTIME, start_never_ends=True))
        start = asyncio.create_task(node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG))
        await until(lambda: ("StartUnit", RUNTIME) in node.world.calls)
        assert node.fake._bus is not None
        await node.fake._bus.send(job_removed(f"{ROOT}/job/1", 1, RUNTIME, "canceled"))
        with pytest.raises(StepError) as caught:
            await start
        assert caught.value.reason == "JobCanceled"

    on_dbus(tmp_path, scenario)


@pytest.mark.parametrize(
    ("cancelled", "ends"),
    [(1, "stopped"), (STOP_TRIES - 1, "stopped"), (STOP_TRIES, "StopFailed")],
)
def test_a_stop_whose_place_a_start_took_is_asked_for_again_and_not_for_ever(
    tmp_path: Path, cancelled: int, ends: str
) -> None:
    async def scenario(node: DbusBench) -> None:
        node.add(running(RUNTIME, stop_never_ends=True))
        stop = asyncio.create_task(node.manager.stop(RUNTIME, deadline_seconds=LONG))
        for number in range(1, cancelled + 1):
            await until(lambda n=number: node.world.calls.count(("StopUnit", RUNTIME)) == n)
            node.add(running(RUNTIME, stop_never_ends=number < cancelled))
            assert node.fake._bus is not None
            path = f"{ROOT}/job/{number}"
            await node.fake._bus.send(job_removed(path, number, RUNTIME, "canceled"))
        if ends == "stopped":
            await stop
            assert (await node.manager.unit(RUNTIME)).state is UnitState.INACTIVE
            return
        with pytest.raises(StepError) as caught:
            await stop
        assert caught.value.reason == ends

    on_dbus(tmp_path, scenario)


def test_a_stop_ends_only_when_the_main_process_is_gone(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        survivor = await asyncio.create_subprocess_exec("sleep", "0.5")
        node.add(running(RUNTIME, main_pid=survivor.pid))
        await node.manager.stop(RUNTIME, deadline_seconds=LONG)
        assert not lives(survivor.pid)
        await survivor.wait()

    on_dbus(tmp_path, scenario)


def test_a_main_process_that_stays_is_a_timeout(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        survivor = await asyncio.create_subprocess_exec("sleep", "20")
        try:
            node.add(running(RUNTIME, main_pid=survivor.pid))
            with pytest.raises(StepTimeout):
                await node.manager.stop(RUNTIME, deadline_seconds=0.5)
        finally:
            survivor.kill()
            await survivor.wait()

    on_dbus(tmp_path, scenario)


def test_a_stop_ends_only_when_what_it_took_along_has_stopped(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        node.add(running(RUNTIME, required_by=["kubelet.service"]))
        node.add(running("kubelet.service", stop_lags=True))
        stop = asyncio.create_task(node.manager.stop(RUNTIME, deadline_seconds=LONG))
        await until(lambda: node.world.unit(RUNTIME).active == "inactive")
        await asyncio.sleep(0.3)
        assert not stop.done()
        node.add(WorldUnit(name="kubelet.service"))
        await stop

    on_dbus(tmp_path, scenario)


def test_a_reboot_during_the_boot_is_a_shutdown(tmp_path: Path) -> None:
    async def scenario(node: DbusBench) -> None:
        node.world.system_state = "starting"
        assert not await node.manager.shutting_down()
        node.begin_shutdown()
        node.world.system_state = "starting"  # systemd says so until the boot is over
        assert await node.manager.shutting_down()

    on_dbus(tmp_path, scenario)


# ------------------------------------------------------------------- a bus that breaks


def test_without_a_bus_the_errors_say_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        manager = SystemdServices(DbusControl(str(tmp_path / "no-bus")))
        with pytest.raises(ObservationError) as seen:
            await manager.unit(RUNTIME)
        with pytest.raises(ObservationError):
            await manager.shutting_down()
        with pytest.raises(StepError) as started:
            await manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        with pytest.raises(StepError) as stopped:
            await manager.stop(RUNTIME, deadline_seconds=LONG)
        await manager.close()
        reasons = {seen.value.reason, started.value.reason, stopped.value.reason}
        assert reasons == {"BusUnreachable"}

    asyncio.run(scenario())


def test_a_bus_without_systemd_is_unreachable(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with private_bus(tmp_path) as bus:
            manager = SystemdServices(DbusControl(str(bus)))
            with pytest.raises(ObservationError) as caught:
                await manager.unit(RUNTIME)
            await manager.close()
            assert caught.value.reason == "BusUnreachable"

    asyncio.run(scenario())


def test_a_bus_that_hangs_up_during_authentication_does_not_hang_us(tmp_path: Path) -> None:
    path = str(tmp_path / "bus")

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await asyncio.sleep(0.05)
        writer.write_eof()
        await asyncio.sleep(0.2)
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with await asyncio.start_unix_server(hang_up, path):
            manager = SystemdServices(DbusControl(path))
            with pytest.raises(ObservationError) as caught:
                await manager.unit(RUNTIME)
            await manager.close()
            assert caught.value.reason == "BusUnreachable"
            await asyncio.sleep(0.3)

    asyncio.run(scenario())


def test_a_bus_that_accepts_nobody_does_not_freeze_the_loop(tmp_path: Path) -> None:
    path = str(tmp_path / "bus")

    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as queued:
            listener.bind(path)
            listener.listen(0)
            queued.connect(path)  # the queue is full now, a blocking connect would wait
            manager = SystemdServices(DbusControl(path))
            with pytest.raises(ObservationError) as caught:
                await manager.unit(RUNTIME)
            assert caught.value.reason == "BusUnreachable"

    asyncio.run(scenario())


def test_a_systemd_that_does_not_answer_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "CALL_SECONDS", 0.2)

    async def scenario(node: DbusBench) -> None:
        node.fake.silent = True
        with pytest.raises(ObservationError) as caught:
            await node.manager.unit(RUNTIME)
        assert caught.value.reason == "BusUnreachable"

    on_dbus(tmp_path, scenario)


def test_a_bus_that_breaks_while_a_job_runs_is_reported_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = UnitWorld()
        world.add(WorldUnit(name=RUNTIME, start_never_ends=True))
        fake = FakeSystemd1(world)
        async with private_bus(tmp_path) as bus:
            await fake.serve(bus)
            manager = SystemdServices(DbusControl(str(bus)))
            start = asyncio.create_task(manager.start(RUNTIME, wait=True, deadline_seconds=LONG))
            await until(lambda: ("StartUnit", RUNTIME) in world.calls)
        with pytest.raises(StepError) as caught:
            await asyncio.wait_for(start, 2)
        assert caught.value.reason == "BusUnreachable"
        await manager.close()
        await fake.close()

    asyncio.run(scenario())


def test_after_the_bus_came_back_we_are_connected_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = UnitWorld()
        world.add(running(RUNTIME))
        manager = SystemdServices(DbusControl(str(tmp_path / "bus")))
        for _ in range(2):
            fake = FakeSystemd1(world)
            async with private_bus(tmp_path) as bus:
                await fake.serve(bus)
                assert (await manager.unit(RUNTIME)).state is UnitState.ACTIVE
            with pytest.raises(ObservationError):
                await manager.unit(RUNTIME)
            await fake.close()
        await manager.close()

    asyncio.run(scenario())


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with private_bus(tmp_path) as bus:
            fake = FakeSystemd1(UnitWorld())
            await fake.serve(bus)
            before = os.listdir("/proc/self/fd")  # noqa: PTH208
            for _ in range(3):
                manager = SystemdServices(DbusControl(str(bus)))
                await manager.unit(RUNTIME)
                await manager.close()
                failing = SystemdServices(DbusControl(str(tmp_path / "none")))
                with pytest.raises(ObservationError):
                    await failing.unit(RUNTIME)
            assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208
            await fake.close()

    asyncio.run(scenario())
