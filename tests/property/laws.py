"""The invariants of the design that hold whenever a simulated node rests."""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.core.decide import decide
from nodestoraged.core.select import select
from nodestoraged.model.decision import Contain, Move
from nodestoraged.model.observation import Observation
from nodestoraged.model.phase import Phase
from nodestoraged.model.runtime import UnitState
from nodestoraged.sim import invariants
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import KUBELET, RUNTIME

#: What the operator wants of each unit: True runs, False was stopped by hand, None unknown.
Wants = dict[str, bool | None]


def everything_runs() -> Wants:
    return {RUNTIME: True, KUBELET: True}


def observed(node: SimNode) -> Observation:
    return node._drive(node.reconciler.observe())


def check_rest(node: SimNode, wants: Wants) -> None:
    """Everything that must be so when nothing moves."""
    invariants.check(node.world)
    assert node.resting
    assert not node.world.client_runs, "the runtime's client costs memory while nothing is asked"
    observation = observed(node)
    phase_is_the_mount_table(node, observation)
    nothing_is_left_to_do(node, observation)
    what_ran_runs(node, wants)
    equal_worlds_get_equal_decisions(node, observation)


def phase_is_the_mount_table(node: SimNode, observation: Observation) -> None:
    """I10, and what each phase promises."""
    world, serving = node.world, observation.serving()
    assert not world.aside or node.phase is Phase.FAILED, f"left aside: {world.aside}"
    assert not serving.dead or node.phase is Phase.FAILED
    match node.phase:
        case Phase.BOUND:
            assert serving.device is not None
        case Phase.INTERNAL:
            assert serving.device is None
        case Phase.STOPPED:
            assert serving.device is None
            assert not world.runtime_alive
            assert world.fences
            assert observation.intent.stopped
        case Phase.FAILED:
            assert observation.intent.failed
            assert observation.intent.failure
    if node.phase in {Phase.BOUND, Phase.INTERNAL}:
        assert not world.fences
        assert not observation.owed
        assert not observation.intent.stopped
    assert (node.phase is Phase.FAILED) == observation.intent.failed


def nothing_is_left_to_do(node: SimNode, observation: Observation) -> None:
    decision = decide(observation, select(observation, node.role), node.role)
    assert not isinstance(decision, Move | Contain)
    assert observation.entry is None
    assert all(operation.result is not None for operation in node.world.closed)


def what_ran_runs(node: SimNode, wants: Wants) -> None:
    """I5 and I9: what ran before runs again, and what a person stopped stays stopped."""
    for name, wanted in wants.items():
        runs = node.world.units[name].state is UnitState.ACTIVE
        if wanted is False:
            assert not runs, f"{name} was stopped by hand and runs again"
        if wanted is True and node.phase in {Phase.BOUND, Phase.INTERNAL}:
            assert runs, f"I9: {name} ran before and does not run in {node.phase}"


def equal_worlds_get_equal_decisions(node: SimNode, observation: Observation) -> None:
    """The order in which udev lists devices decides nothing."""
    turned = replace(observation, devices=tuple(reversed(observation.devices)))
    role = node.role
    seen = select(observation, role)
    assert select(turned, role) == seen
    assert decide(turned, seen, role) == decide(observation, seen, role)
