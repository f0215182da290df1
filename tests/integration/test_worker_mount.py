"""Rules of mount, unmount, identify and fsck, on real loop devices in a private namespace."""

import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.linux import blockdev, holders, process
from nodestoraged.model.errors import StepError
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.fakes.private_worker import PrivateWorker, private_worker

pytestmark = pytest.mark.integration

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
EXT4 = ("mkfs.ext4", "-q", "-F", "-U", UUID, "-L", "containerd-opt")
XFS = ("mkfs.xfs", "-q", "-f", "-m", f"uuid={UUID}", "-L", "ctrd-opt")


@pytest.fixture
def worker() -> Iterator[PrivateWorker]:
    with private_worker() as ours:
        yield ours


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[LoopDevice]:
    with loop_device(make_image(tmp_path / "stick", *EXT4)) as device:
        yield device


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir(mode=0o711)
    path.chmod(0o711)
    return path


def wish(device: LoopDevice, target: Path, **changed: object) -> dict[str, object]:
    return {
        **device.args(),
        "uuid": UUID,
        "fstype": "ext4",
        "target": str(target),
        **changed,
    }


def refused(worker: PrivateWorker, op: str, **args: object) -> StepError:
    with pytest.raises(StepError) as caught:
        worker.call(op, **args)
    return caught.value


def test_the_stick_is_mounted_with_our_options_and_its_owner_and_mode_are_copied(
    worker: PrivateWorker, stick: LoopDevice, target: Path
) -> None:
    os.chown(target, 12, 34)
    target.chmod(0o711)
    found = worker.call("mount", **wish(stick, target))
    (row,) = worker.mounts_at(target)
    assert row.mount_id == found["mount_id"]
    assert (row.major, row.minor, row.root) == (stick.major, stick.minor, "/")
    assert {"rw", "nosuid", "nodev", "noatime"} <= set(row.options)
    assert "errors=remount-ro" in row.super_options
    assert row.source == stick.devnode
    top = Path(worker.path(target)).stat()
    assert (top.st_uid, top.st_gid, top.st_mode & 0o7777) == (12, 34, 0o711)
    assert top.st_dev == os.makedev(stick.major, stick.minor)
    assert worker.call("unmount", target=str(target), major=stick.major, minor=stick.minor) == {
        "unmounted": True,
        "remaining": 0,
    }
    assert worker.call("unmount", target=str(target))["unmounted"] is False


def test_xfs_is_mounted_without_the_option_that_it_does_not_know(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    with loop_device(make_image(tmp_path / "xfs", *XFS, size_mib=320)) as device:
        worker.call("mount", **wish(device, target, fstype="xfs"))
        (row,) = worker.mounts_at(target)
        assert row.fstype == "xfs"
        assert (
            worker.call("probe_write", path=str(target), **numbers(device))["seconds"] is not None
        )
        found = worker.call("released", devnode=device.devnode, **numbers(device))
        assert found["released"] is False
        worker.call("unmount", target=str(target))
        found = worker.call("released", devnode=device.devnode, **numbers(device))
        assert found == {"released": True, "by": None}


def numbers(device: LoopDevice) -> dict[str, object]:
    return {"major": device.major, "minor": device.minor}


def test_identify_reads_the_stick_itself(worker: PrivateWorker, stick: LoopDevice) -> None:
    found = worker.call("identify", **stick.args())
    superblock = found["superblock"]
    assert isinstance(superblock, dict)
    assert (superblock["fstype"], superblock["uuid"]) == ("ext4", UUID)
    assert superblock["label"] == "containerd-opt"
    assert (found["size_bytes"], found["read_only"]) == (32 << 20, False)
    assert found["signatures"] == ["ext"]


def test_another_device_under_the_same_name_is_never_used(
    worker: PrivateWorker, stick: LoopDevice, target: Path
) -> None:
    assert stick.diskseq is not None
    other = [
        {"diskseq": stick.diskseq + 1},
        {"minor": stick.minor + 1},
        {"uuid": "ffffffff-89ab-4cde-8f01-23456789abcd"},
    ]
    for changed in other:
        assert refused(worker, "mount", **wish(stick, target, **changed)).reason == "DeviceChanged"
    assert refused(worker, "identify", **{**stick.args(), "diskseq": 1}).reason == "DeviceChanged"
    assert worker.mounts_at(target) == ()


def test_a_device_that_is_gone_says_so(worker: PrivateWorker, target: Path) -> None:
    absent = {"devnode": "/dev/no-such-stick", "major": 8, "minor": 1, "diskseq": None}
    assert refused(worker, "identify", **absent).reason == "Gone"
    found = worker.call("released", devnode="/dev/no-such-stick", major=4095, minor=1)
    assert found == {"released": True, "by": None}


def test_a_hundred_swaps_under_one_name_mount_nothing_wrong(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    # Two sticks with one UUID take turns in one loop device while mounts of the first are asked
    # for: each mount must show the first one's mark, or not happen.
    images = [make_image(tmp_path / name, *EXT4, size_mib=8) for name in ("wanted", "other")]
    first = LoopDevice(images[0])
    args, outcomes = wish(first, target), set[str]()
    first.close()
    for turn in range(100):
        with loop_device(images[turn % 2]) as device:
            wanted = {**args, **numbers(device), "devnode": device.devnode}
            if turn % 10 == 0:  # the right one, so that the test sees both outcomes
                wanted["diskseq"] = device.diskseq
            try:
                worker.call("mount", **wanted)
            except StepError as error:
                outcomes.add(error.reason)
            else:
                outcomes.add("mounted")
                assert wanted["diskseq"] == device.diskseq
                worker.call("unmount", target=str(target))
    assert outcomes == {"DeviceChanged", "mounted"}


def test_mounts_are_never_stacked(
    worker: PrivateWorker, stick: LoopDevice, target: Path, tmp_path: Path
) -> None:
    worker.call("mount", **wish(stick, target))
    with loop_device(make_image(tmp_path / "second", *EXT4)) as second:
        assert refused(worker, "mount", **wish(second, target)).reason == "TargetBusy"
    assert len(worker.mounts_at(target)) == 1


def test_a_stick_that_is_mounted_already_is_not_mounted_twice(
    worker: PrivateWorker, stick: LoopDevice, target: Path, tmp_path: Path
) -> None:
    worker.call("mount", **wish(stick, target))
    elsewhere = wish(stick, tmp_path / "elsewhere")
    assert refused(worker, "mount", **elsewhere).reason == "MountedElsewhere"


def test_a_missing_target_is_made_but_no_link_is_followed(
    worker: PrivateWorker, stick: LoopDevice, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert refused(worker, "mount", **wish(stick, link)).reason == "TargetUnusable"
    (tmp_path / "file").write_text("x")
    assert refused(worker, "mount", **wish(stick, tmp_path / "file")).reason == "TargetUnusable"
    assert refused(worker, "mount", **wish(stick, tmp_path / "a" / "b")).reason == "TargetUnusable"
    worker.call("mount", **wish(stick, tmp_path / "new"))
    assert len(worker.mounts_at(tmp_path / "new")) == 1


def test_a_target_below_a_linked_directory_is_found_at_its_true_place(
    worker: PrivateWorker, stick: LoopDevice, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to(tmp_path)
    found = worker.call("mount", **wish(stick, tmp_path / "alias" / "root"))
    assert found["target"] == str(target)
    worker.call("unmount", target=str(tmp_path / "alias" / "root"))
    assert worker.mounts_at(target) == ()


def test_errors_panic_in_the_superblock_does_not_win(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "panic", *EXT4)
    subprocess.run(["/sbin/tune2fs", "-e", "panic", str(image)], check=True, capture_output=True)
    with loop_device(image) as device:
        worker.call("mount", **wish(device, target))
        (row,) = worker.mounts_at(target)
        assert "errors=remount-ro" in row.super_options


def test_superblocks_that_would_bring_their_own_ways_are_refused(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    options = make_image(tmp_path / "options", *EXT4)
    tune = ["/sbin/tune2fs", "-E", "mount_opts=data=journal", str(options)]
    subprocess.run(tune, check=True, capture_output=True)
    journal = make_image(tmp_path / "journal", *EXT4)
    with journal.open("r+b") as stream:
        stream.seek(1024 + 0xE4)
        stream.write(struct.pack("<I", 0x801))
    blank = make_image(tmp_path / "blank")
    both = make_image(tmp_path / "both", *EXT4)
    with both.open("r+b") as stream:
        stream.write(b"XFSB")
    reasons = {}
    for image in (options, journal, blank, both):
        with loop_device(image) as device:
            reasons[image.name] = refused(worker, "mount", **wish(device, target)).reason
    assert reasons == {
        "options": "WrongFilesystem",
        "journal": "WrongFilesystem",
        "blank": "WrongFilesystem",
        "both": "Ambivalent",
    }
    assert worker.mounts_at(target) == ()


def test_a_write_protected_stick_is_refused_unless_asked_for_read_only(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    with loop_device(make_image(tmp_path / "stick", *EXT4), read_only=True) as device:
        assert worker.call("identify", **device.args())["read_only"] is True
        assert refused(worker, "mount", **wish(device, target)).reason == "ReadOnly"
        worker.call("mount", **wish(device, target, read_only=True))
        (row,) = worker.mounts_at(target)
        assert row.read_only
        assert refused(worker, "probe_write", path=str(target)).reason == "ReadOnly"


def test_the_kernel_s_own_words_reach_the_message(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    image = make_image(
        tmp_path / "future", "mkfs.ext4", "-q", "-F", "-U", UUID, "-O", "^metadata_csum"
    )
    with image.open("r+b") as stream:
        stream.seek(1024 + 0x60)
        word = struct.unpack("<I", stream.read(4))[0]
        stream.seek(1024 + 0x60)
        stream.write(struct.pack("<I", word | 0x40000000))
    with loop_device(image) as device:
        error = refused(worker, "mount", **wish(device, target))
    assert (error.reason, error.errno) == ("MountFailed", 22)
    assert device.devnode in error.message


def test_unmount_takes_away_only_the_device_that_was_named(
    worker: PrivateWorker, stick: LoopDevice, target: Path
) -> None:
    worker.call("mount", **wish(stick, target))
    other = {"major": stick.major, "minor": stick.minor + 1}
    assert refused(worker, "unmount", target=str(target), **other).reason == "NotOurs"
    assert len(worker.mounts_at(target)) == 1


def test_a_busy_mount_names_its_holder_and_goes_lazily(
    worker: PrivateWorker, stick: LoopDevice, target: Path
) -> None:
    worker.call("mount", **wish(stick, target))
    holder = in_namespace(worker, f"cd {target} && echo in && exec sleep 60")
    try:
        # The line was written by the shell that becomes `sleep` a moment later.
        comm = Path(f"/proc/{holder.pid}/comm")
        deadline = time.monotonic() + 10
        while comm.read_text() != "sleep\n" and time.monotonic() < deadline:
            time.sleep(0.01)
        error = refused(worker, "unmount", target=str(target))
        assert (error.reason, error.errno) == ("Busy", 16)
        assert f"sleep ({holder.pid}, cwd)" in error.message
        found = worker.call("unmount", target=str(target), lazy=True)
        assert found == {"unmounted": True, "remaining": 0}
        # Hidden is not released: the superblock lives as long as its user.
        found = worker.call("released", devnode=stick.devnode, **numbers(stick))
        name = blockdev.kernel_name(stick.major, stick.minor)
        assert found == {"released": False, "by": f"/proc/fs/ext4/{name}"}
        killed = worker.call("kill_users", **numbers(stick), root=str(target))
        # The udevd of a neighbour opens each new disk for a moment.
        ours = [one for one in killed["killed"] if "udev" not in one["comm"]]
        assert ours == [{"pid": holder.pid, "comm": "sleep", "state": "S"}]
        assert holder.wait(5) == -9
        found = worker.call("released", devnode=stick.devnode, **numbers(stick))
        assert found == {"released": True, "by": None}
    finally:
        holder.kill()
        holder.wait()


def in_namespace(worker: PrivateWorker, script: str) -> subprocess.Popen[str]:
    """Run `script` where the worker's mounts are; returns after its first line of output."""
    enter = ["nsenter", "-t", str(worker.pid), "-m", "sh", "-c", script]
    running = subprocess.Popen(enter, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline()
    running.stdout.close()
    return running


def test_everything_below_goes_deepest_first_and_one_busy_mount_stops_no_other(
    worker: PrivateWorker, target: Path
) -> None:
    script = (
        f"cd {target} && mkdir a b && mount -t tmpfs none a && mkdir a/c && "
        "mount -t tmpfs none a/c && mount -t tmpfs none b && echo done && cd b && exec sleep 60"
    )
    holder = in_namespace(worker, f"mount -t tmpfs none {target} && {script}")
    try:
        found = worker.call("unmount_below", path=str(target))
        assert found["unmounted"] == 2
        busy = found["busy"]
        assert isinstance(busy, list)
        assert [one["target"] for one in busy] == [f"{target}/b"]
        assert len(worker.mounts_at(target)) == 1
        found = worker.call("unmount_below", path=str(target), lazy=True)
        assert found == {"unmounted": 1, "busy": []}
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_mount_that_another_one_hides_goes_too(
    worker: PrivateWorker, target: Path, lazy: bool
) -> None:
    """Two commands of podman at a time bind its directory on itself twice."""
    script = (
        f"mount -t tmpfs none {target} && cd {target} && mkdir -p a/c && mount --bind a a && "
        "mount -t tmpfs none a/c && mount --bind a a && mount --bind a a && echo done"
    )
    in_namespace(worker, script).wait()
    found = worker.call("unmount_below", path=str(target), lazy=lazy)
    assert found["busy"] == []
    assert len(worker.mounts_at(target)) == 1
    for below in ("a", "a/c"):
        assert worker.mounts_at(target / below) == ()


def test_kill_users_finds_containers_by_their_overlay_and_spares_the_rest(
    worker: PrivateWorker, stick: LoopDevice, target: Path
) -> None:
    worker.call("mount", **wish(stick, target))
    script = (
        f"mkdir {target}/low {target}/up {target}/work {target}/all && "
        f"mkdir {target}/low/proc && cp /usr/bin/busybox {target}/low/ && "
        f"mount -t overlay overlay -o lowerdir={target}/low,upperdir={target}/up,"
        f"workdir={target}/work {target}/all && cd {target}/all && pivot_root . . && "
        f"./busybox umount -l . && exec ./busybox sh -c 'echo in; exec ./busybox sleep 60'"
    )
    # A service with a private copy of all mounts: it must live.
    copy = 'cd / && exec unshare -m --propagation private sh -c "echo in; exec sleep 60"'
    service = in_namespace(worker, copy)
    container = in_namespace(worker, f'exec unshare -m --propagation private sh -c "{script}"')
    try:
        uses = holders.uses_of_device(stick.major, stick.minor, str(target))
        ways = {use.how for use in uses if use.process.pid == container.pid}
        assert ways - {"mount"} == {"overlay"}
        found = worker.call("kill_users", **numbers(stick), root=str(target))
        killed, copies = found["killed"], found["copies"]
        assert isinstance(killed, list)
        assert isinstance(copies, list)
        assert container.pid in [one["pid"] for one in killed]
        assert service.pid in [one["pid"] for one in copies]
        assert found["left"] == []
        assert service.poll() is None
    finally:
        for one in (service, container):
            one.kill()
            one.wait()


def test_the_worker_s_view_of_a_process_in_another_namespace_is_that_process_s_own(
    worker: PrivateWorker, stick: LoopDevice, target: Path
) -> None:
    worker.call("mount", **wish(stick, target))
    inside = worker.call("runtime_view", pid=worker.pid, path=f"{target}/io.containerd")
    outside = worker.call("runtime_view", pid=os.getpid(), path=f"{target}/io.containerd")
    assert isinstance(inside["mount"], dict)
    assert isinstance(outside["mount"], dict)
    seen = (inside["mount"]["major"], inside["mount"]["minor"])
    assert seen == (stick.major, stick.minor)
    assert outside["mount"]["target"] != str(target)
    ids, foreign = inside["root_mount_ids"], outside["root_mount_ids"]
    assert isinstance(ids, dict)
    assert isinstance(foreign, dict)
    assert ids["runtime"] == ids["ours"] != foreign["runtime"]


def debugfs(image: Path, *requests: str) -> None:
    for request in requests:
        command = ["/sbin/debugfs", "-w", "-R", request, str(image)]
        subprocess.run(command, check=True, capture_output=True)


def test_fsck_tells_clean_from_mended_from_hopeless(worker: PrivateWorker, tmp_path: Path) -> None:
    image = make_image(tmp_path / "stick", *EXT4)
    with loop_device(image) as device:
        clean = worker.call("fsck", **device.args(), fstype="ext4")
    assert (clean["exit_code"], clean["mended"]) == (0, False)
    debugfs(image, "set_inode_field <2> links_count 9", "set_super_value state 2")
    with loop_device(image) as device:
        mended = worker.call("fsck", **device.args(), fstype="ext4")
    assert (mended["exit_code"], mended["mended"]) == (1, True)
    debugfs(image, "clri <2>", "set_super_value state 2")
    with loop_device(image) as device:
        error = refused(worker, "fsck", **device.args(), fstype="ext4")
    assert error.reason == "FsckFailed"
    assert "e2fsck ended with 4" in error.message
    assert "UNEXPECTED INCONSISTENCY" in error.message


def test_fsck_mends_what_a_power_cut_left(
    worker: PrivateWorker, target: Path, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "stick", *EXT4)
    with loop_device(image) as device:
        worker.call("mount", **wish(device, target))
        worker.call("probe_write", path=str(target))
        cut = tmp_path / "cut"
        cut.write_bytes(image.read_bytes())
        worker.call("unmount", target=str(target))
    with loop_device(cut) as device:
        before = worker.call("identify", **device.args())["superblock"]
        assert isinstance(before, dict)
        assert before["needs_recovery"] is True
        found = worker.call("fsck", **device.args(), fstype="ext4")
        assert found["exit_code"] in {0, 1}
        after = worker.call("identify", **device.args())["superblock"]
        assert isinstance(after, dict)
        assert after["needs_recovery"] is False


def test_when_the_worker_ends_nothing_stays_mounted(tmp_path: Path, target: Path) -> None:
    with loop_device(make_image(tmp_path / "stick", *EXT4)) as device:
        with private_worker() as ours:
            ours.call("mount", **wish(device, target))
            warm = process.find(ours.pid)
        assert warm is not None
        assert not process.alive(warm)
        assert blockdev.open_exclusive_error(device.devnode) is None
