"""How much a tree takes up, on its own file system.

Owns: usage.  May not know: what the tree is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from nodestoraged.linux import mountinfo
from nodestoraged.worker import arguments

__all__ = ["usage"]

_BLOCK_BYTES = 512  # st_blocks counts these, whatever the file system's own are


def usage(args: Mapping[str, object]) -> Mapping[str, object]:
    """Allocated bytes and entries below `path`, as du -x counts them; returns bytes, entries.

    Links are not followed, other devices not entered, hard links counted once.  What vanishes
    meanwhile is left out: the tree may be in use.
    """
    path = os.path.realpath(arguments.path(args, "path"))
    device = os.stat(path).st_dev
    mounted = frozenset(row.target for row in mountinfo.below(mountinfo.read(), path))
    seen: set[tuple[int, int]] = set()
    total = entries = 0
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as listing:
                found = list(listing)
        except OSError:
            continue
        for entry in found:
            try:
                told = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            entries += 1
            if entry.path in mounted:
                continue
            if stat.S_ISDIR(told.st_mode):
                # A file's number may be its layer's (overlayfs), a directory's never is.
                if told.st_dev != device:
                    continue
                waiting.append(entry.path)
            elif told.st_nlink > 1:
                inode = (told.st_dev, told.st_ino)
                if inode in seen:
                    continue
                seen.add(inode)
            total += told.st_blocks * _BLOCK_BYTES
    return {"bytes": total, "entries": entries}
