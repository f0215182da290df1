"""The serial console's log, and the line on it that says that sshd listens.

Owns the log's reading. Knows nothing of QEMU, which writes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.vm.harness.errors import HarnessError

# Written by the ssh service of every recipe (ssh.service.d/ready.conf).
_READY: Final = "nodestorage-vm: ssh is ready"
_POLL_SECONDS: Final = 0.1


class Console:
    """A console log that grows; it may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # How much of the log is older than the boot that is awaited; None: no boot is awaited.
        self._before_boot: int | None = None

    def text(self) -> str:
        """Everything that was written so far."""
        return self._path.read_text(errors="replace") if self._path.exists() else ""

    def expect_boot(self, *, expected: bool = True) -> None:
        """A boot begins now: what was written so far does not count. Or (False) none is needed."""
        self._before_boot = len(self.text()) if expected else None

    def wait_ready(self, deadline: float, alive: Callable[[], bool]) -> None:
        """Wait until sshd of the expected boot listens. Raises HarnessError when `alive` ends."""
        while self._before_boot is not None and _READY not in self.text()[self._before_boot :]:
            if time.monotonic() > deadline:
                raise HarnessError("sshd did not start in time")
            if not alive():
                raise HarnessError("QEMU ended")
            time.sleep(_POLL_SECONDS)
