"""A GUID partition table with one partition, as bytes (UEFI specification, chapter 5).

Owns: the on-disk form.  May not know: devices.  Pure: numbers in, bytes out.
"""

from __future__ import annotations

import binascii
import os
import struct
from typing import NamedTuple

__all__ = ["NAME_LENGTH", "Table", "one_partition", "random_guid"]

#: UTF-16 code units that a partition's name may have.
NAME_LENGTH = 36
_ALIGNMENT = 1 << 20
_ENTRIES, _ENTRY_BYTES, _HEADER_BYTES = 128, 128, 92
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")


class Table(NamedTuple):
    """`pieces` are (offset, bytes) to be written; the partition lies at `start_bytes`."""

    pieces: tuple[tuple[int, bytes], ...]
    start_bytes: int
    length_bytes: int


def one_partition(
    size_bytes: int, sector_bytes: int, *, partition_type: str, name: str, guids: tuple[str, str]
) -> Table:
    """A table for a disk of `size_bytes` with one partition, aligned to 1 MiB at both ends.

    `guids` are those of the disk and of the partition.  ValueError if the disk is too small or
    the name too long.
    """
    entry_sectors = -(-_ENTRIES * _ENTRY_BYTES // sector_bytes)
    last = size_bytes // sector_bytes - 1
    first_usable, last_usable = 2 + entry_sectors, last - entry_sectors - 1
    aligned = _ALIGNMENT // sector_bytes
    first, beyond = aligned, (last_usable + 1) // aligned * aligned
    if beyond <= first or first < first_usable:
        raise ValueError(f"{size_bytes} bytes are too few for a partition table")
    encoded = name.encode("utf-16-le")
    if len(encoded) > 2 * NAME_LENGTH:
        raise ValueError(f"{name!r} is too long for a partition's name")
    entry = _ENTRY.pack(
        _guid_bytes(partition_type), _guid_bytes(guids[1]), first, beyond - 1, 0, encoded
    )
    entries = entry.ljust(_ENTRIES * _ENTRY_BYTES, b"\0")

    def header(own: int, other: int, entries_at: int) -> bytes:
        fields = (
            b"EFI PART", 0x00010000, _HEADER_BYTES, 0, 0, own, other, first_usable, last_usable,
            _guid_bytes(guids[0]), entries_at, _ENTRIES, _ENTRY_BYTES, binascii.crc32(entries),
        )  # fmt: skip
        plain = _HEADER.pack(*fields)
        checksum = struct.pack("<I", binascii.crc32(plain))
        return (plain[:16] + checksum + plain[20:]).ljust(sector_bytes, b"\0")

    pieces = (
        ((last - entry_sectors) * sector_bytes, entries),
        (last * sector_bytes, header(last, 1, last - entry_sectors)),
        (2 * sector_bytes, entries),
        (sector_bytes, header(1, last, 2)),
        (0, _protective(last).ljust(sector_bytes, b"\0")),
    )
    return Table(pieces, first * sector_bytes, (beyond - first) * sector_bytes)


def random_guid() -> str:
    """A random GUID (version 4)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _protective(last: int) -> bytes:
    """The MBR that shows old programs one partition of type EE over everything."""
    sectors = min(last, 0xFFFFFFFF)
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, sectors)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def _guid_bytes(guid: str) -> bytes:
    """Its first three groups are little-endian."""
    raw = bytes.fromhex(guid.replace("-", ""))
    return raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
