"""The gRPC child as a process: start it, pass JSON lines, end it.

Owns the process, its pipes and its environment.  Knows no method and no runtime, may not import
grpc or protobuf, and never waits without a limit: a child that does not answer is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from nodestoraged.adapters.runtimes import replies
from nodestoraged.adapters.runtimes.fields import Fields
from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.model.errors import InternalError, StepTimeout

Arguments = Mapping[str, str | int]

#: Importing grpcio takes 60 ms on a PC, and seconds on a small board with a cold cache.
START_SECONDS = 30.0
#: The child ends its own calls at their deadline; after this much more it counts as stuck.
_STUCK_AFTER_SECONDS = 2.0
_END_SECONDS = 1.0
#: The child receives 16 MiB of protobuf at most, and its JSON is not much longer.
_LINE_LIMIT_BYTES = 64 * 1024 * 1024


class GrpcChild:
    """One child for one socket; calls may run side by side."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Use `start`; this only takes over a process."""
        #: (grpc, protobuf): the versions that the child has imported
        self.libraries: tuple[str, str] = ("", "")
        self._process = process
        self._waiting: dict[int, asyncio.Future[Fields]] = {}
        self._last_number = 0
        self._silent = False  # its output has ended: whoever asks now would wait in vain
        self._stderr_tail: deque[str] = deque(maxlen=20)
        self._readers: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, socket_path: str, *, start_seconds: float = START_SECONDS) -> Self:
        """Start a child and wait until it has grpc imported; the socket need not exist.

        StepTimeout or RuntimeCallError (CHILD_DIED) when it does not come up.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "nodestoraged.worker.grpc", socket_path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=child_environment(),
            cwd="/",
            limit=_LINE_LIMIT_BYTES,
        )
        child = cls(process)
        try:
            async with asyncio.timeout(start_seconds):
                await child._greet()
        except TimeoutError:
            await child.close()
            text = f"the gRPC child was not ready within {start_seconds:g} s"
            raise StepTimeout("ChildStuck", text) from None
        except BaseException:
            await child.close()
            raise
        return child

    async def _greet(self) -> None:
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        self._readers.append(asyncio.create_task(self._read_stderr(stderr)))
        hello = await stdout.readline()
        if not hello:
            await asyncio.wait(self._readers, timeout=_END_SECONDS)
            raise self._died()
        self.libraries = replies.libraries(hello)
        self._readers.append(asyncio.create_task(self._read_stdout(stdout)))

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while the child can be asked."""
        return self._process.returncode is None and not self._silent

    async def close(self) -> bool:
        """End the child; True if it is gone, False if even SIGKILL did not end it (D state)."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        gone = await self._ended()
        if not gone:
            self._kill()
            gone = await self._ended()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._fail_all(self._died())
        return gone

    async def call(self, method: str, args: Arguments, deadline_seconds: float) -> object:
        """Ask the child; the JSON value of its answer.

        RuntimeCallError with the runtime's refusal.  StepTimeout when the child itself did
        not answer: it is killed then.  Cancelling ends the request in the child too.
        """
        if not self.alive:
            raise self._died()
        self._last_number += 1
        number = self._last_number
        answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        request = {
            "id": number,
            "method": method,
            "args": args,
            "deadline_seconds": deadline_seconds,
        }
        try:
            async with asyncio.timeout(deadline_seconds + _STUCK_AFTER_SECONDS):
                await self._send(request)
                return replies.result(await answer)
        except TimeoutError:
            self._kill()
            text = f"the gRPC child did not answer {method} within {deadline_seconds:g} s"
            raise StepTimeout("ChildStuck", text) from None
        except asyncio.CancelledError:
            if self._process.stdin is not None and self.alive:
                self._process.stdin.write(_line({"cancel": number}))
            raise
        finally:
            self._waiting.pop(number, None)

    async def _send(self, request: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_line(request))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    async def _read_stdout(self, stream: asyncio.StreamReader) -> None:
        try:
            while line := await stream.readline():
                number, reply = replies.numbered(line)
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(reply)
        except (ValueError, InternalError):
            # A line that is none of ours: nothing it says can be trusted any more.
            self._kill()
        finally:
            self._silent = True
            self._fail_all(self._died())

    async def _read_stderr(self, stream: asyncio.StreamReader) -> None:
        with suppress(ValueError):  # a line beyond the limit
            while line := await stream.readline():
                self._stderr_tail.append(line.decode(errors="replace").rstrip())

    def _fail_all(self, error: RuntimeCallError) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)

    def _died(self) -> RuntimeCallError:
        last = self._stderr_tail[-1] if self._stderr_tail else "no word on stderr"
        text = f"the gRPC child is gone: {last}"
        return RuntimeCallError("CHILD_DIED", "ChildDied", text, False)

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _ended(self) -> bool:
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            return False
        return True


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def child_environment() -> dict[str, str]:
    """The environment of the child: of ours PATH, LD_LIBRARY_PATH and the import path.

    So it works from a checkout and installed alike, and never imports anything that this
    process would not.
    """
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        "GRPC_VERBOSITY": "ERROR",
    }
