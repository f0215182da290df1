"""Names of one inode in the source, which must become names of one inode in the target.

Owns: which name is copied and which are linked to it.  May not know: how either is done.
Whiteouts are such groups too: overlayfs makes them as links of one device node.
"""

from __future__ import annotations

import os

from nodestoraged.copier.jobs import ALIKE, OTHER, PRESENT, Plan

__all__ = ["BELIEVED", "Group"]

#: Beside the flags of a job: what looks alike is believed to be alike.
BELIEVED = 8
_BLOCK = 512


class Group:
    """All names of one inode that a scan meets."""

    __slots__ = ("_names", "_space", "inode", "size")

    def __init__(self, here: os.stat_result) -> None:
        self.inode = here.st_ino
        self.size = min(here.st_size, here.st_blocks * _BLOCK)
        self._space = here.st_blocks * _BLOCK
        #: Directory, name, flags, inode in the target (0: none), and how many names that has.
        self._names: list[tuple[str, str, int, int, int]] = []

    def add(self, path: str, name: str, there: os.stat_result | None, flags: int) -> None:
        """The source has the inode under this name too."""
        inode, count = (0, 0) if there is None else (there.st_ino, there.st_nlink)
        self._names.append((path, name, flags, inode, count))

    def settle(self, plan: Plan) -> None:
        """What has to be done for the group is in the plan."""
        held: dict[int, int] = {}
        for _, _, _, inode, _ in self._names:
            held[inode] = held.get(inode, 0) + 1
        # An inode of the target can stay only if no name outside the group shares it.
        good = [one for one in self._names if one[2] & ALIKE and held[one[3]] == one[4]]
        first = max(good, key=lambda one: held[one[3]]) if good else self._names[0]
        path, name, flags, inode, _ = first
        if not good:
            flags &= PRESENT | OTHER
        if flags & BELIEVED and held[inode] == len(self._names):
            return
        if not flags & BELIEVED:
            plan.jobs.append((self.inode, path, name, self.size, flags))
            plan.attributes.add(path)
            plan.bytes_total += self.size
            if not good:
                plan.space_needed += self._space
                plan.inodes_needed += 1
        for other in self._names:
            if other is not first:
                plan.links.append((other[0], other[1], path, name))
                plan.attributes.add(other[0])
