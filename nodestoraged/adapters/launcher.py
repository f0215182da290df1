"""The daemon's side of the launcher: started before the daemon gives its rights up.

Owns: the launcher's process and socket, and the command lines of its clients.  May not know: what
the services are, or how a copy is made.  See `nodestoraged.worker.launcher` for the reason.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from nodestoraged import copier, worker
from nodestoraged.adapters.program import Finished, run_program
from nodestoraged.worker.helper import ENVIRONMENT

__all__ = ["Launcher"]

_PYTHON = (sys.executable, "-I", "-S")
_BACKLOG = 8
#: How long the end of an idle launcher takes at most; a busy one is left to itself.
END_SECONDS = 5.0


class Launcher:
    """One launcher, listening at `path`; to be made while the process has all its rights.

    Raises OSError if it cannot be started.
    """

    def __init__(self, path: Path, *, rc_service: str = "rc-service") -> None:
        script = str(Path(worker.__file__).resolve().with_name("launcher.py"))
        copies = str(Path(copier.__file__).resolve().with_name("__main__.py"))
        self._ask = (*_PYTHON, script, "ask", str(path))
        self._path = path
        self._control, theirs = socket.socketpair()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, listener:
            _listen(listener, path)
            fds = (theirs.fileno(), listener.fileno())
            self._process = subprocess.Popen(
                (*_PYTHON, script, "serve", *map(str, fds), rc_service, copies),
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                cwd="/",
                env=dict(ENVIRONMENT),
            )
        self._pidfd = os.pidfd_open(self._process.pid)

    @property
    def path(self) -> Path:
        """Where it listens."""
        return self._path

    @property
    def pidfd(self) -> int:
        """Readable once the launcher has ended: the daemon could start nothing any more."""
        return self._pidfd

    @property
    def copier_python(self) -> tuple[str, ...]:
        """What the copier's script is put behind, so that it runs as the launcher's child."""
        return (*self._ask, "copy")

    @property
    def podman(self) -> tuple[str, ...]:
        """podman's argument vector so far, for the verbs that the launcher knows."""
        return (*self._ask, "podman")

    @property
    def containerd(self) -> tuple[str, ...]:
        """What the command line of a containerd is put behind; it ends with the client."""
        return (*self._ask, "containerd")

    async def service(self, word: str, name: str, deadline_seconds: float) -> Finished:
        """rc-service did `word` (start, start-later, stop, zap) to `name`, whatever its exit code.

        Raises TimeoutError after `deadline_seconds`, when rc-service is told to give up, and
        OSError if the client could not be started.
        """
        return await run_program((*self._ask, word, name), deadline_seconds=deadline_seconds)

    def close(self) -> None:
        """Nothing of ours is open; it ends when its services have started or stopped."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._control.close()
        os.close(self._pidfd)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)


def _listen(listener: socket.socket, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    umask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(umask)
    listener.listen(_BACKLOG)
