"""What a simulated node is made of: sticks as matter, services as processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodestoraged.model.device import BlockDevice
from nodestoraged.model.manifest import Manifest
from nodestoraged.model.runtime import UnitState

#: What manifests call this node.
NODE = "node-here"


@dataclass(slots=True, kw_only=True)
class Medium:
    """A stick as matter: what is on it goes with it, wherever it is plugged in.

    `torn` is the truth that a manifest may get wrong: a copy onto it was begun and not ended.
    """

    device: BlockDevice
    images: set[str] = field(default_factory=set)
    writes: int = 0
    dead: bool = False
    broken_filesystem: bool = False
    manifest: Manifest | None = None
    torn: bool = False


@dataclass(slots=True)
class SimUnit:
    """A service; `enabled` ones are started by a boot."""

    state: UnitState = UnitState.INACTIVE
    enabled: bool = True
    job_queued: bool = False
    pid: int = 0
    started_at: float = 0.0
