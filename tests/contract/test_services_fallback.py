"""systemctl takes over while the bus cannot be asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nodestoraged.adapters.services.select import FallbackControl
from nodestoraged.adapters.services.systemctl import SystemctlControl
from nodestoraged.adapters.services.systemd import DbusControl
from nodestoraged.adapters.services.unitcontrol import SystemdServices
from nodestoraged.model.errors import ObservationError, StepError
from nodestoraged.model.runtime import UnitState
from tests.fakes.fake_systemd1 import FakeSystemd1, private_bus
from tests.fakes.service_benches import SystemctlBench, until
from tests.fakes.unit_world import UnitWorld, WorldUnit, running

RUNTIME = "containerd.service"


def with_fallback(bus: Path, bench: SystemctlBench, rest_seconds: float) -> SystemdServices:
    program = SystemctlControl(str(bus.parent / "systemctl"))
    return SystemdServices(
        FallbackControl(DbusControl(str(bus)), program, rest_seconds=rest_seconds)
    )


def test_systemctl_is_asked_while_there_is_no_bus(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = SystemctlBench(tmp_path)
        bench.add(WorldUnit(name=RUNTIME))
        manager = with_fallback(tmp_path / "bus", bench, 30)
        await manager.start(RUNTIME, wait=True, deadline_seconds=10)
        assert (await manager.unit(RUNTIME)).state is UnitState.ACTIVE
        assert not await manager.shutting_down()
        await manager.stop(RUNTIME, deadline_seconds=10)
        assert (await manager.unit(RUNTIME)).state is UnitState.INACTIVE
        await manager.close()

    asyncio.run(scenario())


def test_a_bus_that_breaks_in_the_middle_does_not_fail_the_step(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = SystemctlBench(tmp_path)
        bench.add(WorldUnit(name=RUNTIME))
        world = UnitWorld()
        world.add(WorldUnit(name=RUNTIME, start_never_ends=True))
        fake = FakeSystemd1(world)
        async with private_bus(tmp_path) as bus:
            await fake.serve(bus)
            manager = with_fallback(bus, bench, 30)
            start = asyncio.create_task(manager.start(RUNTIME, wait=True, deadline_seconds=10))
            await until(lambda: ("StartUnit", RUNTIME) in world.calls)
        await start
        assert ("start", RUNTIME) in bench.world.calls
        await manager.close()
        await fake.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("rest_seconds", "asked_again"), [(0, True), (30, False)])
def test_the_bus_rests_before_it_is_asked_again(
    tmp_path: Path, rest_seconds: float, asked_again: bool
) -> None:
    async def scenario() -> None:
        bench = SystemctlBench(tmp_path)
        bench.add(WorldUnit(name=RUNTIME))
        manager = with_fallback(tmp_path / "bus", bench, rest_seconds)
        assert (await manager.unit(RUNTIME)).state is UnitState.INACTIVE
        world = UnitWorld()
        world.add(running(RUNTIME))
        fake = FakeSystemd1(world)
        async with private_bus(tmp_path) as bus:
            await fake.serve(bus)
            assert ((await manager.unit(RUNTIME)).state is UnitState.ACTIVE) is asked_again
            await manager.close()
            await fake.close()

    asyncio.run(scenario())


def test_a_refusal_is_no_reason_to_ask_systemctl(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = SystemctlBench(tmp_path)
        bench.add(WorldUnit(name=RUNTIME))
        world = UnitWorld()
        world.add(WorldUnit(name=RUNTIME, load="masked"))
        fake = FakeSystemd1(world)
        async with private_bus(tmp_path) as bus:
            await fake.serve(bus)
            manager = with_fallback(bus, bench, 30)
            with pytest.raises(StepError) as caught:
                await manager.start(RUNTIME, wait=True, deadline_seconds=10)
            assert caught.value.reason == "UnitMasked"
            assert bench.world.calls == []
            await manager.close()
            await fake.close()

    asyncio.run(scenario())


def test_with_neither_the_errors_say_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        control = FallbackControl(
            DbusControl(str(tmp_path / "bus")), SystemctlControl(str(tmp_path / "systemctl"))
        )
        manager = SystemdServices(control)
        with pytest.raises(ObservationError) as caught:
            await manager.unit(RUNTIME)
        assert caught.value.reason == "BusUnreachable"
        with pytest.raises(StepError) as refused:
            await manager.stop(RUNTIME, deadline_seconds=5)
        assert refused.value.reason == "BusUnreachable"

    asyncio.run(scenario())
