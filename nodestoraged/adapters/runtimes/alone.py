"""containerd of a stopped k3s, run for a moment without k3s.

Owns: its command line, where it runs, its end.  May not know: what it is asked meanwhile.

k3s leaves its pods running when its service is stopped.  They hold the old root, and only a CRI
that answers on that root can take them down with their networks.  It needs rights that the daemon
has given up, so it runs in a transient unit, or under the launcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from nodestoraged.adapters.program import run_program
from nodestoraged.model.errors import StepError
from nodestoraged.model.runtime import RuntimeProfile
from nodestoraged.worker.helper import ENVIRONMENT

__all__ = ["AloneRuntime"]

_UNIT = "nodestoraged-containerd.service"
#: k3s and its kin keep everything below one data directory, the runtime root here.
_BELOW_DATA = "/agent/containerd"
#: containerd ends within a second once it has no tasks; its socket is gone then.
_END_SECONDS = 15.0
_POLL_SECONDS = 0.1


class AloneRuntime:
    """`systemd`: in a unit of its own; else as a child of ours behind the words of `launcher`."""

    def __init__(self, *, systemd: bool, launcher: Sequence[str] = ()) -> None:
        self._systemd = systemd
        self._launcher = tuple(launcher)

    @asynccontextmanager
    async def running(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> AsyncIterator[None]:
        """containerd runs on the profile's root and socket within it, and is gone after it.

        Raises StepError `PodsWithoutRuntime` for a row whose runtime cannot be run alone, and
        `RuntimeStarted` if somebody goes on to answer on the socket: its pods are not ours to end.
        """
        command = (*self._before(deadline_seconds), *_command(profile))
        if self._systemd:
            await _stop_unit()  # one that a daemon before us has left
        await _silent(profile.socket, "name the service that runs it in runtime_units")
        run = asyncio.create_task(run_program(command, deadline_seconds=deadline_seconds))
        try:
            yield
        finally:
            if self._systemd:
                await _stop_unit()
            run.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, TimeoutError):
                await run
            await _silent(profile.socket, "")

    def _before(self, deadline_seconds: float) -> tuple[str, ...]:
        if not self._systemd:
            return self._launcher
        description = "--description=Node storage: containerd without its k3s, to end pods"
        wait = ("systemd-run", "--quiet", "--pipe", "--wait", "--collect")
        # Whatever becomes of us, it does not keep the root for ever.
        longest = f"--property=RuntimeMaxSec={deadline_seconds + _END_SECONDS:.0f}"
        return (*wait, f"--unit={_UNIT}", description, longest, "--")


def _command(profile: RuntimeProfile) -> tuple[str, ...]:
    """The arguments that k3s gives it: pkg/agent/containerd in k3s-io/k3s."""
    data = profile.root.removesuffix(_BELOW_DATA)
    config = Path(data, "agent/etc/containerd/config.toml")
    program = _program(Path(data))
    if not profile.embedded or data == profile.root or not config.is_file() or program is None:
        raise StepError(
            "PodsWithoutRuntime",
            f"{profile.runtime_units[0]} is stopped, its pods still run, and its containerd"
            " cannot be run without it",
            f"start {profile.runtime_units[0]} first",
        )
    where = ("--root", profile.root, "--state", profile.state, "-a", profile.socket)
    return (program, "-c", str(config), *where)


def _program(data: Path) -> str | None:
    """k3s unpacks its programs into a directory per version; `current` leads to the last."""
    current = data / "data/current/bin/containerd"
    unpacked = sorted(data.glob("data/*/bin/containerd"), key=lambda path: path.stat().st_mtime)
    for path in (current, *reversed(unpacked)):
        if path.is_file():
            return str(path)
    return shutil.which("containerd", path=ENVIRONMENT["PATH"])


async def _stop_unit() -> None:
    with contextlib.suppress(OSError, TimeoutError):
        await run_program(("systemctl", "stop", _UNIT), deadline_seconds=_END_SECONDS)


async def _silent(path: str, hint: str) -> None:
    """Nobody listens any more; StepError `RuntimeStarted` if somebody goes on to."""
    for _ in range(int(_END_SECONDS / _POLL_SECONDS)):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) not in {0, errno.EAGAIN}:  # EAGAIN: its queue is full
                return
        await asyncio.sleep(_POLL_SECONDS)
    raise StepError("RuntimeStarted", f"something still answers on {path}", hint)
