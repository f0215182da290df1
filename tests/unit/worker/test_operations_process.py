"""Rules for shims: found by name and socket, killed with everything below, nobody else."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodestoraged.linux import process
from nodestoraged.worker.failure import OperationFailed
from nodestoraged.worker.operations_process import kill_shims, shims
from nodestoraged.worker.operations_runtime import process_start, runtime_view

StartShim = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start_shim(tmp_path: Path) -> Iterator[StartShim]:
    """Start what looks like a shim with a container below it that has a child of its own."""
    shell = tmp_path / "containerd-shim-runc-v2"
    shutil.copy("/bin/dash", shell)
    started: list[subprocess.Popen[bytes]] = []

    def start(
        socket: str, *, namespace: str = "k8s.io", name: str = "abc"
    ) -> subprocess.Popen[bytes]:
        script = "sh -c 'trap : TERM; sleep 60 & wait; wait' & wait"
        options = ["-namespace", namespace, "-id", name, "-address", socket]
        one = subprocess.Popen([str(shell), "-c", script, *options], start_new_session=True)
        started.append(one)
        _until(lambda: len(process.descendants(process.table(), [one.pid])) == 2)
        return one

    yield start
    for one in started:
        for below in process.descendants(process.table(), [one.pid]):
            process.kill(below)
        one.kill()
        one.wait(5)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_shims_are_found_by_socket_and_namespace(start_shim: StartShim, tmp_path: Path) -> None:
    socket = str(tmp_path / "containerd.sock")
    ours = start_shim(socket, name="one")
    docker = start_shim(socket, namespace="moby", name="two")
    start_shim(str(tmp_path / "other.sock"))
    everything = shims({"socket": socket, "namespace": None})["shims"]
    assert everything == [
        {"pid": ours.pid, "namespace": "k8s.io", "id": "one"},
        {"pid": docker.pid, "namespace": "moby", "id": "two"},
    ]
    assert shims({"socket": socket, "namespace": "k8s.io"})["shims"] == everything[:1]


def test_a_socket_is_the_same_through_a_link(start_shim: StartShim, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var-run").symlink_to("run")
    start_shim(str(tmp_path / "var-run" / "containerd.sock"))
    found = shims({"socket": str(tmp_path / "run" / "containerd.sock")})["shims"]
    assert isinstance(found, list)
    assert len(found) == 1


def test_the_whole_tree_of_a_shim_is_killed_and_no_other(
    start_shim: StartShim, tmp_path: Path
) -> None:
    socket = str(tmp_path / "containerd.sock")
    ours, docker = start_shim(socket), start_shim(socket, namespace="moby")
    below = process.descendants(process.table(), [ours.pid])
    found = kill_shims({"socket": socket, "namespace": "k8s.io", "grace_seconds": 5})
    # The shim's shell ends by itself, once what it waits for is gone.
    assert found in ({"shims": 1, "killed": n, "left": []} for n in (2, 3))
    assert not any(process.alive(one) for one in below)
    ours.wait(5)
    assert docker.poll() is None
    assert len(process.descendants(process.table(), [docker.pid])) == 2


def test_without_shims_there_is_nothing_to_kill(tmp_path: Path) -> None:
    found = kill_shims({"socket": str(tmp_path / "none.sock")})
    assert found == {"shims": 0, "killed": 0, "left": []}


def test_the_runtime_s_view_names_its_lock_its_mount_and_its_start(tmp_path: Path) -> None:
    database = tmp_path / "io.containerd.metadata.v1.bolt" / "meta.db"
    database.parent.mkdir()
    with database.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        view = runtime_view({"pid": os.getpid(), "path": str(tmp_path)})
    device = database.stat()
    assert view["database"] == {
        "major": os.major(device.st_dev),
        "minor": os.minor(device.st_dev),
        "inode": device.st_ino,
    }
    assert view["database"] in view["locks"]  # type: ignore[operator]
    ids = view["root_mount_ids"]
    assert isinstance(ids, dict)
    assert ids["runtime"] == ids["ours"]
    mount = view["mount"]
    assert isinstance(mount, dict)
    assert str(tmp_path).startswith(mount["target"])
    assert view["start_seconds"] == process.start_seconds(os.getpid())


def test_the_view_of_a_process_that_is_gone_is_an_error() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    with pytest.raises(OperationFailed) as caught:
        runtime_view({"pid": child.pid, "path": "/"})
    assert caught.value.reason == "ProcessGone"
    assert process_start({"pid": child.pid}) == {"start_seconds": None}
