"""Whole disks, for `prepare`: what may be overwritten, and what must never be."""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.device import DeviceNumber

#: The GPT partition type of a stick that `prepare` made, minted for this project.
PARTITION_TYPE = "d6673e52-9b20-40c6-8bd2-0be628f9fe18"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A whole disk with everything on it; `parts` are its partitions in the table's order.

    `fstype` is what udev found on the whole disk, `table` the kind of its partition table, both
    None on a blank one.  `holders` are those of the disk and of its partitions.
    """

    devnode: str
    number: DeviceNumber
    diskseq: int | None
    size_bytes: int
    parts: tuple[Part, ...] = ()
    fstype: str | None = None
    uuid: str | None = None
    label: str | None = None
    table: str | None = None
    read_only: bool = False
    holders: tuple[str, ...] = ()
    model: str | None = None
    serial: str | None = None
    usb_id: str | None = None
    bus: str | None = None
    port: str | None = None

    @property
    def blank(self) -> bool:
        """True if udev found neither a partition table nor a file system."""
        return self.fstype is None and self.table is None and not self.parts

    @property
    def whole(self) -> Part:
        """The disk itself as the one place of a file system without a partition table."""
        return Part(
            devnode=self.devnode,
            number=self.number,
            size_bytes=self.size_bytes,
            fstype=self.fstype,
            uuid=self.uuid,
            label=self.label,
        )

    @property
    def numbers(self) -> tuple[DeviceNumber, ...]:
        """The disk's number and those of its partitions."""
        return (self.number, *(part.number for part in self.parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One partition of a disk."""

    devnode: str
    number: DeviceNumber
    size_bytes: int
    fstype: str | None = None
    uuid: str | None = None
    label: str | None = None
    partlabel: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """`prepare` with its options.

    `serial` is what was typed to confirm `wipe`.  `origin` is `empty`, `active` or a path.
    """

    stick: str
    name: str | None = None
    wipe: bool = False
    serial: str | None = None
    whole_disk: bool = False
    fstype: str = "ext4"
    label: str | None = None
    origin: str = "empty"
    check: bool = False
    bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formatted:
    """What came of formatting a disk: where its file system is and what it is called."""

    devnode: str
    number: DeviceNumber
    diskseq: int | None
    uuid: str
    label: str
    fstype: str
