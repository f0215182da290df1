"""The steps that move data: copying to a stick, marking it, keeping images, washing a root.

They stand in `model.plan`'s union beside those that move the root.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.copy import CopyPass
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.hidden import Wash


@dataclass(frozen=True, slots=True, kw_only=True)
class MountAside:
    """The stick is mounted beside the root, so that it can be copied to."""

    device: BlockDevice
    name: str
    deadline_seconds: float = 120

    def describe(self) -> str:
        """The step in words."""
        return f"{self.name} is mounted aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What the root holds is on the stick, as far as the pass goes.

    `deadline_seconds` is of the pass without progress, for a copy takes as long as it takes.
    """

    device: BlockDevice
    name: str
    stage: CopyPass
    source: str
    bytes_per_second: int | None = None
    deadline_seconds: float = 60

    def describe(self) -> str:
        """The step in words."""
        if self.stage is CopyPass.WARM:
            return f"the data is copied to {self.name}"
        return f"what changed since is copied to {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmountAside:
    """Nothing is mounted aside any more; lazily only from a device that is gone."""

    name: str
    fatal: bool
    deadline_seconds: float = 60

    def describe(self) -> str:
        """The step in words."""
        return f"{self.name} is not aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The stick's manifest says that it serves here, by one generation more than before."""

    device: BlockDevice
    name: str
    deadline_seconds: float = 20

    def describe(self) -> str:
        """The step in words."""
        return f"{self.name} is marked as serving here"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepImages:
    """The pinned images (or with `every` the names of all) are kept to be brought back."""

    every: bool
    deadline_seconds: float = 600

    def describe(self) -> str:
        """The step in words."""
        return "images are remembered" if self.every else "pinned images are kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class BringImages:
    """What `KeepImages` kept is in the root in force."""

    every: bool
    deadline_seconds: float = 600

    def describe(self) -> str:
        """The step in words."""
        return "images are registered again" if self.every else "pinned images are present"


@dataclass(frozen=True, slots=True, kw_only=True)
class WashRoot:
    """The root of a stopped runtime, or what lies at `place`, holds what the tier leaves."""

    tier: Wash
    place: str | None = None
    deadline_seconds: float = 1800

    def describe(self) -> str:
        """The step in words."""
        return f"the root is washed ({self.tier})"
