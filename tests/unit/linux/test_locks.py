"""Rules of /proc/locks."""

import fcntl
import os
from pathlib import Path

from nodestoraged.linux import locks

TEXT = """1: FLOCK  ADVISORY  WRITE 684 fe:0a:5678 0 EOF
1: -> FLOCK  ADVISORY  WRITE 700 fe:0a:5678 0 EOF
2: POSIX  ADVISORY  READ 9 00:1f:12 128 128
3: OFDLCK ADVISORY  WRITE -1 08:01:99 0 EOF
4: LEASE  ACTIVE    READ  55 08:01:7 0 EOF
5: FLOCK  ADVISORY  WRITE 1 <none>:0 0 EOF
garbage
"""


def test_numbers_of_the_device_are_hexadecimal_and_the_inode_decimal() -> None:
    row = locks.parse(TEXT)[0]
    assert (row.kind, row.mode, row.pid) == ("FLOCK", "WRITE", 684)
    assert (row.major, row.minor, row.inode) == (0xFE, 0x0A, 5678)


def test_a_waiting_lock_is_told_from_a_held_one() -> None:
    assert [row.waits for row in locks.parse(TEXT)][:2] == [False, True]


def test_lines_without_a_file_are_left_out() -> None:
    assert [row.kind for row in locks.parse(TEXT)] == ["FLOCK", "FLOCK", "POSIX", "OFDLCK", "LEASE"]


def test_a_lock_that_we_take_is_seen_with_its_inode(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        inode = path.stat().st_ino
        ours = [row for row in locks.read() if row.pid == os.getpid() and row.inode == inode]
    assert [(row.kind, row.mode) for row in ours] == [("FLOCK", "WRITE")]
