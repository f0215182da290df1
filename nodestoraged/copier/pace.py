"""How fast is written: the throttle, and how much may wait in memory for the medium.

Owns: both, the thread that flushes, and the counting of bytes.  May not know: files.

Without a limit the page cache would take a stick's worth of data at once: progress would say
"done" minutes before it is, and a pass would end in one long silence.  Flushing early also lets
reading and writing go on at the same time.
"""

from __future__ import annotations

import threading
import time

from nodestoraged.copier.failure import CopyFailed, of_error
from nodestoraged.copier.progress import Counters
from nodestoraged.copier.record import Record, coarse_now_ns
from nodestoraged.copier.tree import Tree
from nodestoraged.linux.beneath import syncfs

__all__ = ["Pace"]

#: So much unwritten data wakes the flusher; twice as much again holds the copying up.
_FLUSH_BYTES = 64 << 20
_MOST_BYTES = 192 << 20
_FLUSH_SECONDS = 10.0
_CHUNK_BYTES = 8 << 20
_LEAST_BYTES = 4096


class Pace:
    """Shared by all threads of a pass; the flusher runs between `start` and `stop`."""

    def __init__(
        self, target: Tree, record: Record, counters: Counters, bytes_per_second: int | None
    ) -> None:
        self._target = target
        self._record = record
        self._counters = counters
        self._rate = bytes_per_second
        self._chunk = _CHUNK_BYTES
        if bytes_per_second is not None:
            self._chunk = max(_LEAST_BYTES, min(_CHUNK_BYTES, bytes_per_second // 4))
        self._free_at = 0.0
        self._unflushed = 0
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="flush", daemon=True)
        self.failure: CopyFailed | None = None

    def start(self) -> None:
        """Unwritten data is flushed from now on."""
        self._thread.start()

    def stop(self) -> None:
        """The flusher has ended; raises its failure."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def wait(self, wanted: int) -> int:
        """How many bytes, up to `wanted`, may be moved now; returns when they may."""
        count = min(wanted, self._chunk)
        if self._unflushed > _MOST_BYTES:
            with self._changed:
                while self._unflushed > _MOST_BYTES and not self._ended and not self.failure:
                    self._changed.wait(1.0)
        if self.failure is not None:
            raise self.failure
        if self._rate is not None:
            with self._changed:
                now = time.monotonic()
                begin = max(now, self._free_at)
                self._free_at = begin + count / self._rate
            time.sleep(begin - now)
        return count

    def wrote(self, count: int) -> None:
        """`count` bytes were written to the target."""
        with self._changed:
            self._counters.bytes_done += count
            self._counters.bytes_written += count
            self._unflushed += count
            if self._unflushed >= _FLUSH_BYTES:
                self._changed.notify_all()

    def read(self, count: int) -> None:
        """`count` bytes were found to be there already."""
        with self._changed:
            self._counters.bytes_done += count

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._ended and self._unflushed < _FLUSH_BYTES:
                    self._changed.wait(_FLUSH_SECONDS)
                if self._ended:
                    return
                amount = self._unflushed
            if amount == 0:
                continue
            try:
                moment_ns = coarse_now_ns()
                syncfs(self._target.fd)
                self._record.synced(moment_ns)
            except OSError as error:
                with self._changed:
                    self.failure = of_error(error, self._target.path)
                    self._changed.notify_all()
                return
            with self._changed:
                self._unflushed -= amount
                self._changed.notify_all()
