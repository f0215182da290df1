"""Which name of an inode is copied, and which are linked to it."""

from __future__ import annotations

import os

from nodestoraged.copier.hardlinks import BELIEVED, Group
from nodestoraged.copier.jobs import ALIKE, PRESENT, Plan

GOOD = PRESENT | ALIKE | BELIEVED


def stat(*, ino: int, nlink: int) -> os.stat_result:
    # the fields of stat(5), and of those that have only a name: st_blocks
    return os.stat_result((0o100644, ino, 0, nlink, 0, 0, 5, 0, 0, 0), {"st_blocks": 8})


def settled(*names: tuple[str, os.stat_result | None, int]) -> Plan:
    group = Group(stat(ino=7, nlink=len(names)))
    for name, there, flags in names:
        group.add("d", name, there, flags)
    plan = Plan()
    group.settle(plan)
    return plan


def test_missing_names_are_one_copy_and_links_to_it():
    plan = settled(("a", None, 0), ("b", None, 0), ("c", None, 0))
    assert [job[2] for job in plan.jobs] == ["a"]
    assert plan.links == [("d", "b", "d", "a"), ("d", "c", "d", "a")]


def test_a_believed_group_that_is_one_inode_needs_nothing():
    there = stat(ino=3, nlink=2)
    plan = settled(("a", there, GOOD), ("b", there, GOOD))
    assert (plan.jobs, plan.links) == ([], [])


def test_a_name_that_is_missing_is_linked_without_a_copy():
    plan = settled(("a", None, 0), ("b", stat(ino=3, nlink=1), GOOD))
    assert plan.jobs == []
    assert plan.links == [("d", "a", "d", "b")]


def test_names_that_lie_apart_are_joined():
    plan = settled(("a", stat(ino=3, nlink=1), GOOD), ("b", stat(ino=4, nlink=1), GOOD))
    assert plan.jobs == []
    assert len(plan.links) == 1


def test_an_inode_that_a_stranger_shares_is_copied_anew():
    there = stat(ino=3, nlink=3)
    plan = settled(("a", there, GOOD), ("b", there, GOOD))
    assert [(job[2], job[4]) for job in plan.jobs] == [("a", PRESENT)]
    assert len(plan.links) == 1


def test_what_only_looks_alike_is_looked_into():
    there = stat(ino=3, nlink=2)
    plan = settled(("a", there, PRESENT | ALIKE), ("b", there, PRESENT | ALIKE))
    assert [job[4] for job in plan.jobs] == [PRESENT | ALIKE]
    assert plan.links == [("d", "b", "d", "a")]
