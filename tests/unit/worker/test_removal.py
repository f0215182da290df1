"""Removing and measuring trees that somebody hostile, or nobody in particular, has made."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodestoraged.worker import removal
from nodestoraged.worker.directories import DIRECTORY, key_of
from nodestoraged.worker.failure import OperationFailed
from nodestoraged.worker.removal import Tally


def emptied(path: Path, tally: Tally | None = None) -> Tally:
    tally = tally or Tally()
    opened = os.open(path, DIRECTORY)
    try:
        removal.empty(opened, tally)
    finally:
        os.close(opened)
    return tally


def measured(path: Path) -> Tally:
    tally = Tally()
    opened = os.open(path.parent, DIRECTORY)
    try:
        removal.measure_entry(opened, path.name, tally)
    finally:
        os.close(opened)
    return tally


def used(path: Path) -> int:
    """As du(1) counts: each inode once."""
    seen: dict[int, int] = {}
    for each in (path, *path.rglob("*")):
        found = each.lstat()
        seen[found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def test_what_is_measured_is_what_is_freed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(5):
        (tree / str(number) / "deep" / "er").mkdir(parents=True)
        (tree / str(number) / "deep" / "file").write_bytes(b"x" * 10_000 * number)
    os.link(tree / "4" / "deep" / "file", tree / "again")
    own = tree.stat().st_blocks * 512
    expected = used(tree)

    before, after = measured(tree), emptied(tree)

    assert (before.files, before.used_bytes) == (6, expected)
    assert (after.files, after.used_bytes) == (6, expected - own)
    assert list(tree.iterdir()) == []


def test_a_file_with_a_name_outside_frees_nothing(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "outside").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "outside", tmp_path / "tree" / "inside")

    assert emptied(tmp_path / "tree").used_bytes == 0
    assert (tmp_path / "outside").stat().st_size == 100_000


def test_more_entries_than_one_reading_takes_all_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodestoraged.worker.removal._BATCH", 7)
    for number in range(50):
        (tmp_path / f"f{number}").touch()
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "inside").touch()

    assert emptied(tmp_path).files == 100
    assert list(tmp_path.iterdir()) == []


def test_one_directory_is_open_at_a_time_however_deep_it_goes(tmp_path: Path) -> None:
    here = os.open(tmp_path, DIRECTORY)
    for _ in range(2000):
        os.mkdir("down", dir_fd=here)
        below = os.open("down", DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    most = 0
    real = os.open

    def counting(*args: object, **more: object) -> int:
        nonlocal most
        opened: int = real(*args, **more)  # type: ignore[arg-type]
        most = max(most, opened)
        return opened

    lowest = os.dup(0)
    os.close(lowest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", counting)
        emptied(tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert most < lowest + 6


def test_a_protected_directory_is_neither_entered_nor_removed(tmp_path: Path) -> None:
    live = tmp_path / "tree" / "a" / "live"
    live.mkdir(parents=True)
    (live / "file").touch()
    (tmp_path / "tree" / "b").touch()
    opened = os.open(live, DIRECTORY)
    try:
        tally = emptied(tmp_path / "tree", Tally(protected=(key_of(opened),)))
    finally:
        os.close(opened)

    assert (live / "file").exists()
    assert not (tmp_path / "tree" / "b").exists()
    with pytest.raises(OperationFailed) as caught:
        removal.raise_left(tally)
    assert caught.value.reason == "StillHeld"
    assert "a/live" in caught.value.message


def test_a_directory_on_another_device_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "mounted").mkdir(parents=True)
    (tmp_path / "a" / "mounted" / "file").touch()
    inode = (tmp_path / "a" / "mounted").stat().st_ino

    def key(directory: int) -> tuple[int, int]:
        found = key_of(directory)
        return (found[0] + 1, found[1]) if found[1] == inode else found

    monkeypatch.setattr("nodestoraged.worker.removal.key_of", key)
    tally = emptied(tmp_path)

    assert (tmp_path / "a" / "mounted" / "file").exists()
    assert (tally.files, tally.left_count) == (0, 1)


def test_a_directory_that_is_carried_away_meanwhile_ends_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Going up by `..` would lead out of the tree, and what lies there would be removed.
    (tmp_path / "tree" / "a" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    real = os.open

    def open_and_move(path: str, *args: object, **more: object) -> int:
        if path == "..":
            moved = tmp_path / "tree" / "a" / "b"
            if moved.exists():
                moved.rename(tmp_path / "elsewhere" / "b")
        return real(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_and_move)
    with pytest.raises(OperationFailed) as caught:
        emptied(tmp_path / "tree")

    assert caught.value.reason == "Busy"
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_a_directory_that_becomes_a_link_meanwhile_is_unlinked_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree" / "a").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    real = os.open

    def open_late(path: str, *args: object, **more: object) -> int:
        place = tmp_path / "tree" / "a"
        if path == "a" and not place.is_symlink():
            place.rmdir()
            place.symlink_to(tmp_path / "outside")
        return real(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_late)
    emptied(tmp_path / "tree")

    assert list((tmp_path / "tree").iterdir()) == []
    assert (tmp_path / "outside" / "precious").exists()


def test_what_the_kernel_keeps_is_named_and_the_rest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    for name in ("d/kept", "d/gone", "gone"):
        (tmp_path / name).touch()
    real = os.unlink

    def unlink(name: str, *, dir_fd: int) -> None:
        if name == "kept":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    tally = emptied(tmp_path)

    assert tally.left == ["d/kept: Operation not permitted"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d", "kept"]
    with pytest.raises(OperationFailed) as caught:
        removal.raise_left(tally)
    assert caught.value.reason == "NotPermitted"
    assert caught.value.details["files"] == 2


def test_a_disk_that_fails_ends_the_removal_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        (tmp_path / str(number)).touch()
    asked = []

    def unlink(name: str, *, dir_fd: int) -> None:
        asked.append(name)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(OSError, match="Input/output"):
        emptied(tmp_path)
    assert len(asked) == 1


def test_a_guard_ends_the_removal_before_the_next_entry(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).touch()
        (tmp_path / f"d{number}").mkdir()
    asked = 0

    def guard() -> None:
        nonlocal asked
        asked += 1
        if asked > 13:
            raise OperationFailed("NotHidden", "enough")

    with pytest.raises(OperationFailed, match="enough"):
        emptied(tmp_path, Tally(guard=guard))

    assert len(list(tmp_path.iterdir())) == 7


TREES = st.recursive(
    st.sampled_from(["file", "link", "loop", "pipe", "hard"]),
    lambda below: st.dictionaries(st.text("abc\n\xff ", min_size=1, max_size=3), below, max_size=4),
    max_leaves=15,
)


def build(kind: object, path: Path, outside: Path) -> None:
    if isinstance(kind, dict):
        path.mkdir()
        for name, below in kind.items():
            build(below, path / name, outside)
    elif kind == "file":
        path.write_bytes(b"x" * 5000)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "hard":
        os.link(outside / "file", path)
    else:
        path.symlink_to(outside if kind == "link" else path.parent)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TREES)
def test_any_tree_is_removed_and_nothing_beside_it(tmp_path: Path, tree: object) -> None:
    for name in ("outside", "place"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"precious")
    build(tree, tmp_path / "place" / "tree", tmp_path / "outside")
    everything = (tmp_path / "place").rglob("*")
    files = sum(not stat.S_ISDIR(each.lstat().st_mode) for each in everything)
    tally = Tally()
    opened = os.open(tmp_path / "place", DIRECTORY)
    try:
        removal.remove(opened, "tree", tally)
        removal.remove(opened, "tree", tally)
    finally:
        os.close(opened)

    assert tally.files == files
    assert list((tmp_path / "place").iterdir()) == []
    assert (tmp_path / "outside" / "file").read_bytes() == b"precious"
