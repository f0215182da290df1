"""Block devices as udev and sysfs describe them, and what identifies them.

*Identity* is what is stored when a stick is enrolled and is the same in every port;
*incarnation* is one insertion.  A label only says "candidate"; it never becomes part of
a path, an argument vector or a terminal line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class DeviceNumber(NamedTuple):
    """Kernel device number; `8:17` is sdb1."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}:{self.minor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One insertion of one device: any part changes and it is another insertion.

    `diskseq` is the kernel's counter of the whole disk (since Linux 5.15); None where
    udev does not know it.
    """

    devnode: str
    number: DeviceNumber
    diskseq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is remembered of a stick: equal in every port and under every devnode.

    `serial` is the USB `vid:pid:serial`, or the disk's serial; it is optional, because
    card readers lend theirs to every card, and only ever tells clones apart.  `directory` is
    the path of a slot that is a directory on a mounted disk, None for a whole file system.
    """

    uuid: str
    partuuid: str | None = None
    size_bytes: int | None = None
    serial: str | None = None
    directory: str | None = None

    def matches(self, device: BlockDevice) -> bool:
        """True if the device carries the file system that was remembered."""
        return (
            self.uuid == device.uuid
            and self.directory == device.directory
            and (self.partuuid is None or self.partuuid == device.partuuid)
            and (self.size_bytes is None or self.size_bytes == device.size_bytes)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDevice:
    """A partition or whole disk with what udev read from it.

    `label` and `partlabel` are decoded from the `_ENC` properties and may hold any
    character.  `inserted` is 0 for what was present when the daemon started and
    1, 2, … for later insertions, in their order.  `directory` is set for a slot that is a
    directory on this device's mounted file system.
    """

    devnode: str
    number: DeviceNumber
    diskseq: int | None
    disk: str
    size_bytes: int
    fstype: str | None = None
    uuid: str | None = None
    label: str | None = None
    partlabel: str | None = None
    partuuid: str | None = None
    parttype: str | None = None
    directory: str | None = None
    ambivalent: bool = False
    read_only: bool = False
    holders: tuple[str, ...] = ()
    model: str | None = None
    serial: str | None = None
    usb_id: str | None = None
    bus: str | None = None
    port: str | None = None
    inserted: int = 0

    @property
    def incarnation(self) -> Incarnation:
        """This insertion."""
        return Incarnation(devnode=self.devnode, number=self.number, diskseq=self.diskseq)

    @property
    def hardware(self) -> str | None:
        """`vid:pid:serial` of a USB device, else the serial; None if it has none."""
        if self.serial is None:
            return None
        return f"{self.usb_id}:{self.serial}" if self.usb_id else self.serial

    @property
    def name(self) -> str:
        """What it is called where nobody has given it a name: its directory, else the kernel's."""
        return self.directory or self.devnode.removeprefix("/dev/")

    def identity(self) -> Identity:
        """What `enroll` stores; the device must carry a UUID."""
        assert self.uuid is not None
        return Identity(
            uuid=self.uuid,
            partuuid=self.partuuid,
            size_bytes=self.size_bytes,
            serial=self.hardware,
            directory=self.directory,
        )
