"""What a verb changes: a pure function from request and world to new memory, or a refusal.

A verb never acts.  It changes the enrolments, the wishes and the permissions, and the one
decision line does the rest; so a verb, an insertion and a boot cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nodestoraged.core import enrolments
from nodestoraged.core.enrolments import new_stick, present, present_marks, unburdened
from nodestoraged.core.resolve import INTERNAL
from nodestoraged.core.situation import Answer, Request, Situation, occupied
from nodestoraged.model.candidate import UNUSABLE, Candidate, Verdict
from nodestoraged.model.config import DataPolicy, Fallback
from nodestoraged.model.errors import NotFoundError, RefusedError, RequestError
from nodestoraged.model.operation import Stage
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.model.registry import Marked, Stick, WashWish, Wish
from nodestoraged.model.runtime import Dialect

__all__ = ["Answer", "Request", "Situation", "apply"]


def apply(request: Request, situation: Situation) -> Answer:
    """The change that `request` makes; raises `RequestError` and changes nothing otherwise."""
    verb = _VERBS.get(request.verb)
    if verb is None:
        raise RequestError("UnknownVerb", f"no such verb: {request.verb}")
    return verb(request, situation)


def _switch(request: Request, s: Situation) -> Answer:
    _movable(s)
    intent, registry = s.observation.intent, s.observation.registry
    if request.stick == "auto":
        return Answer(
            intent=replace(intent, wish=None),
            registry=registry,
            message="the collision policy decides again",
            changed=intent.wish is not None,
            moves=True,
            permitted=frozenset(c.device.incarnation for c in s.candidates),
        )
    if request.stick == INTERNAL:
        if request.data not in {None, DataPolicy.KEEP}:
            raise RefusedError(
                "CopyToInternal",
                "nothing is carried over to the node's own directory",
                "nodestoragectl switch internal",
            )
        there = s.observation.serving().source == "internal" and not intent.stopped
        return Answer(
            intent=replace(intent, wish=_wish(None, s)),
            registry=registry,
            message="already on the internal directory" if there else "to the internal directory",
            changed=not there,
            moves=True,
            permitted=frozenset({None}),
        )
    if request.data is DataPolicy.COPY and intent.stopped:
        raise RefusedError(
            "NotServing",
            "no root serves that could be copied",
            f"nodestoragectl switch {request.stick}",
        )
    target = _usable(request, s)
    stick = target.stick or new_stick(target, None, s)
    there = target.verdict is Verdict.ACTIVE
    return Answer(
        intent=unburdened(replace(intent, wish=_wish(stick, s, request)), target),
        registry=registry.with_stick(stick),
        message=f"{stick.name} serves already" if there else f"to {stick.name}",
        changed=not there,
        moves=True,
        permitted=frozenset({target.device.incarnation}),
        forgiven=frozenset({target.device.incarnation}),
    )


def _rollback(request: Request, s: Situation) -> Answer:
    intent = s.observation.intent
    if intent.previous is None and not intent.previous_internal:
        raise RefusedError("NothingBefore", "nothing served before", "nodestoragectl operations")
    if intent.previous is None:
        return _switch(replace(request, stick=INTERNAL), s)
    known = next(
        (c for c in s.candidates if intent.previous.matches(c.device)),
        None,
    )
    if known is None:
        raise NotFoundError(
            "NoSuchStick", "the stick that served before is not here", "plug it in, or switch"
        )
    return _switch(replace(request, stick=known.device.devnode), s)


def _eject(request: Request, s: Situation) -> Answer:
    _movable(s)
    if request.stick is None:
        target = next((c for c in s.candidates if c.verdict is Verdict.ACTIVE), None)
        if target is None:
            raise RefusedError("NotBound", "no stick serves", "nodestoragectl list")
    else:
        target = present(request.stick, s)
    active = target.verdict is Verdict.ACTIVE
    onward = Answer(intent=s.observation.intent, registry=s.observation.registry, message="")
    if request.to is not None and active:
        onward = _switch(Request(verb="switch", stick=request.to), s)
        if not onward.changed:
            raise RefusedError("SameStick", f"{target.name} is the one to leave", "another --to")
    elif active and not _has_fallback(s):
        raise RefusedError(
            "NoFallback",
            "the configuration permits no other root (fallback = [])",
            "nodestoragectl eject --to internal",
        )
    intent = onward.intent
    wish = intent.wish
    if target.stick is not None and wish is not None and wish.identity == target.stick.identity:
        wish = None
    mark = Marked(incarnation=target.device.incarnation, boot_id=s.observation.boot_id)
    return replace(
        onward,
        intent=replace(intent, wish=wish, ejected=(*present_marks(intent.ejected, s), mark)),
        message=f"{target.name} leaves" if active else f"{target.name} may be pulled out",
        changed=True,
        moves=active,
    )


def _pause(_request: Request, s: Situation) -> Answer:
    intent = s.observation.intent
    return Answer(
        intent=replace(intent, paused_since=intent.paused_since or s.observation.time),
        registry=s.observation.registry,
        message="automation is paused; failover and the bind at boot still happen",
        changed=intent.paused_since is None,
        hint="nodestoragectl resume",
    )


def _resume(request: Request, s: Situation) -> Answer:
    intent = s.observation.intent
    if intent.failed and not request.clear:
        raise RefusedError(
            "NoChanges",
            f"{MEANINGS[Reason.NO_CHANGES]} ({intent.failure})",
            "nodestoragectl resume --clear",
        )
    return Answer(
        intent=replace(
            intent,
            paused_since=None,
            failed=False,
            failure="",
        ),
        registry=s.observation.registry,
        message="automation is on",
        changed=intent.failed or intent.paused_since is not None,
    )


def _powerwash(request: Request, s: Situation) -> Answer:
    """The wash is wished for; the loop does it, or the next boot."""
    _movable(s)
    if s.observation.entry is not None or s.observation.intent.stopped:
        raise RefusedError("NotServing", "no root serves", "nodestoragectl status")
    profile = s.observation.profile
    if profile.dialect is not Dialect.CONTAINERD:
        raise RefusedError(
            "WashUnknown",
            f"a powerwash knows containerd's layout, and the runtime is {profile.name}",
            "nodestoragectl prepare STICK --empty, for an empty stick",
        )
    if request.tier is None:
        raise RequestError(
            "TierMissing", "say what goes", "--containers, --images or --all, the gentlest first"
        )
    serving = s.observation.serving()
    if request.stick in {None, INTERNAL}:
        if request.stick is None and serving.device is not None and not serving.dead:
            target = next(c for c in s.candidates if c.verdict is Verdict.ACTIVE)
        elif serving.source == "internal":
            target = None
        else:
            raise RefusedError("NotServing", "the internal directory does not serve")
    else:
        target = _usable(replace(request, data=DataPolicy.COPY), s)
        if not (target.trusted or target.verdict is Verdict.ACTIVE):
            raise RefusedError(
                Reason.NOT_ENROLLED, MEANINGS[Reason.NOT_ENROLLED], "nodestoragectl enroll"
            )
    identity = None if target is None else target.ref().identity
    name = "the internal directory" if target is None else target.name
    wash = WashWish(
        tier=request.tier,
        identity=identity,
        boot_id=None if request.next_boot else s.observation.boot_id,
    )
    return Answer(
        intent=replace(s.observation.intent, wash=wash),
        registry=s.observation.registry,
        message=f"{name} is washed" + (" at the next boot" if request.next_boot else ""),
        moves=not request.next_boot,
    )


_VERBS: dict[str, Callable[[Request, Situation], Answer]] = {
    "switch": _switch,
    "rollback": _rollback,
    "eject": _eject,
    "enroll": enrolments.enroll,
    "forget": enrolments.forget,
    "rename": enrolments.rename,
    "delist": enrolments.delist,
    "relist": enrolments.relist,
    "pause": _pause,
    "resume": _resume,
    "powerwash": _powerwash,
}


def _movable(s: Situation) -> None:
    entry = s.observation.entry
    if s.busy or (entry is not None and entry.stage is not Stage.GRACE):
        raise occupied()
    if s.observation.intent.failed:
        raise RefusedError(
            Reason.NO_CHANGES, MEANINGS[Reason.NO_CHANGES], "nodestoragectl resume --clear"
        )
    if s.observation.shutting_down:
        raise RefusedError("ShuttingDown", "the system is shutting down")


def _usable(request: Request, s: Situation) -> Candidate:
    """The candidate that a verb may make the root, or the reason why not."""
    if request.stick is None:
        raise RequestError("StickMissing", "name the stick", "nodestoragectl list")
    target = present(request.stick, s)
    stubborn = {
        Reason.TRUST_NONE,
        Reason.CLONE,
        Reason.DELISTED,
        Reason.RUNTIME_NOT_INSTALLED,
        Reason.SPLIT_ROOT,
        Reason.STALE,
        Reason.FOREIGN_NODE,
        Reason.INCOMPLETE,
        Reason.UNREAD,
    }
    # A failed check is worth another try when a person asks; what udev says is not.
    for reason in target.reasons:
        retry = reason in {Reason.FSCK_FAILED, Reason.IO_ERROR}
        finishing = reason is Reason.INCOMPLETE and _data(request, s) is DataPolicy.COPY
        if (reason in UNUSABLE and not retry) or (reason in stubborn and not finishing):
            raise RefusedError(
                reason, f"{target.name}: {MEANINGS[reason]}", _remedy(reason, target)
            )
    return target


def _remedy(reason: Reason, target: Candidate) -> str:
    if reason is Reason.DELISTED:
        return f"nodestoragectl relist {target.name}"
    if reason in {Reason.STALE, Reason.FOREIGN_NODE}:
        return f"nodestoragectl adopt {target.name}"
    if reason is Reason.INCOMPLETE:
        return f"nodestoragectl switch {target.name} --copy"
    return f"nodestoragectl explain {reason}"


def _data(request: Request, s: Situation) -> DataPolicy:
    return request.data or s.role.data


def _wish(stick: Stick | None, s: Situation, request: Request | None = None) -> Wish:
    return Wish(
        identity=stick.identity if stick else None,
        since=s.observation.time,
        boot_id=s.observation.boot_id,
        data=request.data if request else None,
        bytes_per_second=request.bytes_per_second if request else None,
    )


def _has_fallback(s: Situation) -> bool:
    standby = any(c.verdict is Verdict.STANDBY for c in s.candidates)
    return Fallback.INTERNAL in s.role.fallback or (Fallback.STANDBY in s.role.fallback and standby)
