"""Who uses a directory that a mount hides: locks, bind mounts, overlays, open files.

Owns: how each of these is told from a use of what is mounted there, under the very same path.
May not know: what follows from it.

What the paths cannot tell, these can:
- a lock names device and inode of the file;
- a mount names its superblock and the directory in it;
- an overlay shows, as the inode of its top, that of its upper directory (all layers lie on one
  file system: Documentation/filesystems/overlayfs.rst, "Inode properties");
- an open file's fdinfo names the mount that it was opened through.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nodestoraged.linux import locks, mountinfo, process
from nodestoraged.worker.directories import DIRECTORY

__all__ = ["Place", "is_related", "of"]

_DATABASES = ("meta.db", "metadata.db", "mounts.db")
_LAYERS = ("upperdir", "lowerdir", "lowerdir+")


class Place(NamedTuple):
    """The hidden directory: by path, opened in a private view, and in its file system.

    `number` is the superblock's, `inside` the path of the directory in it, `mounted` what lies
    on the path.
    """

    root: str
    directory: int
    number: tuple[int, int]
    inside: str
    mounted: mountinfo.MountRow


def of(place: Place) -> list[str]:
    """Everybody who uses something of it, in words: `containerd (812, lock)`; each once.

    A process that we may not look into counts by its locks and mounts only.
    """
    found: dict[str, None] = {}
    processes = {each.pid: each for each in process.table() if not each.ended}
    for pid in _lock_owners(place):
        found[_words(processes.get(pid), pid, "lock")] = None
    seen_superblocks: set[tuple[int, int]] = set()
    seen_namespaces: set[str] = set()
    for pid in (os.getpid(), *processes):
        rows = _rows(pid, seen_namespaces)
        for text in _mounts(place, rows, pid, seen_superblocks):
            found[text] = None
    ours = mountinfo.read()
    for each in processes.values():
        if each.pid != os.getpid() and _has_open(place, each.pid, ours):
            found[_words(each, each.pid, "file")] = None
    return list(found)


def is_related(one: str, other: str) -> bool:
    """True if the paths are equal, or one lies below the other."""
    first, second = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)


def _lock_owners(place: Place) -> Iterator[int]:
    databases = frozenset(_databases(place.directory))
    if not databases:
        return
    for row in locks.read():
        if (row.major, row.minor) == place.number and row.inode in databases:
            yield row.pid


def _databases(root: int) -> Iterator[int]:
    with os.scandir(root) as entries:
        plugins = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for plugin in plugins:
        with contextlib.suppress(OSError):
            below = os.open(plugin, DIRECTORY, dir_fd=root)
            try:
                for name in _DATABASES:
                    with contextlib.suppress(OSError):
                        yield os.stat(name, dir_fd=below, follow_symlinks=False).st_ino
            finally:
                os.close(below)


def _rows(pid: int, namespaces: set[str]) -> tuple[mountinfo.MountRow, ...]:
    """The mount table of `pid`, unless it is one that was read already."""
    with contextlib.suppress(OSError):
        namespace = os.readlink(f"/proc/{pid}/ns/mnt")
        if namespace in namespaces:
            return ()
        namespaces.add(namespace)
    with contextlib.suppress(OSError):
        return mountinfo.read(pid)
    return ()


def _mounts(
    place: Place, rows: Iterable[mountinfo.MountRow], pid: int, seen: set[tuple[int, int]]
) -> Iterator[str]:
    for row in rows:
        number = (row.major, row.minor)
        if number == place.number and _is_below(row.root, place.inside):
            yield f"a mount on {row.target}"
        elif row.fstype == "overlay" and number not in seen:
            seen.add(number)
            if _is_overlay_of(place, row, pid):
                yield f"an overlay on {row.target}"


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")


def _is_overlay_of(place: Place, row: mountinfo.MountRow, pid: int) -> bool:
    """The overlay's topmost layer lies in the hidden directory, not in what is mounted there."""
    layer = _top_layer(row.super_options)
    prefix = place.root + "/"
    if layer is None or not layer.startswith(prefix):
        return False
    below = layer[len(prefix) :]
    hidden_inode = _inode(below, place.directory)
    if hidden_inode is None:
        return False
    visible_inode = _inode(layer, None)
    if visible_inode is None:
        return True
    # Both have it: the stick was copied from this directory.  If the top's own inode cannot be
    # read (another's mount namespace), the answer is the careful one.
    own = _inode(f"/proc/{pid}/root{row.target}", None)
    return own is None or own != visible_inode or visible_inode == hidden_inode


def _top_layer(options: Iterable[str]) -> str | None:
    layers: dict[str, str] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key in _LAYERS:
            layers.setdefault(key, value)
    for key in _LAYERS:
        if key in layers:
            return layers[key].split(":")[0]
    return None


def _inode(path: str, directory: int | None) -> int | None:
    try:
        return os.stat(path, dir_fd=directory, follow_symlinks=False).st_ino
    except OSError:
        return None


def _has_open(place: Place, pid: int, ours: tuple[mountinfo.MountRow, ...]) -> bool:
    base = f"/proc/{pid}"
    links = [f"{base}/{name}" for name in ("cwd", "root", "exe")]
    with contextlib.suppress(OSError):
        links += [f"{base}/fd/{name}" for name in os.listdir(f"{base}/fd")]
    return any(_is_inside(place, link, ours) for link in links)


def _is_inside(place: Place, link: str, ours: tuple[mountinfo.MountRow, ...]) -> bool:
    """The open file has a path below the root, but is not on the mount that lies there."""
    try:
        # The name is read from memory; a disk that hangs is not touched by it.
        if not _is_below(os.readlink(link).removesuffix(" (deleted)"), place.root):
            return False
        fd = os.open(link, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        row = mountinfo.of_file(ours, fd)
        if row is not None:
            return row.mount_id != place.mounted.mount_id and place.number == (row.major, row.minor)
        return os.fstat(fd).st_dev == os.fstat(place.directory).st_dev
    finally:
        os.close(fd)


def _words(found: process.Process | None, pid: int, how: str) -> str:
    return f"{found.comm if found else 'a process'} ({pid}, {how})"
