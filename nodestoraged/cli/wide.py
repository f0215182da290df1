"""`status -o wide`: the screen, then each proof link and each condition on its line."""

from __future__ import annotations

from nodestoraged.cli import screen, times
from nodestoraged.cli.candidate import quality_facts
from nodestoraged.cli.fields import Json, entries, obj, text
from nodestoraged.cli.render import paint
from nodestoraged.cli.text import pad

__all__ = ["of_status", "proof_lines"]


def of_status(status: Json, roles: list[Json], now: float) -> list[str]:
    """All roles, in full."""
    lines: list[str] = []
    for role in roles:
        if lines:
            lines.append("")
        lines += screen.of_role(status, role, now)
        lines += ["", f"  Reason    {text(role, 'reason', '-')}: {text(role, 'message', '-')}"]
        lines += _identity(obj(role, "active")) + _warnings(role)
        lines += _proof(role) + _conditions(role, now)
    return lines


def _identity(active: Json) -> list[str]:
    if not active:
        return []
    parts = [
        f"{key} {text(active, key)}" for key in ("uuid", "label", "partlabel") if active.get(key)
    ]
    lines = [f"  Identity  {', '.join(parts)}"]
    quality = ", ".join(quality_facts(active))
    return [*lines, f"  Quality   {quality}"] if quality else lines


def _warnings(role: Json) -> list[str]:
    lines: list[str] = []
    for one in entries(role, "warnings"):
        said = ": ".join(part for part in (text(one, "reason"), text(one, "message")) if part)
        lines.append(f"    {said}")
        lines += [f"      {text(one, 'hint')}"] if one.get("hint") else []
    return ["", "  Warnings", *lines] if lines else []


def _proof(role: Json) -> list[str]:
    lines = proof_lines(role)
    return ["", "  Proof", *lines] if lines else []


def proof_lines(role: Json) -> list[str]:
    """Each link of the proof: whether it holds, its name, what was seen."""
    links = entries(obj(role, "imagefs"), "proof")
    columns = max((len(text(one, "link")) for one in links), default=0)
    lines = []
    for one in links:
        mark = paint("holds ", "green") if one.get("holds") is True else paint("BROKEN", "red")
        link = pad(text(one, "link"), columns)
        lines.append(f"    {mark}  {link}  {text(one, 'detail')}".rstrip())
    return lines


def _conditions(role: Json, now: float) -> list[str]:
    conditions = entries(role, "conditions")
    columns = max((len(text(one, "type")) for one in conditions), default=0)
    lines = [
        f"    {pad(text(one, 'status'), 7)} {pad(text(one, 'type'), columns)}  "
        + ", ".join(
            part
            for part in (
                times.since(one.get("lastTransitionTime"), now),
                text(one, "reason"),
                text(one, "message"),
            )
            if part
        )
        for one in conditions
    ]
    return ["", "  Conditions", *lines] if lines else []
