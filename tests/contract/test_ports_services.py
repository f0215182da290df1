"""What the plainest service managers keep to: commands of an operator, and the simulator.

The whole contract is in test_services_contract.py; these have neither jobs nor dependents.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nodestoraged.model.runtime import UnitState
from tests.fakes.service_benches import PLAIN_BENCHES, Bench, MakeBench, run
from tests.fakes.unit_world import WorldUnit

RUNTIME = "containerd.service"
KUBELET = "kubelet.service"
LONG = 10.0


@pytest.fixture(params=PLAIN_BENCHES.values(), ids=PLAIN_BENCHES.keys())
def bench(request: pytest.FixtureRequest) -> MakeBench:
    make: MakeBench = request.param
    return make


def test_a_unit_that_nobody_knows_is_missing(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        assert (await node.manager.unit("nothing.service")).state is UnitState.MISSING

    run(bench, tmp_path, scenario)


def test_units_start_and_stop_one_by_one_and_twice_is_once(
    bench: MakeBench, tmp_path: Path
) -> None:
    async def scenario(node: Bench) -> None:
        manager = node.manager
        node.add(WorldUnit(name=RUNTIME))
        node.add(WorldUnit(name=KUBELET))
        assert (await manager.unit(RUNTIME)).state is UnitState.INACTIVE
        for wait in (True, False):
            await manager.start(RUNTIME, wait=wait, deadline_seconds=LONG)
            unit = await manager.unit(RUNTIME)
            assert (unit.state, unit.job_queued) == (UnitState.ACTIVE, False)
        assert (await manager.unit(KUBELET)).state is UnitState.INACTIVE
        await manager.stop(RUNTIME, deadline_seconds=LONG)
        unit = await manager.unit(RUNTIME)
        assert (unit.state, unit.main_pid) == (UnitState.INACTIVE, 0)
        await manager.stop(RUNTIME, deadline_seconds=LONG)

    run(bench, tmp_path, scenario)


def test_a_failed_unit_is_told_apart_and_can_be_started(bench: MakeBench, tmp_path: Path) -> None:
    async def scenario(node: Bench) -> None:
        node.add(WorldUnit(name=RUNTIME, active="failed", sub="failed"))
        assert (await node.manager.unit(RUNTIME)).state is UnitState.FAILED
        await node.manager.start(RUNTIME, wait=True, deadline_seconds=LONG)
        assert (await node.manager.unit(RUNTIME)).state is UnitState.ACTIVE
        assert not await node.manager.shutting_down()

    run(bench, tmp_path, scenario)
