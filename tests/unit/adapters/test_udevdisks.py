"""Rules for whole disks: what counts as one, and what belongs to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodestoraged.adapters.udev import UdevDevices
from nodestoraged.model.device import DeviceNumber
from tests.unit.adapters.test_udev import FakeDevice, Listing, show


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UdevDevices:
    ours = UdevDevices(lambda: None, sys=tmp_path)
    monkeypatch.setattr(ours, "_context", Listing())
    return ours


def made(
    base: Path, name: str, minor: int, *, sectors: int = 8192, kind: str = "disk", **told: str
) -> FakeDevice:
    directory = base / "devices" / name
    (directory / "holders").mkdir(parents=True)
    (directory / "slaves").mkdir()
    (directory / "size").write_text(f"{sectors}\n")
    (directory / "ro").write_text("0\n")
    device = FakeDevice(directory, **told)
    device.device_node = f"/dev/{directory.name}"
    device.device_type = kind
    device.device_number = 8 << 8 | minor
    return device


def test_a_disk_has_its_partitions_in_the_order_of_the_table(
    devices: UdevDevices, tmp_path: Path
) -> None:
    disk = made(
        tmp_path, "sdb", 16, sectors=1 << 20, ID_PART_TABLE_TYPE="gpt", DISKSEQ="9",
        ID_SERIAL_SHORT="4C53", ID_BUS="usb", ID_USB_VENDOR_ID="0781", ID_USB_MODEL_ID="5583",
        ID_VENDOR_ENC=r"SanDisk\x20", ID_MODEL_ENC="Ultra",
        ID_PATH="pci-0000:00:14.0-usb-0:1.2:1.0-scsi-0:0:0:0",
    )  # fmt: skip
    part = {"kind": "partition"}
    second = made(tmp_path, "sdb/sdb2", 18, **part, ID_PART_ENTRY_NUMBER="2", ID_FS_TYPE="xfs")
    tenth = made(tmp_path, "sdb/sdb10", 26, **part, ID_PART_ENTRY_NUMBER="10")
    first = made(
        tmp_path, "sdb/sdb1", 17, **part, PARTN="1", ID_FS_TYPE="ext4", ID_FS_UUID="3f2a",
        ID_FS_LABEL_ENC=r"my\x20label", ID_PART_ENTRY_NAME="opt",
    )  # fmt: skip
    (Path(disk.sys_path) / "holders/md0").touch()
    (Path(second.sys_path) / "holders/dm-0").touch()
    (Path(disk.sys_path) / "ro").write_text("1\n")
    show(devices, tenth, second, disk, first)
    (found,) = devices.disks()
    assert [each.devnode for each in found.parts] == ["/dev/sdb1", "/dev/sdb2", "/dev/sdb10"]
    assert (found.devnode, found.number, found.diskseq) == ("/dev/sdb", DeviceNumber(8, 16), 9)
    assert (found.size_bytes, found.table, found.fstype) == (512 << 20, "gpt", None)
    assert (found.serial, found.usb_id, found.bus) == ("4C53", "0781:5583", "usb")
    assert (found.model, found.port) == ("SanDisk Ultra", "1.2")
    assert found.holders == ("dm-0", "md0"), "of the disk and of its partitions"
    assert found.read_only
    assert not found.blank
    assert found.parts[0].number == DeviceNumber(8, 17)
    assert (found.parts[0].fstype, found.parts[0].uuid) == ("ext4", "3f2a")
    assert (found.parts[0].label, found.parts[0].partlabel) == ("my label", "opt")
    assert found.parts[0].size_bytes == 8192 * 512


def test_a_disk_with_nothing_on_it_is_blank(devices: UdevDevices, tmp_path: Path) -> None:
    show(devices, made(tmp_path, "sdb", 16))
    (found,) = devices.disks()
    assert found.blank
    assert (found.diskseq, found.serial, found.parts) == (None, None, ())


def test_a_file_system_may_lie_on_the_disk_itself(devices: UdevDevices, tmp_path: Path) -> None:
    told = {"ID_FS_TYPE": "ext4", "ID_FS_UUID": "3f2a", "ID_FS_LABEL_ENC": r"a\x20b"}
    show(devices, made(tmp_path, "sdb", 16, **told))
    (found,) = devices.disks()
    assert (found.fstype, found.uuid, found.label) == ("ext4", "3f2a", "a b")
    assert not found.blank


def test_what_is_no_disk_of_its_own_is_left_out(devices: UdevDevices, tmp_path: Path) -> None:
    stacked = made(tmp_path, "dm-0", 1)
    (Path(stacked.sys_path) / "slaves/sda").touch()
    empty = made(tmp_path, "sdc", 32, sectors=0)
    loops = [made(tmp_path, "loop0", 2, sectors=0), made(tmp_path, "loop1", 3)]
    gone = made(tmp_path, "sdd", 48)
    (Path(gone.sys_path) / "size").unlink()
    other = [made(tmp_path, "ram0", 4), made(tmp_path, "zram0", 5), made(tmp_path, "sdb", 16)]
    show(devices, stacked, empty, *loops, gone, *other)
    assert [disk.devnode for disk in devices.disks()] == ["/dev/sdb", "/dev/loop1", "/dev/zram0"]


def test_a_disk_that_udev_has_not_looked_at_does_not_pass_for_blank(
    devices: UdevDevices, tmp_path: Path
) -> None:
    disk = made(tmp_path, "sdb", 16)
    disk.is_initialized = False
    show(devices, disk)
    assert devices.disks() == ()


def test_disks_are_read_again_only_after_something_happened(
    devices: UdevDevices, tmp_path: Path
) -> None:
    show(devices, made(tmp_path, "sdb", 16))
    first = devices.disks()
    assert devices.disks() is first
    devices.rescan()
    assert devices.disks() is not first
    assert devices.disks() == first
