"""Looks whether the databases of a runtime root can be used.

Owns: check_database, and where containerd keeps its databases.  May not know: their format.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from nodestoraged.worker import arguments, boltfile
from nodestoraged.worker.directories import DIRECTORY
from nodestoraged.worker.failure import printable

__all__ = ["check_database"]

_METADATA = "io.containerd.metadata.v1.bolt"
_SNAPSHOTTERS = "io.containerd.snapshotter.v1."


def check_database(args: Mapping[str, object]) -> Mapping[str, object]:
    """What is wrong with the metadata database, or a snapshotter's, of the root at `root`.

    Returns {"failure": words or None}.  Nothing is written, locked or waited for; the runtime may
    run.  A root without a database is a new one, and nothing is wrong with it.
    """
    root = os.open(arguments.path(args, "root"), DIRECTORY)
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries)
        wanted = [(_METADATA, "meta.db")]
        wanted += [(name, "metadata.db") for name in names if name.startswith(_SNAPSHOTTERS)]
        for name, file in wanted:
            failure = _failure(root, name, file)
            if failure is not None:
                return {"failure": printable(f"{name}/{file}: {failure}")}
    finally:
        os.close(root)
    return {"failure": None}


def _failure(root: int, name: str, file: str) -> str | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        below = os.open(name, DIRECTORY, dir_fd=root)
        try:
            return boltfile.failure_of(file, directory=below)
        finally:
            os.close(below)
    return None
