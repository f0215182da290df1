"""STICK, the one argument form everywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core.resolve import resolve
from nodestoraged.core.select import select
from nodestoraged.model.errors import NotFoundError
from nodestoraged.model.registry import Registry
from tests.unit.core.worlds import ROLE, device, enrolled, world

BLUE = device(uuid="3f2a-0001-uuid", usb_id="0781:5567", serial="4C53")
TWIN = device(minor=2, uuid="3f2a-0001-uuid", serial="4C54")
GREEN = device(minor=3, uuid="3f2a-9999-uuid", serial="GR33")
AWAY = device(minor=4, uuid="77b0-aaaa-uuid", usb_id="0951:1666", serial="AW44")
RED = device(minor=5, uuid="77b0-bbbb-uuid", serial="RE55")


def named(registry: Registry, **names: str) -> Registry:
    sticks = tuple(replace(s, name=names.get(s.name[:6], s.name)) for s in registry.sticks)
    return Registry(sticks=sticks)


REGISTRY = Registry(
    sticks=tuple(
        replace(stick, name=name)
        for stick, name in zip(
            enrolled(BLUE, AWAY, RED).sticks, ("blue", "away", "sd31"), strict=True
        )
    )
)


def find(text: str, *devices) -> tuple[str | None, str | None]:
    observation = world(*devices, registry=REGISTRY)
    found = resolve(text, select(observation, ROLE), REGISTRY)
    devnode = found.candidate.device.devnode if found.candidate else None
    assert found.name == (found.stick.name if found.stick else devnode.removeprefix("/dev/"))
    return devnode, found.stick.name if found.stick else None


@pytest.mark.parametrize(
    "text",
    ["blue", "sd11", "/dev/sd11", "4C53", "0781:5567:4C53", "3f2a-0001-uuid", "3f2a-0", "3F2A-0"],
)
def test_a_present_stick_has_many_names(text):
    assert find(text, BLUE, GREEN) == ("/dev/sd11", "blue")


def test_an_unknown_stick_is_named_by_the_kernel():
    assert find("sd31", GREEN) == ("/dev/sd31", None)


@pytest.mark.parametrize(
    "text", ["away", "AW44", "0951:1666:AW44", "77b0-aaaa-uuid", "77b0-a", "77B0-A"]
)
def test_an_absent_stick_is_known_by_its_enrolment(text):
    assert find(text, BLUE) == (None, "away")


def test_a_name_that_looks_like_a_devnode_never_hides_the_devnode():
    assert find("/dev/sd31", GREEN) == ("/dev/sd31", None)
    assert find("sd31", BLUE) == (None, "sd31")


@pytest.mark.parametrize(
    ("text", "devices"), [("3f2a", (BLUE, GREEN)), ("3f2a-0001-uuid", (BLUE, TWIN)), ("77b0", ())]
)
def test_what_names_several_is_refused_and_lists_them(text, devices):
    with pytest.raises(NotFoundError) as found:
        find(text, *devices)
    assert found.value.reason == "Ambiguous"


@pytest.mark.parametrize("text", ["3f2", "nobody", "", "/dev/sd99"])
def test_a_short_prefix_and_a_stranger_name_nobody(text):
    with pytest.raises(NotFoundError) as found:
        find(text, BLUE)
    assert found.value.reason == "NoSuchStick"
    assert found.value.hint


def test_sticks_that_share_a_uuid_are_told_apart_by_devnode_and_serial():
    assert find("sd21", BLUE, TWIN)[0] == "/dev/sd21"
    assert find("4C54", BLUE, TWIN)[0] == "/dev/sd21"


STORE = device("store", 6, uuid="aa11-store", directory="/mnt/storage/containerd", label=None)
HELD = Registry(sticks=tuple(replace(s, name="store") for s in enrolled(STORE).sticks))


@pytest.mark.parametrize("text", ["store", "/mnt/storage/containerd"])
@pytest.mark.parametrize("present", [True, False])
def test_a_directory_is_named_by_its_name_or_its_path(text, present):
    observation = world(*((STORE,) if present else ()), registry=HELD)
    found = resolve(text, select(observation, ROLE), HELD)
    assert found.name == "store"
    assert (found.candidate is not None) is present


@pytest.mark.parametrize("text", ["aa11-store", "aa11", "/dev/sd61", "sd61", "SER-store", ""])
@pytest.mark.parametrize("present", [True, False])
def test_a_directory_is_never_named_by_the_disk_that_it_lies_on(text, present):
    observation = world(*((STORE,) if present else ()), registry=HELD)
    with pytest.raises(NotFoundError):
        resolve(text, select(observation, ROLE), HELD)


def test_an_absent_stick_without_a_serial_is_known_by_the_rest():
    bare = device(minor=7, uuid="bb22-bare", serial=None)
    registry = Registry(sticks=tuple(replace(s, name="bare") for s in enrolled(bare).sticks))
    assert resolve("bb22", (), registry).name == "bare"
