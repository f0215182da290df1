"""Walks a directory tree and removes it, whatever lies in it.

Owns: the way down and up again, and what is counted.  May not know: which tree, or why.

No link is followed and no other device is entered.  A path may be as deep as the disk can hold
it: one directory is open at a time, and the way up is `..`, whose inode must be the one that we
came from.  What a crash left of a removal is removed by the next one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from itertools import islice

from nodestoraged.worker.directories import DIRECTORY, Key, key_of
from nodestoraged.worker.failure import OperationFailed, printable, reason_of

__all__ = ["Tally", "empty", "measure_entry", "raise_left", "remove"]

#: Names that are read from a directory before they are removed: bounds the memory.
_BATCH = 8192
#: Entries that would not go; beyond this many the removal is given up.
_LEFT_LIMIT = 10_000
_LEFT_SHOWN = 20
_BLOCK_BYTES = 512  # st_blocks, whatever the file system's block size is

#: What an entry may answer while its neighbours can still go: immutable or append-only (EPERM),
#: a mount point (EBUSY), a directory in which one of those is left (ENOTEMPTY).
_STAYS = frozenset((errno.EPERM, errno.EBUSY, errno.ENOTEMPTY))


class Tally:
    """What was counted or removed: entries that are no directories, and allocated bytes.

    `protected` are inodes (st_dev, st_ino) of directories that are neither entered nor removed;
    `guard` is asked before each removal and raises once nothing more may be removed.
    """

    def __init__(
        self, protected: Iterable[Key] = (), guard: Callable[[], None] = lambda: None
    ) -> None:
        self.files = 0
        self.used_bytes = 0
        self.left: list[str] = []
        self.left_count = 0
        self.failed: OSError | None = None
        self.protected = frozenset(protected)
        self.guard = guard
        #: inode -> names that are still to come, of files with several; so each counts once
        self.links: dict[Key, int] = {}

    def stays(self, path: str, error: OSError | None) -> None:
        """The entry at `path` could not be removed, or must not be (None)."""
        self.left_count += 1
        if self.failed is None:
            self.failed = error
        if len(self.left) < _LEFT_SHOWN:
            why = os.strerror(error.errno or 0) if error else "it is in use as a root"
            self.left.append(f"{printable(path)[-200:]}: {why}")
        if self.left_count > _LEFT_LIMIT:
            raise_left(self)


class _Level:
    """One directory on the way down, while something below it is open."""

    __slots__ = ("done", "key", "name", "pending", "skipped")

    def __init__(self, name: str, key: Key) -> None:
        self.name = name
        self.key = key
        self.pending: list[str] = []
        self.skipped: set[str] = set()
        self.done = False


def measure_entry(directory: int, name: str, tally: Tally) -> None:
    """The entry `name` of the open `directory` and all below it is added to `tally`.

    A file with several names counts once, where its first name is met.
    """

    def scan(current: int, level: _Level, _path: Callable[[str], str]) -> None:
        with os.scandir(current) as entries:
            for entry in entries:
                if _count(entry.name, current, tally):
                    level.pending.append(entry.name)
        level.done = True

    if not _count(name, directory, tally):
        return
    below = os.open(name, DIRECTORY, dir_fd=directory)
    try:
        key = key_of(below)
        if key[0] == key_of(directory)[0] and key not in tally.protected:
            _descend(below, scan, None, tally)
    finally:
        os.close(below)


def empty(directory: int, tally: Tally) -> None:
    """Nothing is left in the open `directory`, which stays itself.

    Freed bytes are those of files whose last name went.  Entries that the kernel will not give
    up are in `tally.left`, and all others are gone.  Raises OSError on a disk that fails.
    """

    def scan(current: int, level: _Level, path: Callable[[str], str]) -> None:
        with os.scandir(current) as entries:
            fresh = (entry for entry in entries if entry.name not in level.skipped)
            batch = [
                (each.name, each.is_dir(follow_symlinks=False)) for each in islice(fresh, _BATCH)
            ]
        for name, is_directory in batch:
            if is_directory:
                level.pending.append(name)
            elif not _unlink(name, current, tally, path):
                level.skipped.add(name)
        level.done = len(batch) < _BATCH

    def leave(parent: int, name: str, level: _Level, path: Callable[[str], str]) -> None:
        freed = _blocks(os.stat(name, dir_fd=parent, follow_symlinks=False))
        try:
            tally.guard()
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _STAYS:
                raise
            level.skipped.add(name)
            if error.errno != errno.ENOTEMPTY or not tally.left_count:
                tally.stays(path(name), error)
            return
        tally.used_bytes += freed

    _descend(directory, scan, leave, tally)


def remove(directory: int, name: str, tally: Tally) -> None:
    """The entry `name` of the open `directory` is gone with all below it, but for what is left."""

    def path(last: str) -> str:
        return last

    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        _unlink(name, directory, tally, path)
        return
    left_before = tally.left_count
    below = os.open(name, DIRECTORY, dir_fd=directory)
    try:
        key = key_of(below)
        if key[0] != key_of(directory)[0] or key in tally.protected:
            tally.stays(name, None)
            return
        empty(below, tally)
    finally:
        os.close(below)
    if tally.left_count > left_before:
        return
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in _STAYS:
            raise
        tally.stays(name, error)
    else:
        tally.used_bytes += _blocks(found)


def raise_left(tally: Tally) -> None:
    """Raises OperationFailed if something could not be removed; `details` tell what was."""
    if not tally.left_count:
        return
    cause = tally.failed
    reason = "StillHeld" if cause is None else reason_of(cause)
    details = {"files": tally.files, "freed_bytes": tally.used_bytes, "left": tally.left}
    message = f"{tally.left_count} entries could not be removed, the first: {tally.left[0]}"
    raise OperationFailed(reason, message, cause=cause, details=details)


def _descend(
    top: int,
    scan: Callable[[int, _Level, Callable[[str], str]], None],
    leave: Callable[[int, str, _Level, Callable[[str], str]], None] | None,
    tally: Tally,
) -> None:
    """Go through every directory below `top`: `scan` when it is entered, `leave` afterwards."""
    current = os.open(".", DIRECTORY, dir_fd=top)
    levels = [_Level("", key_of(current))]

    def path(last: str) -> str:
        # The end of a deep path is enough, and a long one would cost more than the removal.
        return "/".join([*(level.name for level in levels[1:][-8:]), last])

    try:
        while True:
            level = levels[-1]
            if level.pending:
                name = level.pending.pop()
                below = _enter(name, current, level, tally, path)
                if below is None:
                    if leave is not None and name not in level.skipped:
                        level.done = False  # what became a file meanwhile has to go as well
                else:
                    os.close(current)
                    current = below
                    levels.append(_Level(name, key_of(current)))
            elif not level.done:
                scan(current, level, path)
            elif len(levels) == 1:
                return
            else:
                up = os.open("..", DIRECTORY, dir_fd=current)
                os.close(current)
                current = up
                levels.pop()
                if key_of(current) != levels[-1].key:
                    message = f"{printable(path(level.name))} was moved while it was walked"
                    raise OperationFailed("Busy", message)
                if leave is not None:
                    leave(current, level.name, levels[-1], path)
    finally:
        os.close(current)


def _enter(
    name: str, parent: int, level: _Level, tally: Tally, path: Callable[[str], str]
) -> int | None:
    try:
        below = os.open(name, DIRECTORY, dir_fd=parent)
    except OSError as error:
        # It vanished, or became a link or a file meanwhile: a later scan sees what is there.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    key = key_of(below)
    if key[0] == level.key[0] and key not in tally.protected:
        return below
    os.close(below)
    level.skipped.add(name)
    tally.stays(path(name), None)
    return None


def _unlink(name: str, directory: int, tally: Tally, path: Callable[[str], str]) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        tally.guard()
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in _STAYS:
            raise
        tally.stays(path(name), error)
        return False
    tally.files += 1
    if found.st_nlink == 1:
        tally.used_bytes += _blocks(found)
    return True


def _count(name: str, directory: int, tally: Tally) -> bool:
    """The entry itself is added to `tally`; True if it is a directory."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        tally.used_bytes += _blocks(found)
        return True
    tally.files += 1
    if found.st_nlink > 1:
        inode = (found.st_dev, found.st_ino)
        before = tally.links.pop(inode, found.st_nlink)
        if before > 1:
            tally.links[inode] = before - 1
        if before < found.st_nlink:
            return False
    tally.used_bytes += _blocks(found)
    return False


def _blocks(found: os.stat_result) -> int:
    return found.st_blocks * _BLOCK_BYTES
