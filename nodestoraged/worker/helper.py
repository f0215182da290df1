"""Run one helper program (e2fsck) within a child, with a clean environment and bounded output.

Owns: finding and starting the program.  May not know: what its exit code means.
`subprocess` would cost the warm process a mebibyte; posix_spawn is all that is needed here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import NamedTuple

from nodestoraged.worker.failure import OperationFailed, printable

__all__ = ["ENVIRONMENT", "PATH", "Finished", "find", "run"]

#: Where programs are looked for, beside the usual places those of systems with a read-only /usr:
#: NixOS has everything in the first, Flatcar what was added in the second.
PATH = (
    *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
    *("/run/current-system/sw/bin", "/opt/bin"),
)
#: What every program of ours finds, and nothing else: its output must not depend on who started us.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": ":".join(PATH),
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}
#: Which package a program comes with, and where it is one of its own.
_PACKAGES = {
    "e2fsck": "e2fsprogs",
    "mkfs.ext4": "e2fsprogs",
    "tune2fs": "e2fsprogs (Alpine: e2fsprogs-extra)",
    "mkfs.xfs": "xfsprogs",
    "xfs_db": "xfsprogs (Alpine: xfsprogs-extra)",
    "ctr": "containerd (Alpine, openSUSE: containerd-ctr)",
}
_OUTPUT_BYTES = 64 * 1024


class Finished(NamedTuple):
    """How it ended: exit code (negative: the signal) and its last lines, safe to print."""

    exit_code: int
    last_lines: tuple[str, ...]


def run(program: str, *args: str) -> Finished:
    """Run `program` to its end.  Raises OperationFailed `HelperMissing` if it is not installed."""
    executable = find(program)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with open("/dev/null", "rb") as nothing:
        pid = os.posix_spawn(
            executable,
            (executable, *args),
            ENVIRONMENT,
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


def find(program: str) -> str:
    """Where `program` lies.  Raises HelperMissing, which names the package that it comes with."""
    if "/" in program:
        return program
    for directory in PATH:
        path = f"{directory}/{program}"
        if os.access(path, os.X_OK):
            return path
    package = _PACKAGES.get(program)
    advice = f": install the package {package}" if package else ""
    raise OperationFailed("HelperMissing", f"{program} is not installed{advice}")
