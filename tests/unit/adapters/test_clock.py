"""The clocks of this machine."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nodestoraged.adapters.clock import RealClock
from nodestoraged.model.errors import ObservationError


def test_boottime_counts_from_the_boot_and_includes_suspend() -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert RealClock().boottime() == pytest.approx(uptime, abs=1.0)


def test_wall_is_rfc_3339_in_utc_with_milliseconds() -> None:
    text = RealClock().wall()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert abs(datetime.fromisoformat(text) - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_boot_id_is_the_kernels_and_is_read_once(tmp_path: Path) -> None:
    uuid.UUID(RealClock().boot_id())
    path = tmp_path / "boot_id"
    path.write_text("one\n")
    clock = RealClock(path)
    assert clock.boot_id() == "one"
    path.unlink()
    assert clock.boot_id() == "one"


def test_without_a_boot_id_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ObservationError):
        RealClock(tmp_path / "none").boot_id()


def test_sleep_takes_that_long_and_negative_time_none() -> None:
    began = time.monotonic()
    asyncio.run(RealClock().sleep(0.1))
    assert time.monotonic() - began >= 0.09
    asyncio.run(RealClock().sleep(-5))
