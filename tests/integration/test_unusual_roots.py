"""Nodes whose `/` is no plain disk: overlayfs, read-only, below links.

The daemon, its runtime and its sticks are real; so are the mounts, in namespaces of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from demo.demo import active, candidate
from demo.node import FLOOR, PROJECT, STICK_BYTES, DemoNode
from nodestoraged.adapters.roots import WorkerRoots
from nodestoraged.model.errors import StepError
from nodestoraged.model.hidden import Wash
from tests.fakes import trapped_services
from tests.fakes.faultfs import fault_disk
from tests.fakes.loopdev import LoopDevice
from tests.fakes.node_bench import enroll, mounts_at, on_a_node, with_udev
from tests.fakes.private_worker import PrivateWorker, private_worker

T = TypeVar("T")

MIB = 1 << 20
QUICK = f"{FLOOR}\nprobe_seconds = 1\nswap_grace_seconds = 1"

_NATIVE = """
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
"""


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, timeout=20)


@contextlib.contextmanager
def netboot_node(base: Path) -> Iterator[DemoNode]:
    """A node below an overlayfs: a disk that is only read below, memory above.

    So is `/` where a node boots from the network or a live medium.  overlayfs cannot be the upper
    layer of another one, so the runtime has to use its `native` snapshotter there.
    """
    lower, memory, top = base / "lower", base / "memory", base / "n"
    for directory in (lower, memory, top):
        directory.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "size=512m", "tmpfs", str(memory))
    for layer in ("upper", "work"):
        (memory / layer).mkdir()
    layers = f"lowerdir={lower},upperdir={memory}/upper,workdir={memory}/work"
    mount("-t", "overlay", "overlay", "-o", layers, str(top))
    os.environ["CONTAINERD_SNAPSHOTTER"] = "native"
    node = DemoNode(top, extra=QUICK, services=Path(trapped_services.__file__))
    with (top / "config.toml").open("a") as config:
        config.write(_NATIVE)
    with shown_on_failure(node):
        yield node


@contextlib.contextmanager
def shown_on_failure(node: DemoNode) -> Iterator[None]:
    """The node runs; its daemon's log is shown if something goes wrong."""
    try:
        with node:
            yield
    except BaseException:
        log = node.base / "daemon.log"
        sys.stderr.write(log.read_text()[-8000:] if log.exists() else "no log\n")
        raise


def links(node: DemoNode) -> list[str]:
    """The links of the proof that do not hold; nine must have been read."""
    shown = node.role()["imagefs"]
    assert isinstance(shown, dict)
    assert len(shown["proof"]) == 9
    return [f"{each['link']}: {each['detail']}" for each in shown["proof"] if not each["holds"]]


def images(node: DemoNode) -> set[str]:
    listed = node.containerd.ctr("-n", "k8s.io", "images", "ls", "-q").stdout.split()
    return {name for name in listed if not name.startswith("sha256:")}


def content(node: DemoNode) -> set[tuple[str, int]]:
    """The blobs of the root in force, with their sizes."""
    blobs = node.base / "root/io.containerd.content.v1.content/blobs/sha256"
    return {(path.name, path.stat().st_size) for path in blobs.iterdir()}


def internal(node: DemoNode) -> None:
    """The daemon runs, and every link holds for the node's own directory."""
    node.until(node.pod_runs)
    node.start_daemon()
    node.until(lambda: node.role()["phase"] == "INTERNAL")
    assert links(node) == []


@with_udev
def test_a_node_on_an_overlay_is_bound_to_a_stick_and_falls_back_when_it_dies(base: Path) -> None:
    with netboot_node(base) as node, fault_disk(stick_image(base), life_seconds=50) as disk:
        internal(node)
        assert node.role()["serving"]["devnode"] == "overlay"
        assert node.role()["internal"]["capacityBytes"] == 512 * MIB
        stick = node.attach("blue", disk.path)
        node.until(lambda: candidate(node, stick) is not None)
        node.ctl("enroll", stick.devnode, "--name", "blue")
        node.until(lambda: node.role()["phase"] == "BOUND" and active(node) == "blue")
        assert links(node) == []
        node.until(node.pod_runs)
        time.sleep(1.5)  # a write probe that is under way has a longer deadline
        disk.say("eio")
        node.until(lambda: node.role()["phase"] == "INTERNAL")
        node.until(node.pod_runs)
        assert links(node) == []
        assert mounts_at(node.base / "root") == []
        disk.kill()


@with_udev
def test_what_lies_on_an_overlay_is_copied_whole_and_is_seen_below_the_stick(base: Path) -> None:
    with netboot_node(base) as node:
        internal(node)
        before, blobs = images(node), content(node)
        assert before
        assert blobs
        stick = node.attach("blue", stick_image(base))
        node.until(lambda: candidate(node, stick) is not None)
        node.ctl("enroll", stick.devnode, "--name", "blue", "--no-switch")
        node.ctl("switch", "blue", "--copy")
        assert images(node) == before
        assert blobs <= content(node)
        status = json.loads(node.ctl("status", "-o", "json").stdout)
        assert status["lastOperation"]["copiedBytes"] >= sum(size for _, size in blobs)
        assert links(node) == []
        shown = node.ctl("reclaim", "--dry-run").stdout
        assert "io.containerd.content.v1.content" in shown


@with_udev
def test_the_disk_below_an_overlay_is_never_overwritten_also_where_no_mount_tells_of_it(
    base: Path,
) -> None:
    lower = base / "lower"
    lower.mkdir()
    with contextlib.closing(LoopDevice(stick_image(base))) as disk:
        mount("-o", "ro,noload", disk.devnode, str(lower))
        with netboot_node(base) as node:
            internal(node)
            before = (base / "blue.img").stat()
            words = ("--whole-disk", "--wipe", "--yes", disk.devnode)
            seen = node.ctl("prepare", disk.devnode, *words, check=False)
            assert seen.returncode == 6, seen
            assert "mounted on" in seen.stderr
            # As an initramfs leaves it: the layer is in use, and the mount nowhere to be seen.
            subprocess.run(["umount", str(lower)], check=True, timeout=20)
            node.until(lambda: str(candidate(node, disk)) == "waiting NotEnrolled")
            unseen = node.ctl("prepare", disk.devnode, *words, check=False)
            assert unseen.returncode in {1, 6}, unseen
            assert "claimed" in unseen.stderr
            switched = node.ctl("switch", disk.devnode, check=False)
            assert switched.returncode != 0
            node.until(lambda: node.role()["phase"] == "INTERNAL")
            assert links(node) == []
            after = (base / "blue.img").stat()
            assert (after.st_mtime_ns, after.st_blocks) == (before.st_mtime_ns, before.st_blocks)


@on_a_node(extra=QUICK)
def test_with_everything_read_only_but_var_and_run_the_node_is_bound_and_configured(
    node: DemoNode,
) -> None:
    """The image brings the configuration in /usr; there is no /etc/nodestoraged at all."""
    node.until(node.pod_runs)
    tree = node.base / "etcroot"
    shipped = tree / "usr/lib/nodestoraged/conf.d/10-image.toml"
    shipped.parent.mkdir(parents=True)
    (tree / "etc/nodestoraged/config.toml").rename(shipped)
    (tree / "etc/nodestoraged").rmdir()
    (tree / "var").mkdir()
    mount("--bind", str(tree), str(tree))
    mount("--bind", str(tree / "var"), str(tree / "var"))
    mount("-o", "remount,bind,ro", str(tree))
    seal_the_system()
    with pytest.raises(OSError, match="Read-only"):
        Path("/usr/written").touch()
    node.start_daemon()
    node.until(lambda: node.role()["phase"] == "INTERNAL")
    stick = enroll(node, "blue")
    node.until(lambda: node.role()["phase"] == "BOUND" and active(node) == "blue")
    assert stick.devnode == node.role()["serving"]["devnode"]
    assert links(node) == []
    done = node.ctl("config", "set", "role.containerd.trust", "none", "--root", str(tree))
    written = tree / "var/lib/nodestoraged/conf.d/90-local.toml"
    assert f"written to {written}" in done.stdout + done.stderr
    assert "/etc cannot be written" in done.stdout + done.stderr
    os.kill(node.daemon_pid, signal.SIGHUP)
    node.until(lambda: node.role()["trust"] == "none")
    node.stop_daemon()
    node.start_daemon()
    node.until(lambda: node.role()["phase"] == "BOUND")


@with_udev
def test_a_runtime_that_knows_its_root_by_a_link_above_it_is_bound_and_unbound(
    base: Path,
) -> None:
    """As where /var is a link to /mnt/var: containerd says one path, the mount table another."""
    (base / "disk").mkdir()
    (base / "n").symlink_to("disk")
    node = DemoNode(base / "n", extra=QUICK, services=Path(trapped_services.__file__))
    with shown_on_failure(node):
        internal(node)
        assert node.role()["root"] == str(base / "disk/root")
        enroll(node, "blue")
        node.until(lambda: node.role()["phase"] == "BOUND" and active(node) == "blue")
        assert links(node) == []
        assert len(mounts_at(base / "disk/root")) == 1
        node.ctl("eject")
        node.until(lambda: node.role()["phase"] == "INTERNAL")
        assert links(node) == []
        assert mounts_at(base / "disk/root") == []


@on_a_node(extra=QUICK)
def test_a_root_that_was_moved_by_hand_is_refused_and_goes_on_as_a_directory(
    node: DemoNode,
) -> None:
    """The way out that docs/unusual-roots.md shows, step by step."""
    node.until(node.pod_runs)
    storage = node.plug("storage", "storage")
    root, place = node.base / "root", node.base / "mnt"
    for unit in ("kubelet", "containerd"):
        node.service("stop", unit)
    node.containerd.close()  # and unmounts what lies below the node
    place.mkdir()
    mount(storage.devnode, str(place))
    subprocess.run(["cp", "-a", str(root), str(place / "moved")], check=True, timeout=60)
    shutil.rmtree(root)
    root.symlink_to(place / "moved")
    assert node.launch_daemon().wait(20) == 1
    said = (node.base / "daemon.log").read_text()
    assert "SymlinkedRoot" in said
    assert f"switch {place}/moved" in said
    root.unlink()
    root.mkdir(0o711)
    node.start_daemon()
    node.until(lambda: node.role()["phase"] == "INTERNAL")
    done = node.ctl("switch", str(place / "moved"), check=False)
    assert done.returncode == 0, done
    for unit in ("containerd", "kubelet"):
        node.service("start", unit)
    node.until(node.pod_runs)
    node.until(lambda: node.role()["imagefs"]["verified"])
    assert links(node) == []
    assert node.role()["active"]["path"] == str(place / "moved")


class Layered:
    """A root on an overlay with its layers apart, in the mount namespace of a worker."""

    def __init__(self, worker: PrivateWorker, base: Path) -> None:
        self.worker = worker
        self.root = base / "n/root"
        self.roots = WorkerRoots(worker.children)
        worker.call("stat_fs", path="/")  # it answers: it has its own mount namespace by now
        for name in ("lower/root", "memory", "n"):
            (base / name).mkdir(parents=True)
        (base / "lower/root/below").write_bytes(b"x" * MIB)
        self.inside(f"mount -t tmpfs -o size=64m tmpfs {base}/memory")
        self.inside(f"mkdir {base}/memory/upper {base}/memory/work")
        layers = f"lowerdir={base}/lower,upperdir={base}/memory/upper,workdir={base}/memory/work"
        self.inside(f"mount -t overlay overlay -o {layers} {base}/n")
        self.inside(f"head -c {MIB} /dev/zero >{self.root}/above")

    def inside(self, text: str) -> None:
        """Run a line of shell in the worker's mount namespace."""
        subprocess.run([*self._enter(), "sh", "-ec", text], check=True, timeout=20)

    @contextlib.contextmanager
    def user(self, text: str) -> Iterator[None]:
        """The line of shell runs there, and has come as far as to wait for its end."""
        process = subprocess.Popen([*self._enter(), "sh", "-ec", text], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()
            process.communicate(timeout=20)

    def ask(self, question: Coroutine[object, object, T]) -> T:
        return self.worker.runner.run(question)

    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--mount=/proc/{self.worker.pid}/ns/mnt", "--")


@pytest.fixture
def layered() -> Iterator[Layered]:
    with tempfile.TemporaryDirectory(prefix="nsd-") as base, private_worker() as worker:
        yield Layered(worker, Path(base))


def test_files_of_both_layers_count_as_used(layered: Layered) -> None:
    used = layered.ask(layered.roots.used_bytes(str(layered.root), deadline_seconds=20))
    assert 2 * MIB <= used < 3 * MIB
    # A file that another one is mounted on is not the root's own.
    layered.inside(f"mount --bind /etc/hostname {layered.root}/above")
    less = layered.ask(layered.roots.used_bytes(str(layered.root), deadline_seconds=20))
    assert MIB <= less < 2 * MIB


@pytest.mark.parametrize("name", ["above", "below"])
def test_who_has_a_hidden_file_open_is_seen_whichever_layer_it_lies_in(
    layered: Layered, name: str
) -> None:
    with layered.user(f"exec 3<{layered.root}/{name}; echo ready; exec sleep 50"):
        layered.inside(f"mount -t tmpfs tmpfs {layered.root}")
        found = layered.ask(layered.roots.hidden(str(layered.root), deadline_seconds=20))
        assert len(found.held_by) == 1
        assert "sleep" in found.held_by[0]
        assert "file" in found.held_by[0]
        with pytest.raises(StepError) as caught:
            layered.ask(layered.roots.reclaim(str(layered.root), deadline_seconds=20))
        assert caught.value.reason == "StillHeld"
    found = layered.ask(layered.roots.hidden(str(layered.root), deadline_seconds=20))
    assert found.held_by == ()
    assert {entry.name for entry in found.entries} == {"above", "below"}
    layered.ask(layered.roots.reclaim(str(layered.root), deadline_seconds=20))
    layered.inside(f"umount {layered.root} && test -z $(ls {layered.root})")


def test_a_database_that_is_locked_on_an_overlay_is_not_washed(layered: Layered) -> None:
    database = layered.root / "io.containerd.metadata.v1.bolt/meta.db"
    layered.inside(f"mkdir {database.parent}; echo x >{database}")
    with layered.user(f"exec 9<>{database}; flock 9; echo ready; exec sleep 50"):
        with pytest.raises(StepError) as caught:
            layered.ask(layered.roots.wash(str(layered.root), Wash.ALL, deadline_seconds=20))
        assert caught.value.reason == "StillHeld"
    layered.inside(f"test -s {database}")


_NODE_ID = """
import sys
from pathlib import Path
from nodestoraged.adapters.sticks import kept_node_id
given, state, *hardware = map(Path, sys.argv[1:])
print(kept_node_id(state, given, hardware))
"""


@pytest.mark.parametrize(
    "changes",
    [
        # systemd where /etc cannot be written: the next boot has another one.
        'mount --bind "$1" "$2"',
        # systemd where /etc is the memory above an image.
        'mount -t tmpfs tmpfs "${2%/*}" && cp "$1" "$2"',
    ],
)
def test_a_machine_id_of_this_boot_only_does_not_name_the_node(
    tmp_path: Path, changes: str
) -> None:
    etc, firmware = tmp_path / "etc", tmp_path / "product_uuid"
    etc.mkdir()
    (etc / "machine-id").touch()
    firmware.write_text("4c4c4544-0042-3510-8058-b4c04f4d3232\n")
    seen = []
    for boot in ("1", "2"):
        given, state = tmp_path / f"id{boot}", tmp_path / f"state{boot}"
        given.write_text(f"0123456789abcdef0123456789abcde{boot}\n")
        state.mkdir()  # a node that boots from the network keeps nothing
        script = f'{changes} && shift && exec "$0" -c "$CODE" "$@"'
        words = ["sh", "-c", script, sys.executable, given, etc / "machine-id", state, firmware]
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", *map(str, words)],
            env={**os.environ, "CODE": _NODE_ID}, cwd=PROJECT,
            check=True, capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        seen.append(done.stdout.strip())
        assert (state / "node-id").read_text().strip() == seen[-1]
    assert seen[0] == seen[1]
    assert len(bytes.fromhex(seen[0])) == 16


def seal_the_system() -> None:
    """Nothing of this machine can be written in this namespace but below /run and /tmp."""
    for top in Path("/").iterdir():
        ours = top.is_symlink() or top.is_mount() or top.name in {"run", "tmp"}
        if top.is_dir() and not ours:
            mount("--bind", str(top), str(top))
            mount("-o", "remount,bind,ro", str(top))


def stick_image(base: Path) -> Path:
    """A stick's image that lies on a plain disk."""
    image = base / "blue.img"
    with image.open("wb") as stream:
        stream.truncate(STICK_BYTES)
    words = ["mkfs.ext4", "-q", "-F", "-L", "containerd-opt", str(image)]
    subprocess.run(words, check=True, timeout=60, stderr=subprocess.DEVNULL)
    return image
