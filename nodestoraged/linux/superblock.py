"""Superblocks of ext2/3/4 and XFS, read by a parser that is bounded and never trusts the disk.

Owns: the on-disk offsets (Documentation/filesystems/ext4/super.rst, fs/xfs/libxfs/xfs_format.h).
May not know: which file system is wanted.  Pure: bytes in, values out, any bytes allowed.

It runs before the kernel sees a hostile image, so it looks for what the kernel would obey silently:
mount options within the superblock, an external journal, `errors=panic`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["READ_BYTES", "Superblock", "parse", "signatures"]

#: How much of the device's start `parse` wants to see (btrfs' magic lies at 64 KiB + 64).
READ_BYTES = 68 * 1024

_EXT_ERRORS = {1: "continue", 2: "remount-ro", 3: "panic"}
_EXT_MAGIC = 0xEF53
_EXT_COMPAT_JOURNAL = 0x4
_EXT_INCOMPAT_RECOVER = 0x4
_EXT_INCOMPAT_JOURNAL_DEVICE = 0x8
# What ext2 and ext3 understand (e2fsprogs, lib/ext2fs/ext2_fs.h); anything beyond makes it ext4.
_EXT2_INCOMPAT = 0x2 | 0x10
_EXT3_INCOMPAT = _EXT2_INCOMPAT | _EXT_INCOMPAT_RECOVER
_EXT3_RO_COMPAT = 0x1 | 0x2 | 0x4
_EXT_ERROR_STATE = 0x2

_XFS_MAGIC = b"XFSB"
_XFS_VERSION_MASK = 0x000F
_XFS_MORE_BITS = 0x8000
_XFS_FEATURES2_FTYPE = 0x200
_XFS_INCOMPAT_FTYPE = 0x1
_XFS_INCOMPAT_NEEDS_REPAIR = 0x10

# Magics of what must not hide behind a good superblock (libblkid calls two of them "ambivalent").
_SIGNATURES: tuple[tuple[str, int, bytes], ...] = (
    ("ext", 1024 + 0x38, b"\x53\xef"),
    ("xfs", 0, _XFS_MAGIC),
    ("btrfs", 0x10040, b"_BHRfS_M"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("lvm2", 512 + 24, b"LVM2 001"),
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("iso9660", 0x8001, b"CD001"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("exfat", 3, b"EXFAT   "),
    ("ntfs", 3, b"NTFS    "),
    ("vfat", 82, b"FAT32   "),
    ("vfat", 54, b"FAT16   "),
)


class Superblock(NamedTuple):
    """What the superblock says.  `label` may hold any character but NUL; `uuid` is lower case.

    `errors` is ext's behaviour on errors (continue, remount-ro, panic), None for XFS.
    `mount_options` are the ones which the superblock itself asks for (ext4's s_mount_opts).
    `file_types` says whether directories carry d_type, which overlayfs needs (XFS ftype=1).
    """

    fstype: str
    uuid: str
    label: str
    size_bytes: int
    block_bytes: int
    errors: str | None = None
    mount_options: str = ""
    external_journal: bool = False
    needs_recovery: bool = False
    damaged: bool = False
    file_types: bool = True


def signatures(data: bytes) -> tuple[str, ...]:
    """The names of all magics in the first READ_BYTES of a device; more than one is ambivalent."""
    found = [name for name, at, magic in _SIGNATURES if data[at : at + len(magic)] == magic]
    return tuple(dict.fromkeys(found))


def parse(data: bytes) -> Superblock | None:
    """The superblock within the first READ_BYTES of a device; None if it is neither ext nor XFS.

    Also None when another file system's magic is present: then nobody can say which is true.
    """
    found = signatures(data)
    if found == ("ext",):
        return _parse_ext(data[1024:2048])
    if found == ("xfs",):
        return _parse_xfs(data[:512])
    return None


def _parse_ext(block: bytes) -> Superblock | None:
    if len(block) < 1024 or _u16(block, 0x38) != _EXT_MAGIC:
        return None
    log_block = _u32(block, 0x18)
    if log_block > 6:  # blocks are of 1 to 64 KiB
        return None
    block_bytes = 1024 << log_block
    dynamic = _u32(block, 0x4C) >= 1  # revision 0 has no feature words
    compat, incompat, ro_compat = struct.unpack_from("<3I", block, 0x5C) if dynamic else (0, 0, 0)
    blocks = _u32(block, 0x04) | (_u32(block, 0x150) << 32 if incompat & 0x80 else 0)
    if incompat & _EXT_INCOMPAT_JOURNAL_DEVICE:
        fstype = "jbd"
    else:
        fstype = _ext_type(compat, incompat, ro_compat)
    state = _u16(block, 0x3A)
    return Superblock(
        fstype=fstype,
        uuid=_uuid(block[0x68:0x78]),
        label=_label(block[0x78:0x88]),
        size_bytes=blocks * block_bytes,
        block_bytes=block_bytes,
        errors=_EXT_ERRORS.get(_u16(block, 0x3C), "continue"),
        mount_options=_label(block[0x200:0x240]),
        external_journal=bool(compat & _EXT_COMPAT_JOURNAL) and _u32(block, 0xE4) != 0,
        needs_recovery=bool(incompat & _EXT_INCOMPAT_RECOVER),
        damaged=bool(state & _EXT_ERROR_STATE) or _u32(block, 0x194) != 0,
        file_types=bool(incompat & 0x2),
    )


def _ext_type(compat: int, incompat: int, ro_compat: int) -> str:
    if incompat & ~_EXT3_INCOMPAT or ro_compat & ~_EXT3_RO_COMPAT:
        return "ext4"
    if compat & _EXT_COMPAT_JOURNAL:
        return "ext3"
    return "ext2"


def _parse_xfs(block: bytes) -> Superblock | None:
    if len(block) < 512 or block[:4] != _XFS_MAGIC:
        return None
    block_bytes, blocks = struct.unpack_from(">IQ", block, 4)
    if block_bytes not in {1 << bit for bit in range(9, 17)} or blocks == 0:
        return None
    version_word = struct.unpack_from(">H", block, 100)[0]
    version = version_word & _XFS_VERSION_MASK
    if version not in (4, 5):
        return None
    features2 = struct.unpack_from(">I", block, 200)[0] if version_word & _XFS_MORE_BITS else 0
    incompat = struct.unpack_from(">I", block, 216)[0] if version == 5 else 0
    ftype = incompat & _XFS_INCOMPAT_FTYPE if version == 5 else features2 & _XFS_FEATURES2_FTYPE
    return Superblock(
        fstype="xfs",
        uuid=_uuid(block[32:48]),
        label=_label(block[108:120]),
        size_bytes=blocks * block_bytes,
        block_bytes=block_bytes,
        # sb_logstart is zero when the log lies on another device.
        external_journal=struct.unpack_from(">Q", block, 48)[0] == 0,
        damaged=bool(incompat & _XFS_INCOMPAT_NEEDS_REPAIR),
        file_types=bool(ftype),
    )


def _u16(block: bytes, at: int) -> int:
    return int.from_bytes(block[at : at + 2], "little")


def _u32(block: bytes, at: int) -> int:
    return int.from_bytes(block[at : at + 4], "little")


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _label(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="surrogateescape")
