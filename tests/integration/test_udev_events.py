"""Rules for real uevents: what comes, goes, is renamed, and what a storm of it costs.

The kernel tells every udevd of the machine of every device, those of other tests too: each test
judges its own device, and counts nothing else.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from nodestoraged.adapters import udev as module
from nodestoraged.adapters.mounts import MountWatch
from nodestoraged.adapters.udev import UdevDevices
from nodestoraged.model.device import BlockDevice, DeviceNumber
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.fakes.node_bench import with_udev, zram

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
#: Of the events made here; the kernel has long passed it.
SEQNUM = "1"


class Watched:
    """The adapter with its descriptor, drained as the event loop would."""

    def __init__(self) -> None:
        self.woken = 0
        self.devices = UdevDevices(self._wake)
        self.fd = self.devices.start()

    def _wake(self) -> None:
        self.woken += 1

    def found(self, devnode: str) -> BlockDevice | None:
        return next((d for d in self.devices.devices() if d.devnode == devnode), None)

    def until(self, true: Callable[[], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not true():
            readable, _, _ = select.select([self.fd], [], [], 0.1)
            if readable:
                self.devices.drain()
            assert time.monotonic() < end

    def quiet(self) -> bool:
        """True while nothing waits to be drained, neither an event nor an error."""
        return select.select([self.fd], [], [], 0)[0] == []


def label_is(watched: Watched, devnode: str, label: str) -> Callable[[], bool]:
    return lambda: (found := watched.found(devnode)) is not None and found.label == label


@with_udev
def test_a_disk_that_comes_and_goes_is_counted_both_times(base: Path) -> None:
    watched = Watched()
    before = watched.devices.insertions()[0]
    with zram(base) as disk:
        subprocess.run(
            ["mkfs.ext4", "-q", "-L", "containerd-opt", "-U", UUID, str(disk)], check=True
        )
        number = disk.stat().st_rdev
        # udev does not watch zram devices: it learns of what was written when it is asked.
        watched.devices.ask_again(DeviceNumber(os.major(number), os.minor(number)))
        watched.until(label_is(watched, str(disk), "containerd-opt"))
        found = watched.found(str(disk))
        assert found is not None
        assert (found.fstype, found.uuid, found.size_bytes) == ("ext4", UUID, 32 << 20)
        assert found.diskseq is not None
        assert found.inserted > before
        assert watched.devices.alive(found.incarnation)
        assert watched.devices.exists(found.number)
        removed = watched.devices.last_removal()
    watched.until(lambda: watched.devices.last_removal() > removed)
    assert watched.found(str(disk)) is None
    assert not watched.devices.alive(found.incarnation)
    assert not watched.devices.exists(found.number)
    watched.devices.ask_again(found.number)  # nobody is there to be asked: no error


@with_udev
def test_a_loop_device_tells_by_change_alone_and_a_label_is_seen_in_place(base: Path) -> None:
    watched = Watched()
    image = make_image(base / "stick", "mkfs.ext4", "-q", "-F", "-L", "other", "-U", UUID)
    with loop_device(image) as loop:
        watched.until(label_is(watched, loop.devnode, "other"))
        first = watched.found(loop.devnode)
        assert first is not None
        assert first.diskseq == loop.diskseq
        subprocess.run(["e2label", loop.devnode, "containerd-opt"], check=True)
        watched.until(label_is(watched, loop.devnode, "containerd-opt"))
        renamed = watched.found(loop.devnode)
        assert renamed is not None
        assert renamed.inserted == first.inserted, "it is the same insertion"
        devnode = loop.devnode
    watched.until(lambda: watched.found(devnode) is None)
    with loop_device(image) as loop:
        watched.until(label_is(watched, loop.devnode, "containerd-opt"))
        again = watched.found(loop.devnode)
        assert again is not None
        assert again.incarnation != first.incarnation
        assert again.inserted > first.inserted
        assert not watched.devices.alive(first.incarnation)


@with_udev
def test_hostile_labels_are_decoded_to_what_is_on_the_stick(base: Path) -> None:
    watched = Watched()
    labels = ("\x1b[2J", "../../etc", "a b", "back\\x41", "é", "containerd-opt  ")
    loops = []
    for number, label in enumerate(labels):
        image = make_image(base / f"s{number}", "mkfs.ext4", "-q", "-F", "-L", label, size_mib=4)
        loops.append(LoopDevice(image))
    raw = make_image(base / "raw", "mkfs.ext4", "-q", "-F", "-L", "XXXX", size_mib=4)
    content = raw.read_bytes().replace(b"XXXX\0", b"\xff\xfe\x80X\0")
    raw.write_bytes(content)
    subprocess.run(["tune2fs", "-O", "^metadata_csum", str(raw)], check=False, capture_output=True)
    for loop, label in zip(loops, labels, strict=True):
        watched.until(label_is(watched, loop.devnode, label.rstrip(" ")))
        loop.close()
    with loop_device(raw) as loop:
        time.sleep(0.5)
        watched.devices.rescan()
        found = watched.found(loop.devnode)
        assert found is None or found.label is not None


@with_udev
def test_a_lost_event_is_made_good_by_a_rescan_and_the_next_ones_are_heard(base: Path) -> None:
    module.RECEIVE_BUFFER_BYTES = 2048
    watched = Watched()
    image = make_image(base / "stick", "mkfs.ext4", "-q", "-F", "-L", "containerd-opt")
    with loop_device(image) as loop:
        uevent = Path("/sys/class/block") / Path(loop.devnode).name / "uevent"
        for _ in range(200):
            uevent.write_text("change")
        watched.until(label_is(watched, loop.devnode, "containerd-opt"))
        found = watched.found(loop.devnode)
        assert found is not None
        assert found.inserted > 0
        # udevd keeps this file (ours: /run/udev is our own) while it has events in hand.
        watched.until(lambda: not Path("/run/udev/queue").exists(), 30)
        watched.until(watched.quiet)  # an error left over would never let it be
        subprocess.run(["e2label", loop.devnode, "other"], check=True)
        watched.until(label_is(watched, loop.devnode, "other"))


@with_udev
def test_ten_thousand_events_are_drained_at_once_and_change_nothing(base: Path) -> None:
    watched = Watched()
    image = make_image(base / "stick", "mkfs.ext4", "-q", "-F", "-L", "containerd-opt")
    with loop_device(image) as loop:
        watched.until(label_is(watched, loop.devnode, "containerd-opt"))
        device = watched.found(loop.devnode)
        time.sleep(0.3)
        watched.devices.drain()
        watched.woken = 0
        packets = [event(loop, b"containerd-opt"), event(loop, None)]
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as sender:
            for number in range(10_000):
                sender.sendto(packets[number % 2], (0, 2))
        begun = time.process_time()
        watched.devices.drain()
        spent = time.process_time() - begun
        left = iter(lambda: watched.devices._monitor.poll(timeout=0), None)
        assert [one for one in left if one.properties["SEQNUM"] == SEQNUM] == []
        assert watched.woken == 1
        assert watched.found(loop.devnode) == device
        # The goal is 0.5 s (a benchmark's matter); this only catches a change of its order.
        assert spent < 3, spent
        (base / "spent").write_text(f"{spent:.3f}")


def event(loop: LoopDevice, label: bytes | None) -> bytes:
    """A message as udevd sends it (libudev-monitor.c, struct monitor_netlink_header)."""
    name = Path(loop.devnode).name.encode()
    properties = [
        b"ACTION=change", b"DEVPATH=/devices/virtual/block/" + name, b"SUBSYSTEM=block",
        b"SYNTH_UUID=0", b"DEVNAME=/dev/" + name, b"DEVTYPE=disk", b"SEQNUM=" + SEQNUM.encode(),
        b"DISKSEQ=%d" % (loop.diskseq or 0), b"MAJOR=%d" % loop.major, b"MINOR=%d" % loop.minor,
        *([b"ID_FS_LABEL_ENC=" + label, b"ID_FS_TYPE=ext4"] if label else []),
    ]  # fmt: skip
    body = b"\0".join(properties) + b"\0"
    head = struct.pack(
        "=8s5I", b"libudev\0", socket.htonl(0xFEEDCAFE), 40, 40, len(body),
        socket.htonl(murmur2(b"block")),
    )  # fmt: skip
    return head + struct.pack("=3I", socket.htonl(murmur2(b"disk")), 0, 0) + body


def murmur2(data: bytes) -> int:
    """MurmurHash2 with seed 0, by which udev's socket filter knows a subsystem."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    found = len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        found = found * m & mask ^ k
    if data[whole:]:
        found = (found ^ int.from_bytes(data[whole:], "little")) * m & mask
    found = (found ^ found >> 13) * m & mask
    return found ^ found >> 15


@with_udev
def test_a_change_of_the_mount_table_wakes_once(base: Path) -> None:
    woken: list[int] = []
    watch = MountWatch(lambda: woken.append(1))
    target = base / "mnt"
    target.mkdir()
    assert select.select([watch.fileno()], [], [], 0)[0] == []
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(target)], check=True)
    subprocess.run(["umount", str(target)], check=True)
    assert select.select([watch.fileno()], [], [], 5)[0]
    watch.drain()
    assert woken == [1]
    assert select.select([watch.fileno()], [], [], 0)[0] == [], "level-triggered would spin"
    watch.close()
    assert os.path.ismount(target) is False
