"""Opens below a directory that can neither be led out of it nor into another mount.

Owns: openat2 and syncfs.  May not know: what is opened or for what.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from nodestoraged.linux.libc import LIBC, check, check_syscall

__all__ = ["open_beneath", "syncfs"]

# include/uapi/asm-generic/unistd.h and include/uapi/linux/openat2.h; one number for all machines
_OPENAT2 = 437
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_STRICT = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH

#: One call takes a path below PATH_MAX (4096); a longer one is walked in pieces.
_PIECE_BYTES = 3500
_WAY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

# struct open_how: flags, mode, resolve
_how: dict[int, bytes] = {}


def open_beneath(root: int, path: str, flags: int) -> int:
    """`path`, relative to the directory `root`, is open; "" is the directory itself.

    OSError with ELOOP where a component is a link, EXDEV where one is a mount point.
    """
    piece = os.fsencode(path) or b"."
    at = root
    try:
        while len(piece) > _PIECE_BYTES:
            cut = piece.rindex(b"/", 0, _PIECE_BYTES)
            below = _open(at, piece[:cut], _WAY)
            if at != root:
                os.close(at)
            at, piece = below, piece[cut + 1 :]
        return _open(at, piece, flags | os.O_CLOEXEC)
    finally:
        if at != root:
            os.close(at)


def syncfs(fd: int) -> None:
    """Everything written to the file system of `fd` is on its medium; OSError if some is lost."""
    check(LIBC.syncfs(ctypes.c_int(fd)))


def _open(at: int, path: bytes, flags: int) -> int:
    how = _how.get(flags)
    if how is None:
        how = _how[flags] = struct.pack("=QQQ", flags, 0, _STRICT)
    while True:
        try:
            return check_syscall(
                _OPENAT2,
                ctypes.c_int(at),
                ctypes.c_char_p(path),
                ctypes.c_char_p(how),
                ctypes.c_size_t(len(how)),
                filename=os.fsdecode(path),
            )
        except OSError as error:
            # The kernel could not be sure because something was renamed meanwhile.
            if error.errno not in {errno.EAGAIN, errno.EINTR}:
                raise
