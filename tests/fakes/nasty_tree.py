"""A tree with every kind of entry that a container's layers can hold, and the judge of copies.

`build` makes it below a directory; `differences` asks rsync, which compares every byte, what it
would still have to do.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
from pathlib import Path

#: include/uapi/linux/capability.h: revision 2, effective; cap_net_raw permitted
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)

_ACL_USER_OBJ, _ACL_USER, _ACL_GROUP_OBJ, _ACL_MASK, _ACL_OTHER = 1, 2, 4, 16, 32


def acl(user: int, mode: int = 0o6) -> bytes:
    """A POSIX ACL (include/uapi/linux/posix_acl_xattr.h) with an entry for one more user."""
    entries = [
        (_ACL_USER_OBJ, 7, 0xFFFFFFFF),
        (_ACL_USER, mode, user),
        (_ACL_GROUP_OBJ, 5, 0xFFFFFFFF),
        (_ACL_MASK, 7, 0xFFFFFFFF),
        (_ACL_OTHER, 0, 0xFFFFFFFF),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def build(root: Path, *, seed: int = 7, files: int = 40) -> Path:
    """Every nasty kind below `root`, which is made if it is missing; returns `root`."""
    chance = random.Random(seed)
    root.mkdir(exist_ok=True)
    snapshots = root / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
    blobs = root / "io.containerd.content.v1.content" / "blobs" / "sha256"
    layers = [snapshots / str(number) / "fs" for number in (1, 2)]
    for directory in (*layers, blobs, root / "opt"):
        directory.mkdir(parents=True)
    _databases(root)
    for number in range(files):
        place = chance.choice([*layers, blobs])
        _file(place / f"file-{number}", chance.randbytes(chance.choice([0, 1, 4096, 70_000])))
        os.utime(place / f"file-{number}", ns=(0, chance.randrange(10**18, 2 * 10**18)))
    _sparse(layers[0])
    _links(layers[0], layers[1])
    _specials(layers[0])
    _attributes(layers[0])
    _names(layers[1])
    for directory in (layers[1] / "empty", layers[1] / "deep" / "empty"):
        directory.mkdir(parents=True)
        directory.chmod(0o1751)
        os.chown(directory, 12, 34)
    for number, directory in enumerate((layers[0], layers[1], layers[1] / "empty", root)):
        os.utime(directory, ns=(0, 1_500_000_000_123_456_789 + number))
    root.chmod(0o711)
    return root


def _databases(root: Path) -> None:
    for path in (
        "io.containerd.metadata.v1.bolt/meta.db",
        "io.containerd.snapshotter.v1.overlayfs/metadata.db",
        "io.containerd.content.v1.content/ingest/one/data",
        "tmpmounts/left",
    ):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        _file(file, path.encode() * 50)


def _file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o640)


def _sparse(directory: Path) -> None:
    for name, size, parts in (
        ("hole-only", 3 << 20, ()),
        ("hole-first", 2 << 20, ((1 << 20, b"x" * 5000),)),
        ("hole-last", 2 << 20, ((0, b"y" * 5000),)),
        ("holes", 4 << 20, ((8192, b"a" * 4096), (1 << 20, b"b" * 9000), (3 << 20, b"c"))),
    ):
        with (directory / name).open("wb") as file:
            for offset, content in parts:
                file.seek(offset)
                file.write(content)
            file.truncate(size)


def _links(one: Path, other: Path) -> None:
    _file(one / "shared", b"shared" * 1000)
    (one / "shared-too").hardlink_to(one / "shared")
    (other / "shared-across").hardlink_to(one / "shared")
    for name, target in (
        ("absolute", "/etc"),
        ("file", "/etc/passwd"),
        ("loop", "loop"),
        ("up", "../../../../../../../../etc"),
        ("dangling", "nowhere"),
        ("long", "x/" * 2000),
    ):
        (one / name).symlink_to(target)
    os.link(one / "dangling", other / "linked-link", follow_symlinks=False)
    os.chown(one / "absolute", 5, 6, follow_symlinks=False)
    os.utime(one / "file", ns=(0, 1_234_567_890_987_654_321), follow_symlinks=False)
    os.setxattr(one / "loop", "trusted.overlay.origin", b"o", follow_symlinks=False)


def _specials(directory: Path) -> None:
    os.mknod(directory / "whiteout", 0o600 | 0o020000, os.makedev(0, 0))
    os.link(directory / "whiteout", directory / "whiteout-too")
    os.mknod(directory / "null", 0o666 | 0o020000, os.makedev(1, 3))
    os.mknod(directory / "disk", 0o660 | 0o060000, os.makedev(7, 200))
    os.mkfifo(directory / "fifo", 0o622)
    os.chown(directory / "fifo", 7, 8)
    here = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as server:  # the path itself may be too long
            server.bind(f"/proc/self/fd/{here}/socket")
    finally:
        os.close(here)


def _attributes(directory: Path) -> None:
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2711), ("sticky", 0o1600), ("none", 0)):
        _file(directory / name, name.encode())
        os.chown(directory / name, 1000, 1001)
        (directory / name).chmod(mode)
    _file(directory / "ping", b"ping")
    os.chown(directory / "ping", 3, 4)
    os.setxattr(directory / "ping", "security.capability", CAPABILITY)
    os.setxattr(directory / "ping", "user.note", b"\x00\xff")
    os.setxattr(directory / "ping", "system.posix_acl_access", acl(1234))
    (directory / "opaque").mkdir()
    os.setxattr(directory / "opaque", "trusted.overlay.opaque", b"y")
    inheriting = directory / "inheriting"
    inheriting.mkdir()
    _file(inheriting / "plain", b"made before the default")
    os.setxattr(inheriting, "system.posix_acl_default", acl(4321))
    inheriting.chmod(0o2770)


def _names(directory: Path) -> None:
    names = ("new\nline", "bad\udcff\udcfeutf8", " ", "-rf", "\\", "*", "x" * 255, "\x1b[31m")
    for name in names:
        (directory / name).write_bytes(os.fsencode(name))
        os.setxattr(directory / name, "trusted." + "n" * 20, os.fsencode(name))
    lost = directory / "lost+found"
    lost.mkdir()
    _file(lost / "kept", b"only the one at the top is the file system's")


def differences(source: Path, target: Path, *more: str) -> str:
    """What rsync would still do to make `target` like `source`, byte by byte; "" for nothing."""
    done = subprocess.run(
        [
            *("rsync", "-aHAXS", "--checksum", "--dry-run", "--itemize-changes", "--delete"),
            *("--exclude=/.nodestoraged", "--exclude=/lost+found", *more),
            *(f"{source}/", f"{target}/"),
        ],
        capture_output=True,
        check=True,
    )
    return done.stdout.decode("utf-8", "backslashreplace")
