"""Move the phase by the table of `model.phase`, and name the trigger that the world pulled."""

from __future__ import annotations

from nodestoraged.model.errors import InternalError
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import Stage
from nodestoraged.model.phase import TRANSITIONS, Phase, Trigger


def advance(phase: Phase, trigger: Trigger) -> Phase:
    """The next phase; `InternalError` for a pair that the table does not know, nothing changed."""
    try:
        return TRANSITIONS[phase, trigger]
    except KeyError:
        raise InternalError(f"{trigger} cannot happen in {phase}") from None


def trigger_of(phase: Phase, observation: Observation) -> Trigger:
    """What this reading of the world means for a machine that stands in `phase`.

    The mount table decides; the journal only says whether an operation is still open.
    """
    entry = observation.entry
    if observation.intent.failed:
        return Trigger.ROLLBACK_FAILED
    if phase is Phase.FAILED:
        return Trigger.CLEARED
    if entry is not None:
        if entry.stage is Stage.GRACE:
            return Trigger.SLOT_VANISHED
        return Trigger.GRACE_OVER if phase is Phase.LOST else Trigger.BEGUN
    if observation.serving().dead:
        return Trigger.SLOT_VANISHED
    if phase is Phase.LOST:
        return Trigger.GRACE_OVER
    if observation.serving().device is not None:
        return Trigger.SETTLED_SLOT
    if observation.intent.stopped:
        return Trigger.SETTLED_STOPPED
    return Trigger.SETTLED_INTERNAL


def settle(phase: Phase, observation: Observation) -> Phase:
    """The phase in which the machine rests, given this reading; at most a few moves."""
    for _ in range(len(Phase)):
        following = advance(phase, trigger_of(phase, observation))
        if following is phase:
            return phase
        phase = following
    raise InternalError(f"the phase does not come to rest from {phase}")
