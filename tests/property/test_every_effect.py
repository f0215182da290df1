"""Every kind of operation, and at each of its effects everything that can go wrong there.

After each fault the node comes to rest by itself and the laws hold; each case proves that its
fault fired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from nodestoraged.core.select import select
from nodestoraged.model.candidate import UNUSABLE
from nodestoraged.model.config import Collision, DataPolicy, Hooks, RoleConfig
from nodestoraged.model.hidden import Wash
from nodestoraged.model.manifest import Manifest
from nodestoraged.model.operation import OperationKind
from nodestoraged.model.reason import Reason
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import KUBELET, NODE, RUNTIME, World
from tests.property.laws import Wants, check_rest, everything_runs, observed

ROLE = RoleConfig(
    name="containerd",
    hooks=Hooks(before_switch=(("drain",),), after_switch=(("notify",),)),
)
GRACE = ROLE.swap_grace_seconds
#: Work beside the loop; tests/unit/engine/test_errands.py has each of its effects and faults.
ERRANDS = {OperationKind.PREPARE, OperationKind.RECLAIM, OperationKind.ADOPT}
#: What lies on each root before a scene.
IMAGES = {
    "internal": {"pause", "app", "site/local"},
    "blue": {"pause", "app", "site/local", "blue only"},
    "green": {"pause", "old"},
}


@dataclass(frozen=True)
class Scene:
    """How an operation comes about: the sticks before it, what is said, what is expected.

    `copies`: the target has the images of the source afterwards, or after asking once more.
    """

    kind: OperationKind
    source: str
    target: str
    serving: str
    begin: Callable[[SimNode], None]
    boots: bool = False
    copies: bool = False
    washes: Wash | None = None
    running: bool = True


def _copy(stick: str) -> Callable[[SimNode], None]:
    return lambda node: node.say("switch", stick=stick, data=DataPolicy.COPY) and None


def _wash(stick: str, tier: Wash) -> Callable[[SimNode], None]:
    return lambda node: node.say("powerwash", stick=stick, tier=tier) and None


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
    "bind with copy": Scene(
        OperationKind.BIND, "internal", "blue", "internal", _copy("blue"), copies=True
    ),
    "bind with copy at rest": Scene(
        OperationKind.BIND,
        "internal",
        "blue",
        "internal",
        _copy("blue"),
        copies=True,
        running=False,
    ),
    "switchover with copy": Scene(
        OperationKind.SWITCHOVER, "blue", "green", "blue", _copy("green"), copies=True
    ),
    "powerwash": Scene(
        OperationKind.POWERWASH,
        "blue",
        "blue",
        "blue",
        _wash("blue", Wash.IMAGES),
        washes=Wash.IMAGES,
    ),
    "powerwash of containers": Scene(
        OperationKind.POWERWASH,
        "internal",
        "internal",
        "internal",
        _wash("internal", Wash.CONTAINERS),
        washes=Wash.CONTAINERS,
    ),
    "powerwash aside": Scene(
        OperationKind.POWERWASH,
        "green",
        "green",
        "blue",
        _wash("green", Wash.ALL),
        washes=Wash.ALL,
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
        world.internal_images = set(IMAGES["internal"])
        world.pinned = {"pause", "site/local"}
        for name in ("blue", "green"):
            world.make(name).images = set(IMAGES[name])
            world.insert_before_start(name)
        # It has served here before and has been away since; blue was made by hand.
        world.media["green"].manifest = manifest("green")

    node = SimNode(ROLE, running=scene.running, kubelet_requires_runtime=requires, prepare=prepare)
    try:
        if not scene.running:
            node.ask("switch", stick="internal")
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


def manifest(name: str) -> Manifest:
    return Manifest(
        id=f"{name}-data",
        generation=3,
        complete=True,
        node=NODE,
        role=ROLE.name,
        created="2026-01-01T00:00:00Z",
    )


def images_of(node: SimNode, root: str) -> set[str]:
    return node.world.internal_images if root == "internal" else node.world.media[root].images


def effects_of(scene: Scene) -> list[str]:
    """What the operation does when nothing goes wrong."""
    with staged(scene) as node:
        scene.begin(node)
        node.settle()
        done = node.world.closed[0]
        assert (done.kind, done.target.name) == (scene.kind, scene.target)
        if scene.washes is None:
            assert done.source.name == scene.source
        assert done.result == "done", done.message
        assert len(node.world.closed) == 1
        check_rest(node, dict.fromkeys((RUNTIME, KUBELET), scene.running))
        if scene.copies:
            assert images_of(node, scene.target) == IMAGES[scene.source]
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
        told = generations(node)
        node.inject({number: fault})
        scene.begin(node)
        node.settle()
        node.run_for(GRACE + 5)
        node.settle()
        assert [f for _, f in node.world.faults.fired] == [fault]
        wants = wants_after(scene, fault)
        check_rest(node, wants)
        assert node.phase in {"BOUND", "INTERNAL", "FAILED"}
        if node.phase == "FAILED":
            node.ask("resume", clear=True)
            check_rest(node, wants)
            assert node.phase != "FAILED"
        if scene.running:
            assert node.world.pods
        what_lay_there_is_still_there(node, scene)
        generations_only_rise(node, told)
        if scene.copies:
            asking_once_more_is_enough(node, scene)


def wants_after(scene: Scene, fault: str) -> Wants:
    if scene.running or fault.startswith(("cut", "down")):
        return everything_runs()
    wants: Wants = {RUNTIME: False, KUBELET: False}
    if fault.startswith("start"):
        wants[fault.partition(" ")[2]] = None
    return wants


def what_lay_there_is_still_there(node: SimNode, scene: Scene) -> None:
    """I2: nothing is taken from a root but by the copy onto it, or by the wash of it."""
    for root, before in IMAGES.items():
        left = images_of(node, root)
        if root != scene.target or not (scene.copies or scene.washes):
            assert left >= before, f"I2: {root} has lost {before - left}"
        if root == scene.target and scene.washes is Wash.CONTAINERS:
            assert left >= before, f"the content of images went: {before - left}"
    if scene.washes is Wash.IMAGES and node.serving() == scene.target:
        missing = (node.world.pinned & IMAGES[scene.target]) - images_of(node, scene.target)
        assert not missing, f"pinned images did not come back: {missing}"


def generations(node: SimNode) -> dict[str, int]:
    return {
        name: medium.manifest.generation if medium.manifest else 0
        for name, medium in node.world.media.items()
    }


def generations_only_rise(node: SimNode, before: dict[str, int]) -> None:
    assert all(now >= before[name] for name, now in generations(node).items())


def asking_once_more_is_enough(node: SimNode, scene: Scene) -> None:
    """A copy that was cut short is finished by asking again; the source has it all."""
    world, target = node.world, scene.target
    if world.media[target].dead or node.serving() not in {scene.source, target}:
        return
    if node.serving() == target and scene.running:
        assert images_of(node, target) == IMAGES[scene.source], "it serves without the copy"
    if target in world.plugged and UNUSABLE.intersection(judged(node, target)):
        world.pull(target)
        node.settle()
    if target not in world.plugged:
        world.plug(target)
        node.settle()
    if node.serving() == target and images_of(node, target) != IMAGES[scene.source]:
        # The runtime was stopped: the wish was over, and the stick was taken as it is.
        node.ask("switch", stick=scene.source)
    if node.serving() != target:
        node.ask("switch", stick=target, data=DataPolicy.COPY)
    assert node.serving() == target, node.world.closed[-1].message
    assert images_of(node, target) == IMAGES[scene.source]
    assert not world.media[target].torn


def judged(node: SimNode, name: str) -> tuple[Reason, ...]:
    candidates = select(observed(node), node.role)
    return next(c.reasons for c in candidates if c.device == node.device(name))


CASES = list(cases())


def test_the_cases_are_many_and_cover_every_kind() -> None:
    assert len(CASES) > 1000
    assert {SCENES[name].kind for name, _, _ in CASES} == set(OperationKind) - ERRANDS


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
