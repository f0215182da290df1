"""One client's connection: reads requests, writes replies, within limits.

Owns: deadlines and buffers of one connection.  May not know: how calls are carried out.
A client can waste only its own connection: what it does not finish sending, does not read,
or sends senselessly, ends with that connection closed and a bounded amount of memory used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from nodestoraged.api import calls, codec, faults
from nodestoraged.api.faults import Fault
from nodestoraged.api.service import JsonObject, NodeService
from nodestoraged.model.errors import NodeStorageError

__all__ = ["Connection", "Limits", "Report"]

#: Tells the log: a sentence, and the exception if our own code broke.
Report = Callable[[str, BaseException | None], None]

_CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one client, and all together, may use.

    `reserved_clients` of `clients` are kept for root, so that readers cannot lock it out.
    An idle client is one that sent nothing and waits for nothing.
    """

    request_bytes: int = codec.MAX_REQUEST_BYTES
    clients: int = 32
    reserved_clients: int = 8
    half_frame_seconds: float = 5.0
    idle_seconds: float = 60.0
    write_seconds: float = 5.0
    write_buffer_bytes: int = 64 * 1024


class _GoneError(Exception):
    """The client hung up, or does not read what it asked for."""


class Connection:
    """Serves one client until it goes, errs, or is dropped."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        service: NodeService,
        may_change: bool,
        limits: Limits,
        report: Report,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._service = service
        self._may_change = may_change
        self._limits = limits
        self._report = report
        self._buffer = codec.FrameBuffer(limits.request_bytes)
        writer.transport.set_write_buffer_limits(high=limits.write_buffer_bytes)

    async def run(self) -> None:
        """Returns when the connection is closed; raises nothing but cancellation."""
        try:
            while (frame := await self._next_frame()) is not None:
                await self._handle(codec.decode(frame))
                await asyncio.sleep(0)  # requests sent ahead in one go do not keep others waiting
        except codec.BadFrameError as error:
            await self._last_words(faults.bad_frame(str(error)))
        except (_GoneError, OSError):
            self._writer.transport.abort()
        finally:
            await self._close()

    async def _next_frame(self) -> bytes | None:
        """The next request; None when the client is gone, silent, or too slow."""
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while True:
            frame = self._buffer.next_frame()
            if frame is not None:
                return frame
            if not len(self._buffer):
                wait_seconds = self._limits.idle_seconds
            else:  # one deadline for the whole frame: a byte now and then does not extend it
                deadline = deadline or loop.time() + self._limits.half_frame_seconds
                wait_seconds = deadline - loop.time()
            try:
                async with asyncio.timeout(wait_seconds):
                    data = await self._reader.read(_CHUNK_BYTES)
            except TimeoutError:
                return None
            if not data:
                return None
            self._buffer.feed(data)

    async def _handle(self, message: JsonObject) -> None:
        oneway = message.get("oneway") is True
        try:
            call = calls.parse(message, may_change=self._may_change)
            if call.streams:
                await self._stream(call)
                return
            parameters = await calls.answer(self._service, call)
            reply: JsonObject = {"parameters": parameters}
        except _GoneError:
            raise
        except Exception as error:  # every call gets a reply, whatever broke
            reply = self._error_reply(error)
        if not oneway:
            await self._send(reply)

    def _error_reply(self, error: Exception) -> JsonObject:
        if isinstance(error, NodeStorageError):
            fault = faults.fault_of(error)
        elif isinstance(error, Fault):
            fault = error
        else:
            self._report("a call failed by our own mistake", error)
            fault = faults.internal()
        return {"error": fault.name, "parameters": fault.parameters}

    async def _stream(self, call: calls.Call) -> None:
        """Send replies until the stream ends or the client does."""
        hang_up = asyncio.ensure_future(self._until_hang_up())
        try:
            async with contextlib.aclosing(calls.stream(self._service, call)) as replies:
                while (reply := await self._next_reply(replies, hang_up)) is not None:
                    parameters, continues = reply
                    flag: JsonObject = {"continues": True} if continues else {}
                    await self._send({"parameters": parameters, **flag})
                    if not continues:
                        return
        finally:
            await _end(hang_up)

    @staticmethod
    async def _next_reply(
        replies: AsyncGenerator[calls.Reply, None],
        hang_up: asyncio.Future[None],
    ) -> calls.Reply | None:
        """The next reply, None at the end; raises _GoneError when the client hangs up first."""
        step: asyncio.Future[calls.Reply | None] = asyncio.ensure_future(_following(replies))
        try:
            await asyncio.wait((step, hang_up), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                raise _GoneError
        finally:
            await _end(step)
        return step.result()

    async def _until_hang_up(self) -> None:
        """Returns at end of file, or when the client sent too much ahead."""
        while len(self._buffer) <= self._limits.request_bytes:
            data = await self._reader.read(_CHUNK_BYTES)
            if not data:
                return
            self._buffer.feed(data)

    async def _send(self, message: JsonObject) -> None:
        """Write one reply; a client that does not read in time is dropped."""
        frame = codec.encode(message)
        try:
            self._writer.write(frame)
            async with asyncio.timeout(self._limits.write_seconds):
                await self._writer.drain()
        except OSError as error:  # TimeoutError is one
            raise _GoneError from error

    async def _last_words(self, fault: Fault) -> None:
        try:
            await self._send({"error": fault.name, "parameters": fault.parameters})
        except _GoneError:
            self._writer.transport.abort()

    async def _close(self) -> None:
        """Let the last reply out, but not for long."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._limits.write_seconds):
                await self._writer.wait_closed()
        except OSError:  # TimeoutError is one
            self._writer.transport.abort()


async def _following(replies: AsyncGenerator[calls.Reply, None]) -> calls.Reply | None:
    return await anext(replies, None)


async def _end(task: asyncio.Future[Any]) -> None:
    """The task is over and its outcome was looked at, even if we are cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    if not task.done():
        task.cancel()
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()
    if cancelled is not None:
        raise cancelled
