"""A QMP client: one socket, one thread at a time, events kept in order.

Owns the protocol (QEMU's docs/interop/qmp-spec). Knows nothing of machines or sticks.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.vm.harness.errors import HarnessError

_ANSWER_SECONDS = 60.0
_SLICE_SECONDS = 0.05


class QmpError(HarnessError):
    """QEMU refused a command; `kind` is its error class."""

    def __init__(self, command: str, kind: str, description: str) -> None:
        super().__init__(f"{command}: {description}")
        self.kind = kind


class Qmp:
    """A connected monitor. Every method may be called from any thread; raises HarnessError.

    Making one raises OSError while QEMU does not listen yet.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._buffer = b""
        self._events: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._read(time.monotonic() + _ANSWER_SECONDS)  # the greeting
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> object:
        """Run one command and return what it returns. Underscores in argument names become '-'."""
        request = {
            "execute": name,
            "arguments": {key.replace("_", "-"): value for key, value in arguments.items()},
        }
        with self._lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            deadline = time.monotonic() + _ANSWER_SECONDS
            while True:
                answer = self._read(deadline)
                if "error" in answer:
                    error = answer["error"]
                    raise QmpError(name, str(error["class"]), str(error["desc"]))
                if "return" in answer:
                    result: object = answer["return"]
                    return result
                self._events.append(answer)

    def wait_event(self, name: str, seconds: float, **data: object) -> Mapping[str, object]:
        """Wait for an event with these data, and take it off the list; return its data."""
        deadline = time.monotonic() + seconds
        while True:
            with self._lock:
                for event in self._events:
                    found: dict[str, object] = event.get("data", {})
                    if event["event"] == name and all(found.get(k) == v for k, v in data.items()):
                        self._events.remove(event)
                        return found
                answer = self._poll()
                if answer is not None:
                    self._events.append(answer)
                    continue
            if time.monotonic() > deadline:
                raise HarnessError(f"no {name} {data or ''} within {seconds} s")

    def forget_events(self, name: str) -> None:
        """Drop the events of this name that came before now."""
        with self._lock:
            while (event := self._poll()) is not None:
                self._events.append(event)
            self._events = [event for event in self._events if event["event"] != name]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _poll(self) -> dict[str, Any] | None:
        try:
            return self._read(time.monotonic() + _SLICE_SECONDS)
        except TimeoutError:
            return None

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._socket.recv(1 << 16)
            if not data:
                raise HarnessError("QEMU closed its monitor")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        value: dict[str, Any] = json.loads(line)
        return value
