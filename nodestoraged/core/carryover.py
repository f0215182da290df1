"""What a move carries over, and whom it may therefore move to.

A copy makes half a copy whole; and it must never put what served in somebody's place over what
that somebody has.
"""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.core.select import may_interrupt
from nodestoraged.model.candidate import Candidate, Verdict
from nodestoraged.model.config import DataPolicy, RoleConfig
from nodestoraged.model.observation import Observation
from nodestoraged.model.reason import Reason

Candidates = tuple[Candidate, ...]


def may_serve(candidate: Candidate, data: DataPolicy) -> bool:
    """Admitted, or lacking nothing but the copy that was asked for."""
    resumed = data is DataPolicy.COPY and candidate.reasons == (Reason.INCOMPLETE,)
    return candidate.admitted or resumed


def completed(candidates: Candidates, observation: Observation, role: RoleConfig) -> Candidates:
    """The candidates, with those admitted that lack nothing but the copy that a move makes anyway.

    Not the stick that served last: what is on it is never replaced by itself.
    """
    if served(role.data, observation) is not DataPolicy.COPY:
        return candidates
    last = observation.intent.last_active
    return tuple(
        replace(c, verdict=Verdict.STANDBY, reasons=())
        if c.reasons == (Reason.INCOMPLETE,)
        and may_interrupt(c.device, observation)
        and not (last is not None and last.matches(c.device))
        else c
        for c in candidates
    )


def carried(target: Candidate, observation: Observation, role: RoleConfig) -> DataPolicy:
    """What an automatic move carries over.

    The stick that served last comes back with its own data: what served in its place must not
    be copied over it.
    """
    last = observation.intent.last_active
    back = last is not None and last.matches(target.device)
    return DataPolicy.KEEP if back else served(role.data, observation)


def served(data: DataPolicy, observation: Observation) -> DataPolicy:
    """Where no root is permitted nothing serves that could be carried over."""
    return DataPolicy.KEEP if observation.intent.stopped else data
