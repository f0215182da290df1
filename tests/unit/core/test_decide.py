"""One question after the other, the first that answers wins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core.decide import decide
from nodestoraged.core.select import select
from nodestoraged.model.config import Collision, Fallback, RoleConfig, Trust
from nodestoraged.model.decision import Attention, Contain, Decision, Keep, KeepStopped, Move, Wait
from nodestoraged.model.mount import MountTable
from nodestoraged.model.observation import Observation, Setback
from nodestoraged.model.operation import OperationKind, Stage
from nodestoraged.model.phase import Availability
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Intent, Registry, Wish
from tests.unit.core.worlds import (
    BOOT,
    NOW,
    ROLE,
    ROOT,
    RUNTIME,
    STOPPED,
    device,
    enrolled,
    entry,
    marked,
    mounted,
    root_of,
    world,
)

BLUE, GREEN = device(inserted=1), device("green", 2, inserted=2)
TO_INTERNAL = Intent(wish=Wish(identity=None, since="", boot_id=BOOT))


def wish(each) -> Intent:
    return Intent(wish=Wish(identity=each.identity(), since="", boot_id=BOOT))


def answer(observation: Observation, role: RoleConfig = ROLE) -> Decision:
    return decide(observation, select(observation, role), role)


def said(observation: Observation, role: RoleConfig = ROLE) -> str:
    """The decision in words: `move bind blue`, `keep NoStick`."""
    decision = answer(observation, role)
    match decision:
        case Move():
            target = decision.target.name if decision.target else "internal"
            return f"{decision.kind} {target}" + ("" if decision.automatic else " as asked")
        case Contain():
            return f"contain {decision.lost.name} {decision.reason}"
        case Keep() | Wait() | Attention() | KeepStopped():
            return f"{type(decision).__name__.lower()} {decision.reason}"


@pytest.mark.parametrize(
    ("observation", "decision"),
    [
        (world(), "keep NoStick"),
        (world(BLUE), "bind blue"),
        (world(BLUE, active=BLUE), "keep SlotProven"),
        (world(BLUE, GREEN, active=BLUE), "keep SlotProven"),
        (world(device()), "keep RuntimeRunning"),
        (world(device(), units=STOPPED), "bind blue"),
        (world(BLUE, registry=Registry()), "keep NoStick"),
        (world(BLUE, runtime_installed=False), "wait RuntimeNotInstalled"),
        (world(BLUE, shutting_down=True), "keep NoStick"),
        (world(BLUE, settling_until=NOW + 1), "wait Settling"),
        (world(BLUE, intent=Intent(availability=Availability.NO_CHANGES)), "keep NoChanges"),
        (world(BLUE, intent=Intent(paused_since="t")), "wait Paused"),
        (world(BLUE, intent=Intent(paused_since="t"), units=STOPPED), "bind blue"),
        (world(intent=Intent(stopped=True), units=STOPPED), "keepstopped NoPermittedRoot"),
        (world(BLUE, intent=Intent(stopped=True), units=STOPPED), "bind blue"),
        (
            world(intent=Intent(stopped=True), shutting_down=True, units=STOPPED),
            "keep NoPermittedRoot",
        ),
    ],
)
def test_without_a_wish(observation, decision):
    assert said(observation) == decision


@pytest.mark.parametrize(
    ("observation", "decision"),
    [
        (world(BLUE, intent=TO_INTERNAL), "keep WishInternal"),
        (world(BLUE, active=BLUE, intent=TO_INTERNAL), "keep RuntimeRunning"),
        (
            world(BLUE, active=BLUE, intent=TO_INTERNAL, permitted=frozenset({None})),
            "return internal as asked",
        ),
        (world(BLUE, active=BLUE, intent=TO_INTERNAL, units=STOPPED), "return internal as asked"),
        (world(intent=replace(TO_INTERNAL, stopped=True)), "return internal as asked"),
        (world(BLUE, GREEN, active=BLUE, intent=wish(GREEN)), "switchover green as asked"),
        (world(BLUE, GREEN, active=GREEN, intent=wish(GREEN)), "keep SlotProven"),
        (world(BLUE, active=BLUE, intent=wish(GREEN)), "keep SlotProven"),
        (world(BLUE, intent=wish(BLUE)), "bind blue as asked"),
        (world(BLUE, device("green", 2), active=BLUE, intent=wish(GREEN)), "keep SlotProven"),
        (
            world(BLUE, intent=replace(wish(BLUE), paused_since="t")),
            "wait Paused",
        ),
        (
            world(
                BLUE,
                intent=replace(wish(BLUE), paused_since="t"),
                permitted=frozenset({BLUE.incarnation}),
            ),
            "bind blue as asked",
        ),
        (world(BLUE, intent=TO_INTERNAL, shutting_down=True), "keep WishInternal"),
    ],
)
def test_with_a_wish(observation, decision):
    assert said(observation) == decision


def test_an_operators_move_does_not_wait_for_devices_to_settle():
    observation = world(BLUE, intent=wish(BLUE), settling_until=NOW + 1)
    assert said(observation) == "bind blue as asked"


# -- loss -----------------------------------------------------------------------------


def test_a_slot_that_vanished_is_contained_under_the_name_that_it_had():
    gone = frozenset({BLUE.number})
    known = Intent(last_active=BLUE.identity(), last_active_name="blue")
    observation = world(mounts=MountTable(mounts=(ROOT, mounted(BLUE))), gone=gone, intent=known)
    decision = answer(observation)
    assert isinstance(decision, Contain)
    assert (decision.lost.name, decision.lost.identity) == ("blue", BLUE.identity())
    assert said(replace(observation, intent=Intent())) == "contain the stick StickLost"


@pytest.mark.parametrize("registry", [enrolled(BLUE), Registry()], ids=["enrolled", "unknown"])
@pytest.mark.parametrize("reason", [Reason.PROBE_FAILED, Reason.HUNG, Reason.IO_ERROR])
def test_a_slot_that_failed_its_probe_is_contained_with_that_reason(reason, registry):
    setback = Setback(incarnation=BLUE.incarnation, reason=reason)
    observation = world(BLUE, active=BLUE, setbacks=(setback,), registry=registry)
    decision = answer(observation)
    assert isinstance(decision, Contain)
    assert decision.reason is reason
    assert decision.lost.identity == BLUE.identity()
    assert decision.lost.incarnation == BLUE.incarnation


def test_a_loss_is_never_delayed_by_devices_that_settle():
    setback = Setback(incarnation=BLUE.incarnation, reason=Reason.HUNG)
    observation = world(BLUE, active=BLUE, setbacks=(setback,), settling_until=NOW + 9)
    assert isinstance(answer(observation), Contain)


LOST = device(minor=9)  # an earlier insertion of blue


def grace(*sticks, left: float = 5.0, insertions: int = 0, **facts: object) -> Observation:
    """Blue was lost as sd91; `insertions` had been counted by then."""
    open_entry = entry(
        stage=Stage.GRACE,
        source=root_of(LOST),
        grace_until=NOW + left,
        insertions=insertions,
    )
    facts.setdefault("units", STOPPED)
    return world(*sticks, entry=open_entry, **facts)


@pytest.mark.parametrize(
    ("observation", "decision"),
    [
        (grace(), "wait StickLost"),
        (grace(GREEN, insertions=2), "wait StickLost"),
        (grace(device("green", 2)), "wait StickLost"),
        (grace(GREEN, insertions=1), "swap green"),
        (grace(device(minor=1)), "swap blue"),
        (grace(GREEN, device(minor=1), insertions=1), "swap blue"),
        (grace(LOST), "wait StickLost"),
        (grace(GREEN, insertions=1, settling_until=NOW + 1), "wait Settling"),
        (grace(left=-1), "failover internal"),
        (grace(device("green", 2), left=-1), "failover green"),
        (grace(intent=TO_INTERNAL), "wait StickLost"),
        (grace(intent=TO_INTERNAL, permitted=frozenset({None})), "failover internal as asked"),
        (
            grace(device("green", 2), permitted=frozenset({GREEN.incarnation})),
            "wait StickLost",
        ),
        (
            grace(device("green", 2), intent=wish(GREEN), permitted=frozenset({GREEN.incarnation})),
            "swap green as asked",
        ),
        (grace(device("green", 2), intent=wish(GREEN)), "wait StickLost"),
    ],
)
def test_in_the_grace(observation, decision):
    assert said(observation) == decision


def test_a_move_by_hand_outranks_the_lost_stick_that_came_back():
    here = device("green", 2)
    observation = grace(
        here, device(minor=1), intent=wish(GREEN), permitted=frozenset({here.incarnation})
    )
    assert said(observation) == "swap green as asked"


def test_a_grace_without_an_end_or_a_known_stick_is_over():
    nobody = entry(stage=Stage.GRACE)
    assert said(world(BLUE, entry=nobody, units=STOPPED)) == "swap blue"
    assert said(world(entry=nobody, units=STOPPED)) == "failover internal"


@pytest.mark.parametrize(
    ("fallback", "sticks", "decision"),
    [
        ((), (), "keepstopped NoPermittedRoot"),
        ((), (device("green", 2),), "keepstopped NoPermittedRoot"),
        ((Fallback.STANDBY,), (), "keepstopped NoPermittedRoot"),
        ((Fallback.STANDBY,), (device("green", 2),), "failover green"),
        ((Fallback.INTERNAL, Fallback.STANDBY), (device("green", 2),), "failover internal"),
    ],
)
def test_the_fallback_list_is_taken_in_its_order(fallback, sticks, decision):
    assert said(grace(*sticks, left=-1), replace(ROLE, fallback=fallback)) == decision


# -- eject ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fallback", "intent", "standby", "decision"),
    [
        (ROLE.fallback, Intent(), True, "eject green as asked"),
        (ROLE.fallback, Intent(), False, "eject internal as asked"),
        ((Fallback.INTERNAL, Fallback.STANDBY), Intent(), True, "eject internal as asked"),
        ((Fallback.STANDBY,), Intent(), False, "keep SlotProven"),
        ((), TO_INTERNAL, True, "eject internal as asked"),
        ((), wish(GREEN), True, "eject green as asked"),
        ((Fallback.INTERNAL,), wish(device("red", 5)), True, "eject internal as asked"),
    ],
)
def test_the_ejected_active_stick_is_left(fallback, intent, standby, decision):
    sticks = (BLUE, GREEN) if standby else (BLUE,)
    observation = world(*sticks, active=BLUE, intent=replace(intent, ejected=marked(BLUE)))
    assert said(observation, replace(ROLE, fallback=fallback)) == decision


# -- attention, and what is owed ----------------------------------------------------------


def test_a_mount_of_somebody_elses_on_the_root_is_left_alone():
    stranger = device("disk", 5)
    observation = world(mounts=MountTable(mounts=(ROOT, mounted(stranger))))
    assert said(observation) == "attention MountedByOthers"


def test_without_the_hosts_mount_namespace_nothing_is_mounted():
    assert said(world(BLUE, namespace_shared=False)) == "attention MountNamespace"


def test_clones_that_are_trusted_need_a_person():
    shade = device(minor=3, inserted=3)
    decision = answer(world(BLUE, shade, registry=enrolled(BLUE)))
    assert isinstance(decision, Attention)
    assert decision.message == (
        "/dev/sd11 and /dev/sd31 carry the same file system UUID; two sticks claim to be blue"
    )
    assert said(world(BLUE, shade, registry=Registry())) == "keep NoStick"


def test_under_ask_several_sticks_need_a_person():
    decision = answer(world(BLUE, GREEN), replace(ROLE, collision=Collision.ASK))
    assert isinstance(decision, Attention)
    assert decision.reason is Reason.COLLISION
    assert decision.hint == "nodestoragectl switch blue"


def test_owed_units_are_started_from_the_root_that_serves():
    owed = Intent(owed_units=(RUNTIME,), owed_boot_id=BOOT)
    assert said(world(intent=owed, units=STOPPED)) == "return internal as asked"
    assert said(world(BLUE, active=BLUE, intent=owed, units=STOPPED)) == "bind blue as asked"
    assert said(world(intent=owed)) == "keep NoStick"
    assert said(world(intent=replace(owed, owed_boot_id="boot-0"), units=STOPPED)) == "keep NoStick"


def test_nothing_owed_is_started_from_a_root_that_is_not_permitted():
    owed = Intent(owed_units=(RUNTIME,), owed_boot_id=BOOT, stopped=True)
    assert said(world(intent=owed, units=STOPPED)) == "keepstopped NoPermittedRoot"
    stranger = world(BLUE, active=BLUE, intent=owed, units=STOPPED, registry=Registry())
    assert said(stranger) == "keep SlotProven"
    assert said(stranger, replace(ROLE, trust=Trust.LABEL)) == "bind sd11 as asked"
    assert said(world(intent=replace(owed, wish=TO_INTERNAL.wish), units=STOPPED)) == (
        "return internal as asked"
    )


def test_equal_inputs_give_equal_decisions():
    observation = world(BLUE, GREEN, active=BLUE)
    assert answer(observation) == answer(replace(observation))


def test_a_kind_of_move_says_what_it_is():
    decision = answer(world(BLUE))
    assert isinstance(decision, Move)
    assert decision.kind is OperationKind.BIND
