"""Block devices from udev: watch first, enumerate second, believe neither.

Owns: the one monitor, the reading of udev's database, and the counting of insertions.  May
not know: roles, trust, mounts.  Only importer of pyudev.

An event is a hint that carries no data: it wakes the loop, and the devices are read again.
Of its own it only keeps what no later reading could tell: that something was *inserted* or
*removed*, and when.  Never opens a device: one hung neighbour would freeze whoever does.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyudev

from nodestoraged.adapters import udevdisks
from nodestoraged.adapters import udevproperties as properties
from nodestoraged.adapters.udevproperties import told
from nodestoraged.model.device import BlockDevice, DeviceNumber, Incarnation
from nodestoraged.model.disk import Disk

#: What systemd itself asks for (systemd PR 29872): a storm of events fits in.
RECEIVE_BUFFER_BYTES = 128 * 1024 * 1024
#: A socket that fails this often in one drain will not get better by being read again.
_ERRORS_MAX = 64

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
        self._disks: tuple[Disk, ...] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> int:
        """The monitor listens; the file descriptor to watch.  What is there now is `present`."""
        with suppress(OSError):  # it needs CAP_NET_ADMIN; a lost event only costs a rescan
            self._monitor.set_receive_buffer_size(RECEIVE_BUFFER_BYTES)
        self._monitor.start()
        for device in self._read():
            self._inserted[_key(device)] = 0
        fd: int = self._monitor.fileno()
        self._socket = socket.socket(fileno=os.dup(fd))
        return fd

    def drain(self) -> None:
        """Every waiting event is taken; insertions and removals among them are counted.

        An overflow (ENOBUFS) is one rescan, after the older events that are still waiting: what
        appeared meanwhile counts as inserted.
        """
        errors = 0
        while errors < _ERRORS_MAX:
            try:
                event = self._monitor.poll(timeout=0)
            except OSError:
                errors += 1
                self._clear_error()
                continue
            if event is None:
                break
            self._note(event)
        if errors:
            self.rescan()
        self._cache = self._disks = None
        self._wake()

    def rescan(self) -> None:
        """Read everything anew; a device never seen before counts as inserted."""
        self._cache = self._disks = None
        present = {_key(device) for device in self._read()}
        for key in present - self._inserted.keys():
            self._insert(key)
        for key in self._inserted.keys() - present:
            del self._inserted[key]

    def devices(self) -> tuple[BlockDevice, ...]:
        """Devices with a file system label or GPT partition name, by devnode.

        One whose event still waits in the socket (udev writes its database first) counts as
        inserted by being seen: it must never pass for one that was present at the start.
        """
        if self._cache is None:
            found = list(self._read())
            for key in (_key(device) for device in found):
                if key not in self._inserted:
                    self._insert(key)
            counted = (replace(d, inserted=self._inserted[_key(d)]) for d in found)
            self._cache = tuple(sorted(counted, key=lambda d: (len(d.devnode), d.devnode)))
        return self._cache

    def disks(self) -> tuple[Disk, ...]:
        """Every whole disk with a medium, with its partitions, by devnode."""
        if self._disks is None:
            self._disks = udevdisks.read(self._context.list_devices(subsystem="block"))
        return self._disks

    def alive(self, incarnation: Incarnation) -> bool:
        """True while sysfs has the number, with the same diskseq where it tells one."""
        directory = self._sys / "dev" / "block" / str(incarnation.number)
        if not directory.exists():
            return False
        found = properties.sysfs_diskseq(directory)
        return None in (found, incarnation.diskseq) or found == incarnation.diskseq

    def exists(self, number: DeviceNumber) -> bool:
        """True while sysfs has it; an anonymous number (btrfs, overlay) has no entry and lives."""
        return number.major == 0 or (self._sys / "dev" / "block" / str(number)).exists()

    def ask_again(self, number: DeviceNumber) -> None:
        """A `change` event is made for it; the device itself is not touched."""
        with suppress(OSError):  # gone, or /sys is read-only: then nobody else can ask either
            (self._sys / "dev" / "block" / str(number) / "uevent").write_text("change")

    def insertions(self) -> tuple[int, float]:
        """How many were counted, and the boot-time seconds of the last."""
        return self._count, self._insertion_at

    def last_removal(self) -> float:
        """Boot-time seconds of the last `remove` event; 0 before the first."""
        return self._removal_at

    def close(self) -> None:
        """Our own descriptor is closed; the monitor's goes with its last reference."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _clear_error(self) -> None:
        """The socket's pending error is taken.

        pyudev polls before it reads, and raises on POLLERR without reading (pyudev #194): the
        overflow would stay, the socket readable for ever, and no event would come any more.
        """
        if self._socket is not None:
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _note(self, event: pyudev.Device) -> None:
        if event.action == "remove":
            self._removal_at = _boottime()
            devnode = event.device_node
            for key in [key for key in self._inserted if key[0] == devnode]:
                del self._inserted[key]
            return
        known = self._known(event)
        device = None if known else self._device(event)
        if device is not None and _key(device) not in self._inserted:
            self._insert(_key(device))

    def _known(self, event: pyudev.Device) -> bool:
        """True if this insertion is counted already: a storm of `change` reads no file."""
        diskseq = told(event, "DISKSEQ")
        devnode = event.device_node
        if diskseq is None or devnode is None:
            return False
        return (devnode, properties.number(event), int(diskseq)) in self._inserted

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
        label, partlabel = properties.label(found), properties.partlabel(found)
        devnode = found.device_node
        if devnode is None or (label is None and partlabel is None):
            return None
        directory = Path(found.sys_path)
        size_bytes = properties.size_bytes(directory)
        if not size_bytes:
            return None  # an empty loop device, or a disk that went while we read
        whole = directory.parent if found.device_type == "partition" else directory
        device = BlockDevice(
            devnode=devnode,
            number=properties.number(found),
            diskseq=properties.diskseq(found),
            disk=f"/dev/{whole.name.replace('!', '/')}",
            size_bytes=size_bytes,
            fstype=told(found, "ID_FS_TYPE"),
            uuid=told(found, "ID_FS_UUID"),
            label=label,
            partlabel=partlabel,
            partuuid=told(found, "ID_PART_ENTRY_UUID"),
            parttype=told(found, "ID_PART_ENTRY_TYPE"),
            ambivalent=told(found, "ID_FS_AMBIVALENT") is not None,
            read_only=properties.read_only(directory) or properties.read_only(whole),
            holders=properties.holders(directory),
            model=properties.model(found),
            serial=told(found, "ID_SERIAL_SHORT"),
            usb_id=properties.usb_id(found),
            bus=told(found, "ID_BUS"),
            port=properties.port(told(found, "ID_PATH")),
        )
        return replace(device, inserted=self._inserted.get(_key(device), 0))


def _key(device: BlockDevice) -> _Key:
    return (device.devnode, device.number, device.diskseq)


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
