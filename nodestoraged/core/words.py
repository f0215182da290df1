"""Why the node is where it is, in words, and what to do next as a command to paste."""

from __future__ import annotations

from nodestoraged.core.sizes import gibibytes, size
from nodestoraged.model.candidate import Verdict
from nodestoraged.model.config import Fallback
from nodestoraged.model.decision import (
    Attention,
    Contain,
    Decision,
    Keep,
    Move,
    PowerWash,
    Wait,
)
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import INTERNAL_ROOT, OperationKind
from nodestoraged.model.phase import Phase
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.model.view import View

Hint = dict[str, object]


def headline(view: View) -> tuple[Reason, str]:
    """The reason of the phase and its sentence."""
    observation = view.observation
    if not observation.runtime_installed:
        return Reason.RUNTIME_NOT_INSTALLED, MEANINGS[Reason.RUNTIME_NOT_INSTALLED]
    if observation.intent.failed:
        return Reason.ROLLBACK_FAILED, observation.intent.failure
    match view.phase:
        case Phase.SWITCHING:
            return _switching(view)
        case Phase.LOST:
            name = view.operation.source.name if view.operation else "the stick"
            return Reason.STICK_LOST, f"{name} was lost; waiting for a stick"
        case Phase.BOUND:
            return _bound(observation, view)
        case Phase.STOPPED:
            return Reason.NO_PERMITTED_ROOT, MEANINGS[Reason.NO_PERMITTED_ROOT]
        case _:
            return _internal(view)


def hint(view: View) -> Hint | None:
    """What a person would best do next; None if there is nothing to say."""
    observation = view.observation
    if isinstance(view.decision, Attention):
        return {"text": "To go on", "command": view.decision.hint}
    if observation.intent.failed:
        return {"text": "Mend the cause, then", "command": "nodestoragectl resume --clear"}
    if view.phase is Phase.LOST:
        return {
            "text": "plug it back in, in any port: it is checked and used again",
            "command": None,
        }
    waiting = next((c for c in view.candidates if c.reasons[:1] == (Reason.NOT_ENROLLED,)), None)
    active = next((c for c in view.candidates if c.verdict is Verdict.ACTIVE), None)
    if waiting is not None and waiting is not active:
        devnode = waiting.device.devnode.removeprefix("/dev/")
        return {"text": f"To trust {devnode}", "command": f"nodestoragectl enroll {devnode}"}
    if active is not None and view.phase is Phase.BOUND:
        return {"text": f"Before pulling {active.name}", "command": "nodestoragectl eject"}
    running = next((c for c in view.candidates if Reason.RUNTIME_RUNNING in c.reasons), None)
    if running is not None:
        return {
            "text": f"To move to {running.name} now",
            "command": f"nodestoragectl switch {running.name}",
        }
    if view.lost is not None and view.phase is Phase.INTERNAL:
        name = view.lost.source.name
        return {
            "text": f"plug {name} back in, in any port: it is checked and used again",
            "command": None,
        }
    return None


def lost_order(view: View) -> list[str]:
    """Where the root would go if the active stick were lost, first choice first."""
    names: list[str] = []
    for place in view.role.fallback:
        if place is Fallback.STANDBY:
            names += [c.name for c in view.candidates if c.verdict is Verdict.STANDBY][:1]
        else:
            names.append(_internal_words(view))
    return names or ["the runtime is kept stopped"]


def standby_message(view: View) -> str:
    """What a standby is for."""
    active = next((c for c in view.candidates if c.verdict is Verdict.ACTIVE), None)
    return f"takes over if {active.name} is lost" if active else "may be chosen"


def _internal_words(view: View) -> str:
    covering = view.observation.mounts.covering(view.observation.profile.root.rpartition("/")[0])
    device = covering.source.removeprefix("/dev/") if covering else ""
    free = f"{gibibytes(view.internal_space[1])} free" if view.internal_space else ""
    inside = ", ".join(word for word in (device, free) if word)
    return f"internal ({inside})" if inside else "internal"


def _switching(view: View) -> tuple[Reason, str]:
    if view.operation is not None:
        operation = view.operation
        step = operation.steps[-1].step if operation.steps else "begins"
        return (
            Reason.OPERATION_RUNNING,
            f"{operation.kind} {operation.source.name} -> {operation.target.name}: {step}",
        )
    return Reason.STARTING, MEANINGS[Reason.STARTING]


def _bound(observation: Observation, view: View) -> tuple[Reason, str]:
    if not observation.runtime_runs:
        return Reason.RUNTIME_STOPPED, MEANINGS[Reason.RUNTIME_STOPPED]
    intent = observation.intent
    if intent.bound_at is None or intent.bound_boot_id != observation.boot_id:
        target = observation.profile.root
        return (
            Reason.MOUNTED_BY_OTHERS,
            f"{target} was mounted by somebody else: an fstab line or a script",
        )
    if view.proof is None or not view.proof.holds:
        broken = view.proof.broken if view.proof else None
        detail = f"{broken.link}: {broken.detail}" if broken else (view.proof_failure or "")
        return Reason.SLOT_UNPROVEN, detail or MEANINGS[Reason.SLOT_UNPROVEN]
    return Reason.SLOT_PROVEN, MEANINGS[Reason.SLOT_PROVEN]


def _internal(view: View) -> tuple[Reason, str]:
    if isinstance(view.decision, Attention):
        return view.decision.reason, view.decision.message
    lost = view.lost
    if lost is not None and lost.kind is OperationKind.FAILOVER:
        return Reason.STICK_LOST, f"{lost.source.name} was pulled out or died"
    if isinstance(view.decision, Keep | Wait):
        return view.decision.reason, MEANINGS[view.decision.reason]
    return Reason.NO_STICK, MEANINGS[Reason.NO_STICK]


def of_decision(decision: Decision) -> str:
    """What was decided, for the log."""
    match decision:
        case Move(target=None):
            return f"{decision.kind} to {INTERNAL_ROOT.name}"
        case Move(target=target) if target is not None:
            return f"{decision.kind} to {target.name} ({target.device.devnode})"
        case PowerWash():
            return f"powerwash ({decision.tier})"
        case Contain():
            return f"contain the loss of {decision.lost.name}"
        case _:
            return f"{type(decision).__name__.lower()}: {decision.reason}"


def one_line(view: View) -> str:
    """What the service manager shows of the role: what is being done, else where the root is."""
    operation, name = view.operation, view.role.name
    if operation is None:
        device = view.observation.serving().device
        stick = view.observation.registry.matching(device) if device else None
        where = f" to {stick.name}" if stick else ""
        return f"{name}: {view.phase}{where}"
    progress = operation.progress
    if progress is not None:
        done, total = size(progress.bytes_done), size(progress.bytes_total)
        rate = size(round(progress.bytes_per_second))
        return f"{name}: copying to {operation.target.name}, {done} of {total}, {rate}/s"
    step = operation.steps[-1].step if operation.steps else "begun"
    return f"{name}: {operation.kind} to {operation.target.name}, {step}"
