"""Who claims the role, and what speaks for and against each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core.select import may_interrupt, named_and_unread, select
from nodestoraged.core.situation import Situation
from nodestoraged.model.config import Allowed, Collision, Trust
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.manifest import Inspection, Manifest
from nodestoraged.model.mount import MountTable
from nodestoraged.model.observation import Inspected, Observation, Setback
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Attempt, Intent, Registry, Wish
from tests.unit.core.worlds import (
    BOOT,
    NOW,
    ROLE,
    ROOT,
    STOPPED,
    device,
    enrolled,
    judged,
    marked,
    mounted,
    world,
)

IN = 5  # inserted while the daemon ran


@pytest.mark.parametrize(
    ("traits", "verdict"),
    [
        ({}, "standby"),
        ({"label": "ctrd-opt"}, "standby"),
        ({"label": None, "partlabel": "containerd-opt"}, "standby"),
        ({"fstype": "xfs"}, "standby"),
        ({"fstype": "vfat"}, "unusable WrongFilesystem"),
        ({"fstype": "btrfs"}, "unusable WrongFilesystem"),
        ({"size_bytes": 1 << 30}, "unusable TooSmall"),
        ({"read_only": True}, "unusable ReadOnly"),
        ({"ambivalent": True}, "unusable Ambivalent"),
        ({"holders": ("dm-0",)}, "unusable HasHolders"),
        ({"fstype": None, "size_bytes": 1}, "unusable WrongFilesystem TooSmall"),
    ],
)
def test_what_udev_says_of_a_stick_decides_whether_it_can_be_used(traits, verdict):
    stick = device(inserted=IN, **traits)
    assert judged(world(stick)) == {"sd11": verdict}


def test_a_file_system_without_uuid_cannot_be_told_from_others():
    stick = device(inserted=IN, uuid=None)
    assert judged(world(stick, registry=Registry())) == {"sd11": "unusable WrongFilesystem"}


def test_without_the_label_a_device_claims_nothing():
    assert judged(world(device(label="photos"))) == {}


def test_an_active_device_is_listed_even_if_its_label_went_away():
    stick = device(label="photos")
    assert judged(world(stick, active=stick)) == {"sd11": "active"}


def test_a_partition_goes_before_its_disk_in_a_hybrid_image():
    whole = device(minor=1, devnode="/dev/sd1")
    part = device(minor=2, devnode="/dev/sd11", disk="/dev/sd1", inserted=IN)
    assert list(judged(world(whole, part, registry=enrolled(part)))) == ["sd11"]


@pytest.mark.parametrize(
    ("target", "verdict"),
    [("/boot", "unusable SystemDisk"), ("/mnt", "unusable MountedElsewhere")],
)
def test_a_device_that_is_mounted_elsewhere_is_left_alone(target, verdict):
    stick = device(inserted=IN)
    table = MountTable(mounts=(ROOT, mounted(stick, target)))
    assert judged(world(stick, mounts=table)) == {"sd11": verdict}


@pytest.mark.parametrize(
    ("trust", "registry", "allow", "verdict"),
    [
        (Trust.ENROLLED, "mine", (), "standby"),
        (Trust.ENROLLED, "none", (), "waiting NotEnrolled"),
        (Trust.ENROLLED, "other role", (), "waiting NotEnrolled"),
        (Trust.ENROLLED, "none", (Allowed(uuid="blue-uuid"),), "standby"),
        (Trust.ENROLLED, "none", (Allowed(uuid="blue-uuid", serial="SER-blue"),), "standby"),
        (Trust.ENROLLED, "none", (Allowed(uuid="blue-uuid", serial="X"),), "waiting NotEnrolled"),
        (Trust.ENROLLED, "none", (Allowed(uuid="other"),), "waiting NotEnrolled"),
        (Trust.LABEL, "none", (), "standby"),
        (Trust.NONE, "mine", (), "waiting TrustNone"),
        (Trust.NONE, "none", (Allowed(uuid="blue-uuid"),), "waiting TrustNone"),
    ],
)
def test_trust_decides_before_anything_is_mounted(trust, registry, allow, verdict):
    stick = device(inserted=IN)
    known = {
        "mine": enrolled(stick),
        "none": Registry(),
        "other role": enrolled(stick, role="other"),
    }[registry]
    role = replace(ROLE, trust=trust, allow=allow)
    assert judged(world(stick, registry=known), role) == {"sd11": verdict}


def test_an_untrusted_stick_that_serves_is_active_and_says_so():
    stick = device()
    seen = judged(world(stick, active=stick, registry=Registry()))
    assert seen == {"sd11": "active NotEnrolled"}


def test_a_delisted_stick_is_never_chosen_and_an_active_one_stays():
    stick = device(inserted=IN)
    registry = enrolled(stick, delisted=True)
    assert judged(world(stick, registry=registry)) == {"sd11": "delisted Delisted"}
    assert judged(world(stick, active=stick, registry=registry)) == {"sd11": "active"}


def ask(stick: BlockDevice, **facts: object) -> str:
    return judged(world(stick, **facts))["sd11"]


def test_first_contact_interrupts_nobody():
    stick = device()
    assert ask(stick) == "waiting RuntimeRunning"
    assert ask(stick, units=STOPPED) == "standby"
    assert ask(stick, permitted=frozenset({stick.incarnation})) == "standby"
    assert ask(device(inserted=IN)) == "standby"


def test_beside_an_active_stick_what_was_present_at_start_stands_by():
    blue, green = device(), device("green", 2)
    assert judged(world(blue, green, active=blue)) == {"sd11": "active", "sd21": "standby"}


def test_under_a_wish_for_the_internal_directory_a_stick_stands_by():
    wish = Intent(wish=Wish(identity=None, since="", boot_id=BOOT))
    assert ask(device(), intent=wish) == "standby"


def test_a_stick_enrolled_with_no_switch_is_patient_in_this_boot():
    stick = device(inserted=IN)
    assert ask(stick, intent=Intent(patient=marked(stick))) == "waiting RuntimeRunning"
    assert ask(stick, intent=Intent(patient=marked(stick, "boot-0"))) == "standby"
    permitted = world(
        stick, intent=Intent(patient=marked(stick)), permitted=frozenset({stick.incarnation})
    )
    assert may_interrupt(stick, permitted)


def test_an_ejected_stick_waits_in_this_boot_and_this_insertion():
    stick = device(inserted=IN)
    assert ask(stick, intent=Intent(ejected=marked(stick))) == "waiting Ejected"
    assert ask(stick, intent=Intent(ejected=marked(stick, "boot-0"))) == "standby"
    assert ask(stick, intent=Intent(ejected=marked(device(minor=9)))) == "standby"


@pytest.mark.parametrize(
    ("reason", "until", "verdict"),
    [
        (Reason.FSCK_FAILED, None, "unusable FsckFailed"),
        (Reason.IO_ERROR, None, "unusable IoError"),
        (Reason.PROBE_FAILED, None, "unusable ProbeFailed"),
        (Reason.HUNG, None, "unusable Hung"),
        (Reason.QUARANTINED, NOW + 1, "waiting Quarantined"),
        (Reason.QUARANTINED, NOW - 1, "standby"),
        (Reason.FOREIGN_CONTAINERS, NOW + 1, "waiting ForeignContainers"),
    ],
)
def test_what_an_insertion_did_wrong_is_held_against_it(reason, until, verdict):
    stick = device(inserted=IN)
    setback = Setback(incarnation=stick.incarnation, reason=reason, until=until)
    assert ask(stick, setbacks=(setback,)) == verdict
    elsewhere = replace(setback, incarnation=device(minor=9).incarnation)
    assert ask(stick, setbacks=(elsewhere,)) == "standby"


@pytest.mark.parametrize(
    ("ages", "boot", "verdict"),
    [
        ((3, 2, 1), BOOT, "waiting Quarantined"),
        ((2, 1), BOOT, "standby"),
        ((3, 2, 1), "boot-0", "standby"),
        ((700, 2, 1), BOOT, "standby"),
        ((603, 602, 601), BOOT, "standby"),
        ((900, 599, 10, 5), BOOT, "waiting Quarantined"),
    ],
)
def test_too_many_automatic_switches_towards_a_stick_rest_it(ages, boot, verdict):
    stick = device(inserted=IN)
    attempts = tuple(Attempt(uuid="blue-uuid", at=NOW - age, boot_id=boot) for age in ages)
    assert ask(stick, intent=Intent(attempts=attempts)) == verdict
    others = tuple(replace(attempt, uuid="green-uuid") for attempt in attempts)
    assert ask(stick, intent=Intent(attempts=others)) == "standby"


def test_without_a_runtime_every_stick_waits():
    stick = device(inserted=IN)
    assert ask(stick, runtime_installed=False) == "waiting RuntimeNotInstalled"


def test_two_devices_with_one_uuid_collide_unless_a_stored_serial_tells_them_apart():
    blue = device(inserted=IN)
    twin = device(minor=2, serial="SER-twin", inserted=IN)
    shade = device(minor=3, inserted=IN)
    one = enrolled(blue)
    assert judged(world(blue, twin, registry=one)) == {
        "sd11": "standby",
        "sd21": "waiting Clone",
    }
    assert set(judged(world(blue, shade, registry=one)).values()) == {"waiting Clone"}
    assert judged(world(blue, twin, registry=Registry())) == {
        "sd11": "waiting NotEnrolled Clone",
        "sd21": "waiting NotEnrolled Clone",
    }


def test_a_clone_of_the_active_stick_waits():
    blue, shade = device(), device(minor=2, inserted=IN)
    seen = judged(world(blue, shade, active=blue, registry=enrolled(blue)))
    assert seen == {"sd11": "active", "sd21": "waiting Clone"}


def test_pinned_admits_the_first_of_the_list_only():
    blue, green = device(inserted=1), device("green", 2, inserted=2)
    role = replace(ROLE, collision=Collision.PINNED, priority=("green", "blue"))
    assert judged(world(blue, green), role) == {"sd11": "waiting Collision", "sd21": "standby"}
    assert judged(world(blue, active=blue), role) == {"sd11": "active"}


def test_ask_admits_nobody_of_several_but_the_wished_and_the_active():
    blue, green = device(inserted=1), device("green", 2, inserted=2)
    role = replace(ROLE, collision=Collision.ASK)
    assert set(judged(world(blue, green), role).values()) == {"waiting Collision"}
    assert judged(world(blue), role) == {"sd11": "standby"}
    wish = Intent(wish=Wish(identity=green.identity(), since="", boot_id=BOOT))
    assert judged(world(blue, green, intent=wish), role)["sd21"] == "standby"
    seen = judged(world(blue, green, active=blue), role)
    assert seen == {"sd11": "active", "sd21": "waiting Collision"}


def test_the_list_is_in_the_contracts_order():
    sticks = (
        device("a", 1, read_only=True),
        device("b", 2),
        device("c", 3),
        device("d", 4, label="containerd-opt"),
    )
    registry = enrolled(sticks[1], sticks[2])
    seen = judged(world(*sticks, active=sticks[2], registry=registry))
    assert list(seen.values()) == ["active", "standby", "waiting NotEnrolled", "unusable ReadOnly"]


# -- what a verb names before it was read ---------------------------------------------------

BLUE, GREEN = device(inserted=IN), device("green", 2, inserted=IN)
_MANIFEST = Manifest(id="data", generation=1, complete=True, node="", role="", created="")


def _read(**said: object) -> tuple[Inspected, ...]:
    inspection = Inspection(**said)  # type: ignore[arg-type]
    return (Inspected(incarnation=BLUE.incarnation, inspection=inspection),)


@pytest.mark.parametrize(
    ("observation", "trust", "word", "named"),
    [
        (world(BLUE), Trust.ENROLLED, "blue", BLUE),
        (world(BLUE, registry=Registry()), Trust.ENROLLED, "/dev/sd11", BLUE),
        (world(BLUE, inspections=_read(failure="Gone")), Trust.ENROLLED, "blue", BLUE),
        (world(BLUE, inspections=_read(failure="ManifestBroken")), Trust.ENROLLED, "blue", None),
        (world(BLUE, inspections=_read(manifest=_MANIFEST)), Trust.ENROLLED, "blue", None),
        (world(BLUE, registry=enrolled(BLUE, GREEN)), Trust.ENROLLED, "green", None),
        (world(BLUE), Trust.ENROLLED, "internal", None),
        (world(BLUE), Trust.NONE, "blue", None),
        (world(BLUE, active=BLUE), Trust.ENROLLED, "blue", None),
        (world(device(size_bytes=1)), Trust.ENROLLED, "blue", None),
        (world(BLUE, registry=enrolled(BLUE, delisted=True)), Trust.ENROLLED, "blue", None),
        (world(BLUE, device(minor=4), registry=Registry()), Trust.ENROLLED, "sd11", None),
    ],
)
def test_a_stick_that_a_verb_names_is_read_unless_it_was_or_may_not_be(
    observation: Observation, trust: Trust, word: str, named: BlockDevice | None
) -> None:
    role = replace(ROLE, trust=trust)
    asked = Situation(observation=observation, candidates=select(observation, role), role=role)
    found = named_and_unread(word, asked)
    assert (None if found is None else found.device) == named
