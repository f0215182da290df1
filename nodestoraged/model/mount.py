"""The mount table as one reading of mountinfo."""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.device import DeviceNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of /proc/self/mountinfo (see proc_pid_mountinfo(5)).

    `root` is the directory of the file system that is mounted; `read_only` is true if
    either the mount or its superblock is.
    """

    id: int
    number: DeviceNumber
    root: str
    target: str
    fstype: str
    source: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MountTable:
    """All mounts in the order of the kernel: a later one on the same target hides the earlier."""

    mounts: tuple[Mount, ...] = ()

    def stack(self, target: str) -> tuple[Mount, ...]:
        """All mounts made exactly on `target`, the visible one last."""
        return tuple(mount for mount in self.mounts if mount.target == target)

    def at(self, target: str) -> Mount | None:
        """The visible mount made exactly on `target`, or None."""
        stack = self.stack(target)
        return stack[-1] if stack else None

    def covering(self, path: str) -> Mount | None:
        """The visible mount that `path` lies on: longest prefix, last of equals."""
        best: Mount | None = None
        for mount in self.mounts:
            prefix = mount.target.rstrip("/") + "/"
            under = path == mount.target or path.startswith(prefix)
            if under and (best is None or len(mount.target) >= len(best.target)):
                best = mount
        return best

    def source_of(self, bind: Mount) -> str | None:
        """Where the directory that is bound there lies itself; None if that is mounted nowhere.

        A whole file system is no bind.
        """
        if bind.root == "/":
            return None
        for mount in self.mounts:
            home = mount.root.rstrip("/")
            inside = bind.root == mount.root or bind.root.startswith(f"{home}/")
            if mount.number == bind.number and mount.target != bind.target and inside:
                below = bind.root.removeprefix(home).lstrip("/")
                return f"{mount.target.rstrip('/')}/{below}".rstrip("/")
        return None

    def of(self, number: DeviceNumber) -> tuple[Mount, ...]:
        """Every mount of this device's file system."""
        return tuple(mount for mount in self.mounts if mount.number == number)
