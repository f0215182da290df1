"""The mount table of a process: bytes of /proc/<pid>/mountinfo in, rows out.

Owns: the format (proc_pid_mountinfo(5), fs/proc_namespace.c) and path questions about a table.
May not know: which of the mounts is ours.
Reading mountinfo touches no file system, so it cannot hang on a dead disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "MountRow",
    "below",
    "covering",
    "device_of",
    "mounts_at",
    "of_device",
    "of_file",
    "parse",
    "read",
]

_OCTAL = re.compile(rb"\\([0-7]{3})")


class MountRow(NamedTuple):
    """One line of mountinfo.  Paths are unescaped; undecodable bytes are surrogate escapes."""

    mount_id: int
    parent_id: int
    major: int
    minor: int
    root: str
    target: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]
    fstype: str
    source: str
    super_options: tuple[str, ...]

    @property
    def read_only(self) -> bool:
        """The mount or its superblock refuses writes."""
        return "ro" in self.options or "ro" in self.super_options


def parse(data: bytes) -> tuple[MountRow, ...]:
    """The rows of `data` in the kernel's order (a mount on top of another comes after it).

    A line that does not have the fields is left out: one strange line must not blind the daemon.
    """
    rows: list[MountRow] = []
    for line in data.split(b"\n"):
        row = _parse_line(line)
        if row is not None:
            rows.append(row)
    return tuple(rows)


def read(pid: int | None = None) -> tuple[MountRow, ...]:
    """The mount table of process `pid` (None: our own).  OSError if it is gone or unreadable."""
    with open(f"/proc/{'self' if pid is None else pid}/mountinfo", "rb") as stream:
        return parse(stream.read())


def mounts_at(rows: Iterable[MountRow], target: str) -> tuple[MountRow, ...]:
    """The rows mounted exactly at the canonical path `target`; the last one is on top."""
    return tuple(row for row in rows if row.target == target)


def covering(rows: Iterable[MountRow], path: str) -> MountRow | None:
    """The mount which a look-up of the canonical `path` ends in: longest prefix, last wins."""
    best: MountRow | None = None
    for row in rows:
        if _is_prefix(row.target, path) and (best is None or len(row.target) >= len(best.target)):
            best = row
    return best


def below(rows: Iterable[MountRow], path: str) -> tuple[MountRow, ...]:
    """The rows strictly below the canonical `path`, deepest and newest first (unmount order)."""
    inside = [
        (row.target.count("/"), position, row)
        for position, row in enumerate(rows)
        if row.target != path and _is_prefix(path, row.target)
    ]
    return tuple(row for _, _, row in sorted(inside, key=lambda item: item[:2], reverse=True))


def of_device(rows: Iterable[MountRow], major: int, minor: int) -> tuple[MountRow, ...]:
    """The rows whose superblock is that of the block device `major`:`minor`."""
    return tuple(row for row in rows if (row.major, row.minor) == (major, minor))


def of_file(rows: Iterable[MountRow], fd: int) -> MountRow | None:
    """The row of the mount through which our open `fd` was reached (proc(5), fdinfo).

    None if it is attached nowhere, or in another mount namespace than `rows` are of.
    """
    with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:
        found = next((int(line.split()[1]) for line in lines if line.startswith(b"mnt_id:")), None)
    return next((row for row in rows if row.mount_id == found), None)


def device_of(fd: int) -> tuple[int, int]:
    """Major and minor of the file system that our open `fd` lies on, as mount table and locks say.

    st_dev is another number where the file system makes them up: per subvolume (btrfs), per
    layer and for files only (overlayfs with layers on several file systems).  It is what is left
    for a file on a mount that is attached nowhere.
    """
    row = of_file(read(), fd)
    if row is not None:
        return row.major, row.minor
    device = os.fstat(fd).st_dev
    return os.major(device), os.minor(device)


def _parse_line(line: bytes) -> MountRow | None:
    # 36 35 98:0 /root /target rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    # Zero or more optional fields (propagation) end with a lone hyphen.
    fields = line.split(b" ")
    try:
        hyphen = fields.index(b"-", 6)
        major, minor = fields[2].split(b":")
        return MountRow(
            mount_id=int(fields[0]),
            parent_id=int(fields[1]),
            major=int(major),
            minor=int(minor),
            root=_text(fields[3]),
            target=_text(fields[4]),
            options=_options(fields[5]),
            propagation=tuple(_text(field) for field in fields[6:hyphen]),
            fstype=_text(fields[hyphen + 1]),
            source=_text(fields[hyphen + 2]),
            super_options=_options(fields[hyphen + 3]),
        )
    except (ValueError, IndexError):
        return None


def _text(field: bytes) -> str:
    r"""Undo the escapes \\040 (blank), \\011 (tab), \\012 (newline), \\134 (backslash), \\043."""
    plain = _OCTAL.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), field)
    return plain.decode(errors="surrogateescape")


def _options(field: bytes) -> tuple[str, ...]:
    return tuple(_text(option) for option in field.split(b","))


def _is_prefix(prefix: str, path: str) -> bool:
    return prefix in ("/", path) or path.startswith(prefix + "/")
