"""Tell the service manager that started us how we are.

Owns: the words of sd_notify(3).  May not know: sockets (that is `linux.notify`) and when we are
ready.  Without NOTIFY_SOCKET all of it does nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from nodestoraged.linux.notify import notify
from nodestoraged.model.errors import StepError

__all__ = ["SdNotifier"]


class SdNotifier:
    """Implements `ports.Notifier`; `send` gets one message and is `linux.notify.notify`."""

    def __init__(self, send: Callable[[str], bool] = notify) -> None:
        self._send = send

    def ready(self) -> None:
        """The root is decided and in place; StepError("NotifyFailed") if nobody could be told.

        Not swallowed like the others: without READY the whole start is undone later.
        """
        try:
            self._send("READY=1")
        except OSError as error:
            raise StepError(
                "NotifyFailed",
                f"the service manager could not be told that we are ready: {error.strerror}",
                errno=error.errno,
            ) from error

    def status(self, text: str) -> None:
        """One line for `systemctl status`; a lost one is followed by the next."""
        with contextlib.suppress(OSError):
            self._send(f"STATUS={' '.join(text.split())}")

    def extend(self, seconds: float) -> None:
        """Starting takes `seconds` more, counted from now; to be said again before they end."""
        with contextlib.suppress(OSError):
            self._send(f"EXTEND_TIMEOUT_USEC={max(1, round(seconds * 1_000_000))}")
