"""How a copy fails: a reason that people can look up, a sentence, and the kernel's errno.

Owns: the exceptions of this package and the words for errno.  May not know: what is copied.
"""

from __future__ import annotations

import errno

__all__ = ["CopyFailed", "Vanished", "of_error", "printable"]

_REASONS: dict[int, str] = {
    errno.EIO: "IoError",
    errno.EBADMSG: "IoError",  # EFSBADCRC of ext4 and XFS
    errno.EUCLEAN: "IoError",  # EFSCORRUPTED: the structure needs cleaning
    errno.ESHUTDOWN: "IoError",  # XFS and ext4 after they have shut down
    errno.ENODEV: "Gone",
    errno.ENXIO: "Gone",
    errno.ENOMEDIUM: "Gone",
    errno.ENOSPC: "NoSpace",
    errno.EDQUOT: "NoSpace",
    errno.EROFS: "ReadOnly",
}


class CopyFailed(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The pass cannot go on; nothing of the source was changed."""

    def __init__(self, reason: str, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.number = number

    def answer(self) -> dict[str, object]:
        """The JSON form."""
        return {"reason": self.reason, "message": printable(self.message), "errno": self.number}


class Vanished(Exception):  # noqa: N818 - no error while the source lives
    """An entry of the source is no longer there, or no longer what it was."""


def of_error(error: OSError, path: str) -> CopyFailed:
    """The failure that `error`, met at `path`, amounts to."""
    reason = _REASONS.get(error.errno or 0, "CopyFailed")
    return CopyFailed(reason, f"{path}: {error.strerror or error}", error.errno)


def printable(text: str) -> str:
    r"""`text` fit for JSON and a terminal: control characters and bad bytes become \xNN."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
