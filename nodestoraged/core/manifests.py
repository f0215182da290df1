"""What becomes of a manifest when a copy begins, when a stick serves, when it is adopted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nodestoraged.model.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Which node and role write a manifest, and when (RFC 3339)."""

    node: str
    role: str
    time: str


def fresh(data_id: str, here: Here, *, origin: str, complete: bool) -> Manifest:
    """The manifest of a stick that has served nowhere yet."""
    return Manifest(
        id=data_id,
        generation=0,
        complete=complete,
        node=here.node,
        role=here.role,
        created=here.time,
        origin=origin,
    )


def begun(known: Manifest | None, data_id: str, here: Here, *, origin: str) -> Manifest:
    """A copy onto the stick has begun: whatever was on it counts no more until it is complete."""
    base = known or fresh(data_id, here, origin=origin, complete=False)
    return replace(base, complete=False, node=here.node, role=here.role, origin=origin)


def activated(known: Manifest | None, data_id: str, here: Here) -> Manifest:
    """The stick serves here: one generation more, and it is this node's now."""
    base = known or fresh(data_id, here, origin="by hand", complete=True)
    return replace(
        base,
        complete=True,
        generation=base.generation + 1,
        node=here.node,
        role=here.role,
        activated=here.time,
    )


def adopted(known: Manifest | None, data_id: str, here: Here, *, at_least: int) -> Manifest:
    """The stick is this node's, as it is; no older than what this node knows of it."""
    base = known or fresh(data_id, here, origin="by hand", complete=True)
    return replace(
        base,
        id=data_id,
        complete=True,
        generation=max(base.generation, at_least),
        node=here.node,
        role=here.role,
    )
