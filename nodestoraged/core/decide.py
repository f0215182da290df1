"""What to do next: one question after the other, the first that answers wins.

    the system goes down          Keep
    the way back failed           Keep, until a person clears it
    not the host's namespace      Attention: nothing that is mounted here is seen
    the grace runs                Swap to a stick that came in, else wait it out; once it is over
                                  the first possible fallback, else stopped (`core.loss`)
    the slot is dead              Contain: stop what ran from it, now
    no runtime here               Wait
    a foreign mount on the root   Attention: it is left alone
    the active stick was ejected  Move away from it
    a powerwash was asked for     PowerWash
    a wish                        Move to it
    the collision policy          Move to its choice, or Keep, or ask
    units are owed                Move onto the root that serves, so that they run again; asked
                                  last, and only if nothing else moves

Whatever came out, a stick that nobody named waits until its insertion has settled.

Pure: no clock but `observation.now`, no order of events but `inserted`.
"""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.core import carryover, loss, policy
from nodestoraged.core.select import may_interrupt
from nodestoraged.model.candidate import Candidate, Verdict
from nodestoraged.model.config import Collision, DataPolicy, RoleConfig
from nodestoraged.model.decision import (
    Attention,
    Contain,
    Decision,
    Keep,
    KeepStopped,
    Move,
    PowerWash,
    Wait,
)
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import OperationKind, Stage
from nodestoraged.model.reason import Reason

Candidates = tuple[Candidate, ...]


def decide(observation: Observation, candidates: Candidates, role: RoleConfig) -> Decision:
    """The one thing to do now for `role`.

    A stick is never chosen automatically while devices still follow an insertion; a removal
    is never delayed.
    """
    decision = _decide(observation, candidates, role)
    if (
        isinstance(decision, Move)
        and decision.automatic
        and decision.target is not None
        and observation.now < observation.settling_until
    ):
        return Wait(reason=Reason.SETTLING, until=observation.settling_until)
    return decision


def _decide(observation: Observation, candidates: Candidates, role: RoleConfig) -> Decision:
    entry = observation.entry
    if observation.shutting_down:
        return Keep(reason=_resting_reason(observation, candidates))
    if observation.intent.failed:
        return Keep(reason=Reason.NO_CHANGES)
    if not observation.namespace_shared:
        return Attention(
            reason=Reason.SAME_NAMESPACE_REQUIRED,
            message="the daemon is not in the host's mount namespace: nothing it mounts is seen",
            hint="nodestoragectl doctor",
        )
    if entry is not None and entry.stage is Stage.GRACE:
        return loss.in_grace(observation, candidates, role, entry)
    if observation.serving().dead:
        return Contain(lost=loss.lost(observation), reason=loss.reason(observation))
    if not observation.runtime_installed:
        return Wait(reason=Reason.RUNTIME_NOT_INSTALLED)
    if observation.serving().foreign:
        return _foreign(observation)
    asked = _ejected(observation, candidates, role) or _wash(observation, candidates)
    if asked is not None:
        return asked
    decision = _by_wish(observation, candidates, role)
    owing = _owing(observation, candidates)
    if owing is not None and isinstance(decision, Keep | Attention):
        return owing
    return decision


def _foreign(observation: Observation) -> Attention:
    """A mount of something else: what it is, and whether it can be adopted as it is."""
    root, mount = observation.profile.root, observation.serving().mount
    bound = observation.mounts.source_of(mount) if mount else None
    if bound is not None:
        return Attention(
            reason=Reason.MOUNTED_BY_OTHERS,
            message=f"{bound} was bound on {root} by somebody else; it is left alone",
            hint=f"nodestoragectl adopt {bound}",
        )
    return Attention(
        reason=Reason.MOUNTED_BY_OTHERS,
        message=f"{root} is a mount of a device without a label of this role; it is left alone",
        hint="label that file system, or unmount it",
    )


def _owing(observation: Observation, candidates: Candidates) -> Move | None:
    """The root that serves is the right one, but what ran before does not run from it yet."""
    active = next((c for c in candidates if c.verdict is Verdict.ACTIVE), None)
    permitted = active.trusted if active else not observation.intent.stopped
    if not observation.owed or not permitted:
        return None
    kind = OperationKind.BIND if active else OperationKind.RETURN
    return Move(kind=kind, target=active, automatic=False, reason=Reason.UNITS_OWED)


def _ejected(observation: Observation, candidates: Candidates, role: RoleConfig) -> Move | None:
    """The active stick was ejected: to the wished root, else to the first possible fallback."""
    active = observation.serving().device
    if active is None or not observation.marked(observation.intent.ejected, active.incarnation):
        return None
    standby = [c for c in candidates if c.verdict is Verdict.STANDBY]
    wish = observation.intent.wish
    wished = next((c for c in standby if policy.wished(c, observation)), None)
    if wished is not None or (wish is not None and wish.identity is None):
        target = wished
    else:
        takers = loss.takers(standby, role, observation)
        if not takers:
            return None
        target = takers[0]
    return Move(
        kind=OperationKind.EJECT,
        target=target,
        automatic=False,
        reason=Reason.EJECTED,
        data=role.data if target is not None else DataPolicy.KEEP,
    )


def _by_wish(observation: Observation, candidates: Candidates, role: RoleConfig) -> Decision:
    wish = observation.intent.wish
    serving = observation.serving()
    if wish is None:
        return _by_policy(observation, candidates, role)
    if wish.identity is None:
        if serving.device is None:
            if observation.intent.stopped:
                return Move(
                    kind=OperationKind.RETURN,
                    target=None,
                    automatic=False,
                    reason=Reason.WISH_INTERNAL,
                )
            return Keep(reason=Reason.WISH_INTERNAL)
        if observation.runtime_runs and None not in observation.permitted:
            return Keep(reason=Reason.RUNTIME_RUNNING)
        return Move(
            kind=OperationKind.RETURN, target=None, automatic=False, reason=Reason.WISH_INTERNAL
        )
    data = carryover.served(wish.data or role.data, observation)
    target = next(
        (c for c in candidates if policy.wished(c, observation) and carryover.may_serve(c, data)),
        None,
    )
    if target is None:
        return _by_policy(observation, candidates, role)
    if target.verdict is Verdict.ACTIVE:
        return Keep(reason=_resting_reason(observation, candidates))
    move = _move_to(target, observation, candidates, automatic=False)
    if isinstance(move, Move):
        return replace(move, data=data, bytes_per_second=wish.bytes_per_second)
    return move


def _wash(observation: Observation, candidates: Candidates) -> PowerWash | None:
    """A powerwash that was asked for now, of a root that is here; a boot has its own way."""
    wash = observation.intent.wash
    if wash is None or wash.boot_id != observation.boot_id:
        return None
    if wash.identity is None:
        internal = observation.serving().source == "internal"
        return PowerWash(target=None, tier=wash.tier) if internal else None
    known = next((c for c in candidates if wash.identity.matches(c.device)), None)
    if known is None or not (known.trusted or known.verdict is Verdict.ACTIVE):
        return None
    return PowerWash(target=known, tier=wash.tier)


def _by_policy(observation: Observation, candidates: Candidates, role: RoleConfig) -> Decision:
    best = policy.choose(carryover.completed(candidates, observation, role), role, observation)
    if best is None:
        return _nobody(observation, candidates, role)
    if best.verdict is Verdict.ACTIVE:
        return Keep(reason=_resting_reason(observation, candidates))
    move = _move_to(best, observation, candidates, automatic=True)
    return (
        replace(move, data=carryover.carried(best, observation, role))
        if isinstance(move, Move)
        else move
    )


def _move_to(
    target: Candidate, observation: Observation, candidates: Candidates, *, automatic: bool
) -> Decision:
    said = target.device.incarnation in observation.permitted
    if observation.intent.paused_since is not None and observation.runtime_runs and not said:
        return Wait(reason=Reason.PAUSED)
    slot = observation.serving().device is not None
    if slot and observation.runtime_runs and not may_interrupt(target.device, observation):
        return Keep(reason=_resting_reason(observation, candidates))
    kind = OperationKind.SWITCHOVER if slot else OperationKind.BIND
    return Move(kind=kind, target=target, automatic=automatic, reason=Reason.SLOT_PROVEN)


def _nobody(observation: Observation, candidates: Candidates, role: RoleConfig) -> Decision:
    """No stick may serve; the internal directory does, unless it must not."""
    doubted = [c for c in candidates if c.trusted and Reason.CLONE in c.reasons]
    if doubted:
        names = " and ".join(c.device.devnode for c in doubted)
        return Attention(
            reason=Reason.CLONE,
            message=f"{names} carry the same file system UUID; two sticks claim to be"
            f" {doubted[0].name}",
            hint="pull one of them out",
        )
    if role.collision is Collision.ASK and any(Reason.COLLISION in c.reasons for c in candidates):
        waiting = [c for c in candidates if Reason.COLLISION in c.reasons]
        return Attention(
            reason=Reason.COLLISION,
            message=" and ".join(c.name for c in waiting) + " could serve; choose one",
            hint=f"nodestoragectl switch {waiting[0].name}",
        )
    # A person who started it by hand, in the time of a failure, has decided otherwise.
    if observation.intent.stopped and not observation.runtime_runs:
        return KeepStopped()
    return Keep(reason=_resting_reason(observation, candidates))


def _resting_reason(observation: Observation, candidates: Candidates) -> Reason:
    serving = observation.serving()
    if serving.device is not None:
        return Reason.SLOT_PROVEN
    if observation.intent.stopped:
        return Reason.NO_PERMITTED_ROOT
    if observation.intent.wish is not None and observation.intent.wish.identity is None:
        return Reason.WISH_INTERNAL
    running = any(Reason.RUNTIME_RUNNING in c.reasons for c in candidates)
    return Reason.RUNTIME_RUNNING if running else Reason.NO_STICK
