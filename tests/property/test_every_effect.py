"""Every kind of operation, and at each of its effects everything that can go wrong there.

After each fault the node comes to rest by itself and the laws hold; each case proves that its
fault fired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from nodestoraged.model.config import Collision, Hooks, RoleConfig
from nodestoraged.model.operation import OperationKind
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import KUBELET, RUNTIME, World
from tests.property.laws import check_rest, everything_runs

ROLE = RoleConfig(
    name="containerd",
    hooks=Hooks(before_switch=(("drain",),), after_switch=(("notify",),)),
)
GRACE = ROLE.swap_grace_seconds


@dataclass(frozen=True)
class Scene:
    """How an operation comes about: the sticks before it, what is said, what is expected."""

    kind: OperationKind
    source: str
    target: str
    serving: str
    begin: Callable[[SimNode], None]
    boots: bool = False


def _swap(node: SimNode) -> None:
    node.world.pull("blue")
    node.run_for(3)
    node.world.plug("blue")


SCENES = {
    "bind": Scene(
        OperationKind.BIND, "internal", "blue", "internal", lambda n: n.say("switch", stick="blue")
    ),
    "switchover": Scene(
        OperationKind.SWITCHOVER, "blue", "green", "blue", lambda n: n.say("switch", stick="green")
    ),
    "return": Scene(
        OperationKind.RETURN,
        "blue",
        "internal",
        "blue",
        lambda n: n.say("switch", stick="internal"),
    ),
    "eject": Scene(OperationKind.EJECT, "blue", "green", "blue", lambda n: n.say("eject")),
    "eject to internal": Scene(
        OperationKind.EJECT, "blue", "internal", "blue", lambda n: n.say("eject", to="internal")
    ),
    "failover": Scene(
        OperationKind.FAILOVER, "blue", "green", "blue", lambda n: n.world.pull("blue")
    ),
    "swap": Scene(OperationKind.SWAP, "blue", "blue", "blue", _swap),
    "boot": Scene(
        OperationKind.BIND, "internal", "blue", "blue", lambda n: n.power_cycle(), boots=True
    ),
}
FAULTS = (
    "fail",
    "hang",
    "late",
    "cut-before",
    "cut-after",
    "crash-before",
    "crash-after",
    "down-before",
    "down-after",
    "term",
    f"start {RUNTIME}",
    f"start {KUBELET}",
    "yank source",
    "yank target",
    "die target",
)
EFFECTS_MAX = 40


@contextmanager
def staged(scene: Scene, *, requires: bool = False) -> Iterator[SimNode]:
    """The node as it is before the operation: enrolled sticks, the source serving."""

    def prepare(world: World) -> None:
        for name in ("blue", "green"):
            world.make(name)
            world.insert_before_start(name)

    node = SimNode(ROLE, kubelet_requires_runtime=requires, prepare=prepare)
    try:
        for name in ("blue", "green"):
            node.ask("enroll", stick=node.device(name).devnode, name=name, no_switch=True)
        if scene.serving != "internal":
            node.ask("switch", stick=scene.serving)
            node.ask("switch", stick="auto")
        assert node.serving() == scene.serving
        node.world.trace.clear()
        node.world.closed.clear()
        yield node
    finally:
        node.close()


def effects_of(scene: Scene) -> list[str]:
    """What the operation does when nothing goes wrong."""
    with staged(scene) as node:
        scene.begin(node)
        node.settle()
        done = node.world.closed[0]
        assert (done.kind, done.source.name, done.target.name) == (
            scene.kind,
            scene.source,
            scene.target,
        )
        assert done.result == "done"
        assert len(node.world.closed) == 1
        check_rest(node, everything_runs())
        return list(node.world.trace)


def cases() -> Iterator[tuple[str, int, str]]:
    for name, scene in SCENES.items():
        effects = effects_of(scene)
        assert len(effects) < EFFECTS_MAX
        for number in range(1, len(effects) + 1):
            for fault in FAULTS:
                words = {"source": scene.source, "target": scene.target}
                verb, _, who = fault.partition(" ")
                if words.get(who) == "internal":
                    continue
                yield name, number, f"{verb} {words.get(who, who)}".strip()


@pytest.mark.parametrize(
    ("name", "requires"),
    [*((name, False) for name in SCENES), ("switchover", True), ("failover", True)],
)
def test_a_fault_at_any_effect_leaves_a_node_that_works(name: str, requires: bool) -> None:
    scene = SCENES[name]
    for case, number, fault in CASES:
        if case == name:
            try:
                suffer(scene, number, fault, requires=requires)
            except AssertionError as error:
                raise AssertionError(f"{name}: {fault} at effect {number}: {error}") from error


def suffer(scene: Scene, number: int, fault: str, *, requires: bool) -> None:
    with staged(scene, requires=requires) as node:
        node.inject({number: fault})
        scene.begin(node)
        node.settle()
        node.run_for(GRACE + 5)
        node.settle()
        assert [f for _, f in node.world.faults.fired] == [fault]
        check_rest(node, everything_runs())
        assert node.phase in {"BOUND", "INTERNAL", "FAILED"}
        if node.phase == "FAILED":
            node.ask("resume", clear=True)
            check_rest(node, everything_runs())
            assert node.phase != "FAILED"
        assert node.world.pods


CASES = list(cases())


def test_the_cases_are_many_and_cover_every_kind() -> None:
    assert len(CASES) > 1000
    assert {SCENES[name].kind for name, _, _ in CASES} == set(OperationKind)


def test_under_newest_a_fault_does_not_make_the_node_waver() -> None:
    """After a failed move the target rests; the node does not try it again and again."""
    with staged(SCENES["switchover"]) as node:
        node.role = replace(ROLE, collision=Collision.NEWEST)
        node.world.pull("green")
        node.settle()
        node.reconciler.configure(node.role, node.daemon, node.reconciler.memory.profile)
        node.inject({6: "fail"})
        node.world.plug("green")
        node.settle()
        assert node.world.faults.fired
        assert node.serving() == "blue"
        operations = len(node.world.closed)
        node.run_for(500)
        assert len(node.world.closed) == operations
