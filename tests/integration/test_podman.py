"""Rules for podman's root on a stick: the real podman and runc, on loop devices, in a namespace.

This machine's rights and cgroups are not those of a node, so podman gets a configuration of its
own: small limits, cgroupfs, runc, and locks in files, so that no other podman's are touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from nodestoraged.adapters.clock import RealClock
from nodestoraged.adapters.runtimes.podman import PodmanRuntime
from nodestoraged.core.verify import verify
from nodestoraged.linux import process
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.proof import Link, ProofReading
from nodestoraged.model.runtime import Dialect, RuntimeProfile
from nodestoraged.worker.operations_conmon import conmons, forget_podman, kill_conmons
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.fakes.oci_archive import APP_REFERENCE, write_default_archives
from tests.fakes.private_worker import PrivateWorker, private_worker

pytestmark = pytest.mark.integration

Answer = TypeVar("Answer")
UUID = "01234567-89ab-4cde-8f01-23456789abcd"
EXT4 = ("mkfs.ext4", "-q", "-F", "-U", UUID, "-L", "podman-opt")
SECONDS = 60.0
CONFIG = """
[containers]
default_ulimits = ["nofile=512:512", "nproc=512:512"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
tmp_dir = "{tmp}"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{root}"
runroot = "{state}"
"""


class Bench:
    """A root, its podman in the worker's mount namespace, and the adapter over both."""

    def __init__(self, worker: PrivateWorker, base: Path) -> None:
        self.worker = worker
        self.root, self.state, self.libpod = base / "root", base / "state", base / "libpod"
        self.root.mkdir()
        (base / "containers.conf").write_text(CONFIG.format(tmp=self.libpod))
        (base / "storage.conf").write_text(STORAGE.format(root=self.root, state=self.state))
        self.profile = RuntimeProfile(
            name="podman", runtime_units=(), kubelet_units=(), root=str(self.root),
            state=str(self.state), socket=str(base / "sock"), dialect=Dialect.PODMAN,
        )  # fmt: skip
        self.runtime = PodmanRuntime(
            worker.children,
            RealClock(),
            base / "archive",
            podman=(
                *("nsenter", "-m", "-t", str(worker.pid), "env"),
                f"CONTAINERS_CONF={base / 'containers.conf'}",
                f"CONTAINERS_STORAGE_CONF={base / 'storage.conf'}",
                *("podman", "--log-level", "error"),
            ),
        )
        self.runtime.configure(RoleConfig(name="podman", floor_images=(APP_REFERENCE,)))
        self.app = str(write_default_archives(base)[1])

    def podman(self, *words: str, code: int = 0) -> str:
        """`podman WORDS`, which ends with `code`."""
        done = self._run(self.runtime.run(words, deadline_seconds=SECONDS))
        assert done.exit_code == code, done.stderr
        return done.stdout.strip()

    def start(self, name: str) -> None:
        """A container of that name was made and runs."""
        self.podman("run", "--detach", "--network", "none", "--name", name, APP_REFERENCE)

    def states(self) -> dict[str, str]:
        """The containers of the root in force: Up, Exited, Created."""
        rows = self.podman("ps", "--all", "--format", "{{.Names}} {{.Status}}").splitlines()
        return {words[0]: words[1] for words in (row.split() for row in rows)}

    def prove(self) -> ProofReading:
        """One proof."""
        return self._run(self.runtime.prove(self.profile, deadline_seconds=SECONDS))

    def broken(self, found: ProofReading, wanted: DeviceNumber) -> list[Link]:
        """The links that do not hold for the device."""
        links = verify(found, wanted, own_namespace=True, dialect=Dialect.PODMAN)
        return [link.link for link in links if not link.holds]

    def stop(self) -> int:
        """As a planned move stops it; everything below the root is unmounted, all is forgotten."""
        stopped = self._run(
            self.runtime.stop_pods(self.profile, grace_seconds=5, deadline_seconds=SECONDS)
        )
        self.clear(lazy=False)
        return stopped

    def clear(self, *, lazy: bool) -> None:
        """What a move does to the root's mounts and podman's memory."""
        for path in (self.state, self.root):
            self.worker.call("unmount_below", path=str(path), lazy=lazy)
        # The lock manager's name is another podman's here: ours has its locks in files.
        self.worker.call(
            "forget_podman", root=str(self.root), state=str(self.state),
            libpod=str(self.libpod), locks=str(self.libpod / "none"),
        )  # fmt: skip

    def mount(self, stick: LoopDevice) -> DeviceNumber:
        """The stick is on the root."""
        arguments: dict[str, object] = {
            **stick.args(),
            "uuid": UUID,
            "fstype": "ext4",
            "target": str(self.root),
            "read_only": False,
            "like": None,
        }
        self._run(self.worker.children.call("mount", arguments, deadline_seconds=20))
        return DeviceNumber(stick.major, stick.minor)

    def _run(self, asked: Coroutine[object, object, Answer]) -> Answer:
        return self.worker.runner.run(asked)


def leave_nothing(bench: Bench) -> None:
    """No container, nothing of one in /run/runc, and no cgroup is left."""
    kill_conmons({"root": str(bench.root)})
    names = {"root": bench.root, "state": bench.state, "libpod": bench.libpod}
    forget_podman({**{name: str(path) for name, path in names.items()}, "locks": "/none"})
    groups = Path("/sys/fs/cgroup")
    for path in (*groups.glob("*/libpod_parent/*"), *groups.glob("*/libpod_parent")):
        with contextlib.suppress(OSError):  # of another podman, or gone
            path.rmdir()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with private_worker() as worker, contextlib.ExitStack() as stack:
        made = Bench(worker, tmp_path)
        stack.callback(leave_nothing, made)
        yield made


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[LoopDevice]:
    with loop_device(make_image(tmp_path / "stick", *EXT4, size_mib=128)) as device:
        yield device


def internal_number(bench: Bench) -> DeviceNumber:
    found = bench.worker.call("stat_fs", path=str(bench.root.parent))
    return DeviceNumber(int(str(found["st_major"])), int(str(found["st_minor"])))


@pytest.mark.timeout(180)
def test_containers_run_on_the_stick_and_again_on_the_internal_directory(
    bench: Bench, stick: LoopDevice
) -> None:
    internal = internal_number(bench)
    assert bench.broken(bench.prove(), internal) == []
    bench.podman("load", "--quiet", "--input", bench.app)
    bench.start("inside")
    found = bench.prove()
    assert (found.pods, found.images, bench.broken(found, internal)) == (1, 1, [])
    assert (
        bench.worker.runner.run(bench.runtime.save_images(bench.profile, deadline_seconds=SECONDS))
        == "1 kept"
    )

    assert bench.stop() == 1
    assert conmons({"root": str(bench.root)}) == {"conmons": []}
    number = bench.mount(stick)
    found = bench.prove()
    assert (found.pods, found.images, bench.broken(found, number)) == (0, 0, [])
    load = bench.runtime.load_images(bench.profile, deadline_seconds=SECONDS)
    assert bench.worker.runner.run(load) is True
    bench.start("outside")
    assert bench.states() == {"outside": "Up"}
    assert set(bench.broken(bench.prove(), internal)) == {
        Link.IMAGE_FS_PATH,
        Link.DATABASE_LOCK,
        Link.RUNTIME_MOUNT,
    }

    assert bench.stop() == 1
    bench.worker.call("unmount", target=str(bench.root), major=None, minor=None, lazy=False)
    assert bench.broken(bench.prove(), internal) == []
    assert bench.states() == {"inside": "Exited"}
    bench.podman("start", "inside")
    assert bench.states() == {"inside": "Up"}


@pytest.mark.timeout(180)
def test_after_a_yank_the_internal_containers_start_and_the_stick_s_own_once_it_is_back(
    bench: Bench, stick: LoopDevice
) -> None:
    bench.podman("load", "--quiet", "--input", bench.app)
    bench.start("inside")
    bench.stop()
    bench.mount(stick)
    bench.podman("load", "--quiet", "--input", bench.app)
    bench.start("outside")
    # Nobody asks podman now: it would wait for the disk.
    monitor = _only_monitor(bench)
    tree = process.descendants(process.table(), [monitor])
    assert tree
    killed = bench.worker.call("kill_conmons", root=str(bench.root))
    assert (killed["conmons"], killed["left"]) == (1, [])
    assert not any(process.alive(one) for one in tree)
    bench.clear(lazy=True)
    bench.worker.call("unmount", target=str(bench.root), major=None, minor=None, lazy=True)
    bench.podman("start", "inside")
    assert bench.states() == {"inside": "Up"}

    bench.stop()
    number = bench.mount(stick)
    assert bench.states() == {"outside": "Created"}
    bench.podman("start", "outside")
    found = bench.prove()
    assert (found.pods, bench.broken(found, number)) == (1, [])


@pytest.mark.timeout(180)
def test_a_container_that_was_started_below_the_mount_breaks_the_proof(
    bench: Bench, stick: LoopDevice
) -> None:
    bench.podman("load", "--quiet", "--input", bench.app)
    bench.start("hasty")
    number = bench.mount(stick)
    found = bench.prove()
    assert bench.broken(found, number) == [Link.RUNTIME_MOUNT]
    assert "runs from another root" in str(found.error(Link.RUNTIME_MOUNT))


def test_podman_below_a_file_is_told_in_its_own_words(bench: Bench) -> None:
    (bench.root / "libpod").write_text("in the way")
    with pytest.raises(StepError) as caught:
        bench.worker.runner.run(bench.runtime.prove(bench.profile, deadline_seconds=5.0))
    assert caught.value.reason == "PodmanFailed"
    assert "libpod" in caught.value.message


def _only_monitor(bench: Bench) -> int:
    rows = conmons({"root": str(bench.root)})["conmons"]
    assert isinstance(rows, list)
    assert len(rows) == 1
    return int(rows[0]["pid"])
