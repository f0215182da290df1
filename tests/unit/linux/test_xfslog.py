"""Rules for the log of an XFS: what mkfs leaves is clean, and no bytes make the parser fail."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from nodestoraged.linux.xfslog import is_clean
from tests.fakes.loopdev import make_image


def clean(data: bytes) -> bool:
    return is_clean(data[:512], lambda length, offset: data[offset : offset + length])


@pytest.mark.parametrize(
    "options", [(), ("-l", "su=32k"), ("-l", "size=70m,agnum=1"), ("-s", "size=4096")]
)
def test_a_new_file_system_has_a_clean_log(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = make_image(tmp_path / "xfs", "mkfs.xfs", "-q", "-f", *options, size_mib=320)
    with image.open("r+b") as disk:

        def clean_on_disk() -> bool:
            fd = disk.fileno()
            return is_clean(os.pread(fd, 512, 0), lambda length, at: os.pread(fd, length, at))

        assert clean_on_disk()
        # One bit less in the flags of the unmount record, and it is clean no more.
        start = log_start(os.pread(disk.fileno(), 512, 0))
        assert os.pread(disk.fileno(), 4, start) == b"\xfe\xed\xba\xbe"
        flags = os.pread(disk.fileno(), 1, start + 512 + 9)[0]
        os.pwrite(disk.fileno(), bytes([flags & ~0x20]), start + 512 + 9)
        assert not clean_on_disk()


def log_start(superblock: bytes) -> int:
    block, group = (struct.unpack_from(">I", superblock, at)[0] for at in (4, 84))
    bits, where = superblock[124], struct.unpack_from(">Q", superblock, 48)[0]
    return int(((where >> bits) * group + (where & ((1 << bits) - 1))) * block)


def test_no_bytes_make_it_fail() -> None:
    rng = random.Random(7)
    for _ in range(300):
        superblock = bytearray(rng.randbytes(512))
        if rng.random() < 0.7:  # a log that lies near, so that its blocks are looked at
            struct.pack_into(">I", superblock, 4, 512)
            struct.pack_into(">Q", superblock, 48, rng.randrange(64))
            struct.pack_into(">I", superblock, 96, rng.randrange(128))
        data = bytes(superblock) + rng.randbytes(65_536)
        assert clean(data) is False
    assert clean(bytes(512)) is False
