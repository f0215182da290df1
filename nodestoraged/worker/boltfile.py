"""Recognises a corrupt bbolt database (containerd's meta.db) without bbolt and without a lock.

Owns: the file format (go.etcd.io/bbolt: page.go, meta.go, bucket.go) and what about it makes
bbolt refuse or panic.  May not know: whose database it is.

The file is foreign data: every number in it is checked before it is used, and the walk ends after
a number of pages and seconds, whatever the pages say.  Judged is what is reachable from the
newest valid meta page.  A writer never overwrites that while its number of the transaction
stands, so a reading of a database in use counts only if it is the same before and after.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from typing import NamedTuple

__all__ = ["failure_of"]

_MAGIC = 0xED0CDAED
_VERSION = 2
_BRANCH, _LEAF, _META, _FREELIST = 0x01, 0x02, 0x04, 0x10
_KINDS = {_BRANCH: "branch", _LEAF: "leaf", _META: "meta", _FREELIST: "freelist"}
_NO_FREELIST = 0xFFFFFFFFFFFFFFFF  # NoFreelistSync: it is made by a walk at the next open
_COUNT_OVERFLOW = 0xFFFF  # the freelist's real count stands in its first element then
_BUCKET = 0x01  # the leaf element's value is a bucket

# The host's byte order, as bbolt maps its structures.
_HEADER = struct.Struct("=QHHI")  # id, flags, count, overflow
_META_BODY = struct.Struct("=IIIIQQQQQQ")  # magic, version, page size, flags, root, sequence,
#                                            freelist, high water mark, transaction, checksum
_BRANCH_ELEMENT = struct.Struct("=IIQ")  # position, key size, page
_LEAF_ELEMENT = struct.Struct("=IIII")  # flags, position, key size, value size
_BUCKET_HEADER = struct.Struct("=QQ")  # root page (0: inline), sequence
_PAGE_NUMBER = struct.Struct("=Q")

_PAGE_SIZES = tuple(512 << power for power in range(9))  # up to 128 KiB
_PAGES_LIMIT = 200_000
_SECONDS_LIMIT = 5.0
_TRIES = 4
_PAUSE_SECONDS = 0.05

_FNV_OFFSET, _FNV_PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, 0xFFFFFFFFFFFFFFFF


class _Corrupt(Exception):  # noqa: N818 - what the file is
    """The file is no database that bbolt could use."""


class _Meta(NamedTuple):
    page_size: int
    root: int
    freelist: int
    high_water: int
    transaction: int


def failure_of(path: str, *, directory: int | None = None) -> str | None:
    """What is wrong with the database at `path`, in words; None if nothing was found.

    A missing or empty file is no failure: bbolt makes a new one.  A link is not followed.
    Raises OSError when the file cannot be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        found = os.stat(path, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return "it is no regular file"
        opened = os.open(path, flags, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        for _ in range(_TRIES):
            before = _metas(opened)
            failure = _judge(opened, before)
            if failure is None or _metas(opened) == before:
                return failure
            time.sleep(_PAUSE_SECONDS)  # somebody writes
    finally:
        os.close(opened)
    return None


def _judge(opened: int, metas: tuple[_Meta, ...]) -> str | None:
    size = os.fstat(opened).st_size
    if size == 0:
        return None
    if not metas:
        return "both meta pages are invalid"
    meta = max(metas, key=lambda each: each.transaction)
    try:
        _Walk(opened, meta, size).run()
    except _Corrupt as error:
        return str(error)
    return None


def _metas(opened: int) -> tuple[_Meta, ...]:
    """The valid meta pages, 0 and 1.  The second one is looked for by the first one's page size."""
    first = _meta_at(opened, 0)
    sizes = _PAGE_SIZES if first is None else (first.page_size,)
    others = (_meta_at(opened, size) for size in sizes)
    second = next((each for each in others if each is not None), None)
    return tuple(each for each in (first, second) if each is not None)


def _meta_at(opened: int, offset: int) -> _Meta | None:
    data = os.pread(opened, _HEADER.size + _META_BODY.size, offset)
    if len(data) < _HEADER.size + _META_BODY.size:
        return None
    body = data[_HEADER.size :]
    magic, version, page_size, _, root, _, freelist, high_water, transaction, checksum = (
        _META_BODY.unpack(body)
    )
    if (magic, version) != (_MAGIC, _VERSION) or checksum != _fnv1a(body[:-8]):
        return None
    if page_size not in _PAGE_SIZES or offset not in (0, page_size):
        return None
    return _Meta(page_size, root, freelist, high_water, transaction)


def _fnv1a(data: bytes) -> int:
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & _MASK
    return value


class _Walk:
    """One walk over everything that a meta page leads to."""

    def __init__(self, opened: int, meta: _Meta, size: int) -> None:
        self._opened = opened
        self._meta = meta
        self._pages = min(size // meta.page_size, meta.high_water)
        self._reached: set[int] = set()
        self._waiting: list[int] = []
        self._until = time.monotonic() + _SECONDS_LIMIT

    def run(self) -> None:
        """Raises `_Corrupt` at the first thing that is wrong."""
        if self._meta.high_water * self._meta.page_size > self._size():
            raise _Corrupt(
                f"the file ends before its last page ({self._meta.high_water} pages are named)"
            )
        free = self._free_pages()
        self._waiting.append(self._meta.root)
        whole = True
        while self._waiting:
            if len(self._reached) > _PAGES_LIMIT or time.monotonic() > self._until:
                whole = False
                break
            self._visit(self._waiting.pop())
        if whole and (both := free & self._reached):
            raise _Corrupt(f"page {min(both)} is in use and free at once")

    def _size(self) -> int:
        return os.fstat(self._opened).st_size

    def _visit(self, number: int) -> None:
        flags, count, room = self._page(number)
        if flags not in (_BRANCH, _LEAF):
            raise _Corrupt(f"invalid page type: {number}: {_kind(flags)}")
        if flags == _BRANCH and not count:
            raise _Corrupt(f"branch page {number} is empty")
        start = number * self._meta.page_size
        self._elements(start, room, flags, count, f"page {number}")

    def _page(self, number: int) -> tuple[int, int, int]:
        """Flags, count and size of the page, which says itself that it is this one."""
        if not 2 <= number < self._pages:
            raise _Corrupt(f"page {number} lies outside of the {self._pages} pages of the file")
        if number in self._reached:
            raise _Corrupt(f"page {number} is referred to twice")
        header = self._read(number * self._meta.page_size, _HEADER.size)
        own, flags, count, overflow = _HEADER.unpack(header)
        if own != number:
            raise _Corrupt(f"page {number} says that it is page {own}")
        if number + overflow >= self._pages:
            raise _Corrupt(f"page {number} reaches beyond the end ({overflow} more pages)")
        self._reached.update(range(number, min(number + overflow, number + _PAGES_LIMIT) + 1))
        return flags, count, (overflow + 1) * self._meta.page_size

    def _elements(
        self, start: int, room: int, flags: int, count: int, where: str, *, inline: bool = False
    ) -> None:
        """The elements of the page at the file's `start`, which has `room` bytes."""
        kind = _BRANCH_ELEMENT if flags == _BRANCH else _LEAF_ELEMENT
        if _HEADER.size + count * kind.size > room:
            raise _Corrupt(f"{where} has no room for its {count} elements")
        table = self._read(start + _HEADER.size, count * kind.size)
        for index, element in enumerate(kind.iter_unpack(table)):
            own = _HEADER.size + index * kind.size
            if flags == _BRANCH:
                position, key_size, below = element
                value_size = 0
                self._waiting.append(below)
            else:
                kind_of, position, key_size, value_size = element
                fits = own + position + key_size + value_size <= room
                if kind_of & _BUCKET and inline:
                    # bbolt never writes one, and it could nest as deep as the file is long.
                    raise _Corrupt(f"{where} holds another bucket")
                if kind_of & _BUCKET and fits and time.monotonic() < self._until:
                    self._bucket(start + own + position + key_size, value_size, where)
            if own + position + key_size + value_size > room:
                raise _Corrupt(f"an element of {where} reaches beyond it")

    def _bucket(self, start: int, size: int, where: str) -> None:
        """A bucket's value: the number of its root page, or a small page of its own inline."""
        if size < _BUCKET_HEADER.size:
            raise _Corrupt(f"a bucket in {where} is cut off")
        root, _ = _BUCKET_HEADER.unpack(self._read(start, _BUCKET_HEADER.size))
        if root:
            self._waiting.append(root)
            return
        room = size - _BUCKET_HEADER.size
        if room < _HEADER.size:
            raise _Corrupt(f"an inline bucket in {where} is cut off")
        inline = start + _BUCKET_HEADER.size
        _, flags, count, _ = _HEADER.unpack(self._read(inline, _HEADER.size))
        if flags != _LEAF:
            raise _Corrupt(f"invalid page type: an inline bucket in {where}: {_kind(flags)}")
        words = f"an inline bucket in {where}"
        self._elements(inline, room, flags, count, words, inline=True)

    def _free_pages(self) -> set[int]:
        number = self._meta.freelist
        if number == _NO_FREELIST:
            return set()
        flags, count, room = self._page(number)
        if flags != _FREELIST:
            raise _Corrupt(f"invalid freelist page: {number}: {_kind(flags)}")
        start = number * self._meta.page_size + _HEADER.size
        room -= _HEADER.size
        if count == _COUNT_OVERFLOW:
            (count,) = _PAGE_NUMBER.unpack(self._read(start, _PAGE_NUMBER.size))
            start, room = start + _PAGE_NUMBER.size, room - _PAGE_NUMBER.size
        if count * _PAGE_NUMBER.size > room:
            raise _Corrupt(f"freelist page {number} has no room for its {count} pages")
        free: set[int] = set()
        for (page,) in _PAGE_NUMBER.iter_unpack(self._read(start, count * _PAGE_NUMBER.size)):
            if not 2 <= page < self._meta.high_water or page in free:
                raise _Corrupt(f"freelist page {number} names page {page}")
            free.add(page)
        return free

    def _read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._opened, length, offset)
        if len(data) < length:
            raise _Corrupt(f"the file ends at byte {offset + len(data)}, within a page")
        return data


def _kind(flags: int) -> str:
    return _KINDS.get(flags, f"unknown<{flags:02x}>")
