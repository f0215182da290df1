"""Whether an errand may run: adopting a stick, reclaiming hidden space."""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.core.enrolments import new_stick, present
from nodestoraged.core.situation import Request, Situation
from nodestoraged.model.candidate import UNUSABLE, Candidate, Verdict
from nodestoraged.model.config import Trust
from nodestoraged.model.errors import RefusedError, RequestError
from nodestoraged.model.hidden import HiddenRoot
from nodestoraged.model.observation import Observation
from nodestoraged.model.proof import Proof
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.model.registry import Stick


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """A stick to be made ours; `clone`: it bears the UUID of another that is here.

    `serves`: the root lies on it now, so it is neither mounted nor renewed.
    """

    candidate: Candidate
    stick: Stick
    clone: bool
    serves: bool = False


def adoption(request: Request, s: Situation, *, images_only: bool = False) -> Adoption:
    """The stick that `adopt` names, enrolled; refused if it cannot be used, or is ours.

    What serves because somebody else mounted it is adopted where it is.  Of half a copy only
    the images that prove themselves can be had.
    """
    if request.stick is None:
        raise RequestError("StickMissing", "name the stick", "nodestoragectl list")
    target = present(request.stick, s)
    serves = _serves(target, s.observation)
    if serves and (images_only or (target.stick is not None and _mounted_by_us(s.observation))):
        raise RefusedError("Active", f"{target.name} serves already", "nodestoragectl status")
    nobody = (Reason.TRUST_NONE,) if s.role.trust is Trust.NONE else ()
    for reason in (*nobody, *target.reasons):
        if reason in UNUSABLE or reason is Reason.TRUST_NONE:
            raise RefusedError(
                reason, f"{target.name}: {MEANINGS[reason]}", f"nodestoragectl explain {reason}"
            )
    if Reason.INCOMPLETE in target.reasons and not images_only:
        raise RefusedError(
            Reason.INCOMPLETE,
            f"{target.name}: {MEANINGS[Reason.INCOMPLETE]}",
            f"nodestoragectl switch {target.name} --copy",
        )
    clone = Reason.CLONE in target.reasons
    known = None if clone else target.stick
    if known is None and clone:
        # Its UUID is about to be another one, so no twin can be confused with it.
        stick = new_stick(target, request.name, _alone(s, target))
    else:
        stick = known or new_stick(target, request.name, s)
    return Adoption(candidate=target, stick=stick, clone=clone, serves=serves)


def _serves(target: Candidate, observation: Observation) -> bool:
    """True if the root lies on the candidate, also through a bind that nobody enrolled yet."""
    if target.verdict is Verdict.ACTIVE:
        return True
    serving = observation.serving()
    if serving.mount is None or not serving.foreign:
        return False
    return observation.lies_at(serving.mount, target.device)


def _mounted_by_us(observation: Observation) -> bool:
    intent = observation.intent
    return intent.bound_at is not None and intent.bound_boot_id == observation.boot_id


def reclaim_refusal(
    observation: Observation,
    proof: Proof | None,
    hidden: HiddenRoot,
    after_seconds: float,
) -> RefusedError | None:
    """Why what lies hidden must stay for now; None if it may go."""
    serving = observation.serving()
    if serving.device is None or serving.dead or serving.foreign:
        return RefusedError("NotBound", "no stick serves", "nodestoragectl status")
    if not hidden.files:
        return RefusedError("NothingHidden", "nothing lies hidden under the mount", "")
    if proof is None or not proof.holds:
        return RefusedError(
            Reason.PROOF_BROKEN, "the stick that serves is not proven", "nodestoragectl status"
        )
    intent = observation.intent
    bound = intent.bound_at if intent.bound_boot_id == observation.boot_id else None
    served = 0.0 if bound is None else observation.now - bound
    if served < after_seconds:
        return RefusedError(
            "TooEarly",
            f"the stick is known to have served for {served:.0f} s of"
            f" {after_seconds:.0f} s (reclaim_after_seconds)",
            f"again in {after_seconds - served:.0f} s",
        )
    if hidden.held_by:
        return RefusedError(
            "HiddenHeld", f"it is still used by {', '.join(hidden.held_by[:3])}", "stop them first"
        )
    return None


def _alone(s: Situation, target: Candidate) -> Situation:
    return Situation(observation=s.observation, candidates=(target,), role=s.role, busy=s.busy)
