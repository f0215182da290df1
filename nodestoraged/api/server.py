"""The daemon's end of the socket: who may connect, how many, and who they are.

Owns: the socket file, its mode and group, the number of clients.  May not know: JSON.
The file's mode decides who reads (root and the group `nodestorage`); the peer's uid decides who
changes: supplementary groups are not in SO_PEERCRED (unix(7)).  Besides root that is the user whom
the daemon runs as: on a node root again, in a demonstration the person who tries it.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import stat
from pathlib import Path

from nodestoraged.api import codec, faults
from nodestoraged.api.connection import Connection, Limits, Report
from nodestoraged.api.service import NodeService
from nodestoraged.linux.peercred import peer_credentials

__all__ = ["ApiServer"]

_BACKLOG = 64


class ApiServer:
    """Serves `service` on a unix socket until closed."""

    def __init__(
        self,
        service: NodeService,
        *,
        report: Report,
        path: str,
        group: str = faults.GROUP,
        limits: Limits | None = None,
    ) -> None:
        self._service = service
        self._report = report
        self._path = Path(path)
        self._group = group
        self._limits = limits or Limits()
        self._changers = frozenset({0, os.geteuid()})
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """The socket accepts clients.  A socket file left by an earlier run is replaced.

        Only one daemon runs (its lock file sees to that), so no live socket is taken away.
        OSError when the directory is missing or the path is something else.
        """
        listener = self._bind()
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listener, backlog=_BACKLOG, limit=16 * 1024
        )

    async def close(self) -> None:
        """No client is connected any more, and the socket file is gone."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
        for task in self._clients:
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients)

    def _bind(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise FileExistsError(17, "exists and is not a socket", str(self._path))
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)  # nobody else gets in between bind and chown
        try:
            listener.bind(str(self._path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        self._open_to_group()
        listener.setblocking(False)
        return listener

    def _open_to_group(self) -> None:
        try:
            group = grp.getgrnam(self._group)
        except KeyError:
            self._report(f"no group {self._group}: only root can use {self._path}", None)
            return
        try:
            os.chown(self._path, -1, group.gr_gid)
            self._path.chmod(0o660)
        except OSError as error:
            self._report(f"{self._path}: only root can use it: {error.strerror}", error)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            uid = peer_credentials(writer.get_extra_info("socket")).uid
        except OSError:
            writer.transport.abort()
            return
        may_change = uid in self._changers
        reserved = 0 if may_change else self._limits.reserved_clients
        if len(self._clients) >= self._limits.clients - reserved:
            fault = faults.busy(f"{len(self._clients)} clients are connected already")
            writer.write(codec.encode({"error": fault.name, "parameters": fault.parameters}))
            writer.close()
            return
        connection = Connection(
            reader, writer, service=self._service, may_change=may_change, limits=self._limits,
            report=self._report,
        )  # fmt: skip
        task = asyncio.get_running_loop().create_task(connection.run())
        self._clients.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._clients.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("a connection ended by our own mistake", error)
