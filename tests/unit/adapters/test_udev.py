"""Rules for what is read from udev's properties: whatever a stick calls itself, it is only text."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nodestoraged.adapters import udevproperties as properties
from nodestoraged.adapters.udev import UdevDevices
from nodestoraged.model.device import DeviceNumber, Incarnation


class Properties(dict[str, str]):
    """As pyudev's: a value that is not text raises when it is read."""

    def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
        if name in self and self[name] == "not-text":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return super().get(name, default)


class FakeDevice:
    """What a pyudev.Device is, for as much as the adapter looks at it."""

    def __init__(self, sys: Path, action: str = "", **properties: str) -> None:
        self.action = action
        self.sys_path = str(sys)
        self.device_node = f"/dev/{sys.name}"
        self.device_number = os.makedev(8, 17)
        self.device_type = "partition" if sys.name[-1].isdigit() else "disk"
        self.is_initialized = True
        self.properties = Properties(properties)


@pytest.fixture
def sdb1(tmp_path: Path) -> Path:
    whole = tmp_path / "devices/pci/sdb"
    part = whole / "sdb1"
    (part / "holders").mkdir(parents=True)
    (part / "size").write_text("8192\n")
    (part / "ro").write_text("0\n")
    (whole / "ro").write_text("0\n")
    (whole / "diskseq").write_text("7\n")
    (tmp_path / "dev/block").mkdir(parents=True)
    (tmp_path / "dev/block/8:17").symlink_to(part)
    return part


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UdevDevices:
    ours = UdevDevices(lambda: None, sys=tmp_path)
    monkeypatch.setattr(ours, "_context", Listing())
    return ours


class Listing:
    """The context: what `list_devices` finds."""

    def __init__(self) -> None:
        self.found: list[FakeDevice] = []

    def list_devices(self, *, subsystem: str) -> list[FakeDevice]:
        assert subsystem == "block"
        return self.found


def show(devices: UdevDevices, *found: FakeDevice) -> None:
    listing = devices._context
    assert isinstance(listing, Listing)
    listing.found = list(found)
    devices.rescan()


@pytest.mark.parametrize(
    ("encoded", "label"),
    [
        ("containerd-opt", "containerd-opt"),
        (r"a\x20b", "a b"),
        (r"containerd-opt\x20\x20", "containerd-opt"),
        (r"\x1b[2J\x07", "\x1b[2J\x07"),
        (r"..\x2f..\x2fetc", "../../etc"),
        (r"back\x5cx41slash", r"back\x41slash"),
        (r"\xff\xfe", r"\xff\xfe"),
        (r"caf\xc3\xa9", "café"),
        ("café", "café"),
        (r"\x", r"\x"),
        (r"\xZZ", r"\xZZ"),
        (r"\x00", "\0"),
    ],
)
def test_a_label_is_decoded_once_and_never_fails(
    devices: UdevDevices, sdb1: Path, encoded: str, label: str
) -> None:
    show(devices, FakeDevice(sdb1, ID_FS_LABEL_ENC=encoded))
    (device,) = devices.devices()
    assert device.label == label


def test_only_what_has_a_label_or_a_partition_name_is_a_device(
    devices: UdevDevices, sdb1: Path
) -> None:
    show(devices, FakeDevice(sdb1), FakeDevice(sdb1, ID_FS_LABEL_ENC="", ID_FS_UUID="u"))
    assert devices.devices() == ()
    show(devices, FakeDevice(sdb1, ID_PART_ENTRY_NAME=r"containerd\x20opt"))
    (device,) = devices.devices()
    assert (device.label, device.partlabel) == (None, "containerd opt")


def test_a_partition_of_a_usb_stick_with_everything(devices: UdevDevices, sdb1: Path) -> None:
    (sdb1.parent / "ro").write_text("1\n")
    (sdb1 / "holders/dm-0").touch()
    show(
        devices,
        FakeDevice(
            sdb1,
            ID_FS_LABEL_ENC="containerd-opt", ID_FS_TYPE="ext4", ID_FS_UUID="3f2a",
            ID_PART_ENTRY_NAME="opt", ID_PART_ENTRY_UUID="9c1e", DISKSEQ="7",
            ID_VENDOR_ENC=r"SanDisk\x20", ID_MODEL_ENC=r"Ultra\x20\x20\x20", ID_BUS="usb",
            ID_SERIAL_SHORT="4C530001", ID_USB_VENDOR_ID="0781", ID_USB_MODEL_ID="5583",
            ID_PATH="pci-0000:00:14.0-usb-0:1.2:1.0-scsi-0:0:0:0-part1",
            ID_FS_AMBIVALENT="other:ext4 filesystem:btrfs",
        ),
    )  # fmt: skip
    (device,) = devices.devices()
    assert (device.devnode, device.disk) == ("/dev/sdb1", "/dev/sdb")
    assert (device.number, device.diskseq) == (DeviceNumber(8, 17), 7)
    assert device.size_bytes == 4 << 20
    assert (device.fstype, device.uuid, device.partuuid) == ("ext4", "3f2a", "9c1e")
    assert (device.model, device.bus, device.port) == ("SanDisk Ultra", "usb", "1.2")
    assert device.hardware == "0781:5583:4C530001"
    assert device.ambivalent
    assert device.read_only, "the whole disk's switch counts for its partitions"
    assert device.holders == ("dm-0",)
    assert device.inserted == 1


@pytest.mark.parametrize(
    ("path", "port"),
    [
        ("pci-0000:00:14.0-usb-0:2:1.0-scsi-0:0:0:0", "2"),
        ("platform-xhci-hcd.0-usb-0:1.4.3:1.0-scsi-0:0:0:0-part1", "1.4.3"),
        ("pci-0000:00:1f.2-ata-2", "pci-0000:00:1f.2-ata-2"),
        ("x-usb-foo-1:2", "x-usb-foo-1:2"),
        ("-usb-", "-usb-"),
        (None, None),
    ],
)
def test_the_port_of_a_path(path: str | None, port: str | None) -> None:
    assert properties.port(path) == port


def test_a_property_that_is_no_text_is_absent(devices: UdevDevices, sdb1: Path) -> None:
    show(devices, FakeDevice(sdb1, ID_FS_LABEL_ENC="containerd-opt", ID_SERIAL_SHORT="not-text"))
    (device,) = devices.devices()
    assert device.serial is None


def test_a_device_that_went_while_it_was_read_is_left_out(
    devices: UdevDevices, sdb1: Path, tmp_path: Path
) -> None:
    show(devices, FakeDevice(tmp_path / "devices/pci/sdz", ID_FS_LABEL_ENC="containerd-opt"))
    assert devices.devices() == ()
    (sdb1 / "size").write_text("0\n")
    show(devices, FakeDevice(sdb1, ID_FS_LABEL_ENC="containerd-opt"))
    assert devices.devices() == ()


def test_an_insertion_is_alive_until_sysfs_has_another_diskseq(
    devices: UdevDevices, sdb1: Path, tmp_path: Path
) -> None:
    def ours(diskseq: int | None) -> Incarnation:
        return Incarnation(devnode="/dev/sdb1", number=DeviceNumber(8, 17), diskseq=diskseq)

    assert devices.alive(ours(7))
    assert devices.alive(ours(None)), "an old kernel tells none"
    assert not devices.alive(ours(6))
    assert devices.exists(DeviceNumber(8, 17))
    assert devices.exists(DeviceNumber(0, 40)), "an anonymous number has no entry"
    (tmp_path / "dev/block/8:17").unlink()
    assert not devices.alive(ours(7))
    assert not devices.exists(DeviceNumber(8, 17))


def test_what_is_present_at_the_start_is_no_insertion_and_what_comes_later_is_counted(
    devices: UdevDevices, sdb1: Path
) -> None:
    one = FakeDevice(sdb1, "add", ID_FS_LABEL_ENC="a", DISKSEQ="7")
    listing = devices._context
    assert isinstance(listing, Listing)
    listing.found = [one]
    devices.start()
    assert devices.insertions() == (0, 0.0)
    assert [d.inserted for d in devices.devices()] == [0]
    devices._note(FakeDevice(sdb1, "change", ID_FS_LABEL_ENC="a", DISKSEQ="7"))
    assert devices.insertions()[0] == 0
    again = FakeDevice(sdb1, "add", ID_FS_LABEL_ENC="a", DISKSEQ="9")
    devices._note(again)
    count, at = devices.insertions()
    assert count == 1
    assert at > 0
    devices._note(FakeDevice(sdb1, "remove"))
    assert devices.last_removal() >= at
    devices.close()


def test_a_device_that_is_seen_before_its_event_is_an_insertion_and_is_counted_once(
    devices: UdevDevices, sdb1: Path
) -> None:
    listing = devices._context
    assert isinstance(listing, Listing)
    listing.found = [FakeDevice(sdb1, ID_FS_LABEL_ENC="a", DISKSEQ="9")]
    assert [d.inserted for d in devices.devices()] == [1]
    devices._note(FakeDevice(sdb1, "add", ID_FS_LABEL_ENC="a", DISKSEQ="9"))
    assert devices.insertions()[0] == 1
    assert [d.inserted for d in devices.devices()] == [1]


class Stormy:
    """A monitor: each item is an event, an error, or None for an empty queue."""

    def __init__(self, *items: object) -> None:
        self.items = list(items)

    def poll(self, *, timeout: int) -> object:
        assert timeout == 0, "the loop must never wait here"
        item = self.items.pop(0) if self.items else None
        if isinstance(item, BaseException):
            raise item
        return item


def test_an_overflow_is_one_rescan_after_what_still_waits(
    devices: UdevDevices, sdb1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The removal is older than what the overflow lost: the device that is there came after it.
    removal = FakeDevice(sdb1, "remove")
    now = FakeDevice(sdb1, ID_FS_LABEL_ENC="a", DISKSEQ="9")
    for error in (OSError(errno.ENOBUFS, "no buffer"), OSError("Error while polling fd: 3")):
        monkeypatch.setattr(devices, "_monitor", Stormy(error, removal, None))
        monkeypatch.setattr(devices, "_inserted", {})
        listing = devices._context
        assert isinstance(listing, Listing)
        listing.found = [now]
        before = devices.insertions()[0]
        devices.drain()
        assert devices.insertions()[0] == before + 1
        assert [d.inserted for d in devices.devices()] == [before + 1]


def test_a_socket_that_only_fails_does_not_hold_the_loop(
    devices: UdevDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    stormy = Stormy(*(OSError("Error while polling fd: 3") for _ in range(10_000)))
    monkeypatch.setattr(devices, "_monitor", stormy)
    devices.drain()
    assert len(stormy.items) > 9_000
