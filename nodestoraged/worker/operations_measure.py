"""What a disk really holds, and how fast it is; what is on it is overwritten in places.

Owns: measure.  May not know: which speed is too slow, or why anybody asks.

A disk of false capacity either loses what lies beyond its true end, or keeps it at an address of
which it has dropped the upper part.  So each sampled block carries its own address.  Two samples
whose distance is a multiple of the true capacity meet in one place, and one of them is lost:
the samples are chosen so that every multiple of their unit is such a distance ("baby steps,
giant steps").
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Mapping

from nodestoraged.linux import blockdev
from nodestoraged.worker import arguments
from nodestoraged.worker.device import pinned
from nodestoraged.worker.failure import OperationFailed

__all__ = ["measure"]

_BLOCK = 4096
_CHUNK = 1 << 20
_SEQUENTIAL_BYTES = 64 << 20
#: True capacities are multiples of the flash's erase blocks, hence of this.
_UNIT = 1 << 20
_UNITS_MOST = 1 << 16
_SAMPLE_SECONDS = 20.0
_PART_SECONDS = 5.0
_SMALL_WRITES, _FLUSHES = 200, 50


def measure(args: Mapping[str, object]) -> Mapping[str, object]:
    """The disk holds what it promises; its speed.  Takes a minute at most, if it answers.

    Arguments are those of `device.pinned`.  Returns capacity_bytes, samples, write_rate and
    read_rate (bytes per second, sequential), small_writes_per_second (4 KiB, each on the medium),
    fsync_seconds (the median).  Raises FakeCapacity (details: real_bytes, estimated), Busy,
    TooSmall, Gone, DeviceChanged, ReadOnly, IoError.
    """
    devnode = arguments.path(args, "devnode")
    with pinned(args) as disk_fd:
        size = blockdev.size_bytes(disk_fd) // _BLOCK * _BLOCK
        if size < 8 * _CHUNK:
            raise OperationFailed("TooSmall", f"{devnode} has {size} bytes")
        if blockdev.is_read_only(disk_fd):
            raise OperationFailed("ReadOnly", f"{devnode} is write-protected")
        with contextlib.closing(_Medium(devnode, os.fstat(disk_fd).st_rdev)) as medium:
            unit, step = _steps(size)
            start, length = _run(size, unit, step)
            samples = _samples(size, unit, step, range(start, start + length))
            written = medium.write_samples(samples)
            # Meanwhile the samples leave whatever small cache the disk may have.
            write_rate = medium.write_run(start, length)
            _check(medium.read_samples(written), size, devnode)
            read_rate = medium.read_run(start, length)
            small = medium.small_writes(start, length)
            fsync_seconds = medium.flushes(start)
    return {
        "capacity_bytes": size,
        "samples": len(written),
        "write_rate": write_rate,
        "read_rate": read_rate,
        "small_writes_per_second": small,
        "fsync_seconds": fsync_seconds,
    }


def _steps(size: int) -> tuple[int, int]:
    """The unit in bytes, and how many units a giant step has: the root of how many there are."""
    unit = _UNIT * -(-size // (_UNIT * _UNITS_MOST))
    return unit, max(2, math.isqrt(size // unit))


def _run(size: int, unit: int, step: int) -> tuple[int, int]:
    """Where it is written sequentially: between two giant steps, beyond the baby steps."""
    start = step * unit + _CHUNK
    length = min(_SEQUENTIAL_BYTES, (step - 1) * unit, size - start)
    return start, max(_CHUNK, length // _CHUNK * _CHUNK)


def _samples(size: int, unit: int, step: int, run: range) -> tuple[int, ...]:
    """Offsets of blocks: those that tell most first, should time run out."""

    def offsets() -> Iterator[int]:
        yield from (0, size - _BLOCK)
        for power in range(20, size.bit_length()):
            yield from ((1 << power) - _BLOCK, 1 << power)
        giant = step * unit
        yield from range(0, size, giant)
        yield from range(0, giant, unit)
        yield from range((size - 1) // giant * giant, size, unit)

    inside = (at for at in offsets() if 0 <= at <= size - _BLOCK and at not in run)
    return tuple(dict.fromkeys(inside))


def _check(found: Mapping[int, int | None], size: int, devnode: str) -> None:
    """Every sample was found where it was written; `found` has what was read instead."""
    lost = sorted(at for at, other in found.items() if other != at)
    if not lost:
        return
    distances = [abs(at - other) for at, other in found.items() if other not in (None, at)]
    if distances:  # it begins anew at multiples of what it holds
        real = math.gcd(*distances)
    else:
        real = max((at + _BLOCK for at in found if at < lost[0]), default=0)
    said = f"{devnode} promises {size / 2**30:.1f} GiB and holds about {real / 2**30:.1f} GiB"
    details = {"real_bytes": real, "estimated": True, "lost": len(lost), "samples": len(found)}
    raise OperationFailed("FakeCapacity", said, details=details)


class _Medium:
    """The disk, opened past the page cache and claimed, with one aligned buffer."""

    def __init__(self, devnode: str, number: int) -> None:
        self._fd = _opened(devnode, os.O_RDWR | os.O_EXCL)
        if os.fstat(self._fd).st_rdev != number:
            os.close(self._fd)
            raise OperationFailed("DeviceChanged", f"{devnode} is another device now")
        self._synchronous = _opened(devnode, os.O_WRONLY | os.O_DSYNC)
        self._buffer = mmap.mmap(-1, _CHUNK)
        self._name = os.urandom(16)

    def close(self) -> None:
        """The disk is free again."""
        os.close(self._synchronous)
        os.close(self._fd)

    def write_samples(self, offsets: Iterable[int]) -> tuple[int, ...]:
        """Each block carries its address; those that there was time for, on the medium."""
        deadline, written = time.monotonic() + _SAMPLE_SECONDS, []
        for offset in offsets:
            self._fill(offset, _BLOCK)
            self._write(self._fd, offset, _BLOCK)
            written.append(offset)
            if time.monotonic() > deadline:
                break
        os.fsync(self._fd)
        return tuple(written)

    def read_samples(self, offsets: Iterable[int]) -> dict[int, int | None]:
        """The address that each of the blocks carries; None for what we have not written."""
        found: dict[int, int | None] = {}
        for offset in offsets:
            self._read(offset, _BLOCK)
            data = self._buffer[:_BLOCK]
            address = int.from_bytes(data[16:24], "little")
            found[offset] = address if data == self._content(address) else None
        return found

    def write_run(self, start: int, length: int) -> int:
        """Bytes per second of a sequential write, until it is on the medium."""
        begin, done = time.monotonic(), 0
        while done < length and time.monotonic() < begin + _PART_SECONDS:
            self._fill(start + done, _CHUNK)
            self._write(self._fd, start + done, _CHUNK)
            done += _CHUNK
        os.fsync(self._fd)
        return int(done / (time.monotonic() - begin))

    def read_run(self, start: int, length: int) -> int:
        """Bytes per second of a sequential read."""
        begin, done = time.monotonic(), 0
        while done < length and time.monotonic() < begin + _PART_SECONDS:
            self._read(start + done, _CHUNK)
            done += _CHUNK
        return int(done / (time.monotonic() - begin))

    def small_writes(self, start: int, length: int) -> float:
        """How many single blocks per second reach the medium, one after the other."""
        begin, count = time.monotonic(), 0
        while count < _SMALL_WRITES and time.monotonic() < begin + _PART_SECONDS:
            place = int.from_bytes(os.urandom(4), "little") % (length // _BLOCK)
            self._write(self._synchronous, start + place * _BLOCK, _BLOCK)
            count += 1
        return count / (time.monotonic() - begin)

    def flushes(self, start: int) -> float:
        """The median seconds of one flush after one small write."""
        seconds: list[float] = []
        deadline = time.monotonic() + _PART_SECONDS
        while len(seconds) < _FLUSHES and time.monotonic() < deadline:
            self._write(self._fd, start, _BLOCK)
            begin = time.monotonic()
            os.fsync(self._fd)
            seconds.append(time.monotonic() - begin)
        return sorted(seconds)[len(seconds) // 2]

    def _content(self, address: int) -> bytes:
        return (self._name + address.to_bytes(16, "little")) * (_BLOCK // 32)

    def _fill(self, offset: int, length: int) -> None:
        blocks = (self._content(at) for at in range(offset, offset + length, _BLOCK))
        self._buffer[:length] = b"".join(blocks)

    def _write(self, fd: int, offset: int, length: int) -> None:
        with memoryview(self._buffer) as whole, whole[:length] as part:
            if os.pwritev(fd, [part], offset) != length:
                raise OSError(errno.EIO, "the disk took only a part")

    def _read(self, offset: int, length: int) -> None:
        if not _is_direct(self._fd):
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_DONTNEED)
        with memoryview(self._buffer) as whole, whole[:length] as part:
            if os.preadv(self._fd, [part], offset) != length:
                raise OSError(errno.EIO, "the disk gave only a part")


def _opened(devnode: str, flags: int) -> int:
    flags |= os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(devnode, flags | os.O_DIRECT)
    except OSError as error:
        if error.errno == errno.EBUSY:
            message = f"{devnode} or a partition of it is mounted or claimed"
            raise OperationFailed("Busy", message, cause=error) from None
        if error.errno != errno.EINVAL:  # a driver that knows no O_DIRECT
            raise
    return os.open(devnode, flags)


def _is_direct(fd: int) -> bool:
    import fcntl  # only the child that measures needs it

    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
