"""Whether an errand may run: adopting a stick, reclaiming hidden space."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core import errandrules
from nodestoraged.core.select import select
from nodestoraged.core.situation import Request, Situation
from nodestoraged.model.config import RoleConfig, Trust
from nodestoraged.model.errors import NotFoundError, RefusedError, RequestError
from nodestoraged.model.hidden import HiddenRoot
from nodestoraged.model.manifest import Inspection, Manifest
from nodestoraged.model.mount import MountTable
from nodestoraged.model.observation import Inspected, Observation
from nodestoraged.model.proof import Link, LinkResult, Proof
from nodestoraged.model.registry import Intent
from tests.unit.core.worlds import BOOT, NOW, ROLE, ROOT, device, enrolled, mounted, world

BLUE, GREEN = device(inserted=1), device("green", 2, inserted=2)
TWIN = device(minor=3, serial="SER-twin")
ABROAD = Manifest(
    id="data", generation=4, complete=True, node="elsewhere", role="containerd", created=""
)


#: We mounted what serves.
OURS = Intent(bound_at=NOW, bound_boot_id=BOOT)


def told(each, manifest: Manifest) -> Inspected:
    return Inspected(incarnation=each.incarnation, inspection=Inspection(manifest=manifest))


def adopt(
    observation: Observation,
    role: RoleConfig = ROLE,
    images_only: bool = False,
    **arguments: object,
):
    situation = Situation(observation=observation, candidates=select(observation, role), role=role)
    request = Request(verb="adopt", **arguments)
    return errandrules.adoption(request, situation, images_only=images_only)


def refused(observation: Observation, role: RoleConfig = ROLE, **arguments: object) -> str:
    with pytest.raises((RequestError, NotFoundError)) as found:
        adopt(observation, role, **arguments)
    return found.value.reason


def test_a_stick_that_is_known_stays_the_stick_that_it_is():
    observation = world(BLUE, inspections=(told(BLUE, ABROAD),), node="here")
    found = adopt(observation, stick="blue")
    assert found.stick == observation.registry.named("blue")
    assert not found.clone


def test_a_stick_that_nobody_enrolled_is_enrolled_by_adopting_it():
    observation = world(BLUE, GREEN, registry=enrolled(BLUE))
    found = adopt(observation, stick="/dev/sd21", name="second")
    assert (found.stick.name, found.stick.identity) == ("second", GREEN.identity())


def test_a_clone_gets_an_enrolment_of_its_own_though_its_uuid_is_anothers():
    observation = world(BLUE, TWIN, active=BLUE, registry=enrolled(BLUE))
    found = adopt(observation, stick="/dev/sd31")
    assert found.clone
    assert found.stick.name not in {"blue", ""}
    assert found.candidate.device == TWIN


@pytest.mark.parametrize(
    ("observation", "stick", "reason"),
    [
        (world(BLUE), None, "StickMissing"),
        (world(BLUE), "nobody", "NoSuchStick"),
        (world(BLUE, active=BLUE, intent=OURS), "blue", "Active"),
        (world(device(fstype="vfat")), "/dev/sd11", "WrongFilesystem"),
        (world(device(read_only=True)), "/dev/sd11", "ReadOnly"),
        (world(registry=enrolled(BLUE)), "blue", "NotPresent"),
    ],
)
def test_what_cannot_be_adopted(observation, stick, reason):
    assert refused(observation, stick=stick) == reason


def test_where_nobody_is_trusted_nobody_is_adopted():
    assert refused(world(BLUE), replace(ROLE, trust=Trust.NONE), stick="blue") == "TrustNone"


def test_of_half_a_copy_only_what_proves_itself_is_adopted():
    half = told(BLUE, replace(ABROAD, complete=False))
    observation = world(BLUE, inspections=(half,), node="here")
    assert refused(observation, stick="blue") == "Incomplete"
    assert adopt(observation, stick="blue", images_only=True).stick.name == "blue"


# -- reclaim --------------------------------------------------------------------------------

FULL = HiddenRoot(used_bytes=5, files=2)
GOOD = Proof(
    at=NOW,
    time="",
    links=tuple(LinkResult(link=link, holds=True, detail="") for link in Link),
    mountpoint=None,
    number=BLUE.number,
    capacity_bytes=1,
    available_bytes=1,
    pods=0,
    sandbox_image_present=True,
)
BROKEN = replace(
    GOOD, links=(LinkResult(link=Link.WRITE_PROBE, holds=False, detail=""), *GOOD.links[1:])
)
LONG_BOUND = Intent(bound_at=NOW - 700, bound_boot_id=BOOT)
JUST_BOUND = Intent(bound_at=NOW - 10, bound_boot_id=BOOT)
SERVING = world(BLUE, active=BLUE, intent=LONG_BOUND)
DEAD = world(
    mounts=MountTable(mounts=(ROOT, mounted(BLUE))),
    gone=frozenset({BLUE.number}),
    intent=LONG_BOUND,
)
FOREIGN = world(mounts=MountTable(mounts=(ROOT, mounted(BLUE))), intent=LONG_BOUND)


@pytest.mark.parametrize(
    ("observation", "proof", "hidden", "reason"),
    [
        (SERVING, GOOD, FULL, None),
        (world(BLUE), GOOD, FULL, "NotBound"),
        (DEAD, GOOD, FULL, "NotBound"),
        (FOREIGN, GOOD, FULL, "NotBound"),
        (SERVING, GOOD, HiddenRoot(), "NothingHidden"),
        (SERVING, None, FULL, "ProofBroken"),
        (SERVING, BROKEN, FULL, "ProofBroken"),
        (world(BLUE, active=BLUE, intent=JUST_BOUND), GOOD, FULL, "TooEarly"),
        (SERVING, GOOD, replace(FULL, held_by=("bash (7)",)), "HiddenHeld"),
    ],
)
def test_what_lies_hidden_goes_only_when_nobody_can_need_it(observation, proof, hidden, reason):
    found = errandrules.reclaim_refusal(observation, proof, hidden, 600)
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize("intent", [Intent(), Intent(bound_at=NOW - 700, bound_boot_id="boot-0")])
def test_a_stick_of_which_nobody_knows_since_when_it_serves_has_not_served_for_long(intent):
    observation = world(BLUE, active=BLUE, intent=intent)
    found = errandrules.reclaim_refusal(observation, GOOD, FULL, 600)
    assert isinstance(found, RefusedError)
    assert found.reason == "TooEarly"
