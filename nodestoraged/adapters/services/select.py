"""Which service manager this machine has.

Owns: the choice, and going on with `systemctl` while the bus is down.  May not know: how either
works.  `dbus_next` is imported only where systemd is asked for over D-Bus.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from nodestoraged.adapters.launcher import Launcher
from nodestoraged.adapters.services.command import CommandServiceManager
from nodestoraged.adapters.services.openrc import OpenRcServices
from nodestoraged.adapters.services.openrcfiles import OpenRcFiles
from nodestoraged.adapters.services.systemctl import SystemctlControl
from nodestoraged.adapters.services.unitcontrol import Control, SystemdServices, UnreachableError
from nodestoraged.adapters.services.unitfacts import Facts
from nodestoraged.model.config import DaemonConfig, Services
from nodestoraged.model.errors import ConfigError, InternalError
from nodestoraged.ports import ServiceManager

__all__ = ["FallbackControl", "choose", "is_openrc"]

_Answer = TypeVar("_Answer")

#: How long the bus is left alone after it did not answer.
REST_SECONDS = 30.0


class FallbackControl:
    """Implements `Control`: asks `first`, and `second` while the first cannot be asked.

    What was asked of the first without an answer is asked again of the second: every request
    is a wished fact, so asking twice changes nothing.
    """

    def __init__(
        self, first: Control, second: Control, *, rest_seconds: float = REST_SECONDS
    ) -> None:
        self._first = first
        self._second = second
        self._rest_seconds = rest_seconds
        self._resting_until = 0.0

    async def read(self, names: Sequence[str]) -> tuple[Facts, ...]:
        """One reading per name, in the order asked."""
        return await self._ask(lambda control: control.read(names))

    async def start(self, name: str, *, wait: bool) -> None:
        """The start was asked for; with `wait` its job has ended."""
        await self._ask(lambda control: control.start(name, wait=wait))

    async def stop(self, name: str) -> None:
        """The stop was asked for and its job has ended."""
        await self._ask(lambda control: control.stop(name))

    async def system_state(self) -> str:
        """systemd's SystemState."""
        return await self._ask(lambda control: control.system_state())

    async def close(self) -> None:
        """Both are closed."""
        await self._first.close()
        await self._second.close()

    async def _ask(self, question: Callable[[Control], Awaitable[_Answer]]) -> _Answer:
        if time.monotonic() >= self._resting_until:
            try:
                return await question(self._first)
            except UnreachableError:
                self._resting_until = time.monotonic() + self._rest_seconds
                await self._first.close()
        return await question(self._second)


def is_openrc(config: DaemonConfig, *, root: Path = Path("/")) -> bool:
    """True if OpenRC is what `config` names or, with `auto`, what runs this machine."""
    if config.services is not Services.AUTO:
        return config.services is Services.OPENRC
    return not _systemd_runs(root) and (root / "run/openrc/softlevel").is_file()


def choose(
    config: DaemonConfig, launcher: Launcher | None = None, *, root: Path = Path("/")
) -> ServiceManager:
    """The service manager that `config` names or, with `auto`, that runs this machine.

    Opens nothing.  `launcher` runs OpenRC's services; `root` is where /run is looked for.  Raises
    ConfigError where none is known, or the commands are missing.
    """
    match config.services:
        case Services.COMMAND:
            return _by_command(config)
        case Services.SYSTEMCTL:
            return SystemdServices(SystemctlControl())
        case Services.SYSTEMD:
            return SystemdServices(_over_dbus(root))
        case Services.OPENRC:
            return _by_openrc(launcher, root)
        case Services.AUTO:
            if is_openrc(config, root=root):
                return _by_openrc(launcher, root)
            return _by_machine(root)


def _systemd_runs(root: Path) -> bool:
    """sd_booted(3): this directory exists exactly where systemd is PID 1."""
    return (root / "run/systemd/system").is_dir()


def _by_openrc(launcher: Launcher | None, root: Path) -> ServiceManager:
    if launcher is None:
        raise InternalError("OpenRC's services were asked for without a launcher")
    return OpenRcServices(OpenRcFiles(root), launcher.service)


def _by_machine(root: Path) -> ServiceManager:
    if _systemd_runs(root):
        try:
            first = _over_dbus(root)
        except ImportError:
            return SystemdServices(SystemctlControl())
        return SystemdServices(FallbackControl(first, SystemctlControl()))
    raise ConfigError(
        "neither systemd nor OpenRC runs this machine, and no other service manager is configured",
        key="daemon.services",
        hint='set services = "command" in [daemon], and start, stop and status in'
        " [daemon.commands]",
    )


def _over_dbus(root: Path) -> Control:
    from nodestoraged.adapters.services.systemd import SYSTEM_BUS, DbusControl

    return DbusControl(str(root / SYSTEM_BUS.lstrip("/")))


def _by_command(config: DaemonConfig) -> ServiceManager:
    commands = config.commands
    for word, argv in (
        ("start", commands.start), ("stop", commands.stop), ("status", commands.status),
    ):  # fmt: skip
        if not argv:
            raise ConfigError(
                'services = "command" needs the argument vectors start, stop and status',
                key=f"daemon.commands.{word}",
                hint=f'for example {word} = ["sv", "{word}", "{{unit}}"]',
            )
    return CommandServiceManager(commands)
