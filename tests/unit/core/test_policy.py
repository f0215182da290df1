"""Two and three sticks, each policy, every order of events: one answer; and docs/policies.md."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from docs.generate_policies import SITUATIONS, page, present, serves, sticks_of
from nodestoraged.core import policy
from nodestoraged.core.select import select
from nodestoraged.model.config import Collision
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import World
from tests.unit.core.worlds import ROLE, device, world

PAGE = Path(__file__).parents[3] / "docs" / "policies.md"
PRIORITY = ("green", "blue")


@pytest.mark.parametrize("collision", Collision)
@pytest.mark.parametrize("situation", SITUATIONS, ids=[s.words for s in SITUATIONS])
def test_the_order_in_which_udev_lists_devices_decides_nothing(situation, collision):
    answers = set()
    for order in itertools.permutations(sticks_of(situation)):
        answers.add(serves(situation, collision, order=order))
    assert len(answers) == 1


@pytest.mark.parametrize("collision", Collision)
@pytest.mark.parametrize("order", list(itertools.permutations(("blue", "green", "red"))))
def test_at_boot_the_ports_decide_nothing(collision, order):
    """Devnodes follow the order of enumeration; the answer does not."""
    sizes = {"blue": 16, "green": 32, "red": 32}
    sticks = {
        name: device(name, minor=place, size_bytes=sizes[name] << 30)
        for place, name in enumerate(order, start=1)
    }
    by_name = [sticks[name] for name in ("blue", "green", "red")]
    role = replace(ROLE, collision=collision, priority=PRIORITY)
    observation = world(*by_name, units=())
    chosen = policy.choose(select(observation, role), role, observation)
    expected = {
        Collision.PREFER_ACTIVE: "blue",
        Collision.NEWEST: "blue",
        Collision.LARGEST: "green",
        Collision.PRIORITY: "green",
        Collision.PINNED: "green",
        Collision.ASK: None,
    }
    assert (chosen.name if chosen else None) == expected[collision]


def settled(collision: Collision, order: tuple[str, ...], *, burst: bool) -> str:
    """The node after the sticks came in, one at a time or all at once."""

    def prepare(made: World) -> None:
        for name, size in (("blue", 16), ("green", 32), ("red", 64)):
            made.make(name, size_bytes=size << 30)
            made.plug(name)
        made.inserted = 0

    role = replace(ROLE, collision=collision, priority=PRIORITY)
    node = SimNode(role, prepare=prepare)
    try:
        for name in ("blue", "green", "red"):
            node.ask("enroll", stick=node.device(name).devnode, name=name, no_switch=True)
        node.ask("switch", stick="internal")
        for name in ("blue", "green", "red"):
            node.world.pull(name)
        node.settle()
        node.ask("switch", stick="auto")
        for name in order:
            node.world.plug(name)
            if burst:
                node.run_for(0.1)
            else:
                node.settle()
        node.settle()
        return node.serving()
    finally:
        node.close()


@pytest.mark.parametrize("order", list(itertools.permutations(("blue", "green", "red"))))
@pytest.mark.parametrize(
    ("collision", "one_by_one", "all_at_once"),
    [
        (Collision.PREFER_ACTIVE, "first", "red"),
        (Collision.NEWEST, "last", "last"),
        (Collision.LARGEST, "red", "red"),
        (Collision.PRIORITY, "green", "green"),
        (Collision.PINNED, "green", "green"),
        (Collision.ASK, "first", "internal"),
    ],
)
def test_three_sticks_in_every_order_of_insertion(collision, one_by_one, all_at_once, order):
    places = {"first": order[0], "last": order[-1]}
    # Under prefer-active a burst is decided by the ties: the last active, which was the first.
    burst = "blue" if collision is Collision.PREFER_ACTIVE else all_at_once
    assert settled(collision, order, burst=False) == places.get(one_by_one, one_by_one)
    assert settled(collision, order, burst=True) == places.get(burst, burst)


def test_docs_policies_md_is_what_the_code_does(update_golden):
    if update_golden:
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_every_policy_has_a_column_and_every_situation_a_row():
    text = page()
    assert all(f"`{collision}`" in text for collision in Collision)
    assert all(present(situation) in text for situation in SITUATIONS)
