"""A device described in words, for `plan --with`."""

from __future__ import annotations

import pytest

from nodestoraged.core.devicewords import parse
from nodestoraged.model.errors import RequestError


def test_what_is_not_said_is_what_a_good_stick_would_have():
    device = parse("", labels=("containerd-opt",), inserted=3)
    assert (device.label, device.fstype, device.size_bytes) == ("containerd-opt", "ext4", 32 << 30)
    assert (device.devnode, device.inserted) == ("/dev/new", 3)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("size=64GiB", 64 << 30), ("size=1TiB", 1 << 40), ("size=7MiB,", 7 << 20), ("size=9B", 9)],
)
def test_sizes_have_units(text, size_bytes):
    assert parse(text, labels=("x",), inserted=1).size_bytes == size_bytes


def test_every_word_is_taken():
    text = "label=a,partlabel=b,fstype=xfs,uuid=u,serial=s,model=m,devnode=/dev/sdz1"
    device = parse(text, labels=("x",), inserted=1)
    assert (device.label, device.partlabel, device.fstype) == ("a", "b", "xfs")
    assert (device.uuid, device.serial, device.model, device.devnode) == (
        "u",
        "s",
        "m",
        "/dev/sdz1",
    )


@pytest.mark.parametrize("text", ["nonsense", "colour=red", "size=big", "size=GiB", "size=-1GiB"])
def test_what_describes_no_device_is_refused(text):
    with pytest.raises(RequestError) as refused:
        parse(text, labels=("x",), inserted=1)
    assert refused.value.reason == "BadDescription"
