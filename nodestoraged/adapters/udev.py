"""Block devices from udev: watch first, enumerate second, believe neither.

Owns: the one monitor, the reading of udev's database, and the counting of insertions.  May
not know: roles, trust, mounts.  Only importer of pyudev.

An event is a hint that carries no data: it wakes the loop, and the devices are read again.
Of its own it only keeps what no later reading could tell: that something was *inserted* or
*removed*, and when.  Never opens a device: one hung neighbour would freeze whoever does.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyudev

from nodestoraged.model.device import BlockDevice, DeviceNumber, Incarnation

#: What systemd itself asks for (systemd PR 29872): a storm of events fits in.
RECEIVE_BUFFER_BYTES = 128 * 1024 * 1024
SECTOR_BYTES = 512
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")

_Key = tuple[str, DeviceNumber, int | None]


class UdevDevices:
    """Every block device with a label or partition name, as udev has it now.

    `wake` is called from the event loop when something may have changed.
    """

    def __init__(self, wake: Callable[[], None], sys: Path = Path("/sys")) -> None:
        self._wake = wake
        self._sys = sys
        self._context = pyudev.Context()
        self._monitor = pyudev.Monitor.from_netlink(self._context, source="udev")
        self._monitor.filter_by("block")
        self._inserted: dict[_Key, int] = {}
        self._count = 0
        self._insertion_at = 0.0
        self._removal_at = 0.0
        self._cache: tuple[BlockDevice, ...] | None = None

    def start(self) -> int:
        """The monitor listens; the file descriptor to watch.  What is there now is `present`."""
        try:
            self._monitor.set_receive_buffer_size(RECEIVE_BUFFER_BYTES)
        except OSError:
            pass  # SO_RCVBUFFORCE needs CAP_NET_ADMIN; a lost event only costs a rescan
        self._monitor.start()
        for device in self._read():
            self._inserted[_key(device)] = 0
        fd: int = self._monitor.fileno()
        return fd

    def drain(self) -> None:
        """Every waiting event is taken; insertions and removals among them are counted.

        An overflow (ENOBUFS) is one rescan: what appeared meanwhile counts as inserted.
        """
        try:
            for event in iter(self._next_event, None):
                self._note(event)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.rescan()
        self._cache = None
        self._wake()

    def rescan(self) -> None:
        """Read everything anew; a device never seen before counts as inserted."""
        self._cache = None
        present = {_key(device) for device in self._read()}
        for key in present - self._inserted.keys():
            self._insert(key)
        for key in self._inserted.keys() - present:
            del self._inserted[key]

    def devices(self) -> tuple[BlockDevice, ...]:
        """Devices with a file system label or GPT partition name, by devnode."""
        if self._cache is None:
            self._cache = tuple(sorted(self._read(), key=lambda d: (len(d.devnode), d.devnode)))
        return self._cache

    def alive(self, incarnation: Incarnation) -> bool:
        """True while sysfs has the number, with the same diskseq where it tells one."""
        directory = self._sys / "dev" / "block" / str(incarnation.number)
        if not directory.exists():
            return False
        found = _diskseq(directory)
        return None in (found, incarnation.diskseq) or found == incarnation.diskseq

    def exists(self, number: DeviceNumber) -> bool:
        """True while sysfs has it; an anonymous number (btrfs, overlay) has no entry and lives."""
        return number.major == 0 or (self._sys / "dev" / "block" / str(number)).exists()

    def insertions(self) -> tuple[int, float]:
        """How many were counted, and the boot-time seconds of the last."""
        return self._count, self._insertion_at

    def last_removal(self) -> float:
        """Boot-time seconds of the last `remove` event; 0 before the first."""
        return self._removal_at

    def close(self) -> None:
        """The monitor's socket goes with its last reference; nothing else is held."""

    def _next_event(self) -> pyudev.Device | None:
        # Not MonitorObserver and not Monitor.__iter__: they raise on POLLERR (pyudev #194).
        return self._monitor.poll(timeout=0)

    def _note(self, event: pyudev.Device) -> None:
        if event.action == "remove":
            self._removal_at = _boottime()
            devnode = event.device_node
            for key in [key for key in self._inserted if key[0] == devnode]:
                del self._inserted[key]
            return
        device = self._device(event)
        if device is not None and _key(device) not in self._inserted:
            self._insert(_key(device))

    def _insert(self, key: _Key) -> None:
        self._count += 1
        self._insertion_at = _boottime()
        self._inserted[key] = self._count

    def _read(self) -> Iterator[BlockDevice]:
        for found in self._context.list_devices(subsystem="block"):
            device = self._device(found)
            if device is not None:
                yield device

    def _device(self, found: pyudev.Device) -> BlockDevice | None:
        """One device with a label or partition name; None for the others and for what just went."""
        properties = found.properties
        label = _decoded(properties.get("ID_FS_LABEL_ENC"))
        partlabel = _decoded(properties.get("ID_PART_ENTRY_NAME"))
        devnode = found.device_node
        if devnode is None or (label is None and partlabel is None):
            return None
        directory = Path(found.sys_path)
        size = _sectors(directory)
        if not size:
            return None  # an empty loop device, or a disk that went while we read
        rdev = found.device_number
        number = DeviceNumber(os.major(rdev), os.minor(rdev))
        partition = found.device_type == "partition"
        whole = directory.parent if partition else directory
        diskseq = properties.get("DISKSEQ")
        device = BlockDevice(
            devnode=devnode,
            number=number,
            diskseq=int(diskseq) if diskseq else _diskseq(directory),
            disk=f"/dev/{whole.name.replace('!', '/')}",
            size_bytes=size * SECTOR_BYTES,
            fstype=properties.get("ID_FS_TYPE") or None,
            uuid=properties.get("ID_FS_UUID") or None,
            label=label,
            partlabel=partlabel,
            partuuid=properties.get("ID_PART_ENTRY_UUID") or None,
            ambivalent="ID_FS_AMBIVALENT" in properties,
            read_only=_text(directory / "ro") == "1" or _text(whole / "ro") == "1",
            holders=_holders(directory),
            model=_model(properties.get("ID_MODEL_ENC"), properties.get("ID_VENDOR_ENC")),
            serial=properties.get("ID_SERIAL_SHORT") or None,
            usb_id=_usb_id(properties.get("ID_USB_VENDOR_ID"), properties.get("ID_USB_MODEL_ID")),
            bus=properties.get("ID_BUS") or None,
            port=_port(properties.get("ID_PATH")),
        )
        return replace(device, inserted=self._inserted.get(_key(device), 0))


def _key(device: BlockDevice) -> _Key:
    return (device.devnode, device.number, device.diskseq)


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _decoded(encoded: str | None) -> str | None:
    r"""A label from its `_ENC` form: udev writes every doubtful byte as \xNN."""
    if not encoded:
        return None
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), encoded.encode())
    return codecs.decode(raw, "utf-8", "backslashreplace").rstrip(" ")


def _model(model: str | None, vendor: str | None) -> str | None:
    words = [word.strip() for word in (_decoded(vendor), _decoded(model)) if word and word.strip()]
    return " ".join(words) or None


def _usb_id(vendor: str | None, model: str | None) -> str | None:
    return f"{vendor}:{model}" if vendor and model else None


def _port(path: str | None) -> str | None:
    """The USB port of an ID_PATH (`…-usb-0:1.2:1.0-scsi-…` gives `1.2`), else the path itself."""
    if path is None:
        return None
    before, mark, after = path.rpartition("-usb-")
    return after.split("-")[0].split(":")[1] if mark and ":" in after else (before or path)


def _sectors(directory: Path) -> int:
    text = _text(directory / "size")
    return int(text) if text else 0


def _diskseq(directory: Path) -> int | None:
    """sysfs has it on the whole disk only."""
    for place in (directory, directory.resolve().parent):
        text = _text(place / "diskseq")
        if text:
            return int(text)
    return None


def _holders(directory: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in (directory / "holders").iterdir()))
    except OSError:
        return ()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
