"""nodestoragectl in a process of its own whose stdin and stderr are a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import nodestoraged

_SECONDS = 10.0


class Terminal:
    """One run of the program; `seen` is all that it wrote to the terminal."""

    def __init__(self, words: list[str], columns: int, term: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.program = subprocess.Popen(
            [sys.executable, "-m", "nodestoraged.cli", *words],
            stdin=slave, stdout=subprocess.PIPE, stderr=slave, text=True,
            cwd=Path(nodestoraged.__file__).parent.parent, env={**os.environ, "TERM": term},
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def read_until(self, words: str) -> None:
        end = time.monotonic() + _SECONDS
        while words not in self.seen:
            assert self._read(end), f"{words!r} did not come: {self.seen!r}"

    def type(self, line: str) -> None:
        os.write(self._master, line.encode())

    def end(self) -> tuple[int, str]:
        """The exit code and what came on stdout, once the program has ended."""
        end = time.monotonic() + _SECONDS
        while self._read(end):
            pass
        out, _ = self.program.communicate(timeout=_SECONDS)
        return self.program.returncode, out

    def close(self) -> None:
        if self.program.poll() is None:
            self.program.kill()
            self.program.communicate()
        os.close(self._master)

    def _read(self, end: float) -> bool:
        """False once nobody has the terminal open any more, or the time is over."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last of the other side is closed
            return False
        self.seen += data.decode()
        return bool(data)


@contextlib.contextmanager
def on_terminal(words: list[str], columns: int = 80, term: str = "xterm") -> Iterator[Terminal]:
    terminal = Terminal(words, columns, term)
    try:
        yield terminal
    finally:
        terminal.close()


def lines_on_screen(seen: str) -> list[str]:
    """What a person sees in the end: each line after all that was overwritten in it."""
    lines = []
    for line in seen.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            drawn = part.removeprefix("\x1b[K")
            shown = drawn if part != drawn else drawn + shown[len(drawn) :]
        lines.append(shown)
    return lines
