"""Does the jobs of a plan: one entry after the other, as one of several threads.

Owns: how an entry becomes like its source.  May not know: why it must, or what others do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import TypeVar

from nodestoraged.copier import attributes, files
from nodestoraged.copier.failure import CopyFailed, Vanished, of_error
from nodestoraged.copier.jobs import ALIKE, OTHER, PRESENT, Job, Link
from nodestoraged.copier.pace import Pace
from nodestoraged.copier.progress import Counters
from nodestoraged.copier.tree import Pair, Tree, is_gone, join

__all__ = ["Worker"]

_Item = TypeVar("_Item")

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: what has become a pipe or a terminal meanwhile must not hold us.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: So much of a file is asked for before its turn: a disk works best with many wishes at once.
_AHEAD_BYTES = 1 << 20
#: Rights that do nobody harm before the owner is set.
_RIGHTS = 0o777


class Worker:
    """One of several over the same trees; each keeps its own directories open."""

    def __init__(
        self, source: Tree, target: Tree, *, final: bool, pace: Pace, counters: Counters
    ) -> None:
        self._source = source
        self._target = target
        self._pair = Pair(source, target)
        self._final = final
        self._pace = pace
        self._counters = counters
        self._ahead: dict[tuple[str, str], int] = {}

    def do_jobs(self, next_batch: Callable[[], Sequence[Job]]) -> None:
        """Files and other entries are like their sources."""

        def read_ahead() -> Sequence[Job]:
            batch = next_batch()
            for job in batch:
                if not job[4] & OTHER:
                    self._read_ahead(job)
            return batch

        try:
            self._each(read_ahead, self._job, lambda job: join(job[1], job[2]))
        finally:
            for source in self._ahead.values():
                os.close(source)

    def do_links(self, next_batch: Callable[[], Sequence[Link]]) -> None:
        """Names are links to the entries that they shall share."""
        self._each(next_batch, self._link, lambda link: join(link[0], link[1]))

    def do_directories(self, next_batch: Callable[[], Sequence[str]]) -> None:
        """Directories have the attributes and times of their sources."""
        self._each(next_batch, self._directory, lambda path: path)

    def _each(
        self,
        next_batch: Callable[[], Sequence[_Item]],
        do: Callable[[_Item], None],
        path_of: Callable[[_Item], str],
    ) -> None:
        try:
            while batch := next_batch():
                for item in batch:
                    try:
                        do(item)
                    except Vanished as error:
                        self._vanished(path_of(item), error)
                    except OSError as error:
                        raise of_error(error, join(self._target.path, path_of(item))) from error
        finally:
            self._pair.close()

    def _vanished(self, path: str, cause: Exception) -> None:
        if self._final:
            message = f"{join(self._source.path, path)} changed; the source is still in use"
            raise CopyFailed("CopyFailed", message) from cause
        with self._counters.lock:
            self._counters.vanished += 1

    def _wrote_entry(self) -> None:
        with self._counters.lock:
            self._counters.written += 1

    def _job(self, job: Job) -> None:
        _, directory, name, size, flags = job
        if flags & OTHER:
            self._other(directory, name, flags)
        else:
            self._file(directory, name, size, flags)
        with self._counters.lock:
            self._counters.files_done += 1

    # ---------------------------------------------------------------- regular files

    def _read_ahead(self, job: Job) -> None:
        """The device is asked for the file's data; the file's own turn comes soon."""
        _, directory, name, size, _ = job
        with contextlib.suppress(OSError, CopyFailed, Vanished):  # met again at its turn
            ours, _ = self._pair.directories(directory)
            source = self._open_file(ours, directory, name)
            self._ahead[directory, name] = source
            if size:
                os.posix_fadvise(source, 0, min(size, _AHEAD_BYTES), os.POSIX_FADV_WILLNEED)

    def _file(self, directory: str, name: str, size: int, flags: int) -> None:
        ours, theirs = self._pair.directories(directory)
        source = self._ahead.pop((directory, name), -1)
        if source < 0:
            source = self._open_file(ours, directory, name)
        try:
            like = os.fstat(source)
            covered = self._source.is_covered(like, join(directory, name))
            if covered or not stat.S_ISREG(like.st_mode):
                raise Vanished(name)
            if flags & ALIKE:
                if self._stays(source, like, theirs, name):
                    return
                with self._counters.lock:  # all of it is moved once more
                    self._counters.bytes_total += size
            if flags & PRESENT:
                _unlink(name, theirs)
            self._write(source, like, theirs, name, size)
            if self._final and _changed(like, os.fstat(source)):
                raise Vanished(name)
        finally:
            os.close(source)

    def _open_file(self, parent: int, directory: str, name: str) -> int:
        try:
            try:
                return os.open(name, _READ | os.O_NOATIME, dir_fd=parent)
            except PermissionError:  # not the owner, and no capability to overlook that
                return os.open(name, _READ, dir_fd=parent)
        except OSError as error:
            if is_gone(error) or error.errno == errno.ENXIO:  # a socket or a whiteout by now
                raise Vanished(name) from error
            raise of_error(error, join(self._source.path, join(directory, name))) from error

    def _stays(self, source: int, like: os.stat_result, directory: int, name: str) -> bool:
        """The target's file of that name has the same data and is like the source now."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        target = os.open(name, flags, dir_fd=directory)
        try:
            there = os.fstat(target)
            if there.st_size != like.st_size:
                return False
            if not files.same_data(source, target, like.st_size, self._pace):
                return False
            self._finish(source, target, like, there, plain=True)
        finally:
            os.close(target)
        return True

    def _finish(
        self,
        source: int,
        target: int,
        like: os.stat_result,
        there: os.stat_result,
        *,
        plain: bool,
    ) -> None:
        """What holds the right data is the source's like in all else, and bears a new ctime."""
        same = like.st_mode == there.st_mode
        same = same and (like.st_uid, like.st_gid) == (there.st_uid, there.st_gid)
        if same and attributes.alike(source, target, plain=plain):
            attributes.set_times(target, like, plain=plain)
        else:
            attributes.make_alike(source, target, like, plain=plain, fresh=False)
            self._wrote_entry()

    def _write(
        self, source: int, like: os.stat_result, directory: int, name: str, size: int
    ) -> None:
        # root's for now, and in a directory that is root's alone while it is new
        target = os.open(name, _NEW, like.st_mode & _RIGHTS, dir_fd=directory)
        try:
            written = files.copy_data(source, target, like, self._pace)
            attributes.make_alike(source, target, like, plain=True, fresh=True)
        finally:
            os.close(target)
        if written < size:
            self._pace.read(size - written)
        self._wrote_entry()

    # ---------------------------------------------------------------- everything else

    def _other(self, directory: str, name: str, flags: int) -> None:
        """A link, pipe, socket or device: made again, never opened."""
        ours, theirs = self._pair.directories(directory)
        source = _open_path(name, ours)
        try:
            like = os.fstat(source)
            if stat.S_ISREG(like.st_mode) or stat.S_ISDIR(like.st_mode):
                raise Vanished(name)
            if flags & ALIKE and self._other_stays(source, like, theirs, name):
                return
            if flags & PRESENT:
                _unlink(name, theirs)
            if stat.S_ISLNK(like.st_mode):
                os.symlink(os.readlink("", dir_fd=source), name, dir_fd=theirs)
            else:
                mode = stat.S_IFMT(like.st_mode) | like.st_mode & _RIGHTS
                os.mknod(name, mode, like.st_rdev, dir_fd=theirs)
            target = os.open(name, _PATH, dir_fd=theirs)
            try:
                attributes.make_alike(source, target, like, plain=False, fresh=True)
            finally:
                os.close(target)
            self._wrote_entry()
        finally:
            os.close(source)

    def _other_stays(self, source: int, like: os.stat_result, directory: int, name: str) -> bool:
        target = os.open(name, _PATH, dir_fd=directory)
        try:
            there = os.fstat(target)
            if stat.S_IFMT(there.st_mode) != stat.S_IFMT(like.st_mode):
                return False
            if there.st_rdev != like.st_rdev:
                return False
            if stat.S_ISLNK(like.st_mode) and (
                os.readlink("", dir_fd=source) != os.readlink("", dir_fd=target)
            ):
                return False
            self._finish(source, target, like, there, plain=False)
        finally:
            os.close(target)
        return True

    def _link(self, link: Link) -> None:
        directory, name, first_directory, first_name = link
        ours, theirs = self._pair.directories(directory)
        _, first = self._pair.directories(first_directory)
        try:
            wanted = os.stat(first_name, dir_fd=first, follow_symlinks=False).st_ino
        except FileNotFoundError as error:  # it vanished before it could be copied
            raise Vanished(first_name) from error
        with contextlib.suppress(FileNotFoundError):
            if os.stat(name, dir_fd=theirs, follow_symlinks=False).st_ino == wanted:
                return
            _unlink(name, theirs)
        try:
            os.link(first_name, name, src_dir_fd=first, dst_dir_fd=theirs, follow_symlinks=False)
            self._wrote_entry()
        except OSError as error:
            if error.errno != errno.EMLINK:  # ext4 takes 65,000, other file systems more
                raise
            here = os.stat(name, dir_fd=ours, follow_symlinks=False)
            flags = 0 if stat.S_ISREG(here.st_mode) else OTHER
            self._job((here.st_ino, directory, name, 0, flags))

    def _directory(self, path: str) -> None:
        above, _, name = path.rpartition("/")
        ours, theirs = self._pair.directories(above)
        # By the parent, and by path only: something may be mounted there in the source.
        source = _open_path(name or ".", ours)
        try:
            target = os.open(name or ".", _PATH, dir_fd=theirs)
            try:
                like = os.fstat(source)
                if not stat.S_ISDIR(like.st_mode):
                    raise Vanished(path)
                there = os.fstat(target)
                self._finish(source, target, like, there, plain=False)
            finally:
                os.close(target)
        finally:
            os.close(source)


def _open_path(name: str, directory: int) -> int:
    try:
        return os.open(name, _PATH, dir_fd=directory)
    except OSError as error:
        if is_gone(error):
            raise Vanished(name) from error
        raise


def _unlink(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
