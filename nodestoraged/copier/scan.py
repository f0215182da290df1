"""Compares the two trees without opening a file, and says what has to be done.

Owns: the walk, what counts as alike, what is too much.  May not know: how a copy is made.
"""

from __future__ import annotations

import errno
import os
import stat

from nodestoraged.copier import areas, hardlinks
from nodestoraged.copier.failure import CopyFailed, of_error
from nodestoraged.copier.jobs import ALIKE, OTHER, PRESENT, Plan
from nodestoraged.copier.progress import Counters
from nodestoraged.copier.record import Record
from nodestoraged.copier.request import Request
from nodestoraged.copier.tree import Tree, is_gone, join

__all__ = ["Scan"]

_BLOCK = 512
_RUNTIME_DATA = "io.containerd."

_Stat = os.stat_result


class Scan:
    """One walk over both trees; `run` gives the plan."""

    def __init__(
        self, request: Request, source: Tree, target: Tree, record: Record, counters: Counters
    ) -> None:
        self._request = request
        self._source = source
        self._target = target
        self._record = record
        self._counters = counters
        self._plan = Plan()
        self._groups: dict[tuple[int, int], hardlinks.Group] = {}
        self._open: list[tuple[str, bool, areas.Patterns, bool]] = []

    def run(self) -> Plan:
        """What has to be done; raises CopyFailed."""
        plan = self._plan
        self._open = [("", True, self._request.databases, False)]
        plan.entries = 1
        plan.attributes.add("")  # its time changes with the record that we keep below it
        while self._open:
            self._counters.entries = plan.entries
            self._directory(*self._open.pop())
        for group in self._groups.values():
            group.settle(plan)
        plan.jobs.sort()
        return plan

    def _directory(
        self, path: str, present: bool, patterns: areas.Patterns, database: bool
    ) -> None:
        """One directory: `present` in the target too, in the area of `patterns`, or `database`."""
        theirs = self._target_entries(path) if present else {}
        try:
            fd = self._source.open(path)
        except OSError as error:
            if error.errno == errno.EXDEV:  # something of the same file system is mounted there
                return
            if not is_gone(error):
                raise of_error(error, join(self._source.path, path)) from error
            self._missing(path)
            return
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        here = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        self._missing(join(path, entry.name))
                        theirs.pop(entry.name, None)
                        continue
                    there = theirs.pop(entry.name, None)
                    self._entry(path, entry.name, here, there, patterns, database)
        except OSError as error:
            raise of_error(error, join(self._source.path, path)) from error
        finally:
            os.close(fd)
        for name, there in theirs.items():
            self._extra(path, name, there, patterns)

    def _target_entries(self, path: str) -> dict[str, _Stat]:
        try:
            fd = self._target.open(path)
            try:
                with os.scandir(fd) as entries:
                    return {one.name: one.stat(follow_symlinks=False) for one in entries}
            finally:
                os.close(fd)
        except OSError as error:
            raise of_error(error, join(self._target.path, path)) from error

    def _missing(self, path: str) -> None:
        if self._request.final:
            message = f"{join(self._source.path, path)} vanished; the source is still in use"
            raise CopyFailed("CopyFailed", message)
        self._plan.vanished += 1

    def _entry(
        self,
        path: str,
        name: str,
        here: _Stat,
        there: _Stat | None,
        patterns: areas.Patterns,
        database: bool,
    ) -> None:
        """One entry of the source, and what the target has under its name."""
        plan = self._plan
        if not path:
            if name in self._request.not_data:
                return
            plan.top_names |= {name}
        rest: areas.Patterns = ()
        if patterns:
            hit, rest = areas.below(patterns, name)
            if hit and not self._request.final:
                return
            database = database or hit
        plan.entries += 1
        if stat.S_ISDIR(here.st_mode):
            self._subdirectory(path, name, here, there, rest, database)
        elif self._source.is_covered(here, join(path, name)):
            pass  # a file that another one is mounted on
        elif there is not None and stat.S_ISDIR(there.st_mode):
            if rest and not self._request.final:
                return  # databases lie in what would have to go
            plan.removals.append((path, name))
            self._wanted(path, name, here, None, 0)
        else:
            flags = 0 if there is None else self._flags(here, there, database)
            self._wanted(path, name, here, there, flags)

    def _flags(self, here: _Stat, there: _Stat, database: bool) -> int:
        """How far the target's entry can stay; neither is a directory."""
        if not self._similar(here, there):
            return PRESENT
        if database or not self._alike(here, there) or not self._believed(here, there):
            return PRESENT | ALIKE
        return PRESENT | ALIKE | hardlinks.BELIEVED

    def _wanted(self, path: str, name: str, here: _Stat, there: _Stat | None, flags: int) -> None:
        """The entry must be in the target, by a job of its own or with others of its inode."""
        if not stat.S_ISREG(here.st_mode):
            flags |= OTHER
        if here.st_nlink > 1:
            inode = (here.st_dev, here.st_ino)
            group = self._groups.get(inode)
            if group is None:
                group = self._groups[inode] = hardlinks.Group(here)
            group.add(path, name, there, flags)
        elif there is not None and there.st_nlink > 1:
            # It shares its data with something that the source keeps apart.
            self._job(path, name, here, there, flags & (PRESENT | OTHER))
        elif not flags & hardlinks.BELIEVED:
            self._job(path, name, here, there, flags)

    def _job(self, path: str, name: str, here: _Stat, there: _Stat | None, flags: int) -> None:
        plan = self._plan
        size = min(here.st_size, here.st_blocks * _BLOCK)
        plan.jobs.append((here.st_ino, path, name, size, flags))
        plan.bytes_total += size
        plan.attributes.add(path)
        if flags & ALIKE == 0:
            plan.inodes_needed += 1
            plan.space_needed += here.st_blocks * _BLOCK
            if there is not None and there.st_nlink == 1:
                plan.inodes_needed -= 1
                plan.space_needed -= there.st_blocks * _BLOCK

    def _subdirectory(
        self,
        path: str,
        name: str,
        here: _Stat,
        there: _Stat | None,
        patterns: areas.Patterns,
        database: bool,
    ) -> None:
        plan, below = self._plan, join(path, name)
        if self._source.is_subvolume(here, below):
            place = join(self._source.path, below)
            raise CopyFailed("NestedSubvolumes", f"{place} is a subvolume, which is not copied")
        present = there is not None and stat.S_ISDIR(there.st_mode)
        if there is not None and not present:
            plan.removals.append((path, name))
        if there is None or not present:
            plan.directories.append(below)
            plan.attributes.add(path)
            plan.attributes.add(below)
            plan.space_needed += here.st_blocks * _BLOCK
            plan.inodes_needed += 1
        elif not self._alike(here, there) or not self._believed(here, there):
            plan.attributes.add(below)
        if here.st_dev == self._source.device:  # else a mount point: an empty directory
            self._open.append((below, present, patterns, database))

    def _extra(self, path: str, name: str, there: _Stat, patterns: areas.Patterns) -> None:
        """The target has an entry that the source has not."""
        if not path:
            ours = name.startswith(_RUNTIME_DATA) or name in self._record.top_names
            if name in self._request.not_data or not ours:
                return
        if patterns and not self._request.final:
            hit, rest = areas.below(patterns, name)
            if hit or (rest and stat.S_ISDIR(there.st_mode)):
                return
        self._plan.removals.append((path, name))
        self._plan.attributes.add(path)

    @staticmethod
    def _similar(here: _Stat, there: _Stat) -> bool:
        """The data may well be the same; a directory's size means nothing."""
        return (
            here.st_mtime_ns == there.st_mtime_ns
            and here.st_mode >> 12 == there.st_mode >> 12
            and (stat.S_ISDIR(here.st_mode) or here.st_size == there.st_size)
            and here.st_rdev == there.st_rdev
        )

    def _alike(self, here: _Stat, there: _Stat) -> bool:
        """As far as can be told without looking inside."""
        return (
            here.st_mode == there.st_mode
            and here.st_uid == there.st_uid
            and here.st_gid == there.st_gid
            and self._similar(here, there)
        )

    def _believed(self, here: _Stat, there: _Stat) -> bool:
        return self._record.believes(here.st_ctime_ns, there.st_ctime_ns)
