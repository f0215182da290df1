"""Judging a bbolt file: an intact one is never called corrupt, and no bytes make it hang."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodestoraged.worker.boltfile import failure_of

PAGE = 4096
META, FREELIST, LEAF, BRANCH = 0x04, 0x10, 0x02, 0x01


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def page(number: int, flags: int, count: int, body: bytes, overflow: int = 0) -> bytes:
    data = struct.pack("=QHHI", number, flags, count, overflow) + body
    return data.ljust(PAGE * (overflow + 1), b"\0")


def meta(number: int, transaction: int, *, root: int, freelist: int, pages: int) -> bytes:
    body = struct.pack("=IIIIQQQQQ", 0xED0CDAED, 2, PAGE, 0, root, 0, freelist, pages, transaction)
    return page(number, META, 0, body + struct.pack("=Q", fnv1a(body)))


def leaf(elements: list[tuple[int, bytes, bytes]]) -> bytes:
    """The body of a leaf: the table of elements, then keys and values."""
    table, data = b"", b""
    for index, (flags, key, value) in enumerate(elements):
        position = 16 * (len(elements) - index) + len(data)
        table += struct.pack("=IIII", flags, position, len(key), len(value))
        data += key + value
    return table + data


def branch(children: list[tuple[bytes, int]]) -> bytes:
    table, data = b"", b""
    for index, (key, number) in enumerate(children):
        position = 16 * (len(children) - index) + len(data)
        table += struct.pack("=IIQ", position, len(key), number)
        data += key
    return table + data


def inline_bucket(elements: list[tuple[int, bytes, bytes]]) -> bytes:
    header = struct.pack("=QHHI", 0, LEAF, len(elements), 0)
    return struct.pack("=QQ", 0, 0) + header + leaf(elements)


def database() -> bytes:
    """Two meta pages, a freelist, a root with an inline bucket and one whose root is a branch."""
    top = leaf(
        [
            (1, b"far", struct.pack("=QQ", 4, 0)),
            (1, b"near", inline_bucket([(0, b"k", b"v")])),
            (0, b"plain", b"value"),
        ]
    )
    return b"".join(
        [
            meta(0, 6, root=3, freelist=2, pages=9),
            meta(1, 7, root=3, freelist=2, pages=9),
            page(2, FREELIST, 1, struct.pack("=Q", 8)),
            page(3, LEAF, 3, top),
            page(4, BRANCH, 2, branch([(b"a", 5), (b"m", 6)])),
            page(5, LEAF, 1, leaf([(0, b"a", b"1")])),
            page(6, LEAF, 1, leaf([(0, b"m", b"2" * 5000)]), overflow=1),
            bytes(PAGE),
        ]
    )


INTACT = database()


def judged(tmp_path: Path, data: bytes) -> str | None:
    path = tmp_path / "meta.db"
    path.write_bytes(data)
    return failure_of(str(path))


def changed(offset: int, data: bytes) -> bytes:
    return INTACT[:offset] + data + INTACT[offset + len(data) :]


def test_an_intact_database_is_intact(tmp_path: Path) -> None:
    assert judged(tmp_path, INTACT) is None


def test_a_file_may_be_longer_than_its_pages(tmp_path: Path) -> None:
    assert judged(tmp_path, INTACT + os.urandom(3 * PAGE + 17)) is None


def test_free_pages_may_hold_anything(tmp_path: Path) -> None:
    assert judged(tmp_path, changed(8 * PAGE, b"\xff" * PAGE)) is None


@pytest.mark.parametrize("torn", [0, PAGE])
def test_one_torn_meta_page_is_no_failure_because_bbolt_takes_the_other(
    tmp_path: Path, torn: int
) -> None:
    assert judged(tmp_path, changed(torn + 20, b"\xff" * 40)) is None


def test_no_file_and_an_empty_one_are_new_databases(tmp_path: Path) -> None:
    assert failure_of(str(tmp_path / "absent")) is None
    assert judged(tmp_path, b"") is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (changed(0, bytes(2 * PAGE)), "both meta pages are invalid"),
        (b"no database at all", "both meta pages are invalid"),
        (changed(3 * PAGE + 8, b"\0\0"), "invalid page type: 3"),
        (changed(3 * PAGE + 8, struct.pack("=H", FREELIST)), "invalid page type: 3: freelist"),
        (changed(2 * PAGE + 8, struct.pack("=H", LEAF)), "invalid freelist page: 2: leaf"),
        (changed(5 * PAGE, struct.pack("=Q", 77)), "page 5 says that it is page 77"),
        (changed(6 * PAGE + 12, struct.pack("=I", 1 << 30)), "page 6 reaches beyond the end"),
        (changed(5 * PAGE + 10, struct.pack("=H", 60000)), "no room for its 60000 elements"),
        (changed(5 * PAGE + 20, struct.pack("=I", 1 << 31)), "an element of page 5"),
        (changed(4 * PAGE + 10, struct.pack("=H", 0)), "branch page 4 is empty"),
        (changed(4 * PAGE + 16 + 24, struct.pack("=Q", 5)), "page 5 is referred to twice"),
        (changed(4 * PAGE + 16 + 24, struct.pack("=Q", 4)), "page 4 is referred to twice"),
        (changed(4 * PAGE + 16 + 24, struct.pack("=Q", 1 << 60)), "lies outside"),
        (changed(2 * PAGE + 16, struct.pack("=Q", 5)), "page 5 is in use and free at once"),
        (changed(2 * PAGE + 10, struct.pack("=H", 0xFFFF)), "page 2 names page 0"),
        (INTACT[: 5 * PAGE], "the file ends before its last page"),
        (INTACT[:PAGE], "the file ends before its last page"),
        (changed(3 * PAGE, bytes(6 * PAGE)), "page 3 says that it is page 0"),
    ],
)
def test_what_bbolt_could_not_use_is_told_in_words(tmp_path: Path, data: bytes, words: str) -> None:
    found = judged(tmp_path, data)
    assert found is not None
    assert words in found


def test_an_inline_bucket_in_an_inline_bucket_is_refused_at_any_depth(tmp_path: Path) -> None:
    nested = inline_bucket([(0, b"k", b"v")])
    for _ in range(500):
        nested = inline_bucket([(1, b"k", nested)])
    overflow = len(nested) // PAGE + 1
    data = b"".join(
        [
            meta(0, 6, root=3, freelist=2, pages=overflow + 4),
            meta(1, 7, root=3, freelist=2, pages=overflow + 4),
            page(2, FREELIST, 0, b""),
            page(3, LEAF, 1, leaf([(1, b"k", nested)]), overflow=overflow),
        ]
    )
    assert judged(tmp_path, data) is not None


def test_a_link_is_not_followed_and_a_pipe_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(INTACT)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")

    assert failure_of(str(tmp_path / "link")) == "it is no regular file"
    assert failure_of(str(tmp_path / "pipe")) == "it is no regular file"


def test_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    path.write_bytes(INTACT)
    before = path.stat()
    failure_of(str(path))
    after = path.stat()
    assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
    assert path.read_bytes() == INTACT


def test_many_elements_that_share_one_bucket_take_no_longer_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodestoraged.worker.boltfile._SECONDS_LIMIT", 0.3)
    count = 40_000
    shared = inline_bucket([(0, b"", b"")] * 4000)
    table = b"".join(
        struct.pack("=IIII", 1, 16 * (count - index), 0, len(shared)) for index in range(count)
    )
    overflow = (len(table) + len(shared)) // PAGE + 1
    data = b"".join(
        [
            meta(0, 6, root=3, freelist=2, pages=overflow + 4),
            meta(1, 7, root=3, freelist=2, pages=overflow + 4),
            page(2, FREELIST, 0, b""),
            page(3, LEAF, count, table + shared, overflow=overflow),
        ]
    )
    begin = time.monotonic()
    assert judged(tmp_path, data) is None
    assert time.monotonic() - begin < 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(INTACT) - 1), st.integers(0, 255)), max_size=8))
def test_no_bytes_make_it_fail_or_hang(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(INTACT)
    for offset, value in flips:
        data[offset] = value
    begin = time.monotonic()
    judged(tmp_path, bytes(data))
    assert time.monotonic() - begin < 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(INTACT)))
def test_a_file_cut_anywhere_is_corrupt(tmp_path: Path, length: int) -> None:
    # The last page is named, if only as free: bbolt has made the file that long.
    found = judged(tmp_path, INTACT[:length])
    assert (found is None) == (length in (0, len(INTACT)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=20_000))
def test_random_files_are_judged(tmp_path: Path, data: bytes) -> None:
    assert (judged(tmp_path, data) is None) == (data == b"")
