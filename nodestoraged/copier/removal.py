"""Removes entries of the target with all that lies below.

Owns: the walk.  May not know: why something goes.  No recursion: a container may have made a
directory a thousand levels deep.
"""

from __future__ import annotations

import errno
import os

from nodestoraged.copier.tree import Tree, join

__all__ = ["remove"]


def remove(target: Tree, directory: str, name: str) -> int:
    """Nothing is called `name` in `directory`; returns how many entries are gone.

    No link is followed and no other mount entered (OSError with EXDEV).
    """
    parent = target.open(directory)
    try:
        if _unlink(name, parent):
            return 1
    except FileNotFoundError:
        return 0
    finally:
        os.close(parent)
    removed = 0
    first = join(directory, name)
    waiting, emptied = [first], []
    while waiting:
        path = waiting.pop()
        emptied.append(path)
        fd = target.open(path)
        try:
            with os.scandir(fd) as entries:
                names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for below, is_directory in names:
                if is_directory:
                    waiting.append(join(path, below))
                elif _unlink(below, fd):
                    removed += 1
        finally:
            os.close(fd)
    for path in reversed(emptied):
        above, _, last = path.rpartition("/")
        parent = target.open(above)
        try:
            os.rmdir(last, dir_fd=parent)
        finally:
            os.close(parent)
        removed += 1
    return removed


def _unlink(name: str, parent: int) -> bool:
    """Whether it was no directory, and is gone."""
    try:
        os.unlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EISDIR:
            return False
        raise
    return True
