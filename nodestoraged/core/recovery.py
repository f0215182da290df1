"""What an open journal entry asks for at a start: a power cut is an event like any other.

    another boot            close it as interrupted; everything is decided anew
    this boot, grace        go on waiting; a failover only ever goes on
    this boot, left         a root is in place: prove it and close
    this boot, arrived      the target is in place and the fence is down: the same
    this boot, failover     contain again (every step is a wished fact), then the grace
    this boot, otherwise    go back to the recorded world

The observation is trusted over the journal: the entry only says what was meant.
"""

from __future__ import annotations

from enum import StrEnum

from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import FORCED, Operation, Stage


class Recovery(StrEnum):
    """What to do with the open entry."""

    NOTHING = "nothing"
    CLOSE = "close"
    WAIT = "wait"
    CONTAIN = "contain"
    PROVE = "prove"
    BACK = "back"


def recover(observation: Observation) -> Recovery:
    """The way to deal with the open entry of `observation`."""
    entry = observation.entry
    if entry is None:
        return Recovery.NOTHING
    if entry.boot_id != observation.boot_id:
        return Recovery.CLOSE
    if entry.stage is Stage.GRACE:
        return Recovery.WAIT
    if not observation.serving().dead and (
        entry.stage is Stage.LEFT or _arrived(observation, entry)
    ):
        return Recovery.PROVE
    if entry.kind in FORCED:
        return Recovery.CONTAIN
    return Recovery.BACK


def _arrived(observation: Observation, entry: Operation) -> bool:
    """The target serves and may run: going on interrupts nobody, going back would."""
    serving = observation.serving()
    if observation.fence_up or entry.stage is not Stage.FORWARD:
        return False
    if serving.device is not None:
        return serving.device.incarnation == entry.target.incarnation
    # A loss that was only just noticed has the internal directory as its target, too.
    return entry.target.internal and observation.runtime_runs
