"""The small rules that the model's values know themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.model import datasteps, steps
from nodestoraged.model.config import Config, RoleConfig
from nodestoraged.model.copy import CopyPass
from nodestoraged.model.device import DeviceNumber, Identity
from nodestoraged.model.disk import Disk
from nodestoraged.model.errors import ConfigError, InternalError, RollbackError, StepError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.mount import Mount, MountTable
from nodestoraged.model.observation import Setback
from nodestoraged.model.operation import INTERNAL_ROOT, NO_ROOT, RootRef
from nodestoraged.model.plan import Plan
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.model.registry import Intent, Registry
from nodestoraged.model.runtime import Unit, UnitState
from tests.unit.core.worlds import (
    BOOT,
    KUBELET,
    NOW,
    PROFILE,
    ROOT,
    RUNTIME,
    STOPPED,
    device,
    enrolled,
    entry,
    mounted,
    units,
    world,
)

BLUE, GREEN = device(), device("green", 2)


# -- devices and identities -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "matches"),
    [
        (BLUE.identity(), True),
        (Identity(uuid="blue-uuid"), True),
        (Identity(uuid="blue-uuid", serial="of another reader"), True),
        (Identity(uuid="green-uuid"), False),
        (Identity(uuid="blue-uuid", partuuid="p"), False),
        (Identity(uuid="blue-uuid", size_bytes=1), False),
    ],
)
def test_an_identity_is_the_file_system_and_never_the_serial(identity, matches):
    assert identity.matches(BLUE) is matches


def test_an_insertion_is_another_one_when_any_part_of_it_changes():
    again = replace(BLUE, diskseq=9)
    assert again.incarnation != BLUE.incarnation
    assert again.identity() == BLUE.identity()
    assert str(BLUE.number) == "8:1"


def test_hardware_is_the_usb_triple_or_the_serial_or_nothing():
    assert BLUE.hardware == "SER-blue"
    assert replace(BLUE, usb_id="0781:5567").hardware == "0781:5567:SER-blue"
    assert replace(BLUE, serial=None, usb_id="0781:5567").hardware is None


def test_what_has_no_uuid_has_no_identity():
    with pytest.raises(AssertionError):
        device(uuid=None).identity()


# -- mounts ---------------------------------------------------------------------------------


def test_the_later_of_two_mounts_hides_the_earlier():
    first, second = mounted(BLUE), mounted(GREEN)
    table = MountTable(mounts=(ROOT, first, second))
    assert table.stack(PROFILE.root) == (first, second)
    assert table.at(PROFILE.root) is second
    assert table.at("/nowhere") is None
    assert table.of(BLUE.number) == (first,)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/var/lib/containerd", "/var/lib/containerd"),
        ("/var/lib/containerd/x", "/var/lib/containerd"),
        ("/var/lib/containerd2", "/"),
        ("/var", "/"),
    ],
)
def test_a_path_lies_on_the_mount_with_the_longest_prefix(path, target):
    table = MountTable(mounts=(mounted(BLUE), ROOT))
    found = table.covering(path)
    assert found is not None
    assert found.target == target


def test_a_path_may_lie_on_no_known_mount():
    assert MountTable().covering("/") is None


# -- observations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "home"),
    [
        ("/data/containerd", "/mnt/data/containerd"),
        ("/data", "/mnt/data"),
        ("/", None),  # a whole file system is no bind
    ],
)
def test_a_bound_directory_is_found_where_it_lies(inner, home):
    def mount(number, root, target, minor=1):
        return Mount(
            id=number, number=DeviceNumber(8, minor), root=root, target=target,
            fstype="ext4", source="/dev/sda1",
        )  # fmt: skip

    bind = mount(3, inner, "/var/lib/containerd")
    table = MountTable(mounts=(mount(1, "/", "/", 2), mount(2, "/", "/mnt"), bind))
    assert table.source_of(bind) == home
    alone = MountTable(mounts=(mount(1, "/", "/", 2), mount(2, "/other", "/mnt"), bind))
    assert alone.source_of(bind) is None


def test_serving_is_what_the_mount_table_says():
    assert world().serving().source == "internal"
    assert world(BLUE, active=BLUE).serving().source == "slot"
    table = MountTable(mounts=(ROOT, mounted(BLUE)))
    gone = world(mounts=table, gone=frozenset({BLUE.number})).serving()
    assert (gone.source, gone.dead, gone.device) == ("none", True, None)
    stranger = world(mounts=table).serving()
    assert (stranger.source, stranger.foreign) == ("internal", True)


@pytest.mark.parametrize(
    ("reason", "until", "dead"),
    [
        (Reason.PROBE_FAILED, None, True),
        (Reason.HUNG, None, True),
        (Reason.IO_ERROR, None, True),
        (Reason.QUARANTINED, NOW + 9, False),
        (Reason.FSCK_FAILED, None, False),
        (Reason.HUNG, NOW - 1, False),
    ],
)
def test_a_slot_that_stopped_answering_serves_nobody(reason, until, dead):
    setback = Setback(incarnation=BLUE.incarnation, reason=reason, until=until)
    observation = world(BLUE, active=BLUE, setbacks=(setback,))
    assert observation.serving().dead is dead
    assert observation.lost(BLUE.incarnation) is dead
    assert not observation.lost(GREEN.incarnation)


def test_an_anonymous_device_number_is_found_by_its_source():
    """btrfs: st_dev of the mount is not the device's."""
    mount = Mount(
        id=5,
        number=DeviceNumber(0, 44),
        root="/",
        target=PROFILE.root,
        fstype="btrfs",
        source=GREEN.devnode,
    )
    observation = world(BLUE, GREEN)
    assert observation.device_of(mount) == GREEN
    assert observation.device_of(replace(mount, source="/dev/none")) is None


def test_units_are_what_the_service_manager_says():
    observation = world()
    assert observation.runtime_runs
    assert observation.kubelet_runs
    assert observation.unit("other.service") is None
    assert observation.running((KUBELET, "other.service")) == (KUBELET,)
    starting = world(units=units(UnitState.STARTING, UnitState.STOPPING))
    assert (starting.runtime_runs, starting.kubelet_runs) == (True, False)
    missing = (Unit(name=RUNTIME, state=UnitState.MISSING),)
    assert world(units=missing).installed((RUNTIME, KUBELET)) == ()


def test_owed_are_the_units_of_this_boot_that_do_not_run_yet():
    owed = Intent(owed_units=(RUNTIME, KUBELET), owed_boot_id=BOOT)
    assert world(intent=owed, units=STOPPED).owed == (RUNTIME, KUBELET)
    assert world(intent=owed, units=units(kubelet=UnitState.INACTIVE)).owed == (KUBELET,)
    assert world(intent=owed).owed == ()
    assert world(intent=replace(owed, owed_boot_id="boot-0"), units=STOPPED).owed == ()


# -- registry -------------------------------------------------------------------------------


def test_of_two_enrolments_that_match_the_one_with_the_serial_wins():
    loose = Registry(
        sticks=tuple(
            replace(stick, identity=Identity(uuid="blue-uuid", serial=serial), name=serial)
            for stick, serial in zip(
                enrolled(BLUE, BLUE).sticks, ("other", "SER-blue"), strict=True
            )
        )
    )
    found = loose.matching(BLUE)
    assert found is not None
    assert found.name == "SER-blue"
    first = loose.matching(replace(BLUE, serial="third"))
    assert first is not None
    assert first.name == "other"
    assert loose.matching(GREEN) is None


def test_a_stick_is_added_once_and_replaced_in_its_place():
    both = enrolled(BLUE, GREEN)
    renamed = replace(both.sticks[0], name="red")
    assert [s.name for s in both.with_stick(renamed).sticks] == ["red", "green"]
    assert enrolled(BLUE).with_stick(both.sticks[1]) == both
    assert both.without(GREEN.identity()) == enrolled(BLUE)
    assert both.named("green") == both.sticks[1]
    assert both.named("red") is None


# -- operations, plans, errors --------------------------------------------------------------


def test_downtime_is_told_only_when_it_is_known():
    operation = entry()
    assert operation.downtime_seconds is None
    assert operation.pods_down_seconds is None
    measured = replace(
        operation, stopped_at=1.0, proven_at=1.9004, pods_stopped_at=0.5, kubelet_at=7.6
    )
    assert (measured.downtime_seconds, measured.pods_down_seconds) == (0.9, 7.1)
    assert replace(measured, proven_at=None).downtime_seconds is None
    assert replace(measured, kubelet_at=None).pods_down_seconds is None


def test_roots_without_an_identity_are_the_nodes_own():
    assert INTERNAL_ROOT.internal
    assert NO_ROOT.internal
    assert not RootRef(identity=BLUE.identity(), name="blue").internal


def test_every_step_says_itself_in_words():
    plan = Plan(
        steps=(
            steps.RefuseForeign(),
            steps.RunHook(
                argv=("drain", "x"), when="before_switch", source="a", target="b", fatal=True
            ),
            steps.StartUnit(unit=RUNTIME, wait=True),
        )
    )
    assert plan.describe() == (
        "no foreign containers run",
        "hook before_switch: drain",
        "containerd.service started",
    )


@pytest.mark.parametrize(
    ("path", "held"),
    [("/r", True), ("/r/images", True), ("/roof", False), ("/", False), ("/mnt/r", False)],
)
def test_a_root_holds_what_lies_below_it_and_not_what_begins_like_it(path, held):
    assert replace(PROFILE, root="/r").holds(path) is held


def test_every_reason_has_one_sentence():
    assert set(MEANINGS) == set(Reason)
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())


def test_errors_carry_a_reason_a_sentence_and_what_to_do_next():
    cause, second = StepError("A", "first", errno=5), StepError("B", "second")
    both = RollbackError(cause, second)
    assert both.message == "first; and going back failed: second"
    assert (both.reason, both.hint) == (
        "RollbackFailed",
        "mend the cause, then: nodestoragectl resume --clear",
    )
    assert (both.cause, both.rollback_error, cause.errno) == (cause, second, 5)
    broken = InternalError("oh")
    assert (broken.reason, str(broken), broken.hint) == (
        "InternalError",
        "oh",
        "please report this",
    )
    wrong = ConfigError("no", key="role.x.trust", path="/etc/x", hint="say none")
    assert (wrong.key, wrong.path, wrong.hint) == ("role.x.trust", "/etc/x", "say none")


def test_a_role_is_found_by_its_name():
    config = Config(roles=(RoleConfig(name="a"), RoleConfig(name="b")))
    assert config.role("b") == RoleConfig(name="b")
    assert config.role("c") is None


# -- directories as slots ---------------------------------------------------------------------

DISK = DeviceNumber(8, 33)
HOME = Mount(id=7, number=DISK, root="/", target="/mnt/storage", fstype="ext4", source="/dev/sdc1")
STORE = device("store", 3, number=DISK, directory="/mnt/storage/containerd", label=None)


def bind(root: str) -> Mount:
    return Mount(id=8, number=DISK, root=root, target=PROFILE.root, fstype="ext4", source="sdc1")


def test_a_bound_directory_is_told_from_its_disk_and_from_its_neighbours():
    whole = device("store", 3, number=DISK)
    neighbour = replace(STORE, directory="/mnt/storage/other")
    for listed in ((whole, neighbour, STORE), (STORE, neighbour, whole)):
        observation = world(*listed, mounts=MountTable(mounts=(ROOT, HOME, bind("/containerd"))))
        assert observation.serving().device == STORE
        plain = world(*listed, mounts=MountTable(mounts=(ROOT, HOME, bind("/"))))
        assert plain.serving().device == whole


def test_a_directory_of_a_file_system_that_is_itself_a_part_of_one_is_found():
    home = replace(HOME, root="/@data")
    mounts = MountTable(mounts=(ROOT, home, bind("/@data/containerd")))
    assert world(STORE, mounts=mounts).serving().device == STORE


def test_a_directory_whose_disk_is_not_mounted_serves_nothing():
    mounts = MountTable(mounts=(bind("/containerd"),))
    assert world(STORE, mounts=mounts).serving().foreign
    assert replace(world(STORE), mounts=mounts).device_of(bind("/containerd")) is None


def test_a_data_step_says_itself_in_words():
    warm = datasteps.Copy(device=BLUE, name="blue", stage=CopyPass.WARM, source="internal")
    assert warm.describe() == "the data is copied to blue"
    assert replace(warm, stage=CopyPass.FINAL).describe().startswith("what changed since")
    assert datasteps.WashRoot(tier=Wash.ALL).describe() == "the root is washed (all)"
    assert (
        datasteps.KeepImages(every=True).describe() != datasteps.KeepImages(every=False).describe()
    )
    assert datasteps.BringImages(every=True).describe() == "images are registered again"
    assert datasteps.Stamp(device=BLUE, name="blue").describe() == "blue is marked as serving here"


def test_a_disk_is_blank_if_udev_found_nothing_on_it():
    blank = Disk(devnode="/dev/sdb", number=DeviceNumber(8, 16), diskseq=1, size_bytes=1)
    assert blank.blank
    assert blank.numbers == (blank.number,)
    assert blank.whole.devnode == "/dev/sdb"
    for traits in ({"fstype": "ext4"}, {"table": "gpt"}, {"parts": (blank.whole,)}):
        assert not replace(blank, **traits).blank
