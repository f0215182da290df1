"""What earlier passes left: which entries of the target may be believed without a look inside.

Owns: `.nodestoraged/copy-state.json` in the target, and the rule of belief.  May not know: how
entries are compared or copied.

An entry that looks alike (type, size, owner, mode, mtime) is believed if

- it was last changed on the target (its ctime) during a pass over this same source,
- the source's entry was last changed (its ctime) before that pass began, and
- the target was known to have everything on its medium at some time after that.

Everything else that looks alike is compared byte by byte: what was extracted or stored through a
memory map while we copied, what a power cut or a pulled stick may have torn (size and mtime
survive such a thing, data does not), and all that did not come from us.  When the clock was set
back, nothing is believed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from bisect import bisect_right
from collections.abc import Mapping

from nodestoraged.copier.tree import DIRECTORY, Tree

__all__ = ["Record", "coarse_now_ns", "wait_for_tick"]

_DIRECTORY = ".nodestoraged"
_NAME = "copy-state.json"
_NEW = "copy-state.new"
_MOST_BYTES = 1 << 20
_MOST_PASSES = 64
#: The clock from which the kernel takes the times of files.
_CLOCK_REALTIME_COARSE = 5


def coarse_now_ns() -> int:
    """The time that an entry changed now would bear."""
    return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)


def wait_for_tick() -> None:
    """What changes from now on bears a later time than what changed before: at most 10 ms."""
    now = coarse_now_ns()
    while coarse_now_ns() == now:
        time.sleep(0.001)


class Record:
    """The record of one target, for one source; `save` may be called by one thread at a time."""

    __slots__ = ("_begins", "_source", "_synced", "_target", "top_names")

    def __init__(self, source: Tree, target: Tree) -> None:
        """Reads what is there; an unreadable record, or one of another source, is none."""
        self._target = target
        top = os.fstat(source.fd)
        self._source = f"{os.fstatvfs(source.fd).f_fsid:x}:{top.st_ino}"
        self._begins: list[int] = []
        self._synced = 0
        #: Names that the source has had in its top directory.
        self.top_names: frozenset[str] = frozenset()
        self._take(self._read())

    def begin(self) -> None:
        """A pass begins now; to be called before anything is read or written."""
        now = coarse_now_ns()
        if self._begins and now <= max(self._begins[-1], self._synced):
            self._begins, self._synced = [], 0
        self._begins = [*self._begins, now][-_MOST_PASSES:]
        self.save()

    def synced(self, moment_ns: int) -> None:
        """Everything that was written before `moment_ns` is on the medium."""
        self._synced = moment_ns
        self.save()

    def believes(self, source_ctime_ns: int, target_ctime_ns: int) -> bool:
        """An entry that looks alike and bears these times is alike."""
        if target_ctime_ns >= self._synced:
            return False
        place = bisect_right(self._begins, target_ctime_ns)
        return place > 0 and source_ctime_ns < self._begins[place - 1]

    def save(self) -> None:
        """The record is in the target, whole or as it was before.

        Not yet on the medium, and it need not be: an older record only believes less.
        """
        content = {
            "schema": 1,
            "source": self._source,
            "begins": self._begins,
            "synced": self._synced,
            "top_names": sorted(self.top_names),
        }
        directory = self._directory()
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(_NEW, flags, 0o600, dir_fd=directory)
            try:
                os.write(fd, json.dumps(content).encode())
            finally:
                os.close(fd)
            os.replace(_NEW, _NAME, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(directory)

    def _directory(self) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(_DIRECTORY, 0o700, dir_fd=self._target.fd)
        return self._target.open(_DIRECTORY, DIRECTORY)

    def _read(self) -> Mapping[str, object]:
        try:
            directory = self._target.open(_DIRECTORY, DIRECTORY)
        except FileNotFoundError:
            return {}
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(_NAME, flags, dir_fd=directory)
        except FileNotFoundError:
            return {}
        finally:
            os.close(directory)
        try:
            content = json.loads(os.read(fd, _MOST_BYTES))
        except ValueError:
            return {}
        finally:
            os.close(fd)
        return content if isinstance(content, dict) else {}

    def _take(self, content: Mapping[str, object]) -> None:
        begins, synced = content.get("begins"), content.get("synced")
        names = content.get("top_names")
        if (
            content.get("schema") != 1
            or content.get("source") != self._source
            or not isinstance(begins, list)
            or not all(isinstance(one, int) for one in begins)
            or begins != sorted(begins)
            or not isinstance(synced, int)
            or not isinstance(names, list)
        ):
            return
        self._begins, self._synced = begins, synced
        self.top_names = frozenset(str(one) for one in names)
