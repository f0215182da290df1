"""Run one helper program (e2fsck) within a child, with a clean environment and bounded output.

Owns: finding and starting the program.  May not know: what its exit code means.
`subprocess` would cost the warm process a mebibyte; posix_spawn is all that is needed here.
"""

from __future__ import annotations

import os
import signal
from typing import NamedTuple

from nodestoraged.worker.failure import OperationFailed, printable

__all__ = ["Finished", "run"]

_PATH = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
_OUTPUT_BYTES = 64 * 1024


class Finished(NamedTuple):
    """How it ended: exit code (negative: the signal) and its last lines, safe to print."""

    exit_code: int
    last_lines: tuple[str, ...]


def run(program: str, *args: str) -> Finished:
    """Run `program` to its end.  Raises OperationFailed `HelperMissing` if it is not installed."""
    executable = _find(program)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with open("/dev/null", "rb") as nothing:
        pid = os.posix_spawn(
            executable,
            (executable, *args),
            {"PATH": ":".join(_PATH), "LANG": "C.UTF-8"},
            file_actions=(
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, write_end, 1),
                (os.POSIX_SPAWN_DUP2, write_end, 2),
            ),
            setsigdef=(signal.SIGPIPE,),
        )
    os.close(write_end)
    output = bytearray()
    while part := os.read(read_end, 8192):
        output = (output + part)[-_OUTPUT_BYTES:]
    os.close(read_end)
    _, status = os.waitpid(pid, 0)
    lines = output.decode(errors="surrogateescape").replace("\r", "\n").splitlines()
    kept = tuple(printable(line) for line in lines if line.strip())[-8:]
    return Finished(os.waitstatus_to_exitcode(status), kept)


def _find(program: str) -> str:
    for directory in _PATH:
        path = f"{directory}/{program}"
        if os.access(path, os.X_OK):
            return path
    raise OperationFailed("HelperMissing", f"{program} is not installed")
