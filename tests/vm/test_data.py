"""Sticks with data on a real node: copied to, cut off in the middle, cloned, washed.

What only a real node shows: the copier in a unit of its own outside the daemon's sandbox, disks
that go in the middle of a copy, and a boot after it.  How a blank stick gets there is in
test_prepare.
"""

from __future__ import annotations

import time
from typing import Any

from tests.vm.contents import (
    blobs_of,
    by_name,
    images_of,
    nothing_aside,
    write_files,
)
from tests.vm.harness.stick import Stick, clone_stick
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import FLOOR, ROOT, Node

SUITES = ("trixie",)

_DATABASE = f"{ROOT}/io.containerd.metadata.v1.bolt/meta.db"
_WARM, _COPYING = "the data is copied to {}", "nodestoraged-copy*"
#: The stick that is mounted on /mnt was active in another node.
_OF_ANOTHER_NODE = """
import json, pathlib
path = pathlib.Path("/mnt/.nodestoraged/manifest.json")
path.write_text(json.dumps(json.loads(path.read_text()) | {"node": "f" * 32}))
"""


def _enrol_waiting(node: Node, stick: Stick, name: str) -> None:
    node.plug(stick, "waiting")
    node.ctl(f"enroll {stick.serial} --name {name} --no-switch")


def _begin_copy(node: Node, name: str, rate: str = "2M") -> None:
    """A throttled copy to the stick is under way: some MiB are there."""
    node.ctl(f"switch {name} --copy --rate {rate} --no-wait")
    node.wait_step(_WARM.format(name))
    end = time.monotonic() + 60
    while True:
        operation = node.status()["operation"]
        assert operation is not None, node.operations()[0]
        if operation["progress"] and operation["progress"]["bytesDone"] > 4 << 20:
            return
        assert time.monotonic() < end, operation
        time.sleep(0.3)


def _until_idle(node: Node, seconds: float = 90) -> dict[str, Any]:
    """No operation runs any more; the last one."""
    end = time.monotonic() + seconds
    while node.status()["operation"] is not None:
        assert time.monotonic() < end, node.status()["operation"]
        time.sleep(0.5)
    return node.operations()[0]


def test_newest_with_copy_moves_the_node_and_its_images_at_a_plug(
    node: Node, new_stick: StickBox
) -> None:
    blue, green = new_stick("BLUE01"), new_stick("GREEN1")
    _enrol_waiting(node, green, "green")
    node.machine.yank(green)
    images, blobs = images_of(node), blobs_of(node)
    node.configure(FLOOR.replace("[role.containerd]", '[role.containerd]\ndata = "copy"'))
    node.plug(blue, "waiting")
    node.ctl("enroll BLUE01 --name blue")
    role = node.wait_phase("BOUND", 120)
    assert role["active"]["origin"] == "internal"
    assert (images_of(node), blobs_of(node)) == (images, blobs)
    node.configure(FLOOR + 'data = "copy"\ncollision = "newest"\n')
    node.plug(green)
    node.until("role['active'] and role['active']['name'] == 'green'", 180)
    role = node.wait_phase("BOUND", 120)
    assert (role["active"]["name"], role["active"]["origin"]) == ("green", "blue")
    assert role["active"]["generation"] == 1
    node.wait_pods()
    assert (images_of(node), blobs_of(node)) == (images, blobs)
    nothing_aside(node)
    told = by_name(node)["blue"]  # the source is the backup
    assert (told["generation"], told["complete"]) == (1, True)


def test_a_stick_that_goes_in_the_middle_of_a_copy_takes_nothing_with_it(
    node: Node, new_stick: StickBox
) -> None:
    blue, green = new_stick("BLUE01"), new_stick("GREEN1")
    write_files(node, 40)
    _enrol_waiting(node, green, "green")
    tasks, images = node.pod_tasks(), images_of(node)
    _begin_copy(node, "green")
    node.machine.yank(green)
    failed = _until_idle(node)
    assert (failed["result"], failed["reason"]) == ("failed", "StickLost")
    assert node.wait_phase("INTERNAL")["serving"]["source"] == "internal"
    assert node.pod_tasks() == tasks
    nothing_aside(node)
    node.plug(green)
    assert node.wait_verdict(green, "waiting")["reasons"] == ["Incomplete"]
    refused = node.ctl("switch green", check=False)
    assert (refused.code, "--copy" in refused.stderr) == (6, True)
    node.ctl("switch green --copy", timeout=300)
    assert node.wait_phase("BOUND")["active"]["name"] == "green"
    assert images_of(node) == images
    node.wait_pods()
    _check_lost_source(node, blue, green)


def _check_lost_source(node: Node, blue: Stick, green: Stick) -> None:
    """What serves is the source, and goes: a failover, and never to the half copy."""
    # Only what the half copy says of itself keeps it from being chosen, and no quarantine.
    node.configure(FLOOR + "quarantine_seconds = 1\n")
    _enrol_waiting(node, blue, "blue")
    _begin_copy(node, "blue")
    node.machine.yank(green)
    node.until("role['phase'] == 'INTERNAL' and role['reason'] == 'StickLost'", 120)
    node.wait_pods()
    failover, failed = node.operations()[:2]
    assert (failed["target"], failed["reason"]) == ("blue", "StickLost")
    assert (failover["kind"], failover["target"]) == ("failover", "internal")
    node.until("[c['reasons'] for c in role['candidates']] == [['Incomplete']]", 60)
    nothing_aside(node)
    node.plug(green)
    assert node.wait_phase("BOUND")["active"]["name"] == "green"
    node.wait_pods()


def test_a_killed_daemon_and_a_power_cut_in_the_middle_of_a_copy_lose_nothing(
    durable_node: Node, new_stick: StickBox
) -> None:
    node, green = durable_node, new_stick("GREEN1")
    write_files(node, 40)
    _enrol_waiting(node, green, "green")
    tasks, images, blobs = node.pod_tasks(), images_of(node), blobs_of(node)
    _begin_copy(node, "green")
    before = node.pid("nodestoraged")
    node.machine.ssh(f"kill -KILL {before}")
    node.machine.wait_until(
        f"! systemctl is-active -q '{_COPYING}' && systemctl is-active -q nodestoraged"
    )
    assert node.wait_phase("INTERNAL", 60)["serving"]["source"] == "internal"
    assert node.pid("nodestoraged") != before
    assert node.pod_tasks() == tasks
    nothing_aside(node)
    assert node.wait_verdict(green, "waiting")["reasons"] == ["Incomplete"]
    _begin_copy(node, "green")
    node.machine.power_cut()
    node.machine.boot()
    # The operator's wish outlives the cut, and the copy is made anew before green may serve.
    role = node.wait_phase("BOUND", 200)
    assert (role["active"]["name"], role["active"]["generation"]) == ("green", 1)
    again, cut = node.operations()[:2]
    assert (cut["kind"], cut["result"]) == ("bind", "interrupted")
    assert (again["data"], again["result"]) == ("copy", "done")
    assert again["copiedStoppedBytes"] > 0
    nothing_aside(node)
    node.wait_pods()
    assert (images_of(node), blobs_of(node)) == (images, blobs)


def test_clones_old_copies_and_sticks_of_other_nodes_are_told_and_adopted(
    node: Node, new_stick: StickBox
) -> None:
    blue = new_stick("BLUE01")
    _enrol_waiting(node, blue, "blue")
    node.ctl("switch blue --copy", timeout=300)
    assert node.wait_phase("BOUND")["active"]["generation"] == 1
    node.ctl("eject --to internal")
    node.wait_phase("INTERNAL")
    node.machine.yank(blue)
    node.until("role['candidates'] == []")
    twin = new_stick.clone(blue, "TWIN01")
    old = clone_stick(blue, blue.path.with_suffix(".old"), serial=blue.serial)
    node.plug(blue)
    node.until("'blue' in [c['name'] for c in role['candidates']]")
    node.ctl("switch blue")
    assert node.wait_phase("BOUND")["active"]["generation"] == 2
    node.plug(twin)
    found = node.wait_verdict(twin, "waiting")
    assert "Clone" in found["reasons"]
    assert node.role()["active"]["serial"] == "BLUE01"
    refused = node.ctl(f"switch {found['devnode']}", check=False)
    assert (refused.code, "Clone" in refused.stderr) == (6, True), refused.stderr
    node.ctl(f"adopt {found['devnode']} --name twin")
    told = by_name(node)["twin"]
    assert told["uuid"] != blue.uuid
    assert (told["verdict"], told["reasons"]) == ("standby", [])
    _check_stale(node, blue, old)
    _check_foreign(node, twin)


def _check_stale(node: Node, blue: Stick, old: Stick) -> None:
    """An older copy of the stick comes in its place: shown, refused, and adopted when asked."""
    node.ctl("eject --to internal")
    node.wait_phase("INTERNAL")
    node.machine.yank(blue)
    node.until("'blue' not in [c['name'] for c in role['candidates']]")
    node.plug(old)
    assert node.wait_verdict(old, "waiting")["reasons"] == ["Stale"]
    refused = node.ctl("switch blue", check=False)
    assert (refused.code, "adopt" in refused.stderr) == (6, True)
    node.ctl("adopt blue")
    told = by_name(node)["blue"]
    assert (told["reasons"], told["generation"]) == ([], 2)
    node.machine.yank(old)
    node.until("'blue' not in [c['name'] for c in role['candidates']]")


def _check_foreign(node: Node, twin: Stick) -> None:
    """Another node has had the stick: its images are taken, and nothing else of it."""
    node.machine.yank(twin)
    node.until("role['candidates'] == []")
    node.ctl("forget twin")
    node.plug(twin)
    devnode = node.wait_verdict(twin, "waiting")["devnode"]
    node.machine.put_text(_OF_ANOTHER_NODE, "/root/another.py")
    node.machine.ssh(f"unshare -m sh -c 'mount {devnode} /mnt && python3 /root/another.py'")
    node.machine.yank(twin)
    node.until("role['candidates'] == []")
    node.plug(twin, "waiting")
    node.ctl(f"enroll {twin.serial} --name alien --no-switch")
    node.until("[c['reasons'] for c in role['candidates']] == [['ForeignNode']]", 30)
    refused = node.ctl("switch alien", check=False)
    assert (refused.code, "adopt" in refused.stderr) == (6, True)
    node.ctl("adopt alien --images-only")
    node.ctl("switch alien")
    assert node.wait_phase("BOUND")["active"]["name"] == "alien"
    node.wait_pods()


def test_a_directory_of_a_mounted_disk_serves_and_is_lost_with_it(
    node: Node, new_stick: StickBox
) -> None:
    disk = new_stick("STORE1", label="storage", partlabel="storage")
    images, blobs = images_of(node), blobs_of(node)
    node.plug(disk)
    node.machine.wait_until("test -e /dev/disk/by-label/storage")
    node.machine.ssh("mkdir /mnt/storage && mount /dev/disk/by-label/storage /mnt/storage")
    path = "/mnt/storage/containerd"
    assert node.ctl(f"switch {path} --copy", check=False).code != 0
    node.machine.ssh(f"mkdir {path}")
    node.ctl(f"switch {path} --copy", timeout=300)
    role = node.wait_phase("BOUND")
    assert role["active"]["path"] == path
    assert role["imagefs"]["verified"] is True
    assert path in node.ctl("list").stdout
    node.wait_pods()
    assert (images_of(node), blobs_of(node)) == (images, blobs)
    node.machine.yank(disk)
    assert node.wait_phase("INTERNAL", 90)["reason"] == "StickLost"
    assert node.mounted() == []
    node.wait_pods()


def test_each_tier_of_a_powerwash_and_a_corrupt_database_end_in_a_node_that_works(
    node: Node, new_stick: StickBox
) -> None:
    """The tier of the containers mends the database; that of a sound one is on the host."""
    node.bind(new_stick("BLUE01"), "blue")
    images = images_of(node)
    node.machine.ssh(f"mkdir -p {ROOT}/opt && touch {ROOT}/opt/kept")
    node.ctl("powerwash --images --yes", timeout=300)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    node.wait_pods()
    assert images_of(node) == images  # those of the node are pinned or of the floor
    _check_corrupt(node, images)
    node.machine.ssh(f"test -e {ROOT}/opt/kept")
    asked = node.ctl("powerwash --next-boot --all --yes")
    assert asked.code == 0
    node.machine.reboot()
    assert node.wait_phase("BOUND", 120)["active"]["name"] == "blue"
    node.wait_pods()
    assert node.machine.ssh(f"test -e {ROOT}/opt/kept", check=False).code != 0
    assert images_of(node) == images


def _check_corrupt(node: Node, images: set[str]) -> None:
    """Damaged metadata is told as such, with the command that mends it."""
    node.machine.ssh(
        "systemctl stop kubelet containerd;"
        f" dd if=/dev/urandom of={_DATABASE} bs=4096 seek=2 count=200 conv=notrunc status=none;"
        " systemctl start --no-block containerd kubelet"
    )
    role = node.until("role['attention'] is not None", 120)
    assert role["attention"]["reason"] == "DatabaseCorrupt"
    command = role["attention"]["hint"]["command"]
    assert command == "nodestoragectl powerwash --containers"
    node.ctl("powerwash --containers --yes", timeout=300)
    node.wait_phase("BOUND")
    node.until("role['attention'] is None", 30)
    node.wait_pods()
    assert images_of(node) == images
