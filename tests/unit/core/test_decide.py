"""One question after the other, the first that answers wins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core.decide import decide
from nodestoraged.core.select import select
from nodestoraged.model.config import Collision, DataPolicy, Fallback, RoleConfig, Trust
from nodestoraged.model.decision import (
    Attention,
    Contain,
    Decision,
    Keep,
    KeepStopped,
    Move,
    PowerWash,
    Wait,
)
from nodestoraged.model.hidden import Wash
from nodestoraged.model.manifest import Inspection, Manifest
from nodestoraged.model.mount import MountTable
from nodestoraged.model.observation import Inspected, Observation, Setback
from nodestoraged.model.operation import OperationKind, Stage
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Intent, Registry, WashWish, Wish
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
        (world(BLUE, intent=Intent(failed=True)), "keep NoChanges"),
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


# -- data, and what a powerwash asks for -----------------------------------------------------


def copying(each, data: DataPolicy | None = DataPolicy.COPY, **facts: object) -> Intent:
    identity = each.identity()
    return Intent(wish=Wish(identity=identity, since="", boot_id=BOOT, data=data, **facts))


def told(each, **facts: object) -> tuple[Inspected, ...]:
    manifest = Manifest(
        **{
            "id": "data",
            "generation": 1,
            "complete": True,
            "node": "",
            "role": "containerd",
            "created": "",
            **facts,
        }
    )
    return (Inspected(incarnation=each.incarnation, inspection=Inspection(manifest=manifest)),)


def data_of(observation: Observation, role: RoleConfig = ROLE) -> DataPolicy:
    decision = answer(observation, role)
    assert isinstance(decision, Move)
    return decision.data


COPIES = replace(ROLE, data=DataPolicy.COPY)


@pytest.mark.parametrize(
    ("intent", "role", "data"),
    [
        (wish(BLUE), ROLE, DataPolicy.KEEP),
        (wish(BLUE), COPIES, DataPolicy.COPY),
        (copying(BLUE), ROLE, DataPolicy.COPY),
        (copying(BLUE, DataPolicy.KEEP), COPIES, DataPolicy.KEEP),
        (Intent(), ROLE, DataPolicy.KEEP),
        (Intent(), COPIES, DataPolicy.COPY),
    ],
)
def test_what_is_carried_over_is_what_was_asked_for_else_what_the_role_says(intent, role, data):
    assert data_of(world(BLUE, intent=intent), role) is data


def test_a_wished_rate_is_the_moves():
    decision = answer(world(BLUE, intent=copying(BLUE, bytes_per_second=7)))
    assert isinstance(decision, Move)
    assert decision.bytes_per_second == 7


def test_the_stick_that_served_last_comes_back_with_its_own_data():
    assert data_of(world(BLUE, intent=Intent(last_active=BLUE.identity())), COPIES) == "keep"


def test_half_a_copy_is_only_taken_to_be_finished():
    half = {"inspections": told(BLUE, complete=False)}
    assert said(world(BLUE, **half)).startswith("keep")
    assert said(world(BLUE, intent=wish(BLUE), **half)).startswith("keep")
    assert said(world(BLUE, intent=copying(BLUE), **half)) == "bind blue as asked"


def test_a_wish_that_has_to_wait_is_no_move():
    paused = replace(copying(BLUE), paused_since="then")
    assert said(world(BLUE, intent=paused)) == "wait Paused"


def washing(each=None, boot: str | None = BOOT) -> Intent:
    identity = each.identity() if each else None
    return Intent(wash=WashWish(tier=Wash.ALL, identity=identity, boot_id=boot))


def washed(observation: Observation) -> str | None:
    decision = answer(observation)
    if not isinstance(decision, PowerWash):
        return None
    return decision.target.name if decision.target else "internal"


@pytest.mark.parametrize(
    ("observation", "root"),
    [
        (world(intent=washing()), "internal"),
        (world(BLUE, active=BLUE, intent=washing()), None),
        (world(BLUE, active=BLUE, intent=washing(BLUE)), "blue"),
        (world(BLUE, GREEN, active=BLUE, intent=washing(GREEN)), "green"),
        (world(BLUE, active=BLUE, intent=washing(GREEN)), None),
        (world(BLUE, intent=washing(BLUE), registry=Registry()), None),
        (world(BLUE, active=BLUE, intent=washing(BLUE), registry=Registry()), "sd11"),
        (world(intent=washing(boot=None)), None),
        (world(intent=washing(boot="boot-0")), None),
    ],
)
def test_a_root_is_washed_now_if_it_is_here_and_the_wish_is_of_this_boot(observation, root):
    assert washed(observation) == root
