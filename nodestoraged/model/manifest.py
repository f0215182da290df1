"""What a stick says of itself: `.nodestoraged/manifest.json`, as a value.

The manifest is written by `prepare`, by a copy and at each activation, and is read only from
sticks that are trusted.  A stick without one was made by hand, which is as good as any.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What `prepare --check` measured; rates in bytes per second, None where it did not."""

    checked_at: str
    capacity_bytes: int
    write_rate: int | None = None
    read_rate: int | None = None
    small_writes_per_second: float | None = None
    fsync_seconds: float | None = None
    slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One stick's own account.

    `id` names the data and travels with a copy of the whole medium; `generation` goes up by
    one at each activation.  `complete` is false from before the first byte of a copy until the
    final pass has reached the medium.  `node` is `ports.Sticks.node`, `origin` says where the
    data came from: `empty`, `internal`, a stick's name or a path.  Times are RFC 3339.
    """

    id: str
    generation: int
    complete: bool
    node: str
    role: str
    created: str
    origin: str = "empty"
    activated: str | None = None
    quality: Quality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What reading a trusted stick found: its manifest, and how full it is.

    `manifest` None with `failure` None is a stick without one.  `failure` is the reason word of
    a reading that failed; such a stick is judged by it.  `asked_at` is in boot-time seconds.
    """

    manifest: Manifest | None = None
    capacity_bytes: int | None = None
    available_bytes: int | None = None
    failure: str | None = None
    asked_at: float = 0.0
