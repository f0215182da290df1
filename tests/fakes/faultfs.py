"""A disk that fails on demand: a raw /dev/fuse server with one file, to put a loop device on.

    python tests/fakes/faultfs.py BACKING LIFE_SECONDS     (root; talks on stdin and stdout)

It prints `ready MOUNTPOINT` and then obeys lines on stdin: `ok`, `eio` (every request fails),
`delay SECONDS` (every request takes that long), `hang` (requests are kept and never answered;
`ok` answers them), `quit`.  Each but `quit` is answered with `done` once it is in force.  End of
stdin is `quit`.

Bounded life, because a hung loop device freezes sync, losetup -a and mount -L machine-wide: after
LIFE_SECONDS, or when whoever started it is gone, the server ends; then the kernel fails whatever
was kept waiting with an I/O error.  The mount lives in a namespace of its own.  Killing the server
is a disk that is yanked without any uevent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# include/uapi/linux/fuse.h
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 1, 2, 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 18, 20, 25, 26, 36, 38, 42
_IN_HEADER = struct.Struct("<IIQQIIIHH")
_OUT_HEADER = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_FOPEN_DIRECT_IO = 1  # nothing is cached between the loop device and us
_MAX_WRITE = 128 * 1024
_EIO, _ENOENT, _ENOSYS = 5, 2, 38
_FILE_NODE = 2
_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | 1 << 18
_PR_SET_PDEATHSIG = 1
#: A server that is busy obeys within that time, or not at all.
_OBEY_SECONDS = 10.0


class FaultServer:
    """Answers FUSE requests of one connection about the file `disk`, well or badly."""

    def __init__(self, fuse_fd: int, backing_fd: int) -> None:
        self._fuse = fuse_fd
        self._backing = backing_fd
        self._size = os.fstat(backing_fd).st_size
        self._mode = "ok"
        self._delay_seconds = 0.0
        self._kept: list[bytes] = []

    def command(self, line: str) -> bool:
        """Obey one line; False for `quit`."""
        words = line.split() or [""]
        self._mode = words[0]
        self._delay_seconds = float(words[1]) if self._mode == "delay" else 0.0
        if self._mode != "hang":
            kept, self._kept = self._kept, []
            for request in kept:
                self.answer(request)
        return self._mode != "quit"

    def answer(self, request: bytes) -> None:
        """Answer one request as the mode wants it."""
        length, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
        body = request[_IN_HEADER.size : length]
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        if opcode in (READ, WRITE, FSYNC, FLUSH):
            if self._mode == "hang":
                self._kept.append(request)
                return
            if self._mode == "eio":
                self._reply(unique, b"", -_EIO)
                return
            time.sleep(self._delay_seconds)
        try:
            self._reply(unique, self._serve(opcode, node, body))
        except OSError as error:
            self._reply(unique, b"", -(error.errno or _EIO))

    def _serve(self, opcode: int, node: int, body: bytes) -> bytes:
        if opcode == INIT:
            major, minor, readahead, _flags = struct.unpack_from("<4I", body)
            del major, minor
            head = struct.pack("<4I2H2I2H", 7, 31, readahead, 0, 16, 12, _MAX_WRITE, 1, 0, 0)
            return head + bytes(64 - len(head))
        if opcode == LOOKUP:
            if body.rstrip(b"\0") != b"disk":
                raise OSError(_ENOENT, "no such file")
            return struct.pack("<4Q2I", _FILE_NODE, 0, 60, 60, 0, 0) + self._attr(_FILE_NODE)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<Q2I", 60, 0, 0) + self._attr(node)
        if opcode == OPEN:
            return struct.pack("<Q2I", 1, _FOPEN_DIRECT_IO, 0)
        if opcode == READ:
            _fh, offset, size = struct.unpack_from("<QQI", body)
            return os.pread(self._backing, size, offset)
        if opcode == WRITE:
            _fh, offset, size = struct.unpack_from("<QQI", body)
            return struct.pack("<2I", os.pwrite(self._backing, body[40 : 40 + size], offset), 0)
        if opcode == STATFS:
            return struct.pack("<5Q4I6I", 1, 1, 1, 1, 1, 4096, 255, 4096, 0, *([0] * 6))
        if opcode in (RELEASE, FSYNC, FLUSH, DESTROY):
            return b""
        raise OSError(_ENOSYS, "not served")

    def _attr(self, node: int) -> bytes:
        if node == _FILE_NODE:
            mode, size = stat.S_IFREG | 0o600, self._size
        else:
            mode, size = stat.S_IFDIR | 0o755, 0
        return _ATTR.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _reply(self, unique: int, body: bytes, error: int = 0) -> None:
        packet = _OUT_HEADER.pack(_OUT_HEADER.size + len(body), error, unique) + body
        with contextlib.suppress(FileNotFoundError):  # the request was interrupted
            os.write(self._fuse, packet)


def serve(backing: str, life_seconds: float) -> None:
    """Mount, say so, and serve until `quit` or the end of the life."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _checked(libc.unshare(_CLONE_NEWNS))
    _checked(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None))
    fuse_fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse_fd},rootmode=40000,user_id=0,group_id=0".encode()
    # Beside what it serves: the path tells whose disk it is.
    with tempfile.TemporaryDirectory(prefix="faultfs-", dir=Path(backing).parent) as mountpoint:
        target = mountpoint.encode()
        _checked(libc.mount(b"faultfs", target, b"fuse.faultfs", ctypes.c_ulong(0), options))
        try:
            sys.stdout.write(f"ready {mountpoint}\n")
            sys.stdout.flush()
            _loop(
                FaultServer(fuse_fd, os.open(backing, os.O_RDWR | os.O_CLOEXEC)),
                fuse_fd,
                time.monotonic() + life_seconds,
            )
        finally:
            libc.umount2(target, 2)
            os.close(fuse_fd)  # the kernel fails everything that still waits


def _loop(server: FaultServer, fuse_fd: int, deadline: float) -> None:
    while (left := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([fuse_fd, 0], [], [], left)
        if 0 in readable:
            lines = os.read(0, 4096).decode().splitlines()
            if not lines:
                return
            for line in lines:
                if not server.command(line):
                    return
                sys.stdout.write("done\n")
                sys.stdout.flush()
        if fuse_fd in readable:
            try:
                server.answer(os.read(fuse_fd, _MAX_WRITE + 4096))
            except OSError as error:
                if error.errno == 19:  # ENODEV: unmounted
                    return
                if error.errno != _ENOENT:
                    raise


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class FaultDisk:
    """A running server; `path` is the file for a loop device (seen through the server's root)."""

    def __init__(self, backing: Path, life_seconds: float) -> None:
        command = [sys.executable, __file__, str(backing), str(life_seconds)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout is not None
        word, _, mountpoint = self.process.stdout.readline().strip().partition(" ")
        if word != "ready":
            self.process.wait(5)
            raise RuntimeError("faultfs did not start")
        self._mountpoint = Path(mountpoint)
        self.path = f"/proc/{self.process.pid}/root{mountpoint}/disk"

    def say(self, command: str) -> None:
        """Change the mode; it holds from now on.  RuntimeError if the server does not obey."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        if command == "quit":
            return
        readable, _, _ = select.select([self.process.stdout], [], [], _OBEY_SECONDS)
        if not readable or self.process.stdout.readline() != "done\n":
            raise RuntimeError(f"faultfs did not obey: {command}")

    def kill(self) -> None:
        """Yank it: pending and later requests fail at once; no uevent tells of it."""
        self.process.kill()
        self.process.wait(5)
        with contextlib.suppress(FileNotFoundError):
            self._mountpoint.rmdir()


@contextlib.contextmanager
def fault_disk(backing: Path, *, life_seconds: float = 30.0) -> Iterator[FaultDisk]:
    """A fault disk for the time of a `with` block, at most `life_seconds` long."""
    disk = FaultDisk(backing, life_seconds)
    try:
        yield disk
    finally:
        disk.kill()
        for stream in (disk.process.stdin, disk.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
