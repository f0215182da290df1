"""Where the root of a role stands: the phases, and every move between them.

Rules of this file.  1. Everything that affects the machine lives here; `core.machine`
only looks up.  2. The table does not know sticks, policies or units.  3. A pair that is
not in the table cannot happen; the simulator asserts that.  ARCHITECTURE.md's diagram is
compared with the table by a test.

A daemon begins in SWITCHING, because until the first decision is proven nobody knows.
INTERNAL, BOUND, STOPPED and FAILED are terminal: the machine may rest there.  A proof
that is lost later changes conditions, never the phase.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where the root is."""

    INTERNAL = "INTERNAL"
    SWITCHING = "SWITCHING"
    BOUND = "BOUND"
    LOST = "LOST"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


class Trigger(StrEnum):
    """What moves the machine."""

    BEGUN = "begun"  # an operation was journalled
    SETTLED_SLOT = "settled-slot"  # nothing is open, a slot is mounted on the root
    SETTLED_INTERNAL = "settled-internal"  # nothing is open, the node's own directory serves
    SETTLED_STOPPED = "settled-stopped"  # nothing is open, no permitted root
    SLOT_VANISHED = "slot-vanished"  # the mount's device is gone or dead
    GRACE_OVER = "grace-over"  # a stick or the clock ended the grace
    ROLLBACK_FAILED = "rollback-failed"
    CLEARED = "cleared"  # an operator said resume --clear


TERMINAL = frozenset({Phase.INTERNAL, Phase.BOUND, Phase.STOPPED, Phase.FAILED})

TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.SWITCHING, Trigger.BEGUN): Phase.SWITCHING,
    (Phase.SWITCHING, Trigger.SETTLED_SLOT): Phase.BOUND,
    (Phase.SWITCHING, Trigger.SETTLED_INTERNAL): Phase.INTERNAL,
    (Phase.SWITCHING, Trigger.SETTLED_STOPPED): Phase.STOPPED,
    (Phase.SWITCHING, Trigger.SLOT_VANISHED): Phase.LOST,
    (Phase.SWITCHING, Trigger.ROLLBACK_FAILED): Phase.FAILED,
    (Phase.INTERNAL, Trigger.SETTLED_INTERNAL): Phase.INTERNAL,
    (Phase.INTERNAL, Trigger.SETTLED_SLOT): Phase.BOUND,  # mounted by somebody else
    (Phase.INTERNAL, Trigger.BEGUN): Phase.SWITCHING,
    (Phase.INTERNAL, Trigger.SLOT_VANISHED): Phase.LOST,  # both between two readings
    (Phase.BOUND, Trigger.SETTLED_SLOT): Phase.BOUND,
    (Phase.BOUND, Trigger.SETTLED_INTERNAL): Phase.INTERNAL,  # unmounted by somebody else
    (Phase.BOUND, Trigger.BEGUN): Phase.SWITCHING,
    (Phase.BOUND, Trigger.SLOT_VANISHED): Phase.LOST,
    (Phase.LOST, Trigger.SLOT_VANISHED): Phase.LOST,
    (Phase.LOST, Trigger.GRACE_OVER): Phase.SWITCHING,
    (Phase.LOST, Trigger.ROLLBACK_FAILED): Phase.FAILED,
    (Phase.STOPPED, Trigger.SETTLED_STOPPED): Phase.STOPPED,
    (Phase.STOPPED, Trigger.BEGUN): Phase.SWITCHING,
    (Phase.STOPPED, Trigger.SETTLED_SLOT): Phase.BOUND,
    (Phase.STOPPED, Trigger.SETTLED_INTERNAL): Phase.INTERNAL,
    (Phase.STOPPED, Trigger.SLOT_VANISHED): Phase.LOST,
    (Phase.FAILED, Trigger.ROLLBACK_FAILED): Phase.FAILED,
    (Phase.FAILED, Trigger.CLEARED): Phase.SWITCHING,
}
