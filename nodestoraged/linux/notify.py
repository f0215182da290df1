"""Tell the service manager how we are: the datagram of sd_notify(3).

Owns: NOTIFY_SOCKET and its two address forms.  May not know: when we are ready.
"""

from __future__ import annotations

import os
import socket

__all__ = ["notify"]


def notify(message: str, *, address: str | None = None) -> bool:
    """Send `message` (lines as "READY=1", "STATUS=..."); False if nobody listens for it.

    `address` is NOTIFY_SOCKET of the environment unless given; "@name" is an abstract socket.
    Raises OSError when a manager was named but the datagram could not be sent.
    """
    where = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
    if not where.startswith(("/", "@")):
        return False
    if where.startswith("@"):
        where = "\0" + where[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.setblocking(False)  # a full queue of the manager must never stop the event loop
        channel.sendto(message.encode(), where)
    return True
