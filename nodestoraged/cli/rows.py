"""The rows of the status screen, one function for each.

Owns: what a row says.  May not know: which rows fit, colour, the width of the terminal.
A row is (label, lines); a label that begins with "! " is a warning.
"""

from __future__ import annotations

from nodestoraged.cli import health, times
from nodestoraged.cli.fields import Json, device, entries, number, obj, text, words
from nodestoraged.cli.sticks import fill, generation, lost, name_of, origin, pods
from nodestoraged.cli.text import clip, gib, width

__all__ = ["TEXT_COLUMNS", "Row", "below", "between", "way"]

Row = tuple[str, list[str]]

#: Conditions that have a row of their own or are part of another one.
_CONDITION_LABELS = {
    "KubeletAgrees": "! Kubelet",
    "SlotHealthy": "! Slot",
    "HiddenDirUnused": "! Hidden",
    "SandboxImagePresent": "! Sandbox",
}
#: Columns beside the labels.
TEXT_COLUMNS = 68


def between(operation: Json) -> str:
    """`switch internal -> blue`."""
    kind = text(operation, "kind", "operation").replace("switchover", "switch")
    return f"{kind} {way(operation)}".rstrip()


def way(operation: Json) -> str:
    """`internal -> blue`, as far as both ends are known; `blue` for what moves nothing."""
    ends = [operation.get("source"), operation.get("target")]
    if ends[0] == ends[1]:
        del ends[0]
    return " -> ".join(name_of(one) for one in ends if one)


def below(role: Json, operation: Json, last: Json, now: float) -> list[Row]:
    """All rows of a role but its sticks, in their order; empty ones left out."""
    phase = role.get("phase")
    rows: list[Row] = []
    rows += _steps(operation) if phase == "SWITCHING" else _running(operation, phase, now)
    if phase in ("INTERNAL", "LOST", "STOPPED", "FAILED", "SWITCHING"):
        gone = lost(role, now)
        rows += [("Lost", gone)] if gone else []
    if phase == "LOST":
        rows += _grace(role, now)
    rows += _space(role) if phase == "BOUND" else _serving(role)
    rows += _warning(role)
    if phase not in ("SWITCHING", "LOST"):
        rows += _proof(role, now)
    rows += _runtime(role) + _conditions(role) + _held_back(role, now) + _trust(role)
    rows += _if_lost(role) + _last(last, now)
    return rows


def _steps(operation: Json) -> list[Row]:
    steps = entries(operation, "steps")
    running = text(operation, "step")
    done = [one for one in steps if number(one, "seconds") is not None]
    lines = [f"{number(one, 'seconds'):6.1f} s  {text(one, 'step')}" for one in done[-5:]]
    if len(done) > 5:
        lines.insert(0, f"({len(done) - 5} before)")
    if running:
        lines.append(f"    now   {running}")
        lines += [f"          {line}" for line in _progress(operation)]
    return [("Steps", lines)] if lines else []


def _progress(operation: Json) -> list[str]:
    progress = obj(operation, "progress")
    if not progress:
        return []
    from nodestoraged.cli.progress import words_of

    return [words_of(progress)]


def _running(operation: Json, phase: object, now: float) -> list[Row]:
    """What runs without moving the root, or before it moves; a grace has its own row."""
    if not operation or phase == "LOST":
        return []
    begun = times.epoch(operation.get("startedAt"))
    what = between(operation) + (f" ({times.age(now - begun)})" if begun else "")
    step = text(operation, "step")
    return [("Running", [f"{what}: {step}" if step else what, *_progress(operation)])]


def _warning(role: Json) -> list[Row]:
    """The first warning; `-o wide` has them all."""
    warnings = entries(role, "warnings")
    if not warnings:
        return []
    begin = f"1 of {len(warnings)}: " if len(warnings) > 1 else ""
    return [("! Warning", [begin + (text(warnings[0], "message") or text(warnings[0], "reason"))])]


def _grace(role: Json, now: float) -> list[Row]:
    until = times.epoch(role.get("graceUntil"))
    if until is None:
        return []
    left = f"{times.age(until - now)} left" if until > now else "over"
    return [("Grace", [f"until {times.clock(until, now)} ({left}): runtime stopped, waiting"])]


def _space(role: Json) -> list[Row]:
    line = fill(obj(role, "imagefs"))
    if not line:
        return []
    active = obj(role, "active")
    age = generation(active) and f"gen {generation(active)}"
    for facts in ((age, origin(active)), (age,)):
        longer = "; ".join(p for p in (line, ", ".join(p for p in facts if p)) if p)
        if width(longer) <= TEXT_COLUMNS:
            return [("Space", [longer])]
    return [("Space", [line])]


def _serving(role: Json) -> list[Row]:
    serving = obj(role, "serving")
    source = text(serving, "source", "none")
    if source == "none":
        return [("Serving", ["nothing yet" if role.get("phase") == "SWITCHING" else "nothing"])]
    what = "internal" if source == "internal" else name_of(obj(role, "active") or serving)
    line = f"{what}, {text(serving, 'path') or text(role, 'root')}"
    if device(serving) != "-":
        line += f" on {device(serving)}"
    available = number(obj(role, "imagefs"), "availableBytes")
    if available is not None:
        line += f", {gib(available)} free"
    rows: list[Row] = [("Serving", [line])]
    lost = obj(role, "lost") or obj(role, "lastActive")
    held = number(lost, "usedBytes")
    if held is not None and available is not None and held > available and source == "internal":
        warning = f"{name_of(lost)} held {gib(held)} of images, internal has {gib(available)} free"
        rows.append(("! Space", [warning]))
    return rows


def _proof(role: Json, now: float) -> list[Row]:
    imagefs = obj(role, "imagefs")
    links = entries(imagefs, "proof")
    broken = [one for one in links if one.get("holds") is not True]
    kubelet = {
        "capacity": f"kubelet sees {gib(imagefs.get('kubeletCapacityBytes'))}",
        "process-newer-than-mount": "kubelet is newer than the mount",
        "none": "kubelet not asked",
    }.get(text(imagefs, "kubeletProof"), "")
    if broken:
        holding = f"{len(links) - len(broken)} of {len(links)} links hold"
        causes = [f"{text(one, 'link')}: {text(one, 'detail', 'does not hold')}" for one in broken]
        return [("! Proof", [f"{holding}; {causes[0]}", *causes[1:3]])]
    if not health.proof_holds(role):
        return [("! Proof", [f"not proven: {text(role, 'reason', 'no proof yet')}"])]
    if not links or imagefs.get("verified") is not True:
        return []
    holding = f"{len(links)} of {len(links)} links hold"
    when = times.ago(role.get("proofAt"), now)
    return [
        ("Proof", ["; ".join(p for p in (", ".join(filter(None, (holding, when))), kubelet) if p)])
    ]


def _runtime(role: Json) -> list[Row]:
    runtime = obj(role, "runtime")
    if not runtime:
        return []
    profile, version = text(runtime, "profile", "runtime"), text(runtime, "version")
    if role.get("reason") == "RuntimeNotInstalled":
        return [("Runtime", [f"{profile} is not installed"])]
    answering = runtime.get("answering") is True
    parts = [f"{profile} {version}".strip() + (" answers" if answering else " does not answer")]
    kubelet = obj(role, "kubelet")
    if kubelet:
        parts.append(_kubelet(kubelet))
    count = number(role, "pods")
    if count is not None:
        parts.append(pods(count))
    expected = answering or role.get("phase") in ("SWITCHING", "LOST", "STOPPED")
    return [("Runtime" if expected else "! Runtime", [", ".join(parts)])]


def _kubelet(kubelet: Json) -> str:
    if kubelet.get("installed") is False:
        return "no kubelet"
    if kubelet.get("running") is not True:
        return "kubelet stopped"
    return {True: "kubelet ok", False: "kubelet not healthy"}.get(
        kubelet.get("healthy") is True, "kubelet runs"
    )


def _conditions(role: Json) -> list[Row]:
    return [
        (_CONDITION_LABELS[kind], [text(one, "message") or text(one, "reason", "not so")])
        for one in health.broken_conditions(role)
        if (kind := text(one, "type")) in _CONDITION_LABELS
    ]


def _held_back(role: Json, now: float) -> list[Row]:
    rows: list[Row] = []
    if text(role, "availability") == "NO_CHANGES":
        rows.append(
            ("! Frozen", ["NO_CHANGES: nothing is touched until nodestoragectl resume --clear"])
        )
    automation = obj(role, "automation")
    if automation.get("state") == "paused":
        by = f" by {text(automation, 'by')}" if automation.get("by") else ""
        when = times.since(automation.get("since"), now)
        rows.append(("Paused", [f"{when}{by}: failover and boot still work".strip()]))
    return rows


def _trust(role: Json) -> list[Row]:
    trust = {
        "enrolled": "enrolled sticks",
        "label": "any stick that bears the label",
        "none": "none: sticks are shown, never used",
    }.get(text(role, "trust"), text(role, "trust"))
    if not trust:
        return []
    collision = text(role, "collision", "prefer-active")
    more = "" if collision == "prefer-active" else f"; a second one: {collision}"
    return [("Trust", [trust + more])]


def _if_lost(role: Json) -> list[Row]:
    if role.get("phase") != "BOUND" or not isinstance(role.get("ifLost"), list):
        return []
    return [("If lost", [", then ".join(words(role, "ifLost")) or "the runtime is kept stopped"])]


def _last(last: Json, now: float) -> list[Row]:
    if not last:
        return []
    outcome = text(last, "result", "?")
    pods, down = number(last, "podsDownSeconds"), number(last, "downtimeSeconds")
    if outcome != "done":
        outcome = ": ".join(
            p for p in (outcome, text(last, "message") or text(last, "reason")) if p
        )
    elif pods is not None:
        outcome += f", pods down {pods:.1f} s"
    elif down is not None:
        outcome += f", runtime down {down:.1f} s"
    begun = times.moment(last.get("startedAt"), now)
    shown = f"(show {clip(text(last, 'id', '?'), 12)})"
    room = TEXT_COLUMNS - 2 - width(shown)
    return [("Last", [f"{clip(f'{between(last)}  {begun}  {outcome}', room)}  {shown}"])]
