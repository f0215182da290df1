"""How an operation fails: a reason that people can look up, and the kernel's errno beside it.

Owns: the exception of this layer and the words for errno.  May not know: what is done about it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

__all__ = ["OperationFailed", "describe", "printable", "reason_of"]

_REASONS: dict[int, str] = {
    errno.EIO: "IoError",
    errno.EBADMSG: "IoError",  # EFSBADCRC of ext4 and XFS
    errno.EUCLEAN: "FsckFailed",  # EFSCORRUPTED: the structure needs cleaning
    errno.ENODEV: "Gone",
    errno.ENXIO: "Gone",
    errno.ENOENT: "Gone",
    errno.ENOMEDIUM: "Gone",
    errno.ESHUTDOWN: "Gone",
    errno.EROFS: "ReadOnly",
    errno.EBUSY: "Busy",
    errno.ENOSPC: "NoSpace",
    errno.EDQUOT: "NoSpace",
    errno.EPERM: "NotPermitted",
    errno.EACCES: "NotPermitted",
    errno.ENOTBLK: "DeviceChanged",
    errno.EMEDIUMTYPE: "WrongFilesystem",
}


class OperationFailed(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The wished fact did not come true.  `details` is JSON: holders, output, paths."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        cause: OSError | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.cause = cause
        self.details = dict(details or {})


def reason_of(error: OSError) -> str:
    """The reason for an OSError that nobody judged more closely; "OsError" when none fits."""
    return _REASONS.get(error.errno or 0, "OsError")


def describe(error: Exception) -> dict[str, object]:
    """The JSON form: errno, strerror, filename, reason, message and details."""
    if isinstance(error, OperationFailed):
        cause = error.cause
        reason, message, details = error.reason, error.message, error.details
    elif isinstance(error, OSError):
        cause, reason, details = error, reason_of(error), {}
        message = error.strerror or str(error)
        if error.filename:
            message = f"{error.filename}: {message}"
    else:
        cause, details = None, {}
        reason, message = "InternalError", f"{type(error).__name__}: {error}"
    return {
        "errno": None if cause is None else cause.errno,
        "strerror": None if cause is None else cause.strerror,
        "filename": None if cause is None else printable(cause.filename),
        "reason": reason,
        "message": printable(message),
        "details": details,
    }


def printable(text: object) -> str:
    r"""`text` fit for JSON and a terminal: control characters and bad bytes become \xNN."""
    raw = "" if text is None else str(text)
    return "".join(char if char.isprintable() else _escaped(char) for char in raw)


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
