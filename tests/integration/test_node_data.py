"""Sticks with data on a whole node: copied to, prepared, reclaimed, washed, and directories."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from demo.demo import candidate
from demo.node import FLOOR, DemoNode
from tests.fakes.node_bench import on_a_node

#: Reclaiming is permitted at once.
AT_ONCE = FLOOR + "\nreclaim_after_seconds = 0\n"


def images(node: DemoNode) -> set[str]:
    """Names of k8s.io, without those that CRI makes by itself."""
    listed = node.containerd.ctr("-n", "k8s.io", "images", "ls", "-q").stdout.split()
    return {name for name in listed if not name.startswith("sha256:")}


def last(node: DemoNode) -> dict[str, object]:
    """The last operation of the status."""
    status = json.loads(node.ctl("status", "-o", "json").stdout)
    operation: dict[str, object] = status["lastOperation"]
    return operation


def serving(node: DemoNode) -> dict[str, object]:
    """The active stick of the status."""
    shown = node.role()["active"]
    assert isinstance(shown, dict)
    return shown


def settled(node: DemoNode) -> None:
    """The daemon runs and has decided."""
    node.start_daemon()
    node.until(lambda: node.role()["phase"] == "INTERNAL")


def bound(node: DemoNode, name: str) -> None:
    """A labelled stick of that name serves, with the images of the internal directory."""
    stick = node.plug(name)
    node.until(lambda: candidate(node, stick) is not None)
    node.ctl("enroll", stick.devnode, "--name", name, "--no-switch")
    node.ctl("switch", name, "--copy")
    node.until(node.pod_runs, 60)


def at_rest(root: Path) -> str:
    """The tree of a runtime that has no more to do: two readings are alike."""
    before, now = "", tree(root)
    while before != now:
        time.sleep(0.3)
        before, now = now, tree(root)
    return now


def tree(root: Path) -> str:
    """Every path below `root` with size and time: two are equal if nothing was changed."""
    words = ["find", str(root), "-ignore_readdir_race"]
    words += ["-printf", "%P %y %s %T@ %m %U %G\n"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    return "\n".join(sorted(listed.stdout.splitlines()))


@on_a_node(seconds=120)
def test_a_switch_with_copy_brings_the_images_along(node: DemoNode) -> None:
    node.until(node.pod_runs, 60)
    before = images(node)
    assert before
    settled(node)
    blue = node.plug("blue")
    node.until(lambda: candidate(node, blue) is not None)
    done = node.ctl("switch", blue.devnode, "--copy")
    assert serving(node)["devnode"] == blue.devnode, done.stderr
    node.until(node.pod_runs, 60)
    assert images(node) == before
    operation = last(node)
    assert operation["result"] == "done"
    assert operation["data"] == "copy"
    assert isinstance(operation["copiedBytes"], int)
    assert operation["copiedBytes"] > operation["copiedStoppedBytes"] > 0
    shown = serving(node)
    assert (shown["generation"], shown["origin"], shown["complete"]) == (1, "internal", True)
    assert not [m for m in Path("/proc/self/mountinfo").read_text().split() if "aside" in m]


@on_a_node(seconds=120)
def test_a_prepared_stick_is_not_complete_until_a_switch_copies_the_rest(node: DemoNode) -> None:
    node.until(node.pod_runs, 60)
    before = images(node)
    settled(node)
    blank = node.base / "blank.img"
    with blank.open("wb") as stream:
        stream.truncate(5 << 30)
    disk = node.attach("blank", blank)
    refused = node.ctl("prepare", "internal", check=False)
    assert refused.returncode == 4, refused.stderr
    node.ctl("prepare", disk.devnode, "--whole-disk", "--name", "blue")
    told = {each["name"]: each for each in node.role()["candidates"]}["blue"]
    assert (told["verdict"], told["reasons"]) == ("waiting", ["Incomplete"])
    assert (told["complete"], told["origin"]) == (False, "active")
    assert last(node)["kind"] == "prepare"
    plain = node.ctl("switch", "blue", check=False)
    assert plain.returncode == 6
    assert "--copy" in plain.stderr
    node.ctl("switch", "blue", "--copy")
    assert serving(node)["name"] == "blue"
    node.until(node.pod_runs, 60)
    assert images(node) == before
    again = node.ctl("prepare", disk.devnode, "--wipe", "--yes", disk.devnode, check=False)
    assert again.returncode == 6
    assert "Active" in again.stderr or "runtime root" in again.stderr


@on_a_node(seconds=120)
def test_a_disk_with_something_on_it_is_overwritten_only_by_its_serial(node: DemoNode) -> None:
    settled(node)
    used = node.plug("used", "family-photos")
    plain = node.ctl("prepare", used.devnode, "--whole-disk", check=False)
    assert plain.returncode == 6
    assert "family-photos" in plain.stderr, plain.stderr
    asked = node.ctl("prepare", used.devnode, "--whole-disk", "--wipe", check=False)
    assert asked.returncode == 6
    wrong = node.ctl(
        "prepare", used.devnode, "--whole-disk", "--wipe", "--yes", "/dev/sda", check=False
    )
    assert wrong.returncode == 6
    source = node.base / "source"
    (source / "io.containerd.content.v1.content").mkdir(parents=True)
    (source / "io.containerd.content.v1.content/blob").write_bytes(b"x" * 5000)
    words = ("--whole-disk", "--wipe", "--yes", used.devnode, "--from", str(source))
    node.ctl("prepare", used.devnode, *words)
    told = [each for each in node.role()["candidates"] if each["devnode"] == used.devnode]
    assert [(each["label"], each["complete"]) for each in told] == [("containerd-opt", True)]
    assert [each["origin"] for each in told] == [str(source)]
    assert last(node)["copiedBytes"] >= 5000


@on_a_node(seconds=120)
def test_a_directory_on_a_mounted_disk_is_a_slot_and_is_lost_with_its_disk(
    node: DemoNode,
) -> None:
    node.until(node.pod_runs, 60)
    before = images(node)
    settled(node)
    storage = node.plug("storage", "storage")
    place = node.base / "mnt"
    place.mkdir()
    subprocess.run(["mount", storage.devnode, str(place)], check=True, timeout=30)
    directory = place / "containerd"
    missing = node.ctl("switch", str(directory), "--copy", check=False)
    assert missing.returncode != 0, missing.stderr
    assert node.role()["phase"] == "INTERNAL"
    directory.mkdir()
    node.ctl("switch", str(directory), "--copy")
    shown = serving(node)
    assert (shown["path"], shown["devnode"]) == (str(directory), storage.devnode)
    node.until(node.pod_runs, 60)
    assert images(node) == before
    assert node.role()["imagefs"]["verified"]
    node.ctl("switch", "internal")
    assert node.role()["serving"]["source"] == "internal"
    # The daemon may be reading the directory's manifest and space at any one moment.
    node.until(lambda: subprocess.run(["umount", str(place)], check=False).returncode == 0, 10)


@on_a_node(extra=AT_ONCE, seconds=120)
def test_reclaim_frees_what_lies_hidden_and_nothing_else(node: DemoNode) -> None:
    node.until(node.pod_runs, 60)
    settled(node)
    nothing = node.ctl("reclaim", "--yes", check=False)
    assert (nothing.returncode, "nothing" in (nothing.stdout + nothing.stderr).lower()) == (0, True)
    bound(node, "blue")
    stick = at_rest(node.base / "root")
    shown = node.ctl("reclaim", "--dry-run").stdout
    assert "io.containerd" in shown
    done = node.ctl("reclaim", "--yes", check=False)
    assert done.returncode == 0, done.stderr
    assert "io.containerd" not in node.ctl("reclaim", "--dry-run").stdout
    names = {line.split()[0] for line in stick.splitlines()}
    assert names <= {line.split()[0] for line in tree(node.base / "root").splitlines()}
    # The fallback still starts pods: the sandbox image comes from the archive.
    node.ctl("switch", "internal")
    node.until(node.pod_runs, 60)


@on_a_node(seconds=200)
def test_each_tier_of_a_powerwash_leaves_a_node_that_works(node: DemoNode) -> None:
    node.until(node.pod_runs, 60)
    settled(node)
    bound(node, "blue")
    before = images(node)
    asked = node.ctl("powerwash", "--containers", check=False)
    assert asked.returncode == 6
    node.ctl("powerwash", "--containers", "--yes")
    assert serving(node)["name"] == "blue"
    node.until(node.pod_runs, 60)
    assert images(node) == before
    node.ctl("powerwash", "--all", "--yes")
    node.until(node.pod_runs, 60)
    assert node.role()["phase"] == "BOUND"
    assert last(node)["kind"] == "powerwash"


@on_a_node(extra='data = "pinned"', seconds=120)
def test_pinned_and_local_images_go_along_and_no_others(node: DemoNode) -> None:
    node.until(node.pod_runs, 60)
    local = next(name for name in images(node) if name.startswith("localhost/"))
    node.containerd.ctr("-n", "k8s.io", "images", "tag", local, "example.org/pulled:1")
    settled(node)
    blue = node.plug("blue")
    node.until(lambda: candidate(node, blue) is not None)
    node.ctl("switch", blue.devnode)
    node.until(node.pod_runs, 60)
    assert local in images(node)
    assert "example.org/pulled:1" not in images(node)
    assert last(node)["data"] == "pinned"


@on_a_node(seconds=120)
def test_an_xfs_stick_is_prepared_measured_and_copied_to(node: DemoNode) -> None:
    node.until(node.pod_runs, 60)
    before = images(node)
    settled(node)
    blank = node.base / "blank.img"
    with blank.open("wb") as stream:
        stream.truncate(5 << 30)
    disk = node.attach("blank", blank)
    words = ("--whole-disk", "--fs", "xfs", "--name", "blue", "--check", "--empty")
    node.ctl("prepare", disk.devnode, *words)
    told = {each["name"]: each for each in node.role()["candidates"]}["blue"]
    assert (told["fstype"], told["label"], told["complete"]) == ("xfs", "ctrd-opt", True)
    assert told["quality"]["writeRate"] > 0
    node.ctl("switch", "blue", "--copy")
    assert serving(node)["fstype"] == "xfs"
    node.until(node.pod_runs, 60)
    assert images(node) == before
