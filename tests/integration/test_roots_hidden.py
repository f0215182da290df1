"""What lies under a mount: seen past it, removed below it, and never mistaken for what is on it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.roots import WorkerRoots
from nodestoraged.linux import mountinfo, process
from nodestoraged.model.errors import StepError
from nodestoraged.model.hidden import HiddenRoot, Removed
from tests.fakes.private_worker import PrivateWorker, private_worker

pytestmark = pytest.mark.integration

MIB = 1 << 20


class Node:
    """A root with content, in a mount namespace in which something can be mounted on it."""

    def __init__(self, worker: PrivateWorker, base: Path) -> None:
        self.worker = worker
        self.base = base
        self.root = base / "root"
        self.root.mkdir()
        self.roots = WorkerRoots(worker.children)

    def inside(self, *command: str) -> None:
        """Run a command in the worker's mount namespace."""
        enter = ("nsenter", f"--mount=/proc/{self.worker.pid}/ns/mnt", "--")
        subprocess.run([*enter, *command], check=True, capture_output=True, timeout=20)

    def cover(self) -> None:
        """Another file system lies on the root."""
        self.inside("mount", "-t", "tmpfs", "-o", "size=16m", "slot", str(self.root))
        self.inside("touch", f"{self.root}/of-the-slot")

    def hidden(self) -> HiddenRoot:
        return self.worker.runner.run(self.roots.hidden(str(self.root), deadline_seconds=60))

    def reclaim(self) -> Removed:
        return self.worker.runner.run(self.roots.reclaim(str(self.root), deadline_seconds=120))

    def came_since(self, before: tuple[mountinfo.MountRow, ...]) -> set[mountinfo.MountRow]:
        """Mounts that are new; those of other tests may go, with the directories they lie on."""
        return set(mountinfo.read(self.worker.pid)) - set(before)

    def visible(self) -> set[str]:
        return {path.name for path in Path(self.worker.path(self.root)).iterdir()}


@pytest.fixture
def node() -> Iterator[Node]:
    base = Path(tempfile.mkdtemp(prefix="nsd-"))
    try:
        with private_worker() as worker:
            yield Node(worker, base)
    finally:
        # rm, because shutil gives up on a deep path, which a failed test may leave.
        subprocess.run(["rm", "-rf", "--one-file-system", base], check=True)


def fill(directory: Path, files: int, size: int) -> None:
    directory.mkdir(parents=True)
    for number in range(files):
        (directory / str(number)).write_bytes(b"x" * size)


def test_entries_come_largest_first_and_hard_links_count_once(node: Node) -> None:
    fill(node.root / "small", 3, 4096)
    fill(node.root / "large", 2, MIB)
    os.link(node.root / "large" / "0", node.root / "large" / "again")
    node.cover()
    before = mountinfo.read(node.worker.pid)

    found = node.hidden()

    assert [(each.name, each.files) for each in found.entries] == [("large", 3), ("small", 3)]
    assert found.files == 6
    assert found.entries[0].used_bytes - 2 * MIB <= 65536
    measured = subprocess.run(
        ["du", "-s", "-B1", str(node.root)], check=True, capture_output=True, text=True
    ).stdout
    own = node.root.stat().st_blocks * 512
    assert found.used_bytes == int(measured.split()[0]) - own
    assert found.held_by == ()
    assert node.came_since(before) == set()


def test_twenty_entries_are_named_and_all_are_counted(node: Node) -> None:
    for number in range(30):
        fill(node.root / f"d{number}", 1, 4096)
    node.cover()

    found = node.hidden()

    assert (len(found.entries), found.files) == (20, 30)


def test_nothing_is_hidden_without_a_mount(node: Node) -> None:
    fill(node.root / "data", 1, 4096)

    assert node.hidden() == HiddenRoot()
    with pytest.raises(StepError) as caught:
        node.reclaim()

    assert caught.value.reason == "NotHidden"
    assert (node.root / "data" / "0").exists()


def test_a_mount_below_the_root_hides_nothing_of_the_root(node: Node) -> None:
    fill(node.root / "data", 1, 4096)
    node.inside("mount", "-t", "tmpfs", "none", str(node.root / "data"))

    with pytest.raises(StepError) as caught:
        node.reclaim()

    assert caught.value.reason == "NotHidden"


def test_reclaim_removes_the_contents_alone_and_a_second_one_finds_nothing(node: Node) -> None:
    fill(node.root / "data", 3, MIB)
    inode = node.root.stat().st_ino
    node.cover()
    expected = node.hidden()

    first, second = node.reclaim(), node.reclaim()

    assert first == Removed(files=3, freed_bytes=expected.used_bytes)
    assert second == Removed(files=0, freed_bytes=0)
    assert list(node.root.iterdir()) == []
    assert node.root.stat().st_ino == inode
    assert node.visible() == {"of-the-slot"}


def test_links_and_hard_links_lead_nowhere(node: Node) -> None:
    outside = node.base / "outside"
    fill(outside, 2, MIB)
    below = node.root
    for level in range(5):
        (below / "etc").symlink_to("/etc")
        (below / "out").symlink_to(outside)
        (below / "loop").symlink_to(below)
        below = below / f"level{level}"
        below.mkdir()
    os.link(outside / "0", node.root / "shared")
    os.mkfifo(node.root / "pipe")
    os.mknod(node.root / "null", 0o20666, os.makedev(1, 3))
    node.cover()

    removed = node.reclaim()

    assert list(node.root.iterdir()) == []
    assert {path.name for path in outside.iterdir()} == {"0", "1"}
    assert (outside / "0").stat().st_size == MIB
    assert Path("/etc/passwd").exists()
    # The file with a name outside has freed nothing.
    assert removed.freed_bytes < MIB


def test_a_path_deeper_than_any_name_can_be_written_is_removed(node: Node) -> None:
    here = os.open(node.root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    node.cover()

    found, removed = node.hidden(), node.reclaim()

    assert (found.files, removed.files) == (1, 1)
    assert removed.freed_bytes == found.used_bytes
    assert list(node.root.iterdir()) == []


def test_a_mount_under_the_mount_is_not_crossed(node: Node) -> None:
    # It was mounted before the root was covered: its path leads to the covering mount now.
    fill(node.root / "data", 1, 4096)
    node.inside("mount", "-t", "tmpfs", "deep", str(node.root / "data"))
    node.inside("touch", f"{node.root}/data/of-the-deep")
    inner = os.open(node.worker.path(node.root / "data"), os.O_RDONLY)
    try:
        node.cover()
        with pytest.raises(StepError) as caught:
            node.reclaim()

        assert caught.value.reason == "Busy"
        assert [path.name for path in Path(f"/proc/self/fd/{inner}").iterdir()] == ["of-the-deep"]
    finally:
        os.close(inner)
    assert [path.name for path in node.root.iterdir()] == ["data"]


def test_an_immutable_entry_is_named_and_all_others_are_gone(node: Node) -> None:
    fill(node.root / "data", 3, 4096)
    subprocess.run(["chattr", "+i", str(node.root / "data" / "1")], check=True)
    try:
        node.cover()
        with pytest.raises(StepError) as caught:
            node.reclaim()
    finally:
        subprocess.run(["chattr", "-i", str(node.root / "data" / "1")], check=True)

    assert caught.value.reason == "NotPermitted"
    assert "data/1" in caught.value.message
    assert [path.name for path in (node.root / "data").iterdir()] == ["1"]
    assert node.reclaim().files == 1


@pytest.mark.parametrize("slot", ["root/inner", "root", ""])
def test_a_directory_of_the_same_tree_on_the_root_is_never_reclaimed(node: Node, slot: str) -> None:
    fill(node.root / "inner", 2, 4096)
    node.inside("mount", "--bind", str(node.base / slot), str(node.root))

    with pytest.raises(StepError) as caught:
        node.reclaim()

    assert caught.value.reason == "NotHidden"
    assert len(list((node.root / "inner").iterdir())) == 2


def test_a_directory_slot_on_the_same_disk_does_not_keep_the_space_from_coming_back(
    node: Node,
) -> None:
    fill(node.root / "data", 2, 4096)
    fill(node.base / "slot" / "data", 2, 4096)
    node.inside("mount", "--bind", str(node.base / "slot"), str(node.root))

    assert node.reclaim().files == 2

    assert list(node.root.iterdir()) == []
    assert len(list((node.base / "slot" / "data").iterdir())) == 2


def test_two_mounts_on_the_root_are_refused(node: Node) -> None:
    fill(node.root / "data", 1, 4096)
    node.cover()
    node.cover()

    with pytest.raises(StepError) as caught:
        node.reclaim()

    assert caught.value.reason == "MountStacked"


def test_a_root_that_is_a_link_is_resolved_by_nobody(node: Node) -> None:
    (node.base / "link").symlink_to("/etc")
    node.root = node.base / "link"

    with pytest.raises(StepError) as caught:
        node.reclaim()

    assert caught.value.reason == "NotHidden"


def test_a_shared_mount_gets_no_copy_of_the_view(node: Node) -> None:
    fill(node.root / "data", 1, 4096)
    node.cover()
    node.inside("mount", "--make-rshared", "/")
    before = mountinfo.read(node.worker.pid)

    node.hidden()
    node.reclaim()

    assert node.came_since(before) == set()
    assert list(node.root.iterdir()) == []


def test_an_open_file_and_a_lock_below_the_mount_hold_it(node: Node) -> None:
    database = node.root / "io.containerd.metadata.v1.bolt" / "meta.db"
    fill(database.parent, 1, 4096)
    database.touch()
    with database.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        node.cover()
        found = node.hidden()
        with pytest.raises(StepError) as caught:
            node.reclaim()

    ours = f"({os.getpid()}, lock)"
    assert any(ours in each for each in found.held_by), found.held_by
    assert any(f"({os.getpid()}, file)" in each for each in found.held_by), found.held_by
    assert caught.value.reason == "StillHeld"
    assert ours in caught.value.message
    assert node.hidden().held_by == ()
    assert node.reclaim().files == 2


def test_a_user_of_what_is_mounted_there_is_no_user_of_what_is_hidden(node: Node) -> None:
    fill(node.root / "data", 1, 4096)
    fill(node.base / "slot" / "data", 1, 4096)
    # The same disk on purpose: the device alone cannot tell the two.
    node.inside("mount", "--bind", str(node.base / "slot"), str(node.root))
    with Path(node.worker.path(node.root / "data" / "0")).open("rb"):
        assert node.hidden().held_by == ()
        assert node.reclaim().files == 1


def test_a_bind_mount_of_a_hidden_directory_holds_it(node: Node) -> None:
    fill(node.root / "data", 1, 4096)
    (node.base / "elsewhere").mkdir()
    node.inside("mount", "--bind", str(node.root / "data"), str(node.base / "elsewhere"))
    node.cover()

    assert node.hidden().held_by == (f"a mount on {node.base}/elsewhere",)


def overlay(node: Node, upper: Path, target: Path) -> None:
    (upper.parent / "work").mkdir(exist_ok=True)
    (node.base / "lower").mkdir(exist_ok=True)
    target.mkdir()
    layers = f"lowerdir={node.base}/lower,upperdir={upper},workdir={upper.parent}/work"
    node.inside("mount", "-t", "overlay", "overlay", "-o", layers, str(target))


def test_overlays_with_one_and_the_same_path_are_told_apart_by_inode(node: Node) -> None:
    # The slot is a copy of the root: each layer exists in both, and mount options name paths only.
    fill(node.root / "snapshots" / "1" / "fs", 1, 4096)
    fill(node.base / "slot" / "snapshots" / "1" / "fs", 1, 4096)
    (node.base / "slot" / "snapshots" / "1" / "work").mkdir()
    upper = node.root / "snapshots" / "1" / "fs"
    (upper.parent / "work").mkdir()
    before, after = node.base / "before", node.base / "after"

    overlay(node, upper, before)
    node.inside("mount", "--bind", str(node.base / "slot"), str(node.root))
    overlay(node, upper, after)
    both = node.hidden().held_by
    node.inside("umount", str(before))
    later = node.hidden().held_by

    assert both == (f"an overlay on {before}",)
    assert later == ()


def test_reclaim_ends_when_the_mount_goes_because_the_directory_is_the_root_then(
    node: Node,
) -> None:
    for number in range(60):
        fill(node.root / f"d{number}", 300, 1)
    node.cover()

    async def pulled() -> None:
        asking = asyncio.create_task(node.roots.reclaim(str(node.root), deadline_seconds=60))
        while len(list(node.root.iterdir())) == 60:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.005)
        (child,) = process.descendants(process.table(), [node.worker.pid])
        # It waits for the umount, which is slow to start on a busy machine.
        os.kill(child.pid, signal.SIGSTOP)
        await asyncio.to_thread(node.inside, "umount", "-l", str(node.root))
        os.kill(child.pid, signal.SIGCONT)
        await asking

    with pytest.raises(StepError) as caught:
        node.worker.runner.run(pulled())

    assert caught.value.reason == "NotHidden"
    assert list(node.root.iterdir()) != []


def test_reclaim_that_was_killed_goes_on_where_it_was(node: Node) -> None:
    for number in range(40):
        fill(node.root / f"d{number}", 50, 512)
    node.cover()

    async def killed() -> None:
        # Cancelled while the child works: the worker kills it.
        asking = asyncio.create_task(node.roots.reclaim(str(node.root), deadline_seconds=60))
        await asyncio.sleep(0.01)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError, StepError):
            await asking

    node.worker.runner.run(killed())
    node.reclaim()

    assert list(node.root.iterdir()) == []
    assert node.visible() == {"of-the-slot"}
