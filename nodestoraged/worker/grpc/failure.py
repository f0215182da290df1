"""What went wrong with a call, in words that outlive gRPC.

Owns the classification of gRPC statuses: which may be tried again, and the reason a person
is told.  Knows nothing of channels.
"""

from __future__ import annotations

import grpc

SOCKET_MISSING = "SocketMissing"
SOCKET_STALE = "SocketStale"
RUNTIME_NOT_READY = "RuntimeNotReady"
RUNTIME_TIMEOUT = "RuntimeTimeout"
RUNTIME_IO_ERROR = "RuntimeIoError"
RUNTIME_REFUSED = "RuntimeRefused"
NOT_SUPPORTED = "NotSupported"
NO_IMAGE_FS = "NoImageFs"
BAD_REQUEST = "BadRequest"
CANCELLED = "Cancelled"

#: containerd says this until its CRI plugin is ready: with UNKNOWN up to 1.7, UNAVAILABLE from 2.0.
_NOT_INITIALIZED = "not initialized"
_DISK_WORDS = ("input/output error", "read-only file system", "no space left on device")


class CallFailure(Exception):  # noqa: N818 - a verdict on a call, raised to the request's handler
    """One request that failed; `code` is gRPC's name of the status."""

    def __init__(self, code: str, reason: str, message: str, retriable: bool) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retriable = retriable


def from_grpc(code: grpc.StatusCode | None, details: str | None) -> CallFailure:
    """Classify a gRPC status.

    Retriable are UNAVAILABLE, DEADLINE_EXCEEDED and UNKNOWN "not initialized": a starting
    runtime passes through all of them.  UNIMPLEMENTED is final: CRI is disabled, failed to
    load, or the runtime (cri-o) has no such service.
    """
    name = "UNKNOWN" if code is None else code.name
    text = details or "the runtime gave no details"
    starting = _NOT_INITIALIZED in text
    if name == "UNAVAILABLE" or starting:
        return CallFailure(name, RUNTIME_NOT_READY, text, True)
    if name == "DEADLINE_EXCEEDED":
        return CallFailure(name, RUNTIME_TIMEOUT, text, True)
    if name == "CANCELLED":
        return CallFailure(name, CANCELLED, text, False)
    if name == "UNIMPLEMENTED":
        return CallFailure(name, NOT_SUPPORTED, text, False)
    if any(word in text for word in _DISK_WORDS):
        return CallFailure(name, RUNTIME_IO_ERROR, text, False)
    return CallFailure(name, RUNTIME_REFUSED, text, False)
