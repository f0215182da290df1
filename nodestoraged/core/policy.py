"""The collision policy: whom of several usable sticks the role takes.

The answer depends on which sticks are there, which one serves, and for `newest` on the
order in which they were *inserted*; never on the order in which events arrived.  Every
ordering ends in the same ties: the last active, then the first enrolled, then the lowest
UUID.  docs/policies.md is generated from this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nodestoraged.model.candidate import Candidate, Verdict
from nodestoraged.model.config import Collision, RoleConfig
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.observation import Observation
from nodestoraged.model.reason import Reason

#: Orders after every enrolment.
_NEVER_ENROLLED = 1 << 30

SortKey = tuple[bool | int | str, ...]


def choose(
    candidates: Iterable[Candidate], role: RoleConfig, observation: Observation
) -> Candidate | None:
    """The admitted candidate that should serve, or None if there is none."""
    admitted = [candidate for candidate in candidates if candidate.admitted]
    return min(admitted, key=lambda c: _order(c, role, observation), default=None)


def stand_aside(
    candidates: Sequence[Candidate], role: RoleConfig, observation: Observation
) -> list[Candidate]:
    """The candidates, those that wait only because of the others marked `Collision`.

    `pinned` admits nobody but the first of the priority list.  `ask` admits nobody when
    several could serve, except the one that serves and the one that was wished for.
    """
    admitted = [candidate for candidate in candidates if candidate.admitted]
    aside: list[Candidate] = []
    if role.collision is Collision.PINNED:
        aside = [c for c in admitted if _rank(c, role) != 0]
    elif role.collision is Collision.ASK and len(admitted) > 1:
        aside = admitted
    exempt = {c.device for c in admitted if c.verdict is Verdict.ACTIVE or wished(c, observation)}
    waiting = {c.device for c in aside} - exempt
    return [
        replace(c, verdict=Verdict.WAITING, reasons=(Reason.COLLISION,))
        if c.device in waiting
        else c
        for c in candidates
    ]


def wished(candidate: Candidate, observation: Observation) -> bool:
    """True if `switch` named this stick and nothing has ended that wish."""
    wish = observation.intent.wish
    return (
        wish is not None
        and candidate.stick is not None
        and candidate.stick.identity == wish.identity
    )


def over_budget(device: BlockDevice, observation: Observation, role: RoleConfig) -> bool:
    """True while the stick rests: `switch_limit` automatic moves towards it within the window.

    It is released by itself `quarantine_seconds` after the last of them.  Failover is never
    refused, and what an operator asked for never counts.
    """
    times = sorted(
        attempt.at
        for attempt in observation.intent.attempts
        if attempt.uuid == device.uuid and attempt.boot_id == observation.boot_id
    )
    last = times[-role.switch_limit :]
    return (
        len(last) == role.switch_limit
        and last[-1] - last[0] <= role.switch_window_seconds
        and observation.now - last[-1] < role.quarantine_seconds
    )


def _order(candidate: Candidate, role: RoleConfig, observation: Observation) -> SortKey:
    """Lowest is best: by the policy, then the one that serves, then the ties."""
    active = candidate.verdict is Verdict.ACTIVE
    return (_preference(candidate, role), not active, *_ties(candidate, observation))


def _preference(candidate: Candidate, role: RoleConfig) -> int:
    match role.collision:
        case Collision.NEWEST:
            return -candidate.device.inserted
        case Collision.LARGEST:
            return -candidate.device.size_bytes
        case Collision.PRIORITY | Collision.PINNED:
            return _rank(candidate, role)
        case _:
            return 0


def _ties(candidate: Candidate, observation: Observation) -> SortKey:
    last = observation.intent.last_active
    was_active = last is not None and last.matches(candidate.device)
    enrolled = candidate.stick.order if candidate.stick else _NEVER_ENROLLED
    return (not was_active, enrolled, candidate.device.uuid or "", candidate.device.devnode)


def _rank(candidate: Candidate, role: RoleConfig) -> int:
    """Place in the priority list by name, UUID or serial; behind its end if not listed."""
    device = candidate.device
    words = {candidate.stick.name if candidate.stick else None, device.uuid, device.serial}
    words.add(device.hardware)
    return next((i for i, word in enumerate(role.priority) if word in words), len(role.priority))
