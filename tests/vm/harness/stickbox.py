"""A directory of stick images with short words for making them. Knows nothing of pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from tests.vm.harness.stick import Stick, StickOptions, StickSpec, clone_stick, make_stick


class StickBox:
    """Call it with a serial (and any field of `StickSpec`) to make a stick in the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, serial: str, **options: Unpack[StickOptions]) -> Stick:
        """Make a stick; the serial must be new. Raises HarnessError."""
        return make_stick(self._path(serial), StickSpec(serial=serial, **options))

    def clone(self, stick: Stick, serial: str) -> Stick:
        """Make a copy, byte for byte, with another serial."""
        return clone_stick(stick, self._path(serial), serial=serial)

    def _path(self, serial: str) -> Path:
        return self._directory / f"{serial}.img"
