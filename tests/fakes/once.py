"""What is made once for all workers of a test run."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def made_once(place: Path, make: Callable[[Path], object]) -> Path:
    """`place`, which `make(path)` has made, here or in another worker; never a part of it.

    Whoever comes second waits for the first. What `make` raises, everybody meets who asks.
    """
    with place.with_name(f".lock-{place.name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            work = place.with_name(f".making-{place.name}")
            shutil.rmtree(work, ignore_errors=True)  # of one that failed; we hold the lock
            make(work)
            work.rename(place)
    return place
