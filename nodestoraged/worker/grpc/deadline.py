"""The time that one request may take, and the wish to stop it earlier.

Owns the monotonic arithmetic of a request.  Everything that waits in this child waits through
a `Deadline`, so that a cancelled or late request ends by itself.
"""

from __future__ import annotations

import threading
import time

from nodestoraged.worker.grpc.failure import CANCELLED, RUNTIME_TIMEOUT, CallFailure


class Deadline:
    """A point on the monotonic clock, and a flag that ends the wait before it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._started = time.monotonic()
        self._cancelled = threading.Event()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the request arrived."""
        return time.monotonic() - self._started

    @property
    def remaining_seconds(self) -> float:
        """Seconds left, never negative; 0 once cancelled."""
        if self._cancelled.is_set():
            return 0.0
        return max(0.0, self.seconds - self.elapsed_seconds)

    @property
    def expired(self) -> bool:
        """True when nothing more should be begun."""
        return self.remaining_seconds == 0.0

    def cancel(self) -> None:
        """End the request: no further call is begun, sleeps return at once."""
        self._cancelled.set()

    def sleep(self, seconds: float) -> None:
        """Wait that long, or until the deadline or a cancel, whichever is first."""
        self._cancelled.wait(min(seconds, self.remaining_seconds))

    def require(self) -> float:
        """The seconds left; CallFailure when there are none."""
        remaining = self.remaining_seconds
        if remaining > 0.0:
            return remaining
        if self._cancelled.is_set():
            raise CallFailure("CANCELLED", CANCELLED, "the request was cancelled", False)
        raise CallFailure(
            "DEADLINE_EXCEEDED", RUNTIME_TIMEOUT, f"not done within {self.seconds:g} s", True
        )
