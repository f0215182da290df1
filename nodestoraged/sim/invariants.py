"""What must never happen to a simulated node.

Asserted is what a kernel would let pass: a root that is swapped under a live runtime, a second
mount on the root, a touch of a stick that nobody trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodestoraged.model.config import Trust
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.operation import Stage
from nodestoraged.sim.matter import NODE, Medium

if TYPE_CHECKING:
    from nodestoraged.sim.world import World


class Violation(AssertionError):  # noqa: N818 - named for what it is
    """An invariant of the design is broken: the test must fail, nothing of ours catches it."""


def check(world: World) -> None:
    """The invariants that hold at every moment."""
    if len(world.root_mounts) > 1:
        raise Violation("I3: two mounts are stacked on the root")
    if world.runtime_alive and world.runtime_root != world.root_number:
        raise Violation(
            f"I1: the runtime runs on {world.runtime_root}, the root is {world.root_number}"
        )
    both = set(world.aside.values()).intersection(world.root_mounts)
    if both:
        raise Violation(f"I3: {both} is mounted on the root and aside")
    if world.runtime_alive:
        _check_data(world.medium_of(world.root_number))
    if len(world.open) > 1:
        raise Violation("I6: two operations are open")


def between_roots(world: World) -> None:
    """I1: the bare directory is no root for a runtime while an operation swaps two slots."""
    entry = world.open.get(world.role.name)
    if entry is None or world.root_mounts or entry.stage is not Stage.FORWARD:
        return
    if not entry.source.internal and not entry.target.internal:
        raise Violation("I1: the runtime was started between two roots")


def authorised(world: World, device: BlockDevice) -> bool:
    """True if a person or the configuration allowed this stick to be touched (I7)."""
    if world.role.trust is Trust.LABEL:
        return True
    listed = any(entry.uuid == device.uuid for entry in world.role.allow)
    enrolled = any(s.identity.uuid == device.uuid for s in world.registry.sticks)
    return world.role.trust is Trust.ENROLLED and (listed or enrolled)


def _check_data(serving: Medium | None) -> None:
    """What may run from a stick: neither half a copy nor what another node left there."""
    if serving is None:
        return
    manifest = serving.manifest
    if serving.torn or (manifest is not None and not manifest.complete):
        raise Violation("the runtime runs from a copy that was never finished")
    if manifest is not None and manifest.node != NODE:
        raise Violation("the runtime runs from what another node left on the stick")
