"""What lies hidden under the mount, and what a powerwash takes away."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Wash(StrEnum):
    """The tiers of `powerwash`, the gentlest first."""

    CONTAINERS = "containers"  # metadata and snapshots go, the content of images stays
    IMAGES = "images"  # every image goes but those that are kept or pinned
    ALL = "all"  # everything goes; what is kept at hand is loaded again


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenEntry:
    """One entry of the hidden directory's top level, with all that is below it."""

    name: str
    used_bytes: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenRoot:
    """What was found below the mount: entries largest first, and who still uses any of it."""

    entries: tuple[HiddenEntry, ...] = ()
    used_bytes: int = 0
    files: int = 0
    held_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a removal took away."""

    files: int
    freed_bytes: int
