"""Block devices, the mount table and the clock: what is only looked at."""

from __future__ import annotations

from typing import Protocol

from nodestoraged.model.device import BlockDevice, DeviceNumber, Incarnation
from nodestoraged.model.disk import Disk
from nodestoraged.model.mount import MountTable


class Clock(Protocol):
    """Time: monotonic including suspend for decisions, wall time only for display."""

    def boottime(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        ...

    def wall(self) -> str:
        """Now, RFC 3339 in UTC with milliseconds."""
        ...

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that long."""
        ...


class DeviceSource(Protocol):
    """Block devices by udev and sysfs; never opens one."""

    def devices(self) -> tuple[BlockDevice, ...]:
        """Everything with a file system label or GPT partition name, ordered by devnode."""
        ...

    def alive(self, incarnation: Incarnation) -> bool:
        """True while sysfs still has the device with the same diskseq."""
        ...

    def exists(self, number: DeviceNumber) -> bool:
        """True while sysfs has a block device of that number; anonymous numbers always exist."""
        ...

    def disks(self) -> tuple[Disk, ...]:
        """Every whole disk that has a medium, with its partitions, by devnode."""
        ...

    def ask_again(self, number: DeviceNumber) -> None:
        """udev was asked to read the device once more; nothing if it is gone.

        udev learns of a written device when the writer closes it, but does not watch the device
        while it handles an event of it: the last writer of several may go unnoticed.
        """
        ...

    def insertions(self) -> tuple[int, float]:
        """How many insertions were counted, and the boot-time seconds of the last."""
        ...

    def last_removal(self) -> float:
        """Boot-time seconds of the last removal that was told; 0 if there was none."""
        ...


class Mounts(Protocol):
    """The mount table of our namespace."""

    def read(self) -> MountTable:
        """One reading of mountinfo."""
        ...

    def in_host_namespace(self) -> bool:
        """True if `/` is the same mount here and for PID 1, so that mounts made here are seen."""
        ...
