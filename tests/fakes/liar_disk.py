"""A disk that promises more than it holds: faultfs with another idea of where blocks lie.

    python tests/fakes/liar_disk.py BACKING LIFE_SECONDS PROMISED_BYTES wrap|drop CACHED_BLOCKS

BACKING is as large as the disk truly is.  `wrap`: an address beyond the end begins anew at the
start; `drop`: what is written there is lost and reads as zeros.  CACHED_BLOCKS of the last writes
are answered from memory all the same, as the controller of a stick does.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fakes import faultfs

_BLOCK = 4096


class LiarServer(faultfs.FaultServer):
    """Answers reads and writes block by block."""

    promised_bytes = 0
    how = "wrap"
    cached_blocks = 0

    def __init__(self, fuse_fd: int, backing_fd: int) -> None:
        super().__init__(fuse_fd, backing_fd)
        self._true_size = os.fstat(backing_fd).st_size
        self._size = self.promised_bytes
        self._cache: dict[int, bytes] = {}

    def _serve(self, opcode: int, node: int, body: bytes) -> bytes:
        if opcode == faultfs.READ:
            _fh, offset, size = struct.unpack_from("<QQI", body)
            return b"".join(self._read(at) for at in range(offset, offset + size, _BLOCK))
        if opcode == faultfs.WRITE:
            _fh, offset, size = struct.unpack_from("<QQI", body)
            for done in range(0, size, _BLOCK):
                self._write(offset + done, body[40 + done : 40 + done + _BLOCK])
            return struct.pack("<2I", size, 0)
        return super()._serve(opcode, node, body)

    def _read(self, offset: int) -> bytes:
        if offset in self._cache:
            return self._cache[offset]
        place = self._place(offset)
        return bytes(_BLOCK) if place is None else os.pread(self._backing, _BLOCK, place)

    def _write(self, offset: int, data: bytes) -> None:
        self._cache[offset] = data
        while len(self._cache) > self.cached_blocks:
            del self._cache[next(iter(self._cache))]
        place = self._place(offset)
        if place is not None:
            os.pwrite(self._backing, data, place)

    def _place(self, offset: int) -> int | None:
        if offset < self._true_size:
            return offset
        return offset % self._true_size if self.how == "wrap" else None


@contextlib.contextmanager
def liar_disk(
    backing: Path,
    promised_bytes: int,
    how: str,
    *,
    cached_blocks: int = 0,
    life_seconds: float = 60.0,
) -> Iterator[str]:
    """The path of the file for a loop device, for the time of a `with` block."""
    words = (str(backing), str(life_seconds), str(promised_bytes), how, str(cached_blocks))
    pipe = subprocess.PIPE
    command = [sys.executable, __file__, *words]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        word, _, mountpoint = process.stdout.readline().strip().partition(" ")
        try:
            assert word == "ready"
            yield f"/proc/{process.pid}/root{mountpoint}/disk"
        finally:
            process.kill()
            with contextlib.suppress(OSError):
                Path(mountpoint).rmdir()


if __name__ == "__main__":
    LiarServer.promised_bytes = int(sys.argv[3])
    LiarServer.how = sys.argv[4]
    LiarServer.cached_blocks = int(sys.argv[5])
    faultfs.FaultServer = LiarServer  # type: ignore[misc]
    faultfs.serve(sys.argv[1], float(sys.argv[2]))
