"""Who is at the other end of a unix socket (SO_PEERCRED, unix(7)).

Owns: the layout of struct ucred.  May not know: what a peer may do.
Supplementary groups are not part of it: the kernel records uid and primary gid at connect().
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

__all__ = ["PeerCredentials", "peer_credentials"]

_UCRED = struct.Struct("iII")  # pid_t, uid_t, gid_t; the id (uid_t)-1 must not come out negative


class PeerCredentials(NamedTuple):
    """Process, user and primary group that connected the socket."""

    pid: int
    uid: int
    gid: int


def peer_credentials(connection: socket.socket) -> PeerCredentials:
    """The peer's credentials at the time of its connect() or socketpair()."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return PeerCredentials(*_UCRED.unpack(raw))
