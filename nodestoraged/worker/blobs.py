"""Verifies the blobs of a content store: each file's name is the SHA-256 of its bytes.

Owns: what a blob's name looks like, and the reading in several threads.
May not know: why a store is verified.
"""

from __future__ import annotations

import contextlib
import os
import stat

from nodestoraged.worker import removal

__all__ = ["is_blob_name", "keep_verified", "make_roots"]

_HEXADECIMAL = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64
_CHUNK_BYTES = 1 << 20
_THREADS = 4
#: A pipe or a device that somebody put there must not be waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME


def is_blob_name(name: str) -> bool:
    """True for 64 lower-case hexadecimal digits, as containerd names blobs."""
    return len(name) == _DIGEST_LENGTH and _HEXADECIMAL.issuperset(name)


def keep_verified(directory: int, tally: removal.Tally) -> None:
    """The open `directory` holds only regular files whose SHA-256 is their name.

    Those are root's and read-only afterwards.  Everything else is removed into `tally`.
    Raises OSError when a file cannot be read: that is the disk's fault, not the file's.
    """
    # The threads' machinery would cost the warm process a mebibyte.
    from concurrent.futures import ThreadPoolExecutor

    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries]
    fit = [name for name in names if is_blob_name(name)]
    with ThreadPoolExecutor(_THREADS) as pool:
        verdicts = pool.map(lambda name: _is_verified(name, directory), fit)
        verified = {name for name, good in zip(fit, verdicts, strict=True) if good}
    for name in names:
        if name not in verified:
            removal.remove(directory, name, tally)


def make_roots(opened: int, mode: int) -> None:
    """The open file or directory belongs to root and has this mode."""
    found = os.fstat(opened)
    if (found.st_uid, found.st_gid) != (0, 0):
        os.fchown(opened, 0, 0)
    if stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(opened, mode)


def _is_verified(name: str, directory: int) -> bool:
    import hashlib

    try:
        opened = os.open(name, _FILE, dir_fd=directory)
    except OSError:
        # A link or a socket: neither can be opened, both are removed.
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            raise
        return False
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return False
        # Nobody else may change it once it is verified.
        make_roots(opened, 0o444)
        digest = hashlib.sha256()
        with contextlib.suppress(OSError):
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while part := os.read(opened, _CHUNK_BYTES):
            digest.update(part)
        return digest.hexdigest() == name
    finally:
        os.close(opened)
