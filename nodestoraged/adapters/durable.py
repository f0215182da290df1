"""Files that outlive a power cut.

Owns: the order of flushes that makes a file durable.  May not know: what is in it.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["put_in_place", "sync_directory"]


def put_in_place(partial: Path, final: Path) -> None:
    """`final` is what was written to `partial`; a power cut leaves it or the old one, each whole.

    Both are names in one directory.
    """
    # The content first: a name that is on the disk before it would lead to an empty file.
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(final)
    sync_directory(final.parent)


def sync_directory(directory: Path) -> None:
    """The names in the directory are on the disk as they are now."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
