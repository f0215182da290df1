"""The verbs of trust: who is enrolled, under which name, and who may be chosen."""

from __future__ import annotations

import string
from dataclasses import replace

from nodestoraged.core.resolve import INTERNAL, Resolved, resolve
from nodestoraged.core.situation import Answer, Request, Situation
from nodestoraged.model.candidate import Candidate, Verdict
from nodestoraged.model.config import Trust
from nodestoraged.model.device import Incarnation
from nodestoraged.model.errors import NotFoundError, RefusedError, RequestError
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.model.registry import Intent, Marked, Registry, Stick

#: Words that would be mistaken for something else in the place of a name.
RESERVED_NAMES = frozenset({INTERNAL, "auto", "none", "all"})
NAME_LENGTH_MAX = 32
_NAME_FIRST = frozenset(string.ascii_lowercase + string.digits)
_NAME_REST = _NAME_FIRST | frozenset("-_.")


def enroll(request: Request, s: Situation) -> Answer:
    """The stick is trusted from now on; whether it is used follows from the policy."""
    if request.stick is None:
        raise RequestError("StickMissing", "name the stick", "nodestoragectl list")
    target = present(request.stick, s)
    _identifiable(target, s)
    stick = target.stick
    if stick is not None and request.name not in {None, stick.name}:
        raise RefusedError(
            "AlreadyEnrolled",
            f"it is enrolled as {stick.name}",
            f"nodestoragectl rename {stick.name} {request.name}",
        )
    known = stick is not None
    stick = stick or new_stick(target, request.name, s)
    intent = unburdened(s.observation.intent, target)
    allowed = frozenset[Incarnation | None]({target.device.incarnation})
    if request.no_switch:
        mark = Marked(incarnation=target.device.incarnation, boot_id=s.observation.boot_id)
        intent, allowed = (
            replace(intent, patient=(*present_marks(intent.patient, s), mark)),
            frozenset(),
        )
    return Answer(
        intent=intent,
        registry=s.observation.registry.with_stick(stick),
        message=f"{stick.name} is enrolled" + (" already" if known else ""),
        changed=not known,
        permitted=allowed,
        forgiven=frozenset({target.device.incarnation}),
        hint="" if s.role.trust is not Trust.NONE else MEANINGS[Reason.TRUST_NONE],
    )


def forget(request: Request, s: Situation) -> Answer:
    """The enrolment is gone; refused while the stick serves."""
    stick, resolved = _enrolled(request, s)
    if resolved.candidate is not None and resolved.candidate.verdict is Verdict.ACTIVE:
        raise RefusedError("Active", f"{stick.name} serves", "nodestoragectl eject, then forget")
    intent = s.observation.intent
    if intent.wish is not None and intent.wish.identity == stick.identity:
        intent = replace(intent, wish=None)
    if intent.previous == stick.identity:
        intent = replace(intent, previous=None)
    if intent.last_active == stick.identity:
        intent = replace(intent, last_active=None, last_active_name=None)
    return Answer(
        intent=intent,
        registry=s.observation.registry.without(stick.identity),
        message=f"{stick.name} is forgotten",
    )


def rename(request: Request, s: Situation) -> Answer:
    """The enrolment has another name."""
    stick, _ = _enrolled(request, s)
    name = checked_name(request.name or "", s.observation.registry, but=stick)
    intent = s.observation.intent
    if intent.last_active == stick.identity:
        intent = replace(intent, last_active_name=name)
    return Answer(
        intent=intent,
        registry=s.observation.registry.with_stick(replace(stick, name=name)),
        message=f"{stick.name} is now {name}",
        changed=name != stick.name,
    )


def delist(request: Request, s: Situation) -> Answer:
    """The stick stays enrolled and is never chosen."""
    stick, resolved = _enrolled(request, s)
    if resolved.candidate is not None and resolved.candidate.verdict is Verdict.ACTIVE:
        raise RefusedError("Active", f"{stick.name} serves", "nodestoragectl eject, then delist")
    return Answer(
        intent=s.observation.intent,
        registry=s.observation.registry.with_stick(replace(stick, delisted=True)),
        message=f"{stick.name} is never chosen until it is relisted",
        changed=not stick.delisted,
    )


def relist(request: Request, s: Situation) -> Answer:
    """The stick may be chosen again."""
    stick, _ = _enrolled(request, s)
    return Answer(
        intent=s.observation.intent,
        registry=s.observation.registry.with_stick(replace(stick, delisted=False)),
        message=f"{stick.name} may be chosen again",
        changed=stick.delisted,
    )


def present(text: str, s: Situation) -> Candidate:
    """The candidate that `text` names; it has to be here."""
    resolved = resolve(text, s.candidates, s.observation.registry)
    if resolved.candidate is None:
        raise NotFoundError("NotPresent", f"{resolved.name} is not plugged in", "plug it in")
    return resolved.candidate


def new_stick(target: Candidate, name: str | None, s: Situation) -> Stick:
    """The enrolment that a verb makes of a candidate; refused where nothing identifies it."""
    registry = s.observation.registry
    _identifiable(target, s)
    return Stick(
        name=free_name(registry, target.device.directory)
        if name is None
        else checked_name(name, registry, but=None),
        identity=target.device.identity(),
        role=s.role.name,
        order=max((stick.order for stick in registry.sticks), default=0) + 1,
        enrolled_at=s.observation.time,
    )


def free_name(registry: Registry, directory: str | None = None) -> str:
    """A name that nothing bears yet: `stick1`, or `dir1` for a directory."""
    taken = {stick.name for stick in registry.sticks}
    stem = "stick" if directory is None else "dir"
    return next(n for i in range(1, 1 << 20) if (n := f"{stem}{i}") not in taken)


def unburdened(intent: Intent, target: Candidate) -> Intent:
    """A verb that names a stick ends its ejection, its quarantine and its patience."""
    named = target.device.incarnation
    return replace(
        intent,
        ejected=tuple(m for m in intent.ejected if m.incarnation != named),
        patient=tuple(m for m in intent.patient if m.incarnation != named),
        attempts=tuple(a for a in intent.attempts if a.uuid != target.device.uuid),
    )


def present_marks(marks: tuple[Marked, ...], s: Situation) -> tuple[Marked, ...]:
    """Those of `marks` whose insertion is still here."""
    present = {device.incarnation for device in s.observation.devices}
    return tuple(
        m for m in marks if m.incarnation in present and m.boot_id == s.observation.boot_id
    )


def _enrolled(request: Request, s: Situation) -> tuple[Stick, Resolved]:
    resolved = resolve(request.stick or "", s.candidates, s.observation.registry)
    if resolved.stick is None:
        raise NotFoundError(
            Reason.NOT_ENROLLED, f"{resolved.name} is not enrolled", "nodestoragectl enroll"
        )
    return resolved.stick, resolved


def _identifiable(target: Candidate, s: Situation) -> None:
    """Enrolling one of several devices with one UUID needs a serial that only it has."""
    device = target.device
    if device.uuid is None:
        raise RefusedError(
            Reason.WRONG_FILESYSTEM, f"{target.name} has no file system UUID", "format it first"
        )
    if device.directory is not None:
        return
    twins = [
        c.device
        for c in s.candidates
        if c.device.uuid == device.uuid and c.device.directory is None
    ]
    if sum(twin.hardware == device.hardware for twin in twins) > 1 or (
        len(twins) > 1 and device.hardware is None
    ):
        raise RefusedError(Reason.CLONE, MEANINGS[Reason.CLONE], "pull one of them out")


def checked_name(name: str, registry: Registry, *, but: Stick | None) -> str:
    """`name`, if a stick may bear it and none but `but` does."""
    good = (
        0 < len(name) <= NAME_LENGTH_MAX
        and name[0] in _NAME_FIRST
        and set(name) <= _NAME_REST
        and name not in RESERVED_NAMES
    )
    if not good:
        raise RequestError(
            "BadName",
            f"{name!r} cannot be a stick's name",
            "lower-case letters, digits, '-', '_' and '.', at most 32, not 'internal' or 'auto'",
        )
    taken = registry.named(name)
    if taken is not None and taken != but:
        raise RefusedError("NameTaken", f"{name} is another stick", "choose another name")
    return name
