"""Tell the service manager that started us how we are.

Owns: the words of sd_notify(3), and the flag that stands for READY where nobody listens for them:
OpenRC's init script waits for it.  May not know: sockets (that is `linux.notify`) and when we are
ready.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from nodestoraged.linux.notify import notify
from nodestoraged.model.errors import StepError
from nodestoraged.ports import Notifier

__all__ = ["FlagNotifier", "SdNotifier", "notifier"]

#: Of the run directory; a contract with init/openrc/nodestoraged.
_FLAG = "decided"


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


class FlagNotifier:
    """Implements `ports.Notifier` by a file: there from READY until the next daemon starts."""

    def __init__(self, flag: Path) -> None:
        self._flag = flag
        # What an earlier daemon decided says nothing of us.
        with contextlib.suppress(OSError):
            flag.unlink()

    def ready(self) -> None:
        """The root is decided and in place; StepError("NotifyFailed") if the flag cannot be made.

        Everybody may see it, whatever our umask.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._flag, flags, 0o644)
            try:
                os.fchmod(descriptor, 0o644)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StepError(
                "NotifyFailed", f"cannot make {self._flag}: {error.strerror}", errno=error.errno
            ) from error

    def status(self, text: str) -> None:
        """Nobody asks a flag."""

    def extend(self, seconds: float) -> None:
        """The init script has a bound of its own."""


def notifier(run: Path) -> Notifier:
    """What tells whoever started us: systemd's socket, or else the flag in the run directory."""
    return SdNotifier() if os.environ.get("NOTIFY_SOCKET") else FlagNotifier(run / _FLAG)
