"""Rules for our mount table as a value, and for being woken by its changes."""

from __future__ import annotations

import select
from pathlib import Path

import pytest

from nodestoraged.adapters import mounts as module
from nodestoraged.adapters.mounts import MountInfo, MountWatch
from nodestoraged.linux import mountinfo
from nodestoraged.model.device import DeviceNumber

TABLE = rb"""22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 8:17 / /var/lib/containerd rw,nosuid shared:5 - ext4 /dev/sdb1 ro,errors=remount-ro
31 30 0:40 / /var/lib/containerd/a\040b rw - tmpfs tmpfs rw
a line that nobody understands
32 22 8:33 /sub /mnt rw master:2 - xfs /dev/sdc1 rw
"""


def test_the_table_is_the_kernels_with_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.mountinfo, "read", lambda *_: mountinfo.parse(TABLE))
    table = MountInfo().read()
    assert [mount.id for mount in table.mounts] == [22, 30, 31, 32]
    stick = table.at("/var/lib/containerd")
    assert stick is not None
    assert (stick.number, stick.source, stick.read_only) == (DeviceNumber(8, 17), "/dev/sdb1", True)
    assert table.mounts[2].target == "/var/lib/containerd/a b"
    assert table.mounts[3].root == "/sub"


def test_our_own_namespace_is_the_hosts_only_if_root_is_the_same_mount(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, other = mountinfo.parse(TABLE), mountinfo.parse(TABLE.replace(b"22 1 ", b"99 1 "))
    for init, answer in ((ours, True), (other, False), ((), False)):
        monkeypatch.setattr(
            module.mountinfo, "read", lambda pid=None, init=init: init if pid == 1 else ours
        )
        assert MountInfo().in_host_namespace() is answer

    def unreadable(pid: int | None = None) -> tuple[mountinfo.MountRow, ...]:
        if pid == 1:
            raise PermissionError
        return ours

    monkeypatch.setattr(module.mountinfo, "read", unreadable)
    assert not MountInfo().in_host_namespace()


def test_a_watch_wakes_when_it_was_readable_and_closes_both_descriptors() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    woken: list[int] = []
    watch = MountWatch(lambda: woken.append(1))
    select.select([watch.fileno()], [], [], 0)  # this very question uses the signal up
    watch.drain()
    assert woken == [1]
    watch.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
