"""The two directory trees, reached by descriptors only: no link is followed, no mount entered.

Owns: opening, the devices that they must lie on, and the few directories kept open per thread.
May not know: what is copied or why.
"""

from __future__ import annotations

import errno
import os

from nodestoraged.copier.failure import CopyFailed, Vanished, of_error
from nodestoraged.linux import mountinfo
from nodestoraged.linux.beneath import open_beneath

__all__ = ["DIRECTORY", "Pair", "Tree", "is_gone", "join"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 16
#: include/uapi/linux/btrfs_tree.h, BTRFS_FIRST_FREE_OBJECTID: the top directory of a subvolume.
_SUBVOLUME_INODE = 256
#: What a path of the source answers when something else has taken its place.
_REPLACED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})


class Tree:
    """One tree: its top directory is open and is on the device that was meant."""

    __slots__ = ("_fstype", "_listed", "_mounted", "device", "fd", "path")

    def __init__(self, path: str, number: tuple[int, int]) -> None:
        """Raises CopyFailed: `DeviceChanged` if it lies on another device than `number`."""
        self.path = path
        try:
            self.fd = os.open(path, DIRECTORY)
        except OSError as error:
            raise of_error(error, path) from error
        self.device = os.fstat(self.fd).st_dev
        rows = mountinfo.read()
        row = mountinfo.of_file(rows, self.fd)
        self._fstype = "" if row is None else row.fstype
        self._mounted = frozenset(row.target for row in mountinfo.below(rows, path))
        # The number that the mount table tells: a subvolume of btrfs has another st_dev.
        found = mountinfo.device_of(self.fd)
        if found != number:
            text = "{}:{}".format
            message = f"{path} lies on device {text(*found)}, not on {text(*number)}"
            raise CopyFailed("DeviceChanged", message)
        # Some file systems have a number of their own that belongs to no block device.
        self._listed = self._in_sysfs()

    def open(self, path: str, flags: int = DIRECTORY) -> int:
        """The entry at `path` is open; "" is the top directory."""
        return open_beneath(self.fd, path, flags)

    def is_covered(self, here: os.stat_result, path: str) -> bool:
        """Something of another file system is mounted on the file at `path`, which is `here`.

        Where the layers of an overlay lie apart, each file has the number of its layer.
        """
        if here.st_dev == self.device:
            return False
        return self._fstype != "overlay" or f"{self.path}/{path}" in self._mounted

    def is_subvolume(self, here: os.stat_result, path: str) -> bool:
        """The directory at `path`, which is `here`, is a subvolume of this very file system."""
        return (
            self._fstype == "btrfs"
            and here.st_dev != self.device
            and here.st_ino == _SUBVOLUME_INODE
            and f"{self.path}/{path}" not in self._mounted
        )

    @property
    def unplugged(self) -> bool:
        """The kernel knows the device no more."""
        return self._listed and not self._in_sysfs()

    def _in_sysfs(self) -> bool:
        number = f"{os.major(self.device)}:{os.minor(self.device)}"
        return os.path.lexists(f"/sys/dev/block/{number}")


class Pair:
    """Directories of both trees, kept open as long as one thread works in them.

    Files come in the order of their inodes, and so mostly directory by directory.
    """

    __slots__ = ("_open", "_source", "_target")

    def __init__(self, source: Tree, target: Tree) -> None:
        self._source = source
        self._target = target
        self._open: dict[str, tuple[int, int]] = {}

    def directories(self, path: str) -> tuple[int, int]:
        """The directory `path` in the source and in the target; Vanished if the source's is."""
        found = self._open.pop(path, None)
        if found is not None:
            self._open[path] = found  # the last to be closed: callers hold two at once
            return found
        if len(self._open) >= _KEPT:
            self._close(next(iter(self._open)))
        try:
            ours = self._source.open(path)
        except OSError as error:
            if is_gone(error):
                raise Vanished(path) from error
            raise
        try:
            theirs = self._target.open(path)
        except OSError:
            os.close(ours)
            raise
        self._open[path] = ours, theirs
        return ours, theirs

    def close(self) -> None:
        """Nothing is kept open."""
        for path in tuple(self._open):
            self._close(path)

    def _close(self, path: str) -> None:
        for fd in self._open.pop(path):
            os.close(fd)


def is_gone(error: OSError) -> bool:
    """An entry of the source is not there any more, or something else stands in its place."""
    return error.errno in _REPLACED


def join(directory: str, name: str) -> str:
    """The path of `name` in `directory`, which is "" for the top."""
    return f"{directory}/{name}" if directory else name
