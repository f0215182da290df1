"""Whole disks with their partitions, from what udev has listed.

Owns: which block devices are disks, and what belongs to which.  May not know: how the list is
come by, or what a disk may be used for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nodestoraged.adapters import udevproperties as properties
from nodestoraged.adapters.udevproperties import Found, told
from nodestoraged.model.disk import Disk, Part


def read(listed: Iterable[Found]) -> tuple[Disk, ...]:
    """The disks among `listed`, by devnode.

    Left out are those without a medium, RAM disks, and what is made of other devices (LVM,
    RAID, encryption, multipath): to overwrite one of those is to overwrite the others.  So is
    what udev has not looked at yet: it would seem blank.
    """
    found = tuple(listed)
    disks = [disk for device in found if (disk := _disk(device)) is not None]
    parts: dict[str, list[tuple[int, Part, Path]]] = {}
    for device in found:
        if device.device_type == "partition" and device.device_node is not None:
            directory = Path(device.sys_path)
            place = (_index(device), _part(device), directory)
            parts.setdefault(str(directory.parent), []).append(place)
    whole = (_with_parts(disk, parts.get(str(directory), [])) for disk, directory in disks)
    return tuple(sorted(whole, key=lambda disk: (len(disk.devnode), disk.devnode)))


def _disk(found: Found) -> tuple[Disk, Path] | None:
    directory, devnode = Path(found.sys_path), found.device_node
    size_bytes = properties.size_bytes(directory)
    ram = directory.name.startswith("ram")
    if devnode is None or found.device_type != "disk" or not size_bytes or ram:
        return None
    if properties.slaves(directory) or not found.is_initialized:
        return None
    disk = Disk(
        devnode=devnode,
        number=properties.number(found),
        diskseq=properties.diskseq(found),
        size_bytes=size_bytes,
        fstype=told(found, "ID_FS_TYPE"),
        uuid=told(found, "ID_FS_UUID"),
        label=properties.label(found),
        table=told(found, "ID_PART_TABLE_TYPE"),
        read_only=properties.read_only(directory),
        holders=properties.holders(directory),
        model=properties.model(found),
        serial=told(found, "ID_SERIAL_SHORT"),
        usb_id=properties.usb_id(found),
        bus=told(found, "ID_BUS"),
        port=properties.port(told(found, "ID_PATH")),
    )
    return disk, directory


def _part(found: Found) -> Part:
    directory = Path(found.sys_path)
    return Part(
        devnode=found.device_node or "",
        number=properties.number(found),
        size_bytes=properties.size_bytes(directory),
        fstype=told(found, "ID_FS_TYPE"),
        uuid=told(found, "ID_FS_UUID"),
        label=properties.label(found),
        partlabel=properties.partlabel(found),
    )


def _index(found: Found) -> int:
    """The partition's number in the table; without udev's word its number in the kernel."""
    value = told(found, "ID_PART_ENTRY_NUMBER") or told(found, "PARTN")
    return int(value) if value else properties.number(found).minor


def _with_parts(disk: Disk, parts: list[tuple[int, Part, Path]]) -> Disk:
    ordered = sorted(parts, key=lambda each: (each[0], each[1].devnode))
    held = {name for _, _, directory in parts for name in properties.holders(directory)}
    return replace(
        disk,
        parts=tuple(part for _, part, _ in ordered),
        holders=tuple(sorted({*disk.holders, *held})),
    )
