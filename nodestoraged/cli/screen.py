"""The status screen: one role in at most 16 lines of 80 columns.

Owns: the headline, the Next line, which rows stay when there are too many.
May not know: the socket, the exit code.
"""

from __future__ import annotations

from nodestoraged.cli import health, rows, sticks, times
from nodestoraged.cli.fields import Json, obj, text
from nodestoraged.cli.render import COLUMNS, bullet, paint
from nodestoraged.cli.text import clip, pad, wrap

__all__ = ["LINES", "of_role", "of_status"]

LINES = 16
_LABEL_COLUMNS = COLUMNS - rows.TEXT_COLUMNS - 2
#: When there are too many rows these go first.
_DROPPED_FIRST = ("Trust", "Hidden", "Last", "If lost", "Space", "Runtime")


def of_status(status: Json, roles: list[Json], now: float) -> list[str]:
    """All the roles' screens, a blank line between them."""
    lines: list[str] = []
    for role in roles:
        if lines:
            lines.append("")
        lines += of_role(status, role, now)
    return lines


def of_role(status: Json, role: Json, now: float) -> list[str]:
    """One role's screen."""
    operation = _about(obj(status, "operation"), role)
    head = wrap(f"* {_headline(role, operation, now)}", COLUMNS, "  ")[:3]
    end = _next(role)
    last = _about(obj(status, "lastOperation"), role)
    body = _fit(role, rows.below(role, operation, last, now), LINES - len(head) - len(end) - 2)
    head[0] = paint(bullet(), _colour(role)) + head[0][1:]
    return [*head, "", *body, "", *end]


def _about(operation: Json, role: Json) -> Json:
    return operation if operation.get("role") in (None, role.get("name")) else {}


def _headline(role: Json, operation: Json, now: float) -> str:
    phase = text(role, "phase", "?")
    begin = f"{text(role, 'name', '?')}  {phase}"
    attention = obj(role, "attention")
    since = times.since(role.get("since"), now)
    message = text(role, "message") or text(role, "reason")
    if phase == "BOUND":
        begin += f" to {sticks.name_of(obj(role, 'active'))}"
    if attention:
        return f"{begin}, needs you: {text(attention, 'message') or text(attention, 'reason')}"
    if phase == "SWITCHING" and operation:
        step = text(operation, "step")
        return f"{begin} {rows.way(operation)} {since}" + (f": {step}" if step else "")
    if phase == "BOUND" and text(role, "reason") in ("SlotProven", ""):
        message = "" if health.proof_holds(role) else "not proven"
    return " ".join(part for part in (begin, since) if part) + (f": {message}" if message else "")


def _colour(role: Json) -> str:
    phase = role.get("phase")
    if role.get("attention") or phase in ("FAILED", "STOPPED"):
        return "red"
    if phase in ("SWITCHING", "LOST") or health.is_degraded(role):
        return "yellow"
    return "green" if phase == "BOUND" else ""


def _next(role: Json) -> list[str]:
    attention = obj(role, "attention")
    hint = obj(attention, "hint") or obj(role, "hint")
    words, command = text(hint, "text"), text(hint, "command")
    calm = role.get("phase") == "BOUND" and not health.is_degraded(role)
    if calm:
        words = "nothing to do." + (f" {words}" if words else "")
    elif not words and not command:
        words, command = _without_hint(role)
    line = f"  Next: {words}" if words else "  Next"
    if not command:
        return wrap(line, COLUMNS, "        ")[:3]
    if len(line) + 2 + len(command) <= COLUMNS:
        return [f"{line}: {command}"]
    return [*wrap(f"{line}:", COLUMNS, "        ")[:2], f"        {command}"]


def _without_hint(role: Json) -> tuple[str, str]:
    if role.get("phase") == "SWITCHING":
        return "watch it", "nodestoragectl status --watch"
    causes = [obj(role, "attention"), *health.broken_conditions(role), role]
    reason = next((word for one in causes if (word := text(one, "reason"))), "")
    return (
        ("what it means", f"nodestoragectl explain {reason}") if reason else ("nothing to do", "")
    )


def _fit(role: Json, others: list[rows.Row], room: int) -> list[str]:
    """Rows as lines, at most `room`: sticks are counted instead of shown, then rows dropped."""
    first, candidates = sticks.sticks(role)
    active = _lines(("Active", first)) if first else []
    fixed = [(row, _lines(row)) for row in others]
    for label in _DROPPED_FIRST:
        needed = len(active) + sum(len(lines) for _, lines in fixed) + min(len(candidates), 2)
        if needed > room:
            fixed = [(row, lines) for row, lines in fixed if row[0] != label]
    free = room - len(active) - sum(len(lines) for _, lines in fixed)
    if len(candidates) > max(free, 0):
        hidden = len(candidates) - max(free - 1, 0)
        candidates = [*candidates[: max(free - 1, 0)], f"{hidden} more: nodestoragectl list"]
    body = active
    stick_lines = _lines(("Sticks", candidates)) if candidates else []
    for (label, _), lines in fixed:
        if label in ("If lost", "Last"):
            body, stick_lines = body + stick_lines, []
        body = body + lines
    return (body + stick_lines)[:room]


def _lines(row: rows.Row) -> list[str]:
    label, texts = row
    warning = label.startswith("! ")
    room = rows.TEXT_COLUMNS
    if warning:
        texts = [line for one in texts for line in wrap(one, room, "")[:2]]
    head = paint(pad(label, _LABEL_COLUMNS), "yellow" if warning else "")
    blank = " " * _LABEL_COLUMNS
    return [
        f"  {blank if place else head}{clip(one, room)}".rstrip() for place, one in enumerate(texts)
    ]
