"""Rules for podman's monitors: found by their bundle, killed with all below them, forgotten."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodestoraged.linux import process
from nodestoraged.worker.failure import OperationFailed
from nodestoraged.worker.operations_conmon import conmons, forget_podman, kill_conmons

StartConmon = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start_conmon(tmp_path: Path) -> Iterator[StartConmon]:
    """Start what looks like a monitor: its container ends, and it starts a cleanup that hangs."""
    shell = tmp_path / "conmon"
    shutil.copy("/bin/dash", shell)
    started: list[subprocess.Popen[bytes]] = []

    def start(root: Path, container_id: str) -> subprocess.Popen[bytes]:
        marker = tmp_path / f"cleanup-{container_id}"
        script = f"sleep 60 & wait; touch {marker}; sleep 60"
        bundle = f"{root}/overlay-containers/{container_id}/userdata"
        argv = [str(shell), "-c", script, "-c", container_id, "-b", bundle, "-n", "name"]
        one = subprocess.Popen(argv, start_new_session=True)
        started.append(one)
        _until(lambda: [below.comm for below in _below(one)] == ["sleep"])
        return one

    yield start
    for one in started:
        for below in _below(one):
            process.kill(below)
        one.kill()
        one.wait(5)


def _below(one: subprocess.Popen[bytes]) -> tuple[process.Process, ...]:
    return process.descendants(process.table(), [one.pid])


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_monitor_is_found_by_its_bundle_below_the_root(
    start_conmon: StartConmon, tmp_path: Path
) -> None:
    ours = start_conmon(tmp_path / "root", "aaa")
    start_conmon(tmp_path / "root-of-another", "bbb")
    found = conmons({"root": str(tmp_path / "root")})
    assert found == {"conmons": [{"pid": ours.pid, "id": "aaa"}]}


def test_a_monitor_is_killed_with_its_container_and_starts_no_cleanup(
    start_conmon: StartConmon, tmp_path: Path
) -> None:
    ours, other = start_conmon(tmp_path / "root", "aaa"), start_conmon(tmp_path / "other", "bbb")
    below = _below(ours)
    found = kill_conmons({"root": str(tmp_path / "root"), "grace_seconds": 5})
    assert found == {"conmons": 1, "killed": 2, "left": []}
    assert not any(process.alive(one) for one in below)
    ours.wait(5)
    assert not (tmp_path / "cleanup-aaa").exists()
    assert other.poll() is None


def test_without_monitors_there_is_nothing_to_kill(tmp_path: Path) -> None:
    assert kill_conmons({"root": str(tmp_path)}) == {"conmons": 0, "killed": 0, "left": []}


@pytest.fixture
def remembered(tmp_path: Path) -> dict[str, object]:
    """What a container of this boot leaves in /run, below tmp_path."""
    state, libpod, crun = tmp_path / "state", tmp_path / "libpod", tmp_path / "crun"
    (state / "overlay-containers" / "aaa" / "userdata").mkdir(parents=True)
    (state / "overlay-layers").mkdir()
    (state / "overlay-layers" / "mountpoints.json").write_text("[]")
    (libpod / "exits").mkdir(parents=True)
    (libpod / "alive").write_text("boot")
    for name in ("aaa", "of-somebody-else"):
        (crun / name).mkdir(parents=True)
        (crun / name / "status").write_text("{}")
    (tmp_path / "libpod_lock").write_text("locks")
    return {
        "root": str(tmp_path / "root"),
        "state": str(state),
        "libpod": str(libpod),
        "locks": str(tmp_path / "libpod_lock"),
        "oci_states": [str(crun), str(tmp_path / "runc")],
    }


def test_what_podman_remembers_of_this_boot_is_forgotten_and_nothing_of_others(
    remembered: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "state" / "link").symlink_to(tmp_path / "crun")
    assert forget_podman(remembered)["removed"]
    assert [path.name for path in (tmp_path / "crun").iterdir()] == ["of-somebody-else"]
    assert list((tmp_path / "state").iterdir()) == []
    assert list((tmp_path / "libpod").iterdir()) == []
    assert not (tmp_path / "libpod_lock").exists()
    assert forget_podman(remembered) == {"removed": 0}


def test_a_container_that_runs_is_not_forgotten(
    remembered: dict[str, object], start_conmon: StartConmon, tmp_path: Path
) -> None:
    start_conmon(tmp_path / "root", "aaa")
    with pytest.raises(OperationFailed) as caught:
        forget_podman(remembered)
    assert caught.value.reason == "Busy"
    assert (tmp_path / "libpod" / "alive").exists()


def test_on_a_node_where_podman_never_ran_there_is_nothing_to_forget(tmp_path: Path) -> None:
    nowhere = {name: str(tmp_path / name) for name in ("root", "state", "libpod", "locks")}
    assert forget_podman({**nowhere, "oci_states": [str(tmp_path)]}) == {"removed": 0}
    assert list(tmp_path.iterdir()) == []
