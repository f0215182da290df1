"""systemd over D-Bus; the only module that knows `dbus_next`.

Owns: the connection to the bus, systemd's jobs, and the quirks of dbus-next 0.2.3, which has had
no release since 2021 (only low-level `Message`s here, so that a swap stays a matter of this
file).  May not know: what the units are for.  Interface: org.freedesktop.systemd1(5).

The order of a request: subscribe to JobRemoved, ask, wait for the end of the job that the answer
names.  Whoever asked then reads the unit again: a job's result alone is not believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

from nodestoraged.adapters.services.unitcontrol import DeniedError, UnreachableError
from nodestoraged.adapters.services.unitfacts import Facts, facts_from_properties

__all__ = ["SYSTEM_BUS", "DbusControl"]

#: The well-known socket of the system bus (D-Bus specification, "Well-known Message Bus
#: Instances"); /var/run is a link to /run wherever systemd is.
SYSTEM_BUS = "/run/dbus/system_bus_socket"

#: How long the bus, or systemd behind it, may be silent before it counts as unreachable.
CALL_SECONDS = 5.0

#: How often a job whose end we were not told is looked up: systemd re-executing itself gets a
#: new bus name, and its signals are then not from whom we asked.
JOB_CHECK_SECONDS = 2.0

_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_BUS = "org.freedesktop.DBus"
_JOB_ENDS = (
    f"type='signal',sender='{_SYSTEMD}',path='{_MANAGER_PATH}',"
    f"interface='{_MANAGER}',member='JobRemoved'"
)
#: Errors of the bus itself: nobody is there to answer for systemd.
_NOBODY = frozenset(
    f"{_BUS}.Error.{word}"
    for word in ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected", "NoServer")
)
#: Job results after which the unit need not be read: it has not started, and this says why.
_BAD_RESULTS = frozenset({"dependency", "canceled"})


class DbusControl:
    """Implements `Control` over the system bus; connects when first needed, and again if lost."""

    def __init__(self, bus_socket: str = SYSTEM_BUS) -> None:
        self._bus_socket = bus_socket
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def read(self, names: Sequence[str]) -> tuple[Facts, ...]:
        """One reading per name, in the order asked."""
        connection = await self._connected()
        return tuple([await _read(connection, name) for name in names])

    async def start(self, name: str, *, wait: bool) -> None:
        """Failures were forgotten and the start asked for; with `wait` its job has ended."""
        connection = await self._connected()
        await connection.keep(name)
        with contextlib.suppress(DeniedError):  # of a unit that is not loaded there are none
            await connection.call("ResetFailedUnit", name)
        with connection.listening():
            answer = await connection.call("StartUnit", name, "replace")
            if wait:
                result = await connection.job_result(answer)
                if result in _BAD_RESULTS:
                    raise DeniedError(result)

    async def stop(self, name: str) -> None:
        """The stop was asked for and its job has ended."""
        connection = await self._connected()
        with connection.listening():
            await connection.job_result(await connection.call("StopUnit", name, "replace"))

    async def system_state(self) -> str:
        """systemd's SystemState."""
        connection = await self._connected()
        return str(await connection.one_property(_MANAGER_PATH, _MANAGER, "SystemState"))

    async def close(self) -> None:
        """The connection is closed; the next question opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> _Connection:
        async with self._connecting:
            if self._connection is not None and not self._connection.alive:
                await self.close()
            if self._connection is None:
                self._connection = await _connect(self._bus_socket)
            return self._connection


class _Connection:
    """One connection, and the ends of jobs heard on it while somebody listens."""

    def __init__(self, bus: MessageBus, lost: asyncio.Task[None]) -> None:
        self._bus = bus
        self._lost = lost
        self._news = asyncio.Event()
        self._listeners = 0
        self._kept: set[str] = set()
        self._ended: dict[tuple[str, str], str] = {}
        lost.add_done_callback(self._note_loss)
        bus.add_message_handler(self._on_message)

    @property
    def alive(self) -> bool:
        """The bus has not closed it."""
        return not self._lost.done()

    async def call(
        self,
        member: str,
        *arguments: str,
        path: str = _MANAGER_PATH,
        interface: str = _MANAGER,
        destination: str = _SYSTEMD,
    ) -> Message:
        """The answer.  Raises UnreachableError and DeniedError."""
        if not self.alive:  # dbus-next would wait for ever for an answer
            raise UnreachableError("the connection to the bus is lost")
        signature = "s" * len(arguments)
        message = Message(destination, path, interface, member, signature=signature)
        message.body = list(arguments)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reply = await self._bus.call(message)
        except TimeoutError:
            raise UnreachableError(f"no answer to {member} in {CALL_SECONDS:g} s") from None
        except Exception as error:  # a lost connection hands on whatever broke it
            raise UnreachableError(f"the connection to the bus broke: {error!r}") from error
        if reply is None:
            raise UnreachableError(f"no answer to {member}")
        if reply.message_type is not MessageType.METHOD_RETURN:
            name = str(reply.error_name)
            sentence = f"{reply.body[0] if reply.body else 'no reason'} [{name}]"
            raise UnreachableError(sentence) if name in _NOBODY else DeniedError(sentence)
        return reply

    async def properties(self, path: str, interface: str) -> dict[str, object]:
        """All properties of one interface of an object, as plain values."""
        reply = await self.call("GetAll", interface, path=path, interface=_PROPERTIES)
        return {name: value.value for name, value in reply.body[0].items()}

    async def one_property(self, path: str, interface: str, name: str) -> object:
        """One property, None if the object is gone or has no such."""
        try:
            reply = await self.call("Get", interface, name, path=path, interface=_PROPERTIES)
        except DeniedError:
            return None
        value = reply.body[0]
        return value.value if isinstance(value, Variant) else None

    async def keep(self, name: str) -> None:
        """systemd remembers how the unit's starts went, as long as this connection lives.

        Otherwise it unloads an inactive unit that nothing refers to, with all it knew of it.
        """
        if name not in self._kept:
            with contextlib.suppress(DeniedError):  # no such unit: the start will say so
                await self.call("RefUnit", name)
                self._kept.add(name)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """The ends of jobs are kept from here on; to be entered before asking."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._ended.clear()

    async def job_result(self, answer: Message) -> str:
        """How the job named in `answer` ended; "" if it is gone and nobody told us how."""
        path = str(answer.body[0])
        key = (answer.sender, path)  # any local user may send us a signal: only systemd's counts
        while key not in self._ended:
            if not self.alive:
                raise UnreachableError("the connection to the bus broke while a job ran")
            self._news.clear()
            try:
                async with asyncio.timeout(JOB_CHECK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                state = await self.one_property(path, f"{_SYSTEMD}.Job", "State")
                if state is None:
                    return self._ended.get(key, "")
        return self._ended[key]

    async def close(self) -> None:
        """The socket is closed."""
        await _dispose(self._bus, self._lost)

    def _on_message(self, message: Message) -> None:
        seen = (message.message_type, message.interface, message.member, message.signature)
        if self._listeners and seen == (MessageType.SIGNAL, _MANAGER, "JobRemoved", "uoss"):
            self._ended[message.sender, message.body[1]] = message.body[3]
            self._news.set()

    def _note_loss(self, lost: asyncio.Task[None]) -> None:
        if not lost.cancelled():
            lost.exception()  # looked at, or asyncio complains that nobody did
        self._news.set()


async def _read(connection: _Connection, name: str) -> Facts:
    """LoadUnit also knows units that nobody has loaded yet; a missing one gets an object too."""
    path = str((await connection.call("LoadUnit", name)).body[0])
    # At once: each answer that is waited for by itself is a wake-up of the process.
    seen, main_pid, result = await asyncio.gather(
        connection.properties(path, f"{_SYSTEMD}.Unit"),
        _service_property(connection, name, path, "MainPID"),
        _service_property(connection, name, path, "Result"),
    )
    job: dict[str, object] = {}
    queued = seen.get("Job")  # (number, path); the number is 0 where there is none
    if isinstance(queued, list) and queued[0]:
        with contextlib.suppress(DeniedError):  # it ended in between
            job = await connection.properties(str(queued[1]), f"{_SYSTEMD}.Job")
    return facts_from_properties(name, seen, job=job, main_pid=main_pid, result=result)


async def _service_property(connection: _Connection, name: str, path: str, key: str) -> object:
    """None for a unit of another kind, which has no such property."""
    if not name.endswith(".service"):
        return None
    return await connection.one_property(path, f"{_SYSTEMD}.Service", key)


async def _connect(bus_socket: str) -> _Connection:
    """A connection that already hears the ends of jobs."""
    # dbus-next connects with a blocking call: a bus that accepts nobody would freeze us.
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(bus_socket)
    except OSError as error:
        raise UnreachableError(f"{bus_socket}: {error.strerror or error}") from error
    # Its constructor makes the socket and loses it when connecting fails, hence in two steps.
    bus = MessageBus.__new__(MessageBus)
    lost: asyncio.Task[None] | None = None
    try:
        MessageBus.__init__(bus, bus_address=f"unix:path={bus_socket}")
        lost = asyncio.create_task(_disconnected(bus))
        vars(bus)["_auth_readline"] = lambda: _read_line(vars(bus)["_sock"])
        async with asyncio.timeout(CALL_SECONDS):
            await bus.connect()
        connection = _Connection(bus, lost)
        bus_itself = {"path": "/org/freedesktop/DBus", "interface": _BUS, "destination": _BUS}
        await connection.call("AddMatch", _JOB_ENDS, **bus_itself)
        await connection.call("Subscribe")
    except BaseException as error:
        await _dispose(bus, lost)
        if isinstance(error, Exception) and not isinstance(error, UnreachableError):
            raise UnreachableError(f"{bus_socket}: {error!r}") from error
        raise
    return connection


async def _disconnected(bus: MessageBus) -> None:
    await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


async def _read_line(channel: socket.socket) -> str:
    """A line of the authentication; dbus-next's own loops for ever, and blocks, at an EOF."""
    line = b""
    while not line.endswith(b"\r\n"):
        piece = await asyncio.get_running_loop().sock_recv(channel, 1)
        if not piece:
            raise EOFError("the bus hung up during authentication")
        line += piece
    return line[:-2].decode("ascii", "replace")


async def _dispose(bus: MessageBus, lost: asyncio.Task[None] | None) -> None:
    """The bus is shut down and its socket closed, which dbus-next never does."""
    if lost is not None:
        if bus.connected and not lost.done():
            bus.disconnect()  # type: ignore[no-untyped-call]
        else:
            lost.cancel()
        await asyncio.wait([lost], timeout=CALL_SECONDS)
    loop = asyncio.get_running_loop()
    opened = vars(bus)
    if "_sock" in opened:
        loop.remove_reader(opened["_fd"])
        loop.remove_writer(opened["_fd"])
        for each in (opened["_stream"], opened["_sock"]):
            with contextlib.suppress(OSError, ValueError):
                each.close()
