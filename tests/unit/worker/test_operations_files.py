"""Rules of the operations on directories: nothing is followed, nothing foreign is touched."""

import os
from pathlib import Path

import pytest

from nodestoraged.worker.failure import OperationFailed
from nodestoraged.worker.operations_files import clean_state, probe_write, stat_fs, syncfs

TASKS = "io.containerd.runtime.v2.task"
CRI = "io.containerd.grpc.v1.cri"


def fill(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def test_clean_state_empties_bundles_of_k8s_and_records_of_cri_only(tmp_path: Path) -> None:
    gone = [
        tmp_path / TASKS / "k8s.io" / "abc" / "config.json",
        tmp_path / CRI / "sandboxes" / "abc" / "shm" / "f",
        tmp_path / CRI / "containers" / "def" / "io" / "f",
    ]
    kept = [
        tmp_path / TASKS / "moby" / "abc" / "config.json",
        tmp_path / CRI / "other",
        tmp_path / "containerd.sock",
    ]
    fill(*gone, *kept)
    assert clean_state({"state_dir": str(tmp_path)}) == {"removed": 2 + 3 + 3}
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    assert (tmp_path / TASKS / "k8s.io").is_dir()
    assert clean_state({"state_dir": str(tmp_path)}) == {"removed": 0}


def test_clean_state_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious" / "file"
    bundle = tmp_path / "state" / TASKS / "k8s.io" / "abc"
    fill(precious, bundle / "file")
    (bundle / "link").symlink_to(precious.parent)
    (bundle / "rootfs").symlink_to("/")
    clean_state({"state_dir": str(tmp_path / "state")})
    assert precious.exists()
    assert not bundle.exists()


def test_clean_state_enters_no_directory_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious" / "file"
    fill(precious)
    state = tmp_path / "state"
    (state / TASKS).mkdir(parents=True)
    (state / TASKS / "k8s.io").symlink_to(precious.parent)
    with pytest.raises(OSError, match=r"k8s\.io"):
        clean_state({"state_dir": str(state)})
    assert precious.exists()


@pytest.mark.parametrize("namespace", ["..", ".", "../..", "a/b"])
def test_clean_state_takes_no_path_for_a_namespace(tmp_path: Path, namespace: str) -> None:
    with pytest.raises(OperationFailed, match="namespace"):
        clean_state({"state_dir": str(tmp_path), "namespace": namespace})


def test_clean_state_without_a_state_directory_is_done(tmp_path: Path) -> None:
    assert clean_state({"state_dir": str(tmp_path / "absent")}) == {"removed": 0}


def test_probe_write_leaves_nothing_behind_and_takes_time(tmp_path: Path) -> None:
    found = probe_write({"path": str(tmp_path)})["seconds"]
    assert isinstance(found, float)
    assert found > 0
    assert list(tmp_path.iterdir()) == []


def test_probe_write_replaces_what_a_killed_probe_left_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".nodestoraged-probe").symlink_to("precious")
    probe_write({"path": str(tmp_path)})
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious").read_text() == "x"


def test_probe_write_writes_nothing_on_another_device_than_named(tmp_path: Path) -> None:
    before = tmp_path.stat().st_mtime_ns
    with pytest.raises(OperationFailed) as caught:
        probe_write({"path": str(tmp_path), "major": 4095, "minor": 1})
    assert caught.value.reason == "DeviceChanged"
    assert tmp_path.stat().st_mtime_ns == before


def test_stat_fs_counts_as_statvfs_does(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    found, numbers = stat_fs({"path": str(link)}), os.statvfs(tmp_path)
    assert found["path"] == str(tmp_path)
    assert found["capacity_bytes"] == numbers.f_blocks * numbers.f_frsize
    assert found["inodes"] == numbers.f_files
    device = tmp_path.stat().st_dev
    assert (found["st_major"], found["st_minor"]) == (os.major(device), os.minor(device))


def test_syncfs_syncs_one_file_system(tmp_path: Path) -> None:
    assert syncfs({"path": str(tmp_path)})["seconds"] is not None
    with pytest.raises(FileNotFoundError):
        syncfs({"path": str(tmp_path / "absent")})
