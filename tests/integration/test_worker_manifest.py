"""Rules of inspect, stamp and renew_uuid, on real loop devices in a private namespace."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.sticks import WorkerSticks
from nodestoraged.linux import blockdev
from nodestoraged.linux.xfslog import is_clean
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.manifest import Manifest, Quality
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.fakes.private_worker import PrivateWorker, private_worker

pytestmark = pytest.mark.integration

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-U", UUID, "-L", "containerd-opt"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m", f"uuid={UUID}", "-L", "ctrd-opt"),
}
MANIFEST = Manifest(
    id="d0d0",
    generation=3,
    complete=True,
    node="ab" * 16,
    role="containerd",
    created="2026-01-31T12:00:00.000Z",
    origin="internal",
    quality=Quality(
        checked_at="2026-01-31T12:00:00.000Z", capacity_bytes=1 << 34, fsync_seconds=0.002
    ),
)
DEADLINE = 20.0


@pytest.fixture
def worker() -> Iterator[PrivateWorker]:
    with private_worker() as ours:
        yield ours


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir(mode=0o711)
    return path


def image(path: Path, fstype: str) -> Path:
    return make_image(path, *MAKE[fstype], size_mib=320 if fstype == "xfs" else 32)


def wish(device: LoopDevice, fstype: str, uuid: str = UUID) -> dict[str, object]:
    return {**device.args(), "uuid": uuid, "fstype": fstype}


def value(device: LoopDevice, fstype: str, uuid: str = UUID) -> BlockDevice:
    return BlockDevice(
        devnode=device.devnode,
        number=DeviceNumber(device.major, device.minor),
        diskseq=device.diskseq,
        disk=device.devnode,
        size_bytes=1,
        fstype=fstype,
        uuid=uuid,
    )


def mount(worker: PrivateWorker, device: LoopDevice, fstype: str, target: Path) -> None:
    more = {"target": str(target), "read_only": False, "like": None}
    worker.call("mount", **wish(device, fstype), **more)


def stamped(worker: PrivateWorker, path: Path, device: LoopDevice, manifest: Manifest) -> None:
    number = DeviceNumber(device.major, device.minor)
    sticks = WorkerSticks(worker.children, "ab" * 16)
    worker.runner.run(sticks.stamp(str(path), number, manifest, deadline_seconds=DEADLINE))


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_stamped_manifest_is_read_back_unseen_and_nothing_is_written(
    worker: PrivateWorker, target: Path, tmp_path: Path, fstype: str
) -> None:
    stick = image(tmp_path / "stick", fstype)
    sticks = WorkerSticks(worker.children, "ab" * 16)
    with loop_device(stick) as device:
        mount(worker, device, fstype, target)
        stamped(worker, target, device, MANIFEST)
        there = sticks.inspect_mounted(str(target), deadline_seconds=DEADLINE)
        mounted = worker.runner.run(there)
        mode = Path(worker.path(target / ".nodestoraged")).stat().st_mode & 0o7777
        worker.call("unmount", target=str(target))
    before = digest(stick)
    with loop_device(stick) as device:
        found = worker.runner.run(sticks.inspect(value(device, fstype), deadline_seconds=DEADLINE))
        name = blockdev.kernel_name(device.major, device.minor)
        assert name is not None
        assert blockdev.superblock_alive(name) is None, "the mount outlived the reading"
    assert digest(stick) == before
    assert mode == 0o700
    assert found.failure is None
    assert found.manifest == mounted.manifest == MANIFEST
    assert found.capacity_bytes == mounted.capacity_bytes
    assert 0 < (found.available_bytes or 0) <= (found.capacity_bytes or 0)


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_after_a_power_cut_the_manifest_is_the_one_that_was_stamped_last(
    worker: PrivateWorker, target: Path, tmp_path: Path, fstype: str
) -> None:
    stick, cut = image(tmp_path / "stick", fstype), tmp_path / "cut"
    begun = Manifest(
        id="d0d0", generation=4, complete=False, node="n", role="r", created="t", origin="blue"
    )
    with loop_device(stick) as device:
        mount(worker, device, fstype, target)
        stamped(worker, target, device, MANIFEST)
        worker.call("syncfs", path=str(target))
        stamped(worker, target, device, begun)
        subprocess.run(["cp", "--sparse=always", str(stick), str(cut)], check=True)
        worker.call("unmount", target=str(target))
    sticks = WorkerSticks(worker.children, "ab" * 16)
    for _ in range(2):  # the first reading replays the log; the second has nothing to replay
        with loop_device(cut) as device:
            found = worker.runner.run(
                sticks.inspect(value(device, fstype), deadline_seconds=DEADLINE)
            )
        assert (found.failure, found.manifest) == (None, begun)


def changed(root: Path, times: int) -> None:
    """That many records in the log: each change of the directory has to reach the medium."""
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in range(times):
            if number % 2:
                os.rmdir("entry", dir_fd=top)
            else:
                os.mkdir("entry", dir_fd=top)
            os.fsync(top)
    finally:
        os.close(top)


def test_we_and_xfs_s_own_tool_agree_about_its_log(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    padded = (*MAKE["xfs"], "-l", "su=32k")
    stick, cut = make_image(tmp_path / "stick", *padded, size_mib=320), tmp_path / "cut"

    def judged(path: Path) -> tuple[bool, bool]:
        with loop_device(path) as device:
            told = subprocess.run(
                ["xfs_logprint", "-t", device.devnode], check=True, capture_output=True, text=True
            ).stdout
            fd = blockdev.open_pinned(device.devnode)
            try:
                first = os.pread(fd, 512, 0)
                ours = is_clean(first, lambda length, offset: os.pread(fd, length, offset))
            finally:
                os.close(fd)
        assert ("<CLEAN>" in told) != ("<DIRTY>" in told)
        return ours, "<CLEAN>" in told

    for changes in (2, 500, 2500):  # the last writes round the whole log
        with loop_device(stick) as device:
            mount(worker, device, "xfs", target)
            changed(Path(worker.path(target)), changes)
            subprocess.run(["cp", "--sparse=always", str(stick), str(cut)], check=True)
            worker.call("unmount", target=str(target))
        assert judged(stick) == (True, True)
        assert judged(cut) == (False, False)


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_stick_without_a_manifest_has_none(
    worker: PrivateWorker, tmp_path: Path, fstype: str
) -> None:
    with loop_device(image(tmp_path / "stick", fstype)) as device:
        found = worker.call("inspect", **wish(device, fstype))
    assert found["manifest"] is None
    assert isinstance(found["capacity_bytes"], int)


def test_a_write_protected_stick_can_be_read(worker: PrivateWorker, tmp_path: Path) -> None:
    for fstype in MAKE:
        with loop_device(image(tmp_path / fstype, fstype), read_only=True) as device:
            assert worker.call("inspect", **wish(device, fstype))["manifest"] is None


def test_a_mounted_or_a_wrong_stick_is_not_inspected(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    sticks = WorkerSticks(worker.children, "ab" * 16)
    with loop_device(image(tmp_path / "stick", "ext4")) as device:
        other = value(device, "ext4", "ffffffff-89ab-4cde-8f01-23456789abcd")
        found = worker.runner.run(sticks.inspect(other, deadline_seconds=DEADLINE))
        assert found.failure == "DeviceChanged"
        mount(worker, device, "ext4", target)
        found = worker.runner.run(sticks.inspect(value(device, "ext4"), deadline_seconds=DEADLINE))
        assert found.failure == "MountedElsewhere"


def test_a_clone_can_be_read_while_its_twin_is_mounted(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    first = image(tmp_path / "first", "xfs")
    second = tmp_path / "second"
    subprocess.run(["cp", "--sparse=always", str(first), str(second)], check=True)
    with loop_device(first) as twin, loop_device(second) as device:
        mount(worker, twin, "xfs", target)
        assert worker.call("inspect", **wish(device, "xfs"))["manifest"] is None


def _place(root: Path, how: str) -> None:
    own = root / ".nodestoraged"
    file = own / "manifest.json"
    outside = root / "outside"
    outside.mkdir()
    good = {"schema": 1, **{k: getattr(MANIFEST, k) for k in ("id", "generation", "complete")}}
    good |= {"node": "n", "role": "r", "created": "t", "origin": "empty"}
    (outside / "manifest.json").write_text(json.dumps(good))
    if how == "linked-directory":
        own.symlink_to(outside)
        return
    if how == "file-for-directory":
        own.write_text("x")
        return
    own.mkdir()
    if how == "linked-file":
        file.symlink_to(outside / "manifest.json")
    elif how == "directory-for-file":
        file.mkdir()
    elif how == "pipe":
        os.mkfifo(file)
    elif how == "large":
        file.write_text(json.dumps({**good, "more": "x" * 70_000}))
    elif how == "newer":
        file.write_text(json.dumps({**good, "schema": 2}))
    elif how == "wrong-type":
        file.write_text(json.dumps({**good, "complete": "yes"}))
    else:
        file.write_text(how)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("linked-directory", "ManifestBroken"),
        ("linked-file", "ManifestBroken"),
        ("file-for-directory", "ManifestBroken"),
        ("directory-for-file", "ManifestBroken"),
        ("pipe", "ManifestBroken"),
        ("large", "ManifestBroken"),
        ("wrong-type", "ManifestBroken"),
        ("newer", "ManifestUnknown"),
        ("", "ManifestBroken"),
        ("[" * 60_000, "ManifestBroken"),
        ("\x00\xff", "ManifestBroken"),
    ],
)
def test_whatever_lies_in_the_manifest_s_place_is_read_safely(
    worker: PrivateWorker, tmp_path: Path, how: str, reason: str
) -> None:
    root = tmp_path / "top"
    root.mkdir()
    _place(root, how)
    with pytest.raises(StepError) as caught:
        worker.call("inspect_path", path=str(root))
    assert caught.value.reason == reason


def test_nothing_is_stamped_on_another_device(worker: PrivateWorker, tmp_path: Path) -> None:
    with loop_device(make_image(tmp_path / "other")) as device, pytest.raises(StepError) as caught:
        stamped(worker, tmp_path, device, MANIFEST)
    assert caught.value.reason == "DeviceChanged"
    assert not (tmp_path / ".nodestoraged").exists()


def test_a_stamp_follows_no_link_and_leaves_one_file(worker: PrivateWorker, tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "top"
    outside.mkdir()
    root.mkdir()
    number = root.stat().st_dev
    numbers = {"major": os.major(number), "minor": os.minor(number)}
    manifest = {"id": "i", "generation": 1, "complete": True, "node": "n", "role": "r"}
    wished = {**manifest, "created": "t", "origin": "empty"}
    (root / ".nodestoraged").symlink_to(outside)
    with pytest.raises(StepError) as caught:
        worker.call("stamp", path=str(root), manifest=wished, **numbers)
    assert caught.value.reason == "ManifestBroken"
    assert list(outside.iterdir()) == []
    (root / ".nodestoraged").unlink()
    (root / ".nodestoraged").mkdir(mode=0o755)
    (root / ".nodestoraged/manifest.json").symlink_to(outside / "target")
    (root / ".nodestoraged/.manifest.json.new").write_text("left by a child that was killed")
    worker.call("stamp", path=str(root), manifest=wished, **numbers)
    assert [path.name for path in (root / ".nodestoraged").iterdir()] == ["manifest.json"]
    assert list(outside.iterdir()) == []
    assert worker.call("inspect_path", path=str(root))["manifest"] == {
        **wished,
        "activated": None,
        "quality": None,
    }
    with pytest.raises(StepError) as caught:
        worker.call("stamp", path=str(root), manifest={**wished, "generation": -1}, **numbers)
    assert caught.value.reason == "BadArguments"


@pytest.mark.parametrize("dirty", [False, True])
@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_clone_gets_a_uuid_of_its_own(
    worker: PrivateWorker, target: Path, tmp_path: Path, fstype: str, dirty: bool
) -> None:
    stick, cut = image(tmp_path / "stick", fstype), tmp_path / "cut"
    with loop_device(stick) as device:
        mount(worker, device, fstype, target)
        stamped(worker, target, device, MANIFEST)
        if dirty:
            subprocess.run(["cp", "--sparse=always", str(stick), str(cut)], check=True)
        worker.call("unmount", target=str(target))
    with loop_device(cut if dirty else stick) as device:
        sticks = WorkerSticks(worker.children, "ab" * 16)
        clone = value(device, fstype)
        new = worker.runner.run(sticks.renew_uuid(clone, deadline_seconds=60))
        assert new != UUID
        superblock = worker.call("identify", **device.args())["superblock"]
        assert isinstance(superblock, dict)
        assert superblock["uuid"] == new
        found = worker.call("inspect", **wish(device, fstype, new))["manifest"]
        assert isinstance(found, dict)
        assert found["id"] == MANIFEST.id
    if fstype == "ext4":
        check = ["e2fsck", "-fn", str(cut if dirty else stick)]
        assert subprocess.run(check, check=False, capture_output=True).returncode == 0
