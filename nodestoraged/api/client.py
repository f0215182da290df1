"""A blocking Varlink client for the command line; socket and json only.

Owns: connecting, one call at a time, replies as they come.  May not know: what they mean.
"""

from __future__ import annotations

import socket
import time

from nodestoraged.api import codec
from nodestoraged.api.interface import INTERFACE, METHODS, wrong_parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["CallFailed", "Client", "Denied", "Unreachable"]

#: A queue that stays full for two seconds is not served any more.
_CONNECT_TRIES = 40
_CONNECT_PAUSE_SECONDS = 0.05

JsonObject = dict[str, object]


class Unreachable(Exception):  # noqa: N818 - a state of the world
    """Nobody answers at the socket, or the connection broke."""


class Denied(Exception):  # noqa: N818 - a state of the world
    """The socket's mode keeps us out (EACCES)."""


class CallFailed(Exception):  # noqa: N818 - named like the reply
    """The daemon answered with an error: its Varlink name and parameters."""

    def __init__(self, name: str, parameters: JsonObject) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


class Client:
    """One connection.  After an exception other than CallFailed it is of no use any more."""

    def __init__(self, path: str, timeout_seconds: float | None = 10.0) -> None:
        """Connect; raises Unreachable or Denied.  The time is for each wait, None: no limit."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_seconds)
        self._buffer = codec.FrameBuffer(codec.MAX_REPLY_BYTES)
        try:
            self._connect(path)
        except PermissionError as error:
            self.close()
            raise Denied(f"{path}: {error.strerror}") from None
        except OSError as error:
            self.close()
            raise Unreachable(f"{path}: {error.strerror or error}") from None

    def _connect(self, path: str) -> None:
        for _ in range(_CONNECT_TRIES):
            try:
                self._socket.connect(path)
            except BlockingIOError:  # the queue of those who want in is full (unix(7))
                time.sleep(_CONNECT_PAUSE_SECONDS)
            else:
                return
        raise OSError("too many clients want in")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; a stream that was open ends."""
        self._socket.close()

    def wait_at_most(self, timeout_seconds: float | None) -> None:
        """From now on each wait for the daemon takes at most this long."""
        self._socket.settimeout(timeout_seconds)

    def call(self, method: str, **parameters: object) -> JsonObject:
        """One call, one reply: its parameters.  Raises CallFailed or Unreachable."""
        self._request(method, parameters, more=False)
        return self._reply()[0]

    def stream(self, method: str, **parameters: object) -> Iterator[JsonObject]:
        """One call with `more`: each reply's parameters, until the daemon says it was the last."""
        self._request(method, parameters, more=True)
        while True:
            reply, continues = self._reply()
            yield reply
            if not continues:
                return

    def _request(self, method: str, parameters: JsonObject, *, more: bool) -> None:
        given = {name: value for name, value in parameters.items() if value is not None}
        wrong = wrong_parameter(METHODS[method], given)
        if wrong is not None:
            raise TypeError(f"{method}: wrong parameter {wrong}")
        message: JsonObject = {"method": f"{INTERFACE}.{method}", "parameters": given}
        if more:
            message["more"] = True
        try:
            self._socket.sendall(codec.encode(message))
        except (BrokenPipeError, ConnectionResetError):
            return  # the daemon's last words may still be there to read
        except OSError as error:
            raise Unreachable(f"the connection broke: {error}") from None

    def _reply(self) -> tuple[JsonObject, bool]:
        try:
            message = codec.decode(self._next_frame())
        except TimeoutError:
            raise Unreachable("no answer in time") from None
        except (OSError, codec.BadFrameError) as error:
            raise Unreachable(f"the connection broke: {error}") from None
        parameters = message.get("parameters")
        if not isinstance(parameters, dict):
            parameters = {}
        name = message.get("error")
        if isinstance(name, str):
            raise CallFailed(name, parameters)
        return parameters, message.get("continues") is True

    def _next_frame(self) -> bytes:
        while (frame := self._buffer.next_frame()) is None:
            data = self._socket.recv(64 * 1024)
            if not data:
                raise Unreachable("the daemon hung up")
            self._buffer.feed(data)
        return frame
