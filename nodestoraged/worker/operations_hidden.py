"""What lies hidden under the mount on a runtime root: looked at, and removed.

Owns: hidden, reclaim.  May not know: when it is safe to remove it.

The mount in the way is not moved: the parent directory's mount is cloned without the mounts on
it, and the root is opened in that private view.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import NamedTuple

from nodestoraged.linux import mountinfo
from nodestoraged.worker import arguments, directories, hidden_users, removal
from nodestoraged.worker.directories import DIRECTORY
from nodestoraged.worker.failure import OperationFailed, printable

__all__ = ["hidden", "reclaim"]

_ENTRIES_SHOWN = 20
_USERS_SHOWN = 20
_GUARD_SECONDS = 0.05


class _Covered(NamedTuple):
    """The directory under the mount, opened, and the top of what is mounted on it."""

    directory: int
    top: directories.Key
    place: hidden_users.Place


class _Guard:
    """Ends a removal when the mount has gone: what was hidden may be the root in force then."""

    __slots__ = ("_next", "_place")

    def __init__(self, place: hidden_users.Place) -> None:
        self._place = place
        self._next = 0.0

    def check(self) -> None:
        """Raises NotHidden unless the same mount still lies on the root; looks now and then."""
        now = time.monotonic()
        if now < self._next:
            return
        present = mountinfo.mounts_at(mountinfo.read(), self._place.root)
        if [row.mount_id for row in present] != [self._place.mounted.mount_id]:
            message = f"what was mounted on {self._place.root} is there no more"
            raise OperationFailed("NotHidden", message)
        self._next = time.monotonic() + _GUARD_SECONDS


def hidden(args: Mapping[str, object]) -> Mapping[str, object]:
    """What lies under the mount on `root`; nothing is changed and nobody sees that we look.

    Returns entries ({name, used_bytes, files}, the 20 largest), used_bytes and files of all,
    and held_by: who still uses any of it, as far as we may see.  All empty if nothing is mounted
    on `root`.  A file with several names counts once; `files` are entries but directories.
    Raises MountStacked, NotHidden.
    """
    root = directories.canonical(arguments.path(args, "root"))
    covered = _open(root)
    if covered is None:
        return {"entries": [], "used_bytes": 0, "files": 0, "held_by": []}
    try:
        entries, total = _entries(covered)
        users = hidden_users.of(covered.place)[:_USERS_SHOWN]
    finally:
        os.close(covered.directory)
    return {
        "entries": entries,
        "used_bytes": total.used_bytes,
        "files": total.files,
        "held_by": [printable(user) for user in users],
    }


def reclaim(args: Mapping[str, object]) -> Mapping[str, object]:
    """Nothing lies under the mount on `root`; the directory itself stays, and so does the mount.

    Returns files and freed_bytes.  Done twice it finds nothing the second time; stopped in the
    middle it goes on where it was.  Raises NotHidden when nothing is mounted on `root` (also
    from the moment when that is so), or when what is mounted is the same directory; StillHeld
    with `details.holders` while somebody uses any of it; NotPermitted (immutable entries) or
    Busy after everything else is gone.
    """
    root = directories.canonical(arguments.path(args, "root"))
    covered = _open(root)
    if covered is None:
        raise OperationFailed("NotHidden", f"nothing is mounted on {root}")
    try:
        users = [printable(user) for user in hidden_users.of(covered.place)]
        if users:
            message = f"what lies under {root} is used by {', '.join(users[:5])}"
            raise OperationFailed("StillHeld", message, details={"holders": users[:_USERS_SHOWN]})
        tally = removal.Tally(protected=(covered.top,), guard=_Guard(covered.place).check)
        removal.empty(covered.directory, tally)
    finally:
        os.close(covered.directory)
    removal.raise_left(tally)
    return {"files": tally.files, "freed_bytes": tally.used_bytes}


def _open(root: str) -> _Covered | None:
    """The directory under the one mount on the canonical `root`; None if there is no mount."""
    rows = mountinfo.read()
    mounted = mountinfo.mounts_at(rows, root)
    if not mounted:
        return None
    if len(mounted) > 1:
        raise OperationFailed("MountStacked", f"{len(mounted)} mounts lie on {root}")
    parent, name = os.path.split(root)
    view = directories.detached(parent)
    try:
        directory = os.open(name, DIRECTORY, dir_fd=view)
    finally:
        os.close(view)
    try:
        visible = os.stat(root)
        top = (visible.st_dev, visible.st_ino)
        covering = mountinfo.covering(rows, parent)
        assert covering is not None  # "/" covers everything
        inside = os.path.join(covering.root, os.path.relpath(parent, covering.target), name)
        place = hidden_users.Place(
            root=root,
            directory=directory,
            number=(covering.major, covering.minor),
            inside=os.path.normpath(inside),
            mounted=mounted[0],
        )
        _refuse_same(place, top)
    except BaseException:
        os.close(directory)
        raise
    return _Covered(directory, top, place)


def _refuse_same(place: hidden_users.Place, top: directories.Key) -> None:
    """Raises NotHidden if the directory is, holds, or lies in what is mounted on it.

    A directory of the same file system may be bound onto the root: the device alone tells then
    nothing, and to remove what is hidden could remove what is seen.
    """
    found = directories.key_of(place.directory)
    same_superblock = (place.mounted.major, place.mounted.minor) == place.number
    if found[0] != top[0] and not same_superblock:
        return
    seen = place.mounted.root
    if found == top or (same_superblock and hidden_users.is_related(seen, place.inside)):
        message = f"what is mounted on {place.root} is {seen} of the same file system"
        raise OperationFailed("NotHidden", message)


def _entries(covered: _Covered) -> tuple[list[dict[str, object]], removal.Tally]:
    total = removal.Tally(protected=(covered.top,))
    found: list[dict[str, object]] = []
    with os.scandir(covered.directory) as listed:
        names = [entry.name for entry in listed]
    for name in names:
        used_before, files_before = total.used_bytes, total.files
        removal.measure_entry(covered.directory, name, total)
        used, files = total.used_bytes - used_before, total.files - files_before
        found.append({"name": printable(name), "used_bytes": used, "files": files})
    found.sort(key=_size, reverse=True)
    return found[:_ENTRIES_SHOWN], total


def _size(entry: Mapping[str, object]) -> tuple[int, str]:
    used = entry["used_bytes"]
    assert isinstance(used, int)
    return used, str(entry["name"])
