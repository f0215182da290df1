"""One connection to the runtime's socket.

Owns the gRPC channel: opened by the first call, closed when idle, always with a timeout.
Knows method paths and bytes, no meaning.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.descriptors import Message
from nodestoraged.worker.grpc.failure import (
    RUNTIME_NOT_READY,
    RUNTIME_TIMEOUT,
    SOCKET_MISSING,
    SOCKET_STALE,
    CallFailure,
    from_grpc,
)

#: With grpcio's default back-off (1 s) a runtime that needs 50 ms to start is seen after 0.9 s.
#: 16 MiB is what kubelet allows itself to receive; grpcio's default is 4 MiB.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 20),
    # Not a back-off but the time that one attempt to connect may take: a busy or slow node needs
    # seconds from connect() to the first HTTP/2 frame.  A missing socket fails at once anyway.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 50),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

#: A cap for one call inside a longer request: a hung disk makes calls hang, not fail.
CALL_SECONDS = 10.0


class Wire:
    """Calls over one unix socket; safe for several threads."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._users = 0

    @property
    def is_open(self) -> bool:
        """True while a channel, and with it grpc's threads, exists."""
        return self._channel is not None

    def close_if_idle(self) -> None:
        """Close the channel unless a call is using it; the next call opens a new one."""
        with self._lock:
            if self._channel is not None and self._users == 0:
                self._channel.close()
                self._channel = None

    @contextmanager
    def _borrowed(self) -> Iterator[grpc.Channel]:
        with self._lock:
            if self._channel is None:
                self._channel = grpc.insecure_channel(
                    f"unix://{self.socket_path}", options=CHANNEL_OPTIONS
                )
            self._users += 1
            channel = self._channel
        try:
            yield channel
        finally:
            with self._lock:
                self._users -= 1

    def call(
        self,
        path: str,
        request: Message,
        response_class: Message,
        deadline: Deadline,
        *,
        namespace: str | None = None,
        at_most_seconds: float = CALL_SECONDS,
    ) -> Message:
        """One unary call; returns the parsed response or raises CallFailure.

        `namespace` is sent as the `containerd-namespace` header.
        """
        with self._borrowed() as channel:
            method = channel.unary_unary(
                path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response_class.FromString,
            )
            timeout = min(at_most_seconds, deadline.require())
            try:
                return method(request, timeout=timeout, metadata=_metadata(namespace))
            except grpc.RpcError as error:
                raise self._failure(error) from None

    def stream(
        self,
        path: str,
        request: Message,
        response_class: Message,
        deadline: Deadline,
        *,
        namespace: str | None = None,
    ) -> list[Message]:
        """One server stream, read to its end; the timeout holds for the whole stream."""
        with self._borrowed() as channel:
            method = channel.unary_stream(
                path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response_class.FromString,
            )
            timeout = min(CALL_SECONDS, deadline.require())
            try:
                return list(method(request, timeout=timeout, metadata=_metadata(namespace)))
            except grpc.RpcError as error:
                raise self._failure(error) from None

    def _failure(self, error: grpc.RpcError) -> CallFailure:
        # Only the errors of a call carry code and details; that is what grpc raises here.
        failure = from_grpc(error.code(), error.details())
        if failure.code != "UNAVAILABLE":
            return failure
        # grpc says UNAVAILABLE for a missing and for a stale socket alike; connect() tells them
        # apart, and that is the difference between "not started" and "killed".
        try:
            listening_peer(self.socket_path, timeout_seconds=0.2)
        except CallFailure as cause:
            return cause
        return failure


def _metadata(namespace: str | None) -> tuple[tuple[str, str], ...]:
    return () if namespace is None else (("containerd-namespace", namespace),)


def listening_peer(socket_path: str, *, timeout_seconds: float) -> tuple[int, int]:
    """(pid, uid) of the process that listens on the socket, by a plain connect().

    CallFailure with reason SocketMissing (ENOENT), SocketStale (ECONNREFUSED: the file is
    there, nobody listens), RuntimeTimeout (its backlog is full) or RuntimeNotReady.
    """
    credentials = struct.Struct("3i")  # struct ucred: pid, uid, gid
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(max(timeout_seconds, 0.01))
        try:
            probe.connect(socket_path)
            raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
        except TimeoutError:
            text = f"{socket_path}: connecting took too long"
            raise CallFailure("UNAVAILABLE", RUNTIME_TIMEOUT, text, True) from None
        except OSError as error:
            reasons = {
                errno.ENOENT: SOCKET_MISSING,
                errno.ENOTDIR: SOCKET_MISSING,
                errno.ECONNREFUSED: SOCKET_STALE,
                errno.EAGAIN: RUNTIME_TIMEOUT,
            }
            reason = reasons.get(error.errno or 0, RUNTIME_NOT_READY)
            # A path that is too long for a socket has words, and no errno.
            text = f"{socket_path}: {error.strerror or error}"
            raise CallFailure("UNAVAILABLE", reason, text, True) from None
    pid, uid, _gid = credentials.unpack(raw)
    return pid, uid
