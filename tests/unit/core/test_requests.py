"""Every verb: what it changes, and every refusal, which changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core.enrolments import NAME_LENGTH_MAX
from nodestoraged.core.requests import Answer, Request, Situation, apply
from nodestoraged.core.select import select, slot_candidates
from nodestoraged.model.config import DataPolicy, Fallback, RoleConfig, Trust
from nodestoraged.model.errors import NotFoundError, RefusedError, RequestError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.manifest import Inspection, Manifest
from nodestoraged.model.observation import Inspected, Observation, Setback
from nodestoraged.model.operation import OperationKind, Stage
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Attempt, Intent, Registry, WashWish, Wish
from tests.unit.core.worlds import (
    BOOT,
    NOW,
    ROLE,
    device,
    enrolled,
    entry,
    marked,
    root_of,
    world,
)

BLUE, GREEN, NEW = device(inserted=1), device("green", 2, inserted=2), device("new", 3, inserted=3)
KNOWN = enrolled(BLUE, GREEN)
TWO = world(BLUE, GREEN, NEW, active=BLUE, registry=KNOWN)
NONE_BOUND = world(BLUE, GREEN, NEW, registry=KNOWN)


def say(
    verb: str, observation: Observation = TWO, role: RoleConfig = ROLE, **arguments: object
) -> Answer:
    busy = bool(arguments.pop("busy", False))
    situation = Situation(
        observation=observation, candidates=select(observation, role), role=role, busy=busy
    )
    return apply(Request(verb=verb, **arguments), situation)


def refusal(verb: str, observation: Observation = TWO, **arguments: object) -> str:
    with pytest.raises(RequestError) as refused:
        say(verb, observation, **arguments)
    assert refused.value.message
    return f"{type(refused.value).__name__} {refused.value.reason}"


def wish(each=None) -> Wish:
    identity = each.identity() if each else None
    return Wish(identity=identity, since=TWO.time, boot_id=BOOT)


def with_intent(observation: Observation = TWO, **changes: object) -> Observation:
    return replace(observation, intent=replace(observation.intent, **changes))


# -- switch, rollback ---------------------------------------------------------------------


def test_switch_wishes_permits_and_forgives():
    burdened = with_intent(
        ejected=marked(GREEN),
        patient=marked(GREEN),
        attempts=(Attempt(uuid="green-uuid", at=NOW, boot_id=BOOT),),
    )
    answer = say("switch", burdened, stick="green")
    assert answer.intent == Intent(wish=wish(GREEN))
    assert answer.permitted == answer.forgiven == {GREEN.incarnation}
    assert (answer.changed, answer.moves, answer.message) == (True, True, "to green")


def test_switch_enrols_a_stick_under_the_first_free_name():
    answer = say("switch", stick="sd31")
    stick = answer.registry.sticks[-1]
    assert (stick.name, stick.identity, stick.order) == ("stick1", NEW.identity(), 3)
    other = replace(stick, identity=device("x").identity())
    taken = replace(TWO, registry=KNOWN.with_stick(other))
    assert say("switch", taken, stick="sd31").registry.sticks[-1].name == "stick2"


def test_switch_to_what_serves_already_changes_nothing_but_the_wish():
    answer = say("switch", stick="blue")
    assert (answer.changed, answer.intent.wish) == (False, wish(BLUE))
    assert not say("switch", NONE_BOUND, stick="internal").changed
    assert say("switch", with_intent(NONE_BOUND, stopped=True), stick="internal").changed


def test_switch_internal_wishes_and_permits_it():
    answer = say("switch", stick="internal")
    assert (answer.intent.wish, answer.permitted, answer.changed) == (wish(), {None}, True)


def test_switch_auto_drops_the_wish_and_permits_what_the_policy_chooses():
    answer = say("switch", with_intent(wish=wish(GREEN)), stick="auto")
    assert (answer.intent.wish, answer.changed) == (None, True)
    assert answer.permitted >= {BLUE.incarnation, GREEN.incarnation}
    assert not say("switch", stick="auto").changed


@pytest.mark.parametrize("reason", [Reason.FSCK_FAILED, Reason.IO_ERROR, Reason.QUARANTINED])
def test_a_person_may_try_again_what_failed(reason):
    held = (Setback(incarnation=GREEN.incarnation, reason=reason, until=None),)
    assert say("switch", replace(TWO, setbacks=held), stick="green").forgiven


@pytest.mark.parametrize(
    ("observation", "stick", "refused"),
    [
        (TWO, None, "RequestError StickMissing"),
        (TWO, "nobody", "NotFoundError NoSuchStick"),
        (world(BLUE, registry=KNOWN), "green", "NotFoundError NotPresent"),
        (world(device(size_bytes=1)), "sd11", "RefusedError TooSmall"),
        (world(device(fstype="vfat")), "sd11", "RefusedError WrongFilesystem"),
        (
            replace(TWO, setbacks=(Setback(incarnation=GREEN.incarnation, reason=Reason.HUNG),)),
            "green",
            "RefusedError Hung",
        ),
        (world(BLUE, registry=enrolled(BLUE, delisted=True)), "blue", "RefusedError Delisted"),
        (world(BLUE, device(minor=4), registry=KNOWN), "sd11", "RefusedError Clone"),
        (replace(NONE_BOUND, runtime_installed=False), "blue", "RefusedError RuntimeNotInstalled"),
        (
            replace(TWO, entry=entry(OperationKind.BIND)),
            "green",
            "RefusedError OperationInProgress",
        ),
        (replace(TWO, shutting_down=True), "green", "RefusedError ShuttingDown"),
        (
            with_intent(failed=True),
            "green",
            "RefusedError NoChanges",
        ),
    ],
)
def test_switch_is_refused(observation, stick, refused):
    assert refusal("switch", observation, stick=stick) == refused


def test_switch_is_refused_while_steps_run_but_not_in_a_grace():
    assert refusal("switch", stick="green", busy=True) == "RefusedError OperationInProgress"
    grace = replace(NONE_BOUND, entry=entry(stage=Stage.GRACE, source=root_of(device(minor=9))))
    assert say("switch", grace, stick="green").moves


def test_trust_none_refuses_every_stick():
    role = replace(ROLE, trust=Trust.NONE)
    assert refusal("switch", NONE_BOUND, role=role, stick="blue") == "RefusedError TrustNone"


def test_a_delisted_stick_comes_with_its_remedy():
    with pytest.raises(RefusedError) as refused:
        say("switch", world(BLUE, registry=enrolled(BLUE, delisted=True)), stick="blue")
    assert refused.value.hint == "nodestoragectl relist blue"


def test_rollback_is_a_switch_to_what_served_before():
    answer = say("rollback", with_intent(previous=GREEN.identity()))
    assert (answer.intent.wish, answer.permitted) == (wish(GREEN), {GREEN.incarnation})
    assert say("rollback", with_intent(previous_internal=True)).intent.wish == wish()
    assert refusal("rollback") == "RefusedError NothingBefore"
    gone = with_intent(previous=device("gone", 8).identity())
    assert refusal("rollback", gone) == "NotFoundError NoSuchStick"


# -- eject --------------------------------------------------------------------------------


def test_eject_marks_the_active_stick_and_moves():
    answer = say("eject", with_intent(wish=wish(BLUE), ejected=marked(device("old", 7))))
    assert answer.intent == Intent(ejected=marked(BLUE))
    assert (answer.moves, answer.message) == (True, "blue leaves")


def test_eject_of_another_stick_only_marks_it():
    answer = say("eject", with_intent(wish=wish(BLUE)), stick="green")
    assert answer.intent == Intent(wish=wish(BLUE), ejected=marked(GREEN))
    assert (answer.moves, answer.message) == (False, "green may be pulled out")


def test_eject_to_wishes_where_to_go():
    answer = say("eject", with_intent(ejected=marked(GREEN)), to="green")
    assert answer.intent == Intent(wish=wish(GREEN), ejected=marked(BLUE))
    assert answer.permitted == answer.forgiven == {GREEN.incarnation}
    assert say("eject", to="internal").intent.wish == wish()


@pytest.mark.parametrize(
    ("observation", "fallback", "arguments", "refused"),
    [
        (NONE_BOUND, ROLE.fallback, {}, "RefusedError NotBound"),
        (TWO, ROLE.fallback, {"stick": "nobody"}, "NotFoundError NoSuchStick"),
        (TWO, ROLE.fallback, {"to": "blue"}, "RefusedError SameStick"),
        (TWO, (), {}, "RefusedError NoFallback"),
        (world(BLUE, active=BLUE), (Fallback.STANDBY,), {}, "RefusedError NoFallback"),
        (TWO, ROLE.fallback, {"busy": True}, "RefusedError OperationInProgress"),
    ],
)
def test_eject_is_refused(observation, fallback, arguments, refused):
    role = replace(ROLE, fallback=fallback)
    assert refusal("eject", observation, role=role, **arguments) == refused


def test_a_standby_is_fallback_enough():
    assert say("eject", role=replace(ROLE, fallback=(Fallback.STANDBY,))).moves


# -- enroll, forget, rename, delist, relist ---------------------------------------------------


def test_enroll_stores_the_stick_and_permits_its_use():
    answer = say("enroll", stick="sd31", name="new")
    stick = answer.registry.sticks[-1]
    assert (stick.name, stick.identity, stick.role) == ("new", NEW.identity(), "containerd")
    assert answer.permitted == answer.forgiven == {NEW.incarnation}
    assert (answer.changed, answer.hint, answer.message) == (True, "", "new is enrolled")


def test_enroll_with_no_switch_makes_this_insertion_patient():
    answer = say("enroll", with_intent(patient=marked(GREEN)), stick="sd31", no_switch=True)
    assert answer.intent.patient == (*marked(GREEN), *marked(NEW))
    assert answer.permitted == frozenset()


def test_enroll_twice_says_so_and_another_name_is_another_verb():
    answer = say("enroll", stick="green", name="green")
    assert (answer.changed, answer.message) == (False, "green is enrolled already")
    assert refusal("enroll", stick="green", name="red") == "RefusedError AlreadyEnrolled"


def test_enroll_under_trust_none_says_that_nothing_will_come_of_it():
    assert say("enroll", role=replace(ROLE, trust=Trust.NONE), stick="sd31").hint


@pytest.mark.parametrize(
    ("observation", "stick", "name", "refused"),
    [
        (TWO, None, None, "RequestError StickMissing"),
        (TWO, "sd31", "blue", "RefusedError NameTaken"),
        (TWO, "sd31", "", "RequestError BadName"),
        (TWO, "sd31", "internal", "RequestError BadName"),
        (TWO, "sd31", "Blue", "RequestError BadName"),
        (TWO, "sd31", "-x", "RequestError BadName"),
        (TWO, "sd31", "a/b", "RequestError BadName"),
        (TWO, "sd31", "x" * (NAME_LENGTH_MAX + 1), "RequestError BadName"),
        (world(device(uuid=None)), "sd11", None, "RefusedError WrongFilesystem"),
        (world(BLUE, device(minor=4), registry=Registry()), "sd11", None, "RefusedError Clone"),
        (
            world(device(serial=None), device(minor=4), registry=Registry()),
            "sd11",
            None,
            "RefusedError Clone",
        ),
    ],
)
def test_enroll_is_refused(observation, stick, name, refused):
    assert refusal("enroll", observation, stick=stick, name=name) == refused


def test_one_of_two_clones_can_be_enrolled_by_its_serial():
    twin = device(minor=4, serial="SER-twin", inserted=4)
    answer = say("enroll", world(BLUE, twin, registry=Registry()), stick="sd41")
    assert answer.registry.sticks[-1].identity.serial == "SER-twin"


def test_forget_leaves_no_trace():
    known = with_intent(wish=wish(GREEN), previous=GREEN.identity(), last_active=GREEN.identity())
    answer = say("forget", known, stick="green")
    assert [stick.name for stick in answer.registry.sticks] == ["blue"]
    assert answer.intent == Intent()
    kept = with_intent(wish=wish(BLUE), previous=BLUE.identity(), last_active=BLUE.identity())
    assert say("forget", kept, stick="green").intent == kept.intent


@pytest.mark.parametrize("verb", ["forget", "delist"])
def test_the_stick_that_serves_is_neither_forgotten_nor_delisted(verb):
    assert refusal(verb, stick="blue") == "RefusedError Active"


@pytest.mark.parametrize("verb", ["forget", "delist", "relist", "rename"])
def test_trust_verbs_need_an_enrolled_stick(verb):
    assert refusal(verb, stick="sd31") == "NotFoundError NotEnrolled"
    assert refusal(verb) == "NotFoundError NoSuchStick"


def test_absent_sticks_can_be_forgotten_delisted_and_renamed():
    away = world(BLUE, registry=KNOWN)
    assert len(say("forget", away, stick="green").registry.sticks) == 1
    assert say("delist", away, stick="green").registry.sticks[1].delisted
    assert say("rename", away, stick="green", name="red").registry.named("red")


def test_rename_also_renames_the_memory_of_what_was_lost():
    known = with_intent(last_active=GREEN.identity(), last_active_name="green")
    answer = say("rename", known, stick="green", name="red")
    assert (answer.intent.last_active_name, answer.changed) == ("red", True)
    assert not say("rename", stick="green", name="green").changed
    assert refusal("rename", stick="green", name="blue") == "RefusedError NameTaken"
    assert refusal("rename", stick="green") == "RequestError BadName"


def test_delist_and_relist_undo_each_other():
    once = say("delist", stick="green")
    assert once.changed
    again = replace(TWO, registry=once.registry)
    assert not say("delist", again, stick="green").changed
    back = say("relist", again, stick="green")
    assert (back.registry, back.changed) == (KNOWN, True)
    assert not say("relist", stick="green").changed


# -- pause, resume ----------------------------------------------------------------------------


def test_pause_remembers_since_when():
    answer = say("pause")
    assert (answer.intent.paused_since, answer.changed) == (TWO.time, True)
    again = say("pause", with_intent(paused_since="then"))
    assert (again.intent.paused_since, again.changed) == ("then", False)


def test_resume_ends_a_pause():
    assert say("resume", with_intent(paused_since="then")).intent == Intent()
    assert not say("resume").changed


def test_what_a_failed_rollback_left_is_cleared_only_in_so_many_words():
    failed = with_intent(failed=True, failure="why")
    assert refusal("resume", failed) == "RefusedError NoChanges"
    cleared = say("resume", failed, clear=True)
    assert (cleared.intent, cleared.changed) == (Intent(), True)


def test_an_unknown_verb_is_refused():
    assert refusal("dance") == "RequestError UnknownVerb"


def test_a_refusal_is_an_error_of_the_caller():
    with pytest.raises(NotFoundError):
        say("switch", stick="nobody")


# -- data -------------------------------------------------------------------------------------


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


HALF = replace(TWO, inspections=told(GREEN, complete=False))


def test_a_switch_remembers_what_shall_be_carried_over_and_how_fast():
    answer = say("switch", stick="green", data=DataPolicy.COPY, bytes_per_second=7)
    assert answer.intent.wish is not None
    assert (answer.intent.wish.data, answer.intent.wish.bytes_per_second) == (DataPolicy.COPY, 7)
    plain = say("switch", stick="green").intent.wish
    assert plain is not None
    assert plain.data is None


@pytest.mark.parametrize("data", [DataPolicy.COPY, DataPolicy.PINNED])
def test_nothing_is_carried_over_to_the_internal_directory(data):
    assert refusal("switch", stick="internal", data=data) == "RefusedError CopyToInternal"
    assert say("switch", stick="internal", data=DataPolicy.KEEP).changed


@pytest.mark.parametrize(
    ("facts", "reason", "hint"),
    [
        ({"complete": False}, "Incomplete", "switch green --copy"),
        ({"node": "elsewhere"}, "ForeignNode", "adopt green"),
    ],
)
def test_a_stick_that_speaks_against_itself_is_refused_with_what_helps(facts, reason, hint):
    observation = replace(TWO, inspections=told(GREEN, **facts))
    with pytest.raises(RefusedError) as refused:
        say("switch", observation, stick="green")
    assert (refused.value.reason, refused.value.hint) == (reason, f"nodestoragectl {hint}")


def test_an_older_copy_is_refused():
    (known,) = (s for s in KNOWN.sticks if s.name == "green")
    registry = KNOWN.with_stick(replace(known, data_id="data", generation=5))
    observation = replace(TWO, inspections=told(GREEN), registry=registry)
    assert refusal("switch", observation, stick="green") == "RefusedError Stale"
    newer = replace(TWO, inspections=told(GREEN, generation=5), registry=registry)
    assert say("switch", newer, stick="green").changed


def test_half_a_copy_is_taken_by_a_switch_that_finishes_it():
    assert refusal("switch", HALF, stick="green") == "RefusedError Incomplete"
    assert say("switch", HALF, stick="green", data=DataPolicy.COPY).changed
    copies = replace(ROLE, data=DataPolicy.COPY)
    assert say("switch", HALF, copies, stick="green").changed


# -- powerwash --------------------------------------------------------------------------------


def test_a_powerwash_is_wished_for_of_the_root_that_serves():
    answer = say("powerwash", tier=Wash.IMAGES)
    identity = KNOWN.sticks[0].identity
    assert answer.intent.wash == WashWish(tier=Wash.IMAGES, identity=identity, boot_id=BOOT)
    assert answer.moves
    assert say("powerwash", tier=Wash.ALL, stick="blue").intent.wash is not None
    inside = say("powerwash", NONE_BOUND, tier=Wash.ALL)
    assert inside.intent.wash == WashWish(tier=Wash.ALL, identity=None, boot_id=BOOT)
    assert say("powerwash", NONE_BOUND, tier=Wash.ALL, stick="internal").intent.wash is not None


def test_a_powerwash_for_the_next_boot_moves_nothing_now():
    answer = say("powerwash", tier=Wash.ALL, next_boot=True)
    assert answer.intent.wash is not None
    assert answer.intent.wash.boot_id is None
    assert not answer.moves
    assert answer.message == "blue is washed at the next boot"


def test_half_a_copy_may_be_washed_away():
    assert say("powerwash", HALF, tier=Wash.ALL, stick="green").intent.wash is not None


@pytest.mark.parametrize(
    ("observation", "arguments", "reason"),
    [
        (TWO, {}, "RequestError TierMissing"),
        (TWO, {"tier": Wash.ALL, "stick": "internal"}, "RefusedError NotServing"),
        (TWO, {"tier": Wash.ALL, "stick": "/dev/sd31"}, "RefusedError NotEnrolled"),
        (TWO, {"tier": Wash.ALL, "busy": True}, "RefusedError OperationInProgress"),
        (TWO, {"tier": Wash.ALL, "stick": "nobody"}, "NotFoundError NoSuchStick"),
        (
            replace(NONE_BOUND, intent=Intent(stopped=True)),
            {"tier": Wash.ALL},
            "RefusedError NotServing",
        ),
        (
            replace(NONE_BOUND, entry=entry(stage=Stage.GRACE)),
            {"tier": Wash.ALL},
            "RefusedError NotServing",
        ),
    ],
)
def test_a_powerwash_that_is_refused(observation, arguments, reason):
    assert refusal("powerwash", observation, **arguments) == reason


# -- directories ------------------------------------------------------------------------------

STORE = device("store", 4, directory="/mnt/storage/containerd", label=None)


def named(observation: Observation, slot=STORE, role: RoleConfig = ROLE, **arguments: object):
    """`switch /DIRECTORY`, as the node hears it."""
    found = (*select(observation, role), *slot_candidates(slot, observation))
    situation = Situation(observation=observation, candidates=found, role=role)
    return apply(Request(verb="switch", stick=slot.directory, **arguments), situation)


def test_a_directory_is_enrolled_by_naming_it():
    answer = named(TWO)
    (stick,) = (s for s in answer.registry.sticks if s.identity.directory)
    assert (stick.name, stick.identity) == ("dir1", STORE.identity())
    assert answer.changed
    again = replace(TWO, devices=(*TWO.devices, STORE), registry=answer.registry)
    assert named(again, data=DataPolicy.COPY).registry == answer.registry
    assert say("switch", again, stick="dir1").message == "to dir1"


def test_a_directory_of_the_device_of_a_stick_is_no_clone_of_it():
    store = replace(GREEN, directory="/mnt/green/containerd")
    assert named(TWO, store).changed
