"""Takes a stopped runtime's root back to less: no containers, no images, nothing, verified blobs.

Owns: wash, keep_images_only, and which names in a root are containerd's.
May not know: how images come back, and when a wash is due.

containerd makes whatever it misses.  What it must not find is one half of a pair: the metadata
goes first, because snapshots without metadata are waste, and metadata without snapshots is a
container that cannot start.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Mapping

from nodestoraged.linux import locks, mountinfo, process
from nodestoraged.linux.libc import LIBC, check
from nodestoraged.worker import arguments, blobs, directories, removal
from nodestoraged.worker.directories import DIRECTORY
from nodestoraged.worker.failure import OperationFailed

__all__ = ["keep_images_only", "wash"]

_OURS = ".nodestoraged"
_LOST = "lost+found"  # mke2fs makes it, and e2fsck would miss it
_METADATA = "io.containerd.metadata.v1.bolt"
_CONTENT = "io.containerd.content.v1.content"
_BLOBS = "blobs"
_ALGORITHM = "sha256"
#: containerd's own id, which is no data: <root>/io.containerd.grpc.v1.introspection/uuid
_INTROSPECTION = "io.containerd.grpc.v1.introspection"
_PLUGINS = "io.containerd."
_TEMPORARY = "tmpmounts"

#: True if the entry of that name, a directory or not, stays.
_Stays = Callable[[str, bool], bool]


def wash(args: Mapping[str, object]) -> Mapping[str, object]:
    """The stopped runtime's root at `root` holds no more than `tier` leaves.

    - `containers`: the blobs of images stay; metadata, snapshots and all other state are gone.
    - `images`: nothing of containerd's own is left; `opt` and foreign entries stay.
    - `all`: nothing is left but our own directory and `lost+found`.

    Returns files and freed_bytes.  Raises Busy if something is mounted below, StillHeld while a
    process has the metadata locked, NotPermitted for immutable entries after all others went.
    """
    tier = arguments.text(args, "tier")
    tiers: Mapping[str, _Stays] = {
        "containers": _is_no_container,
        "images": _is_foreign,
        "all": _is_not_data,
    }
    stays = tiers.get(tier)
    if stays is None:
        raise OperationFailed("BadArguments", f"no tier: {tier!r}")
    root = _open_idle(arguments.path(args, "root"))
    tally = removal.Tally()
    try:
        removal.remove(root, _METADATA, tally)
        os.fsync(root)
        _remove_others(root, stays, tally)
        if tier == "containers":
            with _below(root, _CONTENT) as content:
                if content is not None:
                    _remove_others(content, _is_blobs, tally)
        check(LIBC.syncfs(ctypes.c_int(root)))
    finally:
        os.close(root)
    removal.raise_left(tally)
    return {"files": tally.files, "freed_bytes": tally.used_bytes}


def keep_images_only(args: Mapping[str, object]) -> Mapping[str, object]:
    """Only content blobs whose SHA-256 is their name are left in the root at `root`.

    For a foreign stick: containerd trusts metadata, names and committed snapshots without ever
    checking them again, so a planted one would run.  Blobs become root's and read-only.
    Returns files and freed_bytes; raises as `wash`.
    """
    root = _open_idle(arguments.path(args, "root"))
    tally = removal.Tally()
    try:
        removal.remove(root, _METADATA, tally)
        os.fsync(root)
        _remove_others(root, _is_content, tally)
        with contextlib.ExitStack() as opened:
            directory = root
            for name, stays in _WAY_TO_BLOBS:
                _remove_others(directory, stays, tally)
                below = opened.enter_context(_below(directory, name))
                if below is None:
                    break
                blobs.make_roots(below, 0o755)
                directory = below
            else:
                blobs.keep_verified(directory, tally)
        check(LIBC.syncfs(ctypes.c_int(root)))
    finally:
        os.close(root)
    removal.raise_left(tally)
    return {"files": tally.files, "freed_bytes": tally.used_bytes}


def _open_idle(path: str) -> int:
    """The root in a private view, with nothing mounted below it and no runtime at work in it."""
    root = directories.canonical(path)
    directories.refuse_mounts_below(root)
    opened = directories.detached(root)
    try:
        _refuse_locked(opened, root)
    except BaseException:
        os.close(opened)
        raise
    return opened


def _refuse_locked(root: int, path: str) -> None:
    try:
        database = os.stat(f"{_METADATA}/meta.db", dir_fd=root, follow_symlinks=False)
    except OSError:
        return
    covering = mountinfo.covering(mountinfo.read(), path)
    assert covering is not None  # "/" covers everything
    number = (covering.major, covering.minor)  # st_dev may be another one: mountinfo.device_of
    for row in locks.read():
        if (row.major, row.minor) == number and row.inode == database.st_ino and not row.waits:
            comms = {each.pid: each.comm for each in process.table()}
            holder = f"{comms.get(row.pid, 'a process')} ({row.pid})"
            raise OperationFailed("StillHeld", f"{holder} has the database in {path} locked")


def _remove_others(directory: int, stays: _Stays, tally: removal.Tally) -> None:
    """Every entry of the open `directory` is gone but those that stay, by name and kind."""
    with os.scandir(directory) as entries:
        going = [
            entry.name
            for entry in entries
            if not stays(entry.name, entry.is_dir(follow_symlinks=False))
        ]
    for name in going:
        removal.remove(directory, name, tally)


@contextlib.contextmanager
def _below(directory: int, name: str) -> Iterator[int | None]:
    """The directory `name` in the open `directory`; None if there is none (a link is none)."""
    try:
        opened = os.open(name, DIRECTORY, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield opened
    finally:
        os.close(opened)


def _is_not_data(name: str, is_directory: bool) -> bool:
    return is_directory and name in (_OURS, _LOST)


def _is_foreign(name: str, _is_directory: bool) -> bool:
    return not name.startswith(_PLUGINS) and name != _TEMPORARY


def _is_no_container(name: str, is_directory: bool) -> bool:
    if is_directory and name in (_CONTENT, _INTROSPECTION):
        return True
    return _is_foreign(name, is_directory)


def _is_content(name: str, is_directory: bool) -> bool:
    return is_directory and name in (_CONTENT, _OURS, _LOST)


def _is_blobs(name: str, is_directory: bool) -> bool:
    return is_directory and name == _BLOBS


def _is_algorithm(name: str, is_directory: bool) -> bool:
    return is_directory and name == _ALGORITHM


#: From the top directory to the one that holds the blobs, and what stays beside the way.
_WAY_TO_BLOBS: tuple[tuple[str, _Stays], ...] = (
    (_CONTENT, _is_content),
    (_BLOBS, _is_blobs),
    (_ALGORITHM, _is_algorithm),
)
