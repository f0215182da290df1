"""Short words for what happens to a simulated node."""

from __future__ import annotations

from nodestoraged.core.select import select
from nodestoraged.model.candidate import Candidate
from nodestoraged.model.registry import Intent
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import KUBELET, RUNTIME


def plug(node: SimNode, *names: str) -> None:
    """Put in one after the other, each time at rest."""
    for name in names:
        node.world.plug(name)
        node.settle()


def pull(node: SimNode, name: str) -> None:
    """Pulled out, and everything that follows."""
    node.world.pull(name)
    node.settle()


def enroll(node: SimNode, *names: str, no_switch: bool = False) -> None:
    """Trusted under the name that the medium has."""
    for name in names:
        node.ask("enroll", stick=node.device(name).devnode, name=name, no_switch=no_switch)


def bound(node: SimNode, name: str) -> SimNode:
    """The node serves from `name`, which is in and enrolled."""
    plug(node, name)
    enroll(node, name)
    assert node.serving() == name
    node.world.trace.clear()
    return node


def seen(node: SimNode, name: str) -> Candidate:
    """The candidate as judged now."""
    observation = node._drive(node.reconciler.observe())
    found = select(observation, node.role)
    return next(c for c in found if c.device == node.device(name))


def judged(node: SimNode, name: str) -> str:
    """Verdict and reasons in words: `waiting Clone`."""
    candidate = seen(node, name)
    return " ".join([candidate.verdict.value, *candidate.reasons])


def intent(node: SimNode) -> Intent:
    return node.world.intents.get("containerd", Intent())


def stops(node: SimNode) -> list[str]:
    """What was stopped since the trace was cleared."""
    return [what for what in node.world.trace if what.startswith("stop ")]


def running(node: SimNode) -> tuple[bool, bool]:
    """Whether the runtime and kubelet run."""
    units = node.world.units
    return units[RUNTIME].state == "active", units[KUBELET].state == "active"


def last(node: SimNode) -> tuple[str, str, str, str]:
    """The last operation: kind, from, to, result."""
    done = node.world.closed[-1]
    assert done.result is not None
    return done.kind.value, done.source.name, done.target.name, done.result.value
