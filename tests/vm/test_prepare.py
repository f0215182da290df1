"""A blank stick is prepared, takes the node over with its images, and frees what it hides.

On both inits: under systemd the copier runs in a unit of its own, under OpenRC as a child of the
launcher, which alone has the rights that a faithful copy needs.
"""

from __future__ import annotations

import json
from dataclasses import replace

from tests.vm.contents import blobs_of, by_name, images_of, nothing_aside, write_files
from tests.vm.harness.stick import Stick
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import FLOOR, ROOT, Node

SUITES = ("trixie", "openrc")

#: Of our own: docs/data.md.
_PARTITION_TYPE = "d6673e52-9b20-40c6-8bd2-0be628f9fe18"
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


def _hidden(node: Node, command: str) -> str:
    """The output of a command that sees below /mnt what the node has without any mount on it."""
    return node.machine.ssh(f"unshare -m sh -c 'mount --bind / /mnt && {command}'").stdout


def test_a_blank_stick_is_prepared_takes_the_node_over_and_frees_what_it_hides(
    node: Node, new_stick: StickBox
) -> None:
    node.configure(FLOOR + "reclaim_after_seconds = 0\n")
    write_files(node, 20)
    stick = _blank(new_stick("BLANK1"))
    _a_blank_stick_is_prepared(node, stick)
    _the_node_moves_with_its_images(node)
    _what_is_hidden_goes_and_pods_still_start_there(node)
    assert node.init.failed() == ""


def _a_blank_stick_is_prepared(node: Node, stick: Stick) -> None:
    devnode = _plug_blank(node, stick)
    tasks = node.pod_tasks()
    node.ctl(f"prepare {devnode} --check --name blue", timeout=400)
    assert node.pod_tasks() == tasks
    told = by_name(node)["blue"]
    assert (told["verdict"], told["reasons"]) == ("waiting", ["Incomplete"])
    assert (told["complete"], told["origin"], told["label"]) == (False, "active", "containerd-opt")
    assert told["quality"]["capacityBytes"] == stick.size_bytes
    assert told["quality"]["writeRate"] > 0
    assert "blue" in node.ctl("list").stdout
    table = json.loads(node.machine.ssh(f"sfdisk --json {devnode}").stdout)["partitiontable"]
    (partition,) = table["partitions"]
    assert (table["label"], partition["name"]) == ("gpt", "containerd-opt")
    assert partition["type"].lower() == _PARTITION_TYPE
    nothing_aside(node)


def _the_node_moves_with_its_images(node: Node) -> None:
    """And with everything else, byte by byte, while a pod writes."""
    images, blobs = images_of(node), blobs_of(node)
    assert images
    node.machine.put_text(_NASTY, "/root/nasty.py")
    node.machine.put_text(_DESCRIBE, "/root/describe.py")
    node.machine.ssh(f"python3 /root/nasty.py {ROOT}/opt/nasty")
    quality = by_name(node)["blue"]["quality"]
    _write_in_the_pod(node)
    node.ctl("switch blue --copy", timeout=400)
    role = node.wait_phase("BOUND")
    assert role["imagefs"]["verified"] is True
    active = role["active"]
    assert (active["name"], active["generation"], active["complete"]) == ("blue", 1, True)
    assert (active["origin"], active["quality"]) == ("internal", quality)
    node.wait_pods()
    assert (images_of(node), blobs_of(node)) == (images, blobs)
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
    nothing_aside(node)


def _what_is_hidden_goes_and_pods_still_start_there(node: Node) -> None:
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
