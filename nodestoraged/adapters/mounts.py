"""Our mount table as the model's value, and a file descriptor that tells of its changes."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable

from nodestoraged.linux import mountinfo
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.mount import Mount, MountTable

PATH = "/proc/self/mountinfo"


def table_of(rows: Iterable[mountinfo.MountRow]) -> MountTable:
    """The kernel's rows as the model's value, in their order."""
    return MountTable(
        mounts=tuple(
            Mount(
                id=row.mount_id,
                number=DeviceNumber(row.major, row.minor),
                root=row.root,
                target=row.target,
                fstype=row.fstype,
                source=row.source,
                read_only=row.read_only,
            )
            for row in rows
        )
    )


class MountInfo:
    """/proc/self/mountinfo.  Reading it touches no file system, so it cannot hang."""

    def read(self) -> MountTable:
        """One reading, in the kernel's order."""
        return table_of(mountinfo.read())

    def in_host_namespace(self) -> bool:
        """True if `/` has one mount id here and for PID 1 (its mountinfo needs no ptrace right)."""
        ours = mountinfo.covering(mountinfo.read(), "/")
        try:
            init = mountinfo.covering(mountinfo.read(1), "/")
        except OSError:
            return False
        return ours is not None and init is not None and ours.mount_id == init.mount_id


class MountWatch:
    """Wakes the loop when the mount table changed; never more often than it is asked to.

    The kernel signals a change as POLLPRI on an open mountinfo (proc_pid_mounts(5)), which an
    epoll set delivers as readable to an event loop that only knows reading.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._file = os.open(PATH, os.O_RDONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._file, select.EPOLLPRI | select.EPOLLERR)

    def fileno(self) -> int:
        """The descriptor to watch for reading."""
        return self._epoll.fileno()

    def drain(self) -> None:
        """To be called when readable: the signal is taken, and `wake` called.

        Whether it *was* readable cannot be asked again: the poll by which the caller saw it has
        used the change up already (mounts_poll in fs/namespace.c remembers who was told).
        """
        self._epoll.poll(0)
        self._wake()

    def close(self) -> None:
        """Both descriptors are closed."""
        self._epoll.close()
        os.close(self._file)
