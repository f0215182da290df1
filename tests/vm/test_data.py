"""Sticks with data on a real node: prepared, copied to, cut off in the middle, washed, reclaimed.

What only a real node shows: partitions that udev reads, the copier in a unit of its own outside
the daemon's sandbox, disks that go in the middle of a copy, and a boot after it.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from tests.vm.harness.stick import Stick, clone_stick
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import FLOOR, ROOT, Node

SUITES = ("trixie",)

#: Of our own: docs/data.md.
_PARTITION_TYPE = "d6673e52-9b20-40c6-8bd2-0be628f9fe18"
_BLOBS = f"{ROOT}/io.containerd.content.v1.content/blobs/sha256"
_DATABASE = f"{ROOT}/io.containerd.metadata.v1.bolt/meta.db"
_WARM, _COPYING = "the data is copied to {}", "nodestoraged-copy*"
#: What a copy must take along, made in the directory that is its argument.
_NASTY = """
import os, sys
top = sys.argv[1]
os.makedirs(top + "/deep", mode=0o750)
def path(name): return f"{top}/{name}"
def write(name, data=b"x"):
    with open(path(name), "wb") as file: file.write(data)
write("setuid"); os.chown(path("setuid"), 1000, 1001); os.chmod(path("setuid"), 0o6755)
write("capable"); os.setxattr(path("capable"), "security.capability",
    bytes.fromhex("0100000200040000000000000000000000000000"))
os.mknod(path("whiteout"), 0o20000, os.makedev(0, 0))
os.mknod(path("disk"), 0o60660, os.makedev(7, 99))
os.mkfifo(path("fifo"))
os.setxattr(path("deep"), "trusted.overlay.opaque", b"y")
write("deep/user"); os.setxattr(path("deep/user"), "user.mine", b"1")
os.link(path("deep/user"), path("linked"))
os.symlink("/etc/shadow", path("symlink")); os.lchown(path("symlink"), 12, 13)
os.symlink("nowhere", os.fsencode(path("odd")) + b"\\xff\\n")
with open(path("sparse"), "wb") as file:
    file.truncate(64 << 20); file.seek(32 << 20); file.write(b"y" * 5000)
os.utime(path("setuid"), ns=(1, 1234567890123456789))
os.chmod(path("deep"), 0o1751)
os.utime(path("deep"), ns=(1, 987654321987654321))
"""
#: One line for each entry below the directory that is its argument: all that a copy must keep.
_DESCRIBE = """
import hashlib, os, stat, sys
top = os.fsencode(sys.argv[1])
inodes = {}
def describe(path):
    s = os.lstat(path)
    attributes = {n: os.getxattr(path, n, follow_symlinks=False).hex()
                  for n in sorted(os.listxattr(path, follow_symlinks=False))}
    what = [os.path.relpath(path, top), oct(s.st_mode), s.st_uid, s.st_gid, s.st_rdev,
            s.st_mtime_ns, s.st_nlink, attributes]
    if stat.S_ISREG(s.st_mode):
        what += [hashlib.sha256(open(path, "rb").read()).hexdigest(), s.st_blocks * 512 < s.st_size]
        what.append(inodes.setdefault(s.st_ino, what[0]))
    if stat.S_ISLNK(s.st_mode): what.append(os.readlink(path))
    return what
found = [describe(top)]
for directory, names, files in os.walk(top):
    found += [describe(os.path.join(directory, name)) for name in names + files]
for line in sorted(map(repr, found)): print(line)
"""
#: The stick that is mounted on /mnt was active in another node.
_OF_ANOTHER_NODE = """
import json, pathlib
path = pathlib.Path("/mnt/.nodestoraged/manifest.json")
path.write_text(json.dumps(json.loads(path.read_text()) | {"node": "f" * 32}))
"""


def _blank(stick: Stick) -> Stick:
    """The same stick with nothing on it."""
    with stick.path.open("r+b") as image:
        image.truncate(0)
        image.truncate(stick.size_bytes)
    return replace(stick, uuid="", label="")


def _plug_blank(node: Node, stick: Stick) -> str:
    """The blank stick is in and udev knows it; its devnode."""
    node.plug(stick)
    by_id = f"/dev/disk/by-id/usb-*{stick.serial}*"
    node.machine.wait_until(f"ls {by_id}", timeout=30)
    return node.machine.ssh(f"readlink -f {by_id} | head -n 1").stdout.strip()


def _images(node: Node) -> set[str]:
    """Names of k8s.io, without those that CRI makes by itself."""
    listed = node.machine.ssh("ctr -n k8s.io images ls -q").stdout.split()
    return {name for name in listed if not name.startswith("sha256:")}


def _blobs(node: Node, root: str = ROOT) -> str:
    """Name and size of every blob of the content store."""
    place = _BLOBS.replace(ROOT, root)
    return node.machine.ssh(f"find {place} -type f -printf '%f %s\\n' | sort").stdout


def _hidden(node: Node, command: str) -> str:
    """The output of a command that sees below /mnt what the node has without any mount on it."""
    return node.machine.ssh(f"unshare -m sh -c 'mount --bind / /mnt && {command}'").stdout


def _random_files(node: Node, mebibytes: int) -> None:
    """The root holds so much more, in files of one MiB."""
    node.machine.ssh(
        f"mkdir -p {ROOT}/opt/bulk && cd {ROOT}/opt/bulk && for i in $(seq {mebibytes}); do"
        " dd if=/dev/urandom of=$i bs=1M count=1 status=none; done",
        timeout=300,
    )


def _names(node: Node) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in node.role()["candidates"]}


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


def _nothing_aside(node: Node) -> None:
    """Neither a mount of a copy is left, nor its process."""
    assert "/run/nodestoraged" not in node.machine.ssh("cat /proc/1/mountinfo").stdout
    units = node.machine.ssh(f"systemctl list-units --plain --no-legend '{_COPYING}'").stdout
    assert units == ""


def test_a_blank_stick_is_prepared_and_takes_the_node_over_with_its_images(
    node: Node, new_stick: StickBox
) -> None:
    images, blobs = _images(node), _blobs(node)
    assert images
    node.machine.put_text(_NASTY, "/root/nasty.py")
    node.machine.put_text(_DESCRIBE, "/root/describe.py")
    node.machine.ssh(f"python3 /root/nasty.py {ROOT}/opt/nasty")
    stick = _blank(new_stick("BLANK1"))
    devnode = _plug_blank(node, stick)
    tasks = node.pod_tasks()
    node.ctl(f"prepare {devnode} --check --name blue", timeout=400)
    assert node.pod_tasks() == tasks
    told = _names(node)["blue"]
    assert (told["verdict"], told["reasons"]) == ("waiting", ["Incomplete"])
    assert (told["complete"], told["origin"], told["label"]) == (False, "active", "containerd-opt")
    assert told["quality"]["capacityBytes"] == stick.size_bytes
    assert told["quality"]["writeRate"] > 0
    assert "blue" in node.ctl("list").stdout
    table = json.loads(node.machine.ssh(f"sfdisk --json {devnode}").stdout)["partitiontable"]
    (partition,) = table["partitions"]
    assert (table["label"], partition["name"]) == ("gpt", "containerd-opt")
    assert partition["type"].lower() == _PARTITION_TYPE
    _nothing_aside(node)
    _write_in_the_pod(node)
    node.ctl("switch blue --copy", timeout=400)
    role = node.wait_phase("BOUND")
    assert role["imagefs"]["verified"] is True
    active = role["active"]
    assert (active["name"], active["generation"], active["complete"]) == ("blue", 1, True)
    assert (active["origin"], active["quality"]) == ("internal", told["quality"])
    node.wait_pods()
    assert _images(node) == images
    assert _blobs(node) == blobs
    operation = node.operations()[0]
    assert (operation["kind"], operation["data"], operation["result"]) == (
        "bind", "copy", "done",
    )  # fmt: skip
    # Nearly all of it was there before the pods were stopped.
    assert operation["copiedStoppedBytes"] > 0
    copied = node.machine.ssh(f"python3 /root/describe.py {ROOT}/opt/nasty").stdout
    assert copied.count("\n") == 12
    source = _hidden(node, f"python3 /root/describe.py /mnt{ROOT}/opt/nasty")
    assert copied == source
    _nothing_aside(node)
    assert node.machine.ssh("systemctl --failed --no-legend").stdout == ""


def _write_in_the_pod(node: Node) -> None:
    """The pod's container writes files into its own layer from now on, and removes some."""
    listed = node.machine.ssh("ctr -n k8s.io containers ls | grep app:1").stdout
    loop = (
        "mkdir -p /tmp/w; i=0; while :; do i=$((i+1));"
        " dd if=/dev/zero of=/tmp/w/$((i%40)) bs=4096 count=$((i%7)) 2>/dev/null;"
        " rm -f /tmp/w/$((i%13)); done"
    )
    node.machine.ssh(
        f"ctr -n k8s.io tasks exec -d --exec-id writer {listed.split()[0]} /bin/busybox sh -c"
        f" '{loop}'"
    )
    node.machine.wait_until(
        f"find {ROOT}/io.containerd.snapshotter.v1.overlayfs -path '*/fs/tmp/w/1' | grep -q ."
    )


def test_newest_with_copy_moves_the_node_and_its_images_at_a_plug(
    node: Node, new_stick: StickBox
) -> None:
    blue, green = new_stick("BLUE01"), new_stick("GREEN1")
    _enrol_waiting(node, green, "green")
    node.machine.yank(green)
    images, blobs = _images(node), _blobs(node)
    node.configure(FLOOR.replace("[role.containerd]", '[role.containerd]\ndata = "copy"'))
    node.plug(blue, "waiting")
    node.ctl("enroll BLUE01 --name blue")
    role = node.wait_phase("BOUND", 120)
    assert role["active"]["origin"] == "internal"
    assert (_images(node), _blobs(node)) == (images, blobs)
    node.configure(FLOOR + 'data = "copy"\ncollision = "newest"\n')
    node.plug(green)
    node.until("role['active'] and role['active']['name'] == 'green'", 180)
    role = node.wait_phase("BOUND", 120)
    assert (role["active"]["name"], role["active"]["origin"]) == ("green", "blue")
    assert role["active"]["generation"] == 1
    node.wait_pods()
    assert (_images(node), _blobs(node)) == (images, blobs)
    _nothing_aside(node)
    told = _names(node)["blue"]  # the source is the backup
    assert (told["generation"], told["complete"]) == (1, True)


def test_a_stick_that_goes_in_the_middle_of_a_copy_takes_nothing_with_it(
    node: Node, new_stick: StickBox
) -> None:
    blue, green = new_stick("BLUE01"), new_stick("GREEN1")
    _random_files(node, 40)
    _enrol_waiting(node, green, "green")
    tasks, images = node.pod_tasks(), _images(node)
    _begin_copy(node, "green")
    node.machine.yank(green)
    failed = _until_idle(node)
    assert (failed["result"], failed["reason"]) == ("failed", "StickLost")
    assert node.wait_phase("INTERNAL")["serving"]["source"] == "internal"
    assert node.pod_tasks() == tasks
    _nothing_aside(node)
    node.plug(green)
    assert node.wait_verdict(green, "waiting")["reasons"] == ["Incomplete"]
    refused = node.ctl("switch green", check=False)
    assert (refused.code, "--copy" in refused.stderr) == (6, True)
    node.ctl("switch green --copy", timeout=300)
    assert node.wait_phase("BOUND")["active"]["name"] == "green"
    assert _images(node) == images
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
    _nothing_aside(node)
    node.plug(green)
    assert node.wait_phase("BOUND")["active"]["name"] == "green"
    node.wait_pods()


def test_a_killed_daemon_and_a_power_cut_in_the_middle_of_a_copy_lose_nothing(
    durable_node: Node, new_stick: StickBox
) -> None:
    node, green = durable_node, new_stick("GREEN1")
    _random_files(node, 40)
    _enrol_waiting(node, green, "green")
    tasks, images, blobs = node.pod_tasks(), _images(node), _blobs(node)
    _begin_copy(node, "green")
    before = node.pid("nodestoraged")
    node.machine.ssh(f"kill -KILL {before}")
    node.machine.wait_until(
        f"! systemctl is-active -q '{_COPYING}' && systemctl is-active -q nodestoraged"
    )
    assert node.wait_phase("INTERNAL", 60)["serving"]["source"] == "internal"
    assert node.pid("nodestoraged") != before
    assert node.pod_tasks() == tasks
    _nothing_aside(node)
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
    _nothing_aside(node)
    node.wait_pods()
    assert (_images(node), _blobs(node)) == (images, blobs)


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
    told = _names(node)["twin"]
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
    told = _names(node)["blue"]
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
    images, blobs = _images(node), _blobs(node)
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
    assert (_images(node), _blobs(node)) == (images, blobs)
    node.machine.yank(disk)
    assert node.wait_phase("INTERNAL", 90)["reason"] == "StickLost"
    assert node.mounted() == []
    node.wait_pods()


def test_reclaim_leaves_an_internal_directory_that_still_starts_pods(
    node: Node, new_stick: StickBox
) -> None:
    blue = new_stick("BLUE01")
    _random_files(node, 20)
    node.configure(FLOOR + "reclaim_after_seconds = 0\n")
    _enrol_waiting(node, blue, "blue")
    node.ctl("switch blue --copy", timeout=300)
    node.wait_phase("BOUND")
    node.wait_pods()
    tasks = node.pod_tasks()
    free = int(node.machine.ssh("stat -f -c %f /").stdout)
    shown = node.ctl("reclaim --dry-run")
    assert "opt" in shown.stdout
    assert "io.containerd.content.v1.content" in shown.stdout
    assert node.ctl("reclaim", check=False).code == 6
    node.ctl("reclaim --yes")
    assert (int(node.machine.ssh("stat -f -c %f /").stdout) - free) * 4096 > 20 << 20
    assert node.pod_tasks() == tasks
    assert "io.containerd" not in _hidden(node, f"ls -A /mnt{ROOT}")
    assert "nothing" in node.ctl("reclaim --dry-run").stdout
    node.ctl("switch internal")
    assert node.wait_phase("INTERNAL")["imagefs"]["verified"] is True
    node.wait_pods()


def test_each_tier_of_a_powerwash_and_a_corrupt_database_end_in_a_node_that_works(
    node: Node, new_stick: StickBox
) -> None:
    """The tier of the containers mends the database; that of a sound one is on the host."""
    node.bind(new_stick("BLUE01"), "blue")
    images = _images(node)
    node.machine.ssh(f"mkdir -p {ROOT}/opt && touch {ROOT}/opt/kept")
    node.ctl("powerwash --images --yes", timeout=300)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    node.wait_pods()
    assert _images(node) == images  # those of the node are pinned or of the floor
    _check_corrupt(node, images)
    node.machine.ssh(f"test -e {ROOT}/opt/kept")
    asked = node.ctl("powerwash --next-boot --all --yes")
    assert asked.code == 0
    node.machine.reboot()
    assert node.wait_phase("BOUND", 120)["active"]["name"] == "blue"
    node.wait_pods()
    assert node.machine.ssh(f"test -e {ROOT}/opt/kept", check=False).code != 0
    assert _images(node) == images


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
    assert _images(node) == images
