"""What a loss asks for: who is lost, why, and who takes over.

    a person said internal        the internal directory, at once
    a person named a stick        that stick, at once
    the lost stick is back        it goes on
    another stick came in         it takes over
    the grace runs                wait
    it is over                    the first possible of `fallback`, else stopped

Pure, as `core.decide` is, which asks it.
"""

from __future__ import annotations

from nodestoraged.core import policy
from nodestoraged.core.sections import source_of
from nodestoraged.model.candidate import Candidate, Verdict
from nodestoraged.model.config import Fallback, RoleConfig
from nodestoraged.model.decision import Decision, KeepStopped, Move, Wait
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import Operation, OperationKind, RootRef
from nodestoraged.model.reason import Reason


def lost(observation: Observation) -> RootRef:
    """The root that is gone, named as well as can be without its device."""
    device, intent = observation.serving().device, observation.intent
    if device is not None and device.uuid is not None:
        return source_of(observation)
    return RootRef(
        identity=intent.last_active,
        name=intent.last_active_name or "the stick",
        incarnation=device.incarnation if device else None,
    )


def reason(observation: Observation) -> Reason:
    """Why the root that serves counts as lost."""
    device = observation.serving().device
    setback = observation.setback(device.incarnation) if device else None
    return setback.reason if setback else Reason.STICK_LOST


def in_grace(
    observation: Observation, candidates: tuple[Candidate, ...], role: RoleConfig, entry: Operation
) -> Decision:
    """What is done while the grace after a loss runs, and once it is over."""
    wish = observation.intent.wish
    if wish is not None and wish.identity is None and None in observation.permitted:
        return Move(
            kind=OperationKind.FAILOVER, target=None, automatic=False, reason=Reason.WISH_INTERNAL
        )
    standby = [c for c in candidates if c.verdict is Verdict.STANDBY]
    named = [
        c
        for c in standby
        if policy.wished(c, observation) and c.device.incarnation in observation.permitted
    ]
    back = [c for c in standby if _is_back(c, entry)]
    newcomers = [c for c in standby if c.device.inserted > entry.insertions]
    for group in (named, back, newcomers):
        best = policy.choose(group, role, observation)
        if best is not None:
            return Move(
                kind=OperationKind.SWAP,
                target=best,
                automatic=group is not named,
                reason=Reason.STICK_LOST,
            )
    if entry.grace_until is not None and observation.now < entry.grace_until:
        return Wait(reason=Reason.STICK_LOST, until=entry.grace_until)
    roots = takers(standby, role, observation)
    if not roots:
        return KeepStopped()
    return Move(
        kind=OperationKind.FAILOVER, target=roots[0], automatic=True, reason=Reason.STICK_LOST
    )


def takers(
    standby: list[Candidate], role: RoleConfig, observation: Observation
) -> tuple[Candidate | None, ...]:
    """Who may take over from a stick that goes, the first first; None is the internal directory."""
    best = policy.choose(standby, role, observation)
    possible = [place for place in role.fallback if place is Fallback.INTERNAL or best is not None]
    return tuple(best if place is Fallback.STANDBY else None for place in possible)


def _is_back(candidate: Candidate, entry: Operation) -> bool:
    """The lost stick itself, put in again."""
    source = entry.source
    return (
        source.identity is not None
        and source.identity.matches(candidate.device)
        and source.incarnation != candidate.device.incarnation
    )
