"""Reads files below any root: texts, programs, links, and /etc/fstab.

Owns: what it means that a file is there, and fstab's format.  May not know: what a text says.
`read` leaves PermissionError to the caller: "may not be read" is no "is not there".
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from nodestoraged.cli.offline.doctor.facts import FstabLine

__all__ = ["exists", "fstab", "links", "listed", "program", "read", "text"]

_LARGEST_BYTES = 1 << 20
_OCTAL = re.compile(r"\\([0-7]{3})")


def read(root: Path, path: str) -> str | None:
    """The text of a file, at most 1 MiB of it; None if it is not there or no regular file."""
    place = root / path.lstrip("/")
    try:
        # O_NONBLOCK: a FIFO must not hold us up.
        fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        try:
            return file.read(_LARGEST_BYTES).decode("utf-8", "replace")
        except (IsADirectoryError, BlockingIOError):
            return None


def exists(root: Path, path: str) -> bool:
    """True if something is there, a link that leads nowhere too."""
    try:
        (root / path.lstrip("/")).lstat()
    except OSError:
        return False
    return True


def listed(root: Path, directory: str) -> list[str]:
    """The entries of a directory as paths below the root, sorted; none if it cannot be read."""
    try:
        return sorted(f"{directory}/{name}" for name in os.listdir(root / directory))  # noqa: PTH208
    except OSError:
        return []


def program(root: Path, name: str, directories: tuple[str, ...]) -> str:
    """Where a program lies, as an absolute path below the root; "" if nowhere."""
    if name.startswith("/"):
        return name if os.access(root / name.lstrip("/"), os.X_OK) else ""
    for directory in directories:
        place = root / directory.lstrip("/") / name
        if os.access(place, os.X_OK) and not place.is_dir():
            return f"{directory}/{name}"
    return ""


def fstab(root: Path) -> tuple[FstabLine, ...]:
    """The lines of /etc/fstab that say a mount; PermissionError if it may not be read."""
    found = []
    for number, line in enumerate((read(root, "etc/fstab") or "").splitlines(), 1):
        fields = [_OCTAL.sub(lambda one: chr(int(one[1], 8)), each) for each in line.split()]
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        found.append(
            FstabLine(
                number=number,
                source=fields[0],
                target=fields[1].rstrip("/") or "/",
                fstype=fields[2] if len(fields) > 2 else "auto",
                options=tuple(fields[3].split(",")) if len(fields) > 3 else ("defaults",),
            )
        )
    return tuple(found)


def links(root: Path, path: str, *, stop_at: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """The components of an absolute path that are links, and where they lead.

    What is a mount point is no link and is not touched: a dead disk would hang us.
    """
    found = []
    at = ""
    for name in path.strip("/").split("/"):
        at = f"{at}/{name}"
        if at in stop_at:
            continue
        place = root / at.lstrip("/")
        try:
            if place.is_symlink():
                found.append((at, str(place.readlink())))
        except OSError:
            break
    return tuple(found)


def text(root: Path, path: str) -> str:
    """The text of a file; nothing if it is not there or may not be read."""
    try:
        return read(root, path) or ""
    except PermissionError:
        return ""
