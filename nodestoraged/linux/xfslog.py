"""Whether the log of an XFS file system was closed cleanly, read without mounting it.

Owns: the on-disk form of log and record (fs/xfs/libxfs/xfs_log_format.h), as far as needed here.
May not know: what is done about it.  Bounded, and any bytes are allowed: whatever is odd is
"not clean".

XFS has no such flag in its superblock, and a read-only mount is not harmless: it writes an unmount
record and clears up to 2 MiB of the log ahead of it.  With `norecovery` nothing is written, but
what was fsynced before a power cut may still be in the log only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

__all__ = ["is_clean"]

_BLOCK = 512
_MAGIC = 0xFEEDBABE
_UNMOUNT = 0x20
#: A record is padded to the stripe unit of the log, which is 256 KiB at most.
_RECORD_BLOCKS = 256 * 1024 // _BLOCK + 2
#: XFS_MAX_LOG_BYTES is 2 GiB.
_LOG_BLOCKS = (1 << 31) // _BLOCK


def is_clean(superblock: bytes, read: Callable[[int, int], bytes]) -> bool:
    """True if the last record of the log says that the file system was unmounted.

    `superblock` is the first sector of the device; `read(length, offset)` reads from the device.
    """
    start, blocks = _place(superblock)
    if not 2 < blocks <= _LOG_BLOCKS:
        return False

    def block(index: int) -> bytes:
        return read(_BLOCK, start + index % blocks * _BLOCK).ljust(_BLOCK, b"\0")

    head = _head(block, blocks)
    for distance in range(1, min(_RECORD_BLOCKS, blocks)):
        header = block(head - distance)
        if _u32(header, 0) == _MAGIC:
            length, operations = _u32(header, 12), _u32(header, 40)
            ends_at_head = distance == 1 + -(-length // _BLOCK)
            flags = block(head - distance + 1)[9]
            return ends_at_head and operations == 1 and bool(flags & _UNMOUNT)
    return False


def _place(superblock: bytes) -> tuple[int, int]:
    """Where the log begins in bytes, and its length in basic blocks."""
    block_bytes = _u32(superblock, 4)
    log_start: int = struct.unpack_from(">Q", superblock, 48)[0]
    group_blocks, log_blocks, group_bits = (
        _u32(superblock, 84),
        _u32(superblock, 96),
        min(superblock[124], 63),
    )
    group, within = log_start >> group_bits, log_start & ((1 << group_bits) - 1)
    start = (group * group_blocks + within) * block_bytes
    if log_start == 0 or start >= 1 << 62:
        return 0, 0
    return start, log_blocks * block_bytes // _BLOCK


def _head(block: Callable[[int], bytes], blocks: int) -> int:
    """The block after the last record: where the cycle changes; 0 if it changes nowhere."""
    first = _cycle(block(0))
    if _cycle(block(blocks - 1)) == first:
        return 0
    low, high = 0, blocks - 1
    while high - low > 1:
        middle = (low + high) // 2
        if _cycle(block(middle)) == first:
            low = middle
        else:
            high = middle
    return high


def _cycle(block: bytes) -> int:
    """How often the log has been written round when this block was written."""
    word = _u32(block, 0)
    return _u32(block, 4) if word == _MAGIC else word


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
