"""Exit codes: part of the contract with scripts."""

from __future__ import annotations

__all__ = [
    "DEGRADED", "FAILED", "INTERRUPTED", "NOT_BOUND", "NOT_FOUND", "OK", "PIPE_CLOSED",
    "REFUSED", "TIMEOUT", "UNREACHABLE", "USAGE", "StopError",
]  # fmt: skip

OK = 0
FAILED = 1
USAGE = 2
NOT_BOUND = 3
NOT_FOUND = 4
UNREACHABLE = 5
REFUSED = 6
TIMEOUT = 7
DEGRADED = 8
#: Ctrl-C, in the shell's convention (128 + SIGINT).
INTERRUPTED = 130
#: The reader of a pipe went away (128 + SIGPIPE).
PIPE_CLOSED = 141


class StopError(Exception):
    """End the program with this code, after saying why and what to do next."""

    def __init__(self, code: int, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
