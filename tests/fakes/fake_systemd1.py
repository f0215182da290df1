"""A fake org.freedesktop.systemd1 on a private dbus-daemon: a real bus, no systemd.

`private_bus` gives the bus, `FakeSystemd1` the service on it, with switches for what goes wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from dbus_next import Message, MessageType, Variant
from dbus_next.aio import MessageBus

from tests.fakes.unit_world import UnitWorld

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = f"{SYSTEMD}.Manager"
ROOT = "/org/freedesktop/systemd1"

#: Nothing of a test outlives this, even if the test run is killed.
BUS_LIFE_SECONDS = 60

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/>
<allow own="*"/></policy></busconfig>
"""


@contextlib.asynccontextmanager
async def private_bus(directory: Path) -> AsyncIterator[Path]:
    """A dbus-daemon of our own; its socket."""
    socket = directory / "bus"
    config = directory / "bus.conf"
    config.write_text(CONFIG.format(socket=socket))
    daemon = await asyncio.create_subprocess_exec(
        *("timeout", "--kill-after=1", str(BUS_LIFE_SECONDS)),
        *("dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # it complains about limits that it may not raise
    )
    try:
        assert daemon.stdout is not None
        assert await daemon.stdout.readline(), "dbus-daemon did not start"
        yield socket
    finally:
        if daemon.returncode is None:
            daemon.terminate()
        await daemon.wait()


def _closed(bus: MessageBus) -> None:
    """dbus-next leaves its socket open."""
    for each in (bus._stream, bus._sock):
        with contextlib.suppress(OSError, ValueError):
            each.close()


@contextlib.asynccontextmanager
async def connected(socket: Path) -> AsyncIterator[MessageBus]:
    """A connection that is closed in the end."""
    bus = await MessageBus(bus_address=f"unix:path={socket}").connect()
    try:
        yield bus
    finally:
        if bus.connected:
            bus.disconnect()
        with contextlib.suppress(Exception):
            await bus.wait_for_disconnect()
        _closed(bus)


class FakeSystemd1:
    """Answers for `world`; use it as an async context manager."""

    def __init__(self, world: UnitWorld) -> None:
        self.world = world
        self.subscribed: set[str] = set()
        self.callers: list[str] = []  # unique names, in the order of their requests
        self.silent = False  # takes requests and never answers
        self.loses_signals = False  # jobs end without JobRemoved
        self.signals_first = False  # a job ends before its request is answered
        self._jobs: dict[str, str] = {}  # object path of the job -> unit
        self._paths: dict[str, str] = {}  # object path of the unit -> unit
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._bus: MessageBus | None = None
        self._stack = contextlib.AsyncExitStack()

    async def serve(self, socket: Path) -> None:
        """The name is ours and requests are answered until `close`."""
        bus = await self._stack.enter_async_context(connected(socket))
        bus.add_message_handler(self._on_message)
        await bus.request_name(SYSTEMD)
        self._bus = bus

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def _on_message(self, message: Message) -> Message | bool:
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        self.callers.append(message.sender)
        if self.silent:
            return True
        if message.interface == "org.freedesktop.DBus.Properties":
            return self._property(message)
        return self._request(message, message.body[0] if message.body else "")

    def _request(self, message: Message, name: str) -> Message | bool:
        self.world.calls.append((message.member, name))
        match message.member:
            case "Subscribe":
                self.subscribed.add(message.sender)
                return Message.new_method_return(message)
            case "LoadUnit":
                return Message.new_method_return(message, "o", [self._path(name)])
            case "RefUnit":
                if name in self.world.units:
                    self.world.units[name].unloaded = False
                return Message.new_method_return(message)
            case "ResetFailedUnit":
                if name not in self.world.units:
                    return _error(message, "NoSuchUnit", f"Unit {name} not loaded.")
                self.world.reset_failed(name)
                return Message.new_method_return(message)
            case "StartUnit" | "StopUnit":
                return self._job(message, name)
        return False

    def _job(self, message: Message, name: str) -> Message | bool:
        verb = "start" if message.member == "StartUnit" else "stop"
        assert message.body[1] == "replace"
        refusal = self.world.refusal(verb, name)
        if refusal is not None:
            return _error(message, *refusal)
        self._number += 1
        path = f"{ROOT}/job/{self._number}"
        self._jobs[path] = name
        self.world.begin(verb, name)
        unit = self.world.units[name]
        if not (unit.start_never_ends if verb == "start" else unit.stop_never_ends):
            seconds = unit.start_seconds if verb == "start" else unit.stop_seconds
            if self.signals_first:
                self._end_job(verb, path, self._number)
            else:
                task = asyncio.create_task(self._run_job(verb, path, self._number, seconds))
                self._tasks.add(task)
        return Message.new_method_return(message, "o", [path])

    async def _run_job(self, verb: str, path: str, number: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._end_job(verb, path, number)

    def _end_job(self, verb: str, path: str, number: int) -> None:
        name = self._jobs.pop(path)
        result = self.world.end(verb, name)
        if self.subscribed and not self.loses_signals and self._bus is not None:
            self._bus.send(job_removed(path, number, name, result))

    def _property(self, message: Message) -> Message:
        interface = message.body[0]
        if interface == MANAGER:
            facts = {"SystemState": Variant("s", self.world.system_state)}
        elif message.path in self._jobs:
            unit = self.world.unit(self._jobs[message.path])
            facts = {"JobType": Variant("s", unit.job_type), "State": Variant("s", unit.job_state)}
        elif message.path in self._paths:
            facts = self._unit_facts(self._paths[message.path], interface)
        else:
            return Message.new_error(
                message, "org.freedesktop.DBus.Error.UnknownObject", f"No {message.path}"
            )
        if message.member == "GetAll":
            return Message.new_method_return(message, "a{sv}", [facts])
        return Message.new_method_return(message, "v", [facts[message.body[1]]])

    def _unit_facts(self, name: str, interface: str) -> dict[str, Variant]:
        unit = self.world.unit(name)
        if interface == f"{SYSTEMD}.Service":
            return {"MainPID": Variant("u", unit.main_pid), "Result": Variant("s", unit.result)}
        job = next((path for path, each in self._jobs.items() if each == name), None)
        if job is None and unit.job_type:  # a job that was there before
            job = f"{ROOT}/job/{9000 + len(self._jobs)}"
            self._jobs[job] = name
        number = int(job.rpartition("/")[2]) if job else 0
        return {
            "Id": Variant("s", name),
            "LoadState": Variant("s", unit.load),
            "ActiveState": Variant("s", unit.active),
            "SubState": Variant("s", unit.sub),
            "ConditionResult": Variant("b", unit.condition_result),
            "ConditionTimestampMonotonic": Variant("t", 1_000_000 * unit.condition_checked),
            "Job": Variant("(uo)", [number, job or "/"]),
            "RequiredBy": Variant("as", unit.required_by),
            "BoundBy": Variant("as", unit.bound_by),
            "ConsistsOf": Variant("as", unit.consists_of),
        }

    def _path(self, name: str) -> str:
        escaped = "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in name)
        path = f"{ROOT}/unit/{escaped}"
        self._paths[path] = name
        return path


def job_removed(path: str, number: int, name: str, result: str, destination: str = "") -> Message:
    """The signal with which systemd says that a job has ended."""
    return Message(
        message_type=MessageType.SIGNAL,
        destination=destination or None,
        path=ROOT,
        interface=MANAGER,
        member="JobRemoved",
        signature="uoss",
        body=[number, path, name, result],
    )


def _error(message: Message, word: str, sentence: str) -> Message:
    return Message.new_error(message, f"{SYSTEMD}.{word}", sentence)
