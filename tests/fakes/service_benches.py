"""Benches for the service manager contract: units of a test, and the manager that runs them.

To run the contract over another implementation, write a bench and add it to `BENCHES`, to
`KNOWING_BENCHES` if it knows conditions, dependents and shutdowns, and to `RICH_BENCHES` if it
knows jobs and masks besides.  Nothing else has to change.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

from nodestoraged.adapters.program import Finished, run_program
from nodestoraged.adapters.services.command import CommandServiceManager
from nodestoraged.adapters.services.openrc import OpenRcServices
from nodestoraged.adapters.services.openrcfiles import OpenRcFiles
from nodestoraged.adapters.services.systemctl import SystemctlControl
from nodestoraged.adapters.services.systemd import DbusControl
from nodestoraged.adapters.services.unitcontrol import SystemdServices
from nodestoraged.model.config import CommandServices, RoleConfig
from nodestoraged.model.runtime import UnitState
from nodestoraged.ports import ServiceManager
from nodestoraged.sim.adapters import ports
from nodestoraged.sim.world import SimUnit, World
from tests.fakes import stub_rc_service, stub_systemctl
from tests.fakes.fake_systemd1 import FakeSystemd1, private_bus
from tests.fakes.openrc_tree import SUPERVISOR_PID, OpenRcTree
from tests.fakes.unit_world import UnitWorld, WorldUnit


class Bench(Protocol):
    """A machine with units."""

    manager: ServiceManager

    def add(self, unit: WorldUnit) -> None:
        """The unit exists, in the state and with the behaviour given."""

    def begin_shutdown(self) -> None:
        """The system is on its way down from now on."""


MakeBench: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Bench]]


class DbusBench:
    """The D-Bus adapter against the fake systemd on a real bus."""

    def __init__(self, manager: ServiceManager, fake: FakeSystemd1, bus: Path) -> None:
        self.manager = manager
        self.fake = fake
        self.world = fake.world
        self.bus = bus

    def add(self, unit: WorldUnit) -> None:
        self.world.add(unit)

    def begin_shutdown(self) -> None:
        self.world.begin_shutdown()


@contextlib.asynccontextmanager
async def dbus_bench(directory: Path) -> AsyncIterator[DbusBench]:
    async with private_bus(directory) as socket:
        fake = FakeSystemd1(UnitWorld())
        await fake.serve(socket)
        manager = SystemdServices(DbusControl(str(socket)))
        try:
            yield DbusBench(manager, fake, socket)
        finally:
            await manager.close()
            await fake.close()


class SystemctlBench:
    """The systemctl adapter against a program that answers like systemctl."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "world.json"
        UnitWorld().save(self._file)
        program = directory / "systemctl"
        words = [sys.executable, "-I", stub_systemctl.__file__, str(self._file)]
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
        self.manager: ServiceManager = SystemdServices(SystemctlControl(str(program)))

    @property
    def world(self) -> UnitWorld:
        return UnitWorld.load(self._file)

    def add(self, unit: WorldUnit) -> None:
        world = self.world
        world.add(unit)
        world.save(self._file)

    def begin_shutdown(self) -> None:
        world = self.world
        world.begin_shutdown()
        world.save(self._file)


@contextlib.asynccontextmanager
async def systemctl_bench(directory: Path) -> AsyncIterator[SystemctlBench]:
    bench = SystemctlBench(directory)
    try:
        yield bench
    finally:
        await bench.manager.close()


START = """#!/bin/sh
unit={directory}/$1
if [ -e "$unit.start_fails" ]; then echo "no configuration" >&2; exit 1; fi
if [ -e "$unit.start_never_ends" ]; then exec sleep 60; fi
echo 0 >"$unit"
"""
STOP = """#!/bin/sh
unit={directory}/$1
if [ -e "$unit.stop_never_ends" ]; then exec sleep 60; fi
echo 3 >"$unit"
"""
STATUS = """#!/bin/sh
unit={directory}/$1
[ -e "$unit" ] || exit 4
exit $(cat "$unit")
"""


class CommandBench:
    """The command adapter over three shell scripts and one file per unit with its status."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        argv: dict[str, tuple[str, ...]] = {}
        for word, text in (("start", START), ("stop", STOP), ("status", STATUS)):
            script = directory / f"{word}.sh"
            script.write_text(text.format(directory=shlex.quote(str(directory))))
            script.chmod(0o755)
            argv[word] = (str(script), "{unit}")
        self.manager: ServiceManager = CommandServiceManager(
            CommandServices(start=argv["start"], stop=argv["stop"], status=argv["status"])
        )

    def add(self, unit: WorldUnit) -> None:
        code = {"active": 0, "inactive": 3, "failed": 1}[unit.active]
        (self._directory / unit.name).write_text(f"{code}\n")
        for flag in ("start_fails", "start_never_ends", "stop_never_ends"):
            if getattr(unit, flag):
                (self._directory / f"{unit.name}.{flag}").touch()

    def begin_shutdown(self) -> None:
        raise AssertionError("commands have no word for a shutdown")


@contextlib.asynccontextmanager
async def command_bench(directory: Path) -> AsyncIterator[CommandBench]:
    yield CommandBench(directory)


class OpenRcBench:
    """The OpenRC adapter over a directory that looks like one, and a program like rc-service."""

    def __init__(self, directory: Path) -> None:
        self.tree = OpenRcTree(directory).make()
        self._file = directory / "world.json"
        UnitWorld().save(self._file)
        self.manager: ServiceManager = OpenRcServices(OpenRcFiles(directory), self._run)

    @property
    def world(self) -> UnitWorld:
        return UnitWorld.load(self._file)

    def add(self, unit: WorldUnit) -> None:
        world = self.world
        world.add(unit)
        world.save(self._file)
        name = unit.name.removesuffix(".service")
        if unit.load != "not-found":
            self.tree.script(name)
        self.tree.mark(name, {"active": "started", "failed": "failed"}.get(unit.active, ""))
        if unit.active == "active":
            self.tree.process(name, child=unit.main_pid, supervisor=SUPERVISOR_PID)
        self.tree.deptree(
            {
                each.name.removesuffix(".service"): {
                    "needsme": [one.removesuffix(".service") for one in each.required_by]
                }
                for each in world.units.values()
            }
        )

    def begin_shutdown(self) -> None:
        (self.tree.state / "softlevel").write_text("shutdown")

    async def _run(self, word: str, name: str, seconds: float) -> Finished:
        stub = (sys.executable, "-I", stub_rc_service.__file__, str(self.tree.root), name)
        verb = word.removesuffix("-later")
        return await run_program((*stub, verb), deadline_seconds=seconds)


@contextlib.asynccontextmanager
async def openrc_bench(directory: Path) -> AsyncIterator[OpenRcBench]:
    bench = OpenRcBench(directory)
    try:
        yield bench
    finally:
        await bench.manager.close()


class SimBench:
    """The simulator's init system."""

    def __init__(self) -> None:
        self._world = World(RoleConfig(name="containerd"))
        self._world.ready = True
        self.manager: ServiceManager = ports(self._world).services

    def add(self, unit: WorldUnit) -> None:
        states = {"active": UnitState.ACTIVE, "failed": UnitState.FAILED}
        state = states.get(unit.active, UnitState.INACTIVE)
        self._world.units[unit.name] = SimUnit(state=state, pid=unit.main_pid)

    def begin_shutdown(self) -> None:
        self._world.stopping = True


@contextlib.asynccontextmanager
async def sim_bench(_directory: Path) -> AsyncIterator[SimBench]:
    yield SimBench()


#: Every implementation of `ports.ServiceManager`.
BENCHES: dict[str, MakeBench] = {
    "dbus": dbus_bench,
    "systemctl": systemctl_bench,
    "openrc": openrc_bench,
    "command": command_bench,
}

#: Those whose units start and stop, and know no failure of their own.
PLAIN_BENCHES: dict[str, MakeBench] = {"command": command_bench, "sim": sim_bench}

#: Those that know conditions, dependents and shutdowns.
KNOWING_BENCHES: dict[str, MakeBench] = {
    name: make for name, make in BENCHES.items() if name != "command"
}

#: Those that know jobs and masks besides.
RICH_BENCHES: dict[str, MakeBench] = {
    name: make for name, make in KNOWING_BENCHES.items() if name != "openrc"
}


async def until(condition: Callable[[], bool]) -> None:
    """The condition holds; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - the fakes have no events to wait for
        await asyncio.sleep(0.01)


def run(make: MakeBench, directory: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    """The scenario ran on a fresh bench, which is gone again."""

    async def whole() -> None:
        async with make(directory) as bench:
            await scenario(bench)

    asyncio.run(whole())
