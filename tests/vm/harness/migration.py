"""The state of a running machine in a file: written, and read by another QEMU process.

Owns QEMU's migration over QMP. Knows nothing of guests or sticks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.vm.harness.errors import HarnessError
from tests.vm.harness.image import Image
from tests.vm.harness.qmp import Qmp

_SECONDS: Final = 60.0
# Not to be slowed down: QEMU's default is made for networks (128 MiB/s).
_BYTES_PER_SECOND: Final = 8 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A machine at one moment: its disk, its memory and what it was made of. Never written to."""

    image: Image
    directory: Path
    memory_mib: int
    cpus: int

    @property
    def disk(self) -> Path:
        """The disk at that moment."""
        return self.directory / "disk.qcow2"

    @property
    def state(self) -> Path:
        """Memory and devices at that moment."""
        return self.directory / "state"


def write_state(qmp: Qmp, path: Path) -> None:
    """Stop the guest, write its memory and devices to `path` and end QEMU. Raises HarnessError."""
    qmp.command("stop")
    qmp.command("migrate-set-parameters", max_bandwidth=_BYTES_PER_SECOND)
    qmp.command("migrate", uri=f"exec:cat > {path}")
    deadline = time.monotonic() + _SECONDS
    while (status := _status(qmp.command("query-migrate"))) != "completed":
        if status == "failed" or time.monotonic() > deadline:
            raise HarnessError(f"saving the machine: {status}")
        time.sleep(0.05)
    qmp.command("quit")


def read_state(qmp: Qmp) -> None:
    """Wait until QEMU (started with -incoming) has read the state, and let the guest go on."""
    deadline = time.monotonic() + _SECONDS
    while _status(qmp.command("query-status")) == "inmigrate":
        if time.monotonic() > deadline:
            raise HarnessError("the saved state was not read")
        time.sleep(0.02)
    qmp.command("cont")


def _status(answer: object) -> str:
    return str(answer.get("status", "none")) if isinstance(answer, dict) else "none"
