"""The child's main loop: JSON lines on stdin and stdout, one thread per request.

Owns the pipe, the request threads and the child's life: it ends when stdin closes, and dies
with its parent.  Protocol, one JSON object per line:

    -> {"id": 1, "method": "version", "args": {}, "deadline_seconds": 5.0}
    <- {"id": 1, "result": {...}}
    <- {"id": 1, "error": {"code", "reason", "message", "retriable"}}
    -> {"cancel": 1}

The first line it writes is {"ready": {"grpc", "protobuf"}}: grpc is imported, and whatever is
done to the disks afterwards cannot keep it from answering.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import threading

import google.protobuf
import grpc

from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.failure import BAD_REQUEST, CallFailure
from nodestoraged.worker.grpc.methods import Methods
from nodestoraged.worker.grpc.wire import Wire

#: An idle channel costs 7 threads and 7 wake-ups a second; a new one costs about a millisecond.
_IDLE_SECONDS = 1.0
_DEFAULT_DEADLINE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class Child:
    """Requests in, answers out."""

    def __init__(self, socket_path: str, output_fd: int) -> None:
        self._wire = Wire(socket_path)
        self._methods = Methods(self._wire)
        self._output_fd = output_fd
        self._output_lock = threading.Lock()
        self._running: dict[int, Deadline] = {}

    def serve(self, input_fd: int) -> None:
        """Answer until the input ends; returns then at once, whatever still hangs."""
        self._write({"ready": {"grpc": grpc.__version__, "protobuf": google.protobuf.__version__}})
        poller = select.poll()
        poller.register(input_fd, select.POLLIN)
        pending = b""
        while True:
            busy = bool(self._running) or self._wire.is_open
            if not poller.poll(_IDLE_SECONDS * 1000 if busy else None):
                self._wire.close_if_idle()
                continue
            chunk = os.read(input_fd, 65536)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self._accept(line)

    def _accept(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            if "cancel" in request:
                deadline = self._running.get(request["cancel"])
                if deadline is not None:
                    deadline.cancel()
                return
            number = int(request["id"])
            method = str(request["method"])
            args = dict(request.get("args", {}))
            seconds = float(request.get("deadline_seconds", _DEFAULT_DEADLINE_SECONDS))
        except (ValueError, TypeError, KeyError) as error:
            failure = CallFailure("INVALID_ARGUMENT", BAD_REQUEST, f"bad request: {error}", False)
            self._write({"id": None, "error": _as_json(failure)})
            return
        deadline = Deadline(seconds)
        self._running[number] = deadline
        threading.Thread(
            target=self._answer, args=(number, method, args, deadline), daemon=True
        ).start()

    def _answer(
        self, number: int, method: str, args: dict[str, object], deadline: Deadline
    ) -> None:
        reply: dict[str, object] = {"id": number}
        try:
            reply["result"] = self._methods.answer(method, args, deadline)
        except CallFailure as failure:
            reply["error"] = _as_json(failure)
        except Exception as error:  # the caller must get an answer whatever the bug
            text = f"{type(error).__name__}: {error}"
            reply["error"] = _as_json(CallFailure("INTERNAL", "InternalError", text, False))
        self._running.pop(number, None)
        self._write(reply)

    def _write(self, reply: dict[str, object]) -> None:
        line = memoryview(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
        with self._output_lock:
            try:
                while line:
                    line = line[os.write(self._output_fd, line) :]
            except BrokenPipeError:
                os._exit(0)


def _as_json(failure: CallFailure) -> dict[str, object]:
    return {
        "code": failure.code,
        "reason": failure.reason,
        "message": failure.message,
        "retriable": failure.retriable,
    }


def _die_with_parent() -> None:
    # stdin closes with the parent as well; this also ends a child that somebody else's copy of
    # the pipe keeps alive.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(arguments: list[str]) -> int:
    """Serve one socket until stdin closes; 2 on wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m nodestoraged.worker.grpc SOCKET\n")
        return 2
    _die_with_parent()
    # Ctrl-C on a terminal goes to the whole group; the daemon decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Child(arguments[0], sys.stdout.fileno()).serve(sys.stdin.fileno())
    # Not sys.exit: request threads may hang in a call, and nothing is left to be tidied.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
