"""Each link of the proof: when it holds, and that a broken one names its own cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core.verify import kubelet_proof, verify
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.proof import (
    KubeletProof,
    KubeletReading,
    Link,
    ProofReading,
)
from nodestoraged.model.runtime import Dialect

OURS, OTHER = DeviceNumber(8, 1), DeviceNumber(254, 1)
GOOD = ProofReading(
    at=1.0,
    runtime_pid=7,
    mountpoint="/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs",
    path_number=OURS,
    lock_numbers=(OURS, OURS),
    mount_number=OURS,
    mount_read_only=False,
    root_mount_ids=(21, 21, 21),
    capacity_bytes=16 << 30,
    available_bytes=8 << 30,
    write_seconds=0.002,
    snapshotter="overlayfs",
    namespace_exists=True,
    images=3,
    snapshots=0,
)


def broken(reading: ProofReading, *, own: bool = False) -> dict[str, str]:
    results = verify(reading, OURS, own_namespace=own)
    assert [result.link for result in results] == list(Link)
    return {result.link: result.detail for result in results if not result.holds}


def test_the_whole_chain_holds_and_says_what_was_seen():
    results = verify(GOOD, OURS, own_namespace=False)
    assert all(result.holds for result in results)
    assert [result.detail for result in results] == [
        "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs lies on 8:1",
        "pid 7 locks its databases on 8:1",
        "the runtime sees 8:1, writable",
        "mount id of /: ours 21, PID 1's 21, the runtime's 21",
        "17179869184 bytes, 8589934592 available",
        "created, written and flushed in 2 ms",
        "overlayfs is loaded",
        "k8s.io exists",
        "3 images, 0 snapshots",
    ]


@pytest.mark.parametrize(
    ("facts", "link", "detail"),
    [
        ({"mountpoint": None}, "ImageFsPath", "the runtime names no image file system"),
        ({"path_number": None}, "ImageFsPath", "the runtime names no image file system"),
        ({"path_number": OTHER}, "ImageFsPath", "lies on 254:1, wanted 8:1"),
        ({"lock_numbers": ()}, "DatabaseLock", "the runtime holds no database lock"),
        ({"lock_numbers": (OURS, OTHER)}, "DatabaseLock", "databases on 254:1, 8:1"),
        ({"mount_number": None}, "RuntimeMount", "mount table could not be read"),
        ({"mount_number": OTHER}, "RuntimeMount", "the runtime sees 254:1"),
        ({"mount_read_only": True}, "RuntimeMount", "the runtime sees 8:1 read-only"),
        ({"root_mount_ids": (21, 21, 33)}, "MountNamespace", "the runtime's 33"),
        ({"root_mount_ids": (21, 20, 21)}, "MountNamespace", "PID 1's 20"),
        ({"root_mount_ids": (None, None, None)}, "MountNamespace", "ours None"),
        ({"capacity_bytes": 0}, "Capacity", "0 bytes"),
        ({"capacity_bytes": None, "available_bytes": None}, "Capacity", "0 bytes, 0 available"),
        ({"write_seconds": None}, "WriteProbe", "no write reached the medium"),
        ({"snapshotter": None}, "Snapshotter", "None is loaded"),
        ({"snapshotter_error": "no btrfs"}, "Snapshotter", "overlayfs: no btrfs"),
        ({"namespace_exists": None}, "Namespace", "k8s.io does not exist"),
        ({"images": None}, "Listing", "could not be listed"),
        ({"snapshots": None}, "Listing", "could not be listed"),
        ({"errors": ((Link.CAPACITY, "statvfs: EIO"),)}, "Capacity", "statvfs: EIO"),
    ],
)
def test_a_link_that_breaks_names_its_cause_and_no_other_link(facts, link, detail):
    found = broken(replace(GOOD, **facts))
    assert list(found) == [link]
    assert detail in found[link]


def test_a_private_namespace_is_compared_with_the_runtimes_only():
    reading = replace(GOOD, root_mount_ids=(33, 21, 33))
    assert list(broken(reading)) == ["MountNamespace"]
    assert broken(reading, own=True) == {}


KUBELET = KubeletReading(installed=True, running=True, capacity_bytes=16, started_at=50.0)


@pytest.mark.parametrize(
    ("kubelet", "mounted_at", "claimed"),
    [
        (KUBELET, 60.0, KubeletProof.CAPACITY),
        (replace(KUBELET, capacity_bytes=None), 40.0, KubeletProof.NEWER_THAN_MOUNT),
        (replace(KUBELET, capacity_bytes=15), 40.0, KubeletProof.NEWER_THAN_MOUNT),
        (replace(KUBELET, capacity_bytes=None), 60.0, KubeletProof.NONE),
        (replace(KUBELET, capacity_bytes=None), None, KubeletProof.NONE),
        (replace(KUBELET, capacity_bytes=None, started_at=None), 40.0, KubeletProof.NONE),
        (replace(KUBELET, running=False), 40.0, KubeletProof.NONE),
    ],
)
def test_no_more_is_claimed_of_kubelet_than_was_seen(kubelet, mounted_at, claimed):
    assert kubelet_proof(kubelet, mounted_at, 16) is claimed


@pytest.mark.parametrize(
    ("number", "detail"),
    [(None, "the runtime has no database"), (OTHER, "the database lies on 254:1"), (OURS, None)],
)
def test_where_no_daemon_holds_a_lock_the_place_of_the_database_counts(number, detail):
    reading = replace(GOOD, lock_numbers=(), database_number=number)
    results = verify(reading, OURS, own_namespace=False, dialect=Dialect.PODMAN)
    found = {result.link: result.detail for result in results if not result.holds}
    assert found.get(Link.DATABASE_LOCK) == detail
