"""Judge a reading: every link of the proof holds for the device that was meant, or says why not.

One row per link; each says in words what was seen, so that the link that broke names its
own cause.  A fact that could not be read does not hold.
"""

from __future__ import annotations

from collections.abc import Callable

from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.proof import (
    KubeletProof,
    KubeletReading,
    Link,
    LinkResult,
    ProofReading,
)
from nodestoraged.model.runtime import Dialect

Judgement = tuple[bool, str]
Judge = Callable[[ProofReading, DeviceNumber, bool], Judgement]


def verify(
    reading: ProofReading,
    wanted: DeviceNumber,
    *,
    own_namespace: bool,
    dialect: Dialect = Dialect.CONTAINERD,
) -> tuple[LinkResult, ...]:
    """The nine links in their order, judged for the device `wanted`.

    `own_namespace`: the daemon shares a private mount namespace with the runtime, so PID 1's
    view does not count.  A link that is a fact of containerd alone holds for other dialects,
    and says that it does not apply.
    """
    results: list[LinkResult] = []
    for link, judge in _JUDGES.items():
        if link in _ABSENT[dialect]:
            results.append(LinkResult(link=link, holds=True, detail=_ABSENT[dialect][link]))
            continue
        error = reading.error(link)
        if error is None:
            fitting = _INSTEAD[dialect].get(link, judge)
            holds, detail = fitting(reading, wanted, own_namespace)
        else:
            holds, detail = False, error
        results.append(LinkResult(link=link, holds=holds, detail=detail))
    return tuple(results)


def kubelet_proof(
    kubelet: KubeletReading, mounted_at: float | None, capacity_bytes: int | None
) -> KubeletProof:
    """What may be claimed of kubelet: its own number, or only that it is younger than the mount."""
    if not kubelet.running:
        return KubeletProof.NONE
    if kubelet.capacity_bytes is not None and kubelet.capacity_bytes == capacity_bytes:
        return KubeletProof.CAPACITY
    if (
        kubelet.started_at is not None
        and mounted_at is not None
        and kubelet.started_at >= mounted_at
    ):
        return KubeletProof.NEWER_THAN_MOUNT
    return KubeletProof.NONE


def _image_fs_path(reading: ProofReading, wanted: DeviceNumber, _own: bool) -> Judgement:
    if reading.mountpoint is None or reading.path_number is None:
        return False, "the runtime names no image file system"
    seen = f"{reading.mountpoint} lies on {reading.path_number}"
    if reading.path_number != wanted:
        return False, f"{seen}, wanted {wanted}"
    return True, seen


def _database_lock(reading: ProofReading, wanted: DeviceNumber, _own: bool) -> Judgement:
    if not reading.lock_numbers:
        return False, "the runtime holds no database lock"
    on = sorted({str(number) for number in reading.lock_numbers})
    return (
        all(number == wanted for number in reading.lock_numbers),
        f"pid {reading.runtime_pid} locks its databases on {', '.join(on)}",
    )


def _runtime_mount(reading: ProofReading, wanted: DeviceNumber, _own: bool) -> Judgement:
    if reading.mount_number is None:
        return False, "the runtime's mount table could not be read"
    if reading.mount_read_only:
        return False, f"the runtime sees {reading.mount_number} read-only"
    return reading.mount_number == wanted, f"the runtime sees {reading.mount_number}, writable"


def _mount_namespace(reading: ProofReading, _wanted: DeviceNumber, own: bool) -> Judgement:
    ours, init, runtime = reading.root_mount_ids
    compared = {ours, runtime} if own else {ours, init, runtime}
    same = len(compared) == 1 and None not in compared
    seen = f"mount id of /: ours {ours}, PID 1's {init}, the runtime's {runtime}"
    return same, seen


def _own_namespace(reading: ProofReading, _wanted: DeviceNumber, own: bool) -> Judgement:
    """Each command of a runtime without a daemon runs in the namespace of who starts it."""
    ours, init, _runtime = reading.root_mount_ids
    seen = f"mount id of /: ours {ours}, PID 1's {init}"
    return own or (ours is not None and ours == init), seen


def _database_place(reading: ProofReading, wanted: DeviceNumber, _own: bool) -> Judgement:
    """Nobody holds a lock between two commands: where the database lies has to do."""
    if reading.database_number is None:
        return False, "the runtime has no database"
    return reading.database_number == wanted, f"the database lies on {reading.database_number}"


def _capacity(reading: ProofReading, _wanted: DeviceNumber, _own: bool) -> Judgement:
    capacity = reading.capacity_bytes or 0
    return capacity > 0, f"{capacity} bytes, {reading.available_bytes or 0} available"


def _write_probe(reading: ProofReading, _wanted: DeviceNumber, _own: bool) -> Judgement:
    if reading.write_seconds is None:
        return False, "no write reached the medium"
    return True, f"created, written and flushed in {reading.write_seconds * 1000:.0f} ms"


def _snapshotter(reading: ProofReading, _wanted: DeviceNumber, _own: bool) -> Judgement:
    if reading.snapshotter_error:
        return False, f"{reading.snapshotter}: {reading.snapshotter_error}"
    return reading.snapshotter is not None, f"{reading.snapshotter} is loaded"


def _namespace(reading: ProofReading, _wanted: DeviceNumber, _own: bool) -> Judgement:
    exists = bool(reading.namespace_exists)
    return exists, "k8s.io exists" if exists else "k8s.io does not exist"


def _listing(reading: ProofReading, _wanted: DeviceNumber, _own: bool) -> Judgement:
    if reading.images is None or reading.snapshots is None:
        return False, "images or snapshots could not be listed"
    return True, f"{reading.images} images, {reading.snapshots} snapshots"


_JUDGES: dict[Link, Judge] = {
    Link.IMAGE_FS_PATH: _image_fs_path,
    Link.DATABASE_LOCK: _database_lock,
    Link.RUNTIME_MOUNT: _runtime_mount,
    Link.MOUNT_NAMESPACE: _mount_namespace,
    Link.CAPACITY: _capacity,
    Link.WRITE_PROBE: _write_probe,
    Link.SNAPSHOTTER: _snapshotter,
    Link.NAMESPACE: _namespace,
    Link.LISTING: _listing,
}

#: Of these links a dialect knows nothing.
_ABSENT: dict[Dialect, dict[Link, str]] = {
    Dialect.CONTAINERD: {},
    Dialect.CRI: {
        Link.DATABASE_LOCK: "does not apply: this runtime holds no lock on a database",
        Link.SNAPSHOTTER: "does not apply: there are no snapshotters behind CRI alone",
        Link.NAMESPACE: "does not apply: namespaces are containerd's",
    },
    Dialect.PODMAN: {Link.NAMESPACE: "does not apply: namespaces are containerd's"},
}

#: What is judged in another way where no daemon runs.
_INSTEAD: dict[Dialect, dict[Link, Judge]] = {
    Dialect.CONTAINERD: {},
    Dialect.CRI: {},
    Dialect.PODMAN: {
        Link.DATABASE_LOCK: _database_place,
        Link.MOUNT_NAMESPACE: _own_namespace,
    },
}
