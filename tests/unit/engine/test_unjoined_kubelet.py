"""kubelet is installed and the node is not joined yet: it crashes, and is started for ever.

kubeadm's unit has Restart=always and RestartSec=10; without /var/lib/kubelet/config.yaml kubelet
ends after some tenths of a second.  So its unit is mostly `activating (auto-restart)`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodestoraged.core import conditions
from nodestoraged.core.report import attention
from nodestoraged.model.phase import Phase
from nodestoraged.model.runtime import UnitState
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.services import SimKubelet
from nodestoraged.sim.world import KUBELET, RUNTIME, World
from tests.unit.engine.scenes import enroll, last, plug

Make = Callable[..., SimNode]

LIVES_SECONDS, RESTART_SECONDS = 0.3, 10.0


class CrashLoop:
    """A unit that runs for a moment every ten seconds, once somebody started it."""

    def __init__(self, world: World, *, started: bool) -> None:
        self._world = world
        self._since = world.now if started else None
        self.enabled, self.job_queued, self.pid, self.started_at = True, False, 4711, 0.0

    @property
    def state(self) -> UnitState:
        if self._since is None:
            return UnitState.INACTIVE
        at = (self._world.now - self._since) % RESTART_SECONDS
        return UnitState.ACTIVE if at < LIVES_SECONDS else UnitState.STARTING

    @state.setter
    def state(self, wished: UnitState) -> None:
        self._since = self._world.now if wished is UnitState.ACTIVE else None


def unjoined(node: SimNode) -> CrashLoop:
    loop = CrashLoop(node.world, started=True)
    node.world.units[KUBELET] = loop  # type: ignore[assignment]
    return loop


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    async def healthy(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(SimKubelet, "healthy", healthy)


@pytest.mark.parametrize("late", [0.0, 5.0])
def test_a_bind_is_done_at_once_and_proven_while_kubelet_crashes(make: Make, late: float) -> None:
    node = make()
    loop = unjoined(node)
    node.world.now += late
    plug(node, "blue")
    began = node.world.now
    enroll(node, "blue")
    assert node.serving() == "blue"
    assert last(node) == ("bind", "internal", "blue", "done")
    assert node.world.now - began < 30
    assert loop.state is not UnitState.INACTIVE, "what ran before runs after"
    assert node.world.units[RUNTIME].state is UnitState.ACTIVE
    assert node.phase is Phase.BOUND
    assert {each.type for each in conditions.of(node.view) if each.status == "False"} == set()
    assert attention(node.view) is None


def test_a_kubelet_that_joins_later_is_left_alone(make: Make) -> None:
    node = make()
    unjoined(node)
    plug(node, "blue")
    enroll(node, "blue")
    node.world.trace.clear()
    node.settle()
    assert not [what for what in node.world.trace if KUBELET in what]


def test_only_a_kubelet_that_is_well_again_ends_the_time_without_pods(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def healthy(*_: object, **__: object) -> bool:
        return True

    node = make()
    with monkeypatch.context() as joined:
        joined.setattr(SimKubelet, "healthy", healthy)
        plug(node, "blue")
        enroll(node, "blue")
        assert node.world.closed[-1].pods_down_seconds is not None
    node.ask("eject")
    ejected = node.world.closed[-1]
    assert (last(node)[0], ejected.kubelet_at, ejected.pods_down_seconds) == ("eject", None, None)
