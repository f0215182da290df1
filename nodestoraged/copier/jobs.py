"""What a scan found to do.

Owns: the shapes of jobs.  May not know: how they are found or done.
A pass may have a hundred thousand of them, so they are plain tuples.
"""

from __future__ import annotations

__all__ = ["ALIKE", "OTHER", "PRESENT", "Job", "Link", "Plan"]

#: Flags of a job.  PRESENT: the target has an entry of that name that must go.  ALIKE: it looks
#: alike, and only if it turns out otherwise it goes.  OTHER: no regular file and no directory.
PRESENT = 1
ALIKE = 2
OTHER = 4

#: Inode in the source (the order of work), directory, name, bytes, flags.
Job = tuple[int, str, str, int, int]

#: Directory and name of the link to be, directory and name of the entry that it shall share.
Link = tuple[str, str, str, str]


class Plan:
    """What one pass has to do; each list is done before the next is begun, in this order."""

    __slots__ = (
        "attributes",
        "bytes_total",
        "directories",
        "entries",
        "inodes_needed",
        "jobs",
        "links",
        "removals",
        "space_needed",
        "top_names",
        "vanished",
    )

    def __init__(self) -> None:
        self.removals: list[tuple[str, str]] = []
        #: Missing directories, each after the one that it lies in.
        self.directories: list[str] = []
        self.jobs: list[Job] = []
        self.links: list[Link] = []
        #: Directories whose owner, mode, attributes and times must be set at the end.
        self.attributes: set[str] = set()
        self.top_names: frozenset[str] = frozenset()
        self.entries = 0
        self.vanished = 0
        self.bytes_total = 0
        #: What the target must have free, beyond what its entries that go give back.
        self.space_needed = 0
        self.inodes_needed = 0
