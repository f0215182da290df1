"""Which disk `prepare` means, and what it must never overwrite."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core.preparation import Surroundings, find, refusal
from nodestoraged.model.device import DeviceNumber, Identity
from nodestoraged.model.disk import Disk, Part, PrepareRequest
from nodestoraged.model.errors import NotFoundError, RefusedError
from nodestoraged.model.mount import Mount, MountTable
from nodestoraged.model.registry import Registry, Stick

GIB = 1 << 30
ROOT = "/var/lib/containerd"


def part(number: int, **more: object) -> Part:
    values = {"fstype": "ext4", "size_bytes": GIB, "devnode": f"/dev/sdb{number}"}
    return Part(**{**values, "number": DeviceNumber(8, 16 + number), **more})


BLANK = Disk(
    devnode="/dev/sdb", number=DeviceNumber(8, 16), diskseq=7, size_bytes=16 * GIB,
    model="SanDisk Ultra", serial="4C530001",
)  # fmt: skip
ONE = replace(BLANK, table="gpt", parts=(part(1, uuid="3f2a-0001-uuid", label="containerd-opt"),))
TWO = replace(
    BLANK, table="dos",
    parts=(part(1, uuid="77b0-aaaa-uuid"), part(2, uuid="77b0-bbbb-uuid", fstype=None)),
)  # fmt: skip
OTHER = replace(BLANK, devnode="/dev/sdc", number=DeviceNumber(8, 32), serial="AW44", parts=())
SYSTEM = Mount(
    id=1, number=DeviceNumber(8, 1), root="/", target="/", fstype="ext4", source="/dev/sda1"
)
STICK = Stick(
    name="blue", identity=Identity(uuid="3f2a-0001-uuid"), role="r", order=1, enrolled_at="t"
)


SDB1 = DeviceNumber(8, 17)


def around(*targets: str, number: DeviceNumber = SDB1) -> Surroundings:
    mounts = [replace(SYSTEM, id=9 + i, number=number, target=t) for i, t in enumerate(targets)]
    return Surroundings(
        mounts=MountTable(mounts=(SYSTEM, *mounts)), root=ROOT, minimum_size_bytes=4 * GIB
    )


@pytest.mark.parametrize(
    "word",
    ["sdb", "/dev/sdb", "sdb1", "/dev/sdb1", "blue", "4C530001", "3f2a-0001-uuid", "3F2A"],
)
def test_a_disk_has_many_names(word):
    assert find(word, (ONE, OTHER), Registry(sticks=(STICK,))) == ONE


@pytest.mark.parametrize("word", ["blue", "3f2a-0001-uuid", "3f2a", "sdb"])
def test_a_file_system_without_a_table_names_its_disk(word):
    whole = replace(BLANK, fstype="ext4", uuid="3f2a-0001-uuid")
    assert find(word, (whole, OTHER), Registry(sticks=(STICK,))) == whole


def test_a_hybrid_image_shows_its_file_system_twice_and_is_one_disk():
    hybrid = replace(TWO, fstype="iso9660", uuid="77b0-aaaa-uuid")
    assert find("77b0-aaaa-uuid", (hybrid, OTHER)) == hybrid


@pytest.mark.parametrize("word", ["", "3f2", "sdd", "blue", "4C53"])
def test_what_nobody_is_called_names_nothing(word):
    with pytest.raises(NotFoundError) as caught:
        find(word, (ONE, OTHER))
    assert caught.value.reason == "NoSuchStick"


def test_a_word_for_two_disks_names_neither():
    with pytest.raises(NotFoundError) as caught:
        find("4C530001", (ONE, replace(OTHER, serial="4C530001")))
    assert caught.value.reason == "Ambiguous"
    assert "/dev/sdb, /dev/sdc" in caught.value.message


@pytest.mark.parametrize("word", ["sdb1", "77b0-bbbb-uuid", "77b0-b"])
def test_one_of_several_partitions_does_not_stand_for_the_disk(word):
    with pytest.raises(RefusedError) as caught:
        find(word, (TWO,))
    assert caught.value.reason == "OnePartOnly"
    assert caught.value.hint == "nodestoragectl prepare /dev/sdb"
    assert find("sdb", (TWO,)) == TWO


def test_a_devnode_wins_over_a_stick_of_that_name():
    registry = Registry(sticks=(replace(STICK, name="sdc"),))
    assert find("sdc", (ONE, OTHER), registry) == OTHER


WIPE = PrepareRequest(stick="sdb", wipe=True, serial="4C530001")


def reason(disk: Disk, request: PrepareRequest = WIPE, where: Surroundings | None = None):
    refused = refusal(disk, request, where or around())
    return None if refused is None else refused.reason


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (around("/"), "SystemDisk"),
        (around("/boot"), "SystemDisk"),
        (around("/mnt/data", "/usr"), "SystemDisk"),
        (around("/boot", number=DeviceNumber(8, 16)), "SystemDisk"),
        (around("/var"), "SystemDisk"),
        (around("/var/lib"), "SystemDisk"),
        (around(ROOT), "Active"),
        (around("/mnt/data", ROOT), "Active"),
        (around("/mnt/data"), "MountedElsewhere"),
        (around("/mnt/data", number=DeviceNumber(8, 99)), None),
    ],
)
def test_a_disk_in_use_is_never_overwritten(where, expected):
    assert reason(ONE, where=where) == expected


def test_a_root_in_the_top_directory_lies_on_the_root_disk():
    bare = Surroundings(mounts=MountTable(), root="/containerd", minimum_size_bytes=0)
    assert reason(ONE, where=bare) is None
    mounts = MountTable(mounts=(replace(SYSTEM, number=DeviceNumber(8, 17)),))
    assert reason(ONE, where=replace(bare, mounts=mounts)) == "SystemDisk"


def test_a_file_system_with_a_number_of_its_own_is_known_by_its_source():
    mount = replace(SYSTEM, number=DeviceNumber(0, 27), fstype="btrfs", source="/dev/sdb1")
    for target, expected in (("/", "SystemDisk"), ("/mnt", "MountedElsewhere")):
        mounts = MountTable(mounts=(replace(mount, target=target),))
        assert reason(ONE, where=replace(around(), mounts=mounts)) == expected


def test_the_way_out_is_named():
    refused = refusal(ONE, WIPE, around("/mnt/my data"))
    assert refused is not None
    assert refused.hint == "umount '/mnt/my data'"
    refused = refusal(ONE, WIPE, around(ROOT))
    assert refused is not None
    assert refused.hint == "nodestoragectl eject"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"holders": ("dm-0",)}, "HasHolders"),
        ({"read_only": True}, "ReadOnly"),
        ({"size_bytes": 4 * GIB - 1}, "TooSmall"),
        ({"size_bytes": 4 * GIB}, None),
        ({"holders": ("dm-0",), "read_only": True, "size_bytes": 1}, "HasHolders"),
        ({"read_only": True, "size_bytes": 1}, "ReadOnly"),
    ],
)
def test_a_disk_that_cannot_serve_is_refused(change, expected):
    assert reason(replace(ONE, **change)) == expected
    assert reason(replace(BLANK, **change)) == expected


@pytest.mark.parametrize(
    ("disk", "change", "expected"),
    [
        (BLANK, {}, None),
        (BLANK, {"wipe": True}, None),
        (ONE, {}, "NotBlank"),
        (ONE, {"serial": "4C530001"}, "NotBlank"),
        (ONE, {"wipe": True}, "SerialNeeded"),
        (ONE, {"wipe": True, "serial": "4C53"}, "SerialNeeded"),
        (ONE, {"wipe": True, "serial": "/dev/sdb"}, "SerialNeeded"),
        (ONE, {"wipe": True, "serial": "4C530001"}, None),
        (replace(ONE, serial=None), {"wipe": True}, "SerialNeeded"),
        (replace(ONE, serial=None), {"wipe": True, "serial": "/dev/sdb"}, None),
        (replace(ONE, serial=""), {"wipe": True, "serial": ""}, "SerialNeeded"),
        (replace(BLANK, fstype="ext4"), {}, "NotBlank"),
        (replace(BLANK, table="gpt"), {}, "NotBlank"),
    ],
)
def test_what_is_on_a_disk_goes_only_when_it_is_named_in_full(disk, change, expected):
    assert reason(disk, PrepareRequest(stick="sdb", **change)) == expected


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (ONE, "gpt table with 1 partition, /dev/sdb1 ext4 'containerd-opt'"),
        (TWO, "dos table with 2 partitions, /dev/sdb1 ext4, /dev/sdb2 unknown"),
        (replace(BLANK, fstype="vfat"), "vfat"),
        (replace(BLANK, fstype="vfat", label="CAMERA"), "vfat 'CAMERA'"),
        (replace(ONE, table=None), "a table with 1 partition, /dev/sdb1 ext4 'containerd-opt'"),
        (
            replace(ONE, parts=(part(1, partlabel="a\x1b[2J"),)),
            "gpt table with 1 partition, /dev/sdb1 ext4 'a\\x1b[2J'",
        ),
    ],
)
def test_a_refusal_says_what_would_be_lost(disk, words):
    refused = refusal(disk, PrepareRequest(stick="sdb"), around())
    assert refused is not None
    assert refused.message == f"/dev/sdb is not blank: {words}"
    assert refused.hint == "to overwrite it: nodestoragectl prepare /dev/sdb --wipe"
    asked = refusal(disk, PrepareRequest(stick="sdb", wipe=True), around())
    assert asked is not None
    assert asked.message == (
        f"/dev/sdb (SanDisk Ultra, 16.0 GiB) holds {words}\n"
        "to overwrite it, type its serial, 4C530001"
    )
