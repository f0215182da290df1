"""The harness keeps its word: without that no scenario proves anything."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.vm.harness.errors import HarnessError
from tests.vm.harness.machine import Machine
from tests.vm.harness.migration import Saved
from tests.vm.harness.pool import MachinePool
from tests.vm.harness.states import POD_RUNS
from tests.vm.harness.stick import Stick, debugfs, sha256
from tests.vm.harness.stickbox import StickBox

SUITES = ("trixie",)

_ROOT = "/var/lib/containerd"


def _properties(machine: Machine, stick: Stick) -> dict[str, str]:
    """Wait for the stick and return what udev says of its file system's device."""
    part = "-part1" if stick.partitioned else ""
    link = f"/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_{stick.serial}-0:0{part}"
    machine.wait_until(f"test -e {link}", timeout=60, interval=0.1)
    lines = machine.ssh(f"udevadm info -q property {link}").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def _capacity(machine: Machine) -> int:
    """Wait until the kubelet stand-in says something of the image file system; return that."""
    fetch = "busybox wget -q -O - http://127.0.0.1:10255/stats/summary"
    summary = json.loads(machine.wait_until(fetch, timeout=30).stdout)
    return int(summary["node"]["runtime"]["imageFs"]["capacityBytes"])


def test_the_booted_node_runs_its_static_pod(machine: Machine) -> None:
    assert machine.ssh(POD_RUNS, check=False).code == 0
    assert machine.ssh("systemctl --failed --no-legend").stdout == ""
    assert machine.ssh("systemctl is-active containerd kubelet").stdout.split() == ["active"] * 2


def test_every_machine_has_a_disk_of_its_own(new_machine: MachinePool, booted: Saved) -> None:
    first = new_machine(booted)
    first.resume()
    first.put_text("mine", "/root/new/file", mode=0o600)
    assert first.ssh("stat -c %a:%s /root/new/file").stdout == "600:4\n"
    first.close()
    second = new_machine(booted)
    second.resume()
    assert second.ssh("test -e /root/new/file", check=False).code == 1


def test_a_plugged_stick_has_the_properties_that_the_daemon_reads(
    machine: Machine, new_stick: StickBox
) -> None:
    blue = new_stick("BLUE01", partlabel="other-name")
    machine.plug(blue, port=3)
    found = _properties(machine, blue)
    assert found["ID_FS_LABEL"] == "containerd-opt"
    assert found["ID_FS_UUID"] == blue.uuid
    assert found["ID_FS_TYPE"] == "ext4"
    assert found["ID_PART_ENTRY_NAME"] == "other-name"
    assert found["ID_SERIAL_SHORT"] == "BLUE01"
    assert found["ID_BUS"] == "usb"
    assert int(found["DISKSEQ"]) > 0
    assert "usb-0:3:" in found["ID_PATH"]


def test_an_xfs_stick_a_whole_disk_and_a_clone_look_like_what_they_are(
    machine: Machine, new_stick: StickBox
) -> None:
    xfs = new_stick("XFS001", fstype="xfs", label="ctrd-opt")
    whole = new_stick("WHOLE1", partitioned=False)
    clone = new_stick.clone(whole, "CLONE1")
    for stick in (xfs, whole, clone):
        machine.plug(stick)
    found = [_properties(machine, stick) for stick in (xfs, whole, clone)]
    assert [row["ID_FS_TYPE"] for row in found] == ["xfs", "ext4", "ext4"]
    assert found[0]["ID_FS_LABEL"] == "ctrd-opt"
    assert found[1]["DEVTYPE"] == "disk"
    assert found[1]["ID_FS_UUID"] == found[2]["ID_FS_UUID"]
    assert found[1]["DISKSEQ"] != found[2]["DISKSEQ"]


def test_a_stick_that_is_only_looked_at_keeps_every_byte(
    machine: Machine, new_stick: StickBox
) -> None:
    stick = new_stick("LOOK01")
    before = sha256(stick)
    machine.plug(stick)
    device = _properties(machine, stick)["DEVNAME"]
    machine.ssh(f"dd if={device} of=/dev/null bs=1M count=8")
    assert machine.writes(stick) == 0
    machine.yank(stick)
    assert sha256(stick) == before


def test_one_write_is_counted_and_changes_the_fingerprint(
    machine: Machine, new_stick: StickBox
) -> None:
    stick = new_stick("WRITE1")
    before = sha256(stick)
    machine.plug(stick)
    device = _properties(machine, stick)["DEVNAME"]
    machine.ssh(f"mount {device} /mnt && echo found >/mnt/file && umount /mnt")
    assert machine.writes(stick) > 0
    machine.yank(stick)
    assert sha256(stick) != before
    assert "found" in debugfs(stick, "cat /file")


def test_a_read_only_stick_refuses_writes(machine: Machine, new_stick: StickBox) -> None:
    stick = new_stick("RO0001")
    machine.plug(stick, read_only=True)
    device = _properties(machine, stick)["DEVNAME"]
    assert machine.ssh(f"blockdev --getro {device}").stdout.strip() == "1"


def test_a_yanked_stick_is_gone_though_it_was_mounted(
    machine: Machine, new_stick: StickBox
) -> None:
    stick = new_stick("YANK01")
    machine.plug(stick)
    device = _properties(machine, stick)["DEVNAME"]
    machine.ssh(f"mount {device} /mnt")
    machine.yank(stick)
    machine.wait_until(f"! test -e {device}", timeout=30, interval=0.1)
    assert machine.ssh("touch /mnt/file && sync -f /mnt/file", check=False).code != 0
    machine.plug(stick)  # the same stick comes back as another device
    assert _properties(machine, stick)["ID_FS_UUID"] == stick.uuid


def test_damage_is_what_fsck_says_it_is(machine: Machine, new_stick: StickBox) -> None:
    fixable = new_stick("FIX001", damage="fixable")
    broken = new_stick("BROKEN", damage="beyond-repair")
    broken_xfs = new_stick("BADXFS", fstype="xfs", label="ctrd-opt", damage="beyond-repair")
    devices = []
    for stick in (fixable, broken, broken_xfs):
        machine.plug(stick)
        found = _properties(machine, stick)
        assert found["ID_FS_LABEL"] == stick.label
        devices.append(found["DEVNAME"])
    # e2fsck(8): 1 = errors corrected, 4 = errors left.
    assert machine.ssh(f"e2fsck -p {devices[0]}", check=False).code == 1
    assert machine.ssh(f"e2fsck -p {devices[1]}", check=False).code == 4
    assert machine.ssh(f"mount {devices[2]} /mnt", check=False).code == 32


def test_udev_says_nothing_of_what_is_on_an_ambivalent_stick(
    machine: Machine, new_stick: StickBox
) -> None:
    stick = new_stick("AMBI01", ambivalent=True)
    machine.plug(stick)
    found = _properties(machine, stick)
    assert not [key for key in found if key.startswith(("ID_FS_", "ID_PART_ENTRY_"))]
    # 8 = ambivalent (blkid(8)); that of util-linux 2.41 ends with 2.
    assert machine.ssh(f"blkid -p {found['DEVNAME']}", check=False).code in (2, 8)


def test_a_hung_stick_answers_nothing_until_it_is_released(
    machine: Machine, new_stick: StickBox
) -> None:
    stick = new_stick("HANG01")
    machine.plug(stick)
    device = _properties(machine, stick)["DEVNAME"]
    machine.hang(stick)
    read = f"dd if={device} of=/dev/null bs=4k count=2 skip=1000 iflag=direct"
    machine.ssh(f"nohup sh -c '{read}; echo done >/run/read' >/dev/null 2>&1 &")
    machine.ssh("sleep 3")
    assert machine.ssh("test -e /run/read", check=False).code == 1
    machine.unhang(stick)
    machine.wait_until("test -e /run/read", timeout=45)


def test_kubelet_reports_the_disk_that_it_saw_when_it_started(
    machine: Machine, new_stick: StickBox
) -> None:
    stick = new_stick("CAPA01", content=machine.image.containerd_root)
    internal = _capacity(machine)
    machine.plug(stick)
    device = _properties(machine, stick)["DEVNAME"]
    machine.ssh("systemctl stop kubelet containerd")
    machine.ssh(f"mount {device} {_ROOT} && systemctl start containerd")
    blocks = machine.ssh(f"stat -f -c '%b %S' {_ROOT}").stdout.split()
    on_stick = int(blocks[0]) * int(blocks[1])
    assert internal != on_stick
    machine.ssh("systemctl start kubelet")
    machine.wait_until(POD_RUNS, timeout=60)
    assert _capacity(machine) == on_stick
    machine.yank(stick)
    machine.ssh("sleep 2")
    assert _capacity(machine) == on_stick  # the blind spot
    assert machine.ssh("systemctl is-active kubelet").stdout == "active\n"


def test_a_kubelet_that_is_older_than_the_mount_reports_the_parents_capacity(
    machine: Machine, new_stick: StickBox
) -> None:
    stick = new_stick("STALE1", size_bytes=5 << 30, content=machine.image.containerd_root)
    internal = _capacity(machine)
    machine.plug(stick)
    device = _properties(machine, stick)["DEVNAME"]
    machine.ssh(
        f"systemctl stop containerd; mount {device} {_ROOT}; systemctl start containerd",
        timeout=90,
    )
    assert _capacity(machine) == internal


def test_a_power_cut_keeps_what_was_synced_and_a_late_stick_comes_during_the_boot(
    new_machine: MachinePool, booted: Saved, new_stick: StickBox
) -> None:
    machine = new_machine(booted, cache="writeback")
    machine.resume()
    stick, late = new_stick("POWER1"), new_stick("LATE01")
    machine.plug(stick, port=2)
    before = _properties(machine, stick)
    machine.ssh("echo synced >/root/file && sync -f /root/file")
    boot = machine.ssh("cat /proc/sys/kernel/random/boot_id").stdout
    machine.power_cut()
    assert not machine.running
    machine.plug_later(late, 12)
    machine.boot()
    assert machine.ssh("cat /root/file").stdout == "synced\n"
    assert machine.ssh("cat /proc/sys/kernel/random/boot_id").stdout != boot
    assert _properties(machine, stick)["ID_PATH"] == before["ID_PATH"]
    assert _properties(machine, late)["ID_SERIAL_SHORT"] == "LATE01"
    machine.wait_until(POD_RUNS, timeout=90)


def test_a_power_cut_of_a_disk_that_ignores_flushes_is_refused(machine: Machine) -> None:
    with pytest.raises(HarnessError, match="writeback"):
        machine.power_cut()


def test_a_saved_machine_goes_on_where_it_was_and_powers_off(
    new_machine: MachinePool, booted: Saved, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("saved") / "state"
    first = new_machine(booted)
    first.resume()
    first.ssh("echo memory >/run/file; echo disk >/root/file")
    saved = first.save(directory)
    second = new_machine(saved)
    second.resume()
    assert second.ssh("cat /run/file /root/file").stdout == "memory\ndisk\n"
    second.shutdown()
    assert not second.running
    assert "Power down" in second.console()


def test_one_machine_lives_at_a_time(
    machine: Machine, new_machine: MachinePool, booted: Saved
) -> None:
    with pytest.raises(HarnessError, match="one at a time"):
        new_machine(booted)


def test_a_machine_dies_with_the_process_that_started_it(booted: Saved) -> None:
    program = (
        "import os, sys\n"
        "from tests.vm.harness.states import ensure_booted\n"
        "from tests.vm.harness.machine import Machine\n"
        f"machine = Machine(ensure_booted({booted.image.recipe!r}))\n"
        "machine.resume()\n"
        "print(machine.pid, machine.directory, flush=True)\n"
        "os.abort()\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False, timeout=120
    )
    pid, _, directory = child.stdout.strip().partition(" ")
    assert child.returncode != 0
    subprocess.run(["timeout", "5", "tail", f"--pid={pid}", "-f", "/dev/null"], check=True)
    subprocess.run(["rm", "-r", directory], check=True)
