"""Regular files: their data, holes left out.

Owns: how bytes get from one file to the other, and how two files are compared.  May not know:
which files, and where.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from nodestoraged.copier.pace import Pace

__all__ = ["copy_data", "same_data"]

_BLOCK = 512
_COMPARE_BYTES = 1 << 20


def copy_data(source: int, target: int, like: os.stat_result, pace: Pace) -> int:
    """The empty file `target` has the data of `source`; returns how many bytes were written.

    sendfile and not copy_file_range: that is refused (EXDEV) between two ext4 file systems.
    """
    if like.st_size == 0:
        return 0
    whole = like.st_blocks * _BLOCK >= like.st_size
    written = 0
    for begin, end in [(0, like.st_size)] if whole else _data(source, like.st_size):
        if begin != written:
            os.lseek(target, begin, os.SEEK_SET)
        at = begin
        while at < end:
            count = pace.wait(end - at)
            sent = os.sendfile(target, source, at, count)
            if sent == 0:  # it has become shorter; the next pass, or the caller, will see that
                return written
            pace.wrote(sent)
            at += sent
            written += sent
    if not whole:
        os.ftruncate(target, like.st_size)
    return written


def same_data(source: int, target: int, size: int, pace: Pace) -> bool:
    """Both files, each of `size` bytes, hold the same."""
    at = 0
    while at < size:
        count = pace.wait(min(_COMPARE_BYTES, size - at))
        ours = os.pread(source, count, at)
        if ours != os.pread(target, count, at):
            return False
        if not ours:
            return True
        pace.read(len(ours))
        at += len(ours)
    return True


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that are no holes."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
            end = min(size, os.lseek(fd, begin, os.SEEK_HOLE))
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        yield begin, end
