"""How far a pass has come, told about once a second while it comes further.

Owns: the counters, rate and time left, and the thread that writes them.  May not know: the work.

A line is written only when something has moved: the counters, or what the watched device has
written.  Silence means that nothing moves, and the reader may judge by it.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections import deque

__all__ = ["Counters", "Reporter", "write_line"]

_INTERVAL_SECONDS = 1.0
_RATE_SECONDS = 10.0


class Counters:
    """Shared numbers; each has one writer, or is written under `lock`."""

    __slots__ = (
        "bytes_done",
        "bytes_total",
        "bytes_written",
        "entries",
        "files_done",
        "files_total",
        "lock",
        "removed",
        "vanished",
        "written",
    )

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries = 0
        self.files_done = 0
        self.files_total = 0
        self.bytes_done = 0
        self.bytes_total = 0
        self.bytes_written = 0
        self.written = 0
        self.removed = 0
        self.vanished = 0


class Reporter:
    """A thread that writes progress lines to stdout between `start` and `stop`."""

    def __init__(self, stage: str, counters: Counters) -> None:
        self._stage = stage
        self._counters = counters
        self._device = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._past: deque[tuple[float, int]] = deque()

    def start(self) -> None:
        """Lines are written from now on."""
        self._thread.start()

    def watch(self, device: int) -> None:
        """From now on this device's writing counts as life."""
        self._device = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat"

    def stop(self) -> None:
        """No further line is written."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before: tuple[object, ...] = ()
        while True:
            counters = self._counters
            now = (
                counters.entries,
                counters.files_done,
                counters.bytes_done,
                counters.removed,
                self._device_wrote(),
            )
            if now != before:
                write_line({"progress": self._line()})
                before = now
            if self._ended.wait(_INTERVAL_SECONDS):
                return
            _end_if_nobody_listens()

    def _line(self) -> dict[str, object]:
        counters, now = self._counters, time.monotonic()
        done, total = counters.bytes_done, counters.bytes_total
        self._past.append((now, done))
        while now - self._past[0][0] > _RATE_SECONDS:
            self._past.popleft()
        begin, before = self._past[0]
        rate = (done - before) / (now - begin) if now > begin else 0.0
        left = max(0, total - done)
        return {
            "stage": self._stage,
            "bytes_done": done,
            "bytes_total": total,
            "files_done": counters.files_done,
            "files_total": counters.files_total,
            "bytes_per_second": round(rate, 1),
            "eta_seconds": round(left / rate, 1) if rate > 0 and total else None,
        }

    def _device_wrote(self) -> bytes:
        """Sectors written to the watched device, where that can be known."""
        # Documentation/block/stat.rst: the seventh number
        try:
            fd = os.open(self._device, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(fd, 512).split()[6]
        except (OSError, IndexError):
            return b""
        finally:
            os.close(fd)


def write_line(content: dict[str, object]) -> None:
    """One JSON line is on stdout; the process ends if nobody reads there any more."""
    try:
        sys.stdout.write(json.dumps(content) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)


def _end_if_nobody_listens() -> None:
    """Whoever asked is gone, and with it the reason to copy."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        os._exit(1)
