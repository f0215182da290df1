"""Time of this machine.

Owns: the choice of clocks.  Decisions use CLOCK_BOOTTIME, which goes on in suspend and which
nobody can set; the wall clock is for display only.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from nodestoraged.model.errors import ObservationError

__all__ = ["RealClock"]

#: random(4): a new UUID at each boot.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RealClock:
    """Implements `ports.Clock`; the boot id is read once, it cannot change under us."""

    def __init__(self, boot_id_path: Path = BOOT_ID) -> None:
        self._boot_id_path = boot_id_path
        self._boot_id = ""

    def boottime(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> str:
        """Now, as 2026-01-31T12:00:00.123Z."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return now.removesuffix("+00:00") + "Z"

    def boot_id(self) -> str:
        """The kernel's id of this boot; raises ObservationError without /proc."""
        if not self._boot_id:
            try:
                self._boot_id = self._boot_id_path.read_text(encoding="ascii").strip()
            except OSError as error:
                raise ObservationError(
                    "BootIdUnreadable", f"cannot read {self._boot_id_path}: {error.strerror}"
                ) from error
        return self._boot_id

    async def sleep(self, seconds: float) -> None:
        """Return after that long, time in suspend not counted (the event loop's clock)."""
        await asyncio.sleep(max(0.0, seconds))
